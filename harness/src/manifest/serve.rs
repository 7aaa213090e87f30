//! The `serve` and `workload` sections of a manifest: how the server is started and what is asked of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Quantity;

/// How to start the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// Cards that share each layer; must divide the attention heads.
    #[schemars(range(min = 1, max = 64))]
    pub tensor_parallel: u32,
    /// Groups of layers on cards of their own.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub pipeline_parallel: u32,
    /// Longest sequence, prompt and answer together, in tokens.
    #[schemars(range(min = 1))]
    pub max_model_len: u32,
    /// Share of a card's memory that vLLM may take.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub gpu_memory_utilization: f64,
    /// Type of weights and activations.
    pub dtype: Dtype,
    /// Tokens in a KV-cache block; absent: vLLM's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub block_size: Option<u32>,
    /// Most sequences in a batch; absent: vLLM's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_num_seqs: Option<u32>,
    /// Seed of the server.
    #[serde(default)]
    pub seed: u64,
    /// Whether the model's own Python code may run in the server.
    #[serde(default)]
    pub trust_remote_code: bool,
    /// Further arguments, each for a range of vLLM versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<VersionedArgs>,
    /// Environment of the server, each set for a range of vLLM versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<VersionedEnv>,
    /// How long a boot may take, such as `900 s`.
    pub boot_timeout: Quantity,
    /// How long single phases of the boot may take; a phase without one may take the whole boot's time.
    #[serde(default, skip_serializing_if = "PhaseTimeouts::is_empty")]
    pub phase_timeouts: PhaseTimeouts,
}

/// How long phases of a boot may take, each from its first line in the log to the next phase's, such as `600 s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseTimeouts {
    /// From the start of the process to the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting: Option<Quantity>,
    /// Weights are read into memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading_weights: Option<Quantity>,
    /// A forward pass shows what memory is needed beside the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiling: Option<Quantity>,
    /// torch.compile works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiling: Option<Quantity>,
    /// The KV cache is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<Quantity>,
    /// Graphs are captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capturing_graphs: Option<Quantity>,
}

impl PhaseTimeouts {
    /// Names of the phases that can have one, as manifests write them.
    pub const NAMES: [&str; 6] = [
        "starting",
        "loading_weights",
        "profiling",
        "compiling",
        "kv_cache",
        "capturing_graphs",
    ];

    /// Whether no phase has one.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

const fn one() -> u32 {
    1
}

impl Serve {
    /// Cards that one server needs.
    pub const fn cards(&self) -> u32 {
        self.tensor_parallel.saturating_mul(self.pipeline_parallel)
    }
}

/// Number type of weights and activations, as vLLM's `--dtype` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// bfloat16.
    Bfloat16,
    /// IEEE half.
    Float16,
    /// IEEE single.
    Float32,
}

impl Dtype {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Bfloat16, Self::Float16, Self::Float32];

    /// The word that vLLM takes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bfloat16 => "bfloat16",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
        }
    }

    /// Bytes of one value.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bfloat16 | Self::Float16 => 2,
            Self::Float32 => 4,
        }
    }
}

/// Arguments for a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionedArgs {
    /// Range of vLLM versions, such as `>=0.8.5, <0.10`.
    pub vllm: String,
    /// Arguments in the order in which they are passed.
    pub add: Vec<String>,
}

/// Environment for a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionedEnv {
    /// Range of vLLM versions, such as `>=0.8.5, <0.10`.
    pub vllm: String,
    /// Variables.
    pub set: BTreeMap<String, String>,
}

/// What the performance trials ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Requests one after another.
    pub latency: LatencyWorkload,
    /// Requests at fixed concurrencies, one trial each.
    pub throughput: Vec<ThroughputWorkload>,
}

/// Requests one after another; gives latency and single-stream speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyWorkload {
    /// Requests sent first and not counted.
    #[serde(default = "one")]
    pub warmup: u32,
    /// Length of each prompt, in tokens of the model.
    #[schemars(range(min = 1))]
    pub prompt_tokens: u32,
    /// Length of each answer; one request for each.
    #[schemars(length(min = 1))]
    pub output_tokens: Vec<u32>,
}

/// Requests by so many workers at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThroughputWorkload {
    /// Requests in flight.
    #[schemars(range(min = 1))]
    pub concurrency: u32,
    /// Requests in all.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Length of each prompt, in tokens of the model.
    #[schemars(range(min = 1))]
    pub prompt_tokens: u32,
    /// Lengths of the answers; requests take them in turn.
    #[schemars(length(min = 1))]
    pub output_tokens: Vec<u32>,
}
