//! Capacity arithmetic: what of a card's memory weights, activations and runtime take, and how many blocks
//! of keys and values are left.
//!
//! The identities are vLLM's: tokens = blocks × block size; KV bytes = utilization × card − weights −
//! non-torch − activation peak; concurrency = tokens / max_model_len. All figures are for one card (rank).

use crate::config::ModelSpec;
use crate::profile::Profile;

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// What the command line chose about memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Cards that share each layer.
    pub tensor_parallel: u64,
    /// Cards that share the stack of layers.
    pub pipeline_parallel: u64,
    /// Share of a card's memory that may be used.
    pub utilization: f64,
    /// Longest sequence, tokens.
    pub max_model_len: u64,
    /// Tokens of a block.
    pub block_size: u64,
    /// Sequences of a step.
    pub max_num_seqs: u64,
    /// Tokens of a step.
    pub max_num_batched_tokens: u64,
    /// Bytes of a key or value element.
    pub kv_bytes: u64,
}

/// Memory of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// All of the card, GiB.
    pub total_gib: f64,
    /// What may be used, GiB.
    pub budget_gib: f64,
    /// Weights, GiB.
    pub weights_gib: f64,
    /// Runtime outside torch, GiB.
    pub non_torch_gib: f64,
    /// Peak of activations, GiB.
    pub activation_gib: f64,
    /// Captured graphs, GiB (outside the budget).
    pub graph_gib: f64,
    /// What is left for keys and values, GiB; negative when nothing is left.
    pub kv_gib: f64,
    /// Bytes of a token's keys and values.
    pub kv_bytes_per_token: u64,
    /// Blocks that fit.
    pub blocks: u64,
    /// Tokens of a block.
    pub block_size: u64,
    /// Longest sequence.
    pub max_model_len: u64,
}

impl Capacity {
    /// Computes one rank's memory. `leaked_gib` is taken before the server started.
    pub fn compute(model: &ModelSpec, profile: &Profile, placement: &Placement, leaked_gib: f64) -> Self {
        let card = &profile.memory;
        let world = placement.tensor_parallel * placement.pipeline_parallel;
        let weight_bytes = (model.parameters * model.bytes_per_parameter) as f64 / world as f64;
        let weights_gib = weight_bytes / GIB + card.weight_overhead_gib;
        let collective_gib = if world > 1 { card.collective_gib } else { 0.0 };
        let non_torch_gib = card.non_torch_gib + collective_gib + leaked_gib;
        let activation_gib = activation_gib(model, profile, placement);
        let budget_gib = card.total_gib * placement.utilization;
        let kv_gib = budget_gib - weights_gib - non_torch_gib - activation_gib;
        let kv_bytes_per_token = kv_bytes_per_token(model, placement);
        let block_bytes = (kv_bytes_per_token * placement.block_size) as f64;
        Self {
            total_gib: card.total_gib,
            budget_gib,
            weights_gib,
            non_torch_gib,
            activation_gib,
            graph_gib: card.graph_gib,
            kv_gib,
            kv_bytes_per_token,
            blocks: whole(kv_gib * GIB / block_bytes),
            block_size: placement.block_size,
            max_model_len: placement.max_model_len,
        }
    }

    /// Tokens that fit.
    pub fn tokens(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// Sequences of full length that fit.
    pub fn max_concurrency(&self) -> f64 {
        self.tokens() as f64 / self.max_model_len as f64
    }
}

/// Floor of a figure, 0 when it is negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "floored and clamped at 0"
)]
fn whole(value: f64) -> u64 {
    value.floor().max(0.0) as u64
}

/// Bytes of one token's keys and values on one rank. MLA's compressed form cannot be sharded over heads, so
/// every rank holds all of it; grouped heads are sharded until each rank has one.
fn kv_bytes_per_token(model: &ModelSpec, placement: &Placement) -> u64 {
    let layers = model.layers.div_ceil(placement.pipeline_parallel);
    let elements = match model.mla {
        Some(mla) => mla.kv_lora_rank + mla.rope_head_dim,
        None => 2 * model.kv_heads.div_ceil(placement.tensor_parallel) * model.head_dim,
    };
    layers * elements * placement.kv_bytes
}

/// Peak of a profiling step: per token the residual stream (four copies) and its share of the feed-forward
/// layer (gate, up, product), per sequence its float32 logits.
fn activation_gib(model: &ModelSpec, profile: &Profile, placement: &Placement) -> f64 {
    let card = &profile.memory;
    let width =
        4.0 * model.hidden_size as f64 + 3.0 * model.ffn_size as f64 / placement.tensor_parallel as f64;
    let token_bytes = placement.max_num_batched_tokens as f64 * width * 2.0;
    let logit_bytes = placement.max_num_seqs as f64 * f64::from(model.vocab_size) * 4.0;
    card.activation_base_gib
        + card.activation_token_factor * token_bytes / GIB
        + card.activation_logit_factor * logit_bytes / GIB
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MlaSpec;
    use crate::config::tests::mistral;

    fn placement() -> Placement {
        Placement {
            tensor_parallel: 1,
            pipeline_parallel: 1,
            utilization: 0.9,
            max_model_len: 8192,
            block_size: 16,
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            kv_bytes: 2,
        }
    }

    fn rounded(value: f64) -> String {
        format!("{value:.2}")
    }

    #[test]
    fn mistral_on_a_c500_has_the_measured_figures() {
        let capacity = Capacity::compute(
            &mistral().model,
            &Profile::named("c500").unwrap(),
            &placement(),
            0.0,
        );
        assert_eq!(rounded(capacity.weights_gib), "13.50");
        assert_eq!(rounded(capacity.non_torch_gib), "0.48");
        assert_eq!(rounded(capacity.activation_gib), "6.78");
        assert_eq!(rounded(capacity.kv_gib), "36.51");
        assert_eq!(capacity.blocks, 18_691);
        assert_eq!(rounded(capacity.max_concurrency()), "36.51");
    }

    #[test]
    fn mistral_on_an_a100_fits_the_card() {
        let capacity = Capacity::compute(
            &mistral().model,
            &Profile::named("a100_40gb").unwrap(),
            &placement(),
            0.0,
        );
        let used = capacity.weights_gib + capacity.non_torch_gib + capacity.activation_gib + capacity.kv_gib;
        assert!((used - capacity.budget_gib).abs() < 1e-9 && used < 40.0);
        assert!((18.0..22.0).contains(&capacity.kv_gib), "{}", capacity.kv_gib);
    }

    #[test]
    fn latent_attention_is_replicated_and_grouped_heads_are_sharded() {
        let mut model = mistral().model;
        let two = Placement {
            tensor_parallel: 2,
            ..placement()
        };
        assert_eq!(kv_bytes_per_token(&model, &placement()), 131_072);
        assert_eq!(kv_bytes_per_token(&model, &two), 65_536);
        model.layers = 60;
        model.mla = Some(MlaSpec {
            kv_lora_rank: 512,
            rope_head_dim: 64,
        });
        assert_eq!(kv_bytes_per_token(&model, &placement()), 69_120);
        assert_eq!(kv_bytes_per_token(&model, &two), 69_120);
    }

    #[test]
    fn a_model_too_large_leaves_nothing() {
        let mut model = mistral().model;
        model.parameters *= 5;
        let capacity = Capacity::compute(&model, &Profile::named("c500").unwrap(), &placement(), 0.0);
        assert!(capacity.kv_gib < 0.0);
        assert_eq!(capacity.blocks, 0);
    }
}
