//! JSON: this project's `report.json`, and what `vllm bench serve` saves. Read leniently: an older report lacks keys,
//! and what is not there is not held against anything.

use serde_json::{Map, Value};

use super::number::of_json;
use crate::audit::{Cell, Column, Fact, Section, Sheet, sheet::Word};

/// A key, what it means, and how many of the fact's unit one of it is.
type Key = (&'static str, Fact, f64);

const MEMORY: &[Key] = &[
    ("weights_gib", Fact::Weights, 1.0),
    ("non_torch_gib", Fact::NonTorch, 1.0),
    ("activation_gib", Fact::Activation, 1.0),
    ("graph_gib", Fact::Graph, 1.0),
    ("kv_cache_gib", Fact::KvCache, 1.0),
    ("num_blocks", Fact::Blocks, 1.0),
    ("kv_tokens", Fact::KvTokens, 1.0),
    ("max_concurrency", Fact::MaxConcurrency, 1.0),
];

/// Settings are texts.
const SETTINGS: &[(&str, Fact)] = &[
    ("gpu_memory_utilization", Fact::Utilization),
    ("max_model_len", Fact::MaxModelLen),
    ("tensor_parallel", Fact::TensorParallel),
    ("pipeline_parallel", Fact::PipelineParallel),
    ("block_size", Fact::BlockSize),
    ("kv_bytes_per_token", Fact::TokenBytes),
    ("bytes_read_per_token", Fact::ReadBytes),
    ("card_memory_gib", Fact::CardMemory),
    ("card_bandwidth_gb_per_s", Fact::Bandwidth),
];

const LATENCY: &[Key] = &[
    ("mean_s", Fact::LatencyMean, 1.0),
    ("min_s", Fact::LatencyMin, 1.0),
    ("max_s", Fact::LatencyMax, 1.0),
    ("p50_s", Fact::LatencyP50, 1.0),
    ("p95_s", Fact::LatencyP95, 1.0),
    ("mean_generation_tokens_per_s", Fact::GenerationMean, 1.0),
    ("ttft_mean_s", Fact::TtftMean, 1.0),
    ("ttft_p50_s", Fact::TtftP50, 1.0),
    ("ttft_p95_s", Fact::TtftP95, 1.0),
    ("ttft_max_s", Fact::TtftMax, 1.0),
    ("tpot_mean_s", Fact::TpotMean, 1.0),
    ("tpot_p50_s", Fact::TpotP50, 1.0),
    ("itl_p50_s", Fact::ItlP50, 1.0),
    ("itl_p99_s", Fact::ItlP99, 1.0),
    ("requests", Fact::Requests, 1.0),
    ("failed", Fact::Failed, 1.0),
    ("output_tokens", Fact::OutputTokens, 1.0),
];

const THROUGHPUT: &[Key] = &[
    ("concurrency", Fact::Concurrency, 1.0),
    ("requests", Fact::Requests, 1.0),
    ("succeeded", Fact::Succeeded, 1.0),
    ("failed", Fact::Failed, 1.0),
    ("wall_s", Fact::Wall, 1.0),
    ("output_tokens", Fact::OutputTokens, 1.0),
    ("output_tokens_per_s", Fact::OutputThroughput, 1.0),
    ("mean_individual_tokens_per_s", Fact::IndividualMean, 1.0),
    ("requests_per_s", Fact::RequestRate, 1.0),
    ("latency_mean_s", Fact::LatencyMean, 1.0),
    ("latency_p50_s", Fact::LatencyP50, 1.0),
    ("latency_max_s", Fact::LatencyMax, 1.0),
    ("ttft_mean_s", Fact::TtftMean, 1.0),
    ("ttft_p50_s", Fact::TtftP50, 1.0),
    ("ttft_p95_s", Fact::TtftP95, 1.0),
    ("ttft_max_s", Fact::TtftMax, 1.0),
    ("tpot_mean_s", Fact::TpotMean, 1.0),
    ("tpot_p50_s", Fact::TpotP50, 1.0),
    ("itl_p50_s", Fact::ItlP50, 1.0),
    ("itl_p99_s", Fact::ItlP99, 1.0),
];

/// Keys of `vllm bench serve --save-result` (`vllm/benchmarks/serve.py`), also the columns of a sweep's summary.
pub(super) const BENCH: &[Key] = &[
    ("max_concurrency", Fact::Concurrency, 1.0),
    ("num_prompts", Fact::Requests, 1.0),
    ("completed", Fact::Succeeded, 1.0),
    ("failed", Fact::Failed, 1.0),
    ("duration", Fact::Wall, 1.0),
    ("total_input_tokens", Fact::InputTokens, 1.0),
    ("total_output_tokens", Fact::OutputTokens, 1.0),
    ("output_throughput", Fact::OutputThroughput, 1.0),
    ("total_token_throughput", Fact::TotalThroughput, 1.0),
    ("request_throughput", Fact::RequestRate, 1.0),
    ("mean_ttft_ms", Fact::TtftMean, 1e-3),
    ("median_ttft_ms", Fact::TtftP50, 1e-3),
    ("p90_ttft_ms", Fact::TtftP90, 1e-3),
    ("p95_ttft_ms", Fact::TtftP95, 1e-3),
    ("p99_ttft_ms", Fact::TtftP99, 1e-3),
    ("mean_tpot_ms", Fact::TpotMean, 1e-3),
    ("median_tpot_ms", Fact::TpotP50, 1e-3),
    ("p90_tpot_ms", Fact::TpotP90, 1e-3),
    ("p95_tpot_ms", Fact::TpotP95, 1e-3),
    ("p99_tpot_ms", Fact::TpotP99, 1e-3),
    ("median_itl_ms", Fact::ItlP50, 1e-3),
    ("p90_itl_ms", Fact::ItlP90, 1e-3),
    ("p95_itl_ms", Fact::ItlP95, 1e-3),
    ("p99_itl_ms", Fact::ItlP99, 1e-3),
    ("mean_e2el_ms", Fact::LatencyMean, 1e-3),
    ("median_e2el_ms", Fact::LatencyP50, 1e-3),
    ("p90_e2el_ms", Fact::LatencyP90, 1e-3),
    ("p95_e2el_ms", Fact::LatencyP95, 1e-3),
    ("p99_e2el_ms", Fact::LatencyP99, 1e-3),
];

/// This project's report; `None`: another JSON.
pub fn report(value: &Value) -> Option<Sheet> {
    let models = value.get("models")?.as_array()?;
    value.get("schema_version")?;
    Some(Sheet {
        columns: models.iter().map(model).collect(),
        text: String::new(),
    })
}

fn model(model: &Value) -> Column {
    let text = |key: &str| {
        model
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut column = Column {
        name: format!("{}@{}", text("name"), text("stack")),
        model: Some(text("name")),
        ..Column::default()
    };
    let environment = |key: &str| model.get("environment")?.get(key)?.as_str().map(str::to_owned);
    let setting = |key: &str| model.get("settings")?.get(key)?.as_str().map(str::to_owned);
    for (word, found) in [
        (Word::Hardware, Some(text("accelerator"))),
        (Word::Image, environment("image")),
        (
            Word::Vllm,
            environment("vllm").or_else(|| setting("expected_vllm")),
        ),
        (Word::Torch, environment("torch")),
        (Word::Maca, environment("maca_of_container")),
        (Word::Dtype, setting("dtype")),
    ] {
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            column.words.insert(word, found);
        }
    }
    let mut settings = Section {
        name: "settings".to_owned(),
        ..Section::default()
    };
    for &(key, fact) in SETTINGS {
        let Some(text) = setting(key) else { continue };
        let exact = text.parse::<f64>().ok().filter(|value| value.is_finite());
        if let Some(value) = exact {
            let (name, value) = (key.to_owned(), crate::audit::Interval::exact(value));
            settings.cells.insert(fact, Cell { name, text, value });
        }
    }
    column.sections.push(settings);
    column
        .sections
        .extend(section("memory", model.get("memory"), MEMORY, true));
    column
        .sections
        .extend(section("latency", model.get("latency"), LATENCY, true));
    let phases = model
        .get("throughput")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    column
        .sections
        .extend(phases.filter_map(|phase| section("throughput", Some(phase), THROUGHPUT, true)));
    column
}

/// What `vllm bench serve` saves; `None`: another JSON.
pub(super) fn bench(value: &Value) -> Option<Sheet> {
    let runs: Vec<&Value> = match value {
        Value::Array(runs) => runs.iter().collect(),
        one => vec![one],
    };
    let columns: Vec<Column> = runs.into_iter().filter_map(run).collect();
    let sheet = Sheet {
        columns,
        text: String::new(),
    };
    (!sheet.columns.is_empty()).then_some(sheet)
}

fn run(value: &Value) -> Option<Column> {
    value.get("duration")?;
    let section = section("benchmark", Some(value), BENCH, false)?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(Column {
        name: text("model_id").unwrap_or_else(|| "benchmark".to_owned()),
        model: text("model_id").and_then(|id| id.rsplit('/').next().map(str::to_owned)),
        sections: vec![section],
        ..Column::default()
    })
}

/// The section of an object; `None` where it is absent or holds nothing known.
fn section(name: &str, value: Option<&Value>, keys: &[Key], tells_samples: bool) -> Option<Section> {
    let object: &Map<String, Value> = value?.as_object()?;
    let cells = keys.iter().filter_map(|(key, fact, factor)| {
        let number = object.get(*key)?.as_number()?;
        let value = of_json(number, *fact, *factor)?;
        let (name, text) = ((*key).to_owned(), number.to_string());
        Some((*fact, Cell { name, text, value }))
    });
    let section = Section {
        name: name.to_owned(),
        cells: cells.collect(),
        tells_samples,
    };
    (!section.cells.is_empty()).then_some(section)
}
