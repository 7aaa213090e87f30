//! Text within a golden: lines behind a bar, so that no text can be taken for a heading, and control characters as
//! `\u{…}`, so that a carriage return or an escape sequence survives editors, terminals and insta.

use std::fmt::Write as _;

/// Characters that the excerpt of a prompt keeps at its begin and at its end.
const EXCERPT: (usize, usize) = (1_200, 800);

/// The text with its middle left out where it is long; the length left out is told.
pub fn excerpt(text: &str) -> String {
    let characters = text.chars().count();
    let (head, tail) = EXCERPT;
    if characters <= head + tail {
        return text.to_owned();
    }
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(characters - tail).collect();
    format!(
        "{begin} […{} characters left out…] {end}",
        characters - head - tail
    )
}

/// Appends the text, each line behind a bar.
pub fn push_lines(out: &mut String, text: &str) {
    for line in text.split('\n') {
        out.push('|');
        if !line.is_empty() {
            out.push(' ');
            escape(out, line);
        }
        out.push('\n');
    }
}

fn escape(out: &mut String, line: &str) {
    for (at, character) in line.char_indices() {
        let escapes_itself = character == '\\' && line[at..].starts_with("\\u{");
        if escapes_itself || (character.is_control() && character != '\t') {
            // Writing to a String does not fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        } else {
            out.push(character);
        }
    }
}

/// The line of text behind a bar; the error says what is wrong with it.
pub fn parse_line(line: &str) -> Result<String, String> {
    let Some(rest) = line.strip_prefix('|') else {
        return Err(format!("expected a line of text behind `|`, found {line:?}"));
    };
    if rest.is_empty() {
        return Ok(String::new());
    }
    let Some(mut rest) = rest.strip_prefix(' ') else {
        return Err("expected a blank behind `|`".to_owned());
    };
    let mut text = String::with_capacity(rest.len());
    while let Some((before, escaped)) = rest.split_once("\\u{") {
        text.push_str(before);
        let character = escaped.split_once('}').and_then(|(digits, after)| {
            Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, after))
        });
        let Some((character, after)) = character else {
            return Err("`\\u{` without the digits of a character and `}`".to_owned());
        };
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_readable_and_control_characters_survive() {
        let mut out = String::new();
        push_lines(&mut out, "\\frac{1}{2}\n\n# answer\r\n\u{1b}[31m\\u{41}");
        assert_eq!(
            out,
            "| \\frac{1}{2}\n|\n| # answer\\u{d}\n| \\u{1b}[31m\\u{5c}u{41}\n"
        );
    }

    #[test]
    fn lines_that_were_edited_are_refused() {
        assert!(parse_line("text").unwrap_err().contains("behind `|`"));
        assert!(parse_line("|text").unwrap_err().contains("blank"));
        assert!(parse_line("| \\u{110000}").is_err());
        assert!(parse_line("| \\u{41").is_err());
    }

    #[test]
    fn a_long_prompt_keeps_both_ends() {
        let text = format!("begin{}end", "长".repeat(3_000));
        let short = excerpt(&text);
        assert!(
            short.starts_with("begin长") && short.ends_with("长end"),
            "{short}"
        );
        assert!(short.contains("[…1008 characters left out…]"), "{short}");
        assert_eq!(excerpt("short"), "short");
    }
}
