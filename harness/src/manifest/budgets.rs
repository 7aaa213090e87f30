//! The `budgets` section: limits for measured figures, kept apart by accelerator, each with its unit and source.
//!
//! The figures are the fields of this file's structs and nothing else, so that a misspelt figure is an error, and
//! every figure knows its unit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Accelerator, Quantity, Unit};

/// Budgets by accelerator: a limit for one card says nothing of another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// MetaX C500, 64 GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c500: Option<CardBudgets>,
    /// NVIDIA A100, 40 GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a100_40gb: Option<CardBudgets>,
    /// vLLM's CPU backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CardBudgets>,
}

impl Budgets {
    /// The budgets that hold on `accelerator`.
    pub const fn on(&self, accelerator: Accelerator) -> Option<&CardBudgets> {
        match accelerator {
            Accelerator::C500 => self.c500.as_ref(),
            Accelerator::A100_40gb => self.a100_40gb.as_ref(),
            Accelerator::Cpu => self.cpu.as_ref(),
        }
    }
}

/// Budgets on one accelerator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardBudgets {
    /// Memory of one card, from the server's start-up.
    #[serde(default)]
    pub memory: MemoryBudgets,
    /// How far the memory of a boot may lie from what is predicted of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionBudgets>,
    /// Requests one after another.
    #[serde(default)]
    pub latency: LatencyBudgets,
    /// Requests at once, for each concurrency that the workload measures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throughput: Vec<ThroughputBudgets>,
}

/// How far the memory of a boot may lie from what is predicted from the architecture and the card's file, where the
/// usual is not enough.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictionBudgets {
    /// Weights, as a share of the predicted; absent: 0.03.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weights_tolerance: Option<f64>,
    /// Tokens of the KV cache, as a share of the predicted, beside the errors of what is only estimated; absent: 0.03.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub kv_tokens_tolerance: Option<f64>,
    /// Memory that torch did not allocate, such as `0.5 GiB`; absent: the error that the card's file states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_torch_tolerance: Option<Quantity>,
    /// Why another tolerance than the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl PredictionBudgets {
    /// Usual share, of weights and of KV tokens.
    pub const USUAL_SHARE: f64 = 0.03;

    /// Share of the predicted weights.
    pub fn weights_share(&self) -> f64 {
        self.weights_tolerance.unwrap_or(Self::USUAL_SHARE)
    }

    /// Share of the predicted KV tokens.
    pub fn kv_tokens_share(&self) -> f64 {
        self.kv_tokens_tolerance.unwrap_or(Self::USUAL_SHARE)
    }
}

/// A limit: at least `min`, at most `max`, and where that figure comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The measured figure must not be below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Quantity>,
    /// The measured figure must not be above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Quantity>,
    /// How the limit came to be.
    pub source: Source,
    /// The measurement or the arithmetic in words.
    pub because: String,
}

/// How a limit came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Measured on this accelerator.
    Measured,
    /// Computed from the architecture or from another model's measurement.
    Derived,
    /// Promised to users.
    Promised,
}

/// Declares a budget section: one optional limit for each figure, and the list of its figures.
macro_rules! budget_section {
    ($(#[$doc:meta])* $section:ident, $metric:ident { $($(#[$field_doc:meta])* $field:ident / $variant:ident in $unit:ident;)+ } $($extra:tt)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $section {
            $($extra)*
            $($(#[$field_doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<Limit>,)+
        }

        #[doc = concat!("A figure that [`", stringify!($section), "`] can limit.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $metric { $($(#[$field_doc])* $variant,)+ }

        impl $metric {
            /// Every figure of the section, in the order of reports.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name in manifests and trial names.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)+ }
            }

            /// Unit in which the figure is measured and reported.
            pub const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)+ }
            }
        }

        impl $section {
            /// The limit of one figure.
            pub const fn limit(&self, metric: $metric) -> Option<&Limit> {
                match metric { $($metric::$variant => self.$field.as_ref(),)+ }
            }

            /// The figures that have a limit.
            pub fn limits(&self) -> impl Iterator<Item = ($metric, &Limit)> {
                $metric::ALL.iter().filter_map(|&metric| self.limit(metric).map(|limit| (metric, limit)))
            }
        }
    };
}

budget_section! {
    /// Limits on the memory of one card.
    MemoryBudgets, MemoryMetric {
        /// Weights on one card.
        weights / Weights in GiB;
        /// Memory that torch did not allocate (driver, communication, kernels).
        non_torch / NonTorch in GiB;
        /// Peak of activations while profiling.
        activation / Activation in GiB;
        /// Captured graphs.
        graph / Graph in GiB;
        /// KV cache.
        kv_cache / KvCache in GiB;
        /// KV-cache blocks.
        num_blocks / NumBlocks in Blocks;
        /// Tokens that the KV cache holds.
        kv_tokens / KvTokens in Tokens;
        /// Sequences of full length that fit into the KV cache.
        max_concurrency / MaxConcurrency in Times;
    }
}

budget_section! {
    /// Limits on requests one after another.
    LatencyBudgets, LatencyMetric {
        /// Mean latency.
        mean / Mean in Seconds;
        /// Least latency.
        min / Min in Seconds;
        /// Greatest latency.
        max / Max in Seconds;
        /// Median latency.
        p50 / P50 in Seconds;
        /// 95th percentile of latency.
        p95 / P95 in Seconds;
        /// Mean over requests of output tokens / latency.
        mean_generation / MeanGeneration in TokensPerSecond;
        /// Median time to first token.
        ttft_p50 / TtftP50 in Seconds;
        /// Greatest time to first token.
        ttft_max / TtftMax in Seconds;
        /// Mean time per output token after the first.
        tpot_mean / TpotMean in Seconds;
        /// 99th percentile of the gaps between streamed chunks.
        itl_p99 / ItlP99 in Seconds;
    }
}

budget_section! {
    /// Limits on requests at once.
    ThroughputBudgets, ThroughputMetric {
        /// Output tokens of the phase / its wall time.
        output / Output in TokensPerSecond;
        /// Mean over requests of output tokens / latency.
        mean_individual / MeanIndividual in TokensPerSecond;
        /// Requests of the phase / its wall time.
        requests / Requests in RequestsPerSecond;
        /// Wall time of the phase.
        wall / Wall in Seconds;
        /// Median time to first token.
        ttft_p50 / TtftP50 in Seconds;
        /// Mean time per output token after the first.
        tpot_mean / TpotMean in Seconds;
    }
    /// The concurrency that these limits hold at; the workload must measure it.
    pub concurrency: u32,
}
