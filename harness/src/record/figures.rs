//! Measured figures. Definitions are vLLM bench's, so that numbers compare: TTFT from send to first token; ITL the
//! gaps between streamed chunks, pooled; TPOT (latency − TTFT) / (output tokens − 1) for each request; generation
//! speed of a request = output tokens / latency, as the field's reports use it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Memory of one card, as the server reported it. `null` where this version prints no such figure; `why` then says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Weights, GiB.
    pub weights_gib: Option<f64>,
    /// Memory that torch did not allocate, GiB.
    pub non_torch_gib: Option<f64>,
    /// Peak of activations while profiling, GiB.
    pub activation_gib: Option<f64>,
    /// Captured graphs, GiB.
    pub graph_gib: Option<f64>,
    /// KV cache, GiB.
    pub kv_cache_gib: Option<f64>,
    /// KV-cache blocks.
    pub num_blocks: Option<u64>,
    /// Tokens that the KV cache holds.
    pub kv_tokens: Option<u64>,
    /// Sequences of full length that fit.
    pub max_concurrency: Option<f64>,
    /// For each absent figure, why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub why: BTreeMap<String, String>,
}

/// One card at one moment; `None` where the tool does not say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CardSample {
    /// Index.
    pub index: u32,
    /// Memory in use, MiB.
    pub memory_used_mib: Option<u64>,
    /// Power of the board, W.
    pub power_w: Option<f64>,
    /// Hottest spot, °C.
    pub temperature_c: Option<f64>,
    /// Share of time in which it computed, percent.
    pub utilization_percent: Option<f64>,
}

/// A pooled distribution of durations, in seconds. Percentiles by linear interpolation (numpy's default).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many samples; a percentile of few samples is only its maximum.
    pub samples: u64,
    /// Mean.
    pub mean_s: f64,
    /// Least.
    pub min_s: f64,
    /// Greatest.
    pub max_s: f64,
    /// Median.
    pub p50_s: f64,
    /// 95th percentile.
    pub p95_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
}

/// Requests one after another. Failed requests are counted and never averaged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// Requests that succeeded.
    pub succeeded: u32,
    /// Requests that failed.
    pub failed: u32,
    /// From send to last token; `None` where nothing succeeded.
    pub e2e: Option<Distribution>,
    /// From send to first token.
    pub ttft: Option<Distribution>,
    /// Time per output token after the first, one sample a request.
    pub tpot: Option<Distribution>,
    /// Gaps between streamed chunks, pooled.
    pub itl: Option<Distribution>,
    /// Mean over requests of output tokens / latency.
    pub mean_generation_tokens_per_s: Option<f64>,
    /// Output tokens of the successful requests.
    pub output_tokens: u64,
}

/// Requests at once. Failed requests are counted and never averaged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThroughputFigures {
    /// Requests in flight.
    pub concurrency: u32,
    /// Requests sent.
    pub requests: u32,
    /// Requests that succeeded.
    pub succeeded: u32,
    /// Requests that failed.
    pub failed: u32,
    /// From the first send to the last token.
    pub wall_s: f64,
    /// Output tokens of the successful requests.
    pub output_tokens: u64,
    /// Output tokens / wall time.
    pub output_tokens_per_s: f64,
    /// Mean over requests of output tokens / latency; `None` where nothing succeeded.
    pub mean_individual_tokens_per_s: Option<f64>,
    /// Successful requests / wall time.
    pub requests_per_s: f64,
    /// From send to first token.
    pub ttft: Option<Distribution>,
    /// Time per output token after the first, one sample a request.
    pub tpot: Option<Distribution>,
    /// Gaps between streamed chunks, pooled.
    pub itl: Option<Distribution>,
    /// From send to last token.
    pub e2e: Option<Distribution>,
}
