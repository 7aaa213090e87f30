//! Token diff of two goldens: equal, removed and added stretches of text, the first divergence in front of the first
//! change. By token ids where both sides know the text of each token, by words elsewhere.

use std::time::Duration;

use serde::Serialize;
use similar::{Algorithm, ChangeTag, DiffOp, TextDiff, capture_diff_slices};

use crate::golden::Golden;
use crate::judge::correctness::diff;

/// Time after which a diff by words is coarser instead of smaller.
const PATIENCE: Duration = Duration::from_millis(200);

/// What became of a stretch of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Both sides have it.
    Equal,
    /// Only the old side.
    Removed,
    /// Only the new side.
    Added,
}

/// A stretch of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// What became of it.
    pub change: Change,
    /// Its text.
    pub text: String,
}

/// The diff, and what it counts in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenDiff {
    /// Whether stretches are whole tokens; otherwise they are words.
    pub by_token: bool,
    /// The stretches in reading order.
    pub stretches: Vec<Stretch>,
}

/// What changed from one golden's output to the other's.
pub fn changes(old: &Golden, new: &Golden) -> TokenDiff {
    if spelt(old) && spelt(new) {
        return TokenDiff {
            by_token: true,
            stretches: by_token(old, new),
        };
    }
    let (old, new) = (output(old), output(new));
    let (old, new) = (diff::split(&old), diff::split(&new));
    let diff = TextDiff::configure().timeout(PATIENCE).diff_slices(&old, &new);
    let mut stretches = Vec::new();
    for change in diff.iter_all_changes() {
        let kind = match change.tag() {
            ChangeTag::Equal => Change::Equal,
            ChangeTag::Delete => Change::Removed,
            ChangeTag::Insert => Change::Added,
        };
        push(&mut stretches, kind, change.value());
    }
    TokenDiff {
        by_token: false,
        stretches,
    }
}

/// Text of a token, where one of the goldens holds it anywhere.
pub fn piece(goldens: &[&Golden], id: u32) -> Option<String> {
    goldens.iter().find_map(|golden| {
        let at = golden
            .positions
            .iter()
            .position(|position| position.token.id == id)?;
        golden.pieces.get(at).cloned()
    })
}

/// Thought, tool calls and answer as they are read.
pub fn output(golden: &Golden) -> String {
    let thought = golden.reasoning.iter().map(|thought| format!("{thought}\n"));
    let calls = golden.tool_calls.iter().map(|call| {
        let arguments = serde_json::to_string(&call.arguments).unwrap_or_default();
        format!("{}({arguments})\n", call.name)
    });
    thought.chain(calls).chain([golden.answer.clone()]).collect()
}

/// Whether each token has a text of its own. A token that is part of a character has none.
fn spelt(golden: &Golden) -> bool {
    !golden.positions.is_empty()
        && golden.pieces.len() == golden.positions.len()
        && golden
            .pieces
            .iter()
            .all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER))
}

fn by_token(old: &Golden, new: &Golden) -> Vec<Stretch> {
    let ids = |golden: &Golden| -> Vec<u32> {
        golden
            .positions
            .iter()
            .map(|position| position.token.id)
            .collect()
    };
    let (old_ids, new_ids) = (ids(old), ids(new));
    let mut stretches = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &old_ids, &new_ids) {
        let removed = old.pieces[op.old_range()].concat();
        let added = new.pieces[op.new_range()].concat();
        if let DiffOp::Equal { .. } = op {
            push(&mut stretches, Change::Equal, &removed);
        } else {
            push(&mut stretches, Change::Removed, &removed);
            push(&mut stretches, Change::Added, &added);
        }
    }
    stretches
}

/// Appends text to the last stretch of its kind, or begins one.
fn push(stretches: &mut Vec<Stretch>, change: Change, text: &str) {
    match stretches.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.change == change => last.text.push_str(text),
        _ => stretches.push(Stretch {
            change,
            text: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::sample::golden;

    fn marked(diff: &TokenDiff) -> String {
        diff.stretches
            .iter()
            .map(|stretch| match stretch.change {
                Change::Equal => stretch.text.clone(),
                Change::Removed => format!("[-{}-]", stretch.text),
                Change::Added => format!("{{+{}+}}", stretch.text),
            })
            .collect()
    }

    #[test]
    fn tokens_are_compared_by_id() {
        let (old, mut new) = (golden(), golden());
        new.positions[5].token.id = 8000;
        " Lyon".clone_into(&mut new.pieces[5]);
        let diff = changes(&old, &new);
        assert!(diff.by_token);
        assert_eq!(marked(&diff), "The capital of France is[- Paris-]{+ Lyon+}.");
    }

    #[test]
    fn a_token_that_is_half_a_character_makes_it_a_diff_of_words() {
        let (old, mut new) = (golden(), golden());
        "\u{fffd}".clone_into(&mut new.pieces[5]);
        "The capital of France is 巴黎.".clone_into(&mut new.answer);
        let diff = changes(&old, &new);
        assert!(!diff.by_token);
        assert_eq!(marked(&diff), "The capital of France is [-Paris-]{+巴黎+}.");
    }
}
