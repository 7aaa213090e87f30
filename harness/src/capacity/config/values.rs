//! Single values of a configuration, each with its mistakes told at its place.

use serde_json::Value;

use super::Reader;

impl Reader<'_> {
    pub(super) fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.base)
    }

    /// The first of `keys` that is there; its absence is a mistake.
    pub(super) fn count(&mut self, keys: &[&str], most: u64) -> Option<u64> {
        let is_there = |key: &&&str| {
            let place = self.place(key);
            self.document.get(&place).is_some_and(|value| !value.is_null())
        };
        let Some(key) = keys.iter().find(is_there) else {
            let lacks = self.document.lacks(self.base, keys[0]);
            self.problems
                .push(lacks.help(format!("add `{}` from the model's own configuration", keys[0])));
            return None;
        };
        self.number(key, 1, most)
    }

    pub(super) fn optional(&mut self, key: &str, most: u64) -> Option<u64> {
        self.number(key, 1, most)
    }

    pub(super) fn zero_or_more(&mut self, key: &str, most: u64) -> Option<u64> {
        self.number(key, 0, most)
    }

    /// A whole number within its bounds; `None` where there is none, or a mistake was told.
    pub(super) fn number(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let place = self.place(key);
        let value = self.document.get(&place).filter(|value| !value.is_null())?;
        let message = match whole(value) {
            Some(number) if (least..=most).contains(&number) => return Some(number),
            Some(number) if number < least => format!("`{key}` is {number}: a model has at least {least}"),
            Some(number) => format!("`{key}` is {number}, more than the {most} that any model has"),
            None => format!("`{key}`: expected a whole number, found {}", described(value)),
        };
        self.problems.push(self.document.wrong(&place, message));
        None
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let places = [self.place(key), format!("/{key}")];
        let place = places
            .iter()
            .find(|place| self.document.get(place).is_some_and(|value| !value.is_null()))?;
        let value = self.document.get(place)?;
        if value.as_bool().is_none() {
            let message = format!("`{key}`: expected true or false, found {}", described(value));
            let problem = self.document.wrong(place, message);
            // The same key is asked for more than once.
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        value.as_bool()
    }
}

/// The number that a value is: `4096`, or `4096.0` as some tools write it.
fn whole(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let number = value
        .as_f64()
        .filter(|number| number.fract() == 0.0 && *number >= 0.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and not negative; a larger one saturates and is refused"
    )]
    Some(number as u64)
}

pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            format!("the text `{}`", short.replace(char::is_control, " "))
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
