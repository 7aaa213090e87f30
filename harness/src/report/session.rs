//! One session as reports show it: a server, what it is, and the outcomes of its trials.

use std::collections::BTreeMap;

use super::{cards::Cards, figure, text::one_line};
use crate::record::{
    BootFailed, BootPhase, Booted, Check, DriftFigures, GradeFigures, LatencyFigures, Measured, Outcome,
    SessionEnded, SessionStarted, ThroughputFigures, TrialKind, Verdict,
};

/// One server and all that was asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its first event.
    pub started: SessionStarted,
    /// Steps of the boot.
    pub phases: Vec<BootPhase>,
    /// What its cards did.
    pub cards: Cards,
    /// What answered; `None` where nothing did.
    pub booted: Option<Box<Booted>>,
    /// Why it did not boot, or how it was lost.
    pub failure: Option<Failure>,
    /// Requests one after another.
    pub latency: Option<Measured<LatencyFigures>>,
    /// Requests at once, by concurrency as they were measured.
    pub throughput: Vec<Measured<ThroughputFigures>>,
    /// How far the session strays from its goldens.
    pub drift: Option<DriftFigures>,
    /// Its graded cases as a suite.
    pub grades: Option<GradeFigures>,
    /// Outcomes of trials.
    pub trials: Vec<Outcome>,
    /// Trials that began and have no outcome.
    pub unfinished: Vec<String>,
    /// Its last event; `None` where the record was cut off.
    pub ended: Option<SessionEnded>,
}

/// Why a server does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether it had answered before.
    pub lost: bool,
    /// Class, message, evidence, advice.
    pub report: BootFailed,
}

/// How many trials have which verdict, from best to worst.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Verdict, usize>);

impl Session {
    pub(super) const fn new(started: SessionStarted) -> Self {
        Self {
            started,
            phases: Vec::new(),
            cards: Cards::new(),
            booted: None,
            failure: None,
            latency: None,
            throughput: Vec::new(),
            drift: None,
            grades: None,
            trials: Vec::new(),
            unfinished: Vec::new(),
            ended: None,
        }
    }

    /// Worst verdict of the session's trials; an error where its server failed, inconclusive at best where a trial
    /// has no outcome.
    pub fn verdict(&self) -> Verdict {
        let trials = Verdict::over(self.trials.iter().map(|trial| trial.verdict));
        let failure = if self.failure.is_some() {
            Verdict::Error
        } else {
            Verdict::Passed
        };
        let cut = if self.unfinished.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Inconclusive
        };
        trials.max(failure).max(cut)
    }

    /// Verdicts of the session's trials.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.trials)
    }

    /// The check of a figure by trials of one kind; the first where several looked at it.
    pub fn check(&self, kind: TrialKind, metric: &str) -> Option<&Check> {
        self.trials
            .iter()
            .filter(|trial| trial.kind == kind)
            .flat_map(|trial| &trial.checks)
            .find(|check| check.metric == metric)
    }

    /// The check of a figure by one trial.
    pub fn check_of(&self, trial: &str, metric: &str) -> Option<&Check> {
        let trial = self.trials.iter().find(|known| known.trial == trial)?;
        trial.checks.iter().find(|check| check.metric == metric)
    }

    /// Name of a trial without the model in front, as tables show it.
    pub fn short_name<'a>(&self, trial: &'a str) -> &'a str {
        trial
            .strip_prefix(&self.started.model)
            .and_then(|rest| rest.strip_prefix("::"))
            .unwrap_or(trial)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.started.session == name
    }

    pub(super) fn fail(&mut self, lost: bool, report: &BootFailed) {
        self.failure = Some(Failure {
            lost,
            report: report.clone(),
        });
    }

    pub(super) fn measure(&mut self, event: &Measured<ThroughputFigures>) {
        match self
            .throughput
            .iter_mut()
            .find(|known| known.trial == event.trial)
        {
            Some(known) => *known = event.clone(),
            None => self.throughput.push(event.clone()),
        }
    }

    pub(super) fn finish(&mut self, outcome: &Outcome) {
        self.unfinished.retain(|trial| *trial != outcome.trial);
        match self.trials.iter_mut().find(|known| known.trial == outcome.trial) {
            Some(known) => *known = outcome.clone(),
            None => self.trials.push(outcome.clone()),
        }
    }
}

impl Counts {
    pub(super) fn of<'a>(trials: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut counts = BTreeMap::new();
        for trial in trials {
            *counts.entry(trial.verdict).or_default() += 1;
        }
        Self(counts)
    }

    /// Trials in all.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Trials of one verdict.
    pub fn with(&self, verdict: Verdict) -> usize {
        self.0.get(&verdict).copied().unwrap_or_default()
    }

    /// Each verdict that occurs, from best to worst.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, usize)> {
        self.0.iter().map(|(verdict, count)| (*verdict, *count))
    }

    /// `40 passed, 1 failed`; `no trials` where there are none.
    pub fn in_words(&self) -> String {
        if self.0.is_empty() {
            return "no trials".to_owned();
        }
        let parts: Vec<_> = self
            .iter()
            .map(|(verdict, count)| format!("{count} {verdict}"))
            .collect();
        parts.join(", ")
    }
}

impl Outcome {
    /// Why the trial has its verdict, in one line: the check that decided against it and the weightiest finding.
    pub(super) fn reason(&self) -> String {
        let check = self
            .decisive_check()
            .filter(|check| check.verdict != Verdict::Passed);
        let finding = self.findings.iter().rev().max_by_key(|finding| finding.severity);
        let parts = [
            check.map(figure::comparison),
            finding.map(|finding| one_line(&finding.text)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

impl SessionStarted {
    /// The accelerator as reports call it, behind its article.
    pub(super) fn accelerator_name(&self) -> (&'static str, &str) {
        match self.accelerator.as_str() {
            "c500" => ("a", "MetaX C500"),
            "a100_40gb" => ("an", "NVIDIA A100 40 GB"),
            "cpu" => ("a", "CPU"),
            other => ("a", other),
        }
    }
}
