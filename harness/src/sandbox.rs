//! Placeholder.
/// How graded code ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRun {
    /// Exit.
    pub exit: CodeExit,
    /// Output.
    pub output: String,
}
/// Exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeExit {
    /// Exit code.
    Code(i64),
    /// Time-out.
    TimedOut {
        /// Limit.
        after_s: u64,
    },
    /// Memory.
    OutOfMemory,
}
