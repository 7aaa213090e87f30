//! Memory of one card and what is left for the KV cache, by vLLM's identities: KV bytes = utilization × card − weights
//! − non-torch − activation peak (− graphs, from 0.20 on); blocks = KV bytes / (block size × bytes a token);
//! tokens = blocks × block size; concurrency = tokens / max_model_len. With several stages the poorest decides.
//!
//! Weights and KV bytes a token are exact; what the card's file estimates carries its stated error. A figure that was
//! measured replaces the estimate and has none.

use semver::Version;

use super::{
    numbers::{KvType, Quantization},
    parameters::{Parameters, stage_layers},
    rules::{Platform, Rules},
    shape::Shape,
};
use crate::manifest::{Card, Dtype};

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// How a server is started, as far as memory depends on it. `None`: vLLM's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Release of vLLM.
    pub version: Version,
    /// Number type of weights and activations.
    pub dtype: Dtype,
    /// How matrices are stored.
    pub quantization: Option<Quantization>,
    /// Type of the KV cache.
    pub kv_type: KvType,
    /// Longest sequence, tokens.
    pub max_model_len: u64,
    /// Share of the card that vLLM may take.
    pub utilization: Option<f64>,
    /// Tokens of a block.
    pub block_size: Option<u64>,
    /// Sequences of a step.
    pub max_num_seqs: Option<u64>,
    /// Tokens of a step.
    pub max_num_batched_tokens: Option<u64>,
    /// Whether no graphs are captured.
    pub enforce_eager: bool,
    /// KV cache of one card in GiB, where it is set and not left over.
    pub kv_cache_gib: Option<f64>,
    /// Measured figures that replace estimates.
    pub known: Known,
}

/// Figures of one card that were measured, in GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Known {
    /// Memory as torch sees it.
    pub card_gib: Option<f64>,
    /// Weights.
    pub weights_gib: Option<f64>,
    /// Memory outside torch.
    pub non_torch_gib: Option<f64>,
    /// Activation peak.
    pub activation_gib: Option<f64>,
    /// Captured graphs.
    pub graph_gib: Option<f64>,
}

/// How a model is spread over cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Cards that share each layer.
    pub tensor_parallel: u64,
    /// Groups of layers.
    pub pipeline_parallel: u64,
}

impl Layout {
    /// All cards.
    pub const fn cards(self) -> u64 {
        self.tensor_parallel.saturating_mul(self.pipeline_parallel)
    }
}

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
    pub obstacle: Option<String>,
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
    fn blocks_of_a_request(&self, prediction: &Prediction, rules: &Rules) -> u64 {
        let len = self.settings.max_model_len.max(1);
        let size = prediction.block_size.max(1);
        match self.shape.sliding_window.filter(|_| rules.counts_blocks) {
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

    fn batched_tokens(&self, rules: &Rules) -> u64 {
        let (gib, name) = self.card_words();
        self.settings
            .max_num_batched_tokens
            .unwrap_or_else(|| rules.batched_tokens(self.settings.max_model_len, gib, name))
    }

    fn card_words(&self) -> (f64, &str) {
        self.card
            .map_or((0.0, ""), |card| (card.memory_gib.value, card.name.as_str()))
    }

    fn non_torch(&self, layout: Layout) -> Option<Estimate> {
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
    fn activation(&self, layout: Layout, rules: &Rules) -> Option<Estimate> {
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

    fn graph(&self) -> Option<Estimate> {
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

    /// The first thing that keeps the model from being served so.
    fn obstacle(&self, prediction: &Prediction, rules: &Rules) -> Option<String> {
        self.uneven(prediction.layout)
            .or_else(|| self.no_fp8())
            .or_else(|| self.too_long())
            .or_else(|| no_room(prediction, rules))
            .or_else(|| {
                let needed = self.blocks_of_a_request(prediction, rules);
                let held = prediction.num_blocks.saturating_mul(prediction.block_size);
                let len = self.settings.max_model_len;
                (prediction.num_blocks < needed).then(|| {
                    format!(
                        "the KV cache holds {held} tokens, one sequence of max_model_len {len} needs more"
                    )
                })
            })
    }

    /// What cannot be divided over the cards of a layer, or the layers over stages.
    fn uneven(&self, layout: Layout) -> Option<String> {
        let (shape, cards) = (self.shape, layout.tensor_parallel);
        let kv_fits = shape.latent.is_some()
            || shape.kv_heads.is_multiple_of(cards)
            || cards.is_multiple_of(shape.kv_heads.max(1));
        let plain = shape.experts.is_none_or(|experts| experts.dense_layers > 0);
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
        } else if plain && !shape.ffn.is_multiple_of(cards) {
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

    fn no_fp8(&self) -> Option<String> {
        let card = self.card.filter(|card| !card.fp8)?;
        let is_fp8 = self
            .settings
            .quantization
            .is_some_and(|quantization| quantization.method == super::Method::Fp8);
        is_fp8.then(|| format!("the {} does not compute with 8-bit floats", card.name))
    }

    fn too_long(&self) -> Option<String> {
        let (len, most) = (self.settings.max_model_len, self.shape.max_position);
        (len > most).then(|| format!("max_model_len {len} is longer than the model's {most} positions"))
    }
}

/// Whether weights and overhead alone are more than the share.
fn no_room(prediction: &Prediction, rules: &Rules) -> Option<String> {
    let share = prediction.share_gib?;
    // A KV cache whose size is set takes what it takes; the card must hold the sum.
    if let Some(left) = prediction
        .left_gib()
        .filter(|left| *left < 0.0 && prediction.kv_cache_gib > 0.0)
    {
        return Some(format!("the card lacks {:.2} GiB for all of it", -left));
    }
    if prediction.kv_cache_gib > 0.0 {
        return None;
    }
    let estimate = |estimate: Option<Estimate>| estimate.map_or(0.0, |estimate| estimate.gib);
    let graphs = if rules.graphs_in_share {
        estimate(prediction.graph)
    } else {
        0.0
    };
    let graphs_said = if graphs > 0.0 {
        format!(", {graphs:.2} of graphs")
    } else {
        String::new()
    };
    Some(format!(
        "{:.2} GiB of weights, {:.2} outside torch, {:.2} of activations{graphs_said} are {:.2} GiB more than the \
         {share:.2} GiB that vLLM may take",
        prediction.weights_gib,
        estimate(prediction.non_torch),
        estimate(prediction.activation),
        -prediction.kv_cache_gib,
    ))
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
