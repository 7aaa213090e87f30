//! `report.json`: the run for tools. Keys keep the order of these structs and are never left out: what is not known
//! is `null`; only a finding without `evidence` lacks that key. Times are seconds (simulated seconds where
//! `simulated`), memory is GiB of one card.

mod fold;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CardPeak, ReportError, Summary};
use crate::{
    manifest::{Source, Unit},
    record::{DriftFigures, Finding, GradeFigures, TrialKind, Verdict},
};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub schema_version: u32,
    /// Name of the run.
    pub run_id: String,
    /// Whether a simulator played any server: verdicts then say nothing of hardware.
    pub simulated: bool,
    /// Verdict over everything.
    pub verdict: Verdict,
    /// Exit code of the run; `null` where the record was cut off.
    pub exit_code: Option<u8>,
    /// Whether the run ended early, by a signal or killed.
    pub interrupted: bool,
    /// Whether the record has no end.
    pub cut_off: bool,
    /// Version of the harness that ran.
    pub harness_version: String,
    /// The command as it was typed.
    pub command: Vec<String>,
    /// The host, in words.
    pub host: BTreeMap<String, String>,
    /// When the run began, RFC 3339 in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: time::OffsetDateTime,
    /// Real seconds from the first event to the last.
    pub duration_s: f64,
    /// Goldens that wait for review.
    pub pending_goldens: usize,
    /// Trials by verdict.
    pub counts: BTreeMap<Verdict, usize>,
    /// Figures of this report that contradict each other; a sound report has none.
    #[serde(default)]
    pub audit: Vec<crate::audit::Finding>,
    /// One entry a session: a model on a stack.
    pub models: Vec<Model>,
}

/// A model on a stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name of the manifest.
    pub name: String,
    /// Name of the stack.
    pub stack: String,
    /// One line on the stack.
    pub about: String,
    /// Kind of target.
    pub target: String,
    /// Whether a simulator played the server.
    pub simulated: bool,
    /// Simulated seconds for each real second; 1 on real targets.
    pub clock: f64,
    /// Accelerator of the stack.
    pub accelerator: String,
    /// Verdict over its trials.
    pub verdict: Verdict,
    /// SHA-256 of the manifest with its cases.
    pub manifest_digest: String,
    /// What was found to be running; empty where nothing booted.
    pub environment: BTreeMap<String, String>,
    /// Settings that manifest and stack gave.
    pub settings: BTreeMap<String, String>,
    /// Command line that starts this server.
    pub command_line: String,
    /// What a reader must know besides.
    pub notes: Vec<String>,
    /// What was noticed while it booted.
    pub findings: Vec<Finding>,
    /// Memory of one card; `null` where nothing booted.
    pub memory: Option<Memory>,
    /// Memory of one card as it was predicted before the boot; `null` where nothing could be.
    pub predicted: Option<Memory>,
    /// The most that each of its cards showed; empty where no tool told.
    pub cards: Vec<CardPeak>,
    /// How far the server strays from its goldens' own tokens; `null` where none was scored.
    pub drift: Option<DriftFigures>,
    /// Its graded cases as a suite; `null` where none was graded.
    pub grades: Option<GradeFigures>,
    /// Requests one after another; `null` where they were not measured.
    pub latency: Option<Latency>,
    /// Requests at once, one entry a concurrency.
    pub throughput: Vec<Throughput>,
    /// The boot.
    pub boot: Boot,
    /// Why the server does not answer, or `null`.
    pub failure: Option<Failure>,
    /// File with the server's whole log, relative to the report; `null` where the session did not end.
    pub log: Option<String>,
    /// Its trials.
    pub trials: Vec<Trial>,
    /// Names of trials that began and have no outcome.
    pub unfinished: Vec<String>,
}

/// The boot of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// Seconds to the first generated token; `null` where there was none.
    pub boot_s: Option<f64>,
    /// Steps, in their order.
    pub phases: Vec<Phase>,
}

/// A step of the boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub phase: String,
    /// Seconds since the boot began.
    pub after_s: f64,
}

/// Memory of one card, as the server reported it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each key is a figure of record::MemoryFigures")]
pub struct Memory {
    pub weights_gib: Option<f64>,
    pub non_torch_gib: Option<f64>,
    pub activation_gib: Option<f64>,
    pub graph_gib: Option<f64>,
    pub kv_cache_gib: Option<f64>,
    pub num_blocks: Option<u64>,
    pub kv_tokens: Option<u64>,
    pub max_concurrency: Option<f64>,
    /// For each figure that is `null`, why.
    pub why: BTreeMap<String, String>,
}

/// Requests one after another. Percentiles interpolate linearly between `samples` requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each key is `<figure>_<statistic>_<unit>`, as record::LatencyFigures defines them"
)]
pub struct Latency {
    pub mean_s: Option<f64>,
    pub min_s: Option<f64>,
    pub max_s: Option<f64>,
    pub p50_s: Option<f64>,
    pub p95_s: Option<f64>,
    pub mean_generation_tokens_per_s: Option<f64>,
    pub ttft_mean_s: Option<f64>,
    pub ttft_p50_s: Option<f64>,
    pub ttft_p95_s: Option<f64>,
    pub ttft_max_s: Option<f64>,
    pub tpot_mean_s: Option<f64>,
    pub tpot_p50_s: Option<f64>,
    pub itl_mean_s: Option<f64>,
    pub itl_p50_s: Option<f64>,
    pub itl_p99_s: Option<f64>,
    pub requests: u32,
    pub failed: u32,
    pub output_tokens: u64,
    pub samples: u64,
}

/// Requests at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each key is `<figure>_<statistic>_<unit>`, as record::ThroughputFigures defines them"
)]
pub struct Throughput {
    pub concurrency: u32,
    pub requests: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub wall_s: f64,
    pub output_tokens: u64,
    pub output_tokens_per_s: f64,
    pub mean_individual_tokens_per_s: Option<f64>,
    pub requests_per_s: f64,
    pub latency_mean_s: Option<f64>,
    pub latency_p50_s: Option<f64>,
    pub latency_max_s: Option<f64>,
    pub ttft_mean_s: Option<f64>,
    pub ttft_p50_s: Option<f64>,
    pub ttft_p95_s: Option<f64>,
    pub ttft_max_s: Option<f64>,
    pub tpot_mean_s: Option<f64>,
    pub tpot_p50_s: Option<f64>,
    pub itl_mean_s: Option<f64>,
    pub itl_p50_s: Option<f64>,
    pub itl_p99_s: Option<f64>,
}

/// Why a server does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Failure class.
    pub class: String,
    /// Whether it had answered before.
    pub lost: bool,
    /// What happened.
    pub message: String,
    /// Lines of the log that show it.
    pub evidence: Vec<String>,
    /// What to do next.
    pub advice: String,
    /// How the process or container ended.
    pub exit: Option<String>,
    /// Last lines of the log.
    pub last_lines: Vec<String>,
}

/// A trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Name.
    pub name: String,
    /// What it examined.
    pub kind: TrialKind,
    /// Its verdict.
    pub verdict: Verdict,
    /// The decisive figure, in `unit`: the first of the worst checks.
    pub measured: Option<f64>,
    /// The decisive figure's limit.
    pub budget: Option<Budget>,
    /// Unit of `measured` and `budget`; `null` where the trial has no figures.
    pub unit: Option<Unit>,
    /// All figures.
    pub checks: Vec<TrialCheck>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The answer that was judged.
    pub answer: Option<String>,
    /// Real seconds that it took.
    pub duration_s: f64,
}

/// A figure held against its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialCheck {
    /// Name of the figure.
    pub metric: String,
    /// The figure, in `unit`.
    pub measured: Option<f64>,
    /// Its limit.
    pub budget: Option<Budget>,
    /// Unit of `measured` and `budget`.
    pub unit: Unit,
    /// Verdict of this figure alone.
    pub verdict: Verdict,
}

/// A limit, its bounds in the unit of the figure beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The figure must not be below.
    pub min: Option<f64>,
    /// The figure must not be above.
    pub max: Option<f64>,
    /// How the limit came to be.
    pub source: Source,
    /// The measurement or the arithmetic in words.
    pub because: String,
}

/// The file's text.
pub fn render(summary: &Summary) -> Result<String, ReportError> {
    let mut text = serde_json::to_string_pretty(&Report::from(summary))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn lays_out_each_record() {
        for (name, record) in fixture::all() {
            let text = render(&fixture::summary(&record)).unwrap();
            insta::assert_snapshot!(name, text);
            let read: Report = serde_json::from_str(&text).unwrap();
            assert_eq!(read, Report::from(&fixture::summary(&record)));
        }
    }

    #[test]
    fn a_cut_off_record_has_no_exit_code() {
        let record = fixture::passed();
        let cut = Summary::of(&record.entries()[..8]).unwrap();
        let report = Report::from(&cut);
        assert_eq!(
            (report.exit_code, report.interrupted, report.cut_off),
            (None, true, true)
        );
        assert_eq!(report.verdict, Verdict::Inconclusive);
    }
}
