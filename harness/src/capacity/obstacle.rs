//! What keeps a model from being served in a layout, with the figures that show it.

use std::fmt;

use super::{
    estimate::Estimate,
    numbers::Method,
    predict::{Demand, Prediction},
    rules::Rules,
    settings::Layout,
};

/// Why a layout does not work. Memory in GiB of one card.
#[derive(Debug, Clone, PartialEq)]
pub enum Obstacle {
    /// Something cannot be divided over so many cards or stages.
    Uneven(String),
    /// The card does not compute in 8-bit floats.
    NoFp8 {
        /// The card.
        card: String,
    },
    /// Longer than the model's positions.
    TooLong {
        /// Length that was asked for.
        len: u64,
        /// Positions of the model.
        positions: u64,
    },
    /// Weights and the rest are more than vLLM may take.
    NoRoom {
        /// Weights.
        weights: f64,
        /// Memory outside torch.
        non_torch: f64,
        /// Activation peak.
        activation: f64,
        /// Graphs, where they count.
        graphs: f64,
        /// What vLLM may take.
        share: f64,
        /// What is missing.
        lacking: f64,
    },
    /// All of it together is more than the card has.
    Overfull {
        /// What is missing.
        lacking: f64,
    },
    /// The KV cache does not hold one sequence.
    ShortCache {
        /// Tokens that it holds.
        held: u64,
        /// Tokens of a sequence.
        len: u64,
    },
}

impl Obstacle {
    /// The obstacle in a few words, for a table.
    pub fn short(&self) -> String {
        match self {
            Self::Uneven(text) => text.clone(),
            Self::NoFp8 { .. } => "no 8-bit floats".to_owned(),
            Self::TooLong { positions, .. } => format!("longer than {positions} positions"),
            Self::NoRoom { lacking, .. } | Self::Overfull { lacking } => format!("{lacking:.2} GiB too much"),
            Self::ShortCache { held, .. } => format!("room for {held} tokens"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uneven(text) => f.write_str(text),
            Self::NoFp8 { card } => write!(f, "the {card} does not compute with 8-bit floats"),
            Self::TooLong { len, positions } => {
                write!(
                    f,
                    "max_model_len {len} is longer than the model's {positions} positions"
                )
            }
            Self::NoRoom {
                weights,
                non_torch,
                activation,
                graphs,
                share,
                lacking,
            } => {
                write!(
                    f,
                    "{weights:.2} GiB of weights, {non_torch:.2} outside torch, {activation:.2} of activations"
                )?;
                if *graphs > 0.0 {
                    write!(f, ", {graphs:.2} of graphs")?;
                }
                write!(
                    f,
                    " are {lacking:.2} GiB more than the {share:.2} GiB that vLLM may take"
                )
            }
            Self::Overfull { lacking } => write!(f, "the card lacks {lacking:.2} GiB for all of it"),
            Self::ShortCache { held, len } => {
                write!(
                    f,
                    "the KV cache holds {held} tokens, one sequence of max_model_len {len} needs more"
                )
            }
        }
    }
}

impl Demand<'_> {
    /// The first thing that keeps the model from being served so.
    pub(super) fn obstacle(&self, prediction: &Prediction, rules: &Rules) -> Option<Obstacle> {
        let settings = self.settings;
        let too_long = || {
            let (len, positions) = (settings.max_model_len, self.shape.max_position);
            (len > positions).then_some(Obstacle::TooLong { len, positions })
        };
        let short = || {
            let needed = self.blocks_of_a_request(prediction, rules);
            let held = prediction.num_blocks.saturating_mul(prediction.block_size);
            let len = settings.max_model_len;
            (prediction.num_blocks < needed).then_some(Obstacle::ShortCache { held, len })
        };
        self.uneven(prediction.layout)
            .map(Obstacle::Uneven)
            .or_else(|| self.no_fp8())
            .or_else(too_long)
            .or_else(|| no_room(prediction, rules))
            .or_else(short)
    }

    /// What cannot be divided over the cards of a layer, or the layers over stages.
    fn uneven(&self, layout: Layout) -> Option<String> {
        let (shape, cards) = (self.shape, layout.tensor_parallel);
        let kv_fits = shape.latent.is_some()
            || shape.kv_heads.is_multiple_of(cards)
            || cards.is_multiple_of(shape.kv_heads.max(1));
        let is_plain = shape.experts.is_none_or(|experts| experts.dense_layers > 0);
        if !shape.heads.is_multiple_of(cards) {
            Some(format!(
                "{cards} cards cannot share {} attention heads evenly",
                shape.heads
            ))
        } else if !kv_fits {
            let heads = shape.kv_heads;
            Some(format!(
                "{cards} cards can neither divide nor repeat {heads} key and value heads"
            ))
        } else if is_plain && !shape.ffn.is_multiple_of(cards) {
            Some(format!(
                "{cards} cards cannot share a feed-forward width of {} evenly",
                shape.ffn
            ))
        } else if let Some(experts) = shape.experts.filter(|experts| !experts.ffn.is_multiple_of(cards)) {
            Some(format!(
                "{cards} cards cannot share an expert's width of {} evenly",
                experts.ffn
            ))
        } else if layout.pipeline_parallel > shape.layers {
            let stages = layout.pipeline_parallel;
            Some(format!(
                "{stages} pipeline stages, but the model has {} layers",
                shape.layers
            ))
        } else {
            None
        }
    }

    fn no_fp8(&self) -> Option<Obstacle> {
        let card = self.card.filter(|card| !card.fp8)?;
        let quantization = self.settings.quantization?;
        (quantization.method == Method::Fp8).then(|| Obstacle::NoFp8 {
            card: card.name.clone(),
        })
    }
}

/// Whether weights and overhead alone are more than the share, or all of it is more than the card.
fn no_room(prediction: &Prediction, rules: &Rules) -> Option<Obstacle> {
    let share = prediction.share_gib?;
    if prediction.kv_cache_gib > 0.0 {
        // A KV cache whose size is set takes what it takes.
        let left = prediction.left_gib().filter(|left| *left < 0.0)?;
        return Some(Obstacle::Overfull { lacking: -left });
    }
    let estimate = |estimate: Option<Estimate>| estimate.map_or(0.0, |estimate| estimate.gib);
    Some(Obstacle::NoRoom {
        weights: prediction.weights_gib,
        non_torch: estimate(prediction.non_torch),
        activation: estimate(prediction.activation),
        graphs: if rules.graphs_in_share {
            estimate(prediction.graph)
        } else {
            0.0
        },
        share,
        lacking: -prediction.kv_cache_gib,
    })
}
