//! Validates large language models on MetaX C500 accelerators against goldens and budgets.
//!
//! The floors, from top to bottom; a module uses only what lies below it: `cli`, `run`, `bench`, `baselines`, `review`, `report`, `judge`, `load`,
//! `target`, `golden`, `sandbox`, `prompt`, `failure`, `vllm`, `device`, `stats`, `manifest`, `record`.

pub mod baselines;
pub mod bench;
pub mod cli;
pub mod device;
pub mod failure;
pub mod golden;
pub mod judge;
pub mod load;
pub mod manifest;
pub mod prompt;
pub mod record;
pub mod report;
pub mod review;
pub mod run;
pub mod sandbox;
pub mod stats;
pub mod target;
pub mod vllm;
