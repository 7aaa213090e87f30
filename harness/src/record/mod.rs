//! What a run leaves behind: `record.jsonl`, one event a line, appended as things happen and never rewritten.
//!
//! Every report is made from these events and from nothing else, so a report can be made again from a recording,
//! and a run that was cut off still tells what it knew. One event enum is the whole contract between the runner and
//! the reporters: the live display reads the same events as the reports do.
//!
//! Format: UTF-8 JSON lines. Each line is one [`Entry`]: `at` (RFC 3339, UTC), `event` (the kind) and the event's
//! own fields. The first line is `run_started` and carries [`SCHEMA_VERSION`]; the last is `run_finished` unless the
//! run was killed. Times are seconds; on a simulator they are simulated seconds. Absent figures are `null` with a
//! reason beside them. Readers skip nothing: an event of an unknown kind or version is an error.

mod drift;
mod figures;
mod grades;
mod outcome;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use drift::{
    CaseDrift, DriftFigures, DriftFloor, DriftThreshold, Estimate, ThresholdSource, Unscored, WorstPosition,
};
pub use figures::{CardSample, Distribution, LatencyFigures, MemoryFigures, ThroughputFigures};
pub use grades::{GradeFigures, PairedGrades};
pub use outcome::{Check, Finding, Outcome, Severity, TrialKind, Verdict};
pub use read::{RecordError, read};

/// Version of the record's and the reports' formats. Raised when a reader of the last version would misread.
pub const SCHEMA_VERSION: u32 = 1;

/// One line of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line of every record.
    RunStarted(RunStarted),
    /// A server is about to be booted.
    SessionStarted(SessionStarted),
    /// The server's log shows a new phase of its boot.
    BootPhase(BootPhase),
    /// What the cards of a session are doing, every few seconds, where their tool can tell.
    CardSample(CardSamples),
    /// The server answers.
    Booted(Box<Booted>),
    /// The server does not answer and will not.
    BootFailed(BootFailed),
    /// A server that had booted was lost.
    ServerLost(BootFailed),
    /// A trial begins.
    TrialStarted(TrialStarted),
    /// One request of a performance trial, with its times.
    Request(RequestSample),
    /// Figures of the single-stream trial.
    Latency(Measured<LatencyFigures>),
    /// Figures of one concurrency.
    Throughput(Measured<ThroughputFigures>),
    /// How far the session strays from its goldens.
    Drift(Box<Measured<DriftFigures>>),
    /// The graded cases as a suite.
    Grades(Box<Measured<GradeFigures>>),
    /// A trial has its verdict.
    TrialFinished(TrialFinished),
    /// The server is gone.
    SessionEnded(SessionEnded),
    /// Last line of a record that was closed.
    RunFinished(RunFinished),
}

/// The run as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the run: UTC time and a random suffix; also the name of its folder.
    pub run_id: String,
    /// Version of the harness.
    pub harness_version: String,
    /// The command as it was typed.
    pub command: Vec<String>,
    /// Whether any session of this run is simulated: its verdicts then say nothing of hardware.
    pub simulated: bool,
    /// Operating system, kernel, processor and memory of the host, in words.
    pub host: BTreeMap<String, String>,
}

/// A session: one server for one model on one stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStarted {
    /// Name of the session: `<model>@<stack>`.
    pub session: String,
    /// Name of the manifest.
    pub model: String,
    /// Name of the stack.
    pub stack: String,
    /// One line on the stack, from its file.
    pub about: String,
    /// Kind of target (`docker`, `simulator`, …).
    pub target: String,
    /// Whether a simulator plays the server.
    pub simulated: bool,
    /// Simulated seconds for each real second; 1 on real targets.
    pub clock: f64,
    /// Accelerator of the stack.
    pub accelerator: String,
    /// SHA-256 of the manifest with its cases.
    pub manifest_digest: String,
    /// Settings of the model as the manifest and the stack give them (`tensor_parallel`, `max_model_len`, …).
    pub settings: BTreeMap<String, String>,
    /// Equal command line that a person could type to start this server.
    pub command_line: String,
    /// Further things that a reader of the report must know (a privileged container, an overridden type).
    pub notes: Vec<String>,
}

/// A step of the boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootPhase {
    /// Name of the session.
    pub session: String,
    /// Phase that begins (`loading weights`, `profiling`, …).
    pub phase: String,
    /// Seconds since the boot began.
    pub after_s: f64,
}

/// The cards of a session at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardSamples {
    /// Name of the session.
    pub session: String,
    /// Seconds since the boot began.
    pub after_s: f64,
    /// The session's cards, by index.
    pub cards: Vec<CardSample>,
}

/// A server that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Booted {
    /// Name of the session.
    pub session: String,
    /// Seconds from start to the first generated token.
    pub boot_s: f64,
    /// What was found to be running: `vllm`, `torch`, `engine`, `attention_backend`, `image`, `driver`, `maca`, ….
    pub environment: BTreeMap<String, String>,
    /// Memory of one card, from the start-up log and the server's metrics.
    pub memory: MemoryFigures,
    /// Memory of one card as it was predicted before the boot; `null` where nothing could be.
    #[serde(default)]
    pub predicted: Option<MemoryFigures>,
    /// Differences from what the stack expects, and other things noticed.
    pub findings: Vec<Finding>,
}

/// A server that did not boot, or that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFailed {
    /// Name of the session.
    pub session: String,
    /// Failure class (`out_of_memory`, `unsupported_architecture`, `unknown`, …).
    pub class: String,
    /// What happened, in one sentence.
    pub message: String,
    /// Lines of the log that show it.
    pub evidence: Vec<String>,
    /// What to do next.
    pub advice: String,
    /// How the process or container ended, where it did.
    pub exit: Option<String>,
    /// The last lines of the server's log.
    pub last_lines: Vec<String>,
}

/// A trial begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialStarted {
    /// Name of the session.
    pub session: String,
    /// Name of the trial (`qwen3_32b::latency::single_stream`).
    pub trial: String,
}

/// Times of one request. Offsets count from the start of the trial's measured phase, in (simulated) seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestSample {
    /// Name of the session.
    pub session: String,
    /// Name of the trial.
    pub trial: String,
    /// Number of the request within the trial, from 0.
    pub index: u32,
    /// When the schedule wanted it sent.
    pub scheduled_s: f64,
    /// When it was sent.
    pub sent_s: f64,
    /// When each chunk that carries tokens arrived, counted from `sent_s`.
    pub chunks_s: Vec<f64>,
    /// When the last token arrived, counted from `sent_s`; `null` where the request failed.
    pub latency_s: Option<f64>,
    /// Prompt tokens, by the server's count.
    pub prompt_tokens: Option<u32>,
    /// Output tokens, by the server's count.
    pub output_tokens: Option<u32>,
    /// Output tokens that were asked for.
    pub asked_tokens: u32,
    /// Prompt tokens that were asked, where they were known before the server counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_prompt_tokens: Option<u32>,
    /// Class and text of the error, where the request failed.
    pub error: Option<String>,
}

/// Figures of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured<F> {
    /// Name of the session.
    pub session: String,
    /// Name of the trial.
    pub trial: String,
    /// The figures.
    pub figures: F,
}

/// A trial's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialFinished {
    /// Name of the session.
    pub session: String,
    /// Verdict, checks and findings.
    pub outcome: Outcome,
}

/// A session's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// Name of the session.
    pub session: String,
    /// How the server ended (`stopped in 1.2 s`, `exit code 137`, …).
    pub exit: String,
    /// File with the server's whole log, relative to the record.
    pub log: String,
}

/// The run's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFinished {
    /// Verdict over all trials.
    pub verdict: Verdict,
    /// Exit code of the process.
    pub exit_code: u8,
    /// Whether a signal ended the run early.
    pub interrupted: bool,
}
