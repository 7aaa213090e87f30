//! What is known of models and cards beside what a report says: bytes a token, memory, bandwidth.

use super::{Cell, Column, Fact, Interval, Section, Sheet, sheet::Word};
use crate::{
    capacity::{Platform, Rules, Shape},
    manifest::{Card, CardPlatform},
    vllm::parse_version,
};

/// Usual bytes of a weight and of a value of the KV cache.
const USUAL_BYTES: u64 = 2;

/// Models and cards that a report may speak of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Models.
    pub models: Vec<KnownModel>,
    /// Cards.
    pub cards: Vec<KnownCard>,
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownModel {
    /// Names by which reports call it.
    pub names: Vec<String>,
    /// Its shape.
    pub shape: Shape,
}

/// A card.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownCard {
    /// Its short name (`c500`).
    pub name: String,
    /// Its figures.
    pub card: Card,
}

impl Known {
    /// The column with what follows from its model and card. What the report says itself stays.
    pub(super) fn complete(&self, sheet: &Sheet, column: &Column) -> Column {
        let mut completed = column.clone();
        let mut section = Section {
            name: "known".to_owned(),
            ..Section::default()
        };
        let model = self.model(sheet, column);
        let card = self.card(column);
        let mut add = |fact: Fact, name: &str, value: Interval, text: String| {
            if column.cell(fact).is_none() {
                let name = name.to_owned();
                section.cells.insert(fact, Cell { name, text, value });
            }
        };
        if let Some(card) = card {
            let gib = card.card.memory_gib.value;
            let name = format!("memory of a {}", card.card.name);
            let value = Interval::exact(gib);
            add(Fact::CardMemory, &name, value, format!("{gib} GiB"));
            let rate = card.card.bandwidth_gb_per_s.value;
            let name = format!("bandwidth of a {}", card.card.name);
            add(
                Fact::Bandwidth,
                &name,
                Interval::exact(rate),
                format!("{rate} GB/s"),
            );
        }
        if let Some(model) = model {
            let bytes = value_bytes(column);
            let count = |fact| column.value(fact).map_or(1.0, Interval::middle).max(1.0);
            let (tensor, stages) = (count(Fact::TensorParallel), count(Fact::PipelineParallel));
            if let Some(token) = token_bytes(&model.shape, bytes, tensor, stages) {
                let text = format!("{token} B");
                add(
                    Fact::TokenBytes,
                    "KV cache of a token",
                    Interval::exact(token),
                    text,
                );
            }
            if let Ok(parameters) = model.shape.parameters() {
                let read = parameters.read as f64 * bytes as f64;
                let text = format!("{:.2} GB", read / 1e9);
                add(
                    Fact::ReadBytes,
                    "weights that a token reads",
                    Interval::exact(read),
                    text,
                );
            }
            if let Some(size) = block_size(column, card, &model.shape) {
                let text = format!("{size} tokens");
                add(Fact::BlockSize, "block", Interval::exact(size as f64), text);
            }
        }
        completed.sections.push(section);
        completed
    }

    /// The model that a column names, else the one that the text names first.
    fn model(&self, sheet: &Sheet, column: &Column) -> Option<&KnownModel> {
        if let Some(name) = &column.model {
            let is_called = |model: &&KnownModel| model.names.iter().any(|known| plain(known) == plain(name));
            return self.models.iter().find(is_called);
        }
        let text = sheet.text.to_lowercase();
        self.models
            .iter()
            .filter_map(|model| {
                let places = model
                    .names
                    .iter()
                    .filter_map(|name| text.find(&name.to_lowercase()));
                Some((places.min()?, model))
            })
            .min_by_key(|(place, _)| *place)
            .map(|(_, model)| model)
    }

    /// The card that a column's hardware names; of several the one with the longest name.
    fn card(&self, column: &Column) -> Option<&KnownCard> {
        let hardware = plain(column.words.get(&Word::Hardware)?);
        self.cards
            .iter()
            .filter(|card| hardware.contains(&plain(&card.card.name)) || hardware == plain(&card.name))
            .max_by_key(|card| card.card.name.len())
    }
}

/// Letters and digits alone, in lower case.
fn plain(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}

/// Bytes of a number of the column's type.
fn value_bytes(column: &Column) -> u64 {
    match column.words.get(&Word::Dtype) {
        Some(text) if text.contains("float32") => 4,
        _ => USUAL_BYTES,
    }
}

/// Bytes of KV cache for one token on one card.
fn token_bytes(shape: &Shape, bytes: u64, tensor: f64, stages: f64) -> Option<f64> {
    let layers = (shape.layers as f64 / stages).ceil();
    let values = if shape.latent.is_some() {
        shape.kv_values_per_layer() as f64
    } else {
        (shape.kv_heads as f64 / tensor).ceil() * shape.head_dim as f64 * 2.0
    };
    let token = layers * values * bytes as f64;
    (token > 0.0 && token.is_finite()).then_some(token)
}

/// Tokens of a block, where the version says which; a report without a version leaves it open.
fn block_size(column: &Column, card: Option<&KnownCard>, shape: &Shape) -> Option<u64> {
    let version = parse_version(column.words.get(&Word::Vllm)?)?;
    let is_cpu = column
        .words
        .get(&Word::Hardware)
        .is_some_and(|text| plain(text).ends_with("cpu"));
    let platform = match card {
        Some(card) => Platform::Card(card.card.platform),
        None if is_cpu => Platform::Cpu,
        None => Platform::Card(CardPlatform::Cuda),
    };
    let rules = Rules::of(&version, platform, shape);
    Some(rules.forced_block_size.unwrap_or(rules.block_size))
}
