//! What a gate compares statistically: speeds, each as one figure of a session.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::Session;

/// A gated speed. Each is the median of its requests, or a rate over a phase, so that one outlier does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median time to the first token, one request at a time; seconds.
    Ttft,
    /// Median time per output token after the first, one request at a time; seconds.
    Tpot,
    /// Output tokens per second.
    Output {
        /// Requests in flight.
        concurrency: u32,
    },
}

impl Metric {
    /// Whether more of it is better.
    pub const fn is_rate(self) -> bool {
        matches!(self, Self::Output { .. })
    }

    /// The figures of a session that was measured.
    pub fn of(session: &Session) -> Vec<(Self, f64)> {
        let latency = session.latency.as_ref().map(|measured| &measured.figures);
        let ttft = latency.and_then(|figures| figures.ttft.as_ref());
        let tpot = latency.and_then(|figures| figures.tpot.as_ref());
        let single = [
            ttft.map(|ttft| (Self::Ttft, ttft.p50_s)),
            tpot.map(|tpot| (Self::Tpot, tpot.p50_s)),
        ];
        let output = session.throughput.iter().map(|measured| {
            let concurrency = measured.figures.concurrency;
            (Self::Output { concurrency }, measured.figures.output_tokens_per_s)
        });
        let all = single.into_iter().flatten().chain(output);
        // Zero and below have no logarithm: a phase in which nothing succeeded.
        all.filter(|(_, value)| value.is_finite() && *value > 0.0)
            .collect()
    }

    /// How much slower `candidate` is than `baseline`, as the logarithm of the ratio of times; positive is slower.
    pub fn log_ratio(self, baseline: f64, candidate: f64) -> f64 {
        self.log_time(candidate) - self.log_time(baseline)
    }

    /// The logarithm of the figure as a time.
    pub fn log_time(self, value: f64) -> f64 {
        if self.is_rate() { -value.ln() } else { value.ln() }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ttft => f.pad("latency.ttft_p50"),
            Self::Tpot => f.pad("latency.tpot_p50"),
            Self::Output { concurrency } => f.pad(&format!("throughput.output@{concurrency}")),
        }
    }
}
