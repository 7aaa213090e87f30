//! Review of goldens that wait: what changed, whether rounding explains it, and the reviewer's decision.
//!
//! [`pending`] pairs each `.snap.new` with its accepted golden; [`View`] is what a reviewer is shown of one, which
//! [`screen`] lays out for a terminal and [`page`] as one self-contained HTML file; [`accept`] and [`reject`] decide.
//! The files are those of `cargo insta`, which may be used in their stead: it asks for no reason and keeps none.
//!
//! Nothing is accepted unread: a pending golden that cannot be read, or whose accepted golden cannot, is only
//! rejected.

mod decide;
mod difference;
pub mod page;
pub mod screen;
mod tokens;
mod view;
mod walk;

pub use decide::{accept, accept_all, reject};
pub use difference::{Alternative, Difference, ReasonNeeded, SharedDrift, Standing};
pub use tokens::{Change, Stretch, TokenDiff};
pub use view::View;
pub use walk::{Counts, KEYS, Step, Walk};

use crate::golden::{GoldenError, Store};

/// A golden that waits for review.
#[derive(Debug)]
pub struct Pending {
    /// Name of its model.
    pub model: String,
    /// Name of its case.
    pub case: String,
    /// What changed, or why it cannot be told.
    pub difference: Result<Difference, GoldenError>,
}

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// A golden could not be read or written.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// Accepting would hide a change.
    #[error("{name} needs a reason: {}; say why with --reason", why.words())]
    ReasonMissing {
        /// Model and case.
        name: String,
        /// What the reason has to explain.
        why: ReasonNeeded,
    },
    /// Accepting would accept something unseen.
    #[error("{name} cannot be accepted, only rejected: {why}")]
    Unreadable {
        /// Model and case.
        name: String,
        /// Why it cannot be read.
        why: String,
    },
}

impl Pending {
    /// Model and case, as they are named on the command line.
    pub fn name(&self) -> String {
        format!("{}/{}", self.model, self.case)
    }
}

/// The goldens of a store that wait, of all models or of one, in the order of their names.
pub fn pending(store: &Store, model: Option<&str>) -> Result<Vec<Pending>, GoldenError> {
    let read = |model: &str, case: &str| {
        let new = store.load_pending(model, case)?;
        let old = store.load(model, case)?;
        // Listed a moment ago: whoever removed it has decided.
        Ok(new.map(|new| Difference::of(old, new)))
    };
    let mut found = Vec::new();
    for (of_model, case) in store.pending()? {
        if model.is_some_and(|wanted| wanted != of_model) {
            continue;
        }
        if let Some(difference) = read(&of_model, &case).transpose() {
            found.push(Pending {
                model: of_model,
                case,
                difference,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
