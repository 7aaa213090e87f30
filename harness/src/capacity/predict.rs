//! Memory of one card and what is left for the KV cache, by vLLM's identities: KV bytes = utilization × card − weights
//! − non-torch − activation peak (− graphs, from 0.20 on); blocks = KV bytes / (block size × bytes a token);
//! tokens = blocks × block size; concurrency = tokens / max_model_len. With several stages the poorest decides.
//!
//! Weights and KV bytes a token are exact; what the card's file estimates carries its stated error. A figure that was
//! measured replaces the estimate and has none.

use super::{
    estimate::Estimate,
    obstacle::Obstacle,
    parameters::{Parameters, stage_layers},
    rules::{Platform, Rules},
    settings::{Layout, Settings},
    shape::Shape,
};
use crate::manifest::Card;

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// A model that is to be placed on a card.
#[derive(Debug, Clone)]
pub struct Demand<'a> {
    /// Its shape.
    pub shape: &'a Shape,
    /// Its parameters.
    pub parameters: Parameters,
    /// The card; `None`: vLLM's CPU backend.
    pub card: Option<&'a Card>,
    /// How it is served.
    pub settings: &'a Settings,
}

/// What is predicted of one card of a layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The layout.
    pub layout: Layout,
    /// Memory of the card; `None` on the CPU.
    pub card_gib: Option<f64>,
    /// What vLLM may take of it.
    pub share_gib: Option<f64>,
    /// Weights of the fullest card.
    pub weights_gib: f64,
    /// Memory outside torch; `None` where only measurements tell (CPU).
    pub non_torch: Option<Estimate>,
    /// Activation peak.
    pub activation: Option<Estimate>,
    /// Captured graphs.
    pub graph: Option<Estimate>,
    /// KV cache of one card; negative where the rest alone is too much.
    pub kv_cache_gib: f64,
    /// How far the KV cache may be off.
    pub kv_error_gib: f64,
    /// Bytes of KV cache for one token, on the card that keeps most.
    pub kv_bytes_per_token: u64,
    /// Tokens of a block.
    pub block_size: u64,
    /// Blocks.
    pub num_blocks: u64,
    /// Tokens, as this version prints them.
    pub kv_tokens: u64,
    /// Sequences of full length, as this version prints it.
    pub max_concurrency: f64,
    /// Why the model cannot be served so; `None`: it can.
    pub obstacle: Option<Obstacle>,
}

impl Prediction {
    /// Whether the model can be served.
    pub const fn fits(&self) -> bool {
        self.obstacle.is_none()
    }

    /// What no figure accounts for, GiB; `None` on the CPU.
    pub fn left_gib(&self) -> Option<f64> {
        let gib = |estimate: Option<Estimate>| estimate.map_or(0.0, |estimate| estimate.gib);
        let taken = self.weights_gib + gib(self.non_torch) + gib(self.activation) + gib(self.graph);
        Some(self.card_gib? - taken - self.kv_cache_gib.max(0.0))
    }
}

impl<'a> Demand<'a> {
    /// A model that is to be placed.
    pub fn new(
        shape: &'a Shape,
        card: Option<&'a Card>,
        settings: &'a Settings,
    ) -> Result<Self, super::CountError> {
        let parameters = shape.parameters()?;
        Ok(Self {
            shape,
            parameters,
            card,
            settings,
        })
    }

    /// The version's rules.
    pub fn rules(&self) -> Rules {
        let platform = self
            .card
            .map_or(Platform::Cpu, |card| Platform::Card(card.platform));
        Rules::of(&self.settings.version, platform, self.shape)
    }

    /// Weights of all cards together as they are stored, in GiB.
    pub fn weights_gib(&self) -> f64 {
        let whole = self
            .shape
            .on_rank(&self.parameters, 1, (0, 1), &(0..self.shape.layers));
        self.stored_gib(whole)
    }

    /// Bytes of KV cache for one token over all layers and heads.
    pub fn kv_bytes_per_token(&self) -> u64 {
        let values = self.shape.kv_values_per_layer().saturating_mul(self.shape.layers);
        values.saturating_mul(self.kv_value_bytes())
    }

    /// Predicts one card of a layout.
    pub fn predict(&self, layout: Layout) -> Prediction {
        let layout = Layout {
            tensor_parallel: layout.tensor_parallel.max(1),
            pipeline_parallel: layout.pipeline_parallel.max(1),
        };
        let rules = self.rules();
        let known = self.settings.known;
        let card_gib = self
            .card
            .map(|card| known.card_gib.unwrap_or(card.memory_gib.value));
        let utilization = self.settings.utilization.unwrap_or(rules.utilization);
        let mut prediction = Prediction {
            layout,
            card_gib,
            share_gib: card_gib.map(|gib| gib * utilization),
            weights_gib: 0.0,
            non_torch: self.non_torch(layout),
            activation: self.activation(layout, &rules),
            graph: self.graph(),
            kv_cache_gib: 0.0,
            kv_error_gib: 0.0,
            kv_bytes_per_token: 0,
            block_size: self.block_size(&rules),
            num_blocks: u64::MAX,
            kv_tokens: 0,
            max_concurrency: 0.0,
            obstacle: None,
        };
        self.share_out(&mut prediction, &rules);
        self.count(&mut prediction, &rules);
        prediction.obstacle = self.obstacle(&prediction, &rules);
        prediction
    }

    /// Fills in weights and KV cache of the stage that has fewest blocks.
    fn share_out(&self, prediction: &mut Prediction, rules: &Rules) {
        let Layout {
            tensor_parallel,
            pipeline_parallel,
        } = prediction.layout;
        let gib = |estimate: Option<Estimate>| estimate.map_or(0.0, |estimate| estimate.gib);
        let graphs = if rules.graphs_in_share {
            gib(prediction.graph)
        } else {
            0.0
        };
        let beside = gib(prediction.non_torch) + gib(prediction.activation) + graphs;
        // Every stage but the first and the last is like its neighbours: a few suffice whatever is written.
        let stages = pipeline_parallel.min(self.shape.layers.max(1)).min(4096);
        for stage in 0..stages {
            let range = stage_layers(self.shape.layers, stage, stages);
            let weights = self.settings.known.weights_gib.unwrap_or_else(|| {
                let held = self
                    .shape
                    .on_rank(&self.parameters, tensor_parallel, (stage, stages), &range);
                self.stored_gib(held)
            });
            let kv_gib = self
                .settings
                .kv_cache_gib
                .unwrap_or_else(|| prediction.share_gib.map_or(0.0, |share| share - weights - beside));
            let token = self.token_bytes(tensor_parallel, range.end - range.start);
            let blocks = whole(kv_gib * GIB / (token as f64 * prediction.block_size as f64));
            prediction.weights_gib = prediction.weights_gib.max(weights);
            prediction.kv_bytes_per_token = prediction.kv_bytes_per_token.max(token);
            if blocks < prediction.num_blocks || stage == 0 {
                prediction.num_blocks = blocks;
                prediction.kv_cache_gib = kv_gib;
            }
        }
        if self.settings.kv_cache_gib.is_none() {
            let errors = [
                prediction.non_torch,
                prediction.activation,
                prediction.graph.filter(|_| rules.graphs_in_share),
            ];
            prediction.kv_error_gib = errors.iter().flatten().map(|estimate| estimate.error_gib).sum();
        }
    }

    /// Tokens and concurrency, as this version counts them.
    fn count(&self, prediction: &mut Prediction, rules: &Rules) {
        let (blocks, size) = (prediction.num_blocks, prediction.block_size);
        let len = self.settings.max_model_len.max(1);
        let tokens = blocks.saturating_mul(size);
        prediction.max_concurrency = if rules.counts_blocks {
            blocks as f64 / self.blocks_of_a_request(prediction, rules) as f64
        } else {
            tokens as f64 / len as f64
        };
        prediction.kv_tokens = if rules.tokens_by_concurrency {
            whole(prediction.max_concurrency * len as f64)
        } else {
            tokens
        };
    }

    /// Blocks that one request of full length needs. A sliding window forgets, but one block more is needed, since it
    /// need not begin with a block.
    pub(super) fn blocks_of_a_request(&self, prediction: &Prediction, rules: &Rules) -> u64 {
        let len = self.settings.max_model_len.max(1);
        let size = prediction.block_size.max(1);
        match rules.window {
            Some(window) => {
                let held = window
                    .saturating_sub(1)
                    .saturating_add(self.batched_tokens(rules));
                held.min(len).div_ceil(size).saturating_add(1)
            }
            None => len.div_ceil(size),
        }
    }

    fn kv_value_bytes(&self) -> u64 {
        self.settings.kv_type.bytes(self.settings.dtype.bytes())
    }

    /// Bytes of KV cache for one token on one card. The latent vector cannot be divided; where there are fewer heads
    /// than cards each card keeps one.
    fn token_bytes(&self, tensor_parallel: u64, layers: u64) -> u64 {
        let shape = self.shape;
        let values = if shape.latent.is_some() {
            shape.kv_values_per_layer()
        } else {
            let heads = shape.kv_heads.div_ceil(tensor_parallel).max(1);
            heads.saturating_mul(shape.head_dim).saturating_mul(2)
        };
        values
            .saturating_mul(layers)
            .saturating_mul(self.kv_value_bytes())
            .max(1)
    }

    fn stored_gib(&self, weights: super::parameters::Weights) -> f64 {
        let bytes = self.settings.dtype.bytes() as f64;
        let matrix_bytes = self
            .settings
            .quantization
            .map_or(bytes, |quantization| quantization.bits / 8.0);
        (weights.matrices as f64 * matrix_bytes + weights.rest as f64 * bytes) / GIB
    }

    fn block_size(&self, rules: &Rules) -> u64 {
        rules
            .forced_block_size
            .or(self.settings.block_size)
            .unwrap_or(rules.block_size)
            .max(1)
    }

    pub(super) fn batched_tokens(&self, rules: &Rules) -> u64 {
        let (gib, name) = self.card_words();
        self.settings
            .max_num_batched_tokens
            .unwrap_or_else(|| rules.batched_tokens(self.settings.max_model_len, gib, name))
    }

    pub(super) fn card_words(&self) -> (f64, &str) {
        self.card
            .map_or((0.0, ""), |card| (card.memory_gib.value, card.name.as_str()))
    }
}

/// Floor of a figure; 0 for what is negative or no number, the largest count for what is larger.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates; NaN gives 0"
)]
fn whole(figure: f64) -> u64 {
    figure.floor() as u64
}
