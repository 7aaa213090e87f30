//! A promise on a percentile (p99 ≤ x) after so many requests: a binomial bound on the share over the limit, and how
//! many requests more would decide. MLPerf's early stopping asks the same question (Reddi et al., MLPerf Inference
//! Benchmark, 2020, appendix).

use statrs::distribution::{Beta, ContinuousCDF};

/// What is known of a promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    /// The share over the limit is below what is allowed.
    Kept,
    /// It is above.
    Broken,
    /// So many requests do not tell. `more`: how many further ones, all within the limit, would show that it is kept.
    Open {
        /// Further requests.
        more: u64,
    },
}

/// Holds `over` of `requests` against the `allowed` share (0.01 for a p99), each answer being wrong with probability
/// 1 − `level`. The bounds are Clopper and Pearson's, Biometrika 26, 1934.
pub fn promise(over: u64, requests: u64, allowed: f64, level: f64) -> Promise {
    if upper_share(over, requests, level) <= allowed {
        return Promise::Kept;
    }
    if lower_share(over, requests, level) > allowed {
        return Promise::Broken;
    }
    let is_enough = |total: u64| upper_share(over, total, level) <= allowed;
    let mut high = requests.max(1);
    while !is_enough(high) && high < u64::MAX / 2 {
        high *= 2;
    }
    let mut low = requests;
    while low < high {
        let middle = low.midpoint(high);
        if is_enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Promise::Open {
        more: high - requests,
    }
}

/// One-sided upper bound on a share; 1 where nothing was tried.
pub fn upper_share(over: u64, requests: u64, level: f64) -> f64 {
    if over >= requests {
        return 1.0;
    }
    beta(over as f64 + 1.0, (requests - over) as f64, level)
}

/// One-sided lower bound on a share; 0 where nothing was over.
pub fn lower_share(over: u64, requests: u64, level: f64) -> f64 {
    if over == 0 || over > requests {
        return 0.0;
    }
    beta(over as f64, (requests - over) as f64 + 1.0, 1.0 - level)
}

fn beta(a: f64, b: f64, p: f64) -> f64 {
    Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.16: `beta.ppf(.95, k + 1, n - k)` and `beta.ppf(.05, k, n - k + 1)`.
    #[test]
    fn bounds_are_scipys() {
        assert!((upper_share(0, 299, 0.95) - 0.009_969_146_792_9).abs() < 1e-7);
        assert!((upper_share(2, 500, 0.95) - 0.012_537_605_409_7).abs() < 1e-7);
        assert!((lower_share(12, 500, 0.95) - 0.013_905_389_328_7).abs() < 1e-7);
    }

    /// 299 is the textbook's number: 0.99^299 < 0.05 ≤ 0.99^298.
    #[test]
    fn a_p99_needs_299_requests() {
        assert_eq!(promise(0, 298, 0.01, 0.95), Promise::Open { more: 1 });
        assert_eq!(promise(0, 299, 0.01, 0.95), Promise::Kept);
        assert_eq!(promise(0, 0, 0.01, 0.95), Promise::Open { more: 299 });
        assert_eq!(promise(12, 500, 0.01, 0.95), Promise::Broken);
    }
}
