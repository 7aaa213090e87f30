//! Judgement: measurements and budgets go in, verdicts with findings come out. Pure; nothing here waits or measures.

pub mod correctness;
pub mod drift;
pub mod graders;
pub mod grades;
mod memory;
mod performance;
mod prediction;
pub mod recordings;

use crate::{
    manifest::{Limit, Quantity, Unit},
    record::{Check, Verdict},
};

pub use memory::memory;
pub use performance::{Judgement, latency, throughput};
pub use prediction::{activation, prediction};

/// Holds one figure, in `unit`, against its limit. Without a limit there is nothing to hold it against
/// (`unrecorded`); without a figure there is no evidence (`inconclusive`).
pub fn check(metric: &str, measured: Option<f64>, unit: Unit, limit: Option<&Limit>) -> Check {
    let verdict = match (measured.filter(|figure| figure.is_finite()), limit) {
        (_, None) => Verdict::Unrecorded,
        (None, Some(_)) => Verdict::Inconclusive,
        (Some(figure), Some(limit)) if within(figure, limit) => Verdict::Passed,
        (Some(_), Some(_)) => Verdict::Failed,
    };
    Check {
        metric: metric.to_owned(),
        measured,
        budget: limit.cloned(),
        unit,
        verdict,
    }
}

fn within(figure: f64, limit: &Limit) -> bool {
    let base = Quantity::in_base_unit;
    limit.min.map(base).is_none_or(|min| figure >= min) && limit.max.map(base).is_none_or(|max| figure <= max)
}

/// Sentence on a check that did not pass.
fn explain(check: &Check) -> String {
    let Check {
        metric, unit, budget, ..
    } = check;
    let Some(measured) = check.measured else {
        return format!("{metric} was not measured");
    };
    let Some(limit) = budget else {
        return format!("{metric} is {measured:.3} {unit}; no budget to hold it against");
    };
    let bound = match (limit.min, limit.max) {
        (Some(min), _) if measured < min.in_base_unit() => format!("below the least allowed {min}"),
        (_, Some(max)) => format!("above the most allowed {max}"),
        _ => "outside its budget".to_owned(),
    };
    format!(
        "{metric} is {measured:.3} {unit}, {bound} ({})",
        limit.because.trim()
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::Source;

    pub(crate) fn limit(min: Option<&str>, max: Option<&str>) -> Limit {
        Limit {
            min: min.map(|text| text.parse().unwrap()),
            max: max.map(|text| text.parse().unwrap()),
            source: Source::Measured,
            because: "measured once".into(),
        }
    }

    #[test]
    fn limits_are_inclusive_and_in_any_unit() {
        let verdict =
            |measured, limit: &Limit| check("x", Some(measured), Unit::Seconds, Some(limit)).verdict;
        assert_eq!(verdict(0.5, &limit(None, Some("500 ms"))), Verdict::Passed);
        assert_eq!(verdict(0.500_1, &limit(None, Some("500 ms"))), Verdict::Failed);
        assert_eq!(verdict(1.0, &limit(Some("1 s"), Some("2 s"))), Verdict::Passed);
        assert_eq!(verdict(0.9, &limit(Some("1 s"), Some("2 s"))), Verdict::Failed);
    }

    #[test]
    fn without_evidence_nothing_passes() {
        let budget = limit(Some("1 s"), None);
        assert_eq!(
            check("x", None, Unit::Seconds, Some(&budget)).verdict,
            Verdict::Inconclusive
        );
        assert_eq!(
            check("x", Some(f64::NAN), Unit::Seconds, Some(&budget)).verdict,
            Verdict::Inconclusive
        );
        assert_eq!(
            check("x", Some(1.0), Unit::Seconds, None).verdict,
            Verdict::Unrecorded
        );
    }

    #[test]
    fn a_broken_limit_is_said_with_its_source() {
        let check = check(
            "mean",
            Some(4.0),
            Unit::Seconds,
            Some(&limit(None, Some("3500 ms"))),
        );
        assert_eq!(
            explain(&check),
            "mean is 4.000 s, above the most allowed 3500 ms (measured once)"
        );
    }
}
