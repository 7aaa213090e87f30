//! Changes to the text of a manifest that leave all else as it is: comments, order, spacing. A file that was written
//! by hand is edited, never written anew.
//!
//! Each edit is one place: a key gets a value, or a list one more element. The text is read again after each, so edits
//! may build on one another. The result is YAML again; whether it is a manifest is asked of
//! [`Catalogue::model_as`](super::Catalogue::model_as).

use std::{ops::Range, sync::Arc};

use super::{
    diagnostics::SourceFile,
    tree::{self, Node},
};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The key at the end of `pointer` gets a value; where it is not there yet, it becomes the last of its map.
    Set {
        /// JSON pointer (`/serve/max_model_len`).
        pointer: String,
        /// The value as YAML writes it, on one line.
        value: String,
    },
    /// The list at `pointer` gets one more element; where it is not there yet, it becomes the last of its map.
    Append {
        /// JSON pointer (`/serve/args`).
        pointer: String,
        /// The element as YAML writes it, on one line.
        item: String,
    },
}

/// Why a text cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is no YAML that this project reads.
    #[error("the manifest cannot be read, so it cannot be edited: run `check` on it")]
    Unreadable,
    /// Nothing to hold on to.
    #[error("`{pointer}` cannot be edited: {why}; write it by hand")]
    Place {
        /// Where.
        pointer: String,
        /// Why not.
        why: &'static str,
    },
}

/// The text with all edits made, in their order.
pub fn edited(text: &str, edits: &[Edit]) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for edit in edits {
        let source = Arc::new(SourceFile {
            path: String::new(),
            text: text.clone(),
        });
        let (root, problems) = tree::parse(&source).map_err(|_| EditError::Unreadable)?;
        if !problems.is_empty() {
            return Err(EditError::Unreadable);
        }
        let (range, new) = Page {
            text: &text,
            root: &root,
        }
        .change(edit)?;
        text.replace_range(range, &new);
    }
    Ok(text)
}

/// A text with its tree.
struct Page<'a> {
    text: &'a str,
    root: &'a Node,
}

impl Page<'_> {
    /// The bytes that an edit replaces, and by what.
    fn change(&self, edit: &Edit) -> Result<(Range<usize>, String), EditError> {
        let (Edit::Set { pointer, .. } | Edit::Append { pointer, .. }) = edit;
        let refuse = |why| EditError::Place {
            pointer: pointer.clone(),
            why,
        };
        let (above, key) = pointer
            .rsplit_once('/')
            .ok_or_else(|| refuse("it names no key"))?;
        let map = self
            .root
            .get(above)
            .ok_or_else(|| refuse("what should hold it is not there"))?;
        let found = self.root.get(pointer);
        match (edit, found) {
            (Edit::Set { value, .. }, Some(node)) => {
                let range = node
                    .scalar()
                    .ok_or_else(|| refuse("its value is more than one word"))?;
                Ok((self.trimmed(range), value.clone()))
            }
            (Edit::Set { value, .. }, None) => self
                .new_key(map, &format!("{key}: {value}"), &[])
                .ok_or_else(|| refuse("what holds it is no map, or is written on the line of another key")),
            (Edit::Append { item, .. }, Some(list)) => self
                .new_item(list, item)
                .ok_or_else(|| refuse("it is no list that can be lengthened")),
            (Edit::Append { item, .. }, None) => {
                let flow = self.is_flow(map);
                let (head, below) = if flow {
                    (format!("{key}: [{item}]"), Vec::new())
                } else {
                    (format!("{key}:"), vec![format!("  - {item}")])
                };
                self.new_key(map, &head, &below).ok_or_else(|| {
                    refuse("what holds it is no map, or is written on the line of another key")
                })
            }
        }
    }

    /// A further key at the end of a map: `head` on a line of its own, `below` indented like it.
    fn new_key(&self, map: &Node, head: &str, below: &[String]) -> Option<(Range<usize>, String)> {
        let last = map.last_entry()?;
        if self.is_flow(map) {
            let end = self.end(last);
            return Some((end..end, format!(", {head}")));
        }
        let indent = self.indent(map.first_key()?.start)?;
        let mut lines = String::new();
        for line in std::iter::once(head).chain(below.iter().map(String::as_str)) {
            lines.extend([
                indent, line, "
",
            ]);
        }
        Some(self.lines_behind(last, &lines))
    }

    fn new_item(&self, list: &Node, item: &str) -> Option<(Range<usize>, String)> {
        let Some(behind) = list.items()?.last() else {
            return self
                .is_flow(list)
                .then(|| (self.trimmed(list.range()), format!("[{item}]")));
        };
        if self.is_flow(list) {
            let end = self.end(behind);
            return Some((end..end, format!(", {item}")));
        }
        let dash = self.text[..behind.handle().start].rfind('-')?;
        let indent = self.indent(dash)?;
        Some(self.lines_behind(behind, &format!("{indent}- {item}\n")))
    }

    /// Whole lines behind the line on which a node ends.
    fn lines_behind(&self, node: &Node, lines: &str) -> (Range<usize>, String) {
        let end = self.end(node);
        if let Some(at) = self.text[end..].find('\n') {
            return (end + at + 1..end + at + 1, lines.to_owned());
        }
        let end = self.text.len();
        (end..end, format!("\n{}", lines.trim_end_matches('\n')))
    }

    /// The blanks before what begins at `at`, if there is nothing else before it on its line.
    fn indent(&self, at: usize) -> Option<&str> {
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = &self.text[line..at];
        before.chars().all(|c| c == ' ').then_some(before)
    }

    /// Whether a collection is written in brackets. A list that is indented like its key begins, for the parser, where
    /// its first element does, whose brackets are not its own.
    fn is_flow(&self, node: &Node) -> bool {
        let range = node.range();
        let text = &self.text[range.clone()];
        match node.items() {
            Some([]) => text.starts_with('['),
            Some(_) => text.starts_with('[') && node.handle().start != range.start,
            None => text.starts_with('{'),
        }
    }

    /// Where a node's last character ends. A block's own end is where the next thing begins.
    fn end(&self, node: &Node) -> usize {
        if !self.is_flow(node)
            && let Some(inner) = node.last_entry().or_else(|| node.items()?.last())
        {
            return self.end(inner).max(node.handle().end);
        }
        self.trimmed(node.range()).end
    }

    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        range.start..range.start + self.text[range].trim_end().len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(pointer: &str, value: &str) -> Edit {
        Edit::Set {
            pointer: pointer.to_owned(),
            value: value.to_owned(),
        }
    }

    fn append(pointer: &str, item: &str) -> Edit {
        Edit::Append {
            pointer: pointer.to_owned(),
            item: item.to_owned(),
        }
    }

    const BLOCK: &str = "\
# head
serve:
  tensor_parallel: 1  # one card
  max_model_len: 8192

  # how long
  boot_timeout: 900 s  # generous
# stacks follow
stacks: [a, b]
";

    #[test]
    fn only_the_value_changes() {
        let text = edited(
            BLOCK,
            &[
                set("/serve/tensor_parallel", "2"),
                set("/serve/boot_timeout", "1800 s"),
            ],
        )
        .unwrap();
        assert_eq!(
            text,
            BLOCK
                .replace("parallel: 1 ", "parallel: 2 ")
                .replace("900 s", "1800 s")
        );
    }

    #[test]
    fn a_new_key_stands_behind_the_last_with_its_comment() {
        let text = edited(
            BLOCK,
            &[set("/serve/max_num_seqs", "64"), append("/serve/args", "x")],
        )
        .unwrap();
        let new = "900 s  # generous\n  max_num_seqs: 64\n  args:\n    - x\n";
        assert_eq!(text, BLOCK.replace("900 s  # generous\n", new));
    }

    #[test]
    fn lists_grow_in_the_form_they_have() {
        let block = "serve:\n  args:\n  - { vllm: \"*\", add: [-a] }  # why\n\n  # later\n  seed: 0\n";
        assert_eq!(
            edited(block, &[append("/serve/args", "b"), append("/serve/args", "c")]).unwrap(),
            block.replace("# why\n", "# why\n  - b\n  - c\n")
        );
        let nested = "serve:\n  args:\n    - vllm: \"*\"\n      add:\n        - -a\n  seed: 0\n";
        assert_eq!(
            edited(nested, &[append("/serve/args", "b")]).unwrap(),
            nested.replace("        - -a\n", "        - -a\n    - b\n")
        );
        let flow = "serve: { args: [a, { b: c }], seed: 0 }";
        assert_eq!(
            edited(
                flow,
                &[
                    append("/serve/args", "d"),
                    set("/serve/more", "1"),
                    append("/serve/env", "e")
                ]
            )
            .unwrap(),
            "serve: { args: [a, { b: c }, d], seed: 0, more: 1, env: [e] }"
        );
        assert_eq!(
            edited("serve: { args: [] }\n", &[append("/serve/args", "a")]).unwrap(),
            "serve: { args: [a] }\n"
        );
    }

    #[test]
    fn a_file_may_end_without_a_line_end() {
        assert_eq!(
            edited("a:\n  b: 1", &[set("/a/c", "2")]).unwrap(),
            "a:\n  b: 1\n  c: 2"
        );
        assert_eq!(
            edited("a:\n  b: \"ü\"", &[set("/a/b", "2")]).unwrap(),
            "a:\n  b: 2"
        );
    }

    #[test]
    fn what_cannot_be_edited_says_why() {
        let told = [
            edited("a: [1", &[set("/a", "2")]),
            edited("a: 1\na: 2\n", &[set("/a", "3")]),
            edited("a: { b: 1 }", &[set("/a", "2")]),
            edited("a: 1", &[set("/b/c", "2")]),
            edited("a: 1", &[append("/a", "2")]),
            edited("a:\n", &[append("/a", "2")]),
            edited("a: 1", &[set("b", "2")]),
        ]
        .map(|result| result.unwrap_err().to_string());
        insta::assert_snapshot!(told.join("\n"));
    }

    proptest! {
        #[test]
        fn what_was_set_is_read_and_the_rest_is_kept(
            keys in prop::collection::btree_map("[a-e]", 0_u32..100, 1..5),
            comment in "[ #a-zü]{0,12}",
            key in "[a-h]",
            value in 0_u32..1000,
            flow in any::<bool>(),
        ) {
            let text = if flow {
                let inner: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("# {comment}\ntop: {{ {} }}  # {comment}\nnext: 1\n", inner.join(", "))
            } else {
                let lines: Vec<String> = keys.iter().map(|(key, value)| format!("  {key}: {value}  # {comment}\n")).collect();
                format!("# {comment}\ntop:\n{}# {comment}\nnext: 1\n", lines.concat())
            };
            let after = edited(&text, &[set(&format!("/top/{key}"), &value.to_string())]).unwrap();
            let read: std::collections::BTreeMap<String, serde_json::Value> = serde_yaml::from_str(&after).unwrap();
            let mut expected = keys.clone();
            expected.insert(key.clone(), value);
            prop_assert_eq!(&read["top"], &serde_json::to_value(&expected).unwrap());
            prop_assert_eq!(&read["next"], 1);
            let comments = |text: &str| text.matches(&format!("# {comment}")).count();
            prop_assert_eq!(comments(&after), comments(&text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(serve|args|a|b|: |:\n|\n| |  |- |\\[|\\]|\\{|\\}|, |\"|#|1|ü){0,24}") {
            let _ = edited(&text, &[set("/serve/a", "1"), append("/serve/args", "b"), set("/a", "2")]);
        }
    }
}
