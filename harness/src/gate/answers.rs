//! Are the answers still right? Cases as both sides answered them, item by item.

use serde::{Deserialize, Serialize};

use super::{Arm, arm::Drift};
use crate::{
    record::Verdict,
    stats::{self, Power},
};

/// Level of McNemar's test over all cases.
const ALPHA: f64 = 0.01;
/// Share of items that change either way on a healthy stack, for the power that is stated.
const DISCORDANT: f64 = 0.04;
/// Power for which the smallest loss is stated.
const POWER: f64 = 0.9;

/// What became of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Right before, wrong now.
    Lost,
    /// Wrong before, right now.
    Won,
    /// Wrong on both sides, in other words.
    Altered,
    /// Right before, wrong now, and a waiver of the manifest accounts for it.
    Waived,
}

/// A case that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseChange {
    /// Name of the case's trial, without the model.
    pub case: String,
    /// What became of it.
    pub change: Change,
    /// Verdicts of baseline and candidate.
    pub verdicts: (Verdict, Verdict),
    /// Answers of baseline and candidate.
    pub answers: (Option<String>, Option<String>),
    /// The weightiest finding of the candidate.
    pub finding: Option<String>,
}

/// All cases together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswersGate {
    /// The verdict.
    pub verdict: Verdict,
    /// Cases that both sides answered.
    pub compared: usize,
    /// Of them, those with the same answer to the letter.
    pub identical: usize,
    /// Cases that only one side answered.
    pub one_sided: Vec<String>,
    /// Cases that changed, the lost ones first.
    pub changes: Vec<CaseChange>,
    /// The goldens scored token by token, where both sides were.
    pub drift: Option<DriftGate>,
    /// One-sided p of McNemar's exact test: are more lost than won?
    pub mcnemar_p: Option<f64>,
    /// The smallest loss, as a share of the cases, that so many find nine times in ten; `None` where none can be found.
    pub smallest_loss: Option<f64>,
}

/// How far both sides stray from the goldens' own tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftGate {
    /// Verdict: lost where the baseline was within its threshold and the candidate is not.
    pub verdict: Verdict,
    /// Mean divergence from the goldens in nat, of baseline and candidate.
    pub mean_kld_nat: (f64, f64),
    /// Share of positions at which the golden's token is the likeliest, of baseline and candidate.
    pub top1: (f64, f64),
    /// Positions that both sides scored, at least.
    pub positions: u64,
    /// The weightiest finding of the candidate.
    pub finding: Option<String>,
}

impl DriftGate {
    fn of(before: &Drift, after: &Drift) -> Self {
        let verdict = match (before.verdict, after.verdict) {
            (Verdict::Passed, verdict) => verdict,
            // Goldens of which the baseline itself strays cannot tell the two apart.
            _ => Verdict::Inconclusive,
        };
        let (old, new) = (&before.figures, &after.figures);
        Self {
            verdict,
            mean_kld_nat: (old.mean_kld_nat.value, new.mean_kld_nat.value),
            top1: (old.top1.value, new.top1.value),
            positions: old.positions.min(new.positions),
            finding: after.finding.clone(),
        }
    }
}

/// Compares the cases of two sessions. `None` where neither asked any.
pub fn judge(baseline: &Arm, candidate: &Arm) -> Option<AnswersGate> {
    if baseline.cases.is_empty() && candidate.cases.is_empty() {
        return None;
    }
    let drift = baseline.drift.as_ref().zip(candidate.drift.as_ref());
    let mut gate = AnswersGate {
        verdict: Verdict::Inconclusive,
        compared: 0,
        identical: 0,
        one_sided: Vec::new(),
        changes: Vec::new(),
        drift: drift.map(|(before, after)| DriftGate::of(before, after)),
        mcnemar_p: None,
        smallest_loss: None,
    };
    let only_candidate = candidate
        .cases
        .keys()
        .filter(|name| !baseline.cases.contains_key(*name));
    gate.one_sided.extend(only_candidate.cloned());
    for (name, before) in &baseline.cases {
        let Some(after) = candidate.cases.get(name) else {
            gate.one_sided.push(name.clone());
            continue;
        };
        let told = |verdict| {
            matches!(
                verdict,
                Verdict::Passed | Verdict::Failed | Verdict::Waived | Verdict::Unrecorded
            )
        };
        if !told(before.verdict) || !told(after.verdict) {
            gate.one_sided.push(name.clone());
            continue;
        }
        gate.compared += 1;
        let is_same = before.answer.is_some() && before.answer == after.answer;
        gate.identical += usize::from(is_same);
        let is_wrong = |verdict| matches!(verdict, Verdict::Failed | Verdict::Waived);
        let change = match (is_wrong(before.verdict), is_wrong(after.verdict)) {
            // The same answer cannot be lost: a golden that changed between the runs is another question.
            _ if is_same => continue,
            (false, true) if after.verdict == Verdict::Waived => Change::Waived,
            (false, true) => Change::Lost,
            (true, false) => Change::Won,
            (true, true) => Change::Altered,
            (false, false) => continue,
        };
        gate.changes.push(CaseChange {
            case: name.clone(),
            change,
            verdicts: (before.verdict, after.verdict),
            answers: (before.answer.clone(), after.answer.clone()),
            finding: after.finding.clone(),
        });
    }
    gate.decide();
    Some(gate)
}

impl AnswersGate {
    fn count(&self, change: Change) -> usize {
        self.changes.iter().filter(|found| found.change == change).count()
    }

    /// Cases that were lost.
    pub fn lost(&self) -> usize {
        self.count(Change::Lost)
    }

    /// Why the answers do not pass, in one sentence each; empty where they do.
    pub fn reasons(&self) -> Vec<String> {
        let names = |change: Change| -> Vec<&str> {
            let found = self.changes.iter().filter(|found| found.change == change);
            found.map(|found| found.case.as_str()).collect()
        };
        let (lost, altered) = (names(Change::Lost), names(Change::Altered));
        let mut reasons = Vec::new();
        if self.verdict == Verdict::Passed {
            return reasons;
        }
        if !lost.is_empty() {
            let count = lost.len();
            reasons.push(format!(
                "{count} of {} cases were right and are wrong: {}",
                self.compared,
                few(&lost)
            ));
        }
        if let Some(drift) = self
            .drift
            .as_ref()
            .filter(|drift| drift.verdict != Verdict::Passed)
        {
            let ((before, after), (old, new)) = (drift.mean_kld_nat, drift.top1);
            reasons.push(format!(
                "scored by the goldens' own tokens, mean KLD went from {before:.2e} to {after:.2e} nat and agreement from \
                 {:.1} % to {:.1} %",
                old * 100.0,
                new * 100.0
            ));
        }
        let waived = names(Change::Waived);
        if !waived.is_empty() {
            reasons.push(format!(
                "{} cases were right and are wrong, which waivers account for: {}",
                waived.len(),
                few(&waived)
            ));
        }
        if !altered.is_empty() {
            reasons.push(format!(
                "{} cases are wrong on both sides and differ: {}",
                altered.len(),
                few(&altered)
            ));
        }
        if !self.one_sided.is_empty() || self.compared == 0 {
            let one_sided: Vec<&str> = self.one_sided.iter().map(String::as_str).collect();
            reasons.push(format!(
                "{} cases were answered on both sides, {} on one only: {}",
                self.compared,
                one_sided.len(),
                few(&one_sided)
            ));
        }
        reasons
    }

    fn decide(&mut self) {
        self.changes.sort_by_key(|change| match change.change {
            Change::Lost => 0,
            Change::Waived => 1,
            Change::Altered => 2,
            Change::Won => 3,
        });
        self.mcnemar_p = (self.compared > 0).then(|| stats::mcnemar_p(self.lost(), self.count(Change::Won)));
        let test = Power {
            items: self.compared,
            discordant: DISCORDANT,
            alpha: ALPHA,
        };
        self.smallest_loss = (self.compared > 0)
            .then(|| stats::smallest_drop(test, POWER))
            .flatten();
        let drift = self.drift.as_ref().map(|drift| drift.verdict);
        let scored_failure = drift.is_some_and(|verdict| verdict >= Verdict::Failed);
        // Where every answer is the same to the letter, goldens of another number type are not needed to see it.
        let all_identical = self.compared > 0 && self.identical == self.compared && self.one_sided.is_empty();
        self.verdict = if self.lost() > 0 || scored_failure {
            Verdict::Failed
        } else if all_identical {
            Verdict::Passed
        } else if self.compared == 0
            || !self.one_sided.is_empty()
            || self.count(Change::Altered) > 0
            || drift.is_some_and(|verdict| verdict != Verdict::Passed)
        {
            Verdict::Inconclusive
        } else if self.count(Change::Waived) > 0 {
            Verdict::Waived
        } else {
            Verdict::Passed
        };
    }
}

/// The first names, and how many more there are.
fn few(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
