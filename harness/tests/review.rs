//! `harness review` and `harness audit-baselines` from the command line, on goldens of the real small model.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use harness::golden::{Golden, GradeVerdict, Store};
use serde_json::Value;

const CASES: [&str; 2] = ["first_bees_make", "first_greeting"];

/// A folder that is laid out like the repository, with two goldens and what waits beside them: one that only another
/// stack answered, and one whose grade fell.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["models.d", "ci/stacks", "golden"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let store = Store::with_update(
            folder.path().join("golden"),
            false,
            harness::golden::Update::from_variables(|_| None).unwrap(),
        );
        for (case, verdict) in CASES.into_iter().zip([GradeVerdict::Right, GradeVerdict::Wrong]) {
            let mut golden = recorded(case);
            golden.header.grade.verdict = GradeVerdict::Right;
            store.accept(&golden).unwrap();
            golden.header.replaces = Some(golden.digest().unwrap());
            "cpu_vllm0.32.0".clone_into(&mut golden.header.recorded.stack);
            golden.header.grade.verdict = verdict;
            store.pend(&golden).unwrap();
        }
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn harness(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_harness"))
            .arg("--root")
            .arg(self.folder.path())
            .args(arguments)
            .env_remove("INSTA_PENDING_DIR")
            .env_remove("INSTA_UPDATE")
            .env("CI", "true")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn waits(&self, case: &str) -> bool {
        self.path(&format!("golden/smollm2_135m/{case}.snap.new"))
            .exists()
    }

    fn accepted(&self, case: &str) -> Golden {
        read(&self.path(&format!("golden/smollm2_135m/{case}.snap")))
    }
}

fn read(path: &Path) -> Golden {
    Golden::parse(&fs::read_to_string(path).unwrap(), path).unwrap()
}

/// A golden of this repository.
fn recorded(case: &str) -> Golden {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/smollm2_135m");
    read(&goldens.join(format!("{case}.snap")))
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn without_a_terminal_it_lists() {
    let folder = Folder::new();
    let output = folder.harness(&["review"]);
    assert_eq!(output.status.code(), Some(5));
    insta::assert_snapshot!(told(&output));
    let output = folder.harness(&["review", "--model", "another"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(told(&output), "no golden waits for review\n");
}

#[test]
fn one_is_accepted_with_its_reason_and_one_rejected() {
    let folder = Folder::new();
    let before = folder.accepted("first_greeting");
    let output = folder.harness(&["review", "--accept", "first_greeting"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("the grade fell; say why with --reason"));
    let decided = [
        "review",
        "--accept",
        "smollm2_135m/first_greeting",
        "--reason",
        "the grader was too strict",
        "--reject",
        "first_bees_make",
        "--json",
    ];
    let output = folder.harness(&decided);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let report = json(&output);
    assert_eq!(report["accepted"][0], "smollm2_135m/first_greeting");
    assert_eq!(report["rejected"][0], "smollm2_135m/first_bees_make");
    assert!(CASES.iter().all(|case| !folder.waits(case)));
    let after = folder.accepted("first_greeting").header;
    assert_eq!(after.reason.as_deref(), Some("the grader was too strict"));
    assert_eq!(after.replaces, Some(before.digest().unwrap()));
    assert_eq!(after.recorded.stack, "cpu_vllm0.32.0");
    assert_eq!(
        folder.accepted("first_bees_make").header.recorded.stack,
        "cpu_vllm0.12.0"
    );
}

#[test]
fn all_are_accepted_with_a_reason_only() {
    let folder = Folder::new();
    assert_eq!(folder.harness(&["review", "--accept-all"]).status.code(), Some(2));
    assert!(
        CASES.iter().all(|case| folder.waits(case)),
        "none is accepted where one cannot be"
    );
    let output = folder.harness(&["review", "--accept-all", "--reason", "new reference"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(CASES.iter().all(|case| !folder.waits(case)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = Folder::new();
    for (arguments, complaint) in [
        (
            &["--accept", "nothing"][..],
            "no golden of nothing waits; `harness review --list` shows those that do",
        ),
        (&["--reason", "because"], "--reason goes with --accept"),
        (
            &["--accept", CASES[0], "--reject", CASES[0]],
            "both accepted and rejected",
        ),
        (&["--accept-all", "--accept", CASES[0]], "cannot be used with"),
    ] {
        let output = folder.harness(&[&["review"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(complaint), "{}", told(&output));
    }
    assert!(CASES.iter().all(|case| folder.waits(case)));
}

#[test]
fn a_page_and_json_hold_what_waits() {
    let folder = Folder::new();
    let page = folder.path("page.html");
    let output = folder.harness(&["review", "--html", page.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let html = fs::read_to_string(page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    let output = folder.harness(&["review", "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let report = json(&output);
    assert_eq!(report["schema_version"], 1);
    for (waiting, case) in report["pending"].as_array().unwrap().iter().zip(CASES) {
        assert_eq!(waiting["case"], case);
        assert_eq!(waiting["standing"], "identical");
        assert!(html.contains(&format!("id=\"smollm2_135m.{case}\"")));
    }
    assert_eq!(report["pending"][1]["reason_needed"], "grade_fell");
}

#[test]
fn goldens_of_another_folder_are_reviewed() {
    let folder = Folder::new();
    let handed = folder.path("handed/golden/smollm2_135m");
    fs::create_dir_all(&handed).unwrap();
    let waiting = folder.path("golden/smollm2_135m/first_bees_make.snap.new");
    fs::rename(&waiting, handed.join("first_bees_make.snap.new")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("--root")
        .arg(folder.folder.path())
        .args(["review", "--accept-all", "--json"])
        .env("INSTA_PENDING_DIR", folder.path("handed"))
        .output()
        .unwrap();
    assert_eq!(json(&output)["accepted"][0], "smollm2_135m/first_bees_make");
    assert_eq!(
        folder.accepted("first_bees_make").header.recorded.stack,
        "cpu_vllm0.32.0"
    );
    assert!(folder.waits("first_greeting"), "what lies elsewhere still waits");
}

#[test]
fn a_lowering_without_a_word_fails_the_audit() {
    let folder = Folder::new();
    let git = |arguments: &[&str]| {
        let status = Command::new("git")
            .arg("-C")
            .arg(folder.folder.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .status()
            .unwrap();
        assert!(status.success(), "git {arguments:?}");
    };
    let commit = |max: &str, because: &str| {
        let text =
            format!("budgets: {{ cpu: {{ latency: {{ mean: {{ max: {max}, because: {because} }} }} }} }}\n");
        fs::write(folder.path("models.d/m.yaml"), text).unwrap();
        git(&["add", "models.d"]);
        git(&["commit", "--quiet", "--message", max]);
    };
    let output = folder.harness(&["audit-baselines"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    git(&["init", "--quiet"]);
    commit("1 s", "measured");
    commit("2 s", "measured");
    let output = folder.harness(&["audit-baselines", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let lowering = &json(&output)["lowerings"][0];
    assert_eq!(lowering["metric"], "budgets.cpu.latency.mean.max");
    assert_eq!(lowering["explanation"], "missing");
    commit("2 s", "two streams share the core");
    let output = folder.harness(&["audit-baselines"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("explained later"), "{}", told(&output));
    let output = folder.harness(&["audit-baselines", "--since", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
}
