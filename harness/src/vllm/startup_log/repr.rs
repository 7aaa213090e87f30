//! Key and value pairs as Python prints them: a configuration (`a=1, b='x'`), a `Namespace(…)` and a dict.
//!
//! Values are kept as printed, without the quotes of a plain text. Keys that hold secrets are blanked: start-up
//! lines of 0.8.5 to 0.32 print them, and what is read here ends in reports.

use std::collections::BTreeMap;

const SECRETS: [&str; 3] = ["api_key", "hf_token", "watermark_config"];

/// Pairs of `key=value` or `'key': value`, separated by commas. Text that is neither is dropped.
pub(super) fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for part in split_outside(text, ',') {
        let Some((key, value)) = pair(part.trim()) else {
            continue;
        };
        let value = if SECRETS.contains(&key) && value != "None" {
            "(hidden)"
        } else {
            unquoted(value)
        };
        pairs.insert(key.to_owned(), value.to_owned());
    }
    pairs
}

fn pair(part: &str) -> Option<(&str, &str)> {
    let separator = if part.starts_with(['\'', '"']) { ':' } else { '=' };
    let key = *split_outside(part, separator).first()?;
    let value = part.get(key.len() + 1..)?;
    let key = unquoted(key.trim());
    let is_name = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| (key, value.trim()))
}

fn unquoted(text: &str) -> &str {
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inside;
        }
    }
    text
}

/// Splits where the separator stands outside brackets and quotes.
fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quote, mut escaped) = (0, 0_usize, None, false);
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            if c == open && !escaped {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if c == separator && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_configuration_is_split_at_its_outer_commas() {
        let text = "model='/m, n', dtype=torch.bfloat16,max_seq_len=2048,  device_config=cpu, \
                    decoding_config=DecodingConfig(backend='auto', x=None), compilation_config={\"level\":0,\"a\":[1,2]}, ";
        let pairs = pairs(text);
        assert_eq!(pairs.len(), 6, "{pairs:?}");
        assert_eq!(pairs["model"], "/m, n");
        assert_eq!(pairs["max_seq_len"], "2048");
        assert_eq!(pairs["device_config"], "cpu");
        assert_eq!(pairs["decoding_config"], "DecodingConfig(backend='auto', x=None)");
        assert_eq!(pairs["compilation_config"], "{\"level\":0,\"a\":[1,2]}");
    }

    #[test]
    fn a_dict_is_read_and_secrets_are_not() {
        let pairs = pairs(
            r#"'host': '127.0.0.1', 'port': 8112, 'served_model_name': ['a', 'b'], 'api_key': ['s3cret'], 'note': "it's""#,
        );
        assert_eq!(pairs["port"], "8112");
        assert_eq!(pairs["served_model_name"], "['a', 'b']");
        assert_eq!(pairs["api_key"], "(hidden)");
        assert_eq!(pairs["note"], "it's");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-z]{1,3}=|'|\"|\\\\|[(){}\\[\\]]|, ?|: |é|\\PC){0,30}") {
            let _ = pairs(&text);
        }
    }
}
