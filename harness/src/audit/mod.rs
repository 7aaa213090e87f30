//! Whether the figures of a report can be true: sums, identities, orders and roofs that hold for every server, and
//! claims that the report itself contradicts. Pure: reports come in as text, findings go out.
//!
//! The way: `read` turns a report into [`Sheet`]s of columns and sections; a column that names a model and a card that
//! are known is completed by [`Known`] with what follows from their shapes; `rules` hold the cells against each other.
//! A cell is an interval, as wide as its last digit leaves open, so that rounding is never a finding; two cells
//! contradict each other only where their intervals do not meet.

mod interval;
mod known;
mod read;
mod rules;
mod sheet;

use serde::{Deserialize, Serialize};

pub use interval::Interval;
pub use known::{Known, KnownCard, KnownModel};
pub use read::{Kind, ReadError, read, report};
pub use sheet::{Cell, Column, Fact, Section, Sheet};

/// Figures that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Column of the report; empty for what concerns all of it.
    pub column: String,
    /// The cells that contradict each other, each as `name = text`.
    pub cells: Vec<String>,
    /// What the last cell would have to be, from the others.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Rule that was broken.
    pub rule: Rule,
    /// The arithmetic, and how far off.
    pub arithmetic: String,
}

/// Rules, by what they hold against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Weights, non-torch memory, activations and KV cache are more than the card gives.
    MemorySum,
    /// Blocks × block size × bytes a token is not the KV cache.
    KvCache,
    /// Blocks × block size is not the token count.
    KvTokens,
    /// Concurrency is not tokens / length.
    MaxConcurrency,
    /// Throughput is not tokens / time.
    Throughput,
    /// Request rate is not requests / time.
    RequestRate,
    /// Successful and failed requests are not all.
    Requests,
    /// Tokens a request differ between two places.
    TokensPerRequest,
    /// A lower percentile lies above a higher one.
    PercentileOrder,
    /// A percentile from fewer samples than it needs.
    FewSamples,
    /// Faster than the card's memory can be read.
    BandwidthRoof,
    /// More requests were in flight than the concurrency allows.
    RequestsInFlight,
    /// A text claims another count than the list behind it has.
    ClaimedCount,
    /// Versions that never existed together.
    Versions,
    /// A result and the stage that it was reached in contradict each other.
    Stage,
}

impl Rule {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MemorySum => "memory_sum",
            Self::KvCache => "kv_cache",
            Self::KvTokens => "kv_tokens",
            Self::MaxConcurrency => "max_concurrency",
            Self::Throughput => "throughput",
            Self::RequestRate => "request_rate",
            Self::Requests => "requests",
            Self::TokensPerRequest => "tokens_per_request",
            Self::PercentileOrder => "percentile_order",
            Self::FewSamples => "few_samples",
            Self::BandwidthRoof => "bandwidth_roof",
            Self::RequestsInFlight => "requests_in_flight",
            Self::ClaimedCount => "claimed_count",
            Self::Versions => "versions",
            Self::Stage => "stage",
        }
    }
}

/// Holds a report's figures against each other.
pub fn audit(sheet: &Sheet, known: &Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    for column in &sheet.columns {
        let completed = known.complete(sheet, column);
        rules::column(&completed, &mut findings);
    }
    rules::claims(sheet, &mut findings);
    findings
}

#[cfg(test)]
mod tests;
