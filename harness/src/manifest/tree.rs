//! The YAML of a file as a tree that knows where everything stands.
//!
//! One pass over the parser's events. What YAML allows but a reviewed file has no use for (anchors, aliases, tags,
//! merge keys, several documents, keys that are not plain words) is refused here, so that no later step expands
//! anything: what is read is never larger than what is written. JSON pointers (RFC 6901) address the nodes.

mod walk;

use std::{collections::HashMap, ops::Range, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{
    diagnostics::{Diagnostic, Label, SourceFile},
    offsets::Offsets,
    wording::quoted,
};

/// Greatest depth of nesting.
const MAX_DEPTH: usize = 64;

/// Most nodes of one file.
const MAX_NODES: usize = 200_000;

/// A value and where it stands (bytes).
#[derive(Debug)]
pub(super) struct Node {
    range: Range<usize>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar,
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    key_range: Range<usize>,
    value: Node,
}

/// Where a pointer leads.
pub(super) struct Found<'a> {
    node: &'a Node,
    /// The key in front of the node; for an element of a sequence its first line.
    pub(super) handle: Range<usize>,
}

impl Found<'_> {
    /// The value's own bytes, where it is a scalar that is written out; otherwise its handle.
    pub(super) fn value(&self) -> Range<usize> {
        match self.node.content {
            Content::Scalar if !self.node.range.is_empty() => self.node.range.clone(),
            _ => self.handle.clone(),
        }
    }
}

impl Node {
    /// The node at `pointer`, or the deepest one on the way to it that exists. Of keys written twice, the last.
    pub(super) fn find(&self, pointer: &str) -> Found<'_> {
        let mut found = Found {
            node: self,
            handle: self.first_line(),
        };
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let next = match &found.node.content {
                Content::Mapping(entries) => entries
                    .iter()
                    .rfind(|entry| entry.key == segment)
                    .map(|entry| (&entry.value, entry.key_range.clone())),
                Content::Sequence(items) => segment
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|item| (item, item.first_line())),
                Content::Scalar => None,
            };
            let Some((node, handle)) = next else { break };
            found = Found { node, handle };
        }
        found
    }

    /// The keys of a mapping.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.content {
            Content::Mapping(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    fn first_line(&self) -> Range<usize> {
        match &self.content {
            Content::Scalar => self.range.clone(),
            Content::Sequence(items) => items.first().map_or(self.range.clone(), Self::first_line),
            Content::Mapping(entries) => entries
                .first()
                .map_or(self.range.clone(), |entry| entry.key_range.clone()),
        }
    }
}

/// Reads the tree of `source`. `Err` where the rest cannot be trusted; the tree may come with diagnostics (duplicate
/// keys) that do not hinder further checks.
pub(super) fn parse(source: &Arc<SourceFile>) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    if let Some(forbidden) = forbidden_character(source) {
        return Err(vec![forbidden]);
    }
    let mut builder = Builder::new(source);
    for event in Parser::new_from_str(&source.text) {
        let step = match event {
            Ok((event, span)) => {
                let range = builder.offsets.bytes(span);
                builder.event(event, range)
            }
            Err(error) => Err(Box::new(builder.syntax_error(&error))),
        };
        if let Err(fatal) = step {
            builder.problems.push(*fatal);
            return Err(builder.problems);
        }
    }
    builder.finish()
}

/// YAML allows no control characters but tab and line ends; a byte order mark inside the text is a copying accident.
fn forbidden_character(source: &Arc<SourceFile>) -> Option<Diagnostic> {
    let forbidden =
        |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{feff}';
    let (at, character) = source.text.char_indices().find(|&(_, c)| forbidden(c))?;
    let place = Label {
        range: at..at + character.len_utf8(),
        ..Label::whole(source)
    };
    let message = format!(
        "the character U+{:04X} may not stand in YAML",
        u32::from(character)
    );
    Some(
        Diagnostic::error(message)
            .at(place, "here")
            .help("remove it, or write it as an escape inside double quotes"),
    )
}

/// A collection that is still open.
struct Open {
    start: usize,
    content: Content,
    /// Key that waits for its value.
    key: Option<(String, Range<usize>)>,
    /// Where each key stands first.
    keys: HashMap<String, Range<usize>>,
}

struct Builder<'a> {
    source: &'a Arc<SourceFile>,
    offsets: Offsets,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    /// Whether something was met that the tree does not represent.
    unfaithful: bool,
    problems: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<SourceFile>) -> Self {
        Self {
            source,
            offsets: Offsets::of(&source.text),
            open: Vec::new(),
            root: None,
            nodes: 0,
            documents: 0,
            unfaithful: false,
            problems: Vec::new(),
        }
    }

    fn label(&self, range: Range<usize>) -> Label {
        Label {
            range,
            ..Label::whole(self.source)
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Diagnostic {
        let at = self.offsets.byte(error.marker().index());
        Diagnostic::error("this YAML cannot be read").at(self.label(at..at + 1), error.info())
    }

    fn event(&mut self, event: Event<'_>, range: Range<usize>) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::DocumentStart(_) => self.document(range),
            Event::Alias(_) => {
                self.refuse("an alias", range.clone(), "write the value out where it is used");
                self.scalar("", ScalarStyle::Plain, range)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.decorations(anchor, tag.is_some(), &range);
                self.scalar(&text, style, range)
            }
            Event::SequenceStart(anchor, tag) => {
                self.decorations(anchor, tag.is_some(), &range);
                self.start(range, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.decorations(anchor, tag.is_some(), &range);
                self.start(range, Content::Mapping(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let end = range.end.max(open.start);
                    self.value(Node {
                        range: open.start..end,
                        content: open.content,
                    });
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, range: Range<usize>) -> Result<(), Box<Diagnostic>> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        Err(Diagnostic::error("a second document begins here")
            .at(self.label(range), "")
            .help("keep one document in a file: remove the `---`, or split the file")
            .into())
    }

    /// Refuses what YAML lets stand before a value.
    fn decorations(&mut self, anchor: usize, tagged: bool, range: &Range<usize>) {
        if anchor != 0 {
            self.refuse(
                "an anchor",
                range.clone(),
                "remove the `&name`: aliases are refused too",
            );
        }
        if tagged {
            self.refuse(
                "a tag",
                range.clone(),
                "remove the `!name`: the format knows the type",
            );
        }
    }

    fn refuse(&mut self, what: &str, range: Range<usize>, help: &str) {
        self.unfaithful = true;
        let refused = Diagnostic::error(format!("{what} may not be used here")).at(self.label(range), "");
        self.problems.push(refused.help(help));
    }

    fn count(&mut self, range: &Range<usize>) -> Result<(), Box<Diagnostic>> {
        self.nodes += 1;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("the file has more than {MAX_NODES} values");
        let many = Diagnostic::error(message).at(self.label(range.clone()), "reading stopped here");
        Err(many.into())
    }

    fn start(&mut self, range: Range<usize>, content: Content) -> Result<(), Box<Diagnostic>> {
        self.count(&range)?;
        if self.awaits_key() {
            return Err(Diagnostic::error("a list or map cannot be a key")
                .at(self.label(range.start..range.start + 1), "begins here")
                .help("put text that begins with `[` or `{` in quotes")
                .into());
        }
        if self.open.len() == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            let deep = Diagnostic::error(message).at(self.label(range), "reading stopped here");
            return Err(deep.into());
        }
        self.open.push(Open {
            start: range.start,
            content,
            key: None,
            keys: HashMap::new(),
        });
        Ok(())
    }

    /// Whether the next node is a key.
    fn awaits_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.content, Content::Mapping(_)) && open.key.is_none())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, range: Range<usize>) -> Result<(), Box<Diagnostic>> {
        self.count(&range)?;
        if !self.awaits_key() {
            self.value(Node {
                range,
                content: Content::Scalar,
            });
            return Ok(());
        }
        if style == ScalarStyle::Plain && text == "<<" {
            self.refuse("a merge key", range.clone(), "write the keys out");
        }
        self.key(text, range);
        Ok(())
    }

    fn key(&mut self, key: &str, range: Range<usize>) {
        let Some(open) = self.open.last_mut() else { return };
        let first = open.keys.get(key).cloned();
        open.keys.entry(key.to_owned()).or_insert_with(|| range.clone());
        open.key = Some((key.to_owned(), range.clone()));
        if let Some(first) = first {
            let duplicate = Diagnostic::error(format!("the key {} is written twice", quoted(key)))
                .at(self.label(range), "again here")
                .see(self.label(first), "first here")
                .help("keep one of them");
            self.problems.push(duplicate);
        }
    }

    /// Puts a finished node where it belongs.
    fn value(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping(entries) => {
                if let Some((key, key_range)) = open.key.take() {
                    entries.push(Entry {
                        key,
                        key_range,
                        value: node,
                    });
                }
            }
            Content::Scalar => {}
        }
    }

    fn finish(mut self) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
        let empty = Diagnostic::error("the file is empty").at(self.label(0..0), "");
        match self.root {
            Some(root) if !self.unfaithful => Ok((root, self.problems)),
            Some(_) => Err(self.problems),
            None => {
                self.problems.push(empty);
                Err(self.problems)
            }
        }
    }
}
