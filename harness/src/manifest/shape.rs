//! The shape of a file against its JSON schema, with errors in plain words at their place.

use std::{collections::BTreeSet, sync::Arc};

use jsonschema::{ValidationError, error::ValidationErrorKind as Fault};
use serde_json::{Map, Value};

use super::{
    Quantity,
    diagnostics::{Diagnostic, Label, SourceFile},
    schema::Compiled,
    tree::Node,
    wording::{listed, nearest, quoted, suggestion},
};

/// What is wrong with the shape of a file.
pub(super) struct Found {
    pub(super) problems: Vec<Diagnostic>,
    /// Unknown keys: the map, then the key.
    unknown: Vec<(String, String)>,
}

impl Found {
    /// Takes the unknown keys out of `value`, so that the rest of a map can still be read; says out of which maps.
    pub(super) fn remove_unknown(&self, value: &mut Value) -> BTreeSet<String> {
        for (map, key) in &self.unknown {
            if let Some(object) = value.pointer_mut(map).and_then(Value::as_object_mut) {
                object.remove(key);
            }
        }
        self.unknown.iter().map(|(map, _)| map.clone()).collect()
    }
}

/// Finds every mistake of shape in `value`, which stands in `source` as `root` says.
pub(super) fn check(compiled: &Compiled, source: &Arc<SourceFile>, root: &Node, value: &Value) -> Found {
    let errors: Vec<ValidationError<'_>> = compiled.validator.iter_errors(value).collect();
    let mut shape = Shape {
        schema: &compiled.schema,
        source,
        root,
        meant: BTreeSet::new(),
    };
    let mut unknown = Vec::new();
    for error in &errors {
        if let Fault::AdditionalProperties { unexpected } = error.kind() {
            let map = error.instance_path().as_str();
            let allowed = shape.allowed(error);
            let meant = unexpected.iter().filter_map(|key| nearest(key, &allowed));
            shape
                .meant
                .extend(meant.map(|name| (map.to_owned(), name.to_owned())));
            unknown.extend(unexpected.iter().map(|key| (map.to_owned(), key.clone())));
        }
    }
    let problems = errors.iter().flat_map(|error| shape.explain(error)).collect();
    Found { problems, unknown }
}

struct Shape<'a> {
    schema: &'a Value,
    source: &'a Arc<SourceFile>,
    root: &'a Node,
    /// Keys (map and name) that a misspelt key was probably meant to be. Their absence is the same mistake.
    meant: BTreeSet<(String, String)>,
}

impl<'a> Shape<'a> {
    fn explain(&self, error: &ValidationError<'_>) -> Vec<Diagnostic> {
        let pointer = error.instance_path().as_str();
        match error.kind() {
            Fault::AdditionalProperties { unexpected } => {
                let allowed = self.allowed(error);
                let one = |key: &String| self.unknown_key(pointer, key, &allowed);
                unexpected.iter().map(one).collect()
            }
            Fault::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let misspelt = self.meant.contains(&(pointer.to_owned(), name.to_owned()));
                if misspelt {
                    Vec::new()
                } else {
                    vec![self.missing_key(error, name)]
                }
            }
            _ => vec![self.wrong_value(error)],
        }
    }

    fn unknown_key(&self, map: &str, key: &str, allowed: &[&str]) -> Diagnostic {
        let pointer = format!("{map}/{}", key.replace('~', "~0").replace('/', "~1"));
        Diagnostic::error(format!("unknown key {}", quoted(key)))
            .at(self.label(self.root.find(&pointer).handle), "")
            .help(suggestion(key, allowed))
    }

    fn missing_key(&self, error: &ValidationError<'_>, name: &str) -> Diagnostic {
        let map = error.instance_path().as_str();
        let of = match map.rsplit('/').next() {
            None | Some("") => "the file".to_owned(),
            Some(index) if index.parse::<usize>().is_ok() => "this element".to_owned(),
            Some(key) => quoted(key),
        };
        let diagnostic = Diagnostic::error(format!("{of} lacks the key {}", quoted(name)))
            .at(self.label(self.root.find(map).handle), "");
        let property = self
            .around(error)
            .and_then(|schema| schema.get("properties")?.get(name));
        match property.and_then(|property| self.description(property)) {
            Some(description) => diagnostic.help(format!("add `{name}`: {description}")),
            None => diagnostic.help(format!("add `{name}`")),
        }
    }

    fn wrong_value(&self, error: &ValidationError<'_>) -> Diagnostic {
        let schema = self.around(error);
        let found = described(error.instance());
        let is_quantity =
            schema.and_then(|schema| schema.get("pattern")?.as_str()) == Some(Quantity::PATTERN);
        let (message, help) = match error.kind() {
            Fault::Type { .. } | Fault::Pattern { .. } if is_quantity => quantity(error.instance()),
            Fault::Type { .. } => {
                let expected = schema
                    .and_then(|schema| schema.get("type")?.as_str())
                    .unwrap_or("another type");
                (
                    format!("expected {}, found {found}", noun(expected)),
                    type_help(expected, error.instance()),
                )
            }
            Fault::OneOfNotValid { .. } => one_of(schema, error.instance()),
            Fault::Pattern { pattern } => (
                format!("{found} does not have the right form"),
                Some(form(pattern)),
            ),
            Fault::Minimum { limit } => (format!("{found} is less than {limit}, the least allowed"), None),
            Fault::Maximum { limit } => (format!("{found} is more than {limit}, the most allowed"), None),
            Fault::MinItems { limit } => (format!("the list needs at least {limit} element"), None),
            _ => (error.masked_with("this value").to_string(), None),
        };
        let place = self.label(self.root.find(error.instance_path().as_str()).value());
        let diagnostic = Diagnostic::error(message).at(place, "");
        let description = || {
            schema
                .and_then(|schema| self.description(schema))
                .map(str::to_owned)
        };
        match help.or_else(description) {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }

    /// The keys that the map of `error` may have.
    fn allowed(&self, error: &ValidationError<'_>) -> Vec<&'a str> {
        let properties = self
            .around(error)
            .and_then(|schema| schema.get("properties")?.as_object());
        properties
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect()
    }

    /// The schema object whose keyword refused.
    fn around(&self, error: &ValidationError<'_>) -> Option<&'a Value> {
        let (object, _keyword) = error.schema_path().as_str().rsplit_once('/')?;
        self.schema.pointer(object)
    }

    /// What a schema object says of itself, or what the type that it refers to says.
    fn description(&self, schema: &'a Value) -> Option<&'a str> {
        let own = schema.get("description").and_then(Value::as_str);
        own.or_else(|| {
            let target = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
            self.schema.pointer(target)?.get("description")?.as_str()
        })
    }

    fn label(&self, range: std::ops::Range<usize>) -> Label {
        Label {
            range,
            ..Label::whole(self.source)
        }
    }
}

/// What stands in the file, in words.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn noun(schema_type: &str) -> &'static str {
    match schema_type {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a map",
        _ => "another type",
    }
}

fn type_help(expected: &str, found: &Value) -> Option<String> {
    match (expected, found) {
        (_, Value::Null) => Some("write a value, or remove the key".to_owned()),
        ("string", Value::Number(_) | Value::Bool(_)) => Some(format!("put it in quotes: \"{found}\"")),
        ("integer" | "number" | "boolean", Value::String(text)) if text.parse::<f64>().is_ok() => {
            Some(format!("remove the quotes: {text}"))
        }
        ("array", Value::String(_) | Value::Number(_) | Value::Object(_)) => {
            Some("begin each element with `- `, or write `[…]`".to_owned())
        }
        _ => None,
    }
}

/// What is wrong with a figure, by the very parser that will read it.
fn quantity(found: &Value) -> (String, Option<String>) {
    let written = match found {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => {
            return (
                format!("expected a figure with its unit, found {}", described(other)),
                None,
            );
        }
    };
    match written.parse::<Quantity>() {
        Err(error) => {
            let text = error.to_string();
            match text.split_once(": ") {
                Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
                None => (text, None),
            }
        }
        Ok(_) => (
            format!("expected a figure with its unit, found {}", described(found)),
            None,
        ),
    }
}

/// A word that is none of those allowed.
fn one_of(schema: Option<&Value>, found: &Value) -> (String, Option<String>) {
    let branches = schema.and_then(|schema| schema.get("oneOf")?.as_array());
    let words: Vec<&str> = branches
        .into_iter()
        .flatten()
        .filter_map(|branch| branch.get("const")?.as_str())
        .collect();
    let help = match found {
        Value::String(text) => suggestion(text, &words),
        _ => format!("write {}", listed(&words)),
    };
    (format!("{} is not allowed here", described(found)), Some(help))
}

/// A pattern in words.
fn form(pattern: &str) -> String {
    match pattern {
        r"^[a-z][a-z0-9_]*$" => "use lower-case letters, digits and `_`, beginning with a letter".to_owned(),
        r"^\d{4}-\d{2}-\d{2}$" => "write a date as `YYYY-MM-DD`".to_owned(),
        r"^\d+\.\d+\.\d+$" => "write a version of three numbers, such as `0.8.5`".to_owned(),
        r"^[A-Z]$" => "write one capital letter".to_owned(),
        r"^[A-Z]{2,26}$" => "write the letters offered without spaces, such as `ABCD`".to_owned(),
        other => format!("it must match `{other}`"),
    }
}
