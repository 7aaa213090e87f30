//! The `model` section of a manifest: what is served, and the shape that memory and speed follow from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Hugging Face id, such as `Qwen/Qwen3-32B`.
    pub id: String,
    /// Revision of the repository: a branch, tag or commit.
    pub revision: String,
    /// Folder of the weights on the host. `~`, `${NAME}` and `${NAME:-default}` are expanded; an absent folder is reported at boot.
    pub path: String,
    /// The licence, and whether its owner must be asked first.
    pub license: License,
    /// Figures of the architecture, from the model's `config.json`.
    pub architecture: Architecture,
    /// Which endpoint serves this model's prompts.
    pub endpoint: Endpoint,
    /// Chat template file handed to the server, where the model brings none; relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// What a prompt may hold.
    pub modalities: Vec<Modality>,
    /// Thinking before the answer, for models that can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Parser that vLLM needs to return tool calls (`--tool-call-parser`); absent: the model calls no tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_parser: Option<String>,
}

/// Licence of the weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct License {
    /// SPDX id or the licence's own name.
    pub name: String,
    /// Whether downloading needs the owner's consent.
    pub gated: bool,
}

/// Endpoint that a model is asked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/v1/chat/completions`: the model has a chat template.
    Chat,
    /// `/v1/completions`: a base model.
    Completions,
}

/// Kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Text.
    Text,
    /// Pictures inside chat messages.
    Image,
}

/// How a model that can think is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reasoning {
    /// Whether cases let it think (`chat_template_kwargs: {enable_thinking}`).
    pub enabled: bool,
    /// vLLM's parser that separates thought from answer (`--reasoning-parser`).
    pub parser: String,
}

/// Shape of the network. Names follow `config.json`; counts are exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Class that vLLM resolves, such as `Qwen3ForCausalLM`.
    pub class: String,
    /// All parameters.
    #[schemars(range(min = 1))]
    pub parameters: u64,
    /// Parameters that one token passes through, for mixtures of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_parameters: Option<u64>,
    /// Transformer layers.
    #[schemars(range(min = 1))]
    pub layers: u32,
    /// Width of the residual stream.
    #[schemars(range(min = 1))]
    pub hidden_size: u32,
    /// Attention heads; tensor parallel must divide them.
    #[schemars(range(min = 1))]
    pub heads: u32,
    /// Key and value heads (equal to `heads` without grouping).
    #[schemars(range(min = 1))]
    pub kv_heads: u32,
    /// Width of one head.
    #[schemars(range(min = 1))]
    pub head_dim: u32,
    /// Width of the feed-forward layer.
    #[schemars(range(min = 1))]
    pub ffn_size: u32,
    /// Rows of the embedding.
    #[schemars(range(min = 1))]
    pub vocab_size: u32,
    /// Longest position that the model was made for.
    #[schemars(range(min = 1))]
    pub max_position: u32,
    /// Whether input and output share one embedding.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tied_embeddings: bool,
    /// Window of attention, where it slides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<u32>,
    /// Multi-head latent attention: the KV cache holds one compressed vector a token, on every rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mla: Option<Mla>,
    /// Mixture of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe: Option<Moe>,
    /// Vision tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<Vision>,
}

/// Widths of multi-head latent attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mla {
    /// Rank of the compressed query; absent where queries are not compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub q_lora_rank: Option<u32>,
    /// Rank of the compressed key and value.
    pub kv_lora_rank: u32,
    /// Width of the part of a head without positions.
    pub nope_head_dim: u32,
    /// Width of the part of a head with rotary positions.
    pub rope_head_dim: u32,
    /// Width of a value head.
    pub v_head_dim: u32,
}

/// Counts of a mixture of experts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moe {
    /// Experts that the router chooses from.
    pub routed_experts: u32,
    /// Experts that every token passes.
    pub shared_experts: u32,
    /// Routed experts for each token.
    pub experts_per_token: u32,
    /// Width of one expert's feed-forward layer.
    pub expert_ffn_size: u32,
    /// Width of all shared experts together; absent: `shared_experts` times one expert's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub shared_ffn_size: Option<u32>,
    /// First layers that have a plain feed-forward layer (`first_k_dense_replace`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dense_layers: u32,
}

/// Shape of a vision tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vision {
    /// Layers of the tower.
    pub depth: u32,
    /// Width of the tower.
    #[schemars(range(min = 1))]
    pub width: u32,
    /// Width of its feed-forward layers; absent: four times the tower's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub ffn_size: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}
