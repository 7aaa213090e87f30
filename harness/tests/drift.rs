//! Recording, scoring and comparing goldens from the command line, against the simulator process.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where it stopped"
)]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod real_parts;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use harness::golden::{Golden, Recording};
use serde_json::Value;

const MODEL: &str = "smollm2_135m";

/// A folder laid out like the repository, with its manifests and stacks, and goldens of its own.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        real_parts::simulator();
        let folder = tempfile::tempdir().unwrap();
        let from = real_parts::root();
        std::os::unix::fs::symlink(from.join("models.d"), folder.path().join("models.d")).unwrap();
        let stacks = folder.path().join("ci/stacks");
        fs::create_dir_all(&stacks).unwrap();
        for entry in fs::read_dir(from.join("ci/stacks")).unwrap() {
            let file = entry.unwrap().path();
            fs::copy(&file, stacks.join(file.file_name().unwrap())).unwrap();
        }
        let root = Self { folder };
        root.stack("simulator_c500", "");
        root
    }

    /// A stack of the simulator with a clock for tests.
    fn stack(&self, name: &str, more: &str) {
        let text = format!(
            "schema: 1\nabout: the simulator\naccelerator: c500\nvllm: 0.12.0\n{more}\
             simulator: {{ profile: c500, clock: 50 }}\n"
        );
        fs::write(self.path(&format!("ci/stacks/{name}.yaml")), text).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn harness(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_harness"))
            .arg("--root")
            .arg(self.folder.path())
            .args(arguments)
            .env("INSTA_UPDATE", "no")
            .env_remove("INSTA_PENDING_DIR")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Validates what is scored, with further arguments; the exit code and the report of the model.
    fn drift(&self, out: &str, arguments: &[&str]) -> (Option<i32>, Value) {
        let out = self.path(out);
        let out = out.to_str().unwrap();
        let fixed = ["validate", "--model", MODEL, "--quiet", "--out", out];
        let filter = ["correctness::drift"];
        let mut all = fixed.to_vec();
        if !arguments.contains(&"--stack") {
            all.extend(["--stack", "simulator_c500"]);
        }
        all.extend(arguments);
        all.extend(filter);
        let output = self.harness(&all);
        let text = fs::read_to_string(Path::new(out).join("report.json"))
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        let report: Value = serde_json::from_str(&text).unwrap();
        (output.status.code(), report["models"][0].clone())
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The trial of a model's report.
fn trial(model: &Value) -> &Value {
    let trials = model["trials"].as_array().unwrap();
    let is_drift = |trial: &&Value| trial["name"].as_str().unwrap().ends_with("::correctness::drift");
    trials.iter().find(is_drift).expect("the trial was run")
}

fn findings(model: &Value) -> String {
    let findings = trial(model)["findings"].as_array().unwrap();
    let texts: Vec<&str> = findings
        .iter()
        .map(|finding| finding["text"].as_str().unwrap())
        .collect();
    texts.join("\n")
}

/// A root whose goldens were recorded on the simulator and accepted: made once, changed by no test.
fn recorded() -> &'static Root {
    static RECORDED: OnceLock<Root> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let root = Root::new();
        let out = root.path("recording");
        let output = root.harness(&[
            "record",
            "--model",
            MODEL,
            "--stack",
            "simulator_c500",
            "--repeat",
            "2",
            "--json",
            "--out",
            out.to_str().unwrap(),
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("SIMULATED: a simulator answered"),
            "{}",
            stderr(&output)
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let cases = report["cases"].as_array().unwrap();
        assert!(cases.iter().all(|case| case["pending"].is_string()), "{report}");
        assert!(
            report["positions"].as_u64().unwrap() >= 5_000,
            "{}",
            report["positions"]
        );
        // Asked alone once more, and twice at once: three repetitions, all the same.
        assert_eq!(report["floor"]["repeats"], 3);
        assert_eq!(report["floor"]["identical_share"], 1.0);
        assert_eq!(report["floor"]["mean_kld_nat"], 0.0);
        let accepted = root.harness(&["review", "--simulated", "--accept-all"]);
        assert!(accepted.status.success(), "{}", stderr(&accepted));
        root
    })
}

#[test]
fn a_recorded_model_passes_with_enough_positions() {
    let root = recorded();
    let (code, model) = root.drift("same", &[]);
    assert_eq!(code, Some(0), "{}", findings(&model));
    let drift = &model["drift"];
    assert!(drift["positions"].as_u64().unwrap() >= 5_000, "{drift}");
    assert!(drift["prompts"].as_u64().unwrap() >= 50, "{drift}");
    assert_eq!(drift["threshold"]["source"], "floor");
    assert_eq!(
        (&drift["mean_kld_nat"]["value"], &drift["top1"]["value"]),
        (&0.0.into(), &1.0.into())
    );
    // Every report shows it.
    let report = |name| fs::read_to_string(root.path("same").join(name)).unwrap();
    assert!(report("report.md").contains("### Drift from the goldens"));
    assert!(report("junit.xml").contains("mean_kld.measured"));
}

#[test]
fn noise_of_a_quantized_models_size_fails_and_tiny_noise_does_not() {
    let root = recorded();
    // Noise on logits of so many nat gives about half its square as divergence: q8_0 is 1.4e-3, q4 3e-2.
    for (size, code) in [("0.004", 0), ("0.06", 1), ("0.25", 1)] {
        let fault = format!("logit_noise:size={size},seed=7");
        let (found, model) = root.drift(&format!("noise_{size}"), &["--fault", &fault]);
        assert_eq!(found, Some(code), "{size}: {}", findings(&model));
        if code == 1 {
            let evidence = &trial(&model)["findings"][0]["evidence"];
            assert!(
                evidence[0].as_str().unwrap().contains("farthest at position"),
                "{evidence}"
            );
            assert_eq!(trial(&model)["verdict"], "failed");
        }
    }
}

#[test]
fn two_runs_compare_as_one_compares_with_its_goldens() {
    let root = recorded();
    let (_, model) = root.drift("compared", &["--fault", "logit_noise:size=0.06,seed=3"]);
    let output = root.harness(&[
        "compare",
        "--json",
        root.path("recording").to_str().unwrap(),
        root.path("compared").to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let compared: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(compared["figures"]["positions"], model["drift"]["positions"]);
    for figure in ["mean_kld_nat", "top1", "p999_kld_nat", "mean_delta_nat"] {
        let value = |report: &Value| report[figure]["value"].as_f64().unwrap();
        let (one, other) = (value(&compared["figures"]), value(&model["drift"]));
        assert!((one - other).abs() < 1e-12, "{figure}: {one}, not {other}");
    }
    assert_eq!(compared["answers"], Value::Null, "only tokens were scored");
    let same = root.path("recording");
    let same = same.to_str().unwrap();
    let output = root.harness(&["compare", same, same]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("118 identical"), "{}", stderr(&output));
    let output = root.harness(&["compare", same, root.path("ci").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_server_that_caps_alternatives_is_asked_for_fewer() {
    let root = recorded();
    root.stack("capped", "args: [--max-logprobs, '5']\n");
    let (code, model) = root.drift("capped", &["--stack", "capped"]);
    assert_eq!(code, Some(0), "{}", findings(&model));
    assert!(findings(&model).contains("as few as 5"), "{}", findings(&model));
}

#[test]
fn a_capped_server_is_recorded_with_what_it_gives() {
    let root = Root::new();
    root.stack("capped", "args: [--max-logprobs, '5']\n");
    let record = |case: &str| {
        let output = root.harness(&[
            "record", "--model", MODEL, "--stack", "capped", "--case", case, "--json",
        ]);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code(), report, stderr(&output))
    };
    let (code, report, said) = record("first_greeting");
    assert_eq!(code, Some(0), "{said}");
    let golden = read(Path::new(report["cases"][0]["pending"].as_str().unwrap()));
    assert_eq!(golden.header.settings.top_logprobs, 5);
    let (code, _, said) = record("no_such_case");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no_such_case"), "{said}");
}

fn read(path: &Path) -> Golden {
    Golden::parse(&fs::read_to_string(path).unwrap(), path).unwrap()
}

/// A root with the goldens of [`recorded`], to be spoilt.
fn copied() -> Root {
    let root = Root::new();
    let from = recorded().path("golden/simulated").join(MODEL);
    let to = root.path("golden/simulated").join(MODEL);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
    root
}

#[test]
fn a_spoilt_golden_is_told_and_left_as_it_is() {
    let root = copied();
    let golden = |case: &str| root.path(&format!("golden/simulated/{MODEL}/{case}.snap"));
    let spoil = |case: &str, change: &dyn Fn(String) -> String| {
        let text = fs::read_to_string(golden(case)).unwrap();
        let spoilt = change(text.clone());
        assert_ne!(spoilt, text);
        fs::write(golden(case), &spoilt).unwrap();
        spoilt
    };
    let cut = spoil("drift_explain_soap", &|text| text[..text.len() / 2].to_owned());
    let edited = spoil("drift_story_clock", &|text| {
        text.replacen("# answer\n| ", "# answer\n| Not ", 1)
    });
    let foreign = fs::read_to_string(golden("drift_list_tools")).unwrap();
    fs::write(golden("drift_list_words"), &foreign).unwrap();
    let (code, model) = root.drift("spoilt", &[]);
    assert_eq!(code, Some(1));
    assert_eq!(trial(&model)["verdict"], "invalid");
    let said = findings(&model);
    for part in ["cut off", "changed by hand", "it was moved or copied"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (case, text) in [
        ("drift_explain_soap", cut),
        ("drift_story_clock", edited),
        ("drift_list_words", foreign),
    ] {
        assert_eq!(
            fs::read_to_string(golden(case)).unwrap(),
            text,
            "{case} is as it was"
        );
    }
    // Nor is anything recorded over them.
    let output = root.harness(&[
        "record",
        "--model",
        MODEL,
        "--stack",
        "simulator_c500",
        "--repeat",
        "1",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("cut off"), "{}", stderr(&output));
}

#[test]
fn a_changed_prompt_and_a_changed_tokenizer_are_named_and_not_scored() {
    let root = copied();
    let store = harness::golden::Store::with_update(
        root.path("golden"),
        true,
        harness::golden::Update::from_variables(|_| None).unwrap(),
    );
    let mut template = store.load(MODEL, "drift_letter_job").unwrap().unwrap();
    template.prompt_ids.remove(1);
    store.accept(&template).unwrap();
    let mut swapped = store.load(MODEL, "drift_story_robot").unwrap().unwrap();
    swapped.answer = "Other words altogether.".to_owned();
    store.accept(&swapped).unwrap();
    let (code, model) = root.drift("changed", &[]);
    assert_eq!(code, Some(1));
    let said = findings(&model);
    assert!(said.contains("the prompt became other tokens"), "{said}");
    assert!(said.contains("became another text"), "{said}");
    let unscored = model["drift"]["unscored"].as_array().unwrap();
    assert_eq!(unscored.len(), 2, "{unscored:?}");
}

#[test]
fn refused_answers_are_recorded_only_where_that_is_known() {
    let root = Root::new();
    // Garbled output satisfies no grader.
    root.stack("garbling", "");
    let stack = root.path("ci/stacks/garbling.yaml");
    let text = fs::read_to_string(&stack).unwrap();
    fs::write(
        &stack,
        text.replace("clock: 50", "clock: 50, faults: ['garble:every=2']"),
    )
    .unwrap();
    let record = |more: &[&str]| {
        let fixed = [
            "record", "--model", MODEL, "--stack", "garbling", "--repeat", "1", "--json",
        ];
        let case = ["--case", "knowledge_largest_planet"];
        let output = root.harness(&[&fixed[..], &case[..], more].concat());
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code(), report["cases"][0].clone())
    };
    let (code, case) = record(&[]);
    assert_eq!(code, Some(1));
    assert!(
        case["refused"].as_str().unwrap().contains("--known-wrong"),
        "{case}"
    );
    assert_eq!(case["pending"], Value::Null);
    let (_, case) = record(&["--known-wrong", "garbled on purpose"]);
    if let Some(pending) = case["pending"].as_str() {
        let golden = read(Path::new(pending));
        assert_eq!(golden.header.reason.as_deref(), Some("garbled on purpose"));
        let accepted = root.harness(&["review", "--simulated", "--accept-all"]);
        assert!(accepted.status.success(), "{}", stderr(&accepted));
        let kept = Recording::read(&root.path("golden/simulated")).unwrap();
        let kept = kept.goldens.values().next().unwrap();
        assert_eq!(
            kept.header.reason.as_deref(),
            Some("garbled on purpose"),
            "the reason stays"
        );
    } else {
        // Garbling counts tokens over all requests, so that a repetition is garbled elsewhere: no steady server.
        assert!(case["refused"].as_str().unwrap().contains("not steady"), "{case}");
    }
}
