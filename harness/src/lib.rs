//! Validates large language models on MetaX C500 accelerators against goldens and budgets.
//!
//! The floors, from top to bottom; a module uses only what lies below it: `cli`, `bench`, `run`, `adapt`, `gate`,
//! `history`, `matrix`, `intake`, `baselines`, `review`, `report`, `audit`, `judge`, `load`, `target`, `capacity`,
//! `golden`, `sandbox`, `prompt`, `failure`, `vllm`, `device`, `stats`, `manifest`, `record`, `git`.

pub mod adapt;
pub mod audit;
pub mod baselines;
pub mod bench;
pub mod capacity;
pub mod cli;
pub mod device;
pub mod failure;
pub mod gate;
pub mod git;
pub mod golden;
pub mod history;
pub mod intake;
pub mod judge;
pub mod load;
pub mod manifest;
pub mod matrix;
pub mod prompt;
pub mod record;
pub mod report;
pub mod review;
pub mod run;
pub mod sandbox;
pub mod stats;
pub mod target;
pub mod vllm;
