//! Verdict on how far a stack strays from a model's goldens when it scores their own tokens: rounding or regression?
//!
//! Three figures decide, each by its interval over prompts: the mean divergence, the share of agreement, and the
//! divergence that one position in a thousand exceeds. A figure whose interval lies beyond its threshold fails the
//! suite; the suite passes when none does and each that so many positions can decide lies within. Otherwise it is
//! inconclusive, and the verdict says how many positions would decide.
//!
//! What cannot be compared is told apart: a changed prompt or tokenizer and a NaN are failures by themselves; a server
//! that does not score is no evidence; what a version cannot do is a stated limit.

mod checks;
mod figures;
mod stand;
mod threshold;
mod words;

use std::collections::HashMap;

use crate::{
    golden::{self, Golden, GoldenDrift, Incomparable, Unscorable},
    record::{CaseDrift, Check, DriftFigures, Finding, Severity, Unscored, Verdict},
    vllm::Position,
};

pub use threshold::{FLOOR_MULTIPLE, floor, threshold};
pub(super) use words::nat;
pub use words::{broken_contexts, unnamed_tokens};

/// What a server said of one golden.
#[derive(Debug, Clone, PartialEq)]
pub struct Scoring {
    /// Ids of the golden's prompt by the server's tokenizer and template of today, where it tells them.
    pub prompt_ids: Option<Vec<u32>>,
    /// Text of the golden's output ids by the server's tokenizer of today, where it tells it.
    pub decoded: Option<String>,
    /// One entry a position of the golden.
    pub positions: Vec<Position>,
}

/// Why a golden has no figures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The prompt or the tokenizer changed.
    #[error(transparent)]
    Incomparable(#[from] Incomparable),
    /// The positions are not those of the golden, or hold NaN.
    #[error(transparent)]
    Unscorable(#[from] Unscorable),
    /// The server did not score it.
    #[error("the server did not score it: {0}")]
    Server(String),
    /// It cannot be scored this way.
    #[error("{0}")]
    Limit(String),
}

impl Refusal {
    /// Failure: the stack is at fault. Warning: evidence is missing. Note: a limit of the method.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Incomparable(_) | Self::Unscorable(Unscorable::NotANumber { .. }) => Severity::Failure,
            Self::Unscorable(Unscorable::NoPositions) | Self::Limit(_) => Severity::Note,
            Self::Unscorable(_) | Self::Server(_) => Severity::Warning,
        }
    }
}

/// The figures of one golden, if it can be compared at all.
pub fn examine(golden: &Golden, scoring: &Scoring) -> Result<GoldenDrift, Refusal> {
    if let Some(now) = &scoring.prompt_ids {
        golden::same_prompt(&golden.prompt_ids, now)?;
    }
    if let Some(decoded) = &scoring.decoded {
        golden::same_tokenizer(golden, decoded)?;
    }
    Ok(golden::drift(golden, &scoring.positions)?)
}

/// A golden with its figures.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The golden.
    pub golden: &'a Golden,
    /// How far the candidate strays from it.
    pub drift: &'a GoldenDrift,
}

/// Everything that is known of a model's goldens on one stack.
#[derive(Debug, Clone, Default)]
pub struct Suite<'a> {
    /// Goldens that were scored.
    pub scored: Vec<Scored<'a>>,
    /// Goldens that were not: name of the case, and why.
    pub refused: Vec<(String, Refusal)>,
    /// Texts of tokens that the goldens themselves do not hold.
    pub pieces: HashMap<u32, String>,
    /// Texts before the positions that stray farthest, by case, where the goldens' own pieces are halves of characters.
    pub contexts: HashMap<String, String>,
}

/// Verdict on a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on, the decisive finding first.
    pub findings: Vec<Finding>,
    /// Each figure beside its threshold.
    pub checks: Vec<Check>,
    /// The figures; `None` where nothing was scored.
    pub figures: Option<DriftFigures>,
}

/// Judges a suite.
pub fn judge(suite: &Suite<'_>) -> Judged {
    let refused = words::refusals(&suite.refused);
    let worst_refusal = refused.iter().map(|finding| finding.severity).max();
    let Some(figures) = figures(suite) else {
        return unscored(refused, worst_refusal);
    };
    let stands = stand::stands(&figures);
    let by_figures = stand::verdict(&stands);
    let verdict = match worst_refusal {
        Some(Severity::Failure) => Verdict::Failed,
        Some(Severity::Warning) => by_figures.max(Verdict::Inconclusive),
        _ => by_figures,
    };
    let mut findings = vec![words::headline(&figures, by_figures)];
    findings.extend(words::undecided(&stands, &figures));
    findings.extend(words::shallow(suite));
    findings.extend(refused);
    // The weightiest first; the headline stays ahead of what weighs the same.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Judged {
        verdict,
        findings,
        checks: checks::checks(&figures, &stands),
        figures: Some(figures),
    }
}

/// Nothing was scored: unrecorded where there was nothing to score, invalid where the server is why.
fn unscored(mut findings: Vec<Finding>, worst: Option<Severity>) -> Judged {
    let verdict = match worst {
        None => Verdict::Unrecorded,
        Some(Severity::Failure) => Verdict::Failed,
        Some(Severity::Warning) => Verdict::Invalid,
        Some(Severity::Note) => Verdict::Skipped,
    };
    if findings.is_empty() {
        findings.push(Finding::warning(
            "no golden of this model has positions to score; `harness record` makes goldens with them",
        ));
    }
    Judged {
        verdict,
        findings,
        checks: Vec::new(),
        figures: None,
    }
}

/// The figures over all goldens that were scored; `None` for none.
pub fn figures(suite: &Suite<'_>) -> Option<DriftFigures> {
    let summed = figures::Summed::of(&suite.scored)?;
    let [top1, mean_kld_nat, p999_kld_nat, mean_delta_nat] = summed.estimates();
    let floor = floor(suite.scored.iter().map(|scored| scored.golden));
    let greatest =
        |figure: fn(&CaseDrift) -> f64, cases: &[CaseDrift]| cases.iter().map(figure).fold(0.0, f64::max);
    let cases = words::cases(suite);
    Some(DriftFigures {
        prompts: u32::try_from(suite.scored.len()).unwrap_or(u32::MAX),
        positions: summed.positions(),
        top1,
        mean_kld_nat,
        p999_kld_nat,
        mean_delta_nat,
        max_delta_nat: greatest(|case| case.max_delta_nat, &cases),
        max_margin_nat: greatest(|case| case.max_margin_nat, &cases),
        threshold: threshold(floor),
        floor,
        cases,
        unscored: suite
            .refused
            .iter()
            .map(|(case, why)| Unscored {
                case: case.clone(),
                why: why.to_string(),
            })
            .collect(),
    })
}

/// Whether one golden is clean: its mean divergence is within what is allowed of the suite, and no position leads away
/// by more than a near tie. Free generation that parts from such a golden parts by rounding.
pub fn is_clean(golden: &Golden, drift: &GoldenDrift) -> bool {
    let allowed = threshold(floor([golden]));
    drift.mean(|position| position.kld_nat) <= allowed.max_mean_kld_nat
        && drift.greatest(|position| position.margin_nat) <= golden.near_tie_nat()
}

#[cfg(test)]
mod tests;
