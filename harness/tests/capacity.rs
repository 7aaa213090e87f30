//! `harness capacity` from the command line, and predictions beside measurements in a run.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where it stopped"
)]

mod real_parts;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn harness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("--root")
        .arg(real_parts::root())
        .args(arguments)
        .env("HARNESS_SIMULATOR", real_parts::simulator())
        .env("INSTA_UPDATE", "no")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn answer(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = harness(&[&["capacity", "--json"], arguments].concat());
    let value = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        value.unwrap_or_else(|error| panic!("{error}: {}", words(&output))),
    )
}

#[test]
fn the_first_report_comes_out_to_the_digit() {
    let (code, answer) = answer(&[
        "--model",
        "mistral_7b_v0_1",
        "--card",
        "c500",
        "--weights-gib",
        "13.5",
        "--non-torch-gib",
        "0.48",
        "--activation-gib",
        "6.78",
    ]);
    assert_eq!(code, Some(0));
    assert_eq!(format!("{:.2}", answer["weights_gib"].as_f64().unwrap()), "13.49");
    assert_eq!(
        format!("{:.2}", answer["kv_cache_gib"].as_f64().unwrap()),
        "36.51"
    );
    assert_eq!(answer["num_blocks"], 18_691);
    assert_eq!(
        format!("{:.2}", answer["max_concurrency"].as_f64().unwrap()),
        "36.51"
    );
    assert_eq!(answer["cards_needed"], 1);
}

#[test]
fn a_configuration_alone_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let text = r#"{"architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 64, "hidden_size": 5120,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 25600,
        "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}"#;
    fs::write(&config, text).unwrap();
    let file = config.to_str().unwrap();
    let picture = folder.path().join("bars.svg");
    let (code, answer) = answer(&["--config", file, "--svg", picture.to_str().unwrap()]);
    assert_eq!(
        (code, &answer["parameters"]),
        (Some(0), &Value::from(32_762_123_264_u64))
    );
    assert_eq!(
        (&answer["cards_needed"], &answer["cards"]),
        (&Value::from(2), &Value::from(2))
    );
    assert!(fs::read_to_string(&picture).unwrap().starts_with("<svg "));
    let alone = harness(&["capacity", "--config", file, "--tp", "1"]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(
        words(&alone).contains("it does not fit: 61.02 GiB of weights"),
        "{}",
        words(&alone)
    );
}

#[test]
fn wrong_configurations_are_shown_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    fs::write(
        &config,
        "{\"architectures\": [\"LlamaForCausalLM\"],\n \"num_hidden_layers\": 0}",
    )
    .unwrap();
    let output = harness(&["capacity", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("config.json:2:23"), "{}", words(&output));
    for arguments in [
        &["capacity", "--config", "/nonexistent/config.json"][..],
        &["capacity", "--model", "nobody"],
        &["capacity", "--model", "qwen3_32b", "--card", "h999"],
        &["capacity", "--model", "qwen3_32b", "--utilization", "1.5"],
        &[
            "capacity",
            "--model",
            "smollm2_135m",
            "--card",
            "cpu",
            "--vllm",
            "x",
        ],
        &["capacity"],
    ] {
        assert_eq!(harness(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

fn report(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
}

fn trial<'a>(report: &'a Value, name: &str) -> &'a Value {
    let trials = report["models"][0]["trials"].as_array().unwrap();
    let found = trials
        .iter()
        .find(|trial| trial["name"].as_str().is_some_and(|known| known.ends_with(name)));
    found.unwrap_or_else(|| panic!("no trial {name}"))
}

#[test]
fn a_leak_is_found_without_a_golden() {
    let validate = |fault: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let arguments = [
            "validate",
            "--model",
            "mistral_7b_v0_1",
            "--stack",
            "simulator_c500",
            "--out",
            out,
        ];
        let output = harness(&[&arguments[..], &["memory::prediction"], fault].concat());
        (output.status.code(), report(folder.path()))
    };
    let (code, passed) = validate(&[]);
    assert_eq!(
        (code, &trial(&passed, "memory::prediction")["verdict"]),
        (Some(0), &Value::from("passed"))
    );
    let predicted = &passed["models"][0]["predicted"];
    let measured = &passed["models"][0]["memory"];
    let near =
        |key: &str| (predicted[key].as_f64().unwrap() / measured[key].as_f64().unwrap() - 1.0).abs() < 0.01;
    assert!(
        ["weights_gib", "kv_tokens", "max_concurrency"]
            .into_iter()
            .all(near),
        "{predicted} {measured}"
    );
    let (code, failed) = validate(&["--fault", "leak:mib=2048"]);
    let trial = trial(&failed, "memory::prediction");
    assert_eq!((code, &trial["verdict"]), (Some(1), &Value::from("failed")));
    let findings = trial["findings"].to_string();
    assert!(
        findings.contains("a leak, or another process on the card"),
        "{findings}"
    );
}

#[test]
fn real_servers_on_the_cpu_are_as_predicted() {
    for version in ["0.8.5", "0.12.0", "0.32.0"] {
        if !real_parts::docker() || !real_parts::vllm_cpu(version) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let stack = format!("cpu_vllm{version}");
        let arguments = [
            "validate",
            "--model",
            "smollm2_135m",
            "--stack",
            &stack,
            "--out",
            out,
            "memory::prediction",
        ];
        let output = harness(&arguments);
        assert_eq!(output.status.code(), Some(0), "{version}: {}", words(&output));
        let report = report(folder.path());
        assert_eq!(
            trial(&report, "memory::prediction")["verdict"],
            "passed",
            "{version}"
        );
        let tokens = |key: &str| report["models"][0][key]["kv_tokens"].as_u64();
        assert_eq!(tokens("predicted"), Some(46_592), "{version}");
        assert_eq!(tokens("predicted"), tokens("memory"), "{version}");
    }
}

#[test]
fn reports_are_audited_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.md");
    let text = "# Mistral-7B-v0.1\n\n| Metric | MetaX C500 |\n|---|---|\n| Hardware | MetaX C500 |\n| vLLM | 0.8.5 |\n\
                | Total time | 7.23s |\n| Total generated tokens | 920 |\n| Overall throughput | 127.10 tokens/s |\n";
    fs::write(&report, text).unwrap();
    let file = report.to_str().unwrap();
    let output = harness(&["audit", file, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1);
    for key in [
        "column",
        "cells",
        "expected",
        "found",
        "rule",
        "arithmetic",
        "file",
    ] {
        assert!(!findings[0][key].is_null(), "{key}");
    }
    assert_eq!(findings[0]["rule"], "throughput");
    fs::write(&report, text.replace("127.10", "127.25")).unwrap();
    assert_eq!(harness(&["audit", file]).status.code(), Some(0));
    fs::write(&report, "nothing").unwrap();
    for file in [file, "/nonexistent", folder.path().to_str().unwrap()] {
        assert_eq!(harness(&["audit", file]).status.code(), Some(2), "{file}");
    }
}

#[test]
fn a_run_publishes_no_contradiction() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let arguments = [
        "validate",
        "--model",
        "mistral_7b_v0_1",
        "--stack",
        "simulator_c500",
        "--out",
        out,
    ];
    // A busy host may break the limits of speed; the figures must agree with each other all the same.
    let output = harness(&[&arguments[..], &["--skip", "correctness"]].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", words(&output));
    assert_eq!(report(folder.path())["audit"], Value::Array(Vec::new()));
    for name in ["report.json", "report.md"] {
        let file = folder.path().join(name);
        let output = harness(&["audit", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", words(&output));
    }
}
