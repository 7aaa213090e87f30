//! Cards and versions of the host, as an mx-smi of its own tells them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use harness::record::{self, Event};
use serde_json::Value;

use super::{MODEL, process_stack, real_parts, text, validate};

/// Runs the boot trial beside an mx-smi that prints the table of version 2.2.8 with one card, on a stack with `extra`
/// lines.
fn boot(folder: &Path, extra: &str) -> (Output, Value) {
    let stack = process_stack(folder);
    let table = real_parts::root().join("harness/src/device/fixtures/table-2.2.8.txt");
    let tool = folder.join("mx-smi");
    fs::write(&tool, format!("#!/bin/sh\nexec cat {}\n", table.display())).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let written = fs::read_to_string(&stack).unwrap();
    fs::write(&stack, written + extra).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let out = folder.join("out");
    let output = validate(&out, &["--model", MODEL, "--stack", &stack, "::boot"])
        .env("PATH", path)
        .output()
        .unwrap();
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    (output, serde_json::from_str(&report).unwrap())
}

#[test]
fn the_cards_of_a_session_are_sampled_into_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let (output, report) = boot(folder.path(), "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (entries, _) = record::read(&folder.path().join("out/record.jsonl")).unwrap();
    let samples = entries
        .iter()
        .filter(|entry| matches!(entry.event, Event::CardSample(_)));
    assert!(samples.count() >= 1, "{entries:?}");
    let model = &report["models"][0];
    assert_eq!(model["cards"][0]["max_memory_used_mib"], 858);
    assert_eq!(model["cards"][0]["max_power_w"], 59.0);
    let line = model["command_line"].as_str().unwrap();
    assert!(
        line.contains(" CUDA_VISIBLE_DEVICES=0 MACA_VISIBLE_DEVICES=0 "),
        "{line}"
    );
}

#[test]
fn a_host_that_keeps_the_stacks_promises_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let promises = "expect: { smi: 2.2.8, driver: 3.0.11, maca: 3.1.0.14, bios: 1.27.5.0 }\n";
    let (output, report) = boot(folder.path(), promises);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = &report["models"][0]["environment"];
    assert_eq!(
        [
            &found["smi"],
            &found["driver"],
            &found["maca_of_host"],
            &found["bios"]
        ],
        ["2.2.8", "3.0.11", "3.1.0.14", "1.27.5.0"]
    );
    assert_eq!(found["cards"], "1 × MetaX C500");
}

#[test]
fn another_driver_than_the_stacks_makes_the_run_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let (output, report) = boot(folder.path(), "expect: { driver: 3.1.0 }\n");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let boot = &report["models"][0]["trials"][0];
    assert_eq!(boot["verdict"], "invalid");
    assert_eq!(
        boot["findings"][0]["text"],
        "the driver is 3.0.11, the stack promises 3.1.0: install that, or name the stack that is installed"
    );
}
