//! Promises on latency: which figure, at which percentile, and the limit that users were given.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    load::{
        LoadFigures, Spread, shape,
        summary::{e2e_s, tpot_s, ttft_s},
    },
    manifest::{LatencyBudgets, LatencyMetric, Quantity},
    record::RequestSample,
    stats::{self, samples_needed},
};

/// Confidence with which a promise on a percentile is said to be kept or broken.
const LEVEL: f64 = 0.95;

/// A latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first, of each request.
    Tpot,
    /// Gaps between streamed chunks.
    Itl,
    /// Time to the last token.
    E2el,
}

/// What of its distribution is held against the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// The mean.
    Mean,
    /// The greatest.
    Max,
    /// A percentile, above 0 and below 100.
    Percentile(f64),
}

/// A figure and its limit, as in `ttft_p99=500ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyPromise {
    /// Of what.
    pub latency: Latency,
    /// Of which part of the distribution.
    pub at: At,
    /// The most that is allowed, seconds.
    pub limit_s: f64,
}

/// What requests at one level say of a promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// The figure's name.
    pub promise: String,
    /// The limit, seconds.
    pub limit_s: f64,
    /// The figure, seconds; absent where there is none.
    pub measured_s: Option<f64>,
    /// Whether it is within the limit; a figure that is absent is not.
    pub kept: bool,
    /// How many requests more, all within the limit, would make it 95 % sure that a percentile keeps its promise; 0 where
    /// it is sure already. Absent where that cannot be said: means, gaps, what is broken.
    pub requests_to_be_sure: Option<u64>,
}

impl LatencyPromise {
    /// Its name without the limit.
    pub fn name(&self) -> String {
        let latency = match self.latency {
            Latency::Ttft => "ttft",
            Latency::Tpot => "tpot",
            Latency::Itl => "itl",
            Latency::E2el => "e2el",
        };
        match self.at {
            At::Mean => format!("{latency}_mean"),
            At::Max => format!("{latency}_max"),
            At::Percentile(p) => format!("{latency}_p{p}"),
        }
    }

    /// The percentile that must be among the figures.
    pub const fn percentile(&self) -> Option<f64> {
        match self.at {
            At::Percentile(p) => Some(p),
            At::Mean | At::Max => None,
        }
    }

    /// Requests without which the figure would only be the greatest of them.
    pub fn requests_needed(&self) -> u64 {
        self.percentile().map_or(1, samples_needed)
    }

    /// Holds the figures and samples of one level against it.
    pub fn hold(&self, figures: &LoadFigures, samples: &[RequestSample]) -> Held {
        let spread = match self.latency {
            Latency::Ttft => &figures.ttft,
            Latency::Tpot => &figures.tpot,
            Latency::Itl => &figures.itl,
            Latency::E2el => &figures.e2e,
        };
        let of = |spread: &Spread| match self.at {
            At::Mean => Some(spread.mean_s),
            At::Max => Some(spread.max_s),
            At::Percentile(p) => spread.percentile_s(p),
        };
        let measured_s = spread.as_ref().and_then(of);
        let kept = measured_s.is_some_and(|measured| measured <= self.limit_s);
        Held {
            promise: self.name(),
            limit_s: self.limit_s,
            measured_s,
            kept,
            requests_to_be_sure: self.further_requests(samples).filter(|_| kept),
        }
    }

    fn further_requests(&self, samples: &[RequestSample]) -> Option<u64> {
        let At::Percentile(p) = self.at else { return None };
        let of = match self.latency {
            Latency::Ttft => |sample: &RequestSample| e2e_s(sample).and_then(|_| ttft_s(sample)),
            Latency::Tpot => tpot_s,
            Latency::E2el => e2e_s,
            // The gaps of one request are alike: they are no independent trials.
            Latency::Itl => return None,
        };
        let times: Vec<f64> = samples.iter().filter_map(of).collect();
        let over = times.iter().filter(|time| **time > self.limit_s).count() as u64;
        match stats::promise(over, times.len() as u64, 1.0 - p / 100.0, LEVEL) {
            stats::Promise::Kept => Some(0),
            stats::Promise::Open { more } => Some(more),
            stats::Promise::Broken => None,
        }
    }
}

/// The promises that a manifest's latency budgets make, whatever the length of answers.
pub fn of_budgets(budgets: &LatencyBudgets) -> Vec<LatencyPromise> {
    let promise = |metric: LatencyMetric, latency, at| {
        let most = budgets.limit(metric)?.max.map(Quantity::in_base_unit)?;
        Some(LatencyPromise {
            latency,
            at,
            limit_s: most,
        })
    };
    let all = [
        promise(LatencyMetric::TtftP50, Latency::Ttft, At::Percentile(50.0)),
        promise(LatencyMetric::TtftMax, Latency::Ttft, At::Max),
        promise(LatencyMetric::TpotMean, Latency::Tpot, At::Mean),
        promise(LatencyMetric::ItlP99, Latency::Itl, At::Percentile(99.0)),
    ];
    all.into_iter().flatten().collect()
}

impl fmt::Display for LatencyPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ≤ {} ms", self.name(), self.limit_s * 1e3)
    }
}

/// A text that is no promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no promise: write ttft, tpot, itl or e2el, _mean, _max or a percentile such as _p99, and a time, as in ttft_p99=500ms"
)]
pub struct PromiseError(String);

impl FromStr for LatencyPromise {
    type Err = PromiseError;

    fn from_str(text: &str) -> Result<Self, PromiseError> {
        let wrong = || PromiseError(text.to_owned());
        let (name, limit) = text.split_once('=').ok_or_else(wrong)?;
        let (latency, at) = name.trim().split_once('_').ok_or_else(wrong)?;
        let latency = match latency {
            "ttft" => Latency::Ttft,
            "tpot" => Latency::Tpot,
            "itl" => Latency::Itl,
            "e2el" => Latency::E2el,
            _ => return Err(wrong()),
        };
        let percentile = |text: &str| {
            let p = text.strip_prefix('p')?.parse().ok();
            p.filter(|p: &f64| *p > 0.0 && *p < 100.0).map(At::Percentile)
        };
        let at = match at {
            "mean" => At::Mean,
            "max" => At::Max,
            other => percentile(other).ok_or_else(wrong)?,
        };
        let limit = shape::time(limit.trim()).filter(|limit| !limit.is_zero());
        Ok(Self {
            latency,
            at,
            limit_s: limit.ok_or_else(wrong)?.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::tests::limit,
        load::{Asked, PERCENTILES, figures::tests::sample},
    };

    fn held(text: &str, requests: u32) -> Held {
        let samples: Vec<_> = (0..requests)
            .map(|n| sample(n, f64::from(n), 0.25, 0.1, 5))
            .collect();
        let asked = Asked {
            percentiles: PERCENTILES.to_vec(),
            promises: None,
        };
        let promise: LatencyPromise = text.parse().unwrap();
        promise.hold(&LoadFigures::of(&samples, &asked), &samples)
    }

    #[test]
    fn figures_are_held_against_limits() {
        let kept = held("ttft_p99=300ms", 20);
        assert_eq!((kept.kept, kept.measured_s), (true, Some(0.25)));
        // 299 requests without one over the limit make a p99 sure.
        assert_eq!(kept.requests_to_be_sure, Some(279));
        assert_eq!(held("ttft_p99=300ms", 299).requests_to_be_sure, Some(0));
        let broken = held("e2el_p99=500ms", 20);
        assert_eq!((broken.kept, broken.requests_to_be_sure), (false, None));
        assert!(held("tpot_mean=101ms", 3).kept);
        assert!(!held("itl_max=99ms", 3).kept);
        // No evidence keeps nothing.
        assert!(!held("ttft_p99=300ms", 0).kept);
    }

    #[test]
    fn texts_are_read_and_refused() {
        let promise: LatencyPromise = "tpot_p99.9=50ms".parse().unwrap();
        assert_eq!(promise.to_string(), "tpot_p99.9 ≤ 50 ms");
        assert_eq!(promise.requests_needed(), 1000);
        for wrong in [
            "ttft",
            "ttft=1s",
            "ttft_p100=1s",
            "ttft_p99=0",
            "ttft_p99=soon",
            "x_p99=1s",
            "ttft_most=1s",
        ] {
            assert!(wrong.parse::<LatencyPromise>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn budgets_on_latency_are_promises() {
        let budgets = LatencyBudgets {
            ttft_p50: Some(limit(None, Some("250 ms"))),
            itl_p99: Some(limit(None, Some("40 ms"))),
            // A limit on whole answers holds for answers of the manifest's length alone.
            max: Some(limit(None, Some("4 s"))),
            ..LatencyBudgets::default()
        };
        let names: Vec<String> = of_budgets(&budgets).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ttft_p50 ≤ 250 ms", "itl_p99 ≤ 40 ms"]);
    }
}
