//! Gating an upgrade: sessions on a baseline stack and on a candidate stack → may it ship? Pure; sessions are run by
//! `run::interleave` or were run before.
//!
//! A model fails for wrong answers, for memory that grew, for speed that was lost, or because it no longer boots. It
//! passes only with evidence of each kind that was asked for. What makes a comparison meaningless makes it invalid, and
//! no figure then counts.

mod answers;
mod arm;
mod attribute;
mod bisect;
mod judge;
mod layers;
mod memory;
mod metric;
pub mod power;
mod precondition;
mod report;
mod speed;
mod waiving;

#[cfg(test)]
mod tests;

pub use answers::{AnswersGate, CaseChange, Change};
pub use arm::{Arm, Boot, CaseOutcome};
pub use attribute::{Chain, Step, chain};
pub use bisect::{Bisection, Probe, bisect};
pub use judge::{Comparison, ModelGate, Question, Sides, judge};
pub use layers::{Difference, Layer, differences};
pub use memory::MemoryGate;
pub use metric::Metric;
pub use report::{GateReport, SCHEMA_VERSION, markdown, terminal};
pub use speed::{ALPHA, Looks, MetricGate, PASS_LEVEL, POWER, Series, Tolerances, judge as judge_speed};
