//! The six families in miniature (`ci/miniatures`) through the normal path: boot, memory, cases, speed.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    bench::{containers, miniature, turn},
    real_parts,
};

/// The six of `ci/images/miniatures`.
const FAMILIES: [&str; 6] = [
    "baichuan2",
    "codellama",
    "deepseek_v2",
    "mistral",
    "qwen2_vl",
    "qwen3",
];

fn manifest(family: &str) -> PathBuf {
    real_parts::root().join(format!("ci/miniatures/miniature_{family}.yaml"))
}

/// Validates these families and gives the report, in which all has passed; `None` where this machine lacks a part.
fn validated(version: &str, families: &[&str]) -> Option<Value> {
    let there = families.iter().all(|family| miniature(family).is_some());
    if !real_parts::docker() || !real_parts::vllm_cpu(version) || !there {
        return None;
    }
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let stack = format!("cpu_vllm{version}");
    // Nearly all tokens tie for random weights: their goldens hold on the kind of processor that recorded them, and a
    // test has to hold on all.
    let drift = ["--skip", "correctness::drift"];
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["validate", "--stack", &stack])
        .args(drift)
        .arg("--root")
        .arg(real_parts::root())
        .arg("--out")
        .arg(out.path())
        .args(
            families
                .iter()
                .flat_map(|family| ["--model".into(), manifest(family)]),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(out.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["simulated"], false);
    assert_eq!(containers("run", report["run_id"].as_str().unwrap()), [""; 0]);
    for (family, model) in families.iter().zip(report["models"].as_array().unwrap()) {
        let session = format!("miniature_{family}@cpu_vllm{version}");
        // On the CPU every version tells of these three; compiling and graphs are off.
        for phase in ["starting", "loading weights", "serving"] {
            assert!(
                stderr.contains(&format!("{session}: {phase} (after ")),
                "{stderr}"
            );
        }
        assert!(
            model["latency"]["mean_generation_tokens_per_s"].as_f64() > Some(0.0),
            "{model}"
        );
        assert!(model["memory"]["kv_tokens"].as_u64() > Some(400_000), "{model}");
    }
    Some(report)
}

/// The architecture that vLLM resolved for each model.
fn architectures(report: &Value) -> Vec<&str> {
    let models = report["models"].as_array().unwrap().iter();
    models
        .map(|model| model["environment"]["architecture"].as_str().unwrap())
        .collect()
}

fn answer<'a>(model: &'a Value, case: &str) -> &'a str {
    let trials = model["trials"].as_array().unwrap().iter();
    let mut trials = trials.filter(|trial| trial["name"].as_str().unwrap().ends_with(&format!("::{case}")));
    trials.next().unwrap()["answer"].as_str().unwrap()
}

#[test]
fn every_family_has_a_manifest_without_mistakes() {
    let mut files = FAMILIES.map(manifest).to_vec();
    files.push(real_parts::root().join("ci/miniatures/cases.yaml"));
    let checked = harness::manifest::check(real_parts::root(), &files);
    assert_eq!(checked.errors.to_string(), "no errors");
    assert_eq!(checked.warnings.to_string(), "no errors");
    let in_folder = fs::read_dir(real_parts::root().join("ci/miniatures")).unwrap();
    assert_eq!(in_folder.count(), files.len(), "nothing else lies there");
}

#[test]
fn five_families_are_served_by_0_32_0() {
    let families = ["qwen3", "mistral", "codellama", "qwen2_vl", "deepseek_v2"];
    let Some(report) = validated("0.32.0", &families) else {
        return;
    };
    assert_eq!(
        architectures(&report),
        [
            "Qwen3ForCausalLM",
            "MistralForCausalLM",
            "LlamaForCausalLM",
            "Qwen2VLForConditionalGeneration",
            "DeepseekV2ForCausalLM"
        ]
    );
    let vision = &report["models"][3];
    assert_ne!(
        answer(vision, "sees"),
        answer(vision, "sees_nothing"),
        "the picture says something to the model"
    );
}

#[test]
fn baichuan2_is_served_by_0_12_0() {
    if let Some(report) = validated("0.12.0", &["baichuan2"]) {
        assert_eq!(architectures(&report), ["BaichuanForCausalLM"]);
    }
}
