//! What users write: model manifests, cases and stacks. Types here say what may be written (the JSON schemas that
//! editors use are generated from them); `load` reads them strictly and reports every mistake with its place.

mod audit;
mod budgets;
mod card;
mod case;
mod check;
mod compose;
mod diagnostics;
mod document;
mod edit;
mod json;
mod load;
mod model;
mod offsets;
mod place;
mod quantity;
pub mod schema;
mod serve;
mod shape;
mod stack;
mod tree;
mod wording;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use document::read_text;
pub(crate) use offsets::Offsets;
pub(crate) use wording::suggestion;

pub use audit::{Checked, check};
pub use budgets::{
    Budgets, CardBudgets, LatencyBudgets, LatencyMetric, Limit, MemoryBudgets, MemoryMetric,
    PredictionBudgets, Source, ThroughputBudgets, ThroughputMetric,
};
pub use card::{Card, CardPlatform, Datum, DatumSource, Overhead};
pub use case::{
    Case, CaseFile, Choice, Code, CodeLanguage, Contains, Exact, Grade, Haystack, ImageWords, Json, Language,
    NoRepetition, Number, Regex, Tool, ToolCall, ToolCallGrade,
};
pub use diagnostics::{Diagnostic, Diagnostics, Label, Severity, SourceFile};
pub use edit::{Edit, EditError, edited};
pub use json::JsonDocument;
pub use load::{Catalogue, LoadedCard, LoadedCase, LoadedModel, LoadedStack};
pub use model::{Architecture, Endpoint, License, Mla, Modality, Model, Moe, Reasoning, Vision};
pub use quantity::{Dimension, Quantity, QuantityError, Unit};
pub use serve::{
    Dtype, LatencyWorkload, PhaseTimeouts, Serve, ThroughputWorkload, VersionedArgs, VersionedEnv, Workload,
};
pub use stack::{
    Accelerator, DockerTarget, EndpointTarget, Expect, ProcessTarget, SimulatorTarget, Stack, Target,
};

/// One model manifest (`models.d/<name>.yaml`); the file's stem is the model's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// What to serve.
    pub model: Model,
    /// How to serve it.
    pub serve: Serve,
    /// Stacks that this model is meant for, by name; the first C500 stack is the default on a C500 host.
    #[schemars(length(min = 1))]
    pub stacks: Vec<String>,
    /// How correctness is asked.
    #[serde(default)]
    pub correctness: Correctness,
    /// Prompts with checkable answers.
    pub cases: Cases,
    /// What the performance trials ask for.
    pub workload: Workload,
    /// Limits, by accelerator.
    pub budgets: Budgets,
    /// Trials that may fail for a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waiver>,
}

/// How correctness is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correctness {
    /// Which cases are held against goldens.
    #[serde(default)]
    pub goldens: GoldenPolicy,
    /// Least share of graded cases that must be right, in %; its lower bound of 95 % (Wilson) is held against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_right: Option<Quantity>,
    /// How the goldens' own tokens are scored.
    #[serde(default)]
    pub drift: Drift,
}

/// How the goldens' own tokens are scored (the trial `correctness::drift`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Whether they are scored at all.
    #[serde(default = "Drift::scored")]
    pub scored: bool,
    /// Positions after which a first verdict is tried; where they do not decide, all other goldens are scored too.
    #[serde(default = "Drift::positions")]
    #[schemars(range(min = 1))]
    pub positions: u32,
    /// Longest prompt with its answer, in tokens, that is scored: servers keep the logits of a whole prompt in memory.
    #[serde(default = "Drift::longest")]
    #[schemars(range(min = 2))]
    pub max_sequence_tokens: u32,
}

impl Drift {
    const fn scored() -> bool {
        true
    }

    const fn positions() -> u32 {
        5_000
    }

    const fn longest() -> u32 {
        2_048
    }
}

impl Correctness {
    /// Whether a case is held against a golden.
    pub fn wants_golden(&self, case: &Case) -> bool {
        case.golden || case.scoring_only || self.goldens == GoldenPolicy::EveryCase
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            scored: Self::scored(),
            positions: Self::positions(),
            max_sequence_tokens: Self::longest(),
        }
    }
}

/// Which cases are held against goldens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GoldenPolicy {
    /// Those that ask for one.
    #[default]
    WhereAsked,
    /// Every case: for weak models, whose wrong answers are known and whose changes count.
    EveryCase,
}

/// The cases of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// Files of shared cases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedCases>,
    /// Cases of this model alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<Case>,
}

/// A file of shared cases, or some of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedCases {
    /// The file, relative to the manifest.
    pub file: String,
    /// Only these cases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// All but these cases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// A trial that may fail until a date. It is then shown as waived, never as passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Name of the trial behind the model's (`memory::kv_cache`), or what a gate asks: `gate::answers`,
    /// `gate::memory.kv_tokens`, `gate::latency.tpot_p50`, `gate::throughput.output@8`.
    pub trial: String,
    /// Stack that the waiver holds on; absent: every stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Why.
    pub reason: String,
    /// Role of whoever answers for it and mends it (`kernel team`), not a person's name.
    pub owner: String,
    /// Last day on which it holds, `YYYY-MM-DD`.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    pub until: String,
}
