//! Finds a message in a line by vLLM's own format string: `{}` stands for a number, `{s}` for any text.
//!
//! The line is searched, not matched from its start, since versions put tags and file names before a message. A
//! template begins with literal text.

/// What the holes of `template` hold in `text`, in order; `None` where the text is not there.
pub(super) fn captures<'t>(template: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let literal_end = template.find('{').unwrap_or(template.len());
    let (literal, holes) = template.split_at(literal_end);
    text.match_indices(literal)
        .find_map(|(at, _)| fill(holes, &text[at + literal.len()..]))
}

fn fill<'t>(mut holes: &str, mut text: &'t str) -> Option<Vec<&'t str>> {
    let mut captured = Vec::new();
    while !holes.is_empty() {
        let (is_number, after) = match holes.strip_prefix("{}") {
            Some(after) => (true, after),
            None => (false, holes.strip_prefix("{s}")?),
        };
        let literal_end = after.find('{').unwrap_or(after.len());
        let (literal, rest) = after.split_at(literal_end);
        let end = if is_number {
            number_end(text)
        } else if literal.is_empty() {
            text.len()
        } else {
            text.find(literal)?
        };
        captured.push(&text[..end]);
        text = text[end..].strip_prefix(literal)?;
        if is_number && end == 0 {
            return None;
        }
        holes = rest;
    }
    Some(captured)
}

/// Where the number at the start of a text ends. Thousands may be separated; a full stop behind a number belongs to
/// the sentence.
fn number_end(text: &str) -> usize {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || ".,-+e".contains(c)))
        .unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', 'e', '-', '+']).len()
}

/// The number in a hole.
pub(super) fn number(text: &str) -> Option<f64> {
    text.replace(',', "")
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_captured() {
        let text = "[tag] GPU KV cache size: 1,299,056 tokens, Maximum concurrency for 8,192 tokens per request: 36.51x";
        assert_eq!(captures("KV cache size: {} tokens", text).unwrap(), ["1,299,056"]);
        assert_eq!(number("1,299,056"), Some(1_299_056.0));
        let both = captures("Maximum concurrency for {} tokens per request: {}x", text).unwrap();
        assert_eq!(both, ["8,192", "36.51"]);
        assert_eq!(
            captures("Using {s} backend", "Using Flash Attention backend.").unwrap(),
            ["Flash Attention"]
        );
        assert_eq!(
            captures("length is {}", "the estimated maximum model length is 4096.").unwrap(),
            ["4096"]
        );
        assert_eq!(
            captures("memory: {} GiB", "Available KV cache memory: -0.25 GiB").unwrap(),
            ["-0.25"]
        );
        assert_eq!(
            captures("architecture: {s}", "Resolved architecture: X").unwrap(),
            ["X"]
        );
    }

    #[test]
    fn other_texts_are_not() {
        assert_eq!(captures("took {} GiB", "took long"), None);
        assert_eq!(captures("took {} GiB", "took 1.5 MiB"), None);
        assert_eq!(
            captures("took {} GiB", "it took long, then took 1.5 GiB").unwrap(),
            ["1.5"]
        );
        assert_eq!(number("1.2.3"), None);
        assert_eq!(number("1e999"), None);
    }
}
