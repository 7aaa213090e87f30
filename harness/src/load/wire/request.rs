//! Requests as bytes. The body is made once, by the same code as every other request of the harness, and cut at its two
//! holes: the prompt, and the number of tokens. What is sent is those parts with a prompt and a number between them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::load::spec::PromptBody;

/// In the place of the number of tokens.
const TOKENS_HOLE: u32 = u32::MAX;
/// In the place of a text.
pub const TEXT_HOLE: &str = "@@the prompt@@";
/// In the place of token ids.
pub const IDS_HOLE: [u32; 1] = [u32::MAX - 1];

/// The number of tokens that stands for the hole.
pub const fn tokens_hole() -> u32 {
    TOKENS_HOLE
}

/// A hole of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    Prompt,
    Tokens,
}

/// Everything of a request that is the same for all.
#[derive(Debug, Clone)]
pub struct Template {
    /// Up to the value of `content-length`.
    head: Vec<u8>,
    /// The body's parts, each with the hole before it.
    begin: Vec<u8>,
    parts: [(Hole, Vec<u8>); 2],
}

impl Template {
    /// A template of requests to `path` at `host`. `body` holds the holes. `None` where it does not hold both once.
    pub fn new(host: &str, path: &str, fields: &[(String, String)], body: &Value) -> Option<Self> {
        let text = body.to_string();
        let ids = format!("[{}]", IDS_HOLE[0]);
        let prompt = if text.contains(TEXT_HOLE) {
            TEXT_HOLE
        } else {
            ids.as_str()
        };
        let tokens = TOKENS_HOLE.to_string();
        let holes = [(Hole::Prompt, prompt), (Hole::Tokens, tokens.as_str())];
        let mut places = holes.map(|(hole, word)| (text.find(word), hole, word.len()));
        places.sort_by_key(|place| place.0);
        let [
            (Some(first), first_hole, first_len),
            (Some(second), second_hole, second_len),
        ] = places
        else {
            return None;
        };
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n");
        for (name, value) in fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("content-type: application/json\r\ncontent-length: ");
        Some(Self {
            head: head.into_bytes(),
            begin: text[..first].into(),
            parts: [
                (first_hole, text[first + first_len..second].into()),
                (second_hole, text[second + second_len..].into()),
            ],
        })
    }

    /// Writes a request into `out`; `body` is room for its body.
    pub fn render(&self, prompt: &PromptBody, tokens: u32, body: &mut Vec<u8>, out: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(&self.begin);
        for (hole, part) in &self.parts {
            match hole {
                Hole::Tokens => write_number(u64::from(tokens), body),
                Hole::Prompt => write_prompt(prompt, body),
            }
            body.extend_from_slice(part);
        }
        out.clear();
        out.extend_from_slice(&self.head);
        write_number(body.len() as u64, out);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }
}

fn write_prompt(prompt: &PromptBody, out: &mut Vec<u8>) {
    match prompt {
        PromptBody::Text(text) => out.extend_from_slice(text.as_bytes()),
        PromptBody::TokenIds(ids) => {
            let mut before = b'[';
            for id in ids {
                out.push(before);
                write_number(u64::from(*id), out);
                before = b',';
            }
            out.extend_from_slice(if ids.is_empty() { b"[]" } else { b"]" });
        }
    }
}

/// Decimal digits; a formatter costs several times as much, and a prompt holds hundreds of numbers.
fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn render(body: &Value, prompt: &PromptBody) -> String {
        let fields = [("authorization".to_owned(), "Bearer key".to_owned())];
        let template = Template::new("h:1", "/v1/completions", &fields, body).unwrap();
        let (mut room, mut out) = (Vec::new(), Vec::new());
        template.render(prompt, 16, &mut room, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn holes_are_filled_in_either_order() {
        let ids = json!({ "max_tokens": TOKENS_HOLE, "prompt": IDS_HOLE, "stream": true });
        insta::assert_snapshot!(render(&ids, &PromptBody::TokenIds(vec![1, 205, 30_000])));
        let text = json!({ "content": TEXT_HOLE, "max_tokens": TOKENS_HOLE });
        let filled = render(&text, &PromptBody::Text("say \\\"x\\\"".into()));
        assert!(
            filled.ends_with("\r\n\r\n{\"content\":\"say \\\"x\\\"\",\"max_tokens\":16}"),
            "{filled}"
        );
        assert!(filled.contains("content-length: 39\r\n"), "{filled}");
    }

    #[test]
    fn a_body_without_its_holes_is_no_template() {
        assert!(Template::new("h", "/", &[], &json!({ "max_tokens": TOKENS_HOLE })).is_none());
        assert!(Template::new("h", "/", &[], &json!({ "prompt": TEXT_HOLE })).is_none());
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_rust_writes_them(number: u64) {
            let mut out = Vec::new();
            write_number(number, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
