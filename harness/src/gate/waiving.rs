//! Failures of a gate that a manifest's waivers account for: they are shown as waived until their date, never as passed.

use crate::{manifest::Waiver, record::Verdict};

/// The waivers that hold on a candidate's stack.
#[derive(Debug, Clone, Default)]
pub(super) struct Waivers<'a>(Vec<&'a Waiver>);

impl<'a> Waivers<'a> {
    /// Of a manifest's waivers those that hold on this stack.
    pub(super) fn on(stack: Option<&str>, all: &'a [Waiver]) -> Self {
        let holds = |waiver: &&Waiver| waiver.stack.is_none() || waiver.stack.as_deref() == stack;
        Self(all.iter().filter(holds).collect())
    }

    /// Turns a failure, or evidence that does not decide, into a waived one where a waiver is for it, and says so.
    /// `asked` is the waiver's `trial` without `gate::`.
    pub(super) fn account(&self, asked: &str, verdict: &mut Verdict) -> Option<String> {
        if !matches!(verdict, Verdict::Failed | Verdict::Inconclusive) {
            return None;
        }
        let is_for = |waiver: &&&Waiver| waiver.trial.strip_prefix("gate::") == Some(asked);
        let waiver = self.0.iter().find(is_for)?;
        let text = format!(
            "{asked} {verdict}, waived until {}: {} ({})",
            waiver.until, waiver.reason, waiver.owner
        );
        *verdict = Verdict::Waived;
        Some(text)
    }
}
