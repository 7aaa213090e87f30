//! Verdicts and what they rest on. A failing check is not an error: it is data, with findings.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer as _, value::StrDeserializer},
};

use crate::manifest::{Limit, Unit};

/// How the note of a waiver begins.
const WAIVED_UNTIL: &str = "waived until ";

/// Verdict of a trial, a model or a run. Ordered from best to worst: the worst of several speaks for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Evidence was gathered and it is within every limit.
    Passed,
    /// Not run, for a reason that a finding gives.
    Skipped,
    /// It failed, and a waiver of the manifest accounts for it until a date.
    Waived,
    /// There is nothing recorded to compare with.
    Unrecorded,
    /// The evidence does not decide.
    Inconclusive,
    /// A precondition of the measurement did not hold, so its figures mean nothing.
    Invalid,
    /// A limit was broken or an answer is wrong.
    Failed,
    /// The infrastructure failed (no boot, server lost): nothing can be said of the model.
    Error,
}

impl Verdict {
    /// Word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Waived => "waived",
            Self::Unrecorded => "unrecorded",
            Self::Inconclusive => "inconclusive",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Error => "error",
        }
    }

    /// Verdict over several trials: the worst; nothing at all, or nothing but skipped trials, is no evidence and
    /// never passes.
    pub fn over(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut evidence = false;
        let mut worst = Self::Passed;
        for verdict in verdicts {
            if verdict == Self::Skipped {
                continue;
            }
            evidence = true;
            worst = worst.max(verdict);
        }
        if evidence { worst } else { Self::Skipped }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a trial examines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// That the server boots and answers.
    Boot,
    /// One figure of memory.
    Memory,
    /// One case.
    Correctness,
    /// Requests one after another.
    Latency,
    /// Requests at once.
    Throughput,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Worth a look.
    Warning,
    /// Decides the verdict.
    Failure,
}

/// Something that was found, in one sentence, with what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// What was found and, where it helps, what to do next.
    pub text: String,
    /// Lines that show it: log lines, a diff, the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

impl Finding {
    /// A finding without evidence lines.
    pub fn new(severity: Severity, text: impl Into<String>) -> Self {
        Self {
            severity,
            text: text.into(),
            evidence: Vec::new(),
        }
    }

    /// Worth knowing.
    pub fn note(text: impl Into<String>) -> Self {
        Self::new(Severity::Note, text)
    }

    /// Worth a look.
    pub fn warning(text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, text)
    }

    /// Decides the verdict.
    pub fn failure(text: impl Into<String>) -> Self {
        Self::new(Severity::Failure, text)
    }

    /// The same finding with lines that show it.
    #[must_use]
    pub fn with_evidence(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.evidence.extend(lines.into_iter().map(Into::into));
        self
    }
}

/// One measured figure held against its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the figure, as in the manifest.
    pub metric: String,
    /// The figure, in `unit`; `null` where it could not be measured.
    pub measured: Option<f64>,
    /// The limit, where the manifest has one.
    pub budget: Option<Limit>,
    /// Unit of `measured`.
    pub unit: Unit,
    /// Verdict of this check alone.
    pub verdict: Verdict,
}

/// Outcome of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the trial.
    pub trial: String,
    /// What it examined.
    pub kind: TrialKind,
    /// Its verdict.
    pub verdict: Verdict,
    /// Figures held against limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The answer that was judged, for correctness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Real seconds that the trial took.
    pub duration_s: f64,
}

impl Outcome {
    /// An outcome that rests on findings alone.
    pub fn new(trial: impl Into<String>, kind: TrialKind, verdict: Verdict, findings: Vec<Finding>) -> Self {
        Self {
            trial: trial.into(),
            kind,
            verdict,
            checks: Vec::new(),
            findings,
            answer: None,
            duration_s: 0.0,
        }
    }

    /// The same as waived: shown so, never as passed, with the verdict that the waiver accounts for.
    #[must_use]
    pub fn waived(mut self, until: &str, reason: &str) -> Self {
        let text = format!("{WAIVED_UNTIL}{until}: {reason} (it {})", self.verdict);
        self.findings.insert(0, Finding::note(text));
        self.verdict = Verdict::Waived;
        self
    }

    /// The verdict that a waiver accounts for, as [`Outcome::waived`] notes it; `None` where nothing is waived.
    pub fn before_waiver(&self) -> Option<Verdict> {
        let first = self
            .findings
            .first()
            .filter(|_| self.verdict == Verdict::Waived)?;
        let text = first.text.strip_prefix(WAIVED_UNTIL)?.strip_suffix(')')?;
        let (_, word) = text.rsplit_once("(it ")?;
        let reader: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
        Verdict::deserialize(reader).ok()
    }

    /// The check that a one-line summary shows: of those with a budget the first with the worst verdict, otherwise the
    /// first of all.
    pub fn decisive_check(&self) -> Option<&Check> {
        let limited = || self.checks.iter().filter(|check| check.budget.is_some());
        let worst = limited().map(|check| check.verdict).max();
        limited()
            .find(|check| Some(check.verdict) == worst)
            .or(self.checks.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Quantity, Source};

    #[test]
    fn no_evidence_never_passes() {
        assert_eq!(Verdict::over([]), Verdict::Skipped);
        assert_eq!(Verdict::over([Verdict::Skipped]), Verdict::Skipped);
        assert_eq!(
            Verdict::over([Verdict::Skipped, Verdict::Passed]),
            Verdict::Passed
        );
        assert_eq!(
            Verdict::over([Verdict::Passed, Verdict::Unrecorded]),
            Verdict::Unrecorded
        );
        assert_eq!(
            Verdict::over([Verdict::Failed, Verdict::Error, Verdict::Passed]),
            Verdict::Error
        );
    }

    #[test]
    fn a_waiver_keeps_what_it_accounts_for() {
        let outcome = |verdict| Outcome::new("m::t", TrialKind::Latency, verdict, Vec::new());
        let waived = outcome(Verdict::Invalid).waived("2026-12-31", "known (it failed)");
        assert_eq!(waived.verdict, Verdict::Waived);
        assert_eq!(
            waived.findings[0].text,
            "waived until 2026-12-31: known (it failed) (it invalid)"
        );
        assert_eq!(waived.before_waiver(), Some(Verdict::Invalid));
        assert_eq!(outcome(Verdict::Failed).before_waiver(), None);
        assert_eq!(outcome(Verdict::Waived).before_waiver(), None);
    }

    #[test]
    fn the_first_failing_check_is_decisive() {
        let check = |metric: &str, verdict| Check {
            metric: metric.into(),
            measured: Some(1.0),
            budget: (verdict != Verdict::Unrecorded).then(|| Limit {
                min: None,
                max: Some(Quantity::new(2.0, Unit::GiB)),
                source: Source::Derived,
                because: String::new(),
            }),
            unit: Unit::GiB,
            verdict,
        };
        let mut outcome = Outcome::new("m::t", TrialKind::Latency, Verdict::Failed, Vec::new());
        assert_eq!(outcome.decisive_check(), None);
        outcome.checks = vec![
            check("a", Verdict::Passed),
            check("b", Verdict::Failed),
            check("c", Verdict::Failed),
        ];
        assert_eq!(outcome.decisive_check().unwrap().metric, "b");
        outcome.checks.remove(1);
        outcome.checks.remove(1);
        assert_eq!(outcome.decisive_check().unwrap().metric, "a");
        outcome
            .checks
            .insert(0, check("measured only", Verdict::Unrecorded));
        assert_eq!(outcome.decisive_check().unwrap().metric, "a");
    }
}
