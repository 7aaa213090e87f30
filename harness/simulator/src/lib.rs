//! A stand-in for a vLLM server on accelerators that are not here.
//!
//! It answers, logs, counts, keeps time and fails as the played release would, so that a harness cannot tell.
//! It shares no code with the harness: what one misreads the other must not repeat. From the bottom up:
//!
//! - `version`, `profile`, `config`, `faults`, `until`: what is played; `args`, `settings`: how it was started;
//! - `memory`: what fits a card; `tokenizer`, `language`: what is said, and how likely it was;
//! - `clock`, `engine`, `metrics`, `truth`: when tokens leave, and what is counted;
//! - `logs`, `api`: how that reads; `server`: the life of the process;
//! - `stream`: beside all that, a bare server at an exact pace, which load clients are measured against.

pub mod api;
pub mod args;
pub mod clock;
pub mod config;
pub mod engine;
pub mod faults;
pub mod json;
pub mod language;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod profile;
pub mod server;
pub mod settings;
pub mod stream;
pub mod tokenizer;
pub mod truth;
pub mod until;
pub mod version;
