//! Figures as people read them: with their unit, in steady precision, and never rounded across the limit that they
//! broke.

use crate::{
    manifest::{Limit, Quantity, Source, Unit},
    record::{Check, DriftFigures, Estimate},
};

/// Most decimals that are shown to tell a figure from its limit.
const MAX_DECIMALS: usize = 9;

/// A figure with its unit; times below a second in milliseconds.
pub fn with_unit(value: f64, unit: Unit) -> String {
    if unit == Unit::Seconds && value.abs() < 1.0 && value != 0.0 {
        return with_unit(value * 1e3, Unit::Milliseconds);
    }
    written(value, unit, decimals(value, unit))
}

/// A measured time, in seconds.
pub fn time(seconds: f64) -> String {
    with_unit(seconds, Unit::Seconds)
}

/// The rows of a table of drift: figure, measured, 90 % interval, allowed, recorded floor; a dash where there is none.
pub fn drift_rows(figures: &DriftFigures) -> Vec<[String; 5]> {
    let (threshold, floor) = (&figures.threshold, figures.floor.as_ref());
    let percent = |share: f64| with_unit(100.0 * share, Unit::Percent);
    let nat = |value: f64| with_unit(value, Unit::Nat);
    let dash = || "–".to_owned();
    let row = |name: &str, estimate: &Estimate, show: &dyn Fn(f64) -> String, rest: [Option<String>; 2]| {
        let interval = match (estimate.low, estimate.high) {
            (Some(low), Some(high)) => format!("{} to {}", show(low), show(high)),
            _ => dash(),
        };
        let [allowed, floor] = rest.map(|cell| cell.unwrap_or_else(dash));
        [name.to_owned(), show(estimate.value), interval, allowed, floor]
    };
    let most = |name: &str, value: f64| [name.to_owned(), nat(value), dash(), dash(), dash()];
    vec![
        row(
            "Golden's token is the likeliest",
            &figures.top1,
            &percent,
            [
                Some(format!("≥ {}", percent(threshold.min_top1))),
                floor.map(|floor| percent(floor.top1)),
            ],
        ),
        row(
            "Mean KLD",
            &figures.mean_kld_nat,
            &nat,
            [
                Some(format!("≤ {}", nat(threshold.max_mean_kld_nat))),
                floor.map(|floor| nat(floor.mean_kld_nat)),
            ],
        ),
        row(
            "KLD that 1 position in 1,000 exceeds",
            &figures.p999_kld_nat,
            &nat,
            [
                Some(format!("≤ {}", nat(threshold.max_p999_kld_nat))),
                floor.map(|floor| format!("{} at most", nat(floor.max_kld_nat))),
            ],
        ),
        row(
            "Mean change of the token's logprob",
            &figures.mean_delta_nat,
            &nat,
            [None, floor.map(|floor| nat(floor.mean_delta_nat))],
        ),
        most("Largest change of the token's logprob", figures.max_delta_nat),
        most("Largest lead of another token", figures.max_margin_nat),
    ]
}

/// How long something took, for people who plan their day: `0.4 s`, `12.3 s`, `4 min 05 s`, `1 h 20 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round();
    let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
    if minutes < 60.0 {
        return format!("{minutes} min {rest:02} s");
    }
    format!("{} h {:02} min", (minutes / 60.0).floor(), minutes % 60.0)
}

/// A count with its thousands set apart.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// What was measured, in the unit of its limit; `None` where nothing was.
pub fn measured(check: &Check) -> Option<String> {
    let value = check.measured?;
    let Some(limit) = &check.budget else {
        return Some(with_unit(value, check.unit));
    };
    let Some(unit) = limit
        .max
        .or(limit.min)
        .map(Quantity::unit)
        .filter(|unit| comparable(*unit, check.unit))
    else {
        return Some(with_unit(value, check.unit));
    };
    let value = convert(value, check.unit, unit);
    let bounds =
        [limit.min, limit.max].map(|bound| bound.map(|bound| convert(bound.value(), bound.unit(), unit)));
    let places = (decimals(value, unit)..=MAX_DECIMALS)
        .find(|places| side(rounded(value, *places), bounds) == side(value, bounds))
        .unwrap_or(MAX_DECIMALS);
    Some(written(value, unit, places))
}

/// The limit: `≤ 3.9 s`, `≥ 60 tokens/s`, `18,000 to 19,000 blocks`.
pub fn limit(limit: &Limit) -> String {
    match (limit.min, limit.max) {
        (Some(min), Some(max)) if min.unit() == max.unit() => {
            format!("{} to {}", plain(min.value()), quantity(max))
        }
        (Some(min), Some(max)) => format!("{} to {}", quantity(min), quantity(max)),
        (Some(min), None) => format!("≥ {}", quantity(min)),
        (None, Some(max)) => format!("≤ {}", quantity(max)),
        (None, None) => "none".to_owned(),
    }
}

/// A figure and its limit in words: `kv_cache: 36.4 GiB, budget ≥ 36.51 GiB`.
pub fn comparison(check: &Check) -> String {
    let measured = measured(check).unwrap_or_else(|| "not measured".to_owned());
    let budget = check
        .budget
        .as_ref()
        .map(|budget| format!(", budget {}", limit(budget)));
    format!("{}: {measured}{}", check.metric, budget.unwrap_or_default())
}

/// The same with the limit's origin: `… (measured: the report of 2025)`.
pub fn judgement(check: &Check) -> String {
    let origin = check
        .budget
        .as_ref()
        .map(|budget| format!(" ({}: {})", source(budget.source), budget.because));
    comparison(check) + &origin.unwrap_or_default()
}

/// How a limit came to be, as manifests spell it.
const fn source(source: Source) -> &'static str {
    match source {
        Source::Measured => "measured",
        Source::Derived => "derived",
        Source::Promised => "promised",
    }
}

/// A limit's bound in `unit`, for tools that compare it with what was measured; as written where it is that unit.
pub fn in_unit(bound: Quantity, unit: Unit) -> f64 {
    convert(bound.value(), bound.unit(), unit)
}

/// On which side of the limit a value is: 0 within, −1 below, 1 above.
fn side(value: f64, [min, max]: [Option<f64>; 2]) -> i8 {
    i8::from(max.is_some_and(|max| value > max)) - i8::from(min.is_some_and(|min| value < min))
}

fn convert(value: f64, from: Unit, to: Unit) -> f64 {
    if from == to {
        return value;
    }
    Quantity::new(value, from).in_base_unit() / Quantity::new(1.0, to).in_base_unit()
}

fn comparable(a: Unit, b: Unit) -> bool {
    a.dimension() == b.dimension()
}

fn rounded(value: f64, places: usize) -> f64 {
    format!("{value:.places$}").parse().unwrap_or(value)
}

fn decimals(value: f64, unit: Unit) -> usize {
    match unit {
        Unit::Blocks | Unit::Tokens => 0,
        Unit::Seconds if value.abs() >= 100.0 => 1,
        Unit::Seconds => 3,
        Unit::Milliseconds if value.abs() >= 10.0 => 1,
        Unit::MiB | Unit::Minutes => 1,
        // Two digits that say something, whatever the size.
        Unit::Nat if value != 0.0 => significant(value),
        _ => 2,
    }
}

/// Decimals that show two digits behind the leading zeros.
fn significant(value: f64) -> usize {
    (2..MAX_DECIMALS)
        .find(|&places| value.abs() * 10_f64.powi(i32::try_from(places).unwrap_or(0)) >= 10.0)
        .unwrap_or(MAX_DECIMALS)
}

fn written(value: f64, unit: Unit, places: usize) -> String {
    let number = grouped(&format!("{value:.places$}"));
    match unit {
        Unit::Times => format!("{number}x"),
        unit => format!("{number} {unit}"),
    }
}

/// A quantity as its author wrote it, with thousands set apart.
fn quantity(quantity: Quantity) -> String {
    match quantity.unit() {
        Unit::Times => format!("{}x", plain(quantity.value())),
        unit => format!("{} {unit}", plain(quantity.value())),
    }
}

fn plain(value: f64) -> String {
    grouped(&value.to_string())
}

/// Sets the thousands of a decimal number apart; texts that are no number (`inf`) stay as they are.
pub fn grouped(number: &str) -> String {
    let digits = number.find('.').unwrap_or(number.len());
    let sign = usize::from(number.starts_with('-'));
    let mut out = String::with_capacity(number.len() + digits / 3);
    for (place, c) in number.char_indices() {
        if place > sign && place < digits && c.is_ascii_digit() && (digits - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Verdict;

    fn check(measured: f64, unit: Unit, min: Option<&str>, max: Option<&str>) -> Check {
        let bound = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let budget = Limit {
            min: bound(min),
            max: bound(max),
            source: Source::Measured,
            because: "a run".to_owned(),
        };
        Check {
            metric: "m".into(),
            measured: Some(measured),
            budget: Some(budget),
            unit,
            verdict: Verdict::Passed,
        }
    }

    #[test]
    fn figures_carry_their_unit() {
        assert_eq!(with_unit(13.5, Unit::GiB), "13.50 GiB");
        assert_eq!(with_unit(18_691.0, Unit::Blocks), "18,691 blocks");
        assert_eq!(with_unit(299_056.0, Unit::Tokens), "299,056 tokens");
        assert_eq!(with_unit(36.507_8, Unit::Times), "36.51x");
        assert_eq!(with_unit(3.271, Unit::Seconds), "3.271 s");
        assert_eq!(with_unit(0.014_82, Unit::Seconds), "14.8 ms");
        assert_eq!(with_unit(0.0, Unit::Seconds), "0.000 s");
        assert_eq!(with_unit(-1234.5, Unit::TokensPerSecond), "-1,234.50 tokens/s");
    }

    #[test]
    fn durations_are_coarse() {
        let shown = [0.04, 12.34, 59.96, 245.0, 4800.0].map(duration);
        assert_eq!(
            shown,
            ["0.0 s", "12.3 s", "1 min 00 s", "4 min 05 s", "1 h 20 min"]
        );
    }

    #[test]
    fn limits_are_as_written() {
        let shown = |min, max| limit(check(1.0, Unit::Blocks, min, max).budget.as_ref().unwrap());
        assert_eq!(shown(None, Some("3.9 s")), "≤ 3.9 s");
        assert_eq!(shown(Some("60 tokens/s"), None), "≥ 60 tokens/s");
        assert_eq!(
            shown(Some("18000 blocks"), Some("19000 blocks")),
            "18,000 to 19,000 blocks"
        );
        assert_eq!(shown(Some("512 MiB"), Some("1 GiB")), "512 MiB to 1 GiB");
        assert_eq!(shown(None, None), "none");
    }

    #[test]
    fn measured_speaks_the_unit_of_its_limit() {
        assert_eq!(
            measured(&check(0.95, Unit::Seconds, None, Some("0.9 s"))).unwrap(),
            "0.950 s"
        );
        assert_eq!(
            measured(&check(0.0148, Unit::Seconds, None, Some("20 ms"))).unwrap(),
            "14.8 ms"
        );
    }

    #[test]
    fn a_broken_limit_never_looks_kept() {
        assert_eq!(
            measured(&check(3.271_04, Unit::Seconds, None, Some("3.271 s"))).unwrap(),
            "3.27104 s"
        );
        assert_eq!(
            measured(&check(3.271, Unit::Seconds, None, Some("3.271 s"))).unwrap(),
            "3.271 s"
        );
    }

    proptest! {
        #[test]
        fn rounding_keeps_the_side_of_the_limit(limit in 0u32..5000, off in -1e-3f64..1e-3) {
            let bound = f64::from(limit) / 1000.0;
            let value = bound + off;
            let check = check(value, Unit::GiB, None, Some(&format!("{bound} GiB")));
            let shown: f64 = measured(&check).unwrap().split(' ').next().unwrap().parse().unwrap();
            prop_assume!(off.abs() > 1e-8);
            prop_assert_eq!(shown > bound, value > bound, "{} against {}", shown, bound);
        }
    }
}
