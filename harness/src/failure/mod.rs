//! Why a server failed: a class with its evidence, out of the log and the way its process ended.
//!
//! The texts are data (`rules.yaml`). The cause is looked for in this order: the memory limit, if the system says
//! that it killed the server; the exceptions of the log, first one first, since later ones only pass it on; error
//! lines; and at last the symptoms and the exit state. What no rule knows stays [`FailureClass::Unknown`], with the
//! last error lines: a wrong class costs more than none. The mere word ERROR never decides.

mod diagnosis;
mod exception;
mod exit;
mod rules;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    exit::ExitState,
    rules::{Look, Pattern, Rule, rules},
};
use crate::record::BootFailed;

/// Ways in which a server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the rule table says what each class means and what to do"
)]
pub enum FailureClass {
    CardMemoryTaken,
    ProfilingDisturbed,
    OutOfMemory,
    NoMemoryForKvCache,
    ContextExceedsKvCache,
    ContextExceedsModel,
    UnsupportedArchitecture,
    RemoteCodeRefused,
    ModelAccessDenied,
    ModelNotFound,
    MissingWeights,
    WeightsMismatch,
    CorruptWeights,
    TokenizerIncompatible,
    NoChatTemplate,
    UnsupportedDtype,
    UnsupportedQuantization,
    UnsupportedAttention,
    TensorParallelMismatch,
    StructuredOutputUnsupported,
    KernelFault,
    CardQueueExhausted,
    NoAccelerator,
    CollectiveFailed,
    CardsHang,
    KernelsMissing,
    MacaPathMissing,
    MissingModule,
    InvalidArgument,
    PortTaken,
    SharedMemoryTooSmall,
    DiskFull,
    TooManyOpenFiles,
    ImageMissing,
    ContainerRefused,
    BootTimeout,
    WorkerDied,
    EngineDied,
    EngineStartFailed,
    KilledByMemoryLimit,
    Killed,
    Crashed,
    StoppedFromOutside,
    Unknown,
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The word of the record is the word everywhere.
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => f.pad(&word),
            _ => Err(fmt::Error),
        }
    }
}

/// Why a server failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Class.
    pub class: FailureClass,
    /// Rule that decided, where one did.
    pub rule: Option<String>,
    /// What happened, in one sentence.
    pub message: String,
    /// Lines of the log that show it, without their prefixes.
    pub evidence: Vec<String>,
    /// What to do next.
    pub advice: String,
    /// The log's last lines.
    pub last_lines: Vec<String>,
}

impl Failure {
    /// The failure as an event of the record.
    pub fn into_record(self, session: &str, exit: &ExitState) -> BootFailed {
        BootFailed {
            session: session.to_owned(),
            class: self.class.to_string(),
            message: self.message,
            evidence: self.evidence,
            advice: self.advice,
            exit: exit.ended().then(|| exit.to_string()),
            last_lines: self.last_lines,
        }
    }
}

/// Finds out why a server failed, from its log (both streams, in order) and the way it ended.
pub fn classify(lines: &[String], exit: &ExitState) -> Failure {
    diagnosis::Log::read(lines, exit).cause(exit)
}

#[cfg(test)]
mod tests;
