//! Mistakes in files that users write: what is wrong, where, and what would be right.
//!
//! A place is a byte range of a [`SourceFile`], which keeps the text as it was read; a rendered diagnostic names
//! `file:line:column` and shows the lines. A mistake that has no text to point at (an unreadable file, an unknown
//! name) has no line, never a made-up one.

use std::{collections::BTreeSet, error::Error, fmt, ops::Range, sync::Arc};

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::wording::counted;

/// Most diagnostics that one rendering shows in full.
const SHOWN: usize = 100;

/// A file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as messages show it.
    pub path: String,
    /// The text; empty for a file that could not be read.
    pub text: String,
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but will soon be wrong.
    Warning,
}

/// A place in a file and what it has to do with the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file.
    pub source: Arc<SourceFile>,
    /// Bytes of the file's text.
    pub range: Range<usize>,
    /// What is here; may be empty.
    pub text: String,
}

impl Label {
    /// The beginning of a file, for what concerns all of it.
    pub(super) fn whole(source: &Arc<SourceFile>) -> Self {
        Self {
            source: Arc::clone(source),
            range: 0..0,
            text: String::new(),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// Where it is wrong.
    pub primary: Option<Label>,
    /// Other places that have to do with it.
    pub secondary: Vec<Label>,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with nothing but its message.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            primary: None,
            secondary: Vec::new(),
            help: None,
        }
    }

    /// A warning with nothing but its message.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Says where, and what is there.
    #[must_use]
    pub fn at(mut self, place: Label, text: impl Into<String>) -> Self {
        self.primary = Some(Label {
            text: text.into(),
            ..place
        });
        self
    }

    /// Adds a place that has to do with the mistake.
    #[must_use]
    pub fn see(mut self, place: Label, text: impl Into<String>) -> Self {
        self.secondary.push(Label {
            text: text.into(),
            ..place
        });
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Line and column of the mistake, both from 1, the column in characters.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let label = self.primary.as_ref()?;
        let before = label.source.text.get(..label.range.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Some((line, before[line_start..].chars().count() + 1))
    }

    fn group(&self) -> Group<'_> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()));
        if let Some(primary) = &self.primary {
            let (same, other): (Vec<&Label>, Vec<&Label>) = self
                .secondary
                .iter()
                .partition(|label| label.source == primary.source);
            group = group.element(excerpt(Some(primary), &same));
            for label in other {
                group = group.element(excerpt(None, &[label]));
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }
}

/// The lines of one file from the first label to the last; only the file's name where there is no text.
fn excerpt<'a>(primary: Option<&'a Label>, context: &[&'a Label]) -> Element<'a> {
    let labels = || primary.into_iter().chain(context.iter().copied());
    let Some(source) = labels().next().map(|label| &label.source) else {
        return Origin::path("").into();
    };
    if source.text.is_empty() {
        return Origin::path(source.path.as_str()).into();
    }
    let text = source.text.as_str();
    let ranges = || labels().map(|label| within_line(text, &label.range));
    let first = ranges().map(|range| range.start).min().unwrap_or(0);
    let last = ranges().map(|range| range.end).max().unwrap_or(0);
    let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[last..]
        .find('\n')
        .map_or(text.len(), |newline| last + newline);
    let annotation = |kind: AnnotationKind, label: &'a Label| -> Annotation<'a> {
        let range = within_line(text, &label.range);
        let note = (!label.text.is_empty()).then_some(label.text.as_str());
        kind.span(range.start - start..range.end - start).label(note)
    };
    Snippet::source(&text[start..end])
        .path(source.path.as_str())
        .line_start(text[..start].matches('\n').count() + 1)
        .annotations(primary.map(|label| annotation(AnnotationKind::Primary, label)))
        .annotations(
            context
                .iter()
                .map(|label| annotation(AnnotationKind::Context, label)),
        )
        .into()
}

/// `range` cut to its first line and to whole characters, so that no label runs over a page.
fn within_line(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start.min(text.len()));
    let end = text.floor_char_boundary(range.end.clamp(start, text.len()));
    let line = text[start..end].lines().next().unwrap_or("");
    start..start + line.trim_end().len()
}

/// All mistakes of one reading, sorted by file and place, none twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The diagnostics in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Errors and warnings apart.
    pub fn by_severity(self) -> (Self, Self) {
        let (errors, warnings) = (self.0.into_iter()).partition(|one| one.severity == Severity::Error);
        (Self(errors), Self(warnings))
    }

    /// The text for people: each diagnostic with its lines, then the summary. `colour` by ANSI escapes.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for diagnostic in self.0.iter().take(SHOWN) {
            text.push_str(&renderer.render(&[diagnostic.group()]));
            text.push_str("\n\n");
        }
        if self.0.len() > SHOWN {
            text.extend(["… and ", &(self.0.len() - SHOWN).to_string(), " more\n\n"]);
        }
        text.push_str(&self.summary());
        text
    }

    /// One line: how many errors and warnings in which file or files.
    pub fn summary(&self) -> String {
        let count = |severity| self.0.iter().filter(|one| one.severity == severity).count();
        let counts: Vec<String> = [(Severity::Error, "error"), (Severity::Warning, "warning")]
            .into_iter()
            .filter_map(|(severity, noun)| match count(severity) {
                0 => None,
                found => Some(counted(found, noun)),
            })
            .collect();
        let files: BTreeSet<&str> = self
            .0
            .iter()
            .filter_map(|one| Some(one.primary.as_ref()?.source.path.as_str()))
            .collect();
        let place = match (files.len(), files.first()) {
            (_, None) => String::new(),
            (1, Some(file)) => format!(" in {file}"),
            (several, _) => format!(" in {several} files"),
        };
        match counts.as_slice() {
            [] => "no errors".to_owned(),
            counts => format!("{}{place}", counts.join(" and ")),
        }
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(diagnostics: I) -> Self {
        let mut sorted: Vec<Diagnostic> = diagnostics.into_iter().collect();
        let place = |one: &Diagnostic| {
            let label = one.primary.as_ref()?;
            Some((label.source.path.clone(), label.range.start))
        };
        sorted.sort_by_cached_key(place);
        let mut unique: Vec<Diagnostic> = Vec::with_capacity(sorted.len());
        for diagnostic in sorted {
            let start = place(&diagnostic);
            let mut neighbours = unique.iter().rev().take_while(|one| place(one) == start);
            if !neighbours.any(|one| *one == diagnostic) {
                unique.push(diagnostic);
            }
        }
        Self(unique)
    }
}

impl From<Box<Diagnostic>> for Diagnostics {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self(vec![*diagnostic])
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(source: &Arc<SourceFile>, range: Range<usize>) -> Label {
        Label {
            source: Arc::clone(source),
            range,
            text: String::new(),
        }
    }

    #[test]
    fn shows_both_places_and_counts_columns_in_characters() {
        let source = Arc::new(SourceFile {
            path: "models.d/a.yaml".into(),
            text: "schema: 1\n'模型': 1\nb: 2\n".into(),
        });
        let diagnostic = Diagnostic::error("`模型` is written twice")
            .at(label(&source, 20..21), "again here")
            .see(label(&source, 0..6), "first here")
            .help("remove one");
        assert_eq!(diagnostic.line_and_column(), Some((2, 7)));
        insta::assert_snapshot!(Diagnostics::from(diagnostic));
    }

    #[test]
    fn a_file_without_text_is_named_without_a_line() {
        let source = Arc::new(SourceFile {
            path: "models.d/a.yaml".into(),
            text: String::new(),
        });
        insta::assert_snapshot!(Diagnostics::from(
            Diagnostic::error("too large").at(label(&source, 0..0), "")
        ));
    }

    #[test]
    fn keeps_file_order_and_drops_repetitions() {
        let source = Arc::new(SourceFile {
            path: "a".into(),
            text: "abcdef".into(),
        });
        let at = |start| Diagnostic::error("x").at(label(&source, start..start + 1), "");
        let sorted: Diagnostics = [at(3), at(1), at(3), at(2)].into_iter().collect();
        let starts: Vec<_> = sorted
            .iter()
            .filter_map(|one| Some(one.primary.as_ref()?.range.start))
            .collect();
        assert_eq!(starts, [1, 2, 3]);
        assert_eq!(sorted.summary(), "3 errors in a");
    }

    proptest! {
        #[test]
        fn renders_any_range_of_any_text(text in any::<String>(), start in 0usize..200, len in 0usize..200, also in 0usize..200) {
            let source = Arc::new(SourceFile { path: "a".into(), text });
            let diagnostic = Diagnostic::error("x").at(label(&source, start..start + len), "y").see(label(&source, also..also), "z");
            prop_assert!(Diagnostics::from(diagnostic).render(true).contains("1 error in a"));
        }
    }
}
