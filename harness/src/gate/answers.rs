//! Are the answers still right? Cases as both sides answered them, item by item.

use serde::{Deserialize, Serialize};

use super::Arm;
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
    /// One-sided p of McNemar's exact test: are more lost than won?
    pub mcnemar_p: Option<f64>,
    /// The smallest loss, as a share of the cases, that so many find nine times in ten; `None` where none can be found.
    pub smallest_loss: Option<f64>,
}

/// Compares the cases of two sessions. `None` where neither asked any.
pub fn judge(baseline: &Arm, candidate: &Arm) -> Option<AnswersGate> {
    if baseline.cases.is_empty() && candidate.cases.is_empty() {
        return None;
    }
    let mut gate = AnswersGate {
        verdict: Verdict::Inconclusive,
        compared: 0,
        identical: 0,
        one_sided: Vec::new(),
        changes: Vec::new(),
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
        if before.answer == after.answer {
            gate.identical += 1;
        }
        let is_wrong = |verdict| matches!(verdict, Verdict::Failed | Verdict::Waived);
        let change = match (is_wrong(before.verdict), is_wrong(after.verdict)) {
            // The same answer cannot be lost: a golden that changed between the runs is another question.
            _ if before.answer == after.answer => continue,
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

    fn decide(&mut self) {
        self.changes.sort_by_key(|change| match change.change {
            Change::Lost => 0,
            Change::Altered => 1,
            Change::Won => 2,
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
        self.verdict = if self.lost() > 0 {
            Verdict::Failed
        } else if self.compared == 0 || !self.one_sided.is_empty() || self.count(Change::Altered) > 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Passed
        };
    }
}
