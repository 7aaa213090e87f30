//! Conditions without which the figures of a phase mean nothing, each with its limit. A condition that is broken makes
//! the phase invalid; one that nothing is known of is named and breaks nothing.

mod answers;
mod cards;
mod client;
mod course;

use serde::{Deserialize, Serialize};

use super::{ClientFigures, Clock, LoadFigures, ServerFigures, probe::Audit};
use crate::record::{RequestSample, Verdict};

pub use cards::{CardSeen, CardsSeen};

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Held,
    /// It does not: the figures mean nothing.
    Broken,
    /// Worth a look, and no reason to throw the figures away.
    Doubtful,
    /// It cannot be told.
    Unknown,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Name.
    pub name: String,
    /// Whether it holds.
    pub state: State,
    /// What was measured, and the limit.
    pub text: String,
}

/// All that conditions rest on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The requests.
    pub samples: &'a [RequestSample],
    /// Their figures.
    pub figures: &'a LoadFigures,
    /// The client.
    pub client: &'a ClientFigures,
    /// The server's own figures, or why there are none.
    pub server: Result<&'a ServerFigures, &'a str>,
    /// Whether prompts share beginnings on purpose.
    pub shares_prefixes: bool,
    /// Requests that were sent before, to warm the server up.
    pub warmup: u64,
    /// What the server's count of tokens is worth, where that could be seen.
    pub audit: Option<Audit>,
    /// The server's cards, where a tool tells of them.
    pub cards: Option<&'a CardsSeen>,
    /// Clock of the figures.
    pub clock: Clock,
}

/// Every condition of a phase.
pub fn conditions(evidence: &Evidence<'_>) -> Vec<Condition> {
    [
        answers::output_lengths(evidence),
        answers::prompt_lengths(evidence),
        answers::usage(evidence),
        answers::server_counts(evidence),
        answers::server_times(evidence),
        answers::prefix_hits(evidence),
        client::schedule(evidence),
        client::reads(evidence),
        client::processor(evidence),
        course::warm_up(evidence),
        course::steady(evidence),
        client::clock(evidence),
        cards::alone(evidence),
        cards::throttling(evidence),
    ]
    .into_iter()
    .collect()
}

/// The verdict over a phase: failed requests fail it, a broken condition makes it invalid.
pub fn verdict(figures: &LoadFigures, conditions: &[Condition]) -> Verdict {
    if figures.failed() > 0 || figures.sent == 0 {
        Verdict::Failed
    } else if conditions
        .iter()
        .any(|condition| condition.state == State::Broken)
    {
        Verdict::Invalid
    } else {
        Verdict::Passed
    }
}

fn condition(name: &str, state: State, text: impl Into<String>) -> Condition {
    Condition {
        name: name.to_owned(),
        state,
        text: text.into(),
    }
}

fn held(name: &str, holds: bool, text: impl Into<String>) -> Condition {
    let state = if holds { State::Held } else { State::Broken };
    condition(name, state, text)
}

#[cfg(test)]
mod tests;
