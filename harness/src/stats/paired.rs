//! The same items answered twice: did it become worse? And how small a loss could so many items have shown at all?

use super::binomial::{fair_tail, ln_factorials, probabilities};

/// What a paired test of so many items can find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Items that are answered twice.
    pub items: usize,
    /// Share of items whose grade changes either way without any loss.
    pub discordant: f64,
    /// Risk of a false alarm.
    pub alpha: f64,
}

/// Probability of at least so many losses among the changes if losses and gains were equally likely: McNemar's test,
/// exact and one-sided (Psychometrika 12, 1947). `worse` counts items that were right and are wrong, `better` the
/// other way round. Without a change nothing speaks for a loss: 1.
pub fn mcnemar_p(worse: usize, better: usize) -> f64 {
    let changes = worse + better;
    fair_tail(changes, worse, &ln_factorials(changes))
}

/// Probability that the test finds a loss of `drop` (a share of the items). The number of changes is binomial, and
/// among so many of them losses are: summed exactly over both. Where the drop is larger than the share of changes,
/// every change is a loss.
pub fn mcnemar_power(test: Power, drop: f64) -> f64 {
    let table = ln_factorials(test.items);
    power(test, drop, &table, &critical_losses(test, &table))
}

/// Smallest loss (a share of the items) that the test finds with probability `power`; `None` where it finds none.
pub fn smallest_drop(test: Power, wanted: f64) -> Option<f64> {
    let table = ln_factorials(test.items);
    let critical = critical_losses(test, &table);
    let finds = |drop: f64| power(test, drop, &table, &critical) >= wanted;
    if test.items == 0 || !finds(1.0) {
        return None;
    }
    let (mut missed, mut found) = (0.0, 1.0);
    // To a hundredth of one item, which no count can tell apart.
    while found - missed > 0.01 / test.items as f64 {
        let middle = f64::midpoint(missed, found);
        if finds(middle) {
            found = middle;
        } else {
            missed = middle;
        }
    }
    Some(found)
}

/// For each number of changes, the fewest losses that are significant; more than the changes where none are.
fn critical_losses(test: Power, table: &[f64]) -> Vec<usize> {
    let mut critical = Vec::with_capacity(test.items + 1);
    let mut losses = 0;
    for changes in 0..=test.items {
        // More changes never need fewer losses, so the search goes on where it stopped.
        while losses <= changes && fair_tail(changes, losses, table) > test.alpha {
            losses += 1;
        }
        critical.push(losses);
    }
    critical
}

fn power(test: Power, drop: f64, table: &[f64], critical: &[usize]) -> f64 {
    let changing = test.discordant.max(drop).clamp(0.0, 1.0);
    if changing == 0.0 {
        return 0.0;
    }
    let losing = (f64::midpoint(changing, drop) / changing).min(1.0);
    let found = probabilities(test.items, changing, table)
        .enumerate()
        .map(|(changes, likely)| {
            // What is rarer than this cannot move the sum.
            if likely < 1e-15 {
                return 0.0;
            }
            let significant = (changes + 1).saturating_sub(critical[changes]);
            likely
                * probabilities(changes, losing, table)
                    .rev()
                    .take(significant)
                    .sum::<f64>()
        });
    found.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `statsmodels.stats.contingency_tables.mcnemar(exact=True)` is two-sided;
    /// `scipy.stats.binomtest(b, b + c, alternative="greater")` is this.
    #[test]
    fn agrees_with_scipy() {
        for (worse, better, p) in [
            (0, 0, 1.0),
            (5, 0, 0.03125),
            (9, 2, 0.032_714_843_75),
            (40, 13, 0.000_134_270_059_409_580_26),
            (3, 7, 0.945_312_5),
        ] {
            let found = mcnemar_p(worse, better);
            assert!((found - p).abs() < 1e-10, "{worse} {better}: {found}, not {p}");
        }
    }

    /// Sums of `scipy.stats.binom` over changes and losses, as the formula says.
    #[test]
    fn power_agrees_with_scipy() {
        let power = |items, drop| {
            let test = Power {
                items,
                discordant: 0.04,
                alpha: 0.01,
            };
            mcnemar_power(test, drop)
        };
        for (items, drop, expected) in POWERS {
            let found = power(items, drop);
            assert!(
                (found - expected).abs() < 1e-9,
                "{items} {drop}: {found}, not {expected}"
            );
        }
    }

    const POWERS: [(usize, f64, f64); 4] = [
        (1_319, 0.02, 0.901_681_818_960_785),
        (1_319, 0.03, 0.999_784_869_028_443_8),
        (250, 0.02, 0.123_086_010_032_270_43),
        (250, 0.03, 0.402_481_858_886_385_16),
    ];

    #[test]
    fn the_smallest_drop_is_where_power_reaches_what_is_wanted() {
        let test = Power {
            items: 250,
            discordant: 0.04,
            alpha: 0.01,
        };
        let drop = smallest_drop(test, 0.8).unwrap();
        assert!((mcnemar_power(test, drop) - 0.8).abs() < 0.01, "{drop}");
        assert!(mcnemar_power(test, drop - 0.002) < 0.8);
        // Six losses in a row are not significant at 1 %: six items can show nothing.
        assert_eq!(smallest_drop(Power { items: 6, ..test }, 0.8), None);
        assert!(smallest_drop(Power { items: 7, ..test }, 0.8).is_some());
        assert_eq!(smallest_drop(Power { items: 0, ..test }, 0.8), None);
    }
}
