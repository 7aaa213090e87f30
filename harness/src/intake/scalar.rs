//! Texts as YAML scalars and as comments, whatever they hold.

use std::fmt::Write as _;

use crate::report::text::wrap;

/// Longest line of a manifest.
const WIDTH: usize = 118;
/// Words that YAML 1.1 or 1.2 takes for something else than text.
const RESERVED: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "nan"];

/// A text as a scalar that reads back as the same text, in block and in flow context.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '=');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || (text.starts_with("--") && text.len() > 2 && !text.starts_with("---"));
    let is_reserved = RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if begins_well && !is_reserved && text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.contains('\'') && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out + "\""
}

/// A path, whose `${NAME:-default}` is plain in block context.
pub(super) fn path(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-=${}:".contains(c);
    let begins_well = text.starts_with('/') || text.starts_with("${");
    if begins_well && text.chars().all(plain) && !text.ends_with(':') {
        return text.to_owned();
    }
    scalar(text)
}

/// A paragraph as comment lines, each indented by `indent` spaces.
pub(super) fn comment(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let visible: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'))
        .collect();
    wrap(&visible, WIDTH.saturating_sub(indent + 2))
        .into_iter()
        .map(|line| format!("{margin}# {line}").trim_end().to_owned() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_needs_no_quotes_has_none() {
        assert_eq!(scalar("Qwen/Qwen3-32B"), "Qwen/Qwen3-32B");
        assert_eq!(scalar("--enforce-eager"), "--enforce-eager");
        assert_eq!(scalar("1"), "'1'");
        assert_eq!(scalar("No"), "'No'");
        assert_eq!(scalar("{\"image\": 1}"), "'{\"image\": 1}'");
        assert_eq!(
            path("${HARNESS_MODELS:-/models}/a"),
            "${HARNESS_MODELS:-/models}/a"
        );
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in "\\PC{0,12}|[-a-z0-9'\"#:{}\\[\\], \n\t$&*!|>%@`~.=]{0,12}|---?[a-z]{0,3}|[0-9.eE+-]{0,6}") {
            for written in [scalar(&text), path(&text)] {
                let block: std::collections::BTreeMap<String, String> = serde_yaml::from_str(&format!("a: {written}\n")).unwrap();
                prop_assert_eq!(&block["a"], &text);
            }
            let flow: Vec<String> = serde_yaml::from_str(&format!("[{}, b]", scalar(&text))).unwrap();
            prop_assert_eq!(&flow[0], &text);
        }

        #[test]
        fn comments_stay_comments(text in any::<String>(), indent in 0usize..8) {
            for line in comment(&text, indent).lines() {
                prop_assert!(line.trim_start().starts_with('#'), "{line:?}");
            }
        }
    }
}
