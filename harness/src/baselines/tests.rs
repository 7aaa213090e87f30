//! Audits of repositories that are made for them.

use std::fs;
use std::process::Command;

use super::*;
use crate::golden::sample::golden;
use crate::golden::{Golden, GradeVerdict};

/// A repository of its own.
struct History {
    folder: tempfile::TempDir,
}

impl History {
    fn new() -> Self {
        let history = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        history.git(&["init", "--quiet", "--initial-branch=main"]);
        history
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(self.folder.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Commits everything and returns the hash.
    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits a manifest with one budget and the text that explains it.
    fn budget(&self, min: &str, because: &str) -> String {
        self.write("models.d/m.yaml", &manifest(min, because));
        self.commit(&format!("at least {min}"))
    }

    fn golden(&self, golden: &Golden, message: &str) {
        self.write("golden/smollm2_135m/c.snap", &golden.to_snapshot().unwrap());
        self.commit(message);
    }

    fn audit(&self) -> Audit {
        audit(self.folder.path(), None).unwrap()
    }
}

fn manifest(min: &str, because: &str) -> String {
    format!(
        "serve: {{ max_model_len: 10 }}\nbudgets:\n  c500:\n    memory:\n      kv_cache: {{ min: {min}, because: {because} }}\n"
    )
}

fn explanations(audit: &Audit) -> Vec<Explanation> {
    audit
        .lowerings
        .iter()
        .map(|lowering| lowering.explanation)
        .collect()
}

#[test]
fn a_lowering_with_a_new_because_is_explained() {
    let history = History::new();
    history.budget("36 GiB", "measured");
    history.budget("36.5 GiB", "measured");
    let hash = history.budget("35 GiB", "another driver takes more");
    let audit = history.audit();
    assert_eq!(audit.commits, 3);
    assert!(audit.passes());
    let [lowering] = &audit.lowerings[..] else {
        panic!("{audit:?}")
    };
    assert_eq!(lowering.place.commit, hash[..10]);
    assert_eq!(lowering.place.file, "models.d/m.yaml");
    assert_eq!(lowering.place.subject, "at least 35 GiB");
    assert_eq!(lowering.metric, "budgets.c500.memory.kv_cache.min");
    assert_eq!(
        (lowering.before.as_str(), lowering.after.as_str()),
        ("36.5 GiB", "35 GiB")
    );
    assert_eq!(lowering.because.as_deref(), Some("another driver takes more"));
}

#[test]
fn a_silent_lowering_fails_until_it_is_made_good() {
    let history = History::new();
    history.budget("36 GiB", "measured");
    history.budget("35 GiB", "measured");
    assert_eq!(explanations(&history.audit()), [Explanation::Missing]);
    assert!(!history.audit().passes());
    history.budget("35 GiB", "another driver takes more");
    assert_eq!(explanations(&history.audit()), [Explanation::GivenLater]);
    history.budget("36 GiB", "measured");
    assert_eq!(explanations(&history.audit()), [Explanation::TakenBack]);
    assert!(history.audit().passes());
}

#[test]
fn a_removed_budget_is_a_lowering_and_a_retired_model_is_none() {
    let history = History::new();
    history.budget("36 GiB", "measured");
    history.write("models.d/m.yaml", "budgets: {}\n");
    history.commit("none");
    let audit = history.audit();
    assert_eq!(audit.lowerings[0].after, "removed");
    assert_eq!(explanations(&audit), [Explanation::Missing]);
    fs::remove_file(history.folder.path().join("models.d/m.yaml")).unwrap();
    history.commit("retired");
    assert_eq!(explanations(&history.audit()), [Explanation::Retired]);
}

#[test]
fn a_renamed_manifest_hides_nothing() {
    let history = History::new();
    let padding = "# a line that stays\n".repeat(20);
    history.write(
        "models.d/m.yaml",
        &format!("{padding}{}", manifest("36 GiB", "measured")),
    );
    history.commit("m");
    fs::remove_file(history.folder.path().join("models.d/m.yaml")).unwrap();
    history.write(
        "models.d/n.yaml",
        &format!("{padding}{}", manifest("35 GiB", "measured")),
    );
    history.commit("n");
    let audit = history.audit();
    assert_eq!(audit.lowerings[0].place.file, "models.d/n.yaml");
    assert_eq!(explanations(&audit), [Explanation::Missing]);
}

#[test]
fn only_what_is_younger_is_looked_at() {
    let history = History::new();
    history.budget("36 GiB", "measured");
    let base = history.budget("35 GiB", "measured");
    history.budget("34 GiB", "measured");
    let since = |revision: &str| audit(history.folder.path(), Some(revision));
    assert_eq!(since(&base).unwrap().lowerings.len(), 1);
    assert_eq!(since("HEAD").unwrap(), Audit::default());
    for revision in ["nowhere", "--all", ""] {
        let error = since(revision).unwrap_err();
        assert!(matches!(error, GitError::Revision(_)), "{error}");
    }
}

#[test]
fn a_merge_counts_for_what_only_it_lowers() {
    let history = History::new();
    history.budget("36 GiB", "measured");
    history.git(&["switch", "--quiet", "--create", "side"]);
    history.budget("35 GiB", "explained on the side");
    history.git(&["switch", "--quiet", "main"]);
    history.write("models.d/other.yaml", "schema: 1\n");
    history.commit("elsewhere");
    history.git(&["merge", "--quiet", "--no-ff", "--message", "merge", "side"]);
    assert_eq!(explanations(&history.audit()), [Explanation::Given]);
    // A merge that lowers what neither side did.
    history.git(&["switch", "--quiet", "--create", "again"]);
    history.write("models.d/third.yaml", "schema: 1\n");
    history.commit("third");
    history.git(&["switch", "--quiet", "main"]);
    history.git(&["merge", "--quiet", "--no-ff", "--no-commit", "again"]);
    history.budget("30 GiB", "explained on the side");
    let audit = history.audit();
    assert_eq!(explanations(&audit), [Explanation::Given, Explanation::Missing]);
    assert_eq!(audit.lowerings[1].after, "30 GiB");
}

#[test]
fn waivers_count_as_lowerings() {
    let history = History::new();
    let waiver = |until: &str, reason: &str| {
        history.write(
            "models.d/m.yaml",
            &format!("waivers: [{{ trial: boot, reason: {reason}, until: {until} }}]\n"),
        );
        history.commit(until);
    };
    history.write("models.d/m.yaml", "waivers: []\n");
    history.commit("none");
    waiver("2026-05-01", "slow disk");
    waiver("2026-06-01", "slow disk");
    waiver("2026-05-15", "slow disk");
    let audit = history.audit();
    assert_eq!(explanations(&audit), [Explanation::Given, Explanation::Missing]);
    assert_eq!(
        (
            audit.lowerings[1].before.as_str(),
            audit.lowerings[1].after.as_str()
        ),
        ("2026-05-01", "2026-06-01")
    );
}

#[test]
fn goldens_without_a_reason_are_listed() {
    let history = History::new();
    let mut first = golden();
    first.header.case = "c".to_owned();
    history.golden(&first, "recorded");
    let mut fell = first.clone();
    fell.header.grade.verdict = GradeVerdict::Wrong;
    history.golden(&fell, "accepted by cargo insta");
    let reasoned = fell
        .clone()
        .replacing(&first, Some("the grader was wrong".to_owned()))
        .unwrap();
    history.golden(&first, "back");
    history.golden(&reasoned, "accepted with a reason");
    let audit = history.audit();
    let [unreasoned] = &audit.goldens_without_reason[..] else {
        panic!("{audit:?}")
    };
    assert_eq!(unreasoned.place.subject, "accepted by cargo insta");
    assert_eq!(unreasoned.why, ReasonNeeded::GradeFell);
    assert!(audit.passes(), "it is listed, and only a limit fails the audit");
}

#[test]
fn what_cannot_be_read_is_told() {
    let history = History::new();
    history.budget("36 GiB", "measured");
    history.write("models.d/m.yaml", "budgets: [\n");
    history.write("golden/m/c.snap", "torn");
    let torn = history.commit("torn");
    history.write("golden/m/c.snap", "torn again");
    history.budget("35 GiB", "measured");
    let audit = history.audit();
    assert_eq!(audit.notes.len(), 3, "{audit:?}");
    assert_eq!(
        explanations(&audit),
        [Explanation::Missing],
        "a broken file between hides nothing"
    );
    assert!(
        audit.notes[0].starts_with(&format!("{}:models.d/m.yaml is no YAML", &torn[..10])),
        "{audit:?}"
    );
}

#[test]
fn a_folder_without_history_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = audit(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("not a git repository"), "{error}");
}
