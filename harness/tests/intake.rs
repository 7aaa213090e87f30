//! `harness new-model` and `harness import` from the command line: what goes where, what is never overwritten, and that
//! a drafted manifest runs without ever passing before somebody measured.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

#[expect(dead_code, reason = "neither Docker nor a real vLLM is needed here")]
mod real_parts;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn harness(root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("--root")
        .arg(root)
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

fn configs() -> PathBuf {
    real_parts::root().join("harness/src/intake/fixtures")
}

/// A repository with the cases, stacks and cards of this one, and no manifest.
fn repository() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in [
        "models.d",
        "models.d/cases",
        "models.d/cases/images",
        "models.d/templates",
        "ci/stacks",
        "ci/cards",
    ] {
        let to = root.path().join(folder);
        fs::create_dir_all(&to).unwrap();
        if folder == "models.d" {
            continue;
        }
        for entry in fs::read_dir(real_parts::root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    root
}

#[test]
fn a_new_model_is_written_once_and_passes_the_check() {
    let root = repository();
    let config = configs().join("Mistral-7B-v0.1/config.json");
    let config = config.to_str().unwrap();
    let shown = harness(root.path(), &["new-model", "--config", config]);
    assert_eq!(shown.status.code(), Some(0), "{}", words(&shown));
    let written = root.path().join("models.d/mistral_7b_v0_1.yaml");
    assert!(!written.exists(), "without --write nothing is written");
    let write = ["new-model", "--config", config, "--write"];
    let output = harness(root.path(), &write);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let text = fs::read(&written).unwrap();
    assert_eq!(text, shown.stdout, "what is shown is what is written");
    let again = harness(root.path(), &write);
    assert_eq!(again.status.code(), Some(2), "{}", words(&again));
    assert!(
        words(&again).contains("is there already and stays as it is"),
        "{}",
        words(&again)
    );
    assert_eq!(fs::read(&written).unwrap(), text);
    let check = harness(root.path(), &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", words(&check));
    let named = harness(root.path(), &["new-model", "--config", config, "--name", "../x"]);
    assert_eq!(named.status.code(), Some(2));
}

#[test]
fn a_draft_runs_and_does_not_pass_unmeasured() {
    let root = repository();
    let config = configs().join("Mistral-7B-v0.1/config.json");
    let write = [
        "new-model",
        "--config",
        config.to_str().unwrap(),
        "--name",
        "fresh",
        "--write",
    ];
    assert_eq!(harness(root.path(), &write).status.code(), Some(0));
    let out = root.path().join("out");
    let arguments = [
        "validate",
        "--model",
        "fresh",
        "--stack",
        "simulator_c500",
        "--out",
        out.to_str().unwrap(),
        "--skip",
        "correctness",
    ];
    let output = harness(root.path(), &arguments);
    assert_eq!(output.status.code(), Some(5), "{}", words(&output));
    let report: Value = serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let trials = report["models"][0]["trials"].as_array().unwrap();
    let verdict = |name: &str| {
        let is_it = |trial: &&Value| trial["name"].as_str().is_some_and(|full| full.ends_with(name));
        trials.iter().find(is_it).unwrap()["verdict"].clone()
    };
    for name in ["memory::weights", "memory::prediction"] {
        assert_eq!(verdict(name), "passed", "{name}");
    }
    for name in [
        "latency::single_stream",
        "throughput::concurrency_2",
        "throughput::concurrency_8",
    ] {
        assert_eq!(verdict(name), "unrecorded", "{name}");
    }
}

#[test]
fn an_import_says_what_it_leaves_out_and_what_became_nothing() {
    let root = repository();
    let list = root.path().join("model.yaml");
    fs::write(
        &list,
        "- name: Qwen3-32B\n  model_path: /data/Qwen3-32B\n  tag: [dense]\n- name: Unheard\n  model_path: /data/Unheard\n",
    )
    .unwrap();
    let (list, configs, out) = (list.to_str().unwrap(), configs(), root.path().join("models.d"));
    let import = ["import", "batched-test", list];
    let found = [
        "--configs",
        configs.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    let output = harness(root.path(), &[&import[..], &found[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(out.join("qwen3_32b.yaml").is_file());
    let told = words(&output);
    assert!(
        told.contains("model.yaml:3: Qwen3-32B: tag: manifests have no tags"),
        "{told}"
    );
    assert!(
        told.contains("model.yaml:4: Unheard: no manifest: nothing tells its shape"),
        "{told}"
    );
    let check = harness(root.path(), &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", words(&check));
    fs::remove_file(out.join("qwen3_32b.yaml")).unwrap();
    let nothing = harness(root.path(), &import);
    assert_eq!(nothing.status.code(), Some(4), "{}", words(&nothing));
    fs::write(list, "- name: [\n").unwrap();
    let broken = harness(root.path(), &import);
    assert_eq!(broken.status.code(), Some(2), "{}", words(&broken));
}
