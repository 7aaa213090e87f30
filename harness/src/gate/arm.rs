//! One side of a comparison: what one session of a finished run shows, with all that speaks against using it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Metric;
use crate::{
    audit,
    record::{DriftFigures, Entry, Event, MemoryFigures, Outcome, Severity, TrialKind, Verdict},
    report::{Session, Summary, audited},
};

/// Wall clock and monotonic clock of a trial may differ by this much: journalling, and a clock that is slewed.
const CLOCK_SLACK_S: f64 = 2.0;

/// The trial that scores all goldens, without the model.
const DRIFT: &str = "correctness::drift";
/// Trials over all cases at once.
const SUITES: [&str; 2] = [DRIFT, "correctness::grades"];
/// Promises of a stack, and the facts that stand for them once they are found.
const PROMISES: [(&str, &str); 6] = [
    ("expected_smi", "smi"),
    ("expected_driver", "driver"),
    ("expected_maca", "maca_of_host"),
    ("expected_bios", "bios"),
    ("expected_torch", "torch"),
    ("expected_vllm", "vllm"),
];

/// One session, reduced to what a gate compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Name of the run.
    pub run: String,
    /// Name of the manifest.
    pub model: String,
    /// Name of the stack.
    pub stack: String,
    /// Accelerator of the stack.
    pub accelerator: String,
    /// Whether a simulator played the server.
    pub simulated: bool,
    /// What was served, how, and what was found to be running: settings, then the environment over them.
    pub fingerprint: BTreeMap<String, String>,
    /// Seconds to the first token, or why there was none.
    pub boot: Boot,
    /// Memory of one card; `None` where nothing booted.
    pub memory: Option<MemoryFigures>,
    /// Speeds.
    pub figures: Vec<(Metric, f64)>,
    /// Cases, by name without the model.
    pub cases: BTreeMap<String, CaseOutcome>,
    /// How far it strays from the goldens' own tokens; `None` where they were not scored.
    pub drift: Option<Drift>,
    /// Hottest spot of any card, °C.
    pub max_temperature_c: Option<f64>,
    /// Why nothing may be concluded from this session; empty where it may.
    pub troubles: Vec<String>,
}

/// How the boot went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// It answered after so many seconds.
    Booted {
        /// Seconds.
        seconds: f64,
    },
    /// It did not, or was lost.
    Failed {
        /// Failure class.
        class: String,
        /// What happened.
        message: String,
        /// Whether it had answered before.
        lost: bool,
    },
    /// The record holds no boot.
    Unseen,
}

/// The goldens as a suite, scored token by token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Verdict of the trial.
    pub verdict: Verdict,
    /// Its figures.
    pub figures: DriftFigures,
    /// The weightiest finding.
    pub finding: Option<String>,
}

/// A case, as one session answered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseOutcome {
    /// Its verdict.
    pub verdict: Verdict,
    /// The answer.
    pub answer: Option<String>,
    /// The weightiest finding.
    pub finding: Option<String>,
}

impl Arm {
    /// The sessions of a run.
    pub fn of_run(summary: &Summary, entries: &[Entry]) -> Vec<Self> {
        let common = run_troubles(summary, entries);
        let arm = |session| Self::of(&summary.run.run_id, session, &common);
        summary.sessions.iter().map(arm).collect()
    }

    fn of(run: &str, session: &Session, common: &[String]) -> Self {
        let started = &session.started;
        let mut fingerprint = started.settings.clone();
        fingerprint.insert("manifest".to_owned(), started.manifest_digest.clone());
        let booted = session.booted.as_deref();
        fingerprint.extend(
            booted
                .map(|booted| booted.environment.clone())
                .unwrap_or_default(),
        );
        // What was found speaks for itself; a promise is only of use where nothing was found.
        for (promise, found) in PROMISES {
            if fingerprint.contains_key(found) {
                fingerprint.remove(promise);
            }
        }
        let temperatures = session.cards.peaks().filter_map(|card| card.max_temperature_c);
        Self {
            run: run.to_owned(),
            model: started.model.clone(),
            stack: started.stack.clone(),
            accelerator: started.accelerator.clone(),
            simulated: started.simulated,
            fingerprint,
            boot: Boot::of(session),
            memory: booted.map(|booted| booted.memory.clone()),
            figures: Metric::of(session),
            cases: cases(session),
            drift: drift(session),
            max_temperature_c: temperatures.reduce(f64::max),
            troubles: [common, &session_troubles(session)].concat(),
        }
    }
}

impl Boot {
    fn of(session: &Session) -> Self {
        if let Some(failure) = &session.failure {
            return Self::Failed {
                class: failure.report.class.clone(),
                message: failure.report.message.clone(),
                lost: failure.lost,
            };
        }
        let booted = session.booted.as_ref();
        booted.map_or(Self::Unseen, |booted| Self::Booted {
            seconds: booted.boot_s,
        })
    }
}

fn cases(session: &Session) -> BTreeMap<String, CaseOutcome> {
    // Trials over all goldens have no answer of their own.
    let of_case = |outcome: &&Outcome| {
        let name = session.short_name(&outcome.trial);
        outcome.kind == TrialKind::Correctness && !SUITES.contains(&name)
    };
    let trials = session.trials.iter().filter(of_case);
    trials
        .map(|outcome| {
            let finding = outcome
                .findings
                .iter()
                .rev()
                .max_by_key(|finding| finding.severity);
            let case = CaseOutcome {
                verdict: outcome.verdict,
                answer: outcome.answer.clone(),
                finding: finding.map(|finding| finding.text.clone()),
            };
            (session.short_name(&outcome.trial).to_owned(), case)
        })
        .collect()
}

fn drift(session: &Session) -> Option<Drift> {
    let figures = session.drift.clone()?;
    let outcome = session
        .trials
        .iter()
        .find(|outcome| session.short_name(&outcome.trial) == DRIFT)?;
    let finding = outcome
        .findings
        .iter()
        .rev()
        .max_by_key(|finding| finding.severity);
    Some(Drift {
        verdict: outcome.verdict,
        figures,
        finding: finding.map(|finding| finding.text.clone()),
    })
}

/// What makes the figures of one session meaningless.
fn session_troubles(session: &Session) -> Vec<String> {
    let mut troubles = Vec::new();
    let failures = session
        .booted
        .iter()
        .flat_map(|booted| &booted.findings)
        .filter(|finding| finding.severity == Severity::Failure);
    troubles.extend(failures.map(|finding| finding.text.clone()));
    let performance = |outcome: &&Outcome| matches!(outcome.kind, TrialKind::Latency | TrialKind::Throughput);
    for outcome in session.trials.iter().filter(performance) {
        if outcome.verdict == Verdict::Invalid {
            let reason = outcome
                .findings
                .iter()
                .rev()
                .max_by_key(|finding| finding.severity);
            let reason = reason.map_or("no reason given", |finding| finding.text.as_str());
            troubles.push(format!("{}: {reason}", session.short_name(&outcome.trial)));
        }
    }
    let latency = session
        .latency
        .iter()
        .map(|measured| (&measured.trial, measured.figures.failed));
    let throughput = session
        .throughput
        .iter()
        .map(|measured| (&measured.trial, measured.figures.failed));
    for (trial, failed) in latency.chain(throughput).filter(|(_, failed)| *failed > 0) {
        let trial = session.short_name(trial);
        troubles.push(format!(
            "{trial}: {failed} requests failed, so its speed is not that of the load asked for"
        ));
    }
    troubles
}

/// What makes a whole run useless for comparing.
fn run_troubles(summary: &Summary, entries: &[Entry]) -> Vec<String> {
    let mut troubles = Vec::new();
    if summary.interrupted() {
        troubles.push("the run was interrupted".to_owned());
    }
    troubles.extend(clock_jump(entries));
    // Every gate's figures are audited before it judges by them, as those of every report.
    let contradiction =
        |finding: &audit::Finding| format!("figures that cannot be: {}", audited::headline(finding));
    troubles.extend(audited::findings(summary).iter().map(contradiction));
    troubles
}

/// A wall clock that was set back, or that ran otherwise than the monotonic one during a trial.
fn clock_jump(entries: &[Entry]) -> Option<String> {
    let back = entries.windows(2).find(|pair| pair[1].at < pair[0].at);
    if let Some(pair) = back {
        let seconds = (pair[0].at - pair[1].at).as_seconds_f64();
        return Some(format!(
            "the host's clock was set back by {seconds:.1} s during the run"
        ));
    }
    let mut begun: BTreeMap<(&str, &str), time::OffsetDateTime> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::TrialStarted(started) => {
                begun.insert((&started.session, &started.trial), entry.at);
            }
            Event::TrialFinished(finished) => {
                let key = (finished.session.as_str(), finished.outcome.trial.as_str());
                let Some(from) = begun.get(&key) else { continue };
                let (wall, own) = ((entry.at - *from).as_seconds_f64(), finished.outcome.duration_s);
                // A trial that waits for the server before it takes longer than its record shows, never less.
                if wall - own > CLOCK_SLACK_S + own * 0.05 {
                    return Some(format!(
                        "the host's clock jumped: `{}` took {own:.1} s, and {wall:.1} s by the clock",
                        finished.outcome.trial
                    ));
                }
            }
            _ => {}
        }
    }
    None
}
