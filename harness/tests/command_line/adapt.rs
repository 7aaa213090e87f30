//! `adapt` against the simulator, whose faults go away when a server is started differently: from the first boot to the
//! diff, the reports and the manifest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use harness::{
    adapt::{AdaptReport, AttemptEnd, Conclusion},
    record::{self, Event},
};

use crate::real_parts;

struct Told {
    code: i32,
    diff: String,
    errors: String,
    report: AdaptReport,
    folder: PathBuf,
}

/// A repository with one manifest (a copy, so that it may be written to) and a simulator of 200 simulated seconds a
/// second.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(model: &str, vllm: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let copy = |from: &str, to: &str| {
            fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
            fs::copy(real_parts::root().join(from), root.join(to)).unwrap();
        };
        copy(&format!("models.d/{model}.yaml"), "models.d/m.yaml");
        copy(
            "models.d/templates/baichuan2.jinja",
            "models.d/templates/baichuan2.jinja",
        );
        copy("ci/cards/c500.yaml", "ci/cards/c500.yaml");
        let cases = real_parts::root().join("models.d/cases");
        for entry in fs::read_dir(cases).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                copy(
                    &format!("models.d/cases/{name}"),
                    &format!("models.d/cases/{name}"),
                );
            }
        }
        fs::create_dir_all(root.join("ci/stacks")).unwrap();
        let stack = format!(
            "schema: 1\nabout: a stand-in\naccelerator: c500\nvllm: {vllm}\nsimulator:\n  profile: c500\n  clock: 200\n"
        );
        fs::write(root.join("ci/stacks/sim.yaml"), stack).unwrap();
        let bench = Self { folder };
        bench.edit(|text| {
            let stacks = text.lines().position(|line| line.starts_with("stacks:")).unwrap();
            let head: Vec<&str> = text.lines().take(stacks).collect();
            let tail: Vec<&str> = text
                .lines()
                .skip(stacks + 1)
                .skip_while(|line| line.starts_with("  - "))
                // Budgets of a card that no stack here has would be a mistake; they stand last.
                .take_while(|line| *line != "  a100_40gb:")
                .collect();
            format!("{}\nstacks: [sim]\n{}\n", head.join("\n"), tail.join("\n"))
        });
        let images = real_parts::root().join("models.d/cases/images");
        if images.is_dir() {
            std::os::unix::fs::symlink(images, bench.root().join("models.d/cases/images")).unwrap();
        }
        bench
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.root().join("models.d/m.yaml")).unwrap()
    }

    fn edit(&self, change: impl FnOnce(&str) -> String) {
        let text = change(&self.manifest());
        fs::write(self.root().join("models.d/m.yaml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command
            .args(["adapt", "--model", "m", "--stack", "sim", "--quiet", "--root"])
            .arg(self.root())
            .args(arguments)
            .env("HARNESS_SIMULATOR", real_parts::simulator())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn adapt(&self, arguments: &[&str]) -> Told {
        let output = self.command(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let folder = self.root().join("target/adapt/latest");
        let json = fs::read_to_string(folder.join("adapt.json")).expect(&errors);
        Told {
            code: output.status.code().unwrap(),
            diff: String::from_utf8(output.stdout).unwrap(),
            report: serde_json::from_str(&json).unwrap(),
            errors,
            folder,
        }
    }
}

fn tried(told: &Told) -> Vec<&str> {
    told.report
        .attempts
        .iter()
        .map(|attempt| attempt.tried.as_str())
        .collect()
}

fn added(told: &Told) -> Vec<&str> {
    let lines = told
        .diff
        .lines()
        .filter(|line| line.starts_with('+') && !line.starts_with("+++"));
    lines.collect()
}

#[test]
fn a_model_that_boots_is_left_alone() {
    let bench = Bench::new("mistral_7b_v0_1", "0.8.5");
    let before = bench.manifest();
    let told = bench.adapt(&["--apply"]);
    assert_eq!((told.code, told.diff.as_str()), (0, ""), "{}", told.errors);
    assert_eq!(told.report.conclusion, Conclusion::Works);
    assert!(
        matches!(&told.report.attempts[0].end, AttemptEnd::Works { answer, .. } if !answer.trim().is_empty())
    );
    assert_eq!(bench.manifest(), before);
    assert!(told.errors.contains("SIMULATED"), "{}", told.errors);
    assert!(
        told.errors
            .contains("next: cargo xtask validate --model m --stack sim\n"),
        "{}",
        told.errors
    );
}

#[test]
fn a_model_too_large_for_one_card_gets_more() {
    let bench = Bench::new("qwen3_32b", "0.8.5");
    bench.edit(|text| text.replace("tensor_parallel: 2", "tensor_parallel: 1"));
    let told = bench.adapt(&[]);
    assert_eq!(told.code, 0, "{}", told.errors);
    let more = "tensor_parallel 1 → 2";
    assert!(tried(&told).contains(&more), "{:?}", tried(&told));
    assert!(
        told.report
            .kept
            .iter()
            .any(|kept| kept.change == more && kept.proven),
        "{:?}",
        told.report.kept
    );
    // Each attempt is a run of its own, whole and readable.
    for number in 1..=told.report.attempts.len() {
        let folder = told.folder.join(format!("attempt_{number:02}"));
        let (entries, _) = record::read(&folder.join("record.jsonl")).unwrap();
        assert!(matches!(entries.last().unwrap().event, Event::RunFinished(_)));
        assert!(folder.join("report.md").is_file() && folder.join("m@sim.server.log").is_file());
    }
}

#[test]
fn what_works_is_written_into_the_manifest_with_its_comments() {
    let bench = Bench::new("mistral_7b_v0_1", "0.12.0");
    let before = bench.manifest();
    let faults = [
        "--fault",
        "exit_at_start:class=remote_code,until=trust_remote_code",
        "--fault",
        "oom_load:until=tensor_parallel_size>=2",
        "--fault",
        "exit_at_start:class=kernel_fault,until=enforce_eager",
    ];
    let told = bench.adapt(&[&["--apply"], &faults[..]].concat());
    assert_eq!(told.code, 0, "{}", told.errors);
    assert_eq!(
        added(&told),
        [
            "+  tensor_parallel: 2",
            "+  trust_remote_code: true",
            "+  args:",
            "+    - { vllm: \"=0.12.0\", add: [--enforce-eager] }",
        ]
    );
    let after = bench.manifest();
    let comments = |text: &str| {
        text.lines()
            .filter(|line| line.contains('#'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(comments(&after), comments(&before));
    assert_ne!(after, before);
    // It now boots as it is.
    let again = bench.adapt(&faults);
    assert_eq!(
        (again.code, again.report.attempts.len()),
        (0, 1),
        "{}",
        again.errors
    );
}

#[test]
fn memory_that_is_taken_and_a_batch_too_large() {
    let bench = Bench::new("mistral_7b_v0_1", "0.12.0");
    let told = bench.adapt(&[
        "--attempts",
        "12",
        "--fault",
        "exit_at_start:class=oom_warmup,until=max_num_seqs<=64",
        "--fault",
        "exit_at_start:class=not_enough_free,until=gpu_memory_utilization<=0.5",
    ]);
    assert_eq!(told.code, 0, "{} {:?}", told.errors, tried(&told));
    let kept: Vec<&str> = told.report.kept.iter().map(|kept| kept.change.as_str()).collect();
    assert!(
        kept.iter().any(|change| change.starts_with("max_num_seqs ")),
        "{kept:?}"
    );
    assert!(
        kept.iter()
            .any(|change| change.starts_with("gpu_memory_utilization ")),
        "{kept:?}"
    );
}

#[test]
fn a_model_without_a_template_gets_that_of_its_family() {
    let bench = Bench::new("baichuan2_13b_chat", "0.8.5");
    bench.edit(|text| text.replace("  chat_template: templates/baichuan2.jinja\n", ""));
    let told = bench.adapt(&["--fault", "no_chat_template"]);
    assert_eq!(told.code, 0, "{}", told.errors);
    assert_eq!(added(&told), ["+  chat_template: templates/baichuan2.jinja"]);
}

#[test]
fn an_attention_backend_is_looked_for() {
    let bench = Bench::new("mistral_7b_v0_1", "0.13.0");
    let told = bench.adapt(&[
        "--fault",
        "exit_at_start:class=no_attention_backend,until=attention_backend==FLASH_ATTN",
    ]);
    assert_eq!(told.code, 0, "{}", told.errors);
    assert_eq!(
        added(&told),
        [
            "+  args:",
            "+    - { vllm: \"=0.13.0\", add: [--attention-backend, FLASH_ATTN] }"
        ]
    );
}

#[test]
fn what_nothing_helps_against_ends_with_what_is_known() {
    let bench = Bench::new("mistral_7b_v0_1", "0.8.5");
    let before = bench.manifest();
    let told = bench.adapt(&["--apply", "--fault", "exit_at_start:class=uninitialized_weights"]);
    assert_eq!((told.code, told.diff.as_str()), (3, ""), "{}", told.errors);
    assert_eq!(told.report.conclusion, Conclusion::NoRemedy);
    assert_eq!(told.report.attempts.len(), 1);
    assert!(told.errors.contains("weights_mismatch"), "{}", told.errors);
    assert_eq!(bench.manifest(), before);
    let exhausted = bench.adapt(&["--fault", "exit_at_start:class=remote_code"]);
    assert_eq!(
        (exhausted.code, exhausted.report.conclusion),
        (3, Conclusion::Exhausted)
    );
    let markdown = fs::read_to_string(exhausted.folder.join("adapt.md")).unwrap();
    assert!(markdown.contains("## What did not work, and why"), "{markdown}");
    let used = bench.adapt(&["--attempts", "2", "--fault", "oom_profiling"]);
    assert_eq!((used.code, used.report.conclusion), (3, Conclusion::AttemptsUsed));
    assert_eq!(used.report.attempts.len(), 2);
}

#[test]
fn a_server_that_runs_already_cannot_be_adapted() {
    let bench = Bench::new("mistral_7b_v0_1", "0.8.5");
    let stack =
        "schema: 1\nabout: runs\naccelerator: c500\nvllm: 0.8.5\nendpoint: { url: \"http://127.0.0.1:9\" }\n";
    fs::write(bench.root().join("ci/stacks/sim.yaml"), stack).unwrap();
    let output = bench.command(&[]).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("runs already"));
}
