//! Looking more than once: how much of alpha each look may spend, so that all looks together keep it.
//!
//! Lan and DeMets, Biometrika 70, 1983, with the spending function that resembles O'Brien and Fleming's bounds: almost
//! nothing early, nearly all at the end. The bounds come from recursive numerical integration (Armitage, McPherson and
//! Rowe, Journal of the Royal Statistical Society A 132, 1969).

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// Points of the grid on which the density of the running sum is kept.
const POINTS: usize = 801;
/// How far the grid reaches below zero, in standard deviations: what lies beyond is less than 1e-14.
const REACH: f64 = 8.0;

/// Share of `alpha` that may be spent when the share `time` of the information is in.
fn spent(alpha: f64, time: f64, normal: &Normal) -> f64 {
    let quantile = normal.inverse_cdf(1.0 - alpha / 2.0);
    (2.0 * normal.sf(quantile / time.sqrt())).min(alpha)
}

/// The level at which each look tests, one-sided, so that all of them together are wrong with probability `alpha`.
/// `times` are shares of the information, ascending in 0..=1, such as pairs so far over most pairs.
pub fn nominal_levels(alpha: f64, times: &[f64]) -> Vec<f64> {
    let normal = Normal::standard();
    let mut levels = Vec::with_capacity(times.len());
    let mut density: Option<Density> = None;
    let (mut before, mut used) = (0.0, 0.0);
    for &time in times {
        let target = spent(alpha, time, &normal) - used;
        let step = (time - before).sqrt();
        let bound = match &density {
            None => normal.inverse_cdf(1.0 - target) * step,
            Some(density) => density.bound(target, step, &normal),
        };
        density = Some(match density {
            None => Density::first(bound, step, &normal),
            Some(density) => density.next(bound, step, time.sqrt(), &normal),
        });
        levels.push(normal.sf(bound / time.sqrt()));
        used += target;
        before = time;
    }
    levels
}

/// Density of the running sum among the runs that went on, on an even grid.
struct Density {
    low: f64,
    width: f64,
    values: Vec<f64>,
}

impl Density {
    fn first(bound: f64, step: f64, normal: &Normal) -> Self {
        Self::over(bound, step, |at| normal.pdf(at / step) / step)
    }

    fn next(&self, bound: f64, step: f64, deviation: f64, normal: &Normal) -> Self {
        Self::over(bound, deviation, |at| {
            self.integral(|from| normal.pdf((at - from) / step) / step)
        })
    }

    fn over(bound: f64, deviation: f64, density: impl Fn(f64) -> f64) -> Self {
        let low = -REACH * deviation;
        let width = (bound - low) / (POINTS - 1) as f64;
        let values = (0..POINTS)
            .map(|index| density(low + index as f64 * width))
            .collect();
        Self { low, width, values }
    }

    /// The bound that the next sum exceeds with probability `target`, by bisection.
    fn bound(&self, target: f64, step: f64, normal: &Normal) -> f64 {
        let (mut low, mut high) = (-REACH, REACH);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.integral(|from| normal.sf((middle - from) / step)) > target {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// Integral of density × `factor` by Simpson's rule.
    fn integral(&self, factor: impl Fn(f64) -> f64) -> f64 {
        let term = |(index, value): (usize, &f64)| {
            let weight = match index {
                0 => 1.0,
                _ if index == POINTS - 1 => 1.0,
                _ if index % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * value * factor(self.low + index as f64 * self.width)
        };
        self.values.iter().enumerate().map(term).sum::<f64>() * self.width / 3.0
    }
}

/// Which of several tests reject at one look, by Holm's procedure over group-sequential tests (Ye, Li, Liu and Yao,
/// Statistics in Medicine 32, 2013): the smallest p-value is held against alpha over all, the next against alpha over
/// the rest, and so on. `level(share)` is the look's nominal level for alpha / `share`. A NaN never rejects.
pub fn holm(p_values: &[f64], level: impl Fn(usize) -> f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len())
        .filter(|&index| !p_values[index].is_nan())
        .collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut rejected = vec![false; p_values.len()];
    for (place, index) in order.into_iter().enumerate() {
        if p_values[index] > level(p_values.len() - place) {
            break;
        }
        rejected[index] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found / expected - 1.0).abs() < 2e-3,
                "{found} against {expected}"
            );
        }
    }

    /// Bounds 4.8769, 3.3569, 2.6803, 2.2898, 2.0310 of Reboussin, DeMets, Kim and Lan, Controlled Clinical Trials 21,
    /// 2000, and the same recursion in scipy.
    #[test]
    fn five_even_looks_have_the_published_bounds() {
        let levels = nominal_levels(0.025, &[0.2, 0.4, 0.6, 0.8, 1.0]);
        near(&levels, &[5.3887e-7, 3.9395e-4, 3.6780e-3, 1.1016e-2, 2.1126e-2]);
    }

    /// The same recursion in scipy on a finer grid.
    #[test]
    fn five_to_ten_pairs_spend_one_percent() {
        let levels = nominal_levels(0.01, &[0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
        near(
            &levels,
            &[2.6972e-4, 7.9907e-4, 1.7929e-3, 3.2929e-3, 5.2894e-3, 7.7379e-3],
        );
    }

    #[test]
    fn one_look_spends_everything() {
        let levels = nominal_levels(0.01, &[1.0]);
        assert!((levels[0] - 0.01).abs() < 1e-9, "{levels:?}");
    }

    /// statsmodels: `multipletests([.01, .04, .03, .005], method='holm')` rejects the first and the last.
    #[test]
    fn holm_is_that_of_statsmodels() {
        let rejected = holm(&[0.01, 0.04, 0.03, 0.005], |share| 0.05 / share as f64);
        assert_eq!(rejected, [true, false, false, true]);
        assert_eq!(
            holm(&[f64::NAN, 0.001], |share| 0.05 / share as f64),
            [false, true]
        );
        assert!(holm(&[], |_| 0.05).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn later_looks_allow_more(looks in 2_usize..8) {
            let times: Vec<f64> = (1..=looks).map(|look| look as f64 / looks as f64).collect();
            let levels = nominal_levels(0.05, &times);
            prop_assert!(levels.is_sorted(), "{levels:?}");
            prop_assert!(levels[looks - 1] <= 0.05);
        }
    }
}
