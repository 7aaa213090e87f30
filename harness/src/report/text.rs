//! Foreign text made printable: answers of models, log lines, messages of servers.
//!
//! Nothing that leaves this file holds an escape sequence, a control character other than a line feed, or a
//! character that reorders the text around it; widths are columns of a terminal, where CJK takes two.

use std::{borrow::Cow, iter::Peekable, str::Chars};

use console::{measure_text_width, truncate_str};

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';

/// `text` in printable lines: escape sequences go, a carriage return ends a line as it does in progress output,
/// other control characters are spelt out.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ESCAPE => skip_sequence(&mut rest),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' => out.push('\n'),
            '\t' => out.push_str("    "),
            c if c.is_control() || reorders(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// `text` in one printable line; where it had several, `⏎` marks the seams.
pub fn one_line(text: &str) -> String {
    printable(text.trim())
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ⏎ ")
}

/// `text` cut to `width` columns, with `…` where something was cut.
pub fn clip(text: &str, width: usize) -> Cow<'_, str> {
    truncate_str(text, width, "…")
}

/// `text` filled up with spaces to `width` columns.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(measure_text_width(text));
    format!("{text}{:missing$}", "")
}

/// Columns that `text` takes.
pub fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// `text` in lines of at most `width` columns, broken between words where a word fits.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split(' ') {
            let gap = usize::from(!current.is_empty());
            if measure_text_width(&current) + gap + measure_text_width(word) <= width {
                current.extend(std::iter::repeat_n(' ', gap));
                current.push_str(word);
                continue;
            }
            if !current.is_empty() {
                lines.push(std::mem::take(&mut current));
            }
            break_word(word, width, &mut lines, &mut current);
        }
        lines.push(current);
    }
    lines
}

/// Breaks a word that may be wider than a line (a path, a text without spaces) anywhere.
fn break_word(word: &str, width: usize, lines: &mut Vec<String>, current: &mut String) {
    let mut used = 0;
    for c in word.chars() {
        let columns = measure_text_width(c.encode_utf8(&mut [0; 4]));
        if used + columns > width {
            lines.push(std::mem::take(current));
            used = 0;
        }
        current.push(c);
        used += columns;
    }
}

/// Passes over one escape sequence (ECMA-48). One that never ends loses only its introducer.
fn skip_sequence(rest: &mut Peekable<Chars<'_>>) {
    let mut ahead = rest.clone();
    let ended = match ahead.next() {
        Some('[') => ahead.any(|c| ('\u{40}'..='\u{7e}').contains(&c)),
        Some(']' | 'P' | '^' | '_' | 'X') => {
            let mut last = ' ';
            ahead.any(|c| {
                let ended = c == BELL || (last == ESCAPE && c == '\\');
                last = c;
                ended
            })
        }
        Some(_) => true,
        None => false,
    };
    if ended {
        *rest = ahead;
    }
}

/// Whether `c` changes the direction of the text around it, so that what is shown is not what is there.
const fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_go_and_control_characters_are_spelt_out() {
        assert_eq!(printable("\u{1b}[1;31mERROR\u{1b}[0m oom"), "ERROR oom");
        assert_eq!(printable("\u{1b}]0;title\u{7}a\u{1b}]8;;x\u{1b}\\b"), "ab");
        assert_eq!(printable("\u{1b}]never ends"), "]never ends");
        assert_eq!(printable("a\0b\u{202e}c"), "a\\u{0}b\\u{202e}c");
        assert_eq!(printable("10 %\r20 %\r\nend"), "10 %\n20 %\nend");
        assert_eq!(one_line("one\n  two\n"), "one ⏎ two");
    }

    #[test]
    fn widths_count_columns() {
        assert_eq!(width("显存"), 4);
        assert_eq!(pad("显存", 6), "显存  ");
        assert_eq!(clip("显存不足", 5), "显存…");
        assert_eq!(wrap("显存不足", 4), ["显存", "不足"]);
        assert_eq!(wrap("out of memory\n\nnext", 8), ["out of", "memory", "", "next"]);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_printable(text in any::<String>()) {
            let printed = printable(&text);
            prop_assert!(printed.chars().all(|c| c == '\n' || !c.is_control()));
            prop_assert!(!one_line(&text).contains('\n'));
        }

        #[test]
        fn wrapped_lines_fit_and_keep_every_letter(text in "[a-z 显\n]{0,80}", width in 2usize..30) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{lines:?}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
