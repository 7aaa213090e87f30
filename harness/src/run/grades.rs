//! The trial `correctness::grades`: the graded cases of this run as a suite.

use std::sync::{Mutex, PoisonError};

use super::{
    SessionPlan, TrialPlan,
    session::{Context, Up},
};
use crate::{
    judge::grades::{GradedItem, judge},
    record::{Event, Measured, Outcome, TrialKind},
};

/// Grades of the cases that a session was asked, in their order.
#[derive(Debug, Default)]
pub struct Grades(Mutex<Vec<GradedItem>>);

impl Grades {
    /// Keeps the grade of a case; one that was asked before counts once.
    pub fn keep(&self, item: GradedItem) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.retain(|known| known.case != item.case);
        items.push(item);
    }

    fn items(&self) -> Vec<GradedItem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Judges the cases that were asked so far.
pub fn grades(context: &Context, plan: &SessionPlan, trial: &TrialPlan, up: &Up) -> Outcome {
    let judged = judge(&up.grades.items(), plan.model.manifest.correctness.min_right);
    if let Some(figures) = judged.figures {
        context.journal.append(Event::Grades(Box::new(Measured {
            session: plan.name.clone(),
            trial: trial.name.clone(),
            figures,
        })));
    }
    let mut outcome = Outcome::new(
        &trial.name,
        TrialKind::Correctness,
        judged.verdict,
        judged.findings,
    );
    outcome.checks = judged.checks;
    outcome
}
