//! What requests ask for, and where they come from.

use std::sync::Arc;

use super::{prompts::Drawn, replay::Replayed};

/// What one request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The prompt.
    pub prompt: PromptBody,
    /// Tokens of the prompt, where they are known before the server counts them.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Which turn of which conversation it is.
    pub turn: Option<Turn>,
}

/// The prompt as the body of a request holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptBody {
    /// Token ids, for the completions endpoint.
    TokenIds(Vec<u32>),
    /// Text between the quotes of a JSON string, escaped. In a chat it is what the user says; in a later turn also what
    /// was said before, with the roles between.
    Text(String),
}

/// A turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Number of the conversation.
    pub conversation: u64,
    /// Number of the turn, from 0.
    pub number: u32,
    /// How many turns the conversation has.
    pub of: u32,
}

impl Turn {
    /// Number of its request: conversations one after another, turns within.
    pub const fn index(self) -> u64 {
        self.conversation * self.of as u64 + self.number as u64
    }
}

/// Where the requests of a phase come from.
#[derive(Debug, Clone)]
pub enum Requests {
    /// From a list, again from the first after the last, until there were so many.
    Listed {
        /// The list.
        specs: Arc<Vec<Spec>>,
        /// How many requests.
        count: u64,
    },
    /// Drawn from distributions, each by its number alone, so that it is the same whoever asks for it.
    Drawn(Drawn),
    /// From a trace of real traffic.
    Replayed(Replayed),
}

impl Requests {
    /// Each request of a list, once.
    pub fn listed(specs: Vec<Spec>) -> Self {
        Self::Listed {
            count: specs.len() as u64,
            specs: Arc::new(specs),
        }
    }

    /// The request of that number; `None` after the last.
    pub fn get(&self, index: u64) -> Option<Spec> {
        match self {
            Self::Listed { specs, count } => {
                let at = index.checked_rem(specs.len() as u64).filter(|_| index < *count)?;
                specs.get(usize::try_from(at).ok()?).cloned()
            }
            Self::Drawn(drawn) => drawn.get(index),
            Self::Replayed(replayed) => replayed.get(index),
        }
    }

    /// The next turn of a conversation, once the answer to the one before is known.
    pub fn follow(&self, before: &Spec, answer: &str) -> Option<Spec> {
        match self {
            Self::Listed { .. } | Self::Replayed(_) => None,
            Self::Drawn(drawn) => drawn.follow(before, answer),
        }
    }
}
