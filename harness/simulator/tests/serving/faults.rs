//! Every fault, seen from outside.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Server, plan};

fn body(tokens: u64) -> Value {
    json!({"prompt": "Once upon a time", "max_tokens": tokens, "ignore_eos": true, "temperature": 0})
}

async fn words(server: &Server) -> String {
    server.complete(body(40)).await["choices"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_slow_boot_takes_longer() {
    let begin = Instant::now();
    drop(plan("0.8.5").with("/clock", json!(1000.0)).serve().await);
    let usual = begin.elapsed();
    let begin = Instant::now();
    drop(
        plan("0.8.5")
            .with("/clock", json!(1000.0))
            .fault("slow_boot:seconds=1000")
            .serve()
            .await,
    );
    assert!(begin.elapsed() > usual + Duration::from_millis(700));
}

#[tokio::test]
async fn never_ready_stays_unready_and_still_stops() {
    let mut server = plan("0.8.5")
        .with("/clock", json!(10_000.0))
        .fault("never_ready")
        .start();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(server.status("/health").await, Some(503));
    assert!(server.log().contains("# cuda blocks: 18691"), "{}", server.log());
    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
}

/// Classes of failures at start, and words of each.
const START_FAILURES: [(&str, &str); 23] = [
    ("not_enough_free", "Free memory on device"),
    (
        "no_kv_room",
        "ValueError: No available memory for the cache blocks.",
    ),
    ("length_too_large", "is larger than"),
    (
        "oom_warmup",
        "CUDA out of memory occurred when warming up sampler",
    ),
    (
        "profiling_disturbed",
        "AssertionError: Error in memory profiling.",
    ),
    (
        "length_above_config",
        "is greater than the derived max_model_len (max_position_embeddings=32768",
    ),
    (
        "unsupported_architecture",
        "Model architectures ['MistralForCausalLM'] are not supported for now.",
    ),
    ("removed_architecture", "and is not supported anymore."),
    ("remote_code", "`--trust-remote-code` flag in the CLI."),
    (
        "bad_path",
        "Invalid repository ID or local directory specified: '/models/mistral'",
    ),
    (
        "missing_weights",
        "Cannot find any model weights with `/models/mistral`",
    ),
    (
        "uninitialized_weights",
        "Following weights were not initialized from checkpoint",
    ),
    (
        "dtype",
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
    ),
    ("nccl", "NCCL error: unhandled system error"),
    ("worker_died", "WorkerProc initialization failed"),
    (
        "slow_start",
        "Timed out waiting for engine core processes to start.",
    ),
    ("missing_module", "ModuleNotFoundError: No module named"),
    (
        "maca_path",
        "expected str, bytes or os.PathLike object, not NoneType",
    ),
    (
        "ring_buffer",
        "[mxkwAllocRingBuff]ioctl alloc ringbuffer failed -1",
    ),
    (
        "tokenizer",
        "'BaichuanTokenizer' object has no attribute 'sp_model'",
    ),
    ("port_taken", "[Errno 98] Address already in use"),
    ("kernel_fault", "an illegal memory access was encountered"),
    (
        "no_attention_backend",
        "No valid attention backend found for cuda",
    ),
];

#[tokio::test]
async fn every_start_failure_says_its_words() {
    for (class, words) in START_FAILURES {
        for (version, end) in [
            ("0.8.5", "Engine process failed to start."),
            ("0.12.0", "Failed core proc(s)"),
        ] {
            let fault = format!("exit_at_start:class={class}");
            let (status, log) = plan(version)
                .with("/clock", json!(1000.0))
                .fault(&fault)
                .fail()
                .await;
            assert_eq!(status.code(), Some(1), "{class} {log}");
            assert!(log.contains(words), "{class} in {version}:\n{log}");
            assert!(!log.contains("Application startup complete"));
            let before_engine = !log.contains("Initializing a V");
            assert!(before_engine || log.contains(end), "{class} in {version}:\n{log}");
        }
    }
}

#[tokio::test]
async fn an_unknown_flag_and_a_kill_have_their_own_status() {
    let (status, log) = plan("0.8.5")
        .fault("exit_at_start:class=unknown_flag")
        .fail()
        .await;
    assert_eq!(status.code(), Some(2));
    assert!(log.contains("error: unrecognized arguments:"));
    let (status, log) = plan("0.8.5").args(&["--no-such-flag"]).fail().await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("error: unrecognized arguments: --no-such-flag"));
    let (status, _) = plan("0.8.5")
        .with("/clock", json!(1000.0))
        .fault("exit_at_start:class=killed")
        .fail()
        .await;
    assert_eq!(status.signal(), Some(9));
}

#[tokio::test]
async fn memory_runs_out_by_fault_and_by_arithmetic() {
    for fault in ["oom_load", "oom_profiling"] {
        let (status, log) = plan("0.12.0")
            .with("/clock", json!(1000.0))
            .fault(fault)
            .fail()
            .await;
        assert_eq!(status.code(), Some(1));
        assert!(
            log.contains("torch.OutOfMemoryError: CUDA out of memory."),
            "{log}"
        );
        assert_eq!(
            log.contains("Model loading took"),
            fault == "oom_profiling",
            "{log}"
        );
    }
    let large = json!(40_000_000_000_u64);
    let (_, log) = plan("0.8.5")
        .with("/clock", json!(1000.0))
        .with("/model/parameters", large)
        .fail()
        .await;
    assert!(log.contains("torch.OutOfMemoryError"), "{log}");
    let (_, log) = plan("0.8.5")
        .args(&["--gpu-memory-utilization", "0.3"])
        .with("/clock", json!(1000.0))
        .fail()
        .await;
    assert!(log.contains("No available memory for the cache blocks"), "{log}");
    let (_, log) = plan("0.8.5")
        .args(&["--max-model-len", "40000"])
        .with("/clock", json!(1000.0))
        .fail()
        .await;
    assert!(
        log.contains("User-specified max_model_len (40000) is greater"),
        "{log}"
    );
}

#[tokio::test]
async fn a_taken_port_ends_the_start() {
    let holder = plan("0.8.5").serve().await;
    let (status, log) = plan("0.8.5")
        .args(&["--port", &holder.port.to_string()])
        .fail()
        .await;
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("Address already in use"), "{log}");
}

#[tokio::test]
async fn a_crash_answers_500_and_ends_the_process() {
    for (version, words) in [
        ("0.8.5", "CUDA error: an illegal memory access"),
        ("0.12.0", "EngineCore encountered a fatal error."),
    ] {
        let mut server = plan(version).fault("crash:after=2").serve().await;
        for _ in 0..2 {
            assert_eq!(server.post("/v1/completions", body(3)).await.0, 200);
        }
        let (status, answer) = server.post("/v1/completions", body(3)).await;
        assert_eq!(status, 500, "{answer}");
        let health = server.status("/health").await;
        let expected = if version == "0.8.5" { 500 } else { 503 };
        assert!(health.is_none_or(|status| status == expected), "{health:?}");
        assert!(server.exit().await.success());
        assert!(server.log().contains(words), "{}", server.log());
    }
}

#[tokio::test]
async fn a_crash_ends_a_stream_with_an_error() {
    let server = plan("0.12.0").fault("crash:after=0").serve().await;
    let mut streamed = body(5);
    streamed["stream"] = json!(true);
    let text = server
        .try_post("/v1/completions", streamed.to_string())
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        text.starts_with("data: {\"error\":{\"message\":\"EngineCore encountered an issue."),
        "{text}"
    );
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_hang_stops_in_mid_stream() {
    let server = plan("0.12.0").fault("hang:after=5").serve().await;
    let mut streamed = body(50);
    streamed["stream"] = json!(true);
    let mut response = server
        .try_post("/v1/completions", streamed.to_string())
        .await
        .unwrap();
    let mut text = String::new();
    let pause = Duration::from_millis(300);
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(pause, response.chunk()).await {
        text += std::str::from_utf8(&piece).unwrap();
    }
    assert_eq!(text.matches("data: ").count(), 5, "{text}");
    assert_eq!(server.status("/health").await, Some(200));
}

#[tokio::test]
async fn a_cut_stream_ends_without_its_end() {
    let server = plan("0.12.0").fault("cut_stream:after=3").serve().await;
    let mut streamed = body(50);
    streamed["stream"] = json!(true);
    let mut response = server
        .try_post("/v1/completions", streamed.to_string())
        .await
        .unwrap();
    let mut text = String::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(piece)) => text += std::str::from_utf8(&piece).unwrap(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && !text.contains("[DONE]"), "{text}");
    assert!(text.matches("data: ").count() <= 3);
}

#[tokio::test]
async fn faults_of_text_come_and_go_by_call() {
    let server = plan("0.12.0").serve().await;
    let right = words(&server).await;
    server.set_faults(&["garble:every=10"]).await;
    let wrong = words(&server).await;
    assert_ne!(wrong, right);
    server.set_faults(&["invalid_utf8"]).await;
    let bytes = server
        .try_post("/v1/completions", body(5).to_string())
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(std::str::from_utf8(&bytes).is_err());
    server.set_faults(&["wrong_usage:add=3"]).await;
    let answer = server.complete(body(5)).await;
    assert_eq!(answer["usage"]["completion_tokens"], 8);
    server.set_faults(&[]).await;
    assert_eq!(words(&server).await, right);
    let (status, answer) = server
        .post("/simulator/faults", json!({"faults": ["crush"]}))
        .await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("no fault `crush`"));
}

#[tokio::test]
async fn requests_are_refused_at_their_rate() {
    let server = plan("0.12.0").serve().await;
    for status in [429, 500, 503] {
        server
            .set_faults(&[&format!("http:status={status},every=2")])
            .await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(server.post("/v1/completions", body(1)).await.0);
        }
        assert_eq!(seen, [200, status, 200, status]);
    }
}

#[tokio::test]
async fn drift_slows_later_requests() {
    let server = plan("0.12.0").fault("drift:percent=50,after=1").serve().await;
    server.complete(body(100)).await;
    let first = server.metric("vllm:e2e_request_latency_seconds_sum").await;
    server.complete(body(100)).await;
    let second = server.metric("vllm:e2e_request_latency_seconds_sum").await - first;
    assert!((second / first - 1.5).abs() < 0.05, "{first} {second}");
}

#[tokio::test]
async fn noise_moves_logprobs_by_its_size() {
    let server = plan("0.12.0").serve().await;
    let mut asked = body(40);
    asked["logprobs"] = json!(1);
    let quiet = server.complete(asked.clone()).await["choices"][0]["logprobs"]["token_logprobs"].clone();
    server.set_faults(&["logit_noise:size=0.01,seed=4"]).await;
    let noisy = server.complete(asked.clone()).await["choices"][0]["logprobs"]["token_logprobs"].clone();
    assert_eq!(
        noisy,
        server.complete(asked).await["choices"][0]["logprobs"]["token_logprobs"]
    );
    let first = (quiet[0].as_f64().unwrap() - noisy[0].as_f64().unwrap()).abs();
    assert!(first > 0.0 && first < 0.1, "{first}");
}

#[tokio::test]
async fn leaks_show_at_boot_and_grow() {
    let server = plan("0.8.5").fault("leak:mib=512,runs=2").serve().await;
    let log = server.log();
    assert!(log.contains("non_torch_memory takes 1.48GiB"), "{log}");
    assert!(log.contains("# cuda blocks: 18179"), "{log}");
    server.complete(body(1)).await;
    assert!(server.get("/simulator/info").await.contains("\"leaked_gib\":0.5"));
}

#[tokio::test]
async fn a_stop_is_obeyed_unless_it_is_to_be_ignored() {
    let mut server = plan("0.12.0").serve().await;
    let begin = Instant::now();
    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(server.log().contains("Application shutdown complete."));
    let mut server = plan("0.12.0").fault("ignore_stop").serve().await;
    server.terminate();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(server.is_running());
}
