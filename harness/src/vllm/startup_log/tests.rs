//! The reader on logs of our own making, laid out as each version writes them, and on real captures.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;
use crate::vllm::{CacheConfig, fixtures};

fn read(text: &str) -> (Vec<Phase>, StartupFacts) {
    let mut reader = Reader::new();
    let phases = text.split('\n').filter_map(|line| reader.feed(line)).collect();
    (phases, reader.facts())
}

fn made(name: &str) -> StartupFacts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/startup")
        .join(name);
    read(&fs::read_to_string(path).unwrap()).1
}

#[test]
fn v0_of_0_8_5_on_a_c500() {
    let facts = made("0.8.5-v0-c500.log");
    assert_eq!(facts.arguments["api_key"], "(hidden)");
    insta::assert_json_snapshot!(facts);
}

#[test]
fn v1_of_0_8_5_on_two_cards() {
    insta::assert_json_snapshot!(made("0.8.5-v1-tp2.log"));
}

#[test]
fn v1_of_0_12_0_at_debug() {
    insta::assert_json_snapshot!(made("0.12.0-v1-debug.log"));
}

#[test]
fn v1_of_0_28_0() {
    insta::assert_json_snapshot!(made("0.28.0-v1.log"));
}

#[test]
fn v1_of_0_32_0_on_a_processor() {
    insta::assert_json_snapshot!(made("0.32.0-cpu.log"));
}

#[test]
fn v1_of_0_17_1_on_a_processor() {
    insta::assert_json_snapshot!(made("0.17.1-cpu.log"));
}

/// The processor's worker is a process of its own there.
#[test]
fn v1_of_0_24_0_on_a_processor() {
    insta::assert_json_snapshot!(made("0.24.0-cpu.log"));
}

#[test]
fn phases_come_once_each_in_the_order_of_the_log() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/startup/0.8.5-v1-tp2.log");
    let (phases, _) = read(&fs::read_to_string(path).unwrap());
    let expected = [
        Phase::Starting,
        Phase::LoadingWeights,
        Phase::Profiling,
        Phase::Compiling,
        Phase::KvCache,
        Phase::CapturingGraphs,
        Phase::Serving,
    ];
    assert_eq!(phases, expected);
}

#[test]
fn a_second_start_in_the_same_log_begins_anew() {
    let boot = |version: &str, tokens: u64| {
        format!(
            "INFO 11-24 03:24:58 [a.py:1] vLLM API server version {version}\n\
             INFO 11-24 03:24:58 [a.py:1] GPU KV cache size: {tokens} tokens\nINFO:     Application startup complete.\n"
        )
    };
    let (phases, facts) = read(&(boot("0.11.0", 100) + &boot("0.12.0", 200)));
    assert_eq!(facts.vllm_version.as_deref(), Some("0.12.0"));
    assert_eq!(facts.memory.kv_tokens, Some(200));
    assert_eq!(phases.len(), 6);
    let quoted =
        boot("0.12.0", 200) + "INFO 11-24 03:25:58 [l.py:1] Received request: 'vLLM API server version 9'\n";
    assert_eq!(read(&quoted).1.vllm_version.as_deref(), Some("0.12.0"));
}

#[test]
fn a_log_that_ends_early_says_so() {
    let (_, facts) = read("INFO 11-24 03:24:58 [a.py:1] vLLM API server version 0.12.0\n");
    assert!(!facts.ready);
    assert_eq!(
        facts.memory.why["weights_gib"],
        "the log ends before the KV cache is made"
    );
}

#[test]
fn contradicting_lines_are_noted_once() {
    let line = |word: &str| format!("INFO 11-24 05:00:51 [vllm.py:747] Asynchronous scheduling is {word}.\n");
    let (_, facts) = read(&(line("enabled") + &line("disabled") + &line("disabled")));
    assert_eq!(facts.async_scheduling, Some(true));
    assert_eq!(
        facts.notes,
        ["asynchronous scheduling is printed as enabled and as disabled"]
    );
}

#[test]
fn only_attention_backends_are_taken_for_one() {
    let name = attention_backend;
    assert_eq!(name("Using Torch SDPA backend."), Some("Torch SDPA"));
    assert_eq!(
        name("Using Metax Flash Attention backend on V1 engine."),
        Some("Metax Flash Attention")
    );
    assert_eq!(
        name("Using AttentionBackendEnum.TRITON_MLA backend."),
        Some("TRITON_MLA")
    );
    for other in [
        "Using Triton Unquantized MoE backend out of potential backends: ['x'].",
        "Using backend AttentionBackendEnum.TORCH_SDPA for vit attention",
        "Using allgather_reducescatter all2all backend.",
        "Using mp distributed executor backend.",
    ] {
        assert_eq!(name(other), None, "{other}");
    }
}

#[test]
fn metrics_fill_gaps_and_contradict() {
    let mut memory = MemoryFigures {
        kv_tokens: Some(46_592),
        ..MemoryFigures::default()
    };
    let cache = CacheConfig {
        num_blocks: Some(728),
        kv_tokens: Some(46_000),
        kv_cache_bytes: Some(1 << 30),
        engines: 2,
        ..CacheConfig::default()
    };
    let contradictions = complete_from_metrics(&mut memory, &cache);
    assert_eq!(
        contradictions,
        ["kv_tokens is 46592 in the start-up log and 46000 in /metrics"]
    );
    assert_eq!((memory.num_blocks, memory.kv_cache_gib), (Some(364), Some(1.0)));
    assert_eq!(memory.why["num_blocks"], "from /metrics: num_gpu_blocks");
}

#[test]
fn real_logs_are_read() {
    let Some(folder) = fixtures::shared("vllm-cpu") else {
        return;
    };
    let log = |path: &Path| read(&fs::read_to_string(path).unwrap());
    let (phases, v0) = log(&folder.join("0.8.5/startup.log"));
    assert_eq!(
        phases,
        [
            Phase::Starting,
            Phase::LoadingWeights,
            Phase::KvCache,
            Phase::Serving
        ]
    );
    assert_eq!(
        (v0.engine, v0.vllm_version.as_deref()),
        (Some(EngineKind::V0), Some("0.8.5.post2"))
    );
    assert_eq!(
        (v0.memory.num_blocks, v0.memory.kv_tokens),
        (Some(2912), Some(46_592))
    );
    assert_eq!(v0.memory.max_concurrency, Some(22.75));
    assert_eq!(v0.config["dtype"], "torch.bfloat16");
    assert_eq!(v0.arguments["gpu_memory_utilization"], "0.9");
    assert_eq!(v0.attention_backend.as_deref(), Some("Torch SDPA"));
    let (_, v1) = log(&folder.join("0.12.0/startup.log"));
    assert_eq!((v1.engine, v1.ready), (Some(EngineKind::V1), true));
    assert_eq!(
        (v1.memory.kv_tokens, v1.memory.max_concurrency),
        (Some(46_592), Some(22.75))
    );
    assert_eq!((v1.weights_read_s, v1.init_s), (Some(0.22), Some(0.46)));
    assert_eq!(
        v1.memory.why["weights_gib"],
        "not printed by vLLM 0.12.0.post2 on the CPU backend"
    );
    let (_, failed) = log(&folder.join("0.12.0-mla-unsupported.log"));
    assert!(!failed.ready);
    assert_eq!(
        failed.phases.last().map(|seen| seen.phase),
        Some(Phase::LoadingWeights)
    );
}

#[test]
fn a_real_log_of_the_metax_plugin_is_read() {
    let Some(folder) = fixtures::shared("vllm-c500") else {
        return;
    };
    let text = fs::read_to_string(folder.join("0.17.0-qwen3-0.6b-slice.log")).unwrap();
    let (phases, facts) = read(&text);
    assert_eq!(phases.last(), Some(&Phase::Serving));
    assert!(
        phases.contains(&Phase::CapturingGraphs) && phases.contains(&Phase::Compiling),
        "{phases:?}"
    );
    let memory = &facts.memory;
    assert_eq!(
        (memory.weights_gib, memory.kv_cache_gib, memory.graph_gib),
        (Some(1.12), Some(7.78), Some(0.12))
    );
    assert_eq!(
        (memory.kv_tokens, memory.max_concurrency),
        (Some(72_832), Some(35.56))
    );
    let why = "not printed by vLLM 0.17.0 at INFO: set VLLM_LOGGING_LEVEL=DEBUG";
    assert_eq!(memory.why["activation_gib"], why);
    assert_eq!(facts.platform_plugin.as_deref(), Some("metax"));
    assert_eq!(
        (facts.maca_version.as_deref(), facts.mcoplib_version.as_deref()),
        (Some("3.5.3.20"), Some("0.4.2"))
    );
    assert_eq!(facts.attention_backend.as_deref(), Some("FLASH_ATTN"));
    assert_eq!(facts.async_scheduling, Some(false));
    assert_eq!(
        facts.sampling_overridden.as_deref(),
        Some("{'temperature': 0.6, 'top_k': 20, 'top_p': 0.95}")
    );
    assert!(facts.plugin_settings["VLLM_ENGINE_READY_TIMEOUT_S"].starts_with("3600 ("));
    assert_eq!(
        (facts.compile_s, facts.init_s, facts.load_s),
        (Some(49.58), Some(55.04), Some(28.734_714))
    );
}

proptest! {
    #[test]
    fn no_log_makes_it_panic(lines in prop::collection::vec("\\PC{0,40}|(INFO 05-20 10:11:12 \\[a:1\\] )?(GPU KV cache size: |Initializing a V1 LLM engine \\(v|Using |# cuda blocks: )[0-9,.e+-]{0,9}.{0,9}", 0..12)) {
        let _ = read(&lines.join("\n"));
    }
}
