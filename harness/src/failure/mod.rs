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
pub enum FailureClass {
    /// Less card memory was free at the start than the server was told to take.
    CardMemoryTaken,
    /// Another process released card memory while vLLM measured its own.
    ProfilingDisturbed,
    /// A card ran out of memory, at load, in the warm-up or later.
    OutOfMemory,
    /// Weights and activations leave nothing for the KV cache.
    NoMemoryForKvCache,
    /// The KV cache does not hold one sequence of full length.
    ContextExceedsKvCache,
    /// `max_model_len` is longer than the model was made for.
    ContextExceedsModel,
    /// This vLLM does not know the architecture, or no longer.
    UnsupportedArchitecture,
    /// The model's own Python code may not run.
    RemoteCodeRefused,
    /// The hub does not let this account read the model.
    ModelAccessDenied,
    /// The model is not where the manifest says.
    ModelNotFound,
    /// The model's folder holds no weights, or not all.
    MissingWeights,
    /// The weights belong to another architecture or revision.
    WeightsMismatch,
    /// A file of weights is damaged.
    CorruptWeights,
    /// The tokenizer does not work with the installed transformers.
    TokenizerIncompatible,
    /// The chat endpoint was asked and the model has no template.
    NoChatTemplate,
    /// The card cannot compute in this type.
    UnsupportedDtype,
    /// The card or vLLM cannot compute with this quantization.
    UnsupportedQuantization,
    /// No attention backend of the platform serves the model.
    UnsupportedAttention,
    /// The attention heads cannot be shared out over so many cards.
    TensorParallelMismatch,
    /// A request for structured output killed the engine.
    StructuredOutputUnsupported,
    /// A kernel on the card failed.
    KernelFault,
    /// The driver has no memory left for command queues.
    CardQueueExhausted,
    /// The server sees no card, or fewer than it was told to use.
    NoAccelerator,
    /// The cards could not talk to each other.
    CollectiveFailed,
    /// The cards began to talk to each other and never got further.
    CardsHang,
    /// vLLM's compiled kernels do not load.
    KernelsMissing,
    /// `MACA_PATH` is not set.
    MacaPathMissing,
    /// A package or a library is not in the image.
    MissingModule,
    /// The version does not take an argument.
    InvalidArgument,
    /// Another process listens on the port.
    PortTaken,
    /// The container's shared memory is too small.
    SharedMemoryTooSmall,
    /// A disk is full.
    DiskFull,
    /// The server may not open more files.
    TooManyOpenFiles,
    /// The image is not there and cannot be pulled.
    ImageMissing,
    /// The container engine cannot give what the stack asks for.
    ContainerRefused,
    /// The server did not become ready in time.
    BootTimeout,
    /// A worker process ended for a reason that the log does not hold.
    WorkerDied,
    /// The engine ended while it served.
    EngineDied,
    /// The engine did not start for a reason that the log does not hold.
    EngineStartFailed,
    /// The system killed the server because it passed its memory limit.
    KilledByMemoryLimit,
    /// Killed by a signal that nobody accounts for.
    Killed,
    /// Ended by a fault (segmentation fault, abort, bus error).
    Crashed,
    /// Someone else stopped it.
    StoppedFromOutside,
    /// No rule knows it.
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

/// Finds out why a server failed from a saved log alone, where nobody knows how it ended, or whether it has. `None`:
/// the log shows no failure. A server that served and whose engine is not said to have died did not fail: requests do
/// fail without harm.
pub fn classify_saved(lines: &[String]) -> Option<Failure> {
    diagnosis::Log::read(lines, &ExitState::Gone).shown_cause()
}

/// Finds out what the text of a refused request tells of the server: it quotes the exception that refused it. `None`:
/// no rule knows it.
pub fn of_refusal(text: &str) -> Option<Failure> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    diagnosis::known_text(&lines)
}

/// Whether a log of a server that served says that its engine died. The process in front of it may go on for a while,
/// and refuses every request.
pub fn engine_died(lines: &[String]) -> bool {
    diagnosis::Log::read(lines, &ExitState::Running).tells_of_an_end(rules())
}

#[cfg(test)]
mod tests;
