//! Validates large language models on MetaX C500 accelerators against goldens and budgets.
//!
//! The floors, from top to bottom; a module uses only what lies below it: `cli`, `run`, `report`, `judge`, `golden`,
//! `target`, `load`, `vllm`, `stats`, `manifest`, `record`.

pub mod golden;
pub mod judge;
pub mod manifest;
pub mod record;
pub mod sandbox;
pub mod vllm;
