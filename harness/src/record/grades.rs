//! The graded cases of a session as a suite, held against the grades that their goldens were recorded with.

use serde::{Deserialize, Serialize};

use super::Estimate;

/// Grades over all graded cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeFigures {
    /// Cases that were graded right or wrong.
    pub items: u32,
    /// Those that are right.
    pub right: u32,
    /// Their share with its one-sided bound (Wilson); it has no upper one.
    pub right_share: Estimate,
    /// Least share that the manifest asks for.
    pub min_right_share: Option<f64>,
    /// The same cases then and now; `null` where no golden holds a grade.
    pub paired: Option<PairedGrades>,
}

/// Cases that were graded when their golden was recorded, and are graded now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedGrades {
    /// How many.
    pub items: u32,
    /// Names of those that were right and are wrong.
    pub worse: Vec<String>,
    /// Names of those that were wrong and are right.
    pub better: Vec<String>,
    /// Probability of so many losses among the changes by chance alone (McNemar, exact, one-sided).
    pub p: f64,
    /// Below which `p` fails.
    pub alpha: f64,
    /// Smallest loss, as a share of the items, that so many would have shown with `power`; `null` where none would.
    pub smallest_drop: Option<f64>,
    /// With which probability.
    pub power: f64,
    /// Share of items that change either way without a loss, as it is assumed for `smallest_drop`.
    pub discordant: f64,
}
