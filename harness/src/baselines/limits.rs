//! The limits that a manifest or a file of cases sets, read leniently: history holds files that today's harness would
//! refuse. A limit is a figure whose key says which way is stricter (`min`, `max`, `min_…`, `…_max`, `tolerance`) in a
//! section that judges (`budgets`, `correctness`, a `grade`); a waiver is one too, since it lets a failure pass.

use std::collections::BTreeMap;

use serde_yaml::Value;

use crate::manifest::{Dimension, Quantity};

/// Deepest nesting that is followed; manifests have eight.
const DEEPEST: usize = 32;

/// The limits of a file, by place.
pub type Limits = BTreeMap<String, Limit>;

/// A limit and why it is what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Which way is stricter.
    pub kind: Kind,
    /// The limit as written.
    pub text: String,
    /// The text beside it that explains it: `because`, or a waiver's `reason`.
    pub because: Option<String>,
}

/// Which way is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A higher figure.
    AtLeast,
    /// A lower figure.
    AtMost,
    /// An earlier day, or none.
    WaivedUntil,
}

impl Limit {
    /// Whether this limit lets more pass than `before`. Figures that cannot be compared count as lowered: somebody has
    /// to look.
    pub fn is_weaker_than(&self, before: &Self) -> bool {
        if self.text == before.text && self.kind == before.kind {
            return false;
        }
        if self.kind == Kind::WaivedUntil {
            // ISO days sort as text.
            return self.text > before.text;
        }
        match (figure(&self.text), figure(&before.text)) {
            (Some((now, of)), Some((then, was))) if of == was && self.kind == before.kind => {
                match self.kind {
                    Kind::AtLeast => now < then,
                    Kind::AtMost | Kind::WaivedUntil => now > then,
                }
            }
            _ => true,
        }
    }
}

/// The figure in its base unit and what it counts.
fn figure(text: &str) -> Option<(f64, Option<Dimension>)> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some((number, None));
    }
    let quantity: Quantity = text.parse().ok()?;
    Some((quantity.in_base_unit(), Some(quantity.unit().dimension())))
}

/// The limits of a file; the error says why it is no YAML.
pub fn limits(file: &str) -> Result<Limits, serde_yaml::Error> {
    let root: Value = serde_yaml::from_str(file)?;
    let mut limits = Limits::new();
    for section in ["budgets", "correctness"] {
        if let Some(value) = root.get(section) {
            judged(value, section, None, &mut limits, 0);
        }
    }
    if let Some(cases) = root.get("cases") {
        grades(cases, "cases", &mut limits, 0);
    }
    if let Some(Value::Sequence(waivers)) = root.get("waivers") {
        for waiver in waivers {
            waived(waiver, &mut limits);
        }
    }
    Ok(limits)
}

/// Limits of a section that judges.
fn judged(value: &Value, place: &str, because: Option<&str>, limits: &mut Limits, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Mapping(mapping) => {
            let because = text_of(value, "because").or(because);
            for (key, value) in mapping {
                let Some(key) = key.as_str() else { continue };
                let place = format!("{place}.{key}");
                match (kind_of(key), scalar(value)) {
                    (Some(kind), Some(text)) => {
                        let because = because.map(str::to_owned);
                        limits.insert(place, Limit { kind, text, because });
                    }
                    _ => judged(value, &place, because, limits, depth + 1),
                }
            }
        }
        Value::Sequence(values) => {
            for (at, value) in values.iter().enumerate() {
                judged(value, &named(place, at, value), because, limits, depth + 1);
            }
        }
        _ => {}
    }
}

/// The limits within each `grade`, wherever it stands.
fn grades(value: &Value, place: &str, limits: &mut Limits, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let Some(key) = key.as_str() else { continue };
                let place = format!("{place}.{key}");
                if key == "grade" {
                    judged(value, &place, None, limits, depth + 1);
                } else {
                    grades(value, &place, limits, depth + 1);
                }
            }
        }
        Value::Sequence(values) => {
            for (at, value) in values.iter().enumerate() {
                grades(value, &named(place, at, value), limits, depth + 1);
            }
        }
        _ => {}
    }
}

fn waived(waiver: &Value, limits: &mut Limits) {
    let trial = text_of(waiver, "trial").unwrap_or("?");
    let stack = text_of(waiver, "stack").map_or_else(String::new, |stack| format!(" on {stack}"));
    let until = waiver.get("until").and_then(scalar).unwrap_or_default();
    let limit = Limit {
        kind: Kind::WaivedUntil,
        text: until,
        because: text_of(waiver, "reason").map(str::to_owned),
    };
    limits.insert(format!("waivers[{trial}{stack}]"), limit);
}

fn kind_of(key: &str) -> Option<Kind> {
    let says = |word: &str| {
        key == word || key.starts_with(&format!("{word}_")) || key.ends_with(&format!("_{word}"))
    };
    if says("min") {
        Some(Kind::AtLeast)
    } else if says("max") || says("tolerance") {
        Some(Kind::AtMost)
    } else {
        None
    }
}

/// An element of a list is known by what it is about, so that reordering changes nothing.
fn named(place: &str, at: usize, value: &Value) -> String {
    let name = ["concurrency", "id", "name", "file"].iter().find_map(|key| {
        value
            .get(*key)
            .and_then(scalar)
            .map(|value| format!("{key} {value}"))
    });
    format!("{place}[{}]", name.unwrap_or_else(|| at.to_string()))
}

fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(kind: Kind, text: &str) -> Limit {
        Limit {
            kind,
            text: text.to_owned(),
            because: None,
        }
    }

    #[test]
    fn weaker_is_what_lets_more_pass() {
        for (kind, before, after, weaker) in [
            (Kind::AtLeast, "36 GiB", "35 GiB", true),
            (Kind::AtLeast, "36 GiB", "36864 MiB", false),
            (Kind::AtMost, "900 ms", "1 s", true),
            (Kind::AtMost, "1 s", "900 ms", false),
            (Kind::AtMost, "0.5", "0.05", false),
            (Kind::AtMost, "0.05", "0.5", true),
            (Kind::AtMost, "1 s", "soon", true),
            (Kind::AtMost, "1 s", "1 GiB", true),
            (Kind::WaivedUntil, "2026-12-31", "2027-01-01", true),
            (Kind::WaivedUntil, "2026-12-31", "2026-11-30", false),
        ] {
            let (before, after) = (limit(kind, before), limit(kind, after));
            assert_eq!(after.is_weaker_than(&before), weaker, "{before:?} {after:?}");
        }
    }

    #[test]
    fn limits_are_found_by_place_and_settings_are_not_limits() {
        let found = limits(
            "serve: { max_model_len: 8192, max_num_seqs: 16 }\n\
             correctness: { goldens: every_case, drift: { min_top1: 0.992, because: floor } }\n\
             cases:\n  own:\n  - { id: sum, max_tokens: 32, grade: { number: { value: 7, tolerance: 0.5 } } }\n\
             budgets:\n  c500:\n    memory:\n      weights: { max: 13.6 GiB, source: measured, because: seen }\n\
             \x20   throughput:\n    - { concurrency: 2, output: { min: 111 tokens/s, because: seen too } }\n\
             waivers:\n- { trial: 'memory::weights', stack: s, reason: known, until: 2026-12-31 }\n",
        )
        .unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|(place, limit)| format!("{place} {:?} {} {:?}", limit.kind, limit.text, limit.because))
            .collect();
        assert_eq!(
            shown,
            [
                "budgets.c500.memory.weights.max AtMost 13.6 GiB Some(\"seen\")",
                "budgets.c500.throughput[concurrency 2].output.min AtLeast 111 tokens/s Some(\"seen too\")",
                "cases.own[id sum].grade.number.tolerance AtMost 0.5 None",
                "correctness.drift.min_top1 AtLeast 0.992 Some(\"floor\")",
                "waivers[memory::weights on s] WaivedUntil 2026-12-31 Some(\"known\")",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text in "\\PC*|(budgets:\n( +[a-z]{1,4}: ?[0-9a-z\\[\\{]*\n)*)") {
            let _ = limits(&text);
        }
    }
}
