//! The shape of a network: the figures that parameters, memory and speed follow from, whether they come from a
//! manifest or from a `config.json`.

use super::family::{Family, FeedForwardKind, VisionKind, family};
use crate::manifest::Architecture;

/// Shape of a network. Counts are exact; names follow `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of a network"
)]
pub struct Shape {
    /// Class that vLLM resolves.
    pub class: String,
    /// What the class has beside these figures; `None` for a class that is not known.
    pub family: Option<&'static Family>,
    /// Parameters as somebody stated them.
    pub stated_parameters: Option<u64>,
    /// Parameters that one token passes, as somebody stated them.
    pub stated_active: Option<u64>,
    /// Transformer layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Attention heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of a plain feed-forward layer.
    pub ffn: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Longest position.
    pub max_position: u64,
    /// Whether input and output share one embedding.
    pub tied: bool,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the attention's output has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward layers have biases.
    pub ffn_bias: bool,
    /// Window of attention, where it slides.
    pub sliding_window: Option<u64>,
    /// Latent attention.
    pub latent: Option<Latent>,
    /// Mixture of experts.
    pub experts: Option<Experts>,
    /// Vision tower.
    pub vision: Option<Tower>,
}

/// Widths of latent attention (MLA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Rank of the compressed query, where it is compressed.
    pub q_rank: Option<u64>,
    /// Rank of the compressed key and value.
    pub kv_rank: u64,
    /// Part of a head without positions.
    pub nope: u64,
    /// Part of a head with rotary positions.
    pub rope: u64,
    /// Width of a value head.
    pub value: u64,
}

/// Counts of a mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Experts that the router chooses from.
    pub routed: u64,
    /// Of them, for each token.
    pub per_token: u64,
    /// Width of one.
    pub ffn: u64,
    /// Width of all that every token passes together; 0 where there are none.
    pub shared_ffn: u64,
    /// Whether a gate weighs the shared ones.
    pub shared_gate: bool,
    /// Whether the router has a correction for each expert.
    pub corrected: bool,
    /// First layers that have none.
    pub dense_layers: u64,
    /// Distance of layers that have experts; 1: each.
    pub step: u64,
    /// Whether counting for `step` begins at 1 (Qwen) instead of 0 (DeepSeek).
    pub counts_from_one: bool,
}

/// Shape of a vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tower {
    /// Make.
    pub kind: VisionKind,
    /// Layers.
    pub depth: u64,
    /// Width.
    pub width: u64,
    /// Width of its feed-forward layers.
    pub ffn: u64,
    /// Side of a patch, in pixels.
    pub patch: u64,
    /// Frames of a patch.
    pub frames: u64,
    /// Colour channels.
    pub channels: u64,
    /// Patches that are merged to one token, along each side.
    pub merge: u64,
    /// Width of what it hands over.
    pub out: u64,
}

impl Shape {
    /// The shape that a manifest gives. A class that is not known keeps its stated parameters.
    pub fn of_manifest(architecture: &Architecture) -> Self {
        let family = family(&architecture.class);
        let wide = |figure: u32| u64::from(figure);
        let hidden = wide(architecture.hidden_size);
        Self {
            class: architecture.class.clone(),
            family,
            stated_parameters: Some(architecture.parameters),
            stated_active: architecture.active_parameters,
            layers: wide(architecture.layers),
            hidden,
            heads: wide(architecture.heads),
            kv_heads: wide(architecture.kv_heads),
            head_dim: wide(architecture.head_dim),
            ffn: wide(architecture.ffn_size),
            vocab: wide(architecture.vocab_size),
            max_position: wide(architecture.max_position),
            tied: architecture.tied_embeddings || family.is_some_and(|family| family.tied),
            qkv_bias: family.is_some_and(|family| family.qkv_bias),
            output_bias: false,
            ffn_bias: false,
            sliding_window: architecture.sliding_window.map(wide),
            latent: architecture.mla.as_ref().map(|mla| Latent {
                q_rank: mla.q_lora_rank.filter(|rank| *rank > 0).map(wide),
                kv_rank: wide(mla.kv_lora_rank),
                nope: wide(mla.nope_head_dim),
                rope: wide(mla.rope_head_dim),
                value: wide(mla.v_head_dim),
            }),
            experts: architecture.moe.as_ref().map(|moe| Experts {
                routed: wide(moe.routed_experts),
                per_token: wide(moe.experts_per_token),
                ffn: wide(moe.expert_ffn_size),
                shared_ffn: moe.shared_ffn_size.map_or_else(
                    || wide(moe.shared_experts).saturating_mul(wide(moe.expert_ffn_size)),
                    wide,
                ),
                dense_layers: wide(moe.dense_layers),
                ..Experts::of(family)
            }),
            vision: architecture
                .vision
                .as_ref()
                .zip(family.and_then(|f| f.vision))
                .map(|(vision, kind)| Tower {
                    kind,
                    depth: wide(vision.depth),
                    width: wide(vision.width),
                    ffn: vision.ffn_size.map_or_else(|| 4 * wide(vision.width), wide),
                    out: hidden,
                    ..Tower::usual(kind)
                }),
        }
    }

    /// Whether layer `index`, counted from 0, has experts.
    pub fn has_experts(&self, index: u64) -> bool {
        self.expert_layers(index, index.saturating_add(1)) == 1
    }

    /// How many of the layers from `begin` up to `end` have experts.
    pub fn expert_layers(&self, begin: u64, end: u64) -> u64 {
        let Some(experts) = &self.experts else { return 0 };
        let begin = begin.max(experts.dense_layers);
        let step = experts.step.max(1);
        // How many of the layers before `end` the step meets.
        let met = |end: u64| {
            if experts.counts_from_one {
                end / step
            } else {
                end.div_ceil(step)
            }
        };
        if end <= begin { 0 } else { met(end) - met(begin) }
    }

    /// Values of KV cache for one token and layer over all heads: 2 × kv_heads × head_dim, or the latent vector.
    pub fn kv_values_per_layer(&self) -> u64 {
        match &self.latent {
            Some(latent) => latent.kv_rank.saturating_add(latent.rope),
            None => self.kv_heads.saturating_mul(self.head_dim).saturating_mul(2),
        }
    }
}

impl Experts {
    /// What the family alone decides; a step of 1.
    pub(super) fn of(family: Option<&Family>) -> Self {
        let kind = family.map(|family| family.feed_forward);
        Self {
            routed: 0,
            per_token: 0,
            ffn: 0,
            shared_ffn: 0,
            shared_gate: matches!(kind, Some(FeedForwardKind::Qwen { shared: true })),
            corrected: matches!(kind, Some(FeedForwardKind::DeepSeek { corrected: true })),
            dense_layers: 0,
            step: 1,
            counts_from_one: matches!(kind, Some(FeedForwardKind::Qwen { .. })),
        }
    }
}

impl Tower {
    /// What published towers of this make have; `depth`, `width`, `ffn` and `out` are 0.
    pub(super) const fn usual(kind: VisionKind) -> Self {
        Self {
            kind,
            depth: 0,
            width: 0,
            ffn: 0,
            patch: 14,
            frames: 2,
            channels: 3,
            merge: 2,
            out: 0,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Mistral-7B-v0.1.
    pub(crate) fn mistral() -> Shape {
        Shape {
            class: "MistralForCausalLM".into(),
            family: family("MistralForCausalLM"),
            stated_parameters: None,
            stated_active: None,
            layers: 32,
            hidden: 4096,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            ffn: 14336,
            vocab: 32000,
            max_position: 32768,
            tied: false,
            qkv_bias: false,
            output_bias: false,
            ffn_bias: false,
            sliding_window: Some(4096),
            latent: None,
            experts: None,
            vision: None,
        }
    }

    #[test]
    fn a_token_keeps_as_many_values_as_vllm_says() {
        assert_eq!(mistral().kv_values_per_layer() * 32 * 2, 131_072);
        let latent = Latent {
            q_rank: Some(1536),
            kv_rank: 512,
            nope: 128,
            rope: 64,
            value: 128,
        };
        let deepseek = Shape {
            latent: Some(latent),
            ..mistral()
        };
        assert_eq!(deepseek.kv_values_per_layer() * 60 * 2, 69_120);
    }

    proptest! {
        #[test]
        fn layers_with_experts_are_counted_as_one_by_one(begin in 0u64..40, len in 0u64..40, dense_layers in 0u64..5, step in 0u64..4, counts_from_one: bool) {
            let experts = Experts { routed: 8, dense_layers, step, counts_from_one, ..Experts::of(None) };
            let shape = Shape { experts: Some(experts), ..mistral() };
            let step = step.max(1);
            let one_by_one = (begin..begin + len).filter(|layer| {
                *layer >= dense_layers && (layer + u64::from(counts_from_one)).is_multiple_of(step)
            });
            prop_assert_eq!(shape.expert_layers(begin, begin + len), one_by_one.count() as u64);
        }
    }
}
