//! JSON objects whose keys stand in a chosen order, written straight into text.
//!
//! A server's answers have their keys in the order of its models; `serde_json::Map` would sort them, and a
//! stream of tokens should not build a tree for each event.

use serde::Serialize;

/// An object that is being written.
#[derive(Debug)]
#[must_use]
pub struct Object {
    text: String,
    empty: bool,
}

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

impl Object {
    /// An object without fields.
    pub fn new() -> Self {
        Self {
            text: "{".to_owned(),
            empty: true,
        }
    }

    fn key(&mut self, name: &str) {
        if !self.empty {
            self.text.push(',');
        }
        self.empty = false;
        self.text.push_str(&quoted(name));
        self.text.push(':');
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl Serialize) -> Self {
        self.key(name);
        // Values are texts, numbers, booleans, options and lists of these: they always serialize.
        self.text
            .push_str(&serde_json::to_string(&value).unwrap_or_else(|_| "null".to_owned()));
        self
    }

    /// Adds a field whose value is JSON already.
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        self.key(name);
        self.text.push_str(json);
        self
    }

    /// Adds a field that is `null`.
    pub fn null(self, name: &str) -> Self {
        self.raw(name, "null")
    }

    /// Adds fields if a condition holds.
    pub fn when(self, condition: bool, add: impl FnOnce(Self) -> Self) -> Self {
        if condition { add(self) } else { self }
    }

    /// The text.
    pub fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A JSON list of values that are JSON already.
pub fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = "[".to_owned();
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(item.as_ref());
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order() {
        let object = Object::new()
            .field("b", 1)
            .null("a")
            .when(false, |object| object.null("c"));
        assert_eq!(
            object.raw("d", &list(["1", "\"x\""])).end(),
            r#"{"b":1,"a":null,"d":[1,"x"]}"#
        );
        assert_eq!(Object::new().end(), "{}");
    }
}
