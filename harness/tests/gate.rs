//! The gate from the command line to its reports, against simulators whose faults are known. Speed is left to
//! `bench gate`: on a busy host a simulator's timing says nothing.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says where it stopped"
)]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod real_parts;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

const MODEL: &str = "mistral_7b_v0_1";

/// A stack file with a clock so fast that a boot takes a second.
fn stack(folder: &Path, name: &str, faults: &str) -> String {
    let path = folder.join(format!("{name}.yaml"));
    let text = format!(
        "schema: 1\nabout: a simulator for tests\naccelerator: c500\nvllm: 0.8.5\nsimulator: {{ profile: c500, clock: 50, \
         faults: [{faults}] }}\n"
    );
    fs::write(&path, text).expect("the stack is written");
    path.to_string_lossy().into_owned()
}

fn harness(arguments: &[&str]) -> Output {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    real_parts::simulator();
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(arguments)
        .arg("--root")
        .arg(real_parts::root())
        .env("INSTA_UPDATE", "no")
        .stdin(Stdio::null())
        .output()
        .expect("the harness starts")
}

fn gate(folder: &Path, arguments: &[&str]) -> (Output, PathBuf) {
    let out = folder.join("gate");
    let out_text = out.to_string_lossy().into_owned();
    let output = harness(&[&["gate", "--model", MODEL, "--out", &out_text], arguments].concat());
    (output, out)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a report was written")).expect("it is JSON")
}

#[test]
fn an_equal_candidate_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (stack(folder.path(), "old", ""), stack(folder.path(), "new", ""));
    let arguments = [
        "--baseline",
        &old,
        "--candidate",
        &new,
        "--allow-simulated",
        "--only",
        "answers",
        "--only",
        "memory",
    ];
    let (output, out) = gate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = json(&out.join("gate.json"));
    assert_eq!(
        (&report["verdict"], &report["simulated"]),
        (&"passed".into(), &true.into())
    );
    let model = &report["models"][0];
    assert_eq!(model["answers"]["identical"], model["answers"]["compared"]);
    assert!(model["answers"]["compared"].as_u64() >= Some(40), "{model}");
    assert!(
        fs::read_to_string(out.join("gate.md"))
            .expect("Markdown")
            .starts_with("**SIMULATED")
    );
    assert!(out.join(MODEL).join("pair_01_candidate/record.jsonl").is_file());
}

#[test]
fn simulated_stacks_are_refused_unless_they_are_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = stack(folder.path(), "old", "");
    let (output, out) = gate(folder.path(), &["--baseline", &old, "--candidate", &old]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--allow-simulated"),
        "{}",
        stderr(&output)
    );
    assert!(!out.exists(), "nothing was booted");
}

#[test]
fn wrong_answers_and_lost_memory_fail_and_a_layer_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (
        stack(folder.path(), "old", ""),
        stack(
            folder.path(),
            "new",
            "\"logit_noise:size=4\", \"leak:mib=900,runs=3\"",
        ),
    );
    let arguments = [
        "--baseline",
        &old,
        "--candidate",
        &new,
        "--allow-simulated",
        "--only",
        "answers",
        "--only",
        "memory",
    ];
    let (output, out) = gate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let model = &json(&out.join("gate.json"))["models"][0];
    let reasons = model["reasons"].to_string();
    assert!(reasons.contains("were right and are wrong"), "{reasons}");
    assert!(reasons.contains("memory became scarcer"), "{reasons}");
    let (output, out) = gate(folder.path(), &[&arguments[..], &["--attribute"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let search = json(&out.join(format!("search_{MODEL}.json")));
    assert_eq!(search["found"]["layer"], "vllm", "{search}");
}

#[test]
fn a_list_of_stacks_is_bisected_and_what_does_not_boot_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = "\"logit_noise:size=4\"";
    let faults = ["", "", "\"oom_load\"", bad, bad];
    let stacks: Vec<String> = (1..)
        .zip(faults)
        .map(|(number, faults)| stack(folder.path(), &format!("s{number}"), faults))
        .collect();
    let mut arguments = vec!["--allow-simulated", "--only", "answers", "--bisect"];
    arguments.extend(stacks.iter().map(String::as_str));
    let (output, out) = gate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let search = json(&out.join(format!("search_{MODEL}.json")));
    assert_eq!(
        (&search["found"]["good"], &search["found"]["bad"]),
        (&"s2".into(), &"s4".into()),
        "{search}"
    );
    // The reference, both ends, the dead one, one on either side of it, and the confirmation.
    assert!(search["boots"].as_u64() <= Some(7), "{search}");
    assert!(
        search["conclusion"]
            .as_str()
            .is_some_and(|text| text.contains("s3 did not tell")),
        "{search}"
    );
}

#[test]
fn finished_runs_are_compared_and_what_is_no_run_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = stack(folder.path(), "old", "");
    let run = folder.path().join("run");
    let run = run.to_string_lossy().into_owned();
    let output = harness(&[
        "validate", "--model", MODEL, "--stack", &old, "--out", &run, "memory::",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let runs = [
        "--baseline-run",
        &run,
        "--candidate-run",
        &run,
        "--allow-simulated",
        "--only",
        "memory",
    ];
    let (output, out) = gate(folder.path(), &runs);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(json(&out.join("gate.json"))["paired"], false);
    let missing = folder.path().join("none").to_string_lossy().into_owned();
    let (output, _) = gate(
        folder.path(),
        &["--baseline-run", &run, "--candidate-run", &missing],
    );
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot read the record"),
        "{}",
        stderr(&output)
    );
}
