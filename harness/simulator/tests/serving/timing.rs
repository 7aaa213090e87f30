//! Speeds and queues, measured by a client and by the server's own metrics.

use std::time::Instant;

use serde_json::json;

use crate::server::{Server, plan};

/// Slow enough that a client's own milliseconds do not matter.
const CLOCK: f64 = 5.0;

async fn generate(server: &Server, tokens: u64) {
    let body = json!({"prompt": "Once upon a time", "max_tokens": tokens, "ignore_eos": true});
    let answer = server.complete(body).await;
    assert_eq!(answer["usage"]["completion_tokens"], tokens);
}

/// Simulated seconds of some work.
async fn timed(work: impl Future<Output = ()>) -> f64 {
    let begin = Instant::now();
    work.await;
    begin.elapsed().as_secs_f64() * CLOCK
}

fn assert_close(measured: f64, expected: f64, tolerance: f64) {
    let off = (measured / expected - 1.0).abs();
    assert!(
        off < tolerance,
        "{measured} instead of {expected}: off by {:.1} %",
        100.0 * off
    );
}

async fn server() -> Server {
    plan("0.8.5")
        .with("/clock", json!(CLOCK))
        .with("/profile", quick_boot())
        .serve()
        .await
}

/// The C500's figures with a boot that takes no time.
fn quick_boot() -> serde_json::Value {
    let mut profile = card();
    profile["boot"] = json!({"load_gib_per_s": 1e6, "profile_s": 0.0, "graphs_s": 0.0});
    profile
}

fn card() -> serde_json::Value {
    json!({
        "name": "c500", "device": "MetaX C500", "platform": "metax",
        "memory": {"total_gib": 63.626, "weight_overhead_gib": 0.007_812_5, "non_torch_gib": 0.48,
            "collective_gib": 0.62, "graph_gib": 0.12, "activation_base_gib": 0.25,
            "activation_token_factor": 7.0715, "activation_logit_factor": 4.0},
        "speed": {"bandwidth_gb_per_s": 1800.0, "decode_share": 0.55026, "sequence_cost_us": 188.0,
            "prefill_tflops": 120.0, "tensor_parallel_us_per_layer": 18.0},
        "boot": {}
    })
}

#[tokio::test]
async fn one_stream_and_two_keep_the_measured_times() {
    let server = server().await;
    for (tokens, seconds) in [(160, 2.37), (221, 3.27), (246, 3.65), (256, 3.79)] {
        assert_close(timed(generate(&server, tokens)).await, seconds, 0.03);
    }
    // The server's own account has no client in it.
    let latency = server.metric("vllm:e2e_request_latency_seconds_sum").await;
    assert_close(latency, 883.0 / 67.48, 0.005);
    let worker = async |first, second| {
        generate(&server, first).await;
        generate(&server, second).await;
    };
    let queue = [184, 256, 184, 256];
    let both = timed(async {
        tokio::join!(worker(queue[0], queue[2]), worker(queue[1], queue[3]));
    });
    assert_close(both.await, 7.66, 0.03);
}

#[tokio::test]
async fn a_full_batch_makes_others_wait() {
    let server = plan("0.12.0").args(&["--max-num-seqs", "2"]).serve().await;
    tokio::join!(
        generate(&server, 100),
        generate(&server, 100),
        generate(&server, 100),
        generate(&server, 100)
    );
    let queued = server.metric("vllm:request_queue_time_seconds_sum").await;
    assert!(queued > 2.0, "two of four waited 1.5 s each: {queued}");
    assert_eq!(server.count("vllm:num_requests_running").await, 0);
    assert_eq!(server.count("vllm:generation_tokens_total").await, 400);
}

#[tokio::test]
async fn too_few_blocks_preempt_and_everything_is_still_answered() {
    let server = plan("0.12.0")
        .args(&[
            "--max-model-len",
            "512",
            "--num-gpu-blocks-override",
            "40",
            "--no-enable-prefix-caching",
        ])
        .serve()
        .await;
    let prompts: Vec<_> = (0..4).map(|at| format!("Prompt number {at}")).collect();
    let body = json!({"prompt": prompts, "max_tokens": 400, "ignore_eos": true});
    let crowded = server.complete(body).await;
    assert!(server.count("vllm:num_preemptions_total").await > 0);
    let body = json!({"prompt": "Prompt number 3", "max_tokens": 400, "ignore_eos": true});
    let alone = server.complete(body).await;
    assert_eq!(crowded["choices"][3]["text"], alone["choices"][0]["text"]);
}

#[tokio::test]
async fn equal_prefixes_are_found_in_the_cache() {
    let server = plan("0.12.0")
        .args(&["--enable-prompt-tokens-details"])
        .serve()
        .await;
    let prompt = "the quick answer ".repeat(40);
    let body = json!({"prompt": prompt, "max_tokens": 2});
    server.complete(body.clone()).await;
    assert_eq!(server.count("vllm:prefix_cache_hits_total").await, 0);
    let second = server.complete(body).await;
    let hits = server.count("vllm:prefix_cache_hits_total").await;
    assert!(hits >= 96 && hits.is_multiple_of(16), "{hits}");
    assert_eq!(
        second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64(),
        Some(hits)
    );
}

#[tokio::test]
async fn the_truth_file_tells_every_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("truth.jsonl");
    let server = plan("0.8.5")
        .args(&["--sim-truth", path.to_str().unwrap()])
        .serve()
        .await;
    generate(&server, 10).await;
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[0]["event"], "arrived");
    assert!(
        lines
            .windows(2)
            .all(|pair| pair[0]["ns"].as_u64() <= pair[1]["ns"].as_u64())
    );
}
