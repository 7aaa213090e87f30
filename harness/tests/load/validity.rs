//! Runs whose figures mean nothing say so themselves.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{Simulator, condition, harness, load, path, real_parts, report, turn};

#[test]
fn a_server_that_lies_about_usage_is_found_out() {
    let _turn = turn();
    for (fault, tokens) in [("wrong_usage:add=1", "128"), ("wrong_usage:add=-1", "128")] {
        let simulator = Simulator::start("0.8.5", 50.0, &[fault]);
        let arguments = [
            "--shape",
            "concurrency:n=2",
            "-n",
            "4",
            "--output-len",
            tokens,
            "--clock",
            "50",
        ];
        let (report, code) = report(&mut load(&simulator.url, &arguments));
        // One of 128 is within every tolerance of lengths.
        assert_eq!(condition(&report, "output_length"), "held", "{fault}");
        assert_eq!(condition(&report, "usage"), "broken", "{fault}");
        assert_eq!(condition(&report, "server_counts"), "broken", "{fault}");
        assert_eq!(
            (code, &report["verdict"]),
            (Some(1), &"invalid".into()),
            "{fault}"
        );
    }
}

#[test]
fn prompts_that_a_cache_knows_are_found_out() {
    let _turn = turn();
    // This release caches prefixes unless told otherwise.
    let simulator = Simulator::start("0.12.0", 50.0, &[]);
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("prompts.txt");
    fs::write(
        &prompts,
        "one two three four five six seven eight nine ten ".repeat(20) + "\n",
    )
    .unwrap();
    let arguments = [
        "--shape",
        "single",
        "-n",
        "6",
        "--output-len",
        "4",
        "--clock",
        "50",
    ];
    let (cached, code) = report(load(&simulator.url, &arguments).args(["--prompts", path(&prompts)]));
    assert_eq!(condition(&cached, "prefix_hits"), "broken", "{cached:#}");
    assert_eq!((code, &cached["verdict"]), (Some(1), &"invalid".into()));
    let (unique, _) = report(&mut load(&simulator.url, &arguments));
    assert_eq!(condition(&unique, "prefix_hits"), "held", "{unique:#}");
}

#[test]
fn a_server_that_slows_down_is_not_steady() {
    let _turn = turn();
    let simulator = Simulator::start("0.8.5", 20.0, &["drift:percent=100,after=30"]);
    let arguments = [
        "--shape",
        "concurrency:n=2",
        "-n",
        "60",
        "--output-len",
        "16",
        "--clock",
        "20",
    ];
    let (report, code) = report(&mut load(&simulator.url, &arguments));
    assert_eq!(condition(&report, "steady"), "broken", "{report:#}");
    assert_eq!((code, &report["verdict"]), (Some(1), &"invalid".into()));
}

/// Runs with 5 % of a processor: stopped for 190 ms, continued for 10 ms, until it has ended.
fn starved(command: &mut std::process::Command) -> (Value, Option<i32>) {
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let deadline = Instant::now() + Duration::from_mins(2);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the starved client does not end");
        for (signal, time_ms) in [(Signal::SIGSTOP, 190), (Signal::SIGCONT, 10)] {
            // It may have ended meanwhile.
            kill(pid, signal).unwrap_or_default();
            thread::sleep(Duration::from_millis(time_ms));
        }
    }
    let output = child.wait_with_output().unwrap();
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        output.status.code(),
    )
}

#[test]
fn a_client_with_a_twentieth_of_a_processor_calls_its_own_run_invalid() {
    let _turn = turn();
    let simulator = Simulator::start("0.8.5", 1.0, &[]);
    let arguments = ["--shape", "concurrency:n=16", "-n", "32", "--output-len", "48"];
    let (report, code) = starved(&mut load(&simulator.url, &arguments));
    assert_eq!(
        (code, &report["verdict"]),
        (Some(1), &"invalid".into()),
        "{report:#}"
    );
    // Whether it is late to send or late to read depends on when it was stopped.
    let late = ["schedule", "reads"].map(|name| condition(&report, name));
    assert!(late.contains(&"broken"), "{report:#}");
    assert_eq!(report["phases"][0]["figures"]["failures"], serde_json::json!({}));
}

#[test]
fn a_trial_on_a_lying_server_is_invalid() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = harness("validate")
        .args([
            "--root",
            path(real_parts::root()),
            "--model",
            "mistral_7b_v0_1",
            "--stack",
            "simulator_c500",
        ])
        .args([
            "--fault",
            "wrong_usage:add=1",
            "--out",
            path(&out),
            "--json",
            "--quiet",
            "concurrency_2",
        ])
        .env("HARNESS_HISTORY", folder.path().join("history"))
        .env("INSTA_UPDATE", "no")
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let trials = report["models"][0]["trials"].as_array().unwrap();
    let trial = trials
        .iter()
        .find(|trial| trial["name"].as_str().unwrap().ends_with("concurrency_2"))
        .unwrap();
    assert_eq!(trial["verdict"], "invalid", "{trial:#}");
    let text = trial["findings"].to_string();
    assert!(
        text.contains("usage: request 0: the server counts 185 tokens where 184 were allowed"),
        "{text}"
    );
    assert!(
        text.contains("server_counts: answers count 884 output tokens, /metrics 880"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(1));
}
