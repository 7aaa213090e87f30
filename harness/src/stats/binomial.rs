//! The binomial distribution, in logarithms, so that large counts neither overflow nor vanish.

/// ln 0!, ln 1!, … ln n!.
pub fn ln_factorials(n: usize) -> Vec<f64> {
    let mut table = Vec::with_capacity(n + 1);
    let mut sum = 0.0;
    table.push(sum);
    for factor in 1..=n {
        sum += (factor as f64).ln();
        table.push(sum);
    }
    table
}

/// Probabilities of 0, 1, … n successes in n trials of probability `p`, by a table of [`ln_factorials`] up to n.
pub fn probabilities(n: usize, p: f64, table: &[f64]) -> impl DoubleEndedIterator<Item = f64> + '_ {
    let power = |log: f64, times: usize| if times == 0 { 0.0 } else { times as f64 * log };
    (0..=n).map(move |k| {
        let ways = table[n] - table[k] - table[n - k];
        (ways + power(p.ln(), k) + power((1.0 - p).ln(), n - k)).exp()
    })
}

/// Probability of at least `k` successes in `n` trials of probability 1/2.
pub fn fair_tail(n: usize, k: usize, table: &[f64]) -> f64 {
    // The smallest terms first, so that they are not lost against the large ones.
    let tail: f64 = probabilities(n, 0.5, table)
        .rev()
        .take((n + 1).saturating_sub(k))
        .sum();
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.binom.sf(k - 1, n, 0.5)`.
    #[test]
    fn tails_agree_with_scipy() {
        let table = ln_factorials(2_000);
        for (n, k, tail) in [
            (10, 8, 0.054_687_5),
            (10, 0, 1.0),
            (0, 0, 1.0),
            (0, 1, 0.0),
            (53, 40, 0.000_134_270_059_409_580_26),
            (2_000, 1_060, 0.003_888_559_450_989_371_5),
        ] {
            let found = fair_tail(n, k, &table);
            assert!(
                (found - tail).abs() <= 1e-10 * tail.max(1e-3),
                "{n} {k}: {found}, not {tail}"
            );
        }
    }

    #[test]
    fn probabilities_sum_to_one_at_every_p() {
        let table = ln_factorials(300);
        for p in [0.0, 1e-9, 0.04, 0.5, 1.0] {
            let sum: f64 = probabilities(300, p, &table).sum();
            assert!((sum - 1.0).abs() < 1e-10, "{p}: {sum}");
        }
    }
}
