//! YAML that others wrote (their lists of models), with the place of every value. Unlike our own formats these may use
//! anchors, aliases and merge keys; aliases are shared, never copied, so that no file grows while it is read.

use std::{collections::HashMap, ops::Range, path::Path, rc::Rc, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::manifest::{Diagnostic, Diagnostics, Label, Offsets, SourceFile, read_text};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Most values of a file, and deepest nesting. Merged keys count too.
const MAX_NODES: usize = 20_000;
const MAX_DEPTH: usize = 64;

/// A value and where it stands. Values may be shared, so comparing two could take exponential time: it is not offered.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Bytes of the text.
    pub(super) range: Range<usize>,
    /// What it is.
    pub(super) content: Content,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A scalar; plain ones may be numbers, booleans or nothing.
    Scalar {
        /// Its text.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Rc<Node>>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) at: Range<usize>,
    /// The value.
    pub(super) value: Rc<Node>,
}

impl Node {
    /// The text of a scalar; numbers are their text too. Nothing for an empty or `null` value, lists and maps.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } if !self.is_nothing() => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is written: `key:`, `~` or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> &[Rc<Self>] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// What it is, for messages.
    pub(super) fn described(&self) -> String {
        match &self.content {
            Content::Scalar { .. } if self.is_nothing() => "nothing".to_owned(),
            Content::Scalar { text, .. } => {
                let short: String = text.chars().take(40).collect();
                format!("`{}`", short.replace(char::is_control, " "))
            }
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }
}

/// Reads a file; `shown` is its path in messages.
pub(super) fn read(path: &Path, shown: String) -> Result<(Arc<SourceFile>, Rc<Node>), Diagnostics> {
    let source = read_text(path, shown, MAX_BYTES)?;
    let root = parse(&source)?;
    Ok((source, root))
}

/// Reads a text.
pub(super) fn parse(source: &Arc<SourceFile>) -> Result<Rc<Node>, Diagnostics> {
    let mut builder = Builder::new(source);
    for event in Parser::new_from_str(&source.text) {
        let (event, span) = event.map_err(|error| {
            let at = builder.offsets.byte(error.marker().index());
            Diagnostics::from(
                wrong(source, at..at + 1, "this YAML cannot be read").help(error.info().to_owned()),
            )
        })?;
        let range = builder.offsets.bytes(span);
        builder.event(event, range)?;
    }
    builder
        .root
        .ok_or_else(|| wrong(source, 0..0, "the file is empty").into())
}

/// An error about a place of a file.
pub(super) fn wrong(source: &Arc<SourceFile>, range: Range<usize>, message: impl Into<String>) -> Diagnostic {
    let label = Label {
        source: Arc::clone(source),
        range,
        text: String::new(),
    };
    Diagnostic::error(message).at(label, "")
}

/// The line of a byte, from 1.
pub(super) fn line(source: &SourceFile, byte: usize) -> usize {
    let before = source.text.as_bytes().iter().take(byte);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// A collection that is still open.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
    /// Key that waits for its value.
    key: Option<(String, Range<usize>)>,
    /// Maps that `<<` names.
    merged: Vec<Rc<Node>>,
}

struct Builder<'a> {
    source: &'a Arc<SourceFile>,
    offsets: Offsets,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<SourceFile>) -> Self {
        Self {
            source,
            offsets: Offsets::of(&source.text),
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            nodes: 0,
        }
    }

    fn event(&mut self, event: Event<'_>, range: Range<usize>) -> Result<(), Diagnostics> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(self.refuse(
                range,
                "a second document begins here",
                "keep one document in a file",
            )),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let content = Content::Scalar {
                    text: text.into_owned(),
                    plain,
                };
                self.value(Node { range, content }, anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.shared(node),
                None => Err(self.refuse(
                    range,
                    "this alias stands inside its own anchor",
                    "write the value out",
                )),
            },
            Event::SequenceStart(anchor, _) => self.start(range, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.start(range, anchor, Content::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.end(&range),
            _ => Ok(()),
        }
    }

    fn refuse(&self, range: Range<usize>, message: &str, help: &str) -> Diagnostics {
        wrong(self.source, range, message).help(help).into()
    }

    fn count(&mut self, range: &Range<usize>, nodes: usize) -> Result<(), Diagnostics> {
        self.nodes += nodes;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("the file has more than {MAX_NODES} values");
        Err(self.refuse(range.clone(), &message, "split it"))
    }

    fn start(&mut self, range: Range<usize>, anchor: usize, content: Content) -> Result<(), Diagnostics> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.refuse(range, &message, "write it flatter"));
        }
        if self.awaits_key() {
            return Err(self.refuse(range, "a list or a map cannot be a key", "put the text in quotes"));
        }
        self.open.push(Open {
            start: range.start,
            anchor,
            content,
            key: None,
            merged: Vec::new(),
        });
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.content, Content::Map(_)) && open.key.is_none())
    }

    fn end(&mut self, range: &Range<usize>) -> Result<(), Diagnostics> {
        let Some(mut open) = self.open.pop() else {
            return Ok(());
        };
        let merged = std::mem::take(&mut open.merged);
        if let Content::Map(entries) = &mut open.content {
            for entry in merged.iter().flat_map(|map| map.entries()) {
                self.count(range, 1)?;
                if !entries.iter().any(|own| own.key == entry.key) {
                    entries.push(entry.clone());
                }
            }
        }
        let node = Node {
            range: open.start..range.end.max(open.start),
            content: open.content,
        };
        self.value(node, open.anchor)
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostics> {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.shared(node)
    }

    /// Puts a value where it belongs: as a key, under its key, into a list.
    fn shared(&mut self, node: Rc<Node>) -> Result<(), Diagnostics> {
        self.count(&node.range, 1)?;
        let awaits_key = self.awaits_key();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) if awaits_key => {
                let Content::Scalar { text, .. } = &node.content else {
                    let range = node.range.clone();
                    return Err(self.refuse(
                        range,
                        "a list or a map cannot be a key",
                        "put the text in quotes",
                    ));
                };
                if entries.iter().any(|entry| entry.key == *text) {
                    let message = format!("the key `{text}` is written twice");
                    return Err(self.refuse(node.range.clone(), &message, "keep one of them"));
                }
                open.key = Some((text.clone(), node.range.clone()));
            }
            Content::Map(entries) => {
                let Some((key, at)) = open.key.take() else {
                    return Ok(());
                };
                match (key.as_str(), &node.content) {
                    ("<<", Content::Map(_)) => open.merged.push(node),
                    ("<<", Content::List(maps)) => open.merged.extend(maps.iter().cloned()),
                    _ => entries.push(Entry { key, at, value: node }),
                }
            }
            Content::Scalar { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Rc<Node>, Diagnostics> {
        parse(&Arc::new(SourceFile {
            path: "list.yaml".to_owned(),
            text: text.to_owned(),
        }))
    }

    #[test]
    fn anchors_and_merges_are_followed() {
        let root = parsed("base: &b { A: 1, B: '2' }\nown:\n  <<: *b\n  B: 3\nlist: [*b, ~]\n").unwrap();
        let own = root.get("own").unwrap();
        assert_eq!(own.get("A").unwrap().text(), Some("1"));
        assert_eq!(own.get("B").unwrap().text(), Some("3"));
        let list = root.get("list").unwrap().items();
        assert_eq!(list[0].get("B").unwrap().text(), Some("2"));
        assert!(list[1].is_nothing());
    }

    #[test]
    fn aliases_do_not_multiply() {
        let mut text = String::from("a0: &a0 [x, x]\n");
        for level in 1..60 {
            let before = level - 1;
            let _ = writeln!(text, "a{level}: &a{level} [*a{before}, *a{before}]");
        }
        assert!(parsed(&text).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_shown_where_it_breaks() {
        let told = [
            "",
            "a: [1\n",
            "a: &x [*x]\n",
            "a: 1\na: 2\n",
            "[a]: 1\n",
            "a: 1\n---\nb: 2\n",
        ]
        .map(|text| parsed(text).unwrap_err().to_string());
        insta::assert_snapshot!(told.join("\n---\n"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-c<&*:#'\"\\[\\]{}, \n\tü~-]|<<: |&a |\\*a|- ){0,40}") {
            drop(parsed(&text));
        }
    }
}
