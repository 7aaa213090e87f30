//! Knowledge of vLLM: how its versions are asked, what they answer and what they print.

mod message;

pub use message::{Answer, FinishReason, Message, Position, Prompt, Request, Role, TokenLogprob, Usage};
