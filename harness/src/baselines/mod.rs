//! What became easier to pass, from the repository's history: limits of manifests and cases that were lowered or
//! removed, waivers, wider floors, and goldens whose drift was accepted without a reason.
//!
//! A lowering is explained by a text beside it (`because`, a waiver's or a golden's `reason`) that changed with it, or
//! later: what stands at the tip decides, so that a forgotten explanation can be made good. One that was taken back
//! needs none. A merge counts only for what it lowers against each of its parents.

mod limits;
mod reader;

use std::path::Path;

use serde::Serialize;

use self::reader::Reader;
use crate::{
    git::{GitError, Repository},
    review::ReasonNeeded,
};

/// Where limits and goldens lie.
const PATHS: [&str; 2] = ["models.d", "golden"];

/// What the history shows.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Number of commits that touch limits or goldens.
    pub commits: usize,
    /// What was lowered, the oldest first.
    pub lowerings: Vec<Lowering>,
    /// Goldens whose drift was accepted without a reason.
    pub goldens_without_reason: Vec<Unreasoned>,
    /// What could not be judged.
    pub notes: Vec<String>,
}

/// A limit that lets more pass than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lowering {
    /// Where it happened.
    #[serde(flatten)]
    pub place: Place,
    /// Which limit.
    pub metric: String,
    /// The limit before; `none` where there was no waiver.
    pub before: String,
    /// The limit after; `removed` where there is none.
    pub after: String,
    /// The text that explains it, as it stood after the commit.
    pub because: Option<String>,
    /// Whether and how it is explained.
    pub explanation: Explanation,
}

/// A golden that was replaced beyond rounding, with nothing said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreasoned {
    /// Where it happened.
    #[serde(flatten)]
    pub place: Place,
    /// What a reason would have to explain.
    pub why: ReasonNeeded,
}

/// A file in a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Short hash.
    pub commit: String,
    /// Day, `YYYY-MM-DD`.
    pub date: String,
    /// First line of the commit's message.
    pub subject: String,
    /// The file.
    pub file: String,
}

/// Whether and how a lowering is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Explanation {
    /// Its text changed with it.
    Given,
    /// Its text changed later.
    GivenLater,
    /// The limit is as strict again.
    TakenBack,
    /// The file is gone: the model is no longer validated.
    Retired,
    /// Nothing explains it.
    Missing,
}

impl Explanation {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Given => "explained",
            Self::GivenLater => "explained later",
            Self::TakenBack => "taken back since",
            Self::Retired => "the file is gone",
            Self::Missing => "NOT EXPLAINED: say why in its `because`, or take it back",
        }
    }
}

impl Audit {
    /// Whether nothing is lowered without an explanation.
    pub fn passes(&self) -> bool {
        self.lowerings
            .iter()
            .all(|lowering| lowering.explanation != Explanation::Missing)
    }
}

/// Reads the history of the repository that holds `root`, from behind `since` to the commit that is checked out.
pub fn audit(root: &Path, since: Option<&str>) -> Result<Audit, GitError> {
    let repository = Repository::at(root)?;
    let since = since.map(|since| repository.resolve(since)).transpose()?;
    let tip = repository.resolve("HEAD")?;
    let commits = repository.commits(&tip, since.as_deref(), &PATHS)?;
    let mut audit = Audit {
        commits: commits.len(),
        ..Audit::default()
    };
    if since.is_none() && repository.is_shallow()? {
        audit
            .notes
            .push("this clone is shallow: what is older than its first commit was not looked at".to_owned());
    }
    let mut reader = Reader::new(&repository, tip)?;
    for commit in &commits {
        reader.examine(commit, &mut audit)?;
    }
    audit.notes.extend(reader.into_notes());
    Ok(audit)
}

#[cfg(test)]
mod tests;
