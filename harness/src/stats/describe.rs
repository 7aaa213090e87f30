//! Descriptions of samples: mean and percentiles.

use crate::record::Distribution;

/// Arithmetic mean; `None` for no samples.
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// Percentile `p` (0 to 100) of ascending samples, by linear interpolation between the two nearest ranks: numpy's
/// default, Hyndman and Fan's type 7. `None` for no samples.
pub fn percentile(ascending: &[f64], p: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let rank = (p / 100.0).clamp(0.0, 1.0) * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ rank ≤ last"
    )]
    let below = (rank.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let low = *ascending.get(below)?;
    let high = *ascending.get(above)?;
    Some(low + (high - low) * (rank - below as f64))
}

/// Describes durations in seconds; `None` for no samples.
pub fn describe(mut samples: Vec<f64>) -> Option<Distribution> {
    samples.sort_by(f64::total_cmp);
    Some(Distribution {
        samples: samples.len() as u64,
        mean_s: mean(&samples)?,
        min_s: *samples.first()?,
        max_s: *samples.last()?,
        p50_s: percentile(&samples, 50.0)?,
        p95_s: percentile(&samples, 95.0)?,
        p99_s: percentile(&samples, 99.0)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `numpy.percentile([2.368, 3.272, 3.647, 3.797], [50, 95, 99])` of numpy 2.1.
    #[test]
    fn agrees_with_numpy() {
        let found = describe(vec![3.647, 2.368, 3.797, 3.272]).unwrap();
        assert_eq!(found.samples, 4);
        for (ours, numpy) in [
            (found.mean_s, 3.271),
            (found.p50_s, 3.4595),
            (found.p95_s, 3.7745),
            (found.p99_s, 3.7925),
            (found.min_s, 2.368),
            (found.max_s, 3.797),
        ] {
            assert!((ours - numpy).abs() < 1e-12, "{ours} {numpy}");
        }
    }

    #[test]
    fn nothing_has_no_description() {
        assert_eq!(describe(Vec::new()), None);
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
    }

    proptest! {
        #[test]
        fn percentiles_are_ordered_and_inside(samples in prop::collection::vec(0.0f64..1e6, 1..50)) {
            let d = describe(samples).unwrap();
            prop_assert!(d.min_s <= d.p50_s && d.p50_s <= d.p95_s && d.p95_s <= d.p99_s && d.p99_s <= d.max_s);
            prop_assert!(d.min_s <= d.mean_s + 1e-9 && d.mean_s <= d.max_s + 1e-9);
        }
    }
}
