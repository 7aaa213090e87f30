//! Settings that boot: what is tried, in which order, and what is told of it. Pure.
//!
//! The way of an engineer: boot; look at the class of the failure; make the change that helps against it most often;
//! boot again. Which remedy helps against what is data ([`rows`]); what a remedy writes is in [`Remedy`]; [`Search`]
//! decides what comes next and never tries the same settings twice; [`AdaptReport`] is what is left of it. The manifest
//! stays a text all along: each candidate is an edit of it that passed the checks of every manifest.

mod memory;
mod remedy;
mod render;
mod report;
mod search;
mod step;
mod table;
#[cfg(test)]
mod tests;

pub use remedy::{Remedy, Situation};
pub use render::{json, markdown, terminal};
pub use report::{AdaptReport, Attempt, AttemptEnd, Conclusion, KeptChange, Refused, SCHEMA_VERSION};
pub use search::Search;
pub use step::{Candidate, Ended, Limits, Next};
pub use table::{Entry, Row, row, rows};

use crate::manifest::Edit;

/// A change of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about: of two changes with one topic the later one holds.
    pub topic: &'static str,
    /// The change in words.
    pub words: String,
    /// The same as edits of the manifest's text.
    pub edits: Vec<Edit>,
}
