//! What only measurements tell: activations, memory outside torch, graphs. The card's file gives factors and their
//! error; a measured figure replaces the estimate.

use super::{
    predict::{Demand, GIB},
    rules::Rules,
    settings::Layout,
};

/// An estimated figure and how far it may be off; both in GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub gib: f64,
    /// How far it may be off, either way; 0 for what was measured.
    pub error_gib: f64,
}

impl Estimate {
    const fn measured(gib: f64) -> Self {
        Self { gib, error_gib: 0.0 }
    }
}

impl Demand<'_> {
    pub(super) fn non_torch(&self, layout: Layout) -> Option<Estimate> {
        if let Some(gib) = self.settings.known.non_torch_gib {
            return Some(Estimate::measured(gib));
        }
        let overhead = &self.card?.overhead;
        let collective = if layout.cards() > 1 {
            overhead.collective_gib.value
        } else {
            0.0
        };
        Some(Estimate {
            gib: overhead.non_torch_gib.value + collective,
            error_gib: overhead.non_torch_error_gib,
        })
    }

    /// The larger of two peaks: a forward pass of all tokens of a step (four residual streams; gate, up and their
    /// product, or those of the experts that a token passes) and sampling for all sequences (float32 logits and what
    /// sorting and softmax keep beside them).
    pub(super) fn activation(&self, layout: Layout, rules: &Rules) -> Option<Estimate> {
        if let Some(gib) = self.settings.known.activation_gib {
            return Some(Estimate::measured(gib));
        }
        let overhead = &self.card?.overhead;
        let shape = self.shape;
        let ffn = match &shape.experts {
            Some(experts) => {
                let passed = experts.per_token as f64 * experts.ffn as f64 + experts.shared_ffn as f64;
                passed.max(if experts.dense_layers > 0 {
                    shape.ffn as f64
                } else {
                    0.0
                })
            }
            None => shape.ffn as f64,
        };
        let width = 4.0 * shape.hidden as f64 + 3.0 * ffn / layout.tensor_parallel as f64;
        let bytes = self.settings.dtype.bytes() as f64;
        let forward = self.batched_tokens(rules) as f64 * width * bytes / GIB;
        let (gib, name) = self.card_words();
        let sequences = self
            .settings
            .max_num_seqs
            .unwrap_or_else(|| rules.sequences(gib, name));
        let logits = sequences as f64 * shape.vocab as f64 * 4.0 / GIB;
        let peak = (overhead.forward_factor.value * forward).max(overhead.sampler_factor.value * logits);
        Some(Estimate {
            gib: peak,
            error_gib: peak * overhead.activation_error,
        })
    }

    pub(super) fn graph(&self) -> Option<Estimate> {
        let card = self.card?;
        if self.settings.enforce_eager {
            return Some(Estimate::measured(0.0));
        }
        Some(match self.settings.known.graph_gib {
            Some(gib) => Estimate::measured(gib),
            None => Estimate {
                gib: card.overhead.graph_gib.value,
                error_gib: card.overhead.graph_gib.value,
            },
        })
    }
}
