//! Word diff of two answers in one text: `[-removed-]{+added+}`, as `git diff --word-diff` writes it.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Characters of equal text kept beside a change.
const KEPT: usize = 40;

/// Characters of the whole diff.
const LONGEST: usize = 1_600;

/// Time after which the diff is coarser instead of smaller.
const PATIENCE: Duration = Duration::from_millis(200);

/// What changed from one text to the other; long equal stretches and a long rest are left out.
pub fn words(old: &str, new: &str) -> String {
    if old == new {
        return "(the texts are the same)".to_owned();
    }
    let (old, new) = (split(old), split(new));
    let diff = TextDiff::configure().timeout(PATIENCE).diff_slices(&old, &new);
    let mut out = String::new();
    let (mut kind, mut run) = (ChangeTag::Equal, String::new());
    for change in diff.iter_all_changes() {
        if change.tag() != kind {
            push(&mut out, kind, &run, false);
            run.clear();
            kind = change.tag();
        }
        run.push_str(change.value());
    }
    push(&mut out, kind, &run, true);
    match out.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &out[..at]),
        None => out,
    }
}

fn push(out: &mut String, kind: ChangeTag, run: &str, last: bool) {
    match kind {
        _ if run.is_empty() => {}
        ChangeTag::Delete => out.extend(["[-", run, "-]"]),
        ChangeTag::Insert => out.extend(["{+", run, "+}"]),
        ChangeTag::Equal => {
            let length = run.chars().count();
            let head = if out.is_empty() { 0 } else { KEPT };
            let tail = if last { 0 } else { KEPT };
            if length <= head + tail + 1 {
                out.push_str(run);
            } else {
                out.extend(run.chars().take(head));
                out.push('…');
                out.extend(run.chars().skip(length - tail));
            }
        }
    }
}

/// Words, blanks, and each other character alone: Chinese has no blanks to split at.
pub fn split(text: &str) -> Vec<&str> {
    let kind = |character: char| match character {
        _ if character.is_whitespace() => 0,
        _ if character.is_alphanumeric() && character < '\u{2e80}' => 1,
        _ => 2,
    };
    let mut pieces = Vec::new();
    let mut begin = 0;
    let mut before = None;
    for (at, character) in text.char_indices() {
        let now = kind(character);
        if at > begin && (before != Some(now) || now == 2) {
            pieces.push(&text[begin..at]);
            begin = at;
        }
        before = Some(now);
    }
    if begin < text.len() {
        pieces.push(&text[begin..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_marked() {
        assert_eq!(
            words("The capital is Paris.", "The capital is Lyon."),
            "The capital is [-Paris-]{+Lyon+}."
        );
        assert_eq!(words("首都是巴黎。", "首都是里昂。"), "首都是[-巴黎-]{+里昂+}。");
        assert_eq!(words("same", "same"), "(the texts are the same)");
        assert_eq!(words("", "new"), "{+new+}");
    }

    #[test]
    fn long_texts_are_shortened() {
        let long = "word ".repeat(2_000);
        let shown = words(&format!("{long}old {long}"), &format!("{long}new {long}"));
        assert_eq!(shown.matches("word").count(), 16, "{shown}");
        assert!(
            shown.starts_with('…') && shown.contains("[-old-]{+new+}") && shown.ends_with('…'),
            "{shown}"
        );
        assert_eq!(
            words(&"a ".repeat(5_000), &"b ".repeat(5_000)).chars().count(),
            LONGEST + 1
        );
    }
}
