//! `history` on the command line: runs that are indexed as they end, runs that are added later, and what is shown.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::real_parts;

/// Runs of a model on the simulator, with a history of their own.
struct Runs(tempfile::TempDir);

impl Runs {
    fn new() -> Self {
        let runs = Self(tempfile::tempdir().expect("a temporary folder"));
        let stack = "schema: 1\nabout: the simulator with a clock for tests\naccelerator: c500\nvllm: 0.8.5\n\
                     simulator: { profile: c500, clock: 50 }\n";
        fs::write(runs.path("simulator_c500.yaml"), stack).expect("the stack is written");
        runs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn harness(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the harness starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command
            .arg("--root")
            .arg(real_parts::root())
            .args(arguments)
            .env("HARNESS_HISTORY", self.path("history"))
            .env("HARNESS_SIMULATOR", real_parts::simulator())
            .env("INSTA_UPDATE", "no")
            .stdin(Stdio::null());
        command
    }

    /// A run of a few trials, in the folder of this name.
    fn run(&self, name: &str, more: &[&str]) -> Output {
        let (stack, out) = (self.path("simulator_c500.yaml"), self.path(name));
        let (stack, out) = (stack.to_string_lossy(), out.to_string_lossy());
        let arguments = [
            "validate",
            "--model",
            "mistral_7b_v0_1",
            "--stack",
            &stack,
            "--out",
            &out,
        ];
        self.harness(&[&arguments, more, &["memory::"]].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.harness(&[&["history", "--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_run_is_in_the_history_at_its_end() {
    let runs = Runs::new();
    for name in ["first", "second"] {
        let output = runs.run(name, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let shown = runs.json(&["--metric", "memory.kv_cache"]);
    assert_eq!(shown["simulated"], true);
    let points = shown["trends"][0]["points"].as_array().expect("points");
    assert_eq!(points.len(), 2);
    assert!((points[0]["value"].as_f64().expect("a figure") - 36.51).abs() < 0.005);
    let output = runs.harness(&["history"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stdout.is_empty() && stderr(&output).starts_with("SIMULATED: "),
        "{}",
        stderr(&output)
    );
    let output = runs.harness(&["history", "--metric", "boot", "--csv"]);
    let csv = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(
        csv.lines()
            .nth(1)
            .expect("a run")
            .starts_with("mistral_7b_v0_1,simulator_c500,c500,true,bfloat16,50,boot,s,")
    );
}

#[test]
fn a_history_that_cannot_be_written_does_not_fail_the_run() {
    let runs = Runs::new();
    fs::write(runs.path("file"), "").expect("the file is written");
    let blocked = runs.path("file");
    let output = runs.run("out", &["--history", &blocked.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("warning: cannot make the folder"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("add it later with `history add`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn runs_of_before_are_added_once() {
    let runs = Runs::new();
    assert_eq!(runs.run("out", &[]).status.code(), Some(0));
    fs::remove_dir_all(runs.path("history")).expect("the history is removed");
    let (folder, missing) = (runs.path("out"), runs.path("missing"));
    let (folder, missing) = (folder.to_string_lossy(), missing.to_string_lossy());
    let add = |runs: &Runs, arguments: &[&str]| runs.harness(&[&["history", "add"], arguments].concat());
    let output = add(&runs, &[&missing, &folder]);
    assert_eq!(output.status.code(), Some(2), "one of them is no run");
    assert!(
        stderr(&output).contains("1 added") && stderr(&output).contains("1 not readable"),
        "{}",
        stderr(&output)
    );
    let record = format!("{folder}/record.jsonl");
    let history = runs.path("history");
    let output = add(&runs, &[&record, &history.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("0 added") && stderr(&output).contains("1 there already"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        runs.json(&["--metric", "boot"])["trends"][0]["points"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    // Another folder, such as CI keeps.
    let kept = runs.path("kept");
    let output = add(&runs, &[&folder, "--dir", &kept.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(Path::new(&kept).join("history.jsonl").is_file());
}

#[test]
fn where_nothing_fits_there_is_said_what_would() {
    let runs = Runs::new();
    let output = runs.harness(&["history"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("no runs are indexed in"),
        "{}",
        stderr(&output)
    );
    let mut unset = runs.command(&["history", "--model", "no_such_model"]);
    let output = unset
        .env("HARNESS_HISTORY", "")
        .output()
        .expect("the harness starts");
    assert_eq!(
        output.status.code(),
        Some(4),
        "an empty variable is none: {}",
        stderr(&output)
    );
    assert_eq!(runs.run("out", &[]).status.code(), Some(0));
    for (arguments, expected) in [
        (
            ["--model", "qwen3_32b"],
            "no run of this model; there are mistral_7b_v0_1",
        ),
        (
            ["--stack", "c500"],
            "no run on this stack; there are simulator_c500",
        ),
        (
            ["--metric", "speed"],
            "no run of these has such a metric; there are boot, memory.activation",
        ),
    ] {
        let output = runs.harness(&[&["history"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
