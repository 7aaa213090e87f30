//! The index of finished runs, and what its figures did over time.
//!
//! Format: a folder of `*.jsonl` files, UTF-8 JSON lines. Each line is one session of one run, a [`Line`]; `history`
//! is its version, [`VERSION`]. Runs append to [`FILE`]; files that CI brings from elsewhere count as well, under any
//! other name. Lines are never rewritten: where a session is indexed twice, the later line holds. A line that cannot
//! be read is named with its file and number and passed over, so one damaged line costs one session.
//!
//! A trend holds figures that can be compared: of one model on one accelerator, in one number type, on one stack
//! unless stacks are joined. What was simulated never meets what was measured, nor another clock.

mod export;
mod line;
mod metric;
mod show;
mod spark;
mod store;
mod trend;

use std::{io, path::PathBuf};

pub use export::{csv, json};
pub use line::{Line, VERSION, lines};
pub use metric::{Better, MetricKind, kind};
pub use show::{damage, overview, single};
pub use store::{Damage, FILE, Index, append, read};
pub use trend::{Change, Difference, Key, Point, Trend, Wanted, trends};

/// Why the index cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or a folder.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes and does not end.
    #[error("{path} is being written by another process, for {seconds} s now")]
    Busy {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The lines could not be written as JSON or CSV.
    #[error("cannot lay out the history: {0}")]
    Layout(String),
}

#[cfg(test)]
mod tests;
