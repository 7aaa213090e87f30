//! When the requests of an open schedule are due. Pure: a seed gives the same moments everywhere.
//!
//! Arrivals of rate 1 are drawn first (even, or with gamma-distributed gaps), and then time is stretched so that the rate
//! is what the schedule wants at each moment (Çinlar, Introduction to Stochastic Processes, 1975, section 4.7: time
//! change by the cumulated rate). Burstiness is vLLM's word for the shape of the gamma distribution: 1 makes a Poisson
//! process, less makes bursts, more evens out; gaps vary by 1/√burstiness of their mean.

use std::time::Duration;

use crate::stats::Random;

/// Nanoseconds in a second.
const NS: f64 = 1e9;
/// Most requests of a schedule: a day at a thousand a second.
const MOST: usize = 86_400_000;

/// Requests a second, over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Always so many.
    Constant(f64),
    /// From `from` to `to` in a straight line over a time, then `to`.
    Linear {
        /// At the start.
        from: f64,
        /// At the end.
        to: f64,
        /// From start to end.
        over: Duration,
    },
    /// From `from` to `to` by the same factor each second, then `to`.
    Exponential {
        /// At the start.
        from: f64,
        /// At the end.
        to: f64,
        /// From start to end.
        over: Duration,
    },
}

/// How arrivals scatter around their rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scatter {
    /// Not at all: the first at once, the others at equal distances.
    Even,
    /// Gaps are gamma-distributed with this shape; 1 is a Poisson process.
    Gamma {
        /// Shape of the distribution.
        burstiness: f64,
    },
}

/// An open schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Requests a second.
    pub rate: Rate,
    /// Their scatter.
    pub scatter: Scatter,
}

/// Where a schedule ends: after so many requests, or so long, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Requests.
    pub count: Option<u64>,
    /// Time.
    pub duration: Option<Duration>,
}

impl Schedule {
    /// Moments, nanoseconds after the start, ascending. Empty where neither count nor time ends the schedule, or where the
    /// rate is none.
    pub fn due_ns(&self, seed: u64, extent: Extent) -> Vec<u64> {
        let end_s = extent
            .duration
            .map_or(f64::INFINITY, |duration| duration.as_secs_f64());
        let count = extent
            .count
            .map_or(MOST, |count| usize::try_from(count).unwrap_or(MOST));
        if (extent.count.is_none() && extent.duration.is_none()) || !self.rate.is_positive() {
            return Vec::new();
        }
        let mut random = Random::new(seed);
        let mut unit = 0.0;
        let mut first = true;
        let moments = std::iter::from_fn(|| {
            unit += match self.scatter {
                Scatter::Even if std::mem::take(&mut first) => 0.0,
                Scatter::Even => 1.0,
                Scatter::Gamma { burstiness } => gamma(burstiness, &mut random) / burstiness,
            };
            Some(self.rate.time_s(unit))
        });
        moments
            .take(count.min(MOST))
            .take_while(|at_s| *at_s < end_s)
            .map(nanoseconds)
            .collect()
    }
}

impl Rate {
    fn is_positive(self) -> bool {
        let positive = |rate: f64| rate.is_finite() && rate > 0.0;
        match self {
            Self::Constant(rate) => positive(rate),
            Self::Linear { from, to, over } => from >= 0.0 && positive(to) && !over.is_zero(),
            Self::Exponential { from, to, over } => positive(from) && positive(to) && !over.is_zero(),
        }
    }

    /// When `requests` requests have come, seconds.
    fn time_s(self, requests: f64) -> f64 {
        match self {
            Self::Constant(rate) => requests / rate,
            Self::Linear { from, to, over } => {
                let over_s = over.as_secs_f64();
                let whole = f64::midpoint(from, to) * over_s;
                if requests >= whole {
                    return over_s + (requests - whole) / to;
                }
                // from·t + (to − from)·t²/(2·over) = requests, written so that nothing cancels out.
                let slope = (to - from) / over_s;
                2.0 * requests
                    / (from + (from * from + 2.0 * slope * requests).max(0.0).sqrt()).max(f64::MIN_POSITIVE)
            }
            Self::Exponential { from, to, over } => {
                let (over_s, log) = (over.as_secs_f64(), (to / from).ln());
                if log == 0.0 {
                    return requests / from;
                }
                let whole = from * over_s * (to / from - 1.0) / log;
                if requests >= whole {
                    return over_s + (requests - whole) / to;
                }
                over_s / log * (requests * log / (from * over_s)).ln_1p()
            }
        }
    }
}

/// A gamma-distributed number of this shape and scale 1 (Marsaglia and Tsang, ACM Transactions on Mathematical Software
/// 26, 2000); below shape 1 by their boost.
fn gamma(shape: f64, random: &mut Random) -> f64 {
    if shape == 1.0 {
        return -(1.0 - random.unit()).ln();
    }
    if shape < 1.0 {
        return gamma(shape + 1.0, random) * (1.0 - random.unit()).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = random.gaussian();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - random.unit()).ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and saturating is right"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * NS) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N: u64 = 20_000;

    fn count(count: u64) -> Extent {
        Extent {
            count: Some(count),
            duration: None,
        }
    }

    fn schedule(rate: Rate, scatter: Scatter) -> Schedule {
        Schedule { rate, scatter }
    }

    fn gaps_s(due_ns: &[u64]) -> Vec<f64> {
        let mut before = 0;
        due_ns
            .iter()
            .map(|&at| (at - std::mem::replace(&mut before, at)) as f64 / NS)
            .collect()
    }

    /// Greatest distance between the distribution of samples and a given one, times √n (Kolmogorov's statistic).
    fn kolmogorov(mut samples: Vec<f64>, cumulative: impl Fn(f64) -> f64) -> f64 {
        samples.sort_by(f64::total_cmp);
        let n = samples.len() as f64;
        let distance = samples.iter().enumerate().map(|(rank, &sample)| {
            let expected = cumulative(sample);
            (expected - rank as f64 / n).max((rank + 1) as f64 / n - expected)
        });
        distance.fold(0.0, f64::max) * n.sqrt()
    }

    /// 99.9 % of Kolmogorov's limiting distribution, 1 − 2 Σ (−1)^(k−1) exp(−2k²x²) = 0.999 solved by bisection outside
    /// this program (`scipy.stats.kstwobign.ppf(0.999)`).
    const KOLMOGOROV_999: f64 = 1.949_474_6;

    #[test]
    fn a_constant_rate_is_exact() {
        let even = schedule(Rate::Constant(8.0), Scatter::Even);
        assert_eq!(
            even.due_ns(0, count(5)),
            [0, 125_000_000, 250_000_000, 375_000_000, 500_000_000]
        );
        let half_second = Extent {
            count: None,
            duration: Some(Duration::from_millis(500)),
        };
        assert_eq!(
            even.due_ns(0, half_second).len(),
            4,
            "what is due at the end is not sent"
        );
    }

    #[test]
    fn poisson_gaps_are_exponential_and_independent() {
        let poisson = schedule(Rate::Constant(50.0), Scatter::Gamma { burstiness: 1.0 });
        for seed in 0..5 {
            let gaps = gaps_s(&poisson.due_ns(seed, count(N)));
            let statistic = kolmogorov(gaps.clone(), |gap| 1.0 - (-50.0 * gap).exp());
            assert!(statistic < KOLMOGOROV_999, "seed {seed}: {statistic}");
            // Neighbours: the correlation of independent gaps has a standard error of 1/√n = 0.00707; four of them.
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let product = |distance: usize| -> f64 {
                gaps.iter()
                    .zip(&gaps[distance..])
                    .map(|(a, b)| (a - mean) * (b - mean))
                    .sum()
            };
            assert!((product(1) / product(0)).abs() < 0.0283, "seed {seed}");
        }
    }

    #[test]
    fn the_test_tells_other_processes_apart() {
        for burstiness in [0.9, 1.1] {
            let other = schedule(Rate::Constant(50.0), Scatter::Gamma { burstiness });
            let gaps = gaps_s(&other.due_ns(0, count(N)));
            assert!(kolmogorov(gaps, |gap| 1.0 - (-50.0 * gap).exp()) > KOLMOGOROV_999);
        }
    }

    /// A gamma-distributed gap has mean 1/rate and variance 1/(rate²·burstiness). Standard errors over n gaps: of the mean
    /// σ/√n; of the variance σ²·√((2 + 6/k)/n), from the excess kurtosis 6/k. Five of each.
    #[test]
    fn bursts_have_the_moments_of_the_gamma_distribution() {
        for k in [0.25, 0.5, 2.0, 10.0] {
            let bursts = schedule(Rate::Constant(4.0), Scatter::Gamma { burstiness: k });
            let gaps = gaps_s(&bursts.due_ns(3, count(N)));
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
            let expected = 1.0 / (16.0 * k);
            assert!(
                (mean - 0.25).abs() < 5.0 * (expected / n).sqrt(),
                "{k}: mean {mean}"
            );
            let error = expected * ((2.0 + 6.0 / k) / n).sqrt();
            assert!(
                (variance - expected).abs() < 5.0 * error,
                "{k}: variance {variance}, not {expected}"
            );
        }
    }

    #[test]
    fn a_ramp_cumulates_to_what_its_rate_says() {
        let over = Duration::from_secs(10);
        let linear = schedule(
            Rate::Linear {
                from: 2.0,
                to: 8.0,
                over,
            },
            Scatter::Even,
        );
        let due = linear.due_ns(0, count(100));
        // 2t + 0.3t²: 15.75 at 4.5 s, 50 at 10 s, then 8 a second.
        assert!((linear.rate.time_s(15.075) - 4.5).abs() < 1e-9);
        assert_eq!(due[50], 10_000_000_000);
        assert_eq!(due[58], 11_000_000_000);
        let from_nothing = Rate::Linear {
            from: 0.0,
            to: 2.0,
            over,
        };
        assert!((from_nothing.time_s(2.5) - 5.0).abs() < 1e-9, "0.1 t² = 2.5");
        assert_eq!(from_nothing.time_s(0.0), 0.0);
        let falling = Rate::Linear {
            from: 8.0,
            to: 2.0,
            over,
        };
        assert!((falling.time_s(32.5) - 5.0).abs() < 1e-9, "8t − 0.3t² = 32.5");
        let growing = Rate::Exponential {
            from: 1.0,
            to: 16.0,
            over,
        };
        // ∫ 16^(t/10) = 10/ln 16 · (16^(t/10) − 1): at 5 s 10/2.7725887 · 3 = 10.820213.
        assert!((growing.time_s(10.820_212_8) - 5.0).abs() < 1e-6);
        assert!((growing.time_s(54.101_064 + 16.0) - 11.0).abs() < 1e-6);
        let flat = Rate::Exponential {
            from: 4.0,
            to: 4.0,
            over,
        };
        assert_eq!(flat.time_s(8.0), 2.0);
    }

    #[test]
    fn a_schedule_without_end_or_rate_is_empty() {
        let even = |rate| schedule(rate, Scatter::Even);
        assert!(even(Rate::Constant(1.0)).due_ns(0, Extent::default()).is_empty());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(even(Rate::Constant(rate)).due_ns(0, count(3)).is_empty());
        }
    }

    proptest! {
        #[test]
        fn moments_ascend_and_a_seed_repeats_them(seed: u64, rate in 0.1f64..1e4, burstiness in 0.05f64..20.0) {
            let schedule = schedule(Rate::Constant(rate), Scatter::Gamma { burstiness });
            let due = schedule.due_ns(seed, count(200));
            prop_assert!(due.is_sorted());
            prop_assert_eq!(due.len(), 200);
            prop_assert_eq!(schedule.due_ns(seed, count(200)), due);
        }
    }
}
