//! Exit codes: documented, part of the interface.

use std::process::ExitCode;

use crate::record::Verdict;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything passed.
    Passed,
    /// 1: a validation or a gate failed, or its figures were invalid.
    Failed,
    /// 2: wrong usage, or a mistake in a manifest.
    Usage,
    /// 3: the infrastructure failed: a server did not boot or was lost, a record could not be written.
    Infrastructure,
    /// 4: nothing was selected.
    Nothing,
    /// 5: goldens are pending or unrecorded, or the evidence does not decide.
    Undecided,
    /// 130: stopped by SIGINT (Ctrl-C).
    Interrupted,
    /// 143: stopped by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Infrastructure => 3,
            Self::Nothing => 4,
            Self::Undecided => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// How a run with this verdict ends. A run in which everything was skipped has shown nothing.
pub const fn verdict_exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Passed | Verdict::Waived => Exit::Passed,
        Verdict::Skipped => Exit::Nothing,
        Verdict::Unrecorded | Verdict::Inconclusive => Exit::Undecided,
        Verdict::Invalid | Verdict::Failed => Exit::Failed,
        Verdict::Error => Exit::Infrastructure,
    }
}
