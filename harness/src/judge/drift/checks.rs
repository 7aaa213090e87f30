//! Each figure that decides beside its threshold, in the shape of every other check, so that tables and JUnit show it.

use super::{
    FLOOR_MULTIPLE,
    stand::{Stand, Stands},
};
use crate::{
    manifest::{Limit, Quantity, Source, Unit},
    record::{Check, DriftFigures, ThresholdSource, Verdict},
};

/// The checks of a suite.
pub fn checks(figures: &DriftFigures, stands: &Stands) -> Vec<Check> {
    let threshold = &figures.threshold;
    let because = match threshold.source {
        ThresholdSource::Floor => {
            format!("{FLOOR_MULTIPLE} times what the recording stack strays from itself")
        }
        ThresholdSource::Proposal => "the general proposal, as no floor is recorded".to_owned(),
    };
    let check = |metric: &str, measured: f64, unit, [min, max]: [Option<f64>; 2], stand| {
        let bound = |bound: f64| Quantity::new(rounded(bound), unit);
        let budget = Limit {
            min: min.map(bound),
            max: max.map(bound),
            source: Source::Derived,
            because: because.clone(),
        };
        let (verdict, judged) = match stand {
            Stand::Within => (Verdict::Passed, true),
            Stand::Beyond => (Verdict::Failed, true),
            Stand::Undecided { .. } => (Verdict::Inconclusive, true),
            Stand::TooFew { .. } => (Verdict::Unrecorded, false),
        };
        Check {
            metric: metric.to_owned(),
            measured: Some(measured),
            budget: judged.then_some(budget),
            unit,
            verdict,
        }
    };
    vec![
        check(
            "mean_kld",
            figures.mean_kld_nat.value,
            Unit::Nat,
            [None, Some(threshold.max_mean_kld_nat)],
            stands.kld,
        ),
        check(
            "top1",
            100.0 * figures.top1.value,
            Unit::Percent,
            [Some(100.0 * threshold.min_top1), None],
            stands.top1,
        ),
        check(
            "p999_kld",
            figures.p999_kld_nat.value,
            Unit::Nat,
            [None, Some(threshold.max_p999_kld_nat)],
            stands.tail,
        ),
    ]
}

/// Four digits: thresholds made of a floor have more than anybody reads. The verdict rests on the whole number.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
