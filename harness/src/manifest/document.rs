//! A file on its way from bytes to typed data: limits, tree, shape, and reading its parts by JSON pointer.
//!
//! A wrong part must not hide the mistakes of the others. So the checks of meaning read what they need piece by piece
//! ([`Document::read`]): a piece that has the wrong shape, whose error is known already, reads as `None`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    diagnostics::{Diagnostic, Label, SourceFile},
    schema::Kind,
    shape,
    tree::{self, Node},
    wording::io_cause,
};

/// A file of the right YAML, whose shape has been checked.
pub(super) struct Document {
    /// The file.
    pub(super) source: Arc<SourceFile>,
    root: Node,
    /// Its content without the keys that the schema does not know.
    value: Value,
    /// The maps that such keys were taken out of.
    thinned: BTreeSet<String>,
}

impl Kind {
    /// Largest file that is read, in bytes.
    pub(super) const fn max_bytes(self) -> u64 {
        match self {
            Self::Manifest | Self::Stack | Self::Card => 1 << 20,
            Self::Cases => 4 << 20,
        }
    }
}

/// Reads a file of at most `max_bytes`; `shown` is its path in messages. A larger file is not even opened.
pub(crate) fn read_text(
    path: &Path,
    shown: String,
    max_bytes: u64,
) -> Result<Arc<SourceFile>, Box<Diagnostic>> {
    let refuse = |message: String, help: &str| {
        let source = SourceFile {
            path: shown.clone(),
            text: String::new(),
        };
        let place = Label::whole(&Arc::new(source));
        Box::new(Diagnostic::error(message).at(place, "").help(help))
    };
    let unreadable = |error: io::Error| {
        let message = format!("cannot read the file: {}", io_cause(&error));
        refuse(message, "check the path and its permissions")
    };
    let within = |len: u64| {
        let message = format!("the file has {len} bytes, more than the {max_bytes} that are read");
        let refused = || Err(refuse(message, "split it, or keep data out of it"));
        if len > max_bytes { refused() } else { Ok(()) }
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refuse("this is not a file".to_owned(), "name a YAML file"));
    }
    within(metadata.len())?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file that grows meanwhile is noticed as well.
    let file = File::open(path).map_err(unreadable)?;
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    within(bytes.len() as u64)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refuse(
            format!("the file is not UTF-8: byte {at} is wrong"),
            "save it as UTF-8",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Arc::new(SourceFile { path: shown, text }))
}

impl Document {
    /// Checks YAML and shape. There is a document if the YAML can be trusted; the list holds every mistake so far.
    pub(super) fn parse(source: &Arc<SourceFile>, kind: Kind) -> (Option<Self>, Vec<Diagnostic>) {
        let (root, mut problems) = match tree::parse(source) {
            Ok(parsed) => parsed,
            Err(problems) => return (None, problems),
        };
        let mut value: Value = match serde_yaml::from_str(&source.text) {
            Ok(value) => value,
            Err(error) => {
                problems.push(yaml_error(source, &error));
                return (None, problems);
            }
        };
        let mut thinned = BTreeSet::new();
        match kind.compiled() {
            Ok(compiled) => {
                let found = shape::check(compiled, source, &root, &value);
                thinned = found.remove_unknown(&mut value);
                problems.extend(found.problems);
            }
            Err(error) => problems.push(Diagnostic::error(format!(
                "the schema of a {} is broken: {error}",
                kind.noun()
            ))),
        }
        let document = Self {
            source: Arc::clone(source),
            root,
            value,
            thinned,
        };
        (Some(document), problems)
    }

    /// The whole content. Call it when there is no error: what the schema accepts but the type does not (`1.0` for a
    /// count) is found here.
    pub(super) fn content<T: DeserializeOwned>(&self) -> Result<T, Box<Diagnostic>> {
        serde_yaml::from_str(&self.source.text).map_err(|error| yaml_error(&self.source, &error).into())
    }

    /// The part at `pointer`, if it is there and of this type.
    pub(super) fn read<T: DeserializeOwned>(&self, pointer: &str) -> Option<T> {
        T::deserialize(self.value.pointer(pointer)?).ok()
    }

    /// Whether something is written at `pointer`.
    pub(super) fn has(&self, pointer: &str) -> bool {
        self.value.pointer(pointer).is_some()
    }

    /// Whether the map at `map` is there and has none of `keys`. A map with an unknown key, which may be one of them
    /// misspelt, lacks nothing for certain.
    pub(super) fn lacks(&self, map: &str, keys: &[&str]) -> bool {
        let object = self.value.pointer(map).and_then(Value::as_object);
        let without = object.is_some_and(|object| !keys.iter().any(|&key| object.contains_key(key)));
        without && !self.thinned.contains(map)
    }

    /// Whether the map at `map` is there and has no key at all, not even an unknown one.
    pub(super) fn is_empty_map(&self, map: &str) -> bool {
        let object = self.value.pointer(map).and_then(Value::as_object);
        object.is_some_and(Map::is_empty) && !self.thinned.contains(map)
    }

    /// The pointers of the elements of the list at `pointer`; none where there is no list.
    pub(super) fn items(&self, pointer: &str) -> impl Iterator<Item = String> + use<> {
        let list = self.value.pointer(pointer).and_then(Value::as_array);
        let prefix = pointer.to_owned();
        (0..list.map_or(0, Vec::len)).map(move |index| format!("{prefix}/{index}"))
    }

    /// Where the value at `pointer` stands.
    pub(super) fn place(&self, pointer: &str) -> Label {
        self.label(self.root.find(pointer).value())
    }

    /// Where the key of `pointer` stands.
    pub(super) fn key(&self, pointer: &str) -> Label {
        self.label(self.root.find(pointer).handle)
    }

    fn label(&self, range: std::ops::Range<usize>) -> Label {
        Label {
            range,
            ..Label::whole(&self.source)
        }
    }
}

/// An error of the YAML library, without the place that its text repeats.
fn yaml_error(source: &Arc<SourceFile>, error: &serde_yaml::Error) -> Diagnostic {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    let message = message
        .replace("expected u32", "expected a whole number")
        .replace("expected u64", "expected a whole number");
    let Some(location) = error.location() else {
        return Diagnostic::error(message).at(Label::whole(source), "");
    };
    let start = location.index();
    let end = source
        .text
        .get(start..)
        .and_then(|rest| rest.find([' ', ',', '\n']));
    let range = start..start + end.unwrap_or(1).max(1);
    let place = Label {
        range,
        ..Label::whole(source)
    };
    Diagnostic::error(message).at(place, "")
}
