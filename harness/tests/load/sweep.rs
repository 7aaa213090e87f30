//! Sweeps: the knee that the simulator's profile has, the best level under a promise, and levels that mean nothing.

use std::fs;

use serde_json::Value;

use super::{Simulator, harness, path, real_parts, report, turn};

const PARAMETERS: f64 = 7_241_732_096.0;
/// The stack `simulator_c500` with a clock that a busy host does not blur.
const STACK: &str = "schema: 1
about: the simulator with a clock for tests
accelerator: c500
vllm: 0.8.5
simulator: { profile: c500, clock: 4 }
";
const INPUT: f64 = 384.0;
const OUTPUT: f64 = 64.0;

/// Output tokens a second with `n` in flight, by the simulator's profile of a C500: a step reads all weights (two bytes
/// each), costs something for each sequence, and computes prompts.
fn tokens_per_s(profile: &Value, n: f64) -> f64 {
    let speed = |key: &str| profile["speed"][key].as_f64().unwrap();
    let weights_s = 2.0 * PARAMETERS / (speed("bandwidth_gb_per_s") * 1e9 * speed("decode_share"));
    let sequence_s = speed("sequence_cost_us") * 1e-6;
    let prompt_s = INPUT * 2.0 * PARAMETERS / (speed("prefill_tflops") * 1e12);
    n * OUTPUT / (OUTPUT * (weights_s + sequence_s * n) + n * prompt_s)
}

/// The level of the greatest throughput / latency. In a closed loop the latency of an answer is n × its tokens /
/// throughput, so that it is that of the greatest throughput² / n.
fn knee(profile: &Value, levels: &[f64]) -> f64 {
    let power = |n: f64| tokens_per_s(profile, n).powi(2) / n;
    let mut sorted = levels.to_vec();
    sorted.sort_by(|a, b| power(*b).total_cmp(&power(*a)));
    // A test that a busy host could decide would be none.
    assert!(
        power(sorted[0]) > 1.08 * power(sorted[1]),
        "the knee of this workload is between two levels"
    );
    sorted[0]
}

fn sweep() -> std::process::Command {
    let mut command = harness("sweep");
    command.args(["--json", "--quiet", "--input-len", "384", "--output-len", "64"]);
    command
}

#[test]
fn the_knee_is_the_profiles() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let profile = real_parts::root().join("harness/simulator/profiles/c500.yaml");
    let profile: Value = serde_yaml::from_str(&fs::read_to_string(profile).unwrap()).unwrap();
    let stack = folder.path().join("simulator_c500.yaml");
    fs::write(&stack, STACK).unwrap();
    let mut command = sweep();
    command
        .args(["--root", path(real_parts::root())])
        .args(["--model", "mistral_7b_v0_1", "--stack", path(&stack)])
        .args([
            "--to",
            "64",
            "--promise",
            "e2el_mean=3500ms",
            "--out",
            path(folder.path()),
        ]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("SIMULATED: "), "{told}");
    knee_and_levels(&report, &profile, &told);
    best_level(&report, &profile, &told);
    for (file, word) in [
        ("sweep.svg", "</svg>"),
        ("load.jsonl", "\"in_flight\":64"),
        ("sweep.json", "\"knee\""),
    ] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(text.contains(word), "{file}");
    }
}

fn level(row: &Value) -> f64 {
    row["level"].as_f64().unwrap()
}

fn valid(report: &Value) -> Vec<&Value> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["measured"]["verdict"] == "passed")
        .collect()
}

/// The knee is the profile's, and so is the throughput of each level that was validly measured.
fn knee_and_levels(report: &Value, profile: &Value, told: &str) {
    let rows = report["rows"].as_array().unwrap();
    let doublings: Vec<f64> = rows
        .iter()
        .map(level)
        .filter(|level| level.log2().fract() == 0.0)
        .collect();
    let expected = knee(profile, &doublings);
    let found = report["knee"].as_f64().unwrap_or_else(|| panic!("{told}"));
    // Levels that halving added may lie between the doublings.
    assert!(
        (found / expected).log2().abs() < 0.6,
        "{found} instead of {expected}: {told}"
    );
    for row in valid(report).iter().filter(|row| doublings.contains(&level(row))) {
        let measured = row["measured"]["figures"]["output_tokens_per_s"]
            .as_f64()
            .unwrap();
        let expected = tokens_per_s(profile, level(row));
        assert!(
            (measured / expected - 1.0).abs() < 0.25,
            "{measured} instead of {expected} at {}: {told}",
            level(row)
        );
    }
}

/// The best level under the promise is the profile's: it keeps the promise, and the next valid one breaks it.
fn best_level(report: &Value, profile: &Value, told: &str) {
    // Mean latency is n × the tokens of an answer / throughput: 3.5 s at 44 by the profile.
    let promised = (1..=64_u32)
        .map(f64::from)
        .rfind(|n| n * OUTPUT / tokens_per_s(profile, *n) <= 3.5)
        .unwrap();
    let best = report["best"].as_f64().unwrap_or_else(|| panic!("{told}"));
    assert!(
        (best / promised - 1.0).abs() < 0.25,
        "{best} instead of {promised}: {told}"
    );
    let kept = |row: &Value| row["held"][0]["kept"] == true;
    let valid = valid(report);
    let index = valid.iter().position(|row| level(row) == best).unwrap();
    let next = valid[index + 1];
    assert!(kept(valid[index]) && !kept(next), "{told}");
    // On a host so busy that figures within the interval mean nothing, the search says that it ends before its time.
    assert!(
        report["end"] == "unfit" || level(next) - best <= (best / 16.0).max(1.0),
        "{told}"
    );
    let advice = report["advice"].to_string();
    assert!(
        advice.contains("并发调优") && advice.contains(&format!("建议并发设为 {best}")),
        "{advice}"
    );
}

#[test]
fn levels_that_mean_nothing_are_never_chosen() {
    let _turn = turn();
    let simulator = Simulator::start("0.8.5", 50.0, &["wrong_usage:add=1"]);
    let arguments = [
        "--url",
        &simulator.url,
        "--clock",
        "50",
        "--to",
        "8",
        "--ttft-p99",
        "60s",
    ];
    let (report, code) = report(sweep().args(arguments));
    assert_eq!(
        (code, &report["verdict"]),
        (Some(1), &"invalid".into()),
        "{report:#}"
    );
    assert_eq!((&report["knee"], &report["best"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&report["end"], report["simulated"].as_bool()),
        (&"unfit".into(), Some(true))
    );
    let verdicts: Vec<&Value> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["measured"]["verdict"])
        .collect();
    assert_eq!(verdicts, ["invalid", "invalid"]);
}

#[test]
fn rates_are_swept_on_the_servers_clock() {
    let _turn = turn();
    let simulator = Simulator::start("0.8.5", 20.0, &[]);
    let arguments = [
        "--url",
        &simulator.url,
        "--clock",
        "20",
        "--rate",
        "1,4",
        "-n",
        "40",
    ];
    let (report, _) = report(sweep().args(arguments));
    let rows = report["rows"].as_array().unwrap();
    assert_eq!((report["axis"].as_str(), rows.len()), (Some("rate"), 2));
    for row in rows {
        let (level, figures) = (row["level"].as_f64().unwrap(), &row["measured"]["figures"]);
        assert_eq!(
            (&figures["sent"], &figures["succeeded"]),
            (&40.into(), &40.into())
        );
        // Forty arrivals of a Poisson process: their time varies by 16 %.
        let wall = figures["wall_s"].as_f64().unwrap();
        assert!((20.0..70.0).contains(&(wall * level)), "{wall} s at {level}/s");
    }
}

#[test]
fn what_cannot_be_swept_is_said() {
    for (arguments, said) in [
        (
            vec!["--from", "8", "--to", "4", "--url", "http://127.0.0.1:1"],
            "--from 8 is above --to 4",
        ),
        (
            vec!["--url", "http://127.0.0.1:1", "--promise", "ttft=1s"],
            "is no promise",
        ),
        (
            vec!["--url", "http://127.0.0.1:1", "--rate", "0"],
            "requests a second",
        ),
    ] {
        let output = harness("sweep").args(arguments).output().unwrap();
        let told = super::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(said), "{told}");
    }
}
