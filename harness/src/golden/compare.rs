//! Golden against answer, by token ids: identical, a near tie that rounding explains, or divergent.
//!
//! Free greedy generation parts at the first position where rounding or a fault makes another token the likeliest.
//! vLLM's own rule (`check_logprobs_close`: each token in the other side's top N) has no numeric tolerance; here both
//! margins must be small too. Nothing is compared that cannot be: missing ids, another prompt, another tokenizer.

use super::Golden;
use crate::vllm::{Answer, FinishReason, Position};

/// In a near tie, each side's token is among this many likeliest of the other.
const NEAR_TIE_RANKS: usize = 5;

/// Characters of context on each side of a divergence.
const CONTEXT: usize = 60;

/// How an answer stands to its golden.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// The same token ids and the same text.
    Identical,
    /// They part where both tokens were nearly as likely on both sides.
    NearTie(Divergence),
    /// They part where rounding does not explain it.
    Divergent(Divergence),
    /// They cannot be compared.
    Incomparable(Incomparable),
}

/// Where two token sequences part.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// Position, from 0.
    pub position: usize,
    /// End of the text that both sides share.
    pub shared: String,
    /// The golden's side.
    pub golden: Side,
    /// The answer's side.
    pub answer: Side,
}

/// One side of a divergence.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Its token; `None` where this side ended here.
    pub token: Option<u32>,
    /// The token's text, where it is known.
    pub piece: Option<String>,
    /// How much likelier its own token was than the other side's, in nat.
    pub margin: Margin,
    /// How its text goes on.
    pub after: String,
}

/// A difference of two logprobs at one position, in nat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// Both tokens are among the alternatives.
    Exactly(f64),
    /// The other token is less likely than every alternative listed.
    AtLeast(f64),
    /// One side has no token here.
    Unknown,
}

/// Why two sides cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    /// The answer or the golden has no token ids, and the texts differ.
    #[error(
        "the {side} has no token ids, and the texts differ; ask a server that gives logprobs with token ids"
    )]
    NoTokenIds {
        /// `golden` or `answer`.
        side: &'static str,
    },
    /// The prompt became other tokens.
    #[error(
        "the prompt became other tokens: position {position} was {golden}, is {answer}; \
         the chat template, the tokenizer or the case changed"
    )]
    PromptChanged {
        /// First position that differs, from 0.
        position: usize,
        /// Token of the golden, or where it ended.
        golden: String,
        /// Token of the answer, or where it ended.
        answer: String,
    },
    /// The same ids became another text.
    #[error(
        "the same {tokens} token ids became another text: {golden:?} was {answer:?}; \
         the tokenizer or the parser of the answer changed"
    )]
    TokenizerChanged {
        /// Number of ids.
        tokens: usize,
        /// The golden's text from where it differs.
        golden: String,
        /// The answer's.
        answer: String,
    },
    /// Fewer alternatives than a near tie needs.
    #[error(
        "position {position} of the {side} lists {listed} alternatives, a near tie needs {NEAR_TIE_RANKS}; raise max_logprobs"
    )]
    TooFewAlternatives {
        /// `golden` or `answer`.
        side: &'static str,
        /// Position, from 0.
        position: usize,
        /// Alternatives listed there.
        listed: usize,
    },
    /// A logprob is not a number: the stack computes NaN.
    #[error("the logprob of position {position} is not a number: the stack computes NaN")]
    NotANumber {
        /// Position, from 0.
        position: usize,
    },
    /// One side was allowed more tokens.
    #[error(
        "the {side} was cut at {tokens} tokens and the other side went on: max_tokens or the context length changed"
    )]
    Limit {
        /// `golden` or `answer`.
        side: &'static str,
        /// Tokens at which it was cut.
        tokens: usize,
    },
}

/// Compares an answer with the golden of its case.
pub fn compare(golden: &Golden, answer: &Answer) -> Comparison {
    match examine(golden, answer) {
        Ok(comparison) => comparison,
        Err(incomparable) => Comparison::Incomparable(incomparable),
    }
}

fn examine(golden: &Golden, answer: &Answer) -> Result<Comparison, Incomparable> {
    same_prompt(
        &golden.prompt_ids,
        answer.prompt_ids.as_deref().unwrap_or_default(),
    )?;
    if golden.positions.is_empty() || answer.positions.is_empty() {
        return without_ids(golden, answer);
    }
    if let Some(position) = answer.positions.iter().position(holds_nan) {
        return Err(Incomparable::NotANumber { position });
    }
    let ids = |positions: &[Position], at: usize| positions.get(at).map(|position| position.token.id);
    let longest = golden.positions.len().max(answer.positions.len());
    match (0..longest).find(|&at| ids(&golden.positions, at) != ids(&answer.positions, at)) {
        None => same_text(golden, answer),
        Some(at) => part(golden, answer, at),
    }
}

/// A token's id, or that the sequence ended.
fn token_or_end(id: Option<&u32>) -> String {
    id.map_or_else(|| "the end".to_owned(), |id| format!("token {id}"))
}

/// Whether two lists of ids are the same prompt. Nothing is said where one side does not know.
pub fn same_prompt(recorded: &[u32], asked: &[u32]) -> Result<(), Incomparable> {
    if recorded.is_empty() || asked.is_empty() || recorded == asked {
        return Ok(());
    }
    let position = recorded
        .iter()
        .zip(asked)
        .take_while(|(recorded, asked)| recorded == asked)
        .count();
    Err(Incomparable::PromptChanged {
        position,
        golden: token_or_end(recorded.get(position)),
        answer: token_or_end(asked.get(position)),
    })
}

fn holds_nan(position: &Position) -> bool {
    position.token.logprob.is_nan() || position.top.iter().any(|token| token.logprob.is_nan())
}

/// Whether the golden's output ids still become its text. `decoded` is their text of today, special tokens included,
/// so it may go on where the answer ends. An answer that its server split into thought or calls says nothing here.
pub fn same_tokenizer(golden: &Golden, decoded: &str) -> Result<(), Incomparable> {
    if golden.reasoning.is_some() || !golden.tool_calls.is_empty() {
        return Ok(());
    }
    // An answer that was cut inside a character ends with a replacement for it, or without it.
    let known = |text: &str| text.trim().trim_end_matches('\u{fffd}').to_owned();
    let (recorded, decoded) = (known(&golden.answer), known(decoded));
    if decoded.starts_with(&recorded) || recorded.starts_with(&decoded) && !decoded.is_empty() {
        return Ok(());
    }
    let (_, recorded, decoded) = split_shared(&recorded, &decoded);
    Err(Incomparable::TokenizerChanged {
        tokens: golden.positions.len(),
        golden: head(recorded),
        answer: head(decoded),
    })
}

/// Without ids, only equal texts say something.
fn without_ids(golden: &Golden, answer: &Answer) -> Result<Comparison, Incomparable> {
    if same_output(golden, answer) {
        return Ok(Comparison::Identical);
    }
    let side = if golden.positions.is_empty() {
        "golden"
    } else {
        "answer"
    };
    Err(Incomparable::NoTokenIds { side })
}

fn same_output(golden: &Golden, answer: &Answer) -> bool {
    golden.answer == answer.text
        && golden.reasoning == answer.reasoning
        && golden.tool_calls == answer.tool_calls
}

fn same_text(golden: &Golden, answer: &Answer) -> Result<Comparison, Incomparable> {
    if same_output(golden, answer) {
        return Ok(Comparison::Identical);
    }
    let (golden_text, answer_text) = (
        output_text(golden.reasoning.as_ref(), &golden.answer),
        output_text(answer.reasoning.as_ref(), &answer.text),
    );
    let (_, golden_rest, answer_rest) = split_shared(&golden_text, &answer_text);
    Err(Incomparable::TokenizerChanged {
        tokens: golden.positions.len(),
        golden: head(golden_rest),
        answer: head(answer_rest),
    })
}

fn part(golden: &Golden, answer: &Answer, at: usize) -> Result<Comparison, Incomparable> {
    let ours = golden.positions.get(at);
    let theirs = answer.positions.get(at);
    if ours.is_none() && golden.header.finish == FinishReason::Length {
        return Err(Incomparable::Limit {
            side: "golden",
            tokens: at,
        });
    }
    if theirs.is_none() && answer.finish == FinishReason::Length {
        return Err(Incomparable::Limit {
            side: "answer",
            tokens: at,
        });
    }
    let near = match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            near_side(ours, theirs.token.id, golden.near_tie_nat(), "golden", at)?
                && near_side(theirs, ours.token.id, golden.near_tie_nat(), "answer", at)?
        }
        _ => false,
    };
    let divergence = divergence(golden, answer, at);
    Ok(if near {
        Comparison::NearTie(divergence)
    } else {
        Comparison::Divergent(divergence)
    })
}

/// Whether, on this side, the other side's token was nearly as likely as the own one.
fn near_side(
    own: &Position,
    other: u32,
    tau_nat: f64,
    side: &'static str,
    position: usize,
) -> Result<bool, Incomparable> {
    let margin = margin(own, other);
    match margin {
        Margin::Exactly(nat) => Ok(nat <= tau_nat && rank(own, other) <= NEAR_TIE_RANKS),
        Margin::AtLeast(nat) if nat > tau_nat => Ok(false),
        Margin::AtLeast(_) | Margin::Unknown if own.top.len() < NEAR_TIE_RANKS => {
            Err(Incomparable::TooFewAlternatives {
                side,
                position,
                listed: own.top.len(),
            })
        }
        Margin::AtLeast(_) | Margin::Unknown => Ok(false),
    }
}

/// Rank of a token among those listed, from 1; counted by logprob, since servers may list the sampled token first.
fn rank(position: &Position, id: u32) -> usize {
    let logprob_of = |id| {
        position
            .top
            .iter()
            .find(|token| token.id == id)
            .map(|token| token.logprob)
    };
    logprob_of(id).map_or(usize::MAX, |logprob| {
        1 + position
            .top
            .iter()
            .filter(|token| token.logprob > logprob)
            .count()
    })
}

fn margin(own: &Position, other: u32) -> Margin {
    if let Some(other) = own.top.iter().find(|token| token.id == other) {
        return Margin::Exactly(own.token.logprob - other.logprob);
    }
    own.top
        .iter()
        .map(|token| token.logprob)
        .min_by(f64::total_cmp)
        .map_or(Margin::Unknown, |least| {
            Margin::AtLeast(own.token.logprob - least)
        })
}

fn divergence(golden: &Golden, answer: &Answer, at: usize) -> Divergence {
    let golden_text = output_text(golden.reasoning.as_ref(), &golden.answer);
    let answer_text = output_text(answer.reasoning.as_ref(), &answer.text);
    let (shared, golden_rest, answer_rest) = split_shared(&golden_text, &answer_text);
    let side = |own: Option<&Position>, other: Option<&Position>, rest| Side {
        token: own.map(|position| position.token.id),
        piece: own.and_then(|position| piece(golden, position.token.id)),
        margin: match (own, other) {
            (Some(own), Some(other)) => margin(own, other.token.id),
            _ => Margin::Unknown,
        },
        after: head(rest),
    };
    let (ours, theirs) = (golden.positions.get(at), answer.positions.get(at));
    Divergence {
        position: at,
        shared: tail(shared),
        golden: side(ours, theirs, golden_rest),
        answer: side(theirs, ours, answer_rest),
    }
}

/// Text of a token, where the golden holds it anywhere.
fn piece(golden: &Golden, id: u32) -> Option<String> {
    let at = golden
        .positions
        .iter()
        .position(|position| position.token.id == id)?;
    golden.pieces.get(at).cloned()
}

/// Thought and answer, as they were generated one after the other.
fn output_text(reasoning: Option<&String>, answer: &str) -> String {
    match reasoning {
        Some(thought) => format!("{thought}\n{answer}"),
        None => answer.to_owned(),
    }
}

fn split_shared<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str, &'a str) {
    let shared: usize = one
        .chars()
        .zip(other.chars())
        .take_while(|(one, other)| one == other)
        .map(|(one, _)| one.len_utf8())
        .sum();
    (&one[..shared], &one[shared..], &other[shared..])
}

fn head(text: &str) -> String {
    let mut characters = text.chars();
    let mut head: String = characters.by_ref().take(CONTEXT).collect();
    if characters.next().is_some() {
        head.push('…');
    }
    head
}

fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(CONTEXT) {
        Some((at, character)) => format!("…{}", &text[at + character.len_utf8()..]),
        None => text.to_owned(),
    }
}
