//! From the characters that the YAML parser counts to the bytes of a text.

use std::ops::Range;

use saphyr_parser::Span;

/// Where each character of a text stands, in bytes.
pub(crate) struct Offsets {
    /// Byte of each character; empty for ASCII, where they are the same.
    bytes: Vec<usize>,
    /// Length of the text in bytes.
    end: usize,
}

impl Offsets {
    /// Of this text.
    pub(crate) fn of(text: &str) -> Self {
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        Self {
            bytes,
            end: text.len(),
        }
    }

    /// Byte of a character; the end of the text for one beyond it.
    pub(crate) fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() {
            character.min(self.end)
        } else {
            self.bytes.get(character).copied().unwrap_or(self.end)
        }
    }

    /// Bytes of what the parser met.
    pub(crate) fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }
}
