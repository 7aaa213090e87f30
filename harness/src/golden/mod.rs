//! Goldens: the reviewed expected output of a case, one file each, in insta's snapshot format, so that plain
//! `cargo insta review`, `accept`, `reject` and `pending-snapshots` handle them.
//!
//! A file is `golden/<model>/<case>.snap`; what the simulator answered lies under `golden/simulated/` and never
//! satisfies a real stack. Format 1:
//!
//! ```text
//! ---
//! source: models.d/<model>.yaml
//! expression: <case>
//! info:                                   the Header, as YAML
//!   golden: 1
//!   …
//! ---
//! # prompt                                text, shortened; each line behind `| `
//! # thought                               where the model has one
//! # tool calls                            one JSON object a line
//! # answer                                text in full
//! # prompt ids                            plain numbers, 16 a line
//! # output                                one position a line: id, logprob, alternatives, text
//! # sha256                                of header and body above: an edited file is found out
//! ```
//!
//! Logprobs are natural logarithms in steps of 0.0001. The alternatives of a position are six base-85 digits each
//! (see `base85`): 256 positions with their top 20 take less than 60 KB, and one position stays one line of a diff.
//! Reading what was written gives the same golden. An accepted golden is never overwritten: a difference becomes
//! `<case>.snap.new` beside it.

mod base85;
mod compare;
mod drift;
mod floor;
mod read;
mod recording;
mod store;
mod text;
mod update;
mod write;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use compare::{Comparison, Divergence, Incomparable, Margin, Side, compare, same_prompt, same_tokenizer};
pub use drift::{GoldenDrift, PositionDrift, Unscorable, drift, shared_drift};
pub use floor::{Repeated, Unsteady, floors};
pub use recording::{RECORDED, Recording, SCORED};
pub use store::Store;
pub use text::excerpt;
pub use update::Update;

use crate::manifest::{Endpoint, ToolCall};
use crate::vllm::{Answer, FinishReason, Position, TokenLogprob};

/// Version of the format that is written.
pub const FORMAT_VERSION: u32 = 1;

/// Largest margin of a near tie before a floor is recorded: the gap that healthy BF16 rounding can close.
pub const DEFAULT_NEAR_TIE_NAT: f64 = 0.25;

/// Steps of a recorded logprob in one nat.
const STEPS_PER_NAT: f64 = 10_000.0;

/// The expected output of one case on one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// Where it comes from and how it was judged.
    pub header: Header,
    /// The prompt as the model saw it, shortened for the reader; `prompt_ids` are the whole truth.
    pub prompt: String,
    /// The thought before the answer, where it is told apart.
    pub reasoning: Option<String>,
    /// Tools that the answer calls.
    pub tool_calls: Vec<ToolCall>,
    /// The answer in full.
    pub answer: String,
    /// Ids of the prompt's tokens; empty where the server does not tell them.
    pub prompt_ids: Vec<u32>,
    /// Positions of the answer; empty where the server gives no logprobs.
    pub positions: Vec<Position>,
    /// Text of each position's token; empty where it is not known.
    pub pieces: Vec<String>,
}

/// What is known of a golden beside its text and figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT_VERSION`] of the writer.
    pub golden: u32,
    /// Name of the manifest.
    pub model: String,
    /// Name of the case.
    pub case: String,
    /// Whether a simulator answered.
    pub simulated: bool,
    /// Where it was recorded.
    pub recorded: Recorded,
    /// How the model was asked.
    pub settings: Settings,
    /// Why generation ended.
    pub finish: FinishReason,
    /// What the graders said of it. A golden may be known to be wrong; then only a change counts.
    pub grade: Grading,
    /// Why the reviewer accepted it, where one said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the golden that this one replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// How far the stack strays from itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
}

/// Where a golden was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Name of the stack.
    pub stack: String,
    /// Version of vLLM, as the server told it.
    pub vllm: String,
    /// Accelerator of the stack.
    pub accelerator: String,
    /// What identifies the weights: revision, or digest of the files.
    pub model_digest: String,
    /// Command line that starts an equal server.
    pub command: String,
}

/// How the model was asked. Sampling is greedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Endpoint.
    pub endpoint: Endpoint,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Seed.
    pub seed: u64,
    /// Alternatives asked for at each position.
    pub top_logprobs: u8,
}

/// What the graders said of a recorded answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grading {
    /// Right, wrong or not graded.
    pub verdict: GradeVerdict,
    /// Graders that the answer did not satisfy, or that could not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub graders: Vec<String>,
}

/// The graders' verdict on an answer as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradeVerdict {
    /// Every grader is satisfied.
    Right,
    /// At least one grader is not.
    Wrong,
    /// The case has no grader, or one that could not run.
    NotGraded,
}

/// How far a stack strays from itself: the same cases asked again, alone and with others in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Repetitions that were compared.
    pub repeats: u32,
    /// Largest margin at which repetitions parted, in nat: the bound of a near tie.
    pub near_tie_nat: f64,
    /// Share of repetitions with identical ids.
    pub identical_share: f64,
    /// Share of positions at which the recorded token stays the likeliest.
    pub top1_share: f64,
    /// Mean Kullback-Leibler divergence a position, in nat.
    pub mean_kld_nat: f64,
    /// Largest Kullback-Leibler divergence of a position, in nat.
    pub max_kld_nat: f64,
    /// Mean absolute difference of the recorded tokens' logprobs, in nat.
    pub mean_delta_nat: f64,
}

/// Why a golden could not be read, written or made.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried (`reading`, `writing`).
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not a golden as this harness writes it.
    #[error("{}:{line}: {what}; restore the file from version control or record the case again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The file's format is not one that this harness knows.
    #[error(
        "{}: golden format {found}, but this harness reads format {FORMAT_VERSION}; use the harness that wrote it \
         or record the case again", path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: u64,
    },
    /// The file belongs to something else.
    #[error("{}: holds {found}, expected {expected}; it was moved or copied: record the case again", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What its header says.
        found: String,
        /// What its place says.
        expected: String,
    },
    /// The answer cannot become a golden.
    #[error("the answer to {case} cannot be recorded: {what}")]
    Unrecordable {
        /// Name of the case.
        case: String,
        /// Why not.
        what: String,
    },
    /// A folder holds no golden, or two of one case.
    #[error("{}: {what}", path.display())]
    Recording {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// `INSTA_UPDATE` holds a word that insta does not know.
    #[error("INSTA_UPDATE={0} is not one of auto, always, new, unseen, no, force")]
    UpdateMode(String),
    /// A name that would leave the folder of goldens.
    #[error("{0:?} cannot name a golden: letters, digits, `_`, `-` and `.` only, and no `.` in front")]
    Name(String),
}

impl Golden {
    /// Makes a golden of an answer. `prompt` is the text that the model saw; `pieces` the text of each output token,
    /// or nothing. Logprobs are rounded to the steps of the format.
    pub fn record(
        header: Header,
        prompt: &str,
        answer: &Answer,
        pieces: Vec<String>,
    ) -> Result<Self, GoldenError> {
        let unrecordable = |what: String| GoldenError::Unrecordable {
            case: header.case.clone(),
            what,
        };
        if !pieces.is_empty() && pieces.len() != answer.positions.len() {
            return Err(unrecordable(format!(
                "{} token texts for {} positions",
                pieces.len(),
                answer.positions.len()
            )));
        }
        let positions = answer
            .positions
            .iter()
            .enumerate()
            .map(|(at, position)| {
                recordable(position).map_err(|what| unrecordable(format!("position {at}: {what}")))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            prompt: excerpt(prompt),
            reasoning: answer.reasoning.clone(),
            tool_calls: answer.tool_calls.clone(),
            answer: answer.text.clone(),
            prompt_ids: answer.prompt_ids.clone().unwrap_or_default(),
            positions,
            pieces,
            header,
        })
    }

    /// This golden as the successor of another one: its header keeps the reviewer's reason and the old digest.
    pub fn replacing(mut self, old: &Self, reason: Option<String>) -> Result<Self, GoldenError> {
        self.header.replaces = Some(old.digest()?);
        self.header.reason = reason;
        Ok(self)
    }

    /// The same sequence as another server scored it: its prompt and its tokens, the figures of `scored`. What a reviewer
    /// and the floor said of this golden does not hold for it.
    pub fn rescored(
        &self,
        recorded: Recorded,
        simulated: bool,
        scored: &[Position],
    ) -> Result<Self, GoldenError> {
        let positions = scored
            .iter()
            .enumerate()
            .map(|(at, position)| {
                recordable(position).map_err(|what| GoldenError::Unrecordable {
                    case: self.header.case.clone(),
                    what: format!("position {at}: {what}"),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            header: Header {
                recorded,
                simulated,
                reason: None,
                replaces: None,
                floor: None,
                ..self.header.clone()
            },
            positions,
            ..self.clone()
        })
    }

    /// This golden as the answer that it was recorded from.
    pub fn as_answer(&self) -> Answer {
        Answer {
            text: self.answer.clone(),
            reasoning: self.reasoning.clone(),
            tool_calls: self.tool_calls.clone(),
            finish: self.header.finish.clone(),
            usage: None,
            positions: self.positions.clone(),
            prompt_positions: Vec::new(),
            prompt_ids: Some(self.prompt_ids.clone()),
        }
    }

    /// Largest margin of a near tie, in nat: the recorded floor's, or the default.
    pub fn near_tie_nat(&self) -> f64 {
        self.header
            .floor
            .map_or(DEFAULT_NEAR_TIE_NAT, |floor| floor.near_tie_nat)
    }
}

/// The position with its logprobs in the steps of the format.
fn recordable(position: &Position) -> Result<Position, String> {
    let token = |token: &TokenLogprob| {
        if token.logprob.is_nan() {
            Err(format!("token {} has the logprob NaN", token.id))
        } else if token.id >= base85::END {
            Err(format!(
                "token id {} is beyond the format's {}",
                token.id,
                base85::END - 1
            ))
        } else {
            let steps = base85::steps_of(token.logprob);
            Ok(TokenLogprob {
                id: token.id,
                logprob: base85::logprob_of(steps),
            })
        }
    };
    Ok(Position {
        token: token(&position.token)?,
        top: position.top.iter().map(token).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod cargo_insta_tests;
#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod drift_tests;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
