//! The toy language model: a seeded function from a context to a distribution over the next token.
//!
//! Invariants: the same tokens give the same figures, whether they are generated or given (teacher forcing);
//! probabilities of the whole vocabulary sum to 1; the greedy token has rank 1. A context is folded into a
//! running hash of all its tokens, so no phrase repeats for ever. Where a known answer fits the context, its
//! next token leads the distribution.

mod answers;
mod distribution;

use std::sync::Arc;

pub use answers::{Answers, NO_THINKING, Plan, TOOLS_MARKER};
pub(crate) use distribution::gaussian;
pub use distribution::{Distribution, Noise, Sampler, Scored};

use crate::tokenizer::{BOS, EOS, TURN_END, TURN_START, Token, Tokenizer};

/// All of the past that the model looks at.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    hash: u64,
    last: Token,
    since_stop: u32,
}

/// Where in a sentence the next token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Opening,
    BetweenSentences,
    Within,
}

/// The model: a vocabulary and a seed.
#[derive(Debug)]
pub struct Language {
    tokenizer: Arc<Tokenizer>,
    seed: u64,
    full_stop: Token,
    comma: Token,
    newline: Token,
    blank_line: Token,
    tail_total: f64,
}

/// SplitMix64's finalizer: every bit of the result depends on every bit of both arguments.
fn mix(state: u64, value: u64) -> u64 {
    let mut word = (state ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A number in [0, 1) from a hash.
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// One of a list, by a hash; `None` of an empty list.
fn pick(list: &[Token], word: u64) -> Option<Token> {
    let index = usize::try_from(word % (list.len().max(1) as u64)).ok()?;
    list.get(index).copied()
}

impl Language {
    /// A model over that vocabulary.
    pub fn new(tokenizer: Arc<Tokenizer>, seed: u64) -> Self {
        let byte = |text: &str| tokenizer.encode(text).first().copied().unwrap_or(EOS);
        let (full_stop, comma, newline) = (byte("."), byte(","), byte("\n"));
        let blank_line = tokenizer.id("\n\n").unwrap_or(newline);
        let tail_total = distribution::tail_total(tokenizer.vocab_size());
        Self {
            tokenizer,
            seed,
            full_stop,
            comma,
            newline,
            blank_line,
            tail_total,
        }
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The context of no tokens.
    pub fn start(&self) -> Context {
        Context {
            hash: mix(self.seed, 0x5eed),
            last: BOS,
            since_stop: 0,
        }
    }

    /// The context of these tokens.
    pub fn read(&self, tokens: &[Token]) -> Context {
        let mut context = self.start();
        for token in tokens {
            self.push(&mut context, *token);
        }
        context
    }

    /// Adds a token to a context.
    pub fn push(&self, context: &mut Context, token: Token) {
        context.hash = mix(context.hash, u64::from(token));
        context.last = token;
        let stops = token == self.full_stop || self.opens(token);
        context.since_stop = if stops {
            0
        } else {
            context.since_stop.saturating_add(1)
        };
    }

    /// True when what follows the token begins a text.
    fn opens(&self, token: Token) -> bool {
        matches!(token, BOS | EOS | TURN_START | TURN_END)
            || token == self.newline
            || token == self.blank_line
    }

    fn place(&self, context: &Context) -> Place {
        if self.opens(context.last) {
            Place::Opening
        } else if context.last == self.full_stop {
            Place::BetweenSentences
        } else {
            Place::Within
        }
    }

    /// A token that fits the place, one for each `draw`.
    fn fitting(&self, context: &Context, draw: u64) -> Token {
        let word = mix(context.hash, draw.wrapping_add(1));
        let choice = unit(mix(word, 7));
        let list = match self.place(context) {
            Place::Opening => self.tokenizer.openers(),
            Place::BetweenSentences if choice < 0.12 => return EOS,
            Place::BetweenSentences if choice < 0.2 => return self.blank_line,
            Place::BetweenSentences => self.tokenizer.sentence_openers(),
            // No mark follows a comma.
            Place::Within if context.last == self.comma => self.tokenizer.words(),
            Place::Within if context.since_stop > 18 => return self.full_stop,
            Place::Within if context.since_stop > 5 && choice < 0.14 => return self.full_stop,
            Place::Within if context.since_stop > 2 && choice < 0.2 => return self.comma,
            Place::Within => self.tokenizer.words(),
        };
        // A vocabulary too small for words has single bytes only.
        pick(list, word).unwrap_or_else(|| self.newline + 1 + u32::from(word.to_le_bytes()[0] % 64) + 22)
    }

    /// The most likely next token, without the cost of the whole distribution.
    pub fn greedy(&self, context: &Context, planned: Option<Token>) -> Token {
        planned.unwrap_or_else(|| self.fitting(context, 0))
    }

    /// A number in [0, 1) for one position of a seeded request.
    pub fn draw(&self, seed: u64, position: u64) -> f64 {
        unit(mix(mix(self.seed ^ 0xd4a3, seed), position))
    }

    /// A token that is wrong at this place.
    pub fn garbled(&self, context: &Context, right: Token) -> Token {
        let wrong = |draw: u64| pick(self.tokenizer.words(), mix(context.hash, 0xbad + draw));
        (0..4)
            .filter_map(wrong)
            .find(|token| *token != right)
            .unwrap_or(self.comma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static VOCABULARY: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| Arc::new(Tokenizer::new(32_000)));

    pub(super) fn model() -> Language {
        Language::new(Arc::clone(&VOCABULARY), 1)
    }

    fn speak(model: &Language, prompt: &str, count: usize) -> Vec<Token> {
        let mut context = model.read(&model.tokenizer().encode(prompt));
        let mut tokens = Vec::new();
        for _ in 0..count {
            let token = model.greedy(&context, None);
            model.push(&mut context, token);
            tokens.push(token);
        }
        tokens
    }

    #[test]
    fn speech_is_a_function_of_seed_and_prompt() {
        let first = speak(&model(), "Once upon", 64);
        assert_eq!(first, speak(&model(), "Once upon", 64));
        assert_ne!(first, speak(&model(), "Once Upon", 64));
        assert_ne!(
            first,
            speak(&Language::new(Arc::clone(&VOCABULARY), 2), "Once upon", 64)
        );
    }

    #[test]
    fn no_phrase_of_eight_tokens_repeats() {
        let tokens = speak(&model(), "Tell me a story", 4_000);
        let mut seen = std::collections::HashSet::new();
        assert!(tokens.windows(8).all(|phrase| seen.insert(phrase)));
    }

    #[test]
    fn speech_ends_after_some_sentences() {
        let ends = (0..40).filter(|prompt| speak(&model(), &format!("Prompt {prompt}"), 400).contains(&EOS));
        assert!(ends.count() > 30);
    }

    #[test]
    fn speech_is_text_and_encodes_to_the_same_tokens() {
        let model = model();
        let tokens = speak(&model, "Once upon a time", 200);
        let spoken: Vec<_> = tokens.into_iter().take_while(|token| *token != EOS).collect();
        let text = model.tokenizer().decode(&spoken, false);
        assert_eq!(model.tokenizer().encode(&text), spoken, "{text}");
    }

    #[test]
    fn the_smallest_vocabulary_speaks_too() {
        let model = Language::new(Arc::new(Tokenizer::new(512)), 1);
        let tokens = speak(&model, "Hi", 100);
        assert!(tokens.iter().all(|token| *token < 512));
    }
}
