//! One-sided bounds on a share. A floor is held against the lower bound and never against an upper one: a symmetric
//! band fails a model for being entirely right.

use super::normal::normal_quantile;

/// Share that the true one is not below, with confidence `level` (one-sided). `None` without trials. Wilson, Journal of
/// the American Statistical Association 22, 1927. Counts may be fractional: effective sample sizes are.
pub fn wilson_lower(successes: f64, trials: f64, level: f64) -> Option<f64> {
    let (centre, reach) = wilson(successes, trials, level)?;
    Some((centre - reach).max(0.0))
}

/// Share that the true one is not above, likewise.
pub fn wilson_upper(successes: f64, trials: f64, level: f64) -> Option<f64> {
    let (centre, reach) = wilson(successes, trials, level)?;
    Some((centre + reach).min(1.0))
}

fn wilson(successes: f64, trials: f64, level: f64) -> Option<(f64, f64)> {
    if trials <= 0.0 || !(0.0..=trials).contains(&successes) {
        return None;
    }
    let z = normal_quantile(level);
    let share = successes / trials;
    let shrink = 1.0 + z * z / trials;
    let centre = (share + z * z / (2.0 * trials)) / shrink;
    let reach = z / shrink * (share * (1.0 - share) / trials + z * z / (4.0 * trials * trials)).sqrt();
    Some((centre, reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `statsmodels.stats.proportion.proportion_confint(…, alpha=0.1, method="wilson")`: its two-sided 90 % interval
    /// has the one-sided 95 % bounds.
    #[test]
    fn agrees_with_statsmodels() {
        for (successes, trials, low, high) in [
            (4_960.0, 5_000.0, 0.989_645_207_048_623_8, 0.993_822_629_957_631),
            (54.0, 54.0, 0.952_287_848_959_853, 1.0),
            (0.0, 20.0, 0.0, 0.119_157_837_360_964_55),
        ] {
            let found = (
                wilson_lower(successes, trials, 0.95).unwrap(),
                wilson_upper(successes, trials, 0.95).unwrap(),
            );
            assert!(
                (found.0 - low).abs() < 1e-6 && (found.1 - high).abs() < 1e-6,
                "{found:?}"
            );
        }
        assert_eq!(wilson_lower(0.0, 0.0, 0.95), None);
        assert_eq!(wilson_lower(3.0, 2.0, 0.95), None);
        assert_eq!(wilson_lower(f64::NAN, 2.0, 0.95), None);
    }
}
