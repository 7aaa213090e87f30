//! Intervals for figures whose samples come in clusters: positions of one prompt are not independent, so whole prompts
//! are drawn again (Field and Welsh, Journal of the Royal Statistical Society B 69, 2007), and the interval is that of
//! the percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

use rayon::prelude::*;

use super::{Random, percentile};

/// A two-sided interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How an interval is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Times that the clusters are drawn again.
    pub resamples: u32,
    /// Confidence of the two-sided interval.
    pub level: f64,
    /// Seed: the same one gives the same interval, on any number of cores.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 2,000 resamples, 90 %: each end is a one-sided bound of 95 %.
    fn default() -> Self {
        Self {
            resamples: 2_000,
            level: 0.9,
            seed: 0x5EED,
        }
    }
}

/// Intervals of N figures at once. `figures` gets how often each cluster was drawn. `None` for fewer than two clusters,
/// which say nothing of how clusters differ, and for no resamples.
pub fn cluster_bootstrap<const N: usize>(
    clusters: usize,
    plan: Bootstrap,
    figures: impl Fn(&[u32]) -> [f64; N] + Sync,
) -> Option<[Interval; N]> {
    if clusters < 2 || plan.resamples == 0 {
        return None;
    }
    let draws: Vec<[f64; N]> = (0..plan.resamples)
        .into_par_iter()
        .map_init(
            || vec![0_u32; clusters],
            |times, number| {
                let mut random = Random::stream(plan.seed, number.into());
                times.fill(0);
                (0..clusters).for_each(|_| times[random.below(clusters)] += 1);
                figures(times)
            },
        )
        .collect();
    let outside = 50.0 * (1.0 - plan.level);
    let mut intervals = [Interval {
        low: f64::NAN,
        high: f64::NAN,
    }; N];
    for (figure, interval) in intervals.iter_mut().enumerate() {
        let mut values: Vec<f64> = draws.iter().map(|draw| draw[figure]).collect();
        values.sort_by(f64::total_cmp);
        *interval = Interval {
            low: percentile(&values, outside)?,
            high: percentile(&values, 100.0 - outside)?,
        };
    }
    Some(intervals)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean over the members of the clusters drawn.
    fn mean_of(clusters: &[Vec<f64>]) -> impl Fn(&[u32]) -> [f64; 1] + Sync + '_ {
        |times| {
            let weighted = |of: fn(&Vec<f64>) -> f64| -> f64 {
                clusters
                    .iter()
                    .zip(times)
                    .map(|(members, &times)| f64::from(times) * of(members))
                    .sum()
            };
            [weighted(|members| members.iter().sum()) / weighted(|members| members.len() as f64)]
        }
    }

    /// Of singletons 1 to 20 the bootstrap's standard error is known: √(σ²/n) = √(33.25/20) = 1.2894; the percentiles
    /// at 5 % and 95 % of a nearly normal mean of 10.5 are 1.645 of them away: 8.38 and 12.62.
    #[test]
    fn singletons_give_the_textbook_interval() {
        let clusters: Vec<_> = (1..=20).map(|member| vec![f64::from(member)]).collect();
        let plan = Bootstrap {
            resamples: 20_000,
            ..Bootstrap::default()
        };
        let [found] = cluster_bootstrap(20, plan, mean_of(&clusters)).unwrap();
        assert!(
            (found.low - 8.38).abs() < 0.08 && (found.high - 12.62).abs() < 0.08,
            "{found:?}"
        );
    }

    /// Ten equal members in each cluster carry no more than one: the interval must not shrink.
    #[test]
    fn copies_inside_a_cluster_are_no_evidence() {
        let single: Vec<_> = (1..=20).map(|member| vec![f64::from(member)]).collect();
        let copied: Vec<_> = (1..=20).map(|member| vec![f64::from(member); 10]).collect();
        let plan = Bootstrap::default();
        let intervals =
            [&single, &copied].map(|clusters| cluster_bootstrap(20, plan, mean_of(clusters)).unwrap()[0]);
        assert!((intervals[0].low - intervals[1].low).abs() < 1e-9);
        assert!((intervals[0].high - intervals[1].high).abs() < 1e-9);
    }

    #[test]
    fn a_seed_gives_the_same_interval_on_any_number_of_cores() {
        let clusters: Vec<_> = (0..50).map(|member| vec![f64::from(member % 7); 3]).collect();
        let run = || cluster_bootstrap(50, Bootstrap::default(), mean_of(&clusters)).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(run), run());
        let other = Bootstrap {
            seed: 1,
            ..Bootstrap::default()
        };
        assert_ne!(cluster_bootstrap(50, other, mean_of(&clusters)).unwrap(), run());
    }

    #[test]
    fn one_cluster_says_nothing() {
        assert_eq!(cluster_bootstrap(1, Bootstrap::default(), |_| [0.0]), None);
        assert_eq!(cluster_bootstrap(0, Bootstrap::default(), |_| [0.0]), None);
    }
}
