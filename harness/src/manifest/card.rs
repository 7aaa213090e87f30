//! Cards (`ci/cards/<name>.yaml`): the figures of one accelerator card that capacity is computed from. A card that a
//! stack runs on has the name of the stack's accelerator; others are only asked for by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One accelerator card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// The card as people call it, such as `MetaX C500`.
    pub name: String,
    /// How vLLM reaches it.
    pub platform: CardPlatform,
    /// Memory as torch sees it, in GiB: what `gpu_memory_utilization` is a share of.
    pub memory_gib: Datum,
    /// Memory bandwidth, in 10^9 bytes a second.
    pub bandwidth_gb_per_s: Datum,
    /// Dense 16-bit arithmetic, in 10^12 operations a second.
    pub tflops_16bit: Datum,
    /// Whether the card computes with 8-bit floats.
    pub fp8: bool,
    /// Cards of a usual host: tensor parallel stays within it.
    #[schemars(range(min = 1, max = 64))]
    pub cards_per_host: u32,
    /// What a server takes beside weights and KV cache.
    pub overhead: Overhead,
}

/// How vLLM reaches a card; it decides some of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CardPlatform {
    /// MetaX's plugin.
    Metax,
    /// vLLM's own CUDA platform.
    Cuda,
}

/// Memory of one card that neither weights nor KV cache take. All of it is measured or estimated, none promised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Memory that torch did not allocate, one card alone, in GiB.
    pub non_torch_gib: Datum,
    /// The same, further, where cards talk to each other, in GiB.
    pub collective_gib: Datum,
    /// How far non-torch memory may be off, in GiB.
    #[schemars(range(min = 0.0, max = 1024.0))]
    pub non_torch_error_gib: f64,
    /// Captured graphs, in GiB.
    pub graph_gib: Datum,
    /// Activation peak of a forward pass, as a multiple of tokens × (4 × hidden + 3 × ffn / cards) × bytes.
    pub forward_factor: Datum,
    /// Activation peak of sampling, as a multiple of sequences × vocabulary × 4 bytes. The larger peak counts.
    pub sampler_factor: Datum,
    /// How far the activation peak may be off, as a share of it.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub activation_error: f64,
}

/// A figure and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Datum {
    /// The figure, in the unit that its key names.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub value: f64,
    /// How it came to be.
    pub source: DatumSource,
    /// The measurement, the document or the arithmetic in words.
    pub because: String,
}

/// How a figure of a card came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatumSource {
    /// Measured on this card.
    Measured,
    /// The maker's data sheet.
    Datasheet,
    /// Said by others, without a measurement that could be checked.
    Claimed,
    /// Computed from other figures.
    Derived,
    /// Nothing better is known.
    Guessed,
}

impl DatumSource {
    /// The word in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Datasheet => "datasheet",
            Self::Claimed => "claimed",
            Self::Derived => "derived",
            Self::Guessed => "guessed",
        }
    }
}
