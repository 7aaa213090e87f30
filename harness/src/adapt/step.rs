//! What a search and the one who boots for it say to each other.

use std::sync::Arc;

use super::{Change, Conclusion, KeptChange, Remedy};
use crate::{manifest::LoadedModel, record::BootFailed};

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most servers that are booted.
    pub attempts: usize,
    /// Most cards that one may take.
    pub most_cards: u32,
}

/// Settings to boot.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Number of the attempt, from 1.
    pub number: usize,
    /// The manifest with the changes.
    pub model: Arc<LoadedModel>,
    /// What is tried, in words.
    pub tried: String,
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The server booted and answered a prompt.
    Works {
        /// Seconds until it answered.
        boot_s: f64,
        /// Its answer.
        answer: String,
    },
    /// It did not.
    Failed {
        /// Why.
        failure: BootFailed,
        /// Last phase of the boot that its log shows.
        phase: Option<String>,
    },
    /// The user stopped it.
    Interrupted,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Boot these settings, and [`Search::tell`](super::Search::tell) how it ended.
    Boot(Candidate),
    /// Nothing more.
    Done(Conclusion),
}

/// A change that is in force.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub remedy: Remedy,
    pub because: String,
    pub change: Change,
    /// Whether the failure moved on, or the server worked, when it was made.
    pub proven: bool,
}

impl Kept {
    pub fn told(&self) -> KeptChange {
        KeptChange {
            remedy: self.remedy,
            change: self.change.words.clone(),
            because: self.because.clone(),
            proven: self.proven,
        }
    }
}
