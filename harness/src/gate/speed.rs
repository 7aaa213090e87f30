//! Is the candidate slower? Pairs of sessions → a verdict per metric, by methods that keep their promise over all looks
//! and all metrics.
//!
//! - failed: the slowdown's test rejects at the level this look may spend (Lan and DeMets; Holm over the metrics), and
//!   the estimate is at least the tolerance;
//! - passed: the one-sided upper bound of [`PASS_LEVEL`] lies below the tolerance;
//! - inconclusive: neither; another pair may tell.

use serde::{Deserialize, Serialize};

use super::Metric;
use crate::{
    record::Verdict,
    stats::{self, Slowdown},
};

/// Chance of failing an equal candidate, over all looks and metrics of a gate.
pub const ALPHA: f64 = 0.01;
/// What the looks spend of it. Their bounds are exact for known spreads; spreads estimated from five to ten pairs miss
/// them a little more often (1.2 % instead of 1 % of equal candidates, by `bench gate`), and this share makes up for it.
const SPENT: f64 = 0.75 * ALPHA;
/// Confidence of the bound that a pass rests on.
pub const PASS_LEVEL: f64 = 0.95;
/// Power for which the smallest slowdown that could have been found is stated.
pub const POWER: f64 = 0.9;

/// How pairs are looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    /// Pairs at the first look.
    pub least: usize,
    /// Pairs at the last.
    pub most: usize,
    /// Levels at each look, for alpha / 1, alpha / 2, … as Holm's procedure asks for them.
    levels: Vec<Vec<f64>>,
}

/// Slowdowns that are tolerated, as shares: 0.03 is 3 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Of time per token and of throughput.
    pub speed: f64,
    /// Of the time to the first token, which is short and varies more.
    pub ttft: f64,
}

impl Tolerances {
    fn of(self, metric: Metric) -> f64 {
        match metric {
            Metric::Ttft => self.ttft,
            Metric::Tpot | Metric::Output { .. } => self.speed,
        }
    }
}

/// What is known of one metric. Slowdowns are shares of the baseline's time: 0.05 is 5 % slower, negative is faster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricGate {
    /// The metric.
    pub metric: Metric,
    /// Its verdict.
    pub verdict: Verdict,
    /// Pairs, or sessions of the smaller side where nothing was paired.
    pub pairs: usize,
    /// Whether sessions were compared pair by pair.
    pub paired: bool,
    /// Geometric mean of the baseline's figures.
    pub baseline: Option<f64>,
    /// Geometric mean of the candidate's.
    pub candidate: Option<f64>,
    /// The estimate.
    pub slowdown: Option<f64>,
    /// Its one-sided lower bound of 95 %.
    pub low: Option<f64>,
    /// Its one-sided upper bound of 95 %.
    pub high: Option<f64>,
    /// One-sided p of the t test.
    pub p: Option<f64>,
    /// Level that this look allowed, before Holm's division.
    pub level: Option<f64>,
    /// One-sided p of Mann and Whitney's test, where nothing was paired.
    pub rank_p: Option<f64>,
    /// The smallest slowdown that so many pairs of this spread find nine times in ten.
    pub smallest_found: Option<f64>,
    /// What is tolerated.
    pub tolerance: f64,
}

impl Looks {
    /// Looks from `least` pairs to `most`, for at most `metrics` metrics.
    pub fn new(least: usize, most: usize, metrics: usize) -> Self {
        let most = most.max(least);
        let times: Vec<f64> = (least..=most).map(|pairs| pairs as f64 / most as f64).collect();
        let levels = (1..=metrics.max(1)).map(|share| stats::nominal_levels(SPENT / share as f64, &times));
        Self {
            least,
            most,
            levels: levels.collect(),
        }
    }

    /// One look, at what there is.
    pub fn once(pairs: usize, metrics: usize) -> Self {
        Self::new(pairs, pairs, metrics)
    }

    /// The level for alpha / `share` at `pairs` pairs; nothing is spent before the first look.
    fn level(&self, share: usize, pairs: usize) -> f64 {
        let Some(look) = pairs.checked_sub(self.least) else {
            return 0.0;
        };
        let levels = &self.levels[share.clamp(1, self.levels.len()) - 1];
        levels.get(look).or(levels.last()).copied().unwrap_or_default()
    }
}

/// The figures of one metric on both sides, by pair where they were paired.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    /// The baseline's.
    pub baseline: Vec<f64>,
    /// The candidate's.
    pub candidate: Vec<f64>,
}

/// Judges all metrics at once, since they share one alpha.
pub fn judge(series: &[Series], paired: bool, looks: &Looks, tolerances: Tolerances) -> Vec<MetricGate> {
    let tests: Vec<Option<Slowdown>> = series.iter().map(|series| series.test(paired)).collect();
    let p_values: Vec<f64> = tests
        .iter()
        .map(|test| test.map_or(f64::NAN, Slowdown::p_value))
        .collect();
    let pairs = series.iter().map(Series::pairs).min().unwrap_or_default();
    let rejected = stats::holm(&p_values, |share| looks.level(share, pairs));
    series
        .iter()
        .zip(tests)
        .zip(rejected)
        .map(|((one, test), rejected)| {
            let tolerance = tolerances.of(one.metric);
            let mut gate = one.described(paired, tolerance);
            gate.level = Some(looks.level(1, pairs));
            if let Some(test) = test {
                gate.decide(test, rejected, one.pairs() >= looks.least);
                // Holm's first share is the strictest.
                let alpha = looks.level(series.len(), pairs.max(looks.least));
                let smallest = test.smallest_found(alpha, tolerance.ln_1p(), POWER);
                gate.smallest_found = Some(smallest.exp_m1());
            }
            gate
        })
        .collect()
}

impl Series {
    fn pairs(&self) -> usize {
        self.baseline.len().min(self.candidate.len())
    }

    fn times(&self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|&value| self.metric.log_time(value)).collect()
    }

    fn test(&self, paired: bool) -> Option<Slowdown> {
        if !paired {
            return stats::unpaired(&self.times(&self.candidate), &self.times(&self.baseline));
        }
        let sides = self.baseline.iter().zip(&self.candidate);
        let ratios: Vec<f64> = sides.map(|(&b, &c)| self.metric.log_ratio(b, c)).collect();
        stats::paired(&ratios)
    }

    /// Without any test: too few pairs to tell.
    fn described(&self, paired: bool, tolerance: f64) -> MetricGate {
        let middle = |values: &[f64]| {
            let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
            stats::mean(&logs).map(f64::exp)
        };
        let (baseline, candidate) = (middle(&self.baseline), middle(&self.candidate));
        let both = baseline.zip(candidate);
        let rank_p = (!paired)
            .then(|| stats::mann_whitney_p(&self.times(&self.candidate), &self.times(&self.baseline)));
        MetricGate {
            metric: self.metric,
            verdict: Verdict::Inconclusive,
            pairs: self.pairs(),
            paired,
            baseline,
            candidate,
            slowdown: both.map(|(b, c)| self.metric.log_ratio(b, c).exp_m1()),
            low: None,
            high: None,
            p: None,
            level: None,
            rank_p: rank_p.filter(|p| p.is_finite()),
            smallest_found: None,
            tolerance,
        }
    }
}

impl MetricGate {
    fn decide(&mut self, test: Slowdown, rejected: bool, enough: bool) {
        let limit = self.tolerance.ln_1p();
        let upper = test.upper(PASS_LEVEL);
        self.slowdown = Some(test.log_ratio.exp_m1());
        self.low = Some(test.lower(PASS_LEVEL).exp_m1());
        self.high = Some(upper.exp_m1());
        self.p = Some(test.p_value()).filter(|p| p.is_finite());
        self.verdict = if !enough {
            Verdict::Inconclusive
        } else if rejected && test.log_ratio >= limit {
            Verdict::Failed
        } else if upper < limit {
            Verdict::Passed
        } else {
            Verdict::Inconclusive
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCES: Tolerances = Tolerances {
        speed: 0.03,
        ttft: 0.1,
    };

    fn output(baseline: &[f64], candidate: &[f64]) -> Series {
        Series {
            metric: Metric::Output { concurrency: 8 },
            baseline: baseline.to_vec(),
            candidate: candidate.to_vec(),
        }
    }

    fn one(series: Series, looks: &Looks) -> MetricGate {
        judge(&[series], true, looks, TOLERANCES).remove(0)
    }

    #[test]
    fn a_clear_slowdown_fails_and_an_equal_candidate_passes() {
        let looks = Looks::new(5, 10, 1);
        let base = [100.0, 101.0, 99.5, 100.5, 100.2];
        let gate = one(output(&base, &base.map(|b| b * 0.9)), &looks);
        assert_eq!(gate.verdict, Verdict::Failed);
        assert!((gate.slowdown.unwrap() - 1.0 / 9.0).abs() < 1e-9, "{gate:?}");
        let gate = one(output(&base, &[100.3, 100.6, 99.7, 100.1, 100.4]), &looks);
        assert_eq!(gate.verdict, Verdict::Passed, "{gate:?}");
        assert!(gate.high.unwrap() < 0.03 && gate.smallest_found.unwrap() >= 0.03);
    }

    #[test]
    fn a_faster_candidate_passes_and_is_said_to_be_faster() {
        let base = [100.0, 101.0, 99.5, 100.5, 100.2];
        let gate = one(output(&base, &base.map(|b| b * 1.2)), &Looks::new(5, 10, 1));
        assert_eq!(gate.verdict, Verdict::Passed);
        assert!(gate.slowdown.unwrap() < -0.16, "{gate:?}");
    }

    #[test]
    fn few_pairs_and_a_slowdown_within_the_tolerance_do_not_fail() {
        let looks = Looks::new(5, 10, 1);
        let base = [100.0, 100.1, 99.9, 100.0];
        assert_eq!(
            one(output(&base, &base.map(|b| b * 0.8)), &looks).verdict,
            Verdict::Inconclusive
        );
        let base = [100.0, 100.1, 99.9, 100.0, 100.05];
        let gate = one(output(&base, &base.map(|b| b * 0.98)), &looks);
        assert_eq!(gate.verdict, Verdict::Passed, "{gate:?}");
        assert!(gate.low.unwrap() > 0.0, "slower, and tolerated");
        assert_eq!(one(output(&[], &[]), &looks).slowdown, None);
    }

    #[test]
    fn noise_is_inconclusive() {
        let gate = one(
            output(
                &[100.0, 92.0, 108.0, 97.0, 103.0],
                &[95.0, 101.0, 99.0, 90.0, 104.0],
            ),
            &Looks::new(5, 10, 1),
        );
        assert_eq!(gate.verdict, Verdict::Inconclusive, "{gate:?}");
    }

    #[test]
    fn finished_runs_are_compared_unpaired_and_ranked() {
        let series = [output(&[100.0, 101.0, 99.0, 100.5], &[90.0, 91.0, 89.5])];
        let gate = judge(&series, false, &Looks::once(3, 1), TOLERANCES).remove(0);
        assert_eq!(
            (gate.verdict, gate.paired, gate.pairs),
            (Verdict::Failed, false, 3)
        );
        assert!((gate.rank_p.unwrap() - 1.0 / 35.0).abs() < 1e-12, "{gate:?}");
    }

    #[test]
    fn times_and_rates_point_the_same_way() {
        let slower = Metric::Tpot.log_ratio(0.010, 0.011);
        assert!(slower > 0.0);
        assert!((Metric::Output { concurrency: 1 }.log_ratio(110.0, 100.0) - slower).abs() < 1e-12);
    }
}
