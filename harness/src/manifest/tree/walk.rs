//! Where the parts of a tree stand, for those who edit its text.

use std::ops::Range;

use super::{Content, Node};

impl Node {
    /// The node at `pointer`, if it is there. Of keys written twice, the last.
    pub(in crate::manifest) fn get(&self, pointer: &str) -> Option<&Self> {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            node = match &node.content {
                Content::Mapping(entries) => {
                    let segment = segment.replace("~1", "/").replace("~0", "~");
                    &entries.iter().rfind(|entry| entry.key == segment)?.value
                }
                Content::Sequence(items) => items.get(segment.parse::<usize>().ok()?)?,
                Content::Scalar => return None,
            };
        }
        Some(node)
    }

    /// The bytes of the node; those of a block reach to where the next thing begins.
    pub(in crate::manifest) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The bytes of a scalar that is written out.
    pub(in crate::manifest) fn scalar(&self) -> Option<Range<usize>> {
        (matches!(self.content, Content::Scalar) && !self.range.is_empty()).then(|| self.range.clone())
    }

    /// The first line of the node.
    pub(in crate::manifest) fn handle(&self) -> Range<usize> {
        self.first_line()
    }

    /// Where the first key of a mapping stands.
    pub(in crate::manifest) fn first_key(&self) -> Option<Range<usize>> {
        match &self.content {
            Content::Mapping(entries) => Some(entries.first()?.key_range.clone()),
            _ => None,
        }
    }

    /// The value of the last key of a mapping.
    pub(in crate::manifest) fn last_entry(&self) -> Option<&Self> {
        match &self.content {
            Content::Mapping(entries) => entries.last().map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The elements of a sequence, if it is one.
    pub(in crate::manifest) fn items(&self) -> Option<&[Self]> {
        match &self.content {
            Content::Sequence(items) => Some(items),
            _ => None,
        }
    }
}
