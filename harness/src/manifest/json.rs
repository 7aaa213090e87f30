//! JSON that others wrote (a model's `config.json`), read with the place of every value, so that a wrong one is shown
//! with its line. What a value means is up to the reader; only syntax is judged here.

use std::{path::Path, sync::Arc};

use serde_json::Value;

use super::{
    diagnostics::{Diagnostic, Diagnostics, Label, SourceFile},
    document::read_text,
    tree::{self, Node},
};

/// Largest file that is read, in bytes. The largest published `config.json` files hold some 100 KB of labels.
const MAX_BYTES: u64 = 4 << 20;

/// A JSON file and where its values stand.
pub struct JsonDocument {
    source: Arc<SourceFile>,
    value: Value,
    /// Absent where the text is JSON but no YAML (a surrogate pair as an escape): places are then unknown.
    root: Option<Node>,
}

impl JsonDocument {
    /// Reads a file; `shown` is its path in messages.
    pub fn read(path: &Path, shown: String) -> Result<Self, Diagnostics> {
        Ok(Self::parse_source(read_text(path, shown, MAX_BYTES)?)?)
    }

    /// Reads a text; `shown` is its name in messages.
    pub fn parse(shown: &str, text: &str) -> Result<Self, Diagnostics> {
        let source = SourceFile {
            path: shown.to_owned(),
            text: text.to_owned(),
        };
        Ok(Self::parse_source(Arc::new(source))?)
    }

    fn parse_source(source: Arc<SourceFile>) -> Result<Self, Box<Diagnostic>> {
        let value =
            serde_json::from_str(&source.text).map_err(|error| Box::new(not_json(&source, &error)))?;
        // JSON is YAML, but for details that only cost the places.
        let root = tree::parse(&source).ok().map(|(root, _)| root);
        Ok(Self { source, value, root })
    }

    /// The value at a JSON pointer.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// An error about the value at `pointer`, or about what would hold it.
    pub fn wrong(&self, pointer: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(self.label(pointer, false), "")
    }

    /// An error about a key that the map at `map` lacks.
    pub fn lacks(&self, map: &str, key: &str) -> Diagnostic {
        let of = map.rsplit('/').next().filter(|name| !name.is_empty());
        let of = of.map_or_else(|| "the file".to_owned(), |name| format!("`{name}`"));
        Diagnostic::error(format!("{of} lacks the key `{key}`")).at(self.label(map, true), "")
    }

    fn label(&self, pointer: &str, handle: bool) -> Label {
        let whole = Label::whole(&self.source);
        let Some(root) = &self.root else { return whole };
        let found = root.find(pointer);
        let range = if handle { found.handle } else { found.value() };
        Label { range, ..whole }
    }
}

fn not_json(source: &Arc<SourceFile>, error: &serde_json::Error) -> Diagnostic {
    let line_start = source
        .text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let start = source
        .text
        .floor_char_boundary(line_start + error.column().saturating_sub(1));
    let label = Label {
        range: start..start + 1,
        ..Label::whole(source)
    };
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    Diagnostic::error(format!("this is not JSON: {message}"))
        .at(label, "")
        .help("name the model's `config.json` as it was downloaded")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_where_a_value_stands() {
        let document =
            JsonDocument::parse("config.json", "{\n\t\"a\": {\"b\": -1},\n  \"c\": 2\n}\n").unwrap();
        let wrong: Diagnostics = [
            document.wrong("/a/b", "`b` is negative"),
            document.lacks("/a", "d"),
            document.lacks("", "e"),
        ]
        .into_iter()
        .collect();
        insta::assert_snapshot!(wrong);
    }

    #[test]
    fn what_is_not_json_is_shown_where_it_breaks() {
        let error = JsonDocument::parse("config.json", "{\n  \"layers\": NaN\n}")
            .err()
            .unwrap();
        insta::assert_snapshot!(error);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:a-c0-9.e\\\\\t\n ü-]{0,60}", pointer in "(/[a-c0-9]{0,2}){0,3}") {
            if let Ok(document) = JsonDocument::parse("x", &text) {
                let found: Diagnostics = [document.wrong(&pointer, "w"), document.lacks(&pointer, "k")].into_iter().collect();
                prop_assert!(found.render(false).contains('x'));
            }
        }
    }
}
