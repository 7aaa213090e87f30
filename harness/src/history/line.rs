//! One session of one run in one line: what ran, how it ended, and the figures that mean something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    manifest::{LatencyMetric, MemoryMetric, ThroughputMetric},
    record::{DriftFigures, Outcome, TrialKind, Verdict},
    report::{Session, Summary},
};

/// Version of the lines. Raised when a reader of the last version would misread.
pub const VERSION: u32 = 1;

/// Digits of a manifest's digest that tell two apart.
const DIGEST_DIGITS: usize = 12;

/// A session of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// [`VERSION`] of the writer.
    pub history: u32,
    /// Name of the run.
    pub run: String,
    /// When the run began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Name of the session, unique within the run.
    pub session: String,
    /// Name of the manifest.
    pub model: String,
    /// Name of the stack.
    pub stack: String,
    /// What computed.
    pub accelerator: String,
    /// Kind of target.
    pub target: String,
    /// Whether a simulator played the server.
    pub simulated: bool,
    /// Simulated seconds for each real second; 1 on real targets.
    pub clock: f64,
    /// Number type that was served.
    pub dtype: String,
    /// Worst verdict of the session.
    pub verdict: Verdict,
    /// The stack as it was found, the harness and the manifest: whatever may explain a change.
    pub fingerprint: BTreeMap<String, String>,
    /// Figures by name, in the unit that [`super::kind`] tells.
    pub metrics: BTreeMap<String, f64>,
    /// Trials whose figures are left out, since a precondition of their measurement did not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<String>,
}

/// The lines of a run, one a session.
pub fn lines(summary: &Summary) -> Vec<Line> {
    let line = |session: &Session| {
        let started = &session.started;
        let (metrics, invalid) = metrics(session);
        Line {
            history: VERSION,
            run: summary.run.run_id.clone(),
            at: summary.started_at,
            session: started.session.clone(),
            model: started.model.clone(),
            stack: started.stack.clone(),
            accelerator: started.accelerator.clone(),
            target: started.target.clone(),
            simulated: started.simulated,
            clock: started.clock,
            dtype: started.settings.get("dtype").cloned().unwrap_or_default(),
            verdict: verdict(summary, session),
            fingerprint: fingerprint(summary, session),
            metrics,
            invalid,
        }
    };
    summary.sessions.iter().map(line).collect()
}

/// A session of a run that ended early is not better than inconclusive.
fn verdict(summary: &Summary, session: &Session) -> Verdict {
    let early = if summary.interrupted() {
        Verdict::Inconclusive
    } else {
        Verdict::Passed
    };
    session.verdict().max(early)
}

fn fingerprint(summary: &Summary, session: &Session) -> BTreeMap<String, String> {
    let started = &session.started;
    let booted = session.booted.as_ref();
    // What the stack promises is not what was found.
    let settings = started
        .settings
        .iter()
        .filter(|(name, _)| !name.starts_with("expected_"));
    let mut found: BTreeMap<String, String> = settings
        .chain(booted.iter().flat_map(|booted| &booted.environment))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let digest = started.manifest_digest.chars().take(DIGEST_DIGITS).collect();
    found.insert("manifest".to_owned(), digest);
    found.insert("harness".to_owned(), summary.run.harness_version.clone());
    found
}

/// The session's figures, and the trials whose figures mean nothing.
fn metrics(session: &Session) -> (BTreeMap<String, f64>, Vec<String>) {
    let mut found = Found::default();
    // A server that is not what the stack promises is another stack's: none of its figures belong here.
    let boot = session.trials.iter().find(|trial| trial.kind == TrialKind::Boot);
    if boot.is_some_and(is_invalid) {
        found.invalid.push("boot".to_owned());
        return (found.metrics, found.invalid);
    }
    if let Some(booted) = &session.booted {
        found.add("boot", Some(booted.boot_s));
        for &metric in MemoryMetric::ALL {
            found.add(&format!("memory.{}", metric.name()), booted.memory.figure(metric));
        }
    }
    if let Some(measured) = &session.latency {
        let failed = measured.figures.failed > 0;
        if let Some(trial) = found.valid(session, &measured.trial, failed) {
            for &metric in LatencyMetric::ALL {
                found.add(
                    &format!("{trial}.{}", metric.name()),
                    measured.figures.figure(metric),
                );
            }
        }
    }
    for measured in &session.throughput {
        let failed = measured.figures.failed > 0;
        if let Some(trial) = found.valid(session, &measured.trial, failed) {
            for &metric in ThroughputMetric::ALL {
                found.add(
                    &format!("{trial}.{}", metric.name()),
                    measured.figures.figure(metric),
                );
            }
        }
    }
    if let Some(drift) = &session.drift {
        found.drift(drift);
    }
    found.add("correctness.passed_share", passed_share(&session.trials));
    (found.metrics, found.invalid)
}

#[derive(Default)]
struct Found {
    metrics: BTreeMap<String, f64>,
    invalid: Vec<String>,
}

impl Found {
    fn add(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.metrics.insert(name.to_owned(), value);
        }
    }

    /// The trial's name as metrics begin with it, if its figures mean something: it came to its end, its workload was
    /// the one asked for, and no request failed, for the others then had the server to themselves.
    fn valid(&mut self, session: &Session, trial: &str, failed: bool) -> Option<String> {
        // The prefix is the model's name, with the stack's where the run has several.
        let short = trial
            .split_once("::")
            .map_or(trial, |(_, short)| short)
            .replace("::", ".");
        let outcome = session.trials.iter().find(|known| known.trial == trial);
        if outcome.is_none_or(is_invalid) || failed {
            self.invalid.push(short);
            return None;
        }
        Some(short)
    }

    fn drift(&mut self, drift: &DriftFigures) {
        self.add("drift.top1", Some(drift.top1.value));
        self.add("drift.mean_kld_nat", Some(drift.mean_kld_nat.value));
        self.add("drift.p999_kld_nat", Some(drift.p999_kld_nat.value));
        self.add("drift.mean_delta_nat", Some(drift.mean_delta_nat.value));
    }
}

/// Whether a trial gave no figures that can be compared, a waiver or not.
fn is_invalid(trial: &Outcome) -> bool {
    let verdict = trial.before_waiver().unwrap_or(trial.verdict);
    matches!(verdict, Verdict::Invalid | Verdict::Error | Verdict::Skipped)
}

/// Cases that passed among those that were judged; `None` where none was.
fn passed_share(trials: &[Outcome]) -> Option<f64> {
    let cases = || trials.iter().filter(|trial| trial.kind == TrialKind::Correctness);
    let count = |verdicts: &[Verdict]| cases().filter(|trial| verdicts.contains(&trial.verdict)).count();
    let passed = count(&[Verdict::Passed]);
    let judged = passed + count(&[Verdict::Failed, Verdict::Waived]);
    (judged > 0).then(|| passed as f64 / judged as f64)
}
