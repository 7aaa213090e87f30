//! Verdict on the graded cases as a suite: did the same items become worse, and is the share of right ones high enough?
//!
//! Held against the grades of the goldens by McNemar's test (exact, one-sided), and against the manifest's least share by
//! Wilson's lower bound; there is no upper one, which would fail a model for being right. A suite that could not have
//! found a loss says how large a loss it would have missed.

use crate::{
    golden::GradeVerdict,
    manifest::{Limit, Quantity, Source, Unit},
    record::{Check, Estimate, Finding, GradeFigures, PairedGrades, Verdict},
    stats::{Power, mcnemar_p, smallest_drop, wilson_lower, wilson_upper},
};

/// Risk of a false alarm of the paired test.
const ALPHA: f64 = 0.01;
/// Share of items that change either way without a loss, where so few items cannot tell it themselves.
const DISCORDANT: f64 = 0.04;
/// Probability with which the smallest loss would have been found.
const POWER: f64 = 0.8;
/// Confidence of the bounds on the share.
const LEVEL: f64 = 0.95;
/// A suite that misses losses up to this share warns of it.
const WIDE: f64 = 0.05;

/// A case and its grades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradedItem {
    /// Name of the case.
    pub case: String,
    /// What the graders said when its golden was recorded, where it has one.
    pub before: Option<GradeVerdict>,
    /// What they say now.
    pub now: GradeVerdict,
}

/// Verdict on a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on.
    pub findings: Vec<Finding>,
    /// The share of right cases beside its limit.
    pub checks: Vec<Check>,
    /// The figures; `None` where nothing was graded.
    pub figures: Option<GradeFigures>,
}

/// Judges the graded cases of a session. `min_right` is the manifest's least share, in %.
pub fn judge(items: &[GradedItem], min_right: Option<Quantity>) -> Judged {
    let Some(figures) = figures(items, min_right) else {
        return Judged {
            verdict: Verdict::Skipped,
            findings: vec![Finding::note("no case of this run was graded right or wrong")],
            checks: Vec::new(),
            figures: None,
        };
    };
    let check = share_check(&figures, min_right);
    let mut findings = Vec::new();
    let mut verdict = Verdict::Passed;
    if min_right.is_some() {
        verdict = check.verdict;
        findings.extend(share_words(&figures, check.verdict));
    }
    match &figures.paired {
        Some(paired) if paired.p <= paired.alpha => {
            verdict = verdict.max(Verdict::Failed);
            findings.push(worse(paired));
        }
        Some(paired) => findings.push(not_worse(paired)),
        None if min_right.is_none() => {
            verdict = Verdict::Unrecorded;
            findings.push(Finding::warning(
                "no golden holds a grade to compare with, and the manifest has no correctness.min_right",
            ));
        }
        None => {}
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Judged {
        verdict,
        findings,
        checks: vec![check],
        figures: Some(figures),
    }
}

fn figures(items: &[GradedItem], min_right: Option<Quantity>) -> Option<GradeFigures> {
    let is_graded = |grade: GradeVerdict| grade != GradeVerdict::NotGraded;
    let graded: Vec<_> = items.iter().filter(|item| is_graded(item.now)).collect();
    if graded.is_empty() {
        return None;
    }
    let right = graded
        .iter()
        .filter(|item| item.now == GradeVerdict::Right)
        .count();
    let paired: Vec<_> = graded
        .iter()
        .filter(|item| item.before.is_some_and(is_graded))
        .collect();
    let changed = |before, now| {
        paired
            .iter()
            .filter(|item| (item.before, item.now) == (Some(before), now))
            .map(|item| item.case.clone())
            .collect::<Vec<_>>()
    };
    let worse = changed(GradeVerdict::Right, GradeVerdict::Wrong);
    let better = changed(GradeVerdict::Wrong, GradeVerdict::Right);
    let test = Power {
        items: paired.len(),
        discordant: DISCORDANT,
        alpha: ALPHA,
    };
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(GradeFigures {
        items: count(graded.len()),
        right: count(right),
        right_share: Estimate {
            value: right as f64 / graded.len() as f64,
            low: wilson_lower(right as f64, graded.len() as f64, LEVEL),
            high: None,
        },
        min_right_share: min_right.map(|least| least.value() / 100.0),
        paired: (!paired.is_empty()).then(|| PairedGrades {
            items: count(paired.len()),
            p: mcnemar_p(worse.len(), better.len()),
            worse,
            better,
            alpha: ALPHA,
            smallest_drop: smallest_drop(test, POWER),
            power: POWER,
            discordant: DISCORDANT,
        }),
    })
}

/// The share beside its limit: passed by its lower bound, failed where even the upper one is below.
fn share_check(figures: &GradeFigures, min_right: Option<Quantity>) -> Check {
    let items = f64::from(figures.items);
    let high = wilson_upper(f64::from(figures.right), items, LEVEL);
    let verdict = match figures.min_right_share {
        None => Verdict::Unrecorded,
        Some(least) if figures.right_share.low.is_some_and(|low| low >= least) => Verdict::Passed,
        Some(least) if high.is_some_and(|high| high < least) => Verdict::Failed,
        Some(_) => Verdict::Inconclusive,
    };
    Check {
        metric: "right".to_owned(),
        measured: Some(100.0 * figures.right_share.value),
        budget: min_right.map(|least| Limit {
            min: Some(least),
            max: None,
            source: Source::Promised,
            because: "correctness.min_right of the manifest; the lower bound of 95 % decides".to_owned(),
        }),
        unit: Unit::Percent,
        verdict,
    }
}

fn share_words(figures: &GradeFigures, verdict: Verdict) -> Option<Finding> {
    let low = 100.0 * figures.right_share.low?;
    let least = 100.0 * figures.min_right_share?;
    let text = format!(
        "{} of {} graded cases are right: with 95 % confidence at least {low:.1} %, {least:.1} % are asked for",
        figures.right, figures.items
    );
    Some(match verdict {
        Verdict::Passed => Finding::note(text),
        Verdict::Failed => Finding::failure(text),
        _ => Finding::warning(format!("{text}; more graded cases would decide")),
    })
}

fn changes(paired: &PairedGrades) -> String {
    format!(
        "{} of {} graded cases were right when their golden was recorded and are wrong now, {} the other way round \
         (McNemar, one-sided: p = {:.4})",
        paired.worse.len(),
        paired.items,
        paired.better.len(),
        paired.p
    )
}

fn worse(paired: &PairedGrades) -> Finding {
    let text = format!(
        "{}: the suite became worse, which chance explains in less than {:.0} %",
        changes(paired),
        100.0 * paired.alpha
    );
    Finding::failure(text).with_evidence([format!("worse: {}", paired.worse.join(", "))])
}

/// What the test found, and how large a loss it would have missed.
fn not_worse(paired: &PairedGrades) -> Finding {
    let found = changes(paired);
    let finding = match paired.smallest_drop {
        None => Finding::warning(format!("{found}; so few items would have shown no loss at all")),
        Some(drop) => {
            let text = format!(
                "{found}; a loss of {:.1} % and more would have been found with a probability of {:.0} %",
                100.0 * drop,
                100.0 * paired.power
            );
            if drop > WIDE {
                Finding::note(format!("{text}, a smaller one probably not"))
            } else {
                Finding::note(text)
            }
        }
    };
    let named = [("worse", &paired.worse), ("better", &paired.better)];
    let lines = named.iter().filter(|(_, cases)| !cases.is_empty());
    finding.with_evidence(lines.map(|(word, cases)| format!("{word}: {}", cases.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(counts: [usize; 4]) -> Vec<GradedItem> {
        use GradeVerdict::{Right, Wrong};
        let kinds = [(Right, Right), (Right, Wrong), (Wrong, Right), (Wrong, Wrong)];
        let of_kind = |(kind, count): (usize, usize)| {
            let (before, now) = kinds[kind];
            (0..count).map(move |number| GradedItem {
                case: format!("case_{kind}_{number}"),
                before: Some(before),
                now,
            })
        };
        counts.into_iter().enumerate().flat_map(of_kind).collect()
    }

    fn percent(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn a_suite_fails_when_losses_outweigh_gains() {
        // 9 losses and 1 gain: p = 11 / 1024.
        let near = judge(&items([90, 9, 1, 0]), None);
        assert_eq!(near.verdict, Verdict::Passed);
        let lost = judge(&items([90, 10, 1, 0]), None);
        assert_eq!(lost.verdict, Verdict::Failed);
        let figures = lost.figures.unwrap().paired.unwrap();
        assert!((figures.p - 12.0 / 2048.0).abs() < 1e-12, "{}", figures.p);
        insta::assert_yaml_snapshot!([&near.findings, &lost.findings]);
    }

    #[test]
    fn gains_never_fail() {
        assert_eq!(
            judge(&items([0, 0, 100, 0]), Some(percent("50 %"))).verdict,
            Verdict::Passed
        );
    }

    #[test]
    fn few_items_say_what_they_cannot_find() {
        let few = judge(&items([6, 0, 0, 0]), None);
        assert_eq!(few.verdict, Verdict::Passed);
        assert!(
            few.findings[0]
                .text
                .ends_with("so few items would have shown no loss at all")
        );
        let some = judge(&items([54, 0, 0, 0]), None);
        assert!(
            some.findings[0].text.contains("a smaller one probably not"),
            "{:?}",
            some.findings
        );
    }

    #[test]
    fn the_least_share_is_held_against_the_lower_bound() {
        let verdict = |right, wrong, least| judge(&items([right, 0, 0, wrong]), Some(percent(least))).verdict;
        // Wilson's lower bound of 54 of 54 is 95.23 %, of 40 of 50 69.4 %, its upper one 87.8 %.
        assert_eq!(verdict(54, 0, "95 %"), Verdict::Passed);
        assert_eq!(verdict(54, 0, "96 %"), Verdict::Inconclusive);
        assert_eq!(verdict(40, 10, "69 %"), Verdict::Passed);
        assert_eq!(verdict(40, 10, "85 %"), Verdict::Inconclusive);
        assert_eq!(verdict(40, 10, "90 %"), Verdict::Failed);
        let judged = judge(&items([40, 0, 0, 10]), Some(percent("85 %")));
        insta::assert_yaml_snapshot!((&judged.findings, &judged.checks));
    }

    #[test]
    fn what_is_not_graded_does_not_count() {
        let mut all = items([3, 0, 0, 1]);
        for item in &mut all {
            item.now = GradeVerdict::NotGraded;
        }
        assert_eq!(judge(&all, None).verdict, Verdict::Skipped);
        let mut all = items([3, 0, 0, 1]);
        for item in &mut all {
            item.before = None;
        }
        let judged = judge(&all, None);
        assert_eq!(judged.verdict, Verdict::Unrecorded);
        assert_eq!(judged.figures.unwrap().paired, None);
    }
}
