//! Counts parameters, all of them and those of one rank. Exact for the families of `family`, by the shapes of their
//! published checkpoints; vLLM divides heads, feed-forward widths, experts and vocabularies over tensor-parallel
//! ranks, repeats key and value heads where there are fewer than ranks, and keeps norms, routers and the compressing
//! projections of latent attention on each.
//!
//! Counts are `u128` and saturate, so that no figure that somebody writes overflows; what does not fit into 64 bits
//! is an error.

use std::ops::{Add, Range};

use super::{
    family::VisionKind,
    shape::{Experts, Shape, Tower},
};

/// Rows to which vLLM fills up a vocabulary.
const VOCAB_MULTIPLE: u128 = 64;

/// Why parameters cannot be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// Nothing is known of the class and nobody stated a count.
    #[error("nothing is known of the class `{0}`")]
    UnknownClass(String),
    /// More than any model has.
    #[error("the figures give more than 2^63 parameters: one of them is wrong")]
    TooMany,
}

/// Parameters of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// All.
    pub total: u64,
    /// Those that one token passes.
    pub active: u64,
    /// Those that decoding one token reads: the active ones without the vision tower and, where the output has a
    /// matrix of its own, without the input embedding, of which one row is read.
    pub read: u64,
    /// Those that a prompt's token is multiplied with: the active ones without embeddings and vision tower.
    pub multiplied: u64,
    /// What the figures of the architecture give, where it differs from what was stated.
    pub counted: Option<u64>,
}

/// Weights by their type: matrices of layers, which quantization makes smaller, and the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weights {
    /// Matrices of attention, feed-forward layers and experts.
    pub(super) matrices: u128,
    /// Embeddings, norms, biases, routers, the vision tower.
    pub(super) rest: u128,
}

/// Weights by how ranks share them.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    /// Divided over all ranks.
    divided: Weights,
    /// Keys and values: divided over as many ranks as there are such heads.
    kv: Weights,
    /// On each rank.
    repeated: Weights,
}

impl Add for Weights {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            matrices: self.matrices.saturating_add(other.matrices),
            rest: self.rest.saturating_add(other.rest),
        }
    }
}

impl Weights {
    const fn matrix(count: u128) -> Self {
        Self {
            matrices: count,
            rest: 0,
        }
    }

    const fn other(count: u128) -> Self {
        Self {
            matrices: 0,
            rest: count,
        }
    }

    const fn all(self) -> u128 {
        self.matrices.saturating_add(self.rest)
    }

    const fn times(self, count: u64) -> Self {
        Self {
            matrices: self.matrices.saturating_mul(count as u128),
            rest: self.rest.saturating_mul(count as u128),
        }
    }

    /// A rank's share, rounded up.
    const fn over(self, ranks: u64) -> Self {
        Self {
            matrices: self.matrices.div_ceil(ranks as u128),
            rest: self.rest.div_ceil(ranks as u128),
        }
    }
}

impl Add for Parts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            divided: self.divided + other.divided,
            kv: self.kv + other.kv,
            repeated: self.repeated + other.repeated,
        }
    }
}

impl Parts {
    fn all(self) -> Weights {
        self.divided + self.kv + self.repeated
    }

    fn times(self, count: u64) -> Self {
        Self {
            divided: self.divided.times(count),
            kv: self.kv.times(count),
            repeated: self.repeated.times(count),
        }
    }

    fn on_rank(self, tensor_parallel: u64, kv_heads: u64) -> Weights {
        let kv_ranks = tensor_parallel.min(kv_heads.max(1));
        self.divided.over(tensor_parallel) + self.kv.over(kv_ranks) + self.repeated
    }
}

fn product(factors: &[u64]) -> u128 {
    factors.iter().fold(1, |product: u128, factor| {
        product.saturating_mul(u128::from(*factor))
    })
}

/// Attention of one layer with its own norms.
fn attention(shape: &Shape) -> Parts {
    let (hidden, heads) = (shape.hidden, shape.heads);
    if let Some(latent) = &shape.latent {
        let query_width = latent.nope.saturating_add(latent.rope);
        let (query, query_down) = match latent.q_rank {
            Some(rank) => (product(&[rank, heads, query_width]), product(&[hidden, rank])),
            None => (product(&[hidden, heads, query_width]), 0),
        };
        let up = product(&[latent.kv_rank, heads, latent.nope.saturating_add(latent.value)]);
        let output = product(&[heads, latent.value, hidden]);
        let down = product(&[hidden, latent.kv_rank.saturating_add(latent.rope)]);
        let norms = u128::from(latent.q_rank.unwrap_or(0)).saturating_add(u128::from(latent.kv_rank));
        return Parts {
            divided: Weights::matrix(query.saturating_add(up).saturating_add(output)),
            repeated: Weights::matrix(query_down.saturating_add(down)) + Weights::other(norms),
            kv: Weights::default(),
        };
    }
    let query = product(&[heads, shape.head_dim]);
    let key_value = product(&[2, shape.kv_heads, shape.head_dim]);
    let wide = u128::from(hidden);
    let bias = |present: bool, count: u128| Weights::other(if present { count } else { 0 });
    let head_norms = shape.family.is_some_and(|family| family.head_norms);
    Parts {
        divided: Weights::matrix(query.saturating_mul(wide).saturating_mul(2)) + bias(shape.qkv_bias, query),
        kv: Weights::matrix(key_value.saturating_mul(wide)) + bias(shape.qkv_bias, key_value),
        repeated: bias(shape.output_bias, wide) + bias(head_norms, product(&[2, shape.head_dim])),
    }
}

/// A gated feed-forward layer.
fn gated(hidden: u64, ffn: u64) -> Weights {
    Weights::matrix(product(&[3, hidden, ffn]))
}

fn dense(shape: &Shape) -> Parts {
    let bias = |count: u128| Weights::other(if shape.ffn_bias { count } else { 0 });
    Parts {
        divided: gated(shape.hidden, shape.ffn) + bias(product(&[2, shape.ffn])),
        repeated: bias(u128::from(shape.hidden)),
        ..Parts::default()
    }
}

/// A layer's experts, `routed` of them, and their router.
fn mixture(shape: &Shape, experts: &Experts, routed: u64) -> Parts {
    let shared_gate = if experts.shared_gate { shape.hidden } else { 0 };
    let correction = if experts.corrected { experts.routed } else { 0 };
    let chooser = product(&[shape.hidden, experts.routed])
        .saturating_add(u128::from(shared_gate))
        .saturating_add(u128::from(correction));
    Parts {
        divided: gated(shape.hidden, experts.ffn).times(routed) + gated(shape.hidden, experts.shared_ffn),
        repeated: Weights::other(chooser),
        ..Parts::default()
    }
}

/// The layers of `range`; `all_experts`: or only those that a token passes.
fn layers(shape: &Shape, range: &Range<u64>, all_experts: bool) -> Parts {
    let count = range.end.saturating_sub(range.start);
    let with_experts = shape.expert_layers(range.start, range.end);
    let norms = shape.family.map_or(2, |family| u64::from(family.layer_norms));
    let norms = Parts {
        repeated: Weights::other(product(&[norms, shape.hidden])),
        ..Parts::default()
    };
    let mixed = shape.experts.as_ref().map_or_else(Parts::default, |experts| {
        let routed = if all_experts {
            experts.routed
        } else {
            experts.per_token
        };
        mixture(shape, experts, routed).times(with_experts)
    });
    (attention(shape) + norms).times(count) + dense(shape).times(count.saturating_sub(with_experts)) + mixed
}

fn embedding(shape: &Shape, vocab: u128) -> Weights {
    Weights::other(vocab.saturating_mul(u128::from(shape.hidden)))
}

/// A vision tower: patches, layers, and the merger that hands over to the language model.
fn tower(tower: &Tower) -> Parts {
    let width = u128::from(tower.width);
    let squared = width.saturating_mul(width);
    let patches = product(&[
        tower.width,
        tower.channels,
        tower.frames,
        tower.patch,
        tower.patch,
    ]);
    let joined = width.saturating_mul(product(&[tower.merge, tower.merge]));
    let merger = joined
        .saturating_mul(joined)
        .saturating_add(joined)
        .saturating_add(joined.saturating_mul(u128::from(tower.out)))
        .saturating_add(u128::from(tower.out));
    let wide_and_ffn = product(&[tower.width, tower.ffn]);
    // Matrices with their biases, then norms.
    let attention = squared.saturating_mul(4).saturating_add(width.saturating_mul(4));
    let (ffn, norm) = match tower.kind {
        VisionKind::Qwen2 => (
            wide_and_ffn
                .saturating_mul(2)
                .saturating_add(u128::from(tower.ffn))
                .saturating_add(width),
            width.saturating_mul(2),
        ),
        VisionKind::Qwen25 => (
            wide_and_ffn
                .saturating_mul(3)
                .saturating_add(product(&[2, tower.ffn]))
                .saturating_add(width),
            width,
        ),
    };
    let layer = Parts {
        divided: Weights::other(attention.saturating_add(ffn)),
        repeated: Weights::other(norm.saturating_mul(2)),
        ..Parts::default()
    };
    layer.times(tower.depth)
        + Parts {
            divided: Weights::other(merger),
            repeated: Weights::other(patches.saturating_add(norm)),
            ..Parts::default()
        }
}

impl Shape {
    /// Counts the model's parameters.
    pub fn parameters(&self) -> Result<Parameters, CountError> {
        if self.family.is_none() {
            let Some(total) = self.stated_parameters else {
                return Err(CountError::UnknownClass(self.class.clone()));
            };
            let active = self.stated_active.unwrap_or(total);
            return Ok(Parameters {
                total,
                active,
                read: active,
                multiplied: active,
                counted: None,
            });
        }
        let vocab = u128::from(self.vocab);
        let input = embedding(self, vocab).all();
        let output = if self.tied { 0 } else { input };
        let vision = self.vision.as_ref().map_or(0, |vision| tower(vision).all().all());
        let norm = u128::from(self.hidden);
        let all = 0..self.layers;
        let ends = input
            .saturating_add(output)
            .saturating_add(norm)
            .saturating_add(vision);
        let whole = layers(self, &all, true).all().all();
        let passed = layers(self, &all, false).all().all();
        let fit = |count: u128| {
            let most = u128::from(u64::MAX / 2);
            u64::try_from(count)
                .ok()
                .filter(|count| u128::from(*count) <= most)
                .ok_or(CountError::TooMany)
        };
        let counted = fit(whole.saturating_add(ends))?;
        let stated = self.stated_parameters.filter(|stated| *stated != counted);
        Ok(Parameters {
            total: stated.unwrap_or(counted),
            active: fit(passed.saturating_add(ends))?,
            // A shared embedding is read as the output's matrix.
            read: fit(passed
                .saturating_add(norm)
                .saturating_add(if self.tied { input } else { output }))?,
            multiplied: fit(passed)?,
            counted: stated.map(|_| counted),
        })
    }

    /// The weights of one rank of pipeline stage `stage` of `stages`, the layers of which are `range`.
    pub(super) fn on_rank(
        &self,
        parameters: &Parameters,
        tensor_parallel: u64,
        (stage, stages): (u64, u64),
        range: &Range<u64>,
    ) -> Weights {
        let cards = tensor_parallel.saturating_mul(stages);
        if self.family.is_none() {
            return Weights::matrix(u128::from(parameters.total)).over(cards);
        }
        let vocab = u128::from(self.vocab)
            .div_ceil(VOCAB_MULTIPLE)
            .saturating_mul(VOCAB_MULTIPLE);
        let (is_first, is_last) = (stage == 0, stage + 1 == stages);
        // One embedding serves both ends where one stage has both.
        let embeddings = match (is_first, is_last) {
            (true, true) if self.tied => 1,
            (true, true) => 2,
            (true, false) | (false, true) => 1,
            (false, false) => 0,
        };
        let mut weights = layers(self, range, true).on_rank(tensor_parallel, self.kv_heads)
            + embedding(self, vocab).times(embeddings).over(tensor_parallel);
        if is_last {
            weights = weights + Weights::other(u128::from(self.hidden));
        }
        if let Some(vision) = self.vision.as_ref().filter(|_| is_first) {
            weights = weights + tower(vision).on_rank(tensor_parallel, self.kv_heads);
        }
        // What somebody stated beyond the count is shared evenly.
        if let Some(counted) = parameters.counted {
            let more = Weights::matrix(u128::from(parameters.total.saturating_sub(counted))).over(cards);
            weights = weights + more;
            let fewer =
                u128::from(counted.saturating_sub(parameters.total)).div_ceil(u128::from(cards.max(1)));
            weights.matrices = weights.matrices.saturating_sub(fewer);
        }
        weights
    }
}

/// The layers of pipeline stage `stage` of `stages`, as vLLM shares them out: evenly; of what remains each but the
/// last stage gets one, from the last but one backwards (`distributed/utils.py`, `get_pp_indices`).
pub fn stage_layers(layers: u64, stage: u64, stages: u64) -> Range<u64> {
    let stages = stages.max(1);
    let (each, remain) = (layers / stages, layers % stages);
    // Stages `stages - 1 - remain` up to the last but one have one more.
    let first_larger = stages.saturating_sub(1).saturating_sub(remain);
    let larger_before = |stage: u64| stage.saturating_sub(first_larger).min(remain);
    let begin = |stage: u64| stage.saturating_mul(each).saturating_add(larger_before(stage));
    begin(stage)..begin(stage.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capacity::shape::tests::mistral;

    #[test]
    fn stages_share_layers_as_vllm_does() {
        let all = |layers, stages| -> Vec<u64> {
            (0..stages)
                .map(|stage| stage_layers(layers, stage, stages))
                .map(|range| range.end - range.start)
                .collect()
        };
        assert_eq!(all(60, 2), [30, 30]);
        assert_eq!(all(61, 4), [15, 15, 16, 15]);
        assert_eq!(all(80, 3), [27, 27, 26]);
        assert_eq!(all(5, 4), [1, 1, 2, 1]);
        assert_eq!(all(7, 4), [2, 2, 2, 1]);
    }

    #[test]
    fn what_was_stated_beyond_the_count_is_kept() {
        let stated = Shape {
            stated_parameters: Some(7_241_732_096 + 1000),
            ..mistral()
        };
        let parameters = stated.parameters().unwrap();
        assert_eq!(parameters.total, 7_241_733_096);
        assert_eq!(parameters.counted, Some(7_241_732_096));
        let weights = stated.on_rank(&parameters, 1, (0, 1), &(0..32));
        assert_eq!(weights.all(), 7_241_733_096);
    }

    #[test]
    fn a_class_without_a_count_is_refused() {
        let unknown = Shape {
            family: None,
            class: "X".into(),
            ..mistral()
        };
        assert_eq!(unknown.parameters(), Err(CountError::UnknownClass("X".into())));
    }

    proptest! {
        #[test]
        fn ranks_hold_all_weights_together(layers in 1u64..40, stages in 1u64..6, ranks in 0u32..4, tied: bool) {
            let shape = Shape { layers, tied, ..mistral() };
            let ranks = 1 << ranks;
            let parameters = shape.parameters().unwrap();
            let held: u128 = (0..stages)
                .map(|stage| shape.on_rank(&parameters, ranks, (stage, stages), &stage_layers(layers, stage, stages)).all() * u128::from(ranks))
                .sum();
            prop_assert!(held >= u128::from(parameters.total), "{} < {}", held, parameters.total);
        }

        #[test]
        fn no_figures_overflow(figures in prop::collection::vec(any::<u64>(), 6), stages in any::<u64>(), ranks in 1u64..) {
            let shape = Shape {
                layers: figures[0], hidden: figures[1], heads: figures[2], kv_heads: figures[3], head_dim: figures[4], ffn: figures[5],
                ..mistral()
            };
            if let Ok(parameters) = shape.parameters() {
                let _ = shape.on_rank(&parameters, ranks, (0, stages.max(1)), &stage_layers(shape.layers, 0, stages));
            }
            let _ = stage_layers(figures[0], figures[1], stages);
        }
    }
}
