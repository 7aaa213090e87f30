//! A stand-in for a vLLM server on accelerators that are not here.
pub mod clock;
pub mod config;
pub mod faults;
pub mod language;
pub mod memory;
pub mod profile;
pub mod tokenizer;
pub mod version;
