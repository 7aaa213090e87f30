//! What the facts of a host mean for running a stack: pure, so that every host can be tested on any.
//!
//! `wrong` is what makes a run of the stack fail, `warning` what may, or what fails only some of its models. Each has
//! a remedy.

mod device;
mod host;

use serde::Serialize;

use super::facts::Facts;
use crate::manifest::LoadedStack;

/// One line of the doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    pub(super) name: String,
    /// Whether it will do.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

/// Whether something will do, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It will.
    Ok,
    /// It may not.
    Warning,
    /// It will not.
    Wrong,
}

impl State {
    /// The word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn bad(
        state: State,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            state,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Everything that was looked at. Without a stack only what no run can do without is wrong.
pub(super) fn checks(facts: &Facts, stack: Option<&LoadedStack>) -> Vec<Check> {
    let stack = stack.map(|loaded| &loaded.stack);
    let mut checks = device::checks(facts, stack);
    checks.extend(host::checks(facts, stack));
    checks
}

#[cfg(test)]
mod tests;
