//! Where did a series change? E-divisive (Matteson and James, Journal of the American Statistical Association 109,
//! 2014) with the distance between means: each segment is cut where its two sides differ most, as long as shuffled
//! copies of it (their permutation test) can rarely be cut so well. The best cut is held against best cuts, so that
//! looking at every place is accounted for. A level that comes back is seen only once it has lasted: one cut must already
//! tell the two sides apart.

use super::{Random, slowdown::unpaired};

/// Fewest runs on either side of a change.
const LEAST: usize = 3;
/// The copies that decide are always the same.
const SEED: u64 = 0x5eed_c4a6;

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub at: usize,
    /// Mean of the segment before.
    pub before: f64,
    /// Mean of the segment after.
    pub after: f64,
    /// Two-sided p of a t test for this cut alone, which does not account for the search.
    pub p: f64,
}

/// The changes in `values`, by index. `alpha`: how often a segment without any change may be cut; below 0.0001 it
/// counts as 0.0001. Values that are not finite make the series unreadable, and none is found.
pub fn change_points(values: &[f64], alpha: f64) -> Vec<ChangePoint> {
    if values.iter().any(|value| !value.is_finite()) {
        return Vec::new();
    }
    let mut cuts = vec![0, values.len()];
    divide(values, 0, alpha, &mut cuts);
    cuts.sort_unstable();
    let mean = |from: usize, to: usize| values[from..to].iter().sum::<f64>() / (to - from).max(1) as f64;
    let change = |ends: &[usize]| {
        let &[from, at, to] = ends else { return None };
        Some(ChangePoint {
            at,
            before: mean(from, at),
            after: mean(at, to),
            p: two_sided(&values[from..at], &values[at..to])?,
        })
    };
    cuts.windows(3).filter_map(change).collect()
}

fn divide(values: &[f64], offset: usize, alpha: f64, cuts: &mut Vec<usize>) {
    let Some((distance, at)) = best_cut(values) else {
        return;
    };
    if distance > 0.0 && is_rare(values, distance, alpha) {
        cuts.push(offset + at);
        let (before, after) = values.split_at(at);
        divide(before, offset, alpha, cuts);
        divide(after, offset + at, alpha, cuts);
    }
}

/// Whether at most the share `alpha` of shuffled copies, the series itself counted among them, can be cut so well.
fn is_rare(values: &[f64], distance: f64, alpha: f64) -> bool {
    let alpha = alpha.clamp(1e-4, 1.0);
    let copies = (1.0 / alpha).ceil();
    let mut random = Random::new(SEED ^ values.len() as u64);
    let mut copy = values.to_vec();
    let mut as_good = 1.0;
    let mut drawn = 1.0;
    while drawn < copies && as_good / copies <= alpha {
        for last in (1..copy.len()).rev() {
            copy.swap(last, random.below(last + 1));
        }
        // Sums of another order differ in their last digits.
        as_good += f64::from(best_cut(&copy).is_some_and(|(other, _)| other >= distance * (1.0 - 1e-12)));
        drawn += 1.0;
    }
    as_good / copies <= alpha
}

/// The cut at which n·m/(n+m) × the squared difference of the means is greatest, behind that distance.
fn best_cut(values: &[f64]) -> Option<(f64, usize)> {
    let total: f64 = values.iter().sum();
    let count = values.len();
    let mut sum: f64 = values.iter().take(LEAST).sum();
    let mut best: Option<(f64, usize)> = None;
    let last = count.checked_sub(LEAST)?;
    for (at, value) in values.iter().enumerate().take(last + 1).skip(LEAST) {
        let (n, m) = (at as f64, (count - at) as f64);
        let difference = sum / n - (total - sum) / m;
        let distance = n * m / (n + m) * difference.powi(2);
        if best.is_none_or(|(most, _)| distance > most) {
            best = Some((distance, at));
        }
        sum += value;
    }
    best
}

fn two_sided(before: &[f64], after: &[f64]) -> Option<f64> {
    let test = unpaired(after, before)?;
    if test.log_ratio == 0.0 {
        return Some(1.0);
    }
    let p = test.p_value();
    Some(2.0 * p.min(1.0 - p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    fn noise(count: usize, level: f64, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..count)
            .map(|_| level * (1.0 + 0.02 * random.gaussian()))
            .collect()
    }

    #[test]
    fn a_step_of_five_percent_is_found_where_it_is() {
        let values = [noise(30, 100.0, 1), noise(30, 95.0, 2)].concat();
        let found = change_points(&values, 0.001);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].at.abs_diff(30) <= 1, "{found:?}");
        assert!((found[0].before - 100.0).abs() < 2.0 && (found[0].after - 95.0).abs() < 2.0);
    }

    #[test]
    fn two_steps_are_two_changes() {
        let values = [noise(40, 100.0, 3), noise(40, 90.0, 4), noise(40, 100.0, 5)].concat();
        let at: Vec<usize> = change_points(&values, 0.001)
            .iter()
            .map(|change| change.at)
            .collect();
        assert_eq!(at, [40, 80]);
    }

    #[test]
    fn noise_alone_is_rarely_a_change() {
        let alarms = (0..200).filter(|&seed| !change_points(&noise(50, 100.0, 100 + seed), 0.001).is_empty());
        // One in a thousand is promised; three in 200 would be a surprise of 0.1 %.
        assert!(alarms.count() <= 2);
    }

    #[test]
    fn series_too_short_to_tell_have_no_change() {
        for count in 0..=5 {
            assert!(change_points(&noise(count, 1.0, 9), 0.001).is_empty());
        }
        assert!(change_points(&[1.0, 1.0, 1.0, f64::NAN, 2.0, 2.0, 2.0, 2.0], 0.5).is_empty());
        assert!(change_points(&[7.0; 40], 0.5).is_empty());
    }
}
