//! How much slower is one arm than the other? Each pair gives one log ratio, so that a factor counts the same upwards
//! and downwards; their mean has Student's t interval. Positive means that the candidate is slower.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::normal::normal_quantile;

/// Log ratios of pairs, or of two independent groups, reduced to what a t test needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowdown {
    /// Mean log ratio; `exp` of it is the factor.
    pub log_ratio: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

/// From log ratios of pairs. `None` for fewer than two, or where one is not finite.
pub fn paired(log_ratios: &[f64]) -> Option<Slowdown> {
    let (mean, variance) = mean_and_variance(log_ratios)?;
    let count = log_ratios.len() as f64;
    Some(Slowdown {
        log_ratio: mean,
        standard_error: (variance / count).sqrt(),
        freedom: count - 1.0,
    })
}

/// From two groups that were not run side by side (Welch, Biometrika 34, 1947): `slow` holds logarithms of the
/// candidate's times, `fast` those of the baseline's. `None` for fewer than two in either.
pub fn unpaired(slow: &[f64], fast: &[f64]) -> Option<Slowdown> {
    let ((slow_mean, slow_variance), (fast_mean, fast_variance)) =
        (mean_and_variance(slow)?, mean_and_variance(fast)?);
    let (n, m) = (slow.len() as f64, fast.len() as f64);
    let (a, b) = (slow_variance / n, fast_variance / m);
    let freedom = (a + b).powi(2) / (a.powi(2) / (n - 1.0) + b.powi(2) / (m - 1.0));
    Some(Slowdown {
        log_ratio: slow_mean - fast_mean,
        standard_error: (a + b).sqrt(),
        // Without any spread the formula is 0 / 0; the smaller group says how little is known.
        freedom: if freedom.is_finite() {
            freedom
        } else {
            n.min(m) - 1.0
        },
    })
}

impl Slowdown {
    /// Chance of a mean this large or larger where nothing is slower. Without any spread: 0, 1, or 1/2 for no
    /// difference at all.
    pub fn p_value(self) -> f64 {
        let t = self.log_ratio / self.standard_error;
        if t.is_nan() {
            return 0.5;
        }
        self.student().map_or(f64::NAN, |student| student.sf(t))
    }

    /// One-sided lower bound that holds with probability `level`.
    pub fn lower(self, level: f64) -> f64 {
        self.log_ratio - self.quantile(level) * self.standard_error
    }

    /// One-sided upper bound that holds with probability `level`.
    pub fn upper(self, level: f64) -> f64 {
        self.log_ratio + self.quantile(level) * self.standard_error
    }

    /// The smallest log ratio that a test at `alpha`, which also asks for a mean of at least `tolerance`, finds with
    /// probability `power`. The estimate's spread is taken as known, which is a little hopeful for few pairs.
    pub fn smallest_found(self, alpha: f64, tolerance: f64, power: f64) -> f64 {
        let critical = self.quantile(1.0 - alpha) * self.standard_error;
        critical.max(tolerance) + normal_quantile(power) * self.standard_error
    }

    fn quantile(self, p: f64) -> f64 {
        self.student().map_or(f64::NAN, |student| student.inverse_cdf(p))
    }

    fn student(self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.freedom).ok()
    }
}

fn mean_and_variance(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, squares / (count - 1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASELINE: [f64; 5] = [132.1, 131.4, 133.0, 130.8, 132.5];
    const CANDIDATE: [f64; 5] = [126.0, 127.9, 125.1, 126.6, 127.0];

    fn log_ratios() -> Vec<f64> {
        BASELINE
            .iter()
            .zip(CANDIDATE)
            .map(|(b, c)| (b / c).ln())
            .collect()
    }

    fn near(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{found} against {expected}"
        );
    }

    /// scipy 1.16: `ttest_1samp(d, 0, alternative='greater')` and `t.ppf(.95, 4)`.
    #[test]
    fn a_paired_test_is_scipys() {
        let slowdown = paired(&log_ratios()).unwrap();
        near(slowdown.log_ratio, 0.042_108_580_214_422_1);
        near(slowdown.p_value(), 0.001_059_380_226_196_1);
        near(slowdown.lower(0.95), 0.029_400_330_512_732);
        near(slowdown.upper(0.95), 0.054_816_829_916_112);
    }

    /// scipy 1.16: `ttest_ind(d, e, equal_var=False, alternative='greater')`.
    #[test]
    fn an_unpaired_test_is_scipys() {
        let slowdown = unpaired(&log_ratios(), &[0.01, 0.02, -0.005, 0.003]).unwrap();
        near(slowdown.freedom, 6.994_723_373_401_2);
        near(slowdown.p_value(), 0.001_583_545_342_265_4);
    }

    #[test]
    fn samples_without_spread_are_no_accident() {
        assert_eq!(paired(&[0.125; 4]).unwrap().standard_error, 0.0);
        assert!(paired(&[0.125; 4]).unwrap().p_value() < 1e-9);
        assert_eq!(paired(&[0.0; 4]).unwrap().p_value(), 0.5);
        assert_eq!(paired(&[0.1]), None);
        assert_eq!(paired(&[0.1, f64::INFINITY]), None);
    }

    proptest! {
        #[test]
        fn bounds_enclose_the_mean(values in prop::collection::vec(-1.0_f64..1.0, 2..12)) {
            let slowdown = paired(&values).unwrap();
            prop_assert!(slowdown.lower(0.95) <= slowdown.log_ratio);
            prop_assert!(slowdown.upper(0.95) >= slowdown.log_ratio);
            prop_assert!((0.0..=1.0).contains(&slowdown.p_value()));
        }
    }
}
