//! Verdict of one case, from its graders and its golden.
//!
//! Without a golden, graders decide. With one, the recorded grade is part of it: an answer that was wrong when it was
//! recorded and still is passes as known wrong, and only a change counts. A golden that is wanted and missing is
//! `unrecorded`, never passed. Identical answers and near ties pass; a divergence fails, unless the server stays within
//! the floor when it scores the golden's own tokens: then only generation parted, and that warns.
//!
//! The caller writes: it asks [`Judged::review`] what to do with the answer, hands it to the store and tells
//! [`Judged::with_pending`] where it waits.

pub(crate) mod diff;
mod divergence;

use std::path::Path;

use super::drift::is_clean;
use super::graders::{GraderResult, Judgement};
use crate::golden::{Comparison, Golden, GoldenDrift, GradeVerdict, Grading, Incomparable};
use crate::record::{Finding, Severity, Verdict};
use crate::vllm::Answer;

/// What is known of one case's answer.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The answer.
    pub answer: &'a Answer,
    /// What each grader of the case says.
    pub grades: &'a [GraderResult],
    /// Whether the case is held against a golden.
    pub golden_wanted: bool,
    /// The accepted golden and how the answer stands to it.
    pub golden: Option<(&'a Golden, &'a Comparison)>,
    /// How far the server strays when it scores the golden's own tokens, where it was asked.
    pub scored: Option<&'a GoldenDrift>,
}

/// Verdict of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on, the decisive finding first.
    pub findings: Vec<Finding>,
    /// What becomes of the answer.
    pub review: Review,
}

/// What becomes of an answer that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// It waits for a reviewer as a pending golden.
    Pend,
    /// The accepted golden holds; a pending one from an earlier run no longer does.
    Settled,
    /// Nothing: there is no golden, or the answer could not become one.
    None,
}

impl Judged {
    /// The same, with where the new answer waits; `None` where the environment wants nothing written.
    #[must_use]
    pub fn with_pending(mut self, pending: Option<&Path>) -> Self {
        let text = match pending {
            Some(path) => format!(
                "the answer waits in {}; `cargo insta review` shows it and accepts or rejects it",
                path.display()
            ),
            None => "no pending golden was written (INSTA_UPDATE or CI says so); run again with INSTA_UPDATE=new to \
                     get one for `cargo insta review`"
                .to_owned(),
        };
        self.findings.push(Finding::note(text));
        self
    }
}

/// The grade of an answer as a golden keeps it. A grader that could not run leaves it ungraded, unless another one
/// already says that it is wrong.
pub fn grading(grades: &[GraderResult]) -> Grading {
    let named = |judgement| {
        let these = grades.iter().filter(move |grade| grade.judgement == judgement);
        these.map(|grade| grade.grader.to_owned()).collect::<Vec<_>>()
    };
    let (wrong, not_run) = (named(Judgement::Unsatisfied), named(Judgement::NotRun));
    let (verdict, named) = if !wrong.is_empty() {
        (GradeVerdict::Wrong, wrong)
    } else if grades.is_empty() || !not_run.is_empty() {
        (GradeVerdict::NotGraded, not_run)
    } else {
        (GradeVerdict::Right, Vec::new())
    };
    Grading {
        verdict,
        graders: named,
    }
}

/// Judges one case.
pub fn judge(evidence: &Evidence<'_>) -> Judged {
    match evidence.golden {
        _ if !evidence.golden_wanted => by_graders(evidence.grades),
        None => unrecorded(evidence.grades),
        Some((golden, comparison)) => against_golden(evidence, golden, comparison),
    }
}

fn by_graders(grades: &[GraderResult]) -> Judged {
    let verdict = match grading(grades).verdict {
        GradeVerdict::Right => Verdict::Passed,
        GradeVerdict::Wrong => Verdict::Failed,
        GradeVerdict::NotGraded => Verdict::Skipped,
    };
    let mut findings = worst_first(grades);
    if findings.is_empty() {
        findings.push(Finding::warning(
            "the case has neither a grader nor a golden: nothing was judged",
        ));
    }
    Judged {
        verdict,
        findings,
        review: Review::None,
    }
}

fn unrecorded(grades: &[GraderResult]) -> Judged {
    let grade = match grading(grades).verdict {
        GradeVerdict::Right => "the graders find the answer right",
        GradeVerdict::Wrong => "the graders find the answer wrong",
        GradeVerdict::NotGraded => "the answer is not graded",
    };
    let text =
        format!("no golden is recorded for this case; {grade}, and there is nothing to compare it with");
    let mut findings = vec![Finding::warning(text)];
    findings.extend(worst_first(grades).into_iter().map(not_decisive));
    Judged {
        verdict: Verdict::Unrecorded,
        findings,
        review: Review::Pend,
    }
}

fn against_golden(evidence: &Evidence<'_>, golden: &Golden, comparison: &Comparison) -> Judged {
    let compared = by_comparison(golden, comparison, evidence);
    let recorded = &golden.header.grade;
    let current = grading(evidence.grades);
    let reasons = worst_first(evidence.grades);
    match (recorded.verdict, current.verdict) {
        (GradeVerdict::Right | GradeVerdict::NotGraded, GradeVerdict::Wrong) => {
            let was = match recorded.verdict {
                GradeVerdict::Right => "was right when its golden was recorded",
                _ => "was not graded when its golden was recorded",
            };
            let names = current.graders.join(", ");
            let changed = Finding::failure(format!("the answer {was} and is wrong now ({names})"));
            let rest = compared.findings.into_iter().map(not_decisive);
            Judged {
                verdict: Verdict::Failed,
                findings: [changed].into_iter().chain(reasons).chain(rest).collect(),
                review: if compared.review == Review::None {
                    Review::None
                } else {
                    Review::Pend
                },
            }
        }
        (GradeVerdict::Wrong, GradeVerdict::Right) if !matches!(comparison, Comparison::Incomparable(_)) => {
            let better = Finding::note(
                "the answer was known to be wrong and is right now: accept the pending golden, so that it stays right",
            );
            let rest = compared.findings.into_iter().map(not_decisive);
            Judged {
                verdict: Verdict::Passed,
                findings: [better].into_iter().chain(rest).chain(reasons).collect(),
                review: Review::Pend,
            }
        }
        (GradeVerdict::Wrong, GradeVerdict::Wrong) => {
            let known = Finding::note(format!("known wrong: {}", known_wrong(recorded, &current)));
            compared.followed_by([known].into_iter().chain(reasons.into_iter().map(not_decisive)))
        }
        // The grader could not run. The same text has the recorded grade, another may have lost it.
        (GradeVerdict::Right | GradeVerdict::Wrong, GradeVerdict::NotGraded)
            if matches!(comparison, Comparison::NearTie(_)) && !evidence.grades.is_empty() =>
        {
            Judged {
                verdict: Verdict::Skipped,
                findings: reasons.into_iter().chain(compared.findings).collect(),
                review: Review::None,
            }
        }
        _ => compared.followed_by(reasons),
    }
}

impl Judged {
    fn followed_by(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(findings);
        self
    }
}

/// Whether it is wrong in the same way as when it was recorded.
fn known_wrong(recorded: &Grading, graded: &Grading) -> String {
    if recorded.graders == graded.graders {
        format!("the golden was recorded so ({})", recorded.graders.join(", "))
    } else {
        format!(
            "the golden was recorded so, though for another reason (then {}, now {})",
            recorded.graders.join(", "),
            graded.graders.join(", ")
        )
    }
}

fn by_comparison(golden: &Golden, comparison: &Comparison, evidence: &Evidence<'_>) -> Judged {
    let clean = evidence.scored.filter(|drift| is_clean(golden, drift));
    let judged = |verdict, finding, review| Judged {
        verdict,
        findings: vec![finding],
        review,
    };
    match comparison {
        Comparison::Identical => judged(
            Verdict::Passed,
            Finding::note(format!(
                "identical to the golden of {} ({})",
                golden.header.recorded.stack,
                golden.header.recorded.at.date()
            )),
            Review::Settled,
        ),
        Comparison::NearTie(divergence) => judged(
            Verdict::Passed,
            divergence::near_tie(divergence, golden.near_tie_nat()),
            Review::Settled,
        ),
        Comparison::Divergent(divergence) => {
            let parted = divergence::divergent(divergence, golden, evidence.answer);
            match clean {
                Some(drift) => judged(Verdict::Passed, divergence::excused(parted, drift), Review::None),
                None => judged(Verdict::Failed, parted, Review::Pend),
            }
        }
        Comparison::Incomparable(reason) => {
            let (verdict, severity, review) = match reason {
                Incomparable::PromptChanged { .. } | Incomparable::TokenizerChanged { .. } => {
                    (Verdict::Failed, Severity::Failure, Review::Pend)
                }
                Incomparable::NotANumber { .. } => (Verdict::Failed, Severity::Failure, Review::None),
                Incomparable::NoTokenIds { .. }
                | Incomparable::TooFewAlternatives { .. }
                | Incomparable::Limit { .. } => (Verdict::Invalid, Severity::Warning, Review::None),
            };
            let text = format!("cannot be compared with the golden: {reason}");
            judged(verdict, Finding::new(severity, text), review)
        }
    }
}

/// Findings of the graders, the weightiest first.
fn worst_first(grades: &[GraderResult]) -> Vec<Finding> {
    let mut findings: Vec<_> = grades.iter().map(|grade| grade.finding.clone()).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// A finding that does not decide: the golden accounts for it.
fn not_decisive(finding: Finding) -> Finding {
    Finding {
        severity: finding.severity.min(Severity::Note),
        ..finding
    }
}

#[cfg(test)]
mod tests;
