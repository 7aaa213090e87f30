//! The answer: what `--json` prints, and what table and picture are made from. Figures of memory are GiB of one card
//! unless they say otherwise; keys are never left out, what is not known is `null`.

use semver::Version;
use serde::Serialize;

use super::arguments::Question;
use crate::capacity::{CountError, Demand, Estimate, Known, Layout, Obstacle, Prediction, Roof, Settings};

/// Releases that share memory out differently; the same manifest is computed for each.
const TURNS: [&str; 4] = ["0.8.5", "0.12.0", "0.20.2", "0.33.0"];

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub schema_version: u32,
    pub model: String,
    pub class: String,
    /// Name of the card; `null`: the CPU backend.
    pub card: Option<String>,
    /// The card as people call it.
    pub card_name: String,
    pub vllm: String,
    pub dtype: &'static str,
    pub quantization: Option<&'static str>,
    pub max_model_len: u64,
    pub gpu_memory_utilization: f64,
    pub parameters: u64,
    pub active_parameters: u64,
    /// Weights of the whole model.
    pub weights_gib: f64,
    /// Bytes of KV cache for one token of the whole model.
    pub kv_bytes_per_token: u64,
    /// Cards of the smallest usual layout that fits; `null`: none does.
    pub cards_needed: Option<u64>,
    /// The layout that was asked for; without one the smallest that fits.
    #[serde(flatten)]
    pub chosen: LayoutAnswer,
    #[serde(flatten)]
    pub memory: CardAnswer,
    /// What vLLM's version decides, in sentences.
    pub rules: Vec<String>,
    /// The same settings on other versions.
    pub versions: Vec<VersionAnswer>,
    /// What was assumed.
    pub notes: Vec<String>,
    /// Usual layouts, fewest cards first.
    pub layouts: Vec<LayoutAnswer>,
    /// Whether the chosen layout fits.
    #[serde(skip)]
    pub fits: bool,
    /// Bars of the picture.
    #[serde(skip)]
    pub bars: Vec<Prediction>,
}

/// Memory of one card of the chosen layout; `null` on the CPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CardAnswer {
    pub card_gib: Option<f64>,
    pub usable_gib: Option<f64>,
    pub non_torch_gib: Option<f64>,
    pub non_torch_error_gib: Option<f64>,
    pub activation_gib: Option<f64>,
    pub activation_error_gib: Option<f64>,
    pub graph_gib: Option<f64>,
    pub graph_error_gib: Option<f64>,
    pub kv_cache_error_gib: f64,
    pub left_gib: Option<f64>,
    pub block_size: u64,
}

/// One layout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayoutAnswer {
    pub tensor_parallel: u64,
    pub pipeline_parallel: u64,
    pub cards: u64,
    pub fits: bool,
    /// Why not; `null` where it fits.
    pub reason: Option<String>,
    /// The same in a few words.
    #[serde(skip)]
    pub short: Option<String>,
    pub weights_gib_per_card: f64,
    pub kv_bytes_per_token_per_card: u64,
    pub kv_cache_gib: f64,
    pub num_blocks: u64,
    pub kv_tokens: u64,
    pub max_concurrency: f64,
    /// Most tokens a second of one sequence.
    pub decode_roof_tokens_per_s: Option<f64>,
    /// Most prompt tokens a second.
    pub prefill_roof_tokens_per_s: Option<f64>,
    /// What would make it fit; `null` where it fits or nothing would.
    pub squeeze: Option<SqueezeAnswer>,
}

/// What would make a layout fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SqueezeAnswer {
    pub gpu_memory_utilization: f64,
    pub max_model_len: u64,
    pub max_concurrency: f64,
}

/// The chosen layout on another version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionAnswer {
    pub vllm: String,
    pub gpu_memory_utilization: f64,
    pub activation_gib: Option<f64>,
    pub block_size: u64,
    pub kv_cache_gib: f64,
    pub kv_tokens: u64,
    pub max_concurrency: f64,
    pub fits: bool,
}

impl Answer {
    /// Computes the answer.
    pub fn of(question: &Question) -> Result<Self, CountError> {
        let card = question.card.as_ref().map(|card| &card.card);
        let settings = &question.settings;
        let demand = Demand::new(&question.shape, card, settings)?;
        let elsewhere = unmeasured(settings, card.is_some());
        let others = Demand {
            settings: &elsewhere,
            ..demand.clone()
        };
        let smallest = others.smallest();
        let layout = question
            .layout
            .unwrap_or_else(|| fallback(&demand, smallest.as_ref()));
        let rules = demand.rules();
        let prediction = demand.predict(layout);
        let chosen = layout_answer(&demand, &prediction);
        let mut notes = question.notes.clone();
        notes.extend(demand.parameters.counted.map(|counted| {
            format!(
                "the manifest states {} parameters, its figures give {counted}",
                demand.parameters.total
            )
        }));
        Ok(Self {
            schema_version: 1,
            model: question.model.clone(),
            class: question.shape.class.clone(),
            card: question.card.as_ref().map(|card| card.name.clone()),
            card_name: card.map_or_else(|| "CPU".to_owned(), |card| card.name.clone()),
            vllm: settings.version.to_string(),
            dtype: settings.dtype.as_str(),
            quantization: settings
                .quantization
                .map(|quantization| quantization.method.as_str()),
            max_model_len: settings.max_model_len,
            gpu_memory_utilization: settings.utilization.unwrap_or(rules.utilization),
            parameters: demand.parameters.total,
            active_parameters: demand.parameters.active,
            weights_gib: demand.weights_gib(),
            kv_bytes_per_token: demand.kv_bytes_per_token(),
            cards_needed: smallest.as_ref().map(|smallest| smallest.layout.cards()),
            fits: chosen.fits,
            chosen,
            memory: CardAnswer::of(&prediction),
            rules: rules.sentences(&settings.version, settings.utilization.is_some()),
            versions: versions(&demand, layout),
            notes,
            layouts: layouts(&demand, &others, layout),
            bars: bars(&others, &prediction),
        })
    }
}

/// The layout where nobody named one: the smallest that fits, else the largest that was looked at.
fn fallback(demand: &Demand<'_>, smallest: Option<&Prediction>) -> Layout {
    let largest = || demand.layouts().into_iter().max_by_key(|layout| layout.cards());
    let found = smallest.map(|smallest| smallest.layout).or_else(largest);
    found.unwrap_or(Layout {
        tensor_parallel: 1,
        pipeline_parallel: 1,
    })
}

/// The usual layouts; measured figures count for the chosen one.
fn layouts(demand: &Demand<'_>, others: &Demand<'_>, chosen: Layout) -> Vec<LayoutAnswer> {
    let usual = demand.layouts().into_iter();
    usual
        .map(|layout| {
            let demand = if layout == chosen { demand } else { others };
            layout_answer(demand, &demand.predict(layout))
        })
        .collect()
}

impl CardAnswer {
    fn of(prediction: &Prediction) -> Self {
        let gib = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.gib);
        let error = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.error_gib);
        Self {
            card_gib: prediction.card_gib,
            usable_gib: prediction.share_gib,
            non_torch_gib: gib(prediction.non_torch),
            non_torch_error_gib: error(prediction.non_torch),
            activation_gib: gib(prediction.activation),
            activation_error_gib: error(prediction.activation),
            graph_gib: gib(prediction.graph),
            graph_error_gib: error(prediction.graph),
            kv_cache_error_gib: prediction.kv_error_gib,
            left_gib: prediction.left_gib(),
            block_size: prediction.block_size,
        }
    }
}

/// The settings for other layouts than the one that was measured: of measured figures only the card's holds there. The
/// CPU's KV cache is set and not measured.
fn unmeasured(settings: &Settings, has_card: bool) -> Settings {
    Settings {
        known: Known {
            card_gib: settings.known.card_gib,
            ..Known::default()
        },
        kv_cache_gib: settings.kv_cache_gib.filter(|_| !has_card),
        ..settings.clone()
    }
}

fn layout_answer(demand: &Demand<'_>, prediction: &Prediction) -> LayoutAnswer {
    let roof = demand.roof(prediction.layout);
    let squeeze = (!prediction.fits())
        .then(|| demand.squeeze(prediction.layout))
        .flatten();
    let rate = |rate: fn(&Roof) -> f64| roof.as_ref().map(rate).filter(|rate| rate.is_finite());
    LayoutAnswer {
        tensor_parallel: prediction.layout.tensor_parallel,
        pipeline_parallel: prediction.layout.pipeline_parallel,
        cards: prediction.layout.cards(),
        fits: prediction.fits(),
        reason: prediction.obstacle.as_ref().map(ToString::to_string),
        short: prediction.obstacle.as_ref().map(Obstacle::short),
        weights_gib_per_card: prediction.weights_gib,
        kv_bytes_per_token_per_card: prediction.kv_bytes_per_token,
        kv_cache_gib: prediction.kv_cache_gib,
        num_blocks: prediction.num_blocks,
        kv_tokens: prediction.kv_tokens,
        max_concurrency: prediction.max_concurrency,
        decode_roof_tokens_per_s: rate(|roof| roof.decode_tokens_per_s),
        prefill_roof_tokens_per_s: rate(|roof| roof.prefill_tokens_per_s),
        squeeze: squeeze.map(|squeeze| SqueezeAnswer {
            gpu_memory_utilization: squeeze.utilization,
            max_model_len: squeeze.max_model_len,
            max_concurrency: squeeze.max_concurrency,
        }),
    }
}

fn versions(demand: &Demand<'_>, layout: Layout) -> Vec<VersionAnswer> {
    let turns = TURNS.iter().filter_map(|text| Version::parse(text).ok());
    turns
        .map(|version| {
            let mut settings = Settings {
                version: version.clone(),
                ..demand.settings.clone()
            };
            if version != demand.settings.version {
                // Another engine keeps other activations.
                settings.known.activation_gib = None;
                settings.known.graph_gib = None;
            }
            let demand = Demand {
                settings: &settings,
                ..demand.clone()
            };
            let prediction = demand.predict(layout);
            VersionAnswer {
                vllm: version.to_string(),
                gpu_memory_utilization: settings.utilization.unwrap_or_else(|| demand.rules().utilization),
                activation_gib: prediction.activation.map(|activation| activation.gib),
                block_size: prediction.block_size,
                kv_cache_gib: prediction.kv_cache_gib,
                kv_tokens: prediction.kv_tokens,
                max_concurrency: prediction.max_concurrency,
                fits: prediction.fits(),
            }
        })
        .collect()
}

/// The chosen layout, then the usual ones of one to sixteen cards, of each count the one with the fewest stages.
fn bars(demand: &Demand<'_>, chosen: &Prediction) -> Vec<Prediction> {
    let mut bars = vec![chosen.clone()];
    for layout in demand.layouts() {
        let is_new = layout != chosen.layout
            && bars
                .iter()
                .skip(1)
                .all(|bar| bar.layout.cards() != layout.cards());
        if is_new && layout.cards() <= 16 {
            bars.push(demand.predict(layout));
        }
    }
    bars
}
