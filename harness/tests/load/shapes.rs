//! Every shape sends what it says, and the result can be read by those who read `vllm bench serve`'s.

use std::fs;

use serde_json::Value;

use super::{Simulator, condition, load, path, report, turn};

/// What must be true of any run against a good server, however busy this host is.
fn sent_and_counted(report: &Value, requests: u64, tokens: u64) {
    let figures = &report["phases"][0]["figures"];
    assert_ne!(report["verdict"], "failed", "{report:#}");
    assert_eq!(figures["sent"], requests, "{}", report["shape"]);
    assert_eq!(figures["succeeded"], requests, "{}", report["shape"]);
    assert_eq!(figures["output_tokens"], tokens, "{}", report["shape"]);
    for name in ["output_length", "prompt_length", "usage", "server_counts"] {
        assert_eq!(condition(report, name), "held", "{name} of {}", report["shape"]);
    }
}

#[test]
fn every_shape_sends_what_it_says() {
    let _turn = turn();
    let simulator = Simulator::start("0.8.5", 20.0, &[]);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.jsonl");
    let line = |n| {
        let at_ms = 40 * n;
        format!(r#"{{"timestamp": {at_ms}, "input_length": 40, "output_length": 8}}"#)
    };
    let lines: Vec<String> = (0..12).map(line).collect();
    fs::write(&trace, lines.join("\n")).unwrap();
    let trace = format!("trace:file={},speed=1", path(&trace));
    let lengths = ["--input-len", "32", "--output-len", "8"];
    // Shape, requests asked for, requests sent.
    let shapes = [
        ("single", "6", 6),
        ("concurrency:n=4", "16", 16),
        ("ramp:to=8,over=200ms", "24", 24),
        ("constant:rate=60", "24", 24),
        ("poisson:rate=60", "24", 24),
        ("gamma:rate=60,burstiness=0.5", "24", 24),
        ("rate_ramp:from=20,to=100,over=1s,growth=linear", "24", 24),
        (trace.as_str(), "12", 12),
        ("conversation:n=2,turns=3,think=10ms", "4", 12),
        ("shared_prefix:n=4,prefix=256,groups=1", "16", 16),
        ("long_prompt:n=1,tokens=2000", "4", 4),
    ];
    for (shape, asked, sent) in shapes {
        let arguments = ["--shape", shape, "-n", asked, "--clock", "20"];
        let (report, _) = report(load(&simulator.url, &lengths).args(arguments));
        sent_and_counted(&report, sent, sent * 8);
        assert_eq!(report["phases"].as_array().unwrap().len(), 1);
    }
    let sweep = ["--shape", "sweep:from=1,to=4", "-n", "8", "--clock", "20"];
    let (report, _) = report(load(&simulator.url, &lengths).args(sweep));
    let levels: Vec<&Value> = report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| &phase["in_flight"])
        .collect();
    assert_eq!(levels, [1, 2, 4]);
}

#[test]
fn times_are_the_simulators() {
    let _turn = turn();
    let simulator = Simulator::start("0.8.5", 2.0, &[]);
    let arguments = [
        "--shape",
        "single",
        "-n",
        "3",
        "--clock",
        "2",
        "--output-len",
        "64",
    ];
    let (report, code) = report(&mut load(&simulator.url, &arguments));
    assert_eq!(
        (code, &report["verdict"]),
        (Some(0), &"passed".into()),
        "{report:#}"
    );
    // 14.8 ms a token, by the profile.
    let tpot = report["phases"][0]["figures"]["tpot"]["mean_s"].as_f64().unwrap();
    assert!((tpot - 0.0148).abs() < 0.0010, "{tpot}");
}

#[test]
fn the_file_of_bench_serve_says_the_same() {
    let _turn = turn();
    let simulator = Simulator::start("0.12.0", 20.0, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (file, recording) = (folder.path().join("bench.json"), folder.path().join("load.jsonl"));
    let arguments = [
        "--shape",
        "concurrency:n=4",
        "-n",
        "12",
        "--output-len",
        "16",
        "--clock",
        "20",
    ];
    let files = ["--bench-serve-json", path(&file), "--record", path(&recording)];
    let (report, _) = report(load(&simulator.url, &arguments).args(files));
    sent_and_counted(&report, 12, 192);
    let bench: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let figures = &report["phases"][0]["figures"];
    assert_eq!((&bench["completed"], &bench["failed"]), (&12.into(), &0.into()));
    assert_eq!(bench["total_output_tokens"], 192);
    assert_eq!(bench["max_concurrency"], 4);
    assert_eq!(bench["output_throughput"], figures["output_tokens_per_s"]);
    let ms = |key: &str| bench[key].as_f64().unwrap();
    let mean = figures["ttft"]["mean_s"].as_f64().unwrap() * 1e3;
    assert!((ms("mean_ttft_ms") - mean).abs() < 1e-6);
    for (key, least) in [("median_tpot_ms", 1.0), ("p99_itl_ms", 1.0), ("std_e2el_ms", 0.0)] {
        assert!(ms(key) >= least, "{key}");
    }
    let itls = bench["itls"].as_array().unwrap();
    assert!(
        itls.iter().all(|gaps| gaps.as_array().unwrap().len() == 15),
        "{itls:?}"
    );
    // The recording gives the same figures again.
    let again = super::harness("load")
        .args(["--json", "--from", path(&recording)])
        .output()
        .unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["phases"], report["phases"]);
}
