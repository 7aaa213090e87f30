//! Does the judgement of correctness find what it should, and nothing else? Specimens are judged whose truth is known:
//! noise of a known size on the repository's own goldens ([`noise`]), and real servers ([`real`]) that are healthy,
//! upgraded or damaged. Beside the harness's rules stand those of others on the same data ([`rules`]).

mod base;
pub mod noise;
pub mod real;
pub mod rules;
pub mod speed;

use serde::Serialize;

pub use base::{Base, BaseError};
pub use rules::Rule;

/// Why the benchmark could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is nothing to put noise on.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// A real specimen.
    #[error(transparent)]
    Real(#[from] real::RealError),
    /// A golden that was made for the measurement of time.
    #[error(transparent)]
    Golden(#[from] crate::golden::GoldenError),
}

impl BenchError {
    /// Whether the infrastructure is why, and not what was asked for.
    pub const fn is_infrastructure(&self) -> bool {
        use real::RealError::{Candidate, File, Recording};
        matches!(
            self,
            Self::Real(Candidate { .. } | Recording { .. } | File { .. })
        )
    }
}

/// What a specimen is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// Only rounding differs: an alarm is false.
    Healthy,
    /// The model differs: silence is a miss.
    Changed,
    /// Nobody knows better than the floor.
    Near,
}

/// One line of the benchmark: a specimen by one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was judged.
    pub specimen: String,
    /// What it is.
    pub truth: Truth,
    /// By which rule.
    pub method: Rule,
    /// Positions that each run looked at.
    pub positions: u64,
    /// Runs.
    pub runs: u32,
    /// Runs with an alarm, of a changed specimen.
    pub caught: Option<u32>,
    /// Runs with an alarm, of a healthy one.
    pub false_alarms: Option<u32>,
    /// Runs that did not decide.
    pub undecided: u32,
    /// Mean divergence over the runs, in nat.
    pub mean_kld: Option<f64>,
    /// Share of positions whose likeliest token is the golden's, over the runs.
    pub top1: Option<f64>,
    /// Positions from which on the verdict stays the same, where goldens were added one by one.
    pub decided_at: Option<u64>,
    /// The finding that decided, where there is one run.
    pub finding: Option<String>,
}

impl Row {
    /// A row without runs.
    pub fn new(specimen: &str, truth: Truth, method: Rule, positions: u64) -> Self {
        let counts = |counts: bool| counts.then_some(0);
        Self {
            specimen: specimen.to_owned(),
            truth,
            method,
            positions,
            runs: 0,
            caught: counts(truth != Truth::Healthy),
            false_alarms: counts(truth == Truth::Healthy),
            undecided: 0,
            mean_kld: None,
            top1: None,
            decided_at: None,
            finding: None,
        }
    }

    /// Counts a run.
    pub fn count(&mut self, said: rules::Said) {
        self.runs += 1;
        match said {
            rules::Said::Alarm => {
                for counted in [&mut self.caught, &mut self.false_alarms] {
                    *counted = counted.map(|runs| runs + 1);
                }
            }
            rules::Said::Undecided => self.undecided += 1,
            rules::Said::Silence => {}
        }
    }
}
