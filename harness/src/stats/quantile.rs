//! How sure a percentile is.
//!
//! The bootstrap's interval of a percentile needs no drawing: the k-th of n redrawn samples is at most the j-th of those
//! measured with the probability that a binomial variable of n trials at j/n reaches k (Efron, Annals of Statistics 7,
//! 1979, section 3), which is the incomplete beta function at j/n. Where samples come in clusters (the gaps of one
//! request are alike), the share below the percentile is a ratio over clusters, and its standard error gives the
//! interval (Woodruff, Journal of the American Statistical Association 47, 1952).

use statrs::distribution::{Beta, ContinuousCDF};

use super::{Interval, normal::normal_quantile, percentile};

/// Samples that percentile `p` (0 to 100) needs to be more than the greatest of them.
pub fn samples_needed(p: f64) -> u64 {
    let rare = (100.0 - p).clamp(f64::MIN_POSITIVE, 100.0) / 100.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and saturating is right"
    )]
    let needed = (1.0 / rare - 1e-9).ceil() as u64;
    needed.max(1)
}

/// Two-sided interval of percentile `p` of independent ascending samples, as the bootstrap of infinitely many draws
/// gives it. `None` for fewer than two samples.
pub fn percentile_interval(ascending: &[f64], p: f64, level: f64) -> Option<Interval> {
    let n = ascending.len();
    if n < 2 {
        return None;
    }
    let rank = (p / 100.0).clamp(0.0, 1.0) * (n - 1) as f64;
    let k = rank.round() + 1.0;
    let at = |tail: f64| {
        let share = beta_quantile(k, n as f64 - k + 1.0, tail);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of n, from 0 to n"
        )]
        let j = (share * n as f64).ceil() as usize;
        ascending.get(j.clamp(1, n) - 1).copied()
    };
    let outside = 0.5 * (1.0 - level);
    Some(Interval {
        low: at(outside)?,
        high: at(1.0 - outside)?,
    })
}

/// One cluster: how many of its samples are not above the percentile, and how many it has.
pub type Cluster = (f64, f64);

/// Two-sided interval of percentile `p` of ascending samples that come in `clusters`. `None` for fewer than two.
pub fn clustered_percentile_interval(
    ascending: &[f64],
    p: f64,
    level: f64,
    clusters: &[Cluster],
) -> Option<Interval> {
    if clusters.len() < 2 {
        return None;
    }
    let sum = |of: fn(&Cluster) -> f64| clusters.iter().map(of).sum::<f64>();
    let (below, all) = (sum(|cluster| cluster.0), sum(|cluster| cluster.1));
    if all <= 0.0 {
        return None;
    }
    let share = below / all;
    let squares: f64 = clusters
        .iter()
        .map(|(below, size)| (below - share * size).powi(2))
        .sum();
    let count = clusters.len() as f64;
    let error = (squares * count / (count - 1.0)).sqrt() / all;
    let reach = 100.0 * normal_quantile(0.5 + 0.5 * level) * error;
    Some(Interval {
        low: percentile(ascending, p - reach)?,
        high: percentile(ascending, p + reach)?,
    })
}

fn beta_quantile(a: f64, b: f64, q: f64) -> f64 {
    Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(q))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Bootstrap, Random, cluster_bootstrap};

    /// `scipy.stats.beta.ppf`.
    #[test]
    fn quantiles_of_the_beta_distribution_agree_with_scipy() {
        for (a, b, q, expected) in [
            (3.0, 2.0, 0.025, 0.194_120_449_683_243_38),
            (51.0, 50.0, 0.975, 0.601_678_870_496_699),
            (99.0, 2.0, 0.05, 0.953_440_188_546_461_1),
            (2_049.0, 2_048.0, 0.975, 0.515_429_678_828_396_1),
        ] {
            let found = beta_quantile(a, b, q);
            assert!((found - expected).abs() < 1e-9, "{a} {b} {q}: {found}");
        }
    }

    #[test]
    fn percentiles_need_samples() {
        let needed = [0.0, 50.0, 90.0, 95.0, 99.0, 99.9].map(samples_needed);
        assert_eq!(needed, [1, 2, 10, 20, 100, 1000]);
    }

    /// Drawing 20,000 times finds the ends that the formula gives, to within the steps between samples.
    #[test]
    fn the_formula_is_what_drawing_would_find() {
        let mut random = Random::new(5);
        let mut samples: Vec<f64> = (0..200).map(|_| random.gaussian()).collect();
        samples.sort_by(f64::total_cmp);
        let plan = Bootstrap {
            resamples: 20_000,
            level: 0.95,
            seed: 1,
        };
        for p in [50.0, 90.0] {
            let redrawn = |times: &[u32]| {
                let mut drawn = Vec::new();
                for (sample, &times) in samples.iter().zip(times) {
                    drawn.extend(std::iter::repeat_n(*sample, times as usize));
                }
                [percentile(&drawn, p).unwrap()]
            };
            let [found] = cluster_bootstrap(samples.len(), plan, redrawn).unwrap();
            let formula = percentile_interval(&samples, p, 0.95).unwrap();
            let rank = |value: f64| samples.partition_point(|sample| *sample < value);
            assert!(
                rank(found.low).abs_diff(rank(formula.low)) <= 1,
                "{p}: {found:?} {formula:?}"
            );
            assert!(
                rank(found.high).abs_diff(rank(formula.high)) <= 1,
                "{p}: {found:?} {formula:?}"
            );
        }
        assert_eq!(percentile_interval(&[1.0], 50.0, 0.95), None);
    }

    /// A hundred samples of 0 to 99 in clusters of one: the share at the median has the error √(0.25/100) = 0.05, so that
    /// 95 % reach 9.8 percent points, with the factor √(100/99) of few clusters 9.85. Copies in a cluster are no evidence.
    #[test]
    fn clusters_widen_an_interval() {
        let samples: Vec<f64> = (0..100).map(f64::from).collect();
        let single: Vec<Cluster> = (0..100).map(|n| (if n < 50 { 1.0 } else { 0.0 }, 1.0)).collect();
        let found = clustered_percentile_interval(&samples, 50.0, 0.95, &single).unwrap();
        assert!(
            (found.low - (49.5 - 9.75)).abs() < 0.05 && (found.high - (49.5 + 9.75)).abs() < 0.05,
            "{found:?}"
        );
        let copied: Vec<Cluster> = single
            .iter()
            .map(|(below, size)| (below * 10.0, size * 10.0))
            .collect();
        let ten_times: Vec<f64> = samples.iter().flat_map(|&sample| [sample; 10]).collect();
        let wide = clustered_percentile_interval(&ten_times, 50.0, 0.95, &copied).unwrap();
        assert!(
            (wide.low - found.low).abs() < 1.0 && (wide.high - found.high).abs() < 1.0,
            "{wide:?}"
        );
        assert_eq!(
            clustered_percentile_interval(&samples, 50.0, 0.95, &single[..1]),
            None
        );
    }
}
