//! `matrix`: which models on which stacks a change concerns, in repositories that are made for the tests.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A repository with two models on four stacks, and one commit.
struct Repository(tempfile::TempDir);

const DOCKER_C500: &str = "schema: 1
about: a container on a card
accelerator: c500
vllm: 0.8.5
docker: { image: registry.example/vllm:0.8.5, build: [ci/images/build, 0.8.5] }
";
const COMMAND: &str = "schema: 1
about: a command
accelerator: cpu
vllm: 0.8.5
process: { command: [./serve, --verbose], cwd: tools }
";
const PICTURES: &str = "schema: 1
about: a picture
cases:
  - id: circle
    prompt: What is this?
    images: [images/circle.png]
    max_tokens: 8
    grade: { contains: { any: [circle] } }
";

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().expect("a temporary folder"));
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifest");
        let read = |file: &str| fs::read_to_string(good.join(file)).expect("a fixture");
        let manifest = read("models.d/mistral_7b.yaml");
        // Its waiver ends some day.
        let manifest = manifest.split("waivers:").next().expect("a beginning").to_owned();
        let first = manifest.replace("stacks: [sim_c500]", "stacks: [c500_docker, sim_c500]");
        let second = manifest
            .replace("stacks: [sim_c500]", "stacks: [cpu_docker, cpu_command]")
            .replace("cases/arithmetic.yaml", "cases/pictures.yaml")
            .replace("      except: [subtraction]\n", "")
            .replace(
                "modalities: [text]",
                "modalities: [text, image]\n  chat_template: templates/second.jinja",
            )
            .replace("sliding_window: 4096", "vision: { depth: 2, width: 8 }")
            .replace("  c500:", "  cpu:")
            .replace("tensor_parallel: 1", "tensor_parallel: 2");
        repository.write("models.d/first.yaml", &first);
        repository.write("models.d/second.yaml", &second);
        repository.write(
            "models.d/cases/arithmetic.yaml",
            &read("models.d/cases/arithmetic.yaml"),
        );
        repository.write("models.d/cases/pictures.yaml", PICTURES);
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models.d/cases/images");
        let image = fs::read_dir(image)
            .expect("pictures")
            .filter_map(Result::ok)
            .map(|entry| entry.path());
        let image = image
            .filter(|path| path.extension().is_some_and(|kind| kind == "png"))
            .min();
        fs::create_dir_all(repository.path("models.d/cases/images")).expect("a folder");
        fs::copy(
            image.expect("a picture"),
            repository.path("models.d/cases/images/circle.png"),
        )
        .expect("a copy");
        repository.write("models.d/templates/second.jinja", "{{ messages }}");
        repository.write("ci/stacks/sim_c500.yaml", &read("ci/stacks/sim_c500.yaml"));
        repository.write("ci/stacks/cpu_docker.yaml", &read("ci/stacks/cpu_docker.yaml"));
        repository.write("ci/stacks/c500_docker.yaml", DOCKER_C500);
        repository.write("ci/stacks/cpu_command.yaml", COMMAND);
        repository.write("ci/images/build", "#!/bin/sh\n");
        repository.write("tools/serve", "#!/bin/sh\n");
        repository.write("golden/first/greeting.snap", "---\n");
        repository.write("golden/simulated/first/greeting.snap", "---\n");
        repository.write("harness/src/lib.rs", "");
        repository.write("harness/simulator/src/main.rs", "");
        repository.write(".gitignore", "/target\n*.snap.new\n");
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.commit("begin");
        repository
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, text).expect("the file is written");
    }

    fn append(&self, file: &str) {
        let before = fs::read_to_string(self.path(file)).expect("the file is there");
        self.write(file, &format!("{before}\n# changed\n"));
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(self.0.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .expect("git starts");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout).trim().to_owned()
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    fn matrix(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_harness"))
            .args(["matrix", "--root"])
            .arg(self.0.path())
            .args(arguments)
            .output()
            .expect("the harness starts")
    }

    /// The pairs that an appended line in `file` concerns, the output in words, and the file as it was again.
    fn after_changing(&self, file: &str) -> (Vec<String>, String) {
        let before = fs::read(self.path(file)).expect("the file is there");
        self.append(file);
        let output = self.matrix(&["--changed-since", "HEAD"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        fs::write(self.path(file), before).expect("the file is restored");
        (lines(&output.stdout), text(&output.stderr))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    text(bytes).lines().map(str::to_owned).collect()
}

const ALL: [&str; 4] = [
    "first c500_docker",
    "first sim_c500",
    "second cpu_docker",
    "second cpu_command",
];

#[test]
fn each_file_concerns_what_it_decides() {
    let repository = Repository::new();
    let expected: [(&str, &[&str], &str); 14] = [
        ("models.d/first.yaml", &ALL[..2], "its manifest"),
        ("models.d/second.yaml", &ALL[2..], "its manifest"),
        ("models.d/cases/arithmetic.yaml", &ALL[..2], "its cases"),
        ("models.d/cases/pictures.yaml", &ALL[2..], "its cases"),
        ("models.d/templates/second.jinja", &ALL[2..], "its chat template"),
        ("golden/first/greeting.snap", &ALL[..1], "its golden"),
        ("golden/simulated/first/greeting.snap", &ALL[1..2], "its golden"),
        ("ci/stacks/cpu_docker.yaml", &ALL[2..3], "the stack"),
        ("ci/stacks/sim_c500.yaml", &ALL[1..2], "the stack"),
        ("ci/images/build", &ALL[..1], "the recipe of the stack's image"),
        ("tools/serve", &ALL[3..], "the stack's command"),
        ("harness/simulator/src/main.rs", &ALL[1..2], "the simulator"),
        ("harness/src/lib.rs", &ALL, "the harness itself"),
        (".gitignore", &[], "nothing to validate"),
    ];
    for (file, pairs, why) in expected {
        let (found, words) = repository.after_changing(file);
        assert_eq!(found, pairs, "{file}: {words}");
        assert!(words.contains(why), "{file}: {words}");
    }
    let picture = repository.path("models.d/cases/images/circle.png");
    let mut bytes = fs::read(&picture).expect("the picture");
    bytes.extend(b"trailing");
    fs::write(picture, bytes).expect("the picture is written");
    let output = repository.matrix(&["--changed-since", "HEAD"]);
    assert_eq!(lines(&output.stdout), ALL[2..], "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("a picture of its cases"));
}

#[test]
fn only_what_happened_on_this_side_of_the_fork_counts() {
    let repository = Repository::new();
    repository.git(&["checkout", "--quiet", "-b", "work"]);
    repository.append("ci/stacks/cpu_docker.yaml");
    repository.commit("on the branch");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.append("models.d/first.yaml");
    repository.commit("on main, meanwhile");
    repository.git(&["checkout", "--quiet", "work"]);
    let output = repository.matrix(&["--changed-since", "main"]);
    assert_eq!(lines(&output.stdout), ["second cpu_docker"]);
    // A golden that waits is none yet, a new file that is not committed counts, a renamed one under both names.
    repository.write("golden/first/greeting.snap.new", "---\n");
    repository.write("golden/second/greeting.snap", "---\n");
    repository.git(&["mv", "golden/first/greeting.snap", "golden/first/other.snap"]);
    let output = repository.matrix(&["--changed-since", "main"]);
    assert_eq!(
        lines(&output.stdout),
        ["first c500_docker", "second cpu_docker", "second cpu_command"]
    );
}

#[test]
fn a_stack_that_nothing_names_is_pointed_out() {
    let repository = Repository::new();
    repository.write("ci/stacks/new.yaml", DOCKER_C500);
    repository.write("models.d/cases/new.yaml", PICTURES);
    fs::remove_file(repository.path("golden/first/greeting.snap")).expect("the golden is removed");
    fs::remove_file(repository.path("models.d/second.yaml")).expect("the manifest is removed");
    let output = repository.matrix(&["--changed-since", "HEAD"]);
    assert_eq!(lines(&output.stdout), ["first c500_docker"]);
    insta::assert_snapshot!(steady(&repository, &text(&output.stderr)));
}

#[test]
fn everything_is_told_with_its_first_files() {
    let repository = Repository::new();
    for name in ["a", "b", "c", "d", "e"] {
        repository.write(&format!("harness/src/{name}.rs"), "");
    }
    repository.write("Cargo.lock", "");
    repository.append("models.d/first.yaml");
    let output = repository.matrix(&["--changed-since", "HEAD", "--without-cards"]);
    assert_eq!(lines(&output.stdout), ALL[1..]);
    insta::assert_snapshot!(steady(&repository, &text(&output.stderr)));
}

#[test]
fn nothing_changed_is_an_empty_matrix_and_no_failure() {
    let repository = Repository::new();
    for (format, expected) in [(None, ""), (Some("--github"), "{\"include\":[]}\n")] {
        let mut arguments = vec!["--changed-since", "HEAD"];
        arguments.extend(format);
        let output = repository.matrix(&arguments);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), expected);
        assert!(text(&output.stderr).contains("nothing to validate: no model and no stack is concerned"));
    }
    // GitLab refuses a pipeline without jobs.
    let output = repository.matrix(&["--changed-since", "HEAD", "--gitlab", "ci/gitlab/pair.yml"]);
    insta::assert_snapshot!(text(&output.stdout));
}

#[test]
fn a_bad_revision_is_wrong_usage() {
    let repository = Repository::new();
    let output = repository.matrix(&["--changed-since", "no-such-branch"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    insta::assert_snapshot!(text(&output.stderr));
    for option in ["--all", "-h", ""] {
        let argument = format!("--changed-since={option}");
        let output = repository.matrix(&[&argument]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{option}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn the_revision_before_a_branchs_first_concerns_everything() {
    let repository = Repository::new();
    let output = repository.matrix(&["--changed-since", &"0".repeat(40)]);
    assert_eq!(lines(&output.stdout), ALL);
    assert!(
        text(&output.stderr).contains("the branch is new"),
        "{}",
        text(&output.stderr)
    );
    let output = repository.matrix(&[]);
    assert_eq!(lines(&output.stdout), ALL);
    assert!(
        text(&output.stderr).contains("no --changed-since"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn histories_without_a_common_commit_are_compared_as_they_are() {
    let repository = Repository::new();
    repository.git(&["checkout", "--quiet", "--orphan", "other"]);
    repository.append("ci/stacks/cpu_docker.yaml");
    repository.commit("begin again");
    let output = repository.matrix(&["--changed-since", "main"]);
    assert_eq!(lines(&output.stdout), ["second cpu_docker"]);
    assert!(
        text(&output.stderr).contains("no commit in common"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn kinds_of_runners_take_what_they_can_run() {
    let repository = Repository::new();
    let taken = |arguments: &[&str]| lines(&repository.matrix(arguments).stdout);
    assert_eq!(taken(&["--on-cards"]), ["first c500_docker"]);
    assert_eq!(
        taken(&["--without-cards"]),
        ["first sim_c500", "second cpu_docker", "second cpu_command"]
    );
    assert_eq!(
        taken(&["--accelerator", "c500"]),
        ["first c500_docker", "first sim_c500"]
    );
    assert_eq!(
        taken(&["--target", "process", "--target", "simulator"]),
        ["first sim_c500", "second cpu_command"]
    );
    assert_eq!(
        taken(&["--model", "second", "--target", "docker"]),
        ["second cpu_docker"]
    );
    let output = repository.matrix(&["--accelerator", "c5000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("expected one of `c500`"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn formats_are_those_of_their_readers() {
    let repository = Repository::new();
    repository.append("models.d/first.yaml");
    let output = repository.matrix(&["--changed-since", "HEAD", "--github"]);
    let github = text(&output.stdout);
    assert_eq!(github.lines().count(), 1);
    let value: Value = serde_json::from_str(&github).expect("JSON");
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).expect("JSON"));
    let output = repository.matrix(&["--changed-since", "HEAD", "--gitlab", "ci/gitlab/pair.yml"]);
    insta::assert_snapshot!(text(&output.stdout));
    let output = repository.matrix(&["--changed-since", "HEAD", "--json"]);
    insta::assert_snapshot!(steady(&repository, &text(&output.stdout)));
}

#[test]
fn a_mistake_in_a_manifest_is_told_instead_of_left_out() {
    let repository = Repository::new();
    repository.write("models.d/second.yaml", "schema: 1\n");
    let output = repository.matrix(&["--changed-since", "HEAD"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("models.d/second.yaml"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn outside_of_a_repository_git_says_so() {
    let repository = Repository::new();
    fs::remove_dir_all(repository.path(".git")).expect("the history is removed");
    let output = repository.matrix(&["--changed-since", "HEAD"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("not a git repository"),
        "{}",
        text(&output.stderr)
    );
}

/// The text with the commit's hash named.
fn steady(repository: &Repository, text: &str) -> String {
    let hash = repository.git(&["rev-parse", "HEAD"]);
    text.replace(&hash, "HASH").replace(&hash[..12], "HASH")
}
