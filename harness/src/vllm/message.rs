//! Requests and answers in the harness's own words, independent of endpoint and version; the client translates.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::{Tool, ToolCall};

/// What the model is to continue or to answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Text for `/v1/completions`.
    Text(String),
    /// Token ids for `/v1/completions`.
    TokenIds(Vec<u32>),
    /// Turns for `/v1/chat/completions`.
    Chat(Vec<Message>),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
    /// PNG files shown before the text, as bytes.
    pub images: Vec<Vec<u8>>,
}

/// A request. Sampling is greedy and every sampling parameter is pinned: temperature 0, top_p 1, top_k off,
/// repetition penalty 1, and the given seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The prompt.
    pub prompt: Prompt,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Whether generation goes on past the end-of-sequence token, to reach `max_tokens` exactly.
    pub ignore_eos: bool,
    /// Seed.
    pub seed: u64,
    /// For each output token, its logprob and that many alternatives (at most 20).
    pub top_logprobs: Option<u8>,
    /// The same for each prompt token (`prompt_logprobs`).
    pub prompt_logprobs: Option<u8>,
    /// Asks for the prompt's logprobs by `echo` instead, as servers do that know no `prompt_logprobs`; on the completions
    /// endpoint alone, and only with `max_tokens` 0.
    pub echo: bool,
    /// Tools that the model may call.
    pub tools: Vec<Tool>,
    /// JSON schema that the server is to enforce.
    pub structured: Option<Value>,
    /// `enable_thinking` for templates that know it; `None` says nothing.
    pub thinking: Option<bool>,
}

impl Request {
    /// Scores a sequence (teacher forcing): the logprob of each of its tokens and `alternatives` more, by
    /// `prompt_logprobs` and one token that is thrown away, or by `echo` and none.
    pub fn scoring(sequence: Vec<u32>, alternatives: u8, echo: bool) -> Self {
        Self {
            prompt_logprobs: Some(alternatives),
            echo,
            ..Self::greedy(Prompt::TokenIds(sequence), u32::from(!echo))
        }
    }

    /// A plain greedy request.
    pub const fn greedy(prompt: Prompt, max_tokens: u32) -> Self {
        Self {
            prompt,
            max_tokens,
            stop: Vec::new(),
            ignore_eos: false,
            seed: 0,
            top_logprobs: None,
            prompt_logprobs: None,
            echo: false,
            tools: Vec::new(),
            structured: None,
            thinking: None,
        }
    }
}

/// Why generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// End-of-sequence token or a stop text.
    Stop,
    /// `max_tokens` or the model's length.
    Length,
    /// A tool is to be called.
    ToolCalls,
    /// A word that this harness does not know.
    #[serde(untagged)]
    Other(String),
}

/// Tokens as the server counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
}

/// A token with its log-probability (natural logarithm).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Token id.
    pub id: u32,
    /// Its logprob.
    pub logprob: f64,
}

/// One position of a sequence: the token that stands there and the likeliest alternatives, likeliest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The token.
    pub token: TokenLogprob,
    /// The likeliest tokens (the token itself among them where it is likely enough).
    pub top: Vec<TokenLogprob>,
}

/// An answer. What the server or its version does not tell is absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text, without the thought before it.
    pub text: String,
    /// The thought before the answer, where a reasoning parser separates it.
    pub reasoning: Option<String>,
    /// Calls of tools.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens as the server counted them.
    pub usage: Option<Usage>,
    /// Positions of the answer, where logprobs were asked for.
    pub positions: Vec<Position>,
    /// Positions of the prompt, where asked for; the first token has none.
    pub prompt_positions: Vec<Option<Position>>,
    /// Ids of the prompt's tokens, where the server tells them.
    pub prompt_ids: Option<Vec<u32>>,
}
