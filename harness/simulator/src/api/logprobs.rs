//! Figures of tokens in the three shapes that answers have: a completion's parallel lists, a chat's list of
//! entries, and the prompt's dictionaries by token id.

use crate::engine::Position;
use crate::json::{Object, list, quoted};
use crate::language::Scored;
use crate::tokenizer::{Token, Tokenizer};

/// Least logprob an answer shows; JSON knows no infinity.
const LEAST: f32 = -9999.0;

/// How tokens are written.
#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    /// Vocabulary.
    pub tokenizer: &'a Tokenizer,
    /// `token_id:123` instead of text.
    pub as_ids: bool,
}

impl Style<'_> {
    fn name(&self, token: Token) -> String {
        if self.as_ids {
            format!("token_id:{token}")
        } else {
            self.tokenizer.text(token)
        }
    }
}

/// The chosen token, then the alternatives that are not it.
fn ordered(position: &Position) -> impl Iterator<Item = &Scored> {
    let chosen = position.chosen.token;
    std::iter::once(&position.chosen).chain(position.top.iter().filter(move |other| other.token != chosen))
}

fn number(logprob: f32) -> String {
    // As Python prints a float32 that was widened.
    serde_json::to_string(&f64::from(logprob.max(LEAST))).unwrap_or_else(|_| "null".to_owned())
}

/// `{text_offset, token_logprobs, tokens, top_logprobs}` of a completion. Returns the JSON and the offset of
/// the text that follows.
pub fn completion(
    style: Style<'_>,
    tokens: &[(Token, Option<&Position>)],
    alternatives: usize,
    first_offset: usize,
) -> (String, usize) {
    let (mut offsets, mut logprobs, mut names, mut tops) = (vec![], vec![], vec![], vec![]);
    let mut offset = first_offset;
    for (token, position) in tokens {
        let name = style.name(*token);
        offsets.push(offset.to_string());
        offset += name.chars().count();
        names.push(quoted(&name));
        logprobs.push(position.map_or("null".to_owned(), |position| number(position.chosen.logprob)));
        tops.push(position.map_or("null".to_owned(), |position| {
            top_dictionary(style, position, alternatives)
        }));
    }
    let json = Object::new()
        .raw("text_offset", &list(offsets))
        .raw("token_logprobs", &list(logprobs))
        .raw("tokens", &list(names))
        .raw("top_logprobs", &list(tops));
    (json.end(), offset)
}

fn top_dictionary(style: Style<'_>, position: &Position, alternatives: usize) -> String {
    let mut seen = Vec::new();
    let mut object = Object::new();
    for scored in ordered(position).take(alternatives + 1) {
        let name = style.name(scored.token);
        if !seen.contains(&name) {
            object = object.raw(&name, &number(scored.logprob));
            seen.push(name);
        }
    }
    object.end()
}

fn bytes(text: &str) -> String {
    list(text.bytes().map(|byte| byte.to_string()))
}

/// One entry of a chat's `logprobs.content`.
pub fn chat_entry(style: Style<'_>, position: &Position, alternatives: usize) -> String {
    let chosen = position.chosen;
    let top = ordered(position).take(alternatives).map(|scored| {
        let name = style.name(scored.token);
        // Here vLLM gives the bytes of the name, even when that is `token_id:…`.
        let entry = Object::new()
            .field("token", &name)
            .raw("logprob", &number(scored.logprob));
        entry.raw("bytes", &bytes(&name)).end()
    });
    Object::new()
        .field("token", style.name(chosen.token))
        .raw("logprob", &number(chosen.logprob))
        .raw("bytes", &bytes(&style.tokenizer.text(chosen.token)))
        .raw("top_logprobs", &list(top))
        .end()
}

/// `prompt_logprobs`: a list of `null` and `{id: {logprob, rank, decoded_token}}`.
pub fn prompt(tokenizer: &Tokenizer, figures: &[Option<Position>]) -> String {
    list(figures.iter().map(|position| {
        let Some(position) = position else {
            return "null".to_owned();
        };
        let entries = ordered(position).fold(Object::new(), |object, scored| {
            let entry = Object::new()
                .raw("logprob", &number(scored.logprob))
                .field("rank", scored.rank)
                .field("decoded_token", tokenizer.text(scored.token));
            object.raw(&scored.token.to_string(), &entry.end())
        });
        entries.end()
    }))
}
