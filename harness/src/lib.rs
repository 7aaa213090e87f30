//! Validates large language models on MetaX C500 accelerators against goldens and budgets.
//!
//! The floors, from top to bottom; a module uses only what lies below it: `cli`, `run`, `report`, `judge`, `golden`,
//! `target`, `load`, `vllm`, `device`, `stats`, `manifest`,
//! `record`.

pub mod device;
pub mod manifest;
pub mod record;
pub mod vllm;
