//! Knowledge of vLLM: how its versions are asked, what they answer and what they print.

mod arguments;
mod client;
mod environment;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod log_line;
mod message;
mod metrics;
mod sse;
pub mod startup_log;
mod stream;
pub mod version;

pub use arguments::{ArgError, Translation, flag_of, translate};
pub use client::{Client, ClientError, Health, ModelCard, Refusal, Timeouts};
pub use environment::translate_env;
pub use message::{Answer, FinishReason, Message, Position, Prompt, Request, Role, TokenLogprob, Usage};
pub use metrics::{CacheConfig, Counters, Metrics, MetricsError, Sample};
pub use sse::{MAX_EVENT_BYTES, Splitter, SseError};
pub use startup_log::{EngineKind, Phase, PhaseSeen, Reader, StartupFacts, complete_from_metrics};
pub use stream::{Keep, StreamEnd, StreamError, StreamReader};
pub use version::{CHANGES, Change, Dialect, StructuredField, changes_between, parse_version};
