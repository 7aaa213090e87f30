//! Conditions under which a fault of the boot goes away: what a server is started with cures it.
//!
//! Written `flag`, `flag<=number`, `flag>=number` or `flag==text`, with the flag's Python name (`max_num_seqs<=64`). A
//! name in capitals is a variable of the environment (`MACA_PATH`). A flag that is not given meets no condition.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::args::Value;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Until {
    name: String,
    bound: Bound,
}

#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Given,
    AtMost(f64),
    AtLeast(f64),
    Equal(String),
}

impl FromStr for Until {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| {
            text.parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .ok_or(())
        };
        let (name, bound) = if let Some((name, value)) = text.split_once("<=") {
            (name, Bound::AtMost(number(value)?))
        } else if let Some((name, value)) = text.split_once(">=") {
            (name, Bound::AtLeast(number(value)?))
        } else if let Some((name, value)) = text.split_once("==") {
            (name, Bound::Equal(value.to_owned()))
        } else {
            (text, Bound::Given)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(());
        }
        Ok(Self {
            name: name.to_owned(),
            bound,
        })
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.bound {
            Bound::Given => f.write_str(name),
            Bound::AtMost(number) => write!(f, "{name}<={number}"),
            Bound::AtLeast(number) => write!(f, "{name}>={number}"),
            Bound::Equal(text) => write!(f, "{name}=={text}"),
        }
    }
}

impl Until {
    /// Whether a server that is started with these flags, in this environment, meets it.
    pub fn is_met(&self, given: &BTreeMap<String, Value>, variable: impl Fn(&str) -> Option<String>) -> bool {
        let is_variable = !self.name.chars().any(|c| c.is_ascii_lowercase());
        let value = if is_variable {
            variable(&self.name).map(Value::Text)
        } else {
            given.get(&self.name).cloned()
        };
        let Some(value) = value else { return false };
        match &self.bound {
            Bound::Given => value != Value::Switch(false),
            Bound::AtMost(most) => number(&value).is_some_and(|number| number <= *most),
            Bound::AtLeast(least) => number(&value).is_some_and(|number| number >= *least),
            Bound::Equal(text) => matches!(&value, Value::Text(value) if value == text),
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        Value::Switch(_) | Value::List(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_held_against_flags_and_variables() {
        let given = BTreeMap::from([
            ("max_num_seqs".to_owned(), Value::Int(64)),
            ("gpu_memory_utilization".to_owned(), Value::Float(0.8)),
            ("enforce_eager".to_owned(), Value::Switch(true)),
            ("trust_remote_code".to_owned(), Value::Switch(false)),
            ("dtype".to_owned(), Value::Text("float16".to_owned())),
        ]);
        let variable = |name: &str| (name == "MACA_PATH").then(|| "/opt/maca".to_owned());
        let met = |text: &str| text.parse::<Until>().unwrap().is_met(&given, variable);
        for text in [
            "max_num_seqs<=64",
            "max_num_seqs",
            "gpu_memory_utilization<=0.8",
            "max_num_seqs>=64",
            "enforce_eager",
            "dtype==float16",
            "MACA_PATH",
            "MACA_PATH==/opt/maca",
        ] {
            assert!(met(text), "{text}");
            assert_eq!(text.parse::<Until>().unwrap().to_string(), text);
        }
        for text in [
            "max_num_seqs<=63",
            "max_num_seqs>=65",
            "trust_remote_code",
            "max_model_len<=9",
            "dtype==bfloat16",
            "MACA",
            "enforce_eager>=1",
        ] {
            assert!(!met(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", "<=3", "max_num_seqs<=many", "a b", "max-num-seqs", "x>=nan"] {
            assert!(text.parse::<Until>().is_err(), "{text}");
        }
    }
}
