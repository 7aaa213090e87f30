//! The scripts that the pipelines under `ci/` call, and the files that they call them from.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{real_parts, text};

/// A folder for what a job leaves.
struct Job(tempfile::TempDir);

impl Job {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// Validates on a simulator whose clock is so fast that only trials without timing mean something.
    fn pair(&self) -> Command {
        let stack = self.path("simulator_c500.yaml");
        let text = "schema: 1\nabout: the simulator with a clock for tests\naccelerator: c500\nvllm: 0.8.5\n\
                    simulator: { profile: c500, clock: 50 }\n";
        fs::write(&stack, text).expect("the stack is written");
        let mut command = script("pair", Path::new(env!("CARGO_BIN_EXE_harness")));
        command.arg("mistral_7b_v0_1").arg(stack).arg(self.path("out"));
        command
    }
}

/// A script of the pipelines, with the program that it is to call.
fn script(name: &str, harness: &Path) -> Command {
    let mut command = Command::new(real_parts::root().join("ci/pipeline").join(name));
    command
        .env("HARNESS", harness)
        .env("CI", "true")
        .env("HARNESS_SIMULATOR", real_parts::simulator())
        .env_remove("HARNESS_HISTORY")
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY")
        .env_remove("INSTA_UPDATE")
        .stdin(Stdio::null());
    command
}

fn shown(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_job_leaves_what_each_system_shows() {
    let job = Job::new();
    let output = job
        .pair()
        .arg("memory::")
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", job.path("summary.md"))
        .output()
        .expect("the script starts");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(job.read("out/run/junit.xml").contains("mistral_7b_v0_1"));
    assert!(job.read("out/metrics.txt").ends_with("# EOF\n"));
    assert_eq!(job.read("out/history/history.jsonl").lines().count(), 1);
    assert!(!job.path("out/pending").exists(), "nothing waits");
    // Annotations go to standard output, where GitHub looks for them.
    assert!(
        text(&output.stdout).starts_with("::notice title=SIMULATED::"),
        "{}",
        shown(&output)
    );
    assert_eq!(job.read("summary.md"), job.read("out/run/report.md"));
}

#[test]
fn a_job_hands_pending_goldens_to_the_reviewer() {
    let job = Job::new();
    let output = job
        .pair()
        .args(["--fault", "logit_noise:size=20", "correctness::first_"])
        .output()
        .expect("the script starts");
    assert_ne!(output.status.code(), Some(0), "{}", shown(&output));
    let pending = job.path("out/pending/golden/simulated/mistral_7b_v0_1");
    let waiting = fs::read_dir(&pending).expect("goldens wait").count();
    assert!(waiting > 0);
    let page = job.read("out/pending/review.simulated.html");
    assert!(
        page.contains("mistral_7b_v0_1") && page.contains("first_"),
        "the page shows them"
    );
}

#[test]
fn a_job_ends_as_the_run_does() {
    let job = Job::new();
    let output = job
        .pair()
        .args(["--fault", "oom_load"])
        .output()
        .expect("the script starts");
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(
        job.read("out/run/report.md").contains("out_of_memory"),
        "the report is there all the same"
    );
    // No record at all: wrong usage.
    let output = script("pair", Path::new(env!("CARGO_BIN_EXE_harness")))
        .args(["no_such_model", "simulator_c500"])
        .arg(job.path("other"))
        .output()
        .expect("the script starts");
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let output = script("pair", Path::new("/nonexistent"))
        .arg("model")
        .output()
        .expect("the script starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("usage: "), "{}", shown(&output));
}

/// A program that notes its arguments, leaves a report, and ends as a gate that cannot decide.
fn undecided_gate(job: &Job) -> PathBuf {
    let program = job.path("gate-stand-in");
    let text = "#!/bin/sh\necho \"$@\" >>\"$NOTES\"\n\
                while [ $# -gt 0 ]; do if [ \"$1\" = --out ]; then out=$2; fi; shift; done\n\
                mkdir -p \"$out\" && echo '# gate' >\"$out/gate.md\"\nexit 5\n";
    fs::write(&program, text).expect("the program is written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it may be run");
    program
}

#[test]
fn the_gates_job_asks_for_all_models_unless_some_are_named() {
    let job = Job::new();
    let program = undecided_gate(&job);
    let gate = |more: &[&str]| {
        let output = script("gate", &program)
            .args(["old", "new"])
            .arg(job.path("out"))
            .args(more)
            .env("NOTES", job.path("notes"))
            .env("GITHUB_STEP_SUMMARY", job.path("summary.md"))
            .output()
            .expect("the script starts");
        assert_eq!(output.status.code(), Some(5), "{}", shown(&output));
    };
    gate(&[]);
    gate(&["--model", "qwen3_32b", "--tolerance", "3%"]);
    let out = job.path("out").canonicalize().expect("a folder");
    let out = out.join("gate");
    let expected = format!(
        "gate --baseline old --candidate new --all --out {0}\n\
         gate --baseline old --candidate new --out {0} --model qwen3_32b --tolerance 3%\n",
        out.display()
    );
    assert_eq!(job.read("notes"), expected);
    assert_eq!(job.read("summary.md"), "# gate\n# gate\n");
}

#[test]
fn pipelines_call_scripts_that_are_there() {
    let ci = real_parts::root().join("ci");
    let files = [
        "github/validate.yml",
        "github/gate.yml",
        "github/pair/action.yml",
        "gitlab/.gitlab-ci.yml",
    ];
    let more = ["gitlab/pair.yml", "jenkins/Jenkinsfile"];
    let mut called = 0;
    for file in files.iter().chain(&more) {
        let text = fs::read_to_string(ci.join(file)).expect(file);
        for call in text.split("ci/pipeline/").skip(1) {
            let name: String = call.chars().take_while(char::is_ascii_alphanumeric).collect();
            let script = ci.join("pipeline").join(&name);
            let permissions = fs::metadata(&script).map(|found| found.permissions().mode());
            assert!(
                permissions.is_ok_and(|mode| mode & 0o111 != 0),
                "{file} calls ci/pipeline/{name}"
            );
            called += 1;
        }
    }
    assert!(called > 10, "{called} calls were found");
}
