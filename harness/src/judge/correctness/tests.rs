//! Every way a case can end, with the findings as people read them.

use super::*;
use crate::golden::sample::{answer, golden, position};
use crate::golden::{Floor, compare};
use crate::judge::graders::{GradedAnswer, grade};
use crate::manifest::{Code, CodeLanguage, Contains, Grade};

fn grader(city: &str) -> Grade {
    Grade {
        contains: Some(Contains {
            all: vec![city.to_owned()],
            ..Contains::default()
        }),
        ..Grade::default()
    }
}

fn with_code(grade: Grade) -> Grade {
    Grade {
        code: Some(Code {
            language: CodeLanguage::Python,
            before: String::new(),
            tests: "assert True".to_owned(),
        }),
        ..grade
    }
}

/// The answer that says Lyon from the sixth token on, with the given logprobs of Lyon in both distributions.
fn lyon(golden: &mut Golden, in_golden: f64, in_answer: f64) -> Answer {
    let mut changed = answer();
    changed.text = "The capital of France is Lyon.".to_owned();
    let top = |paris, lyon| {
        [
            (7042, paris),
            (8000, lyon),
            (902, -4.0),
            (903, -5.25),
            (904, -6.0),
        ]
    };
    golden.positions[5] = position(7042, &top(-0.5, in_golden));
    changed.positions[5] = position(8000, &top(in_answer, -0.5));
    changed
}

fn recorded(verdict: GradeVerdict, graders: &[&str]) -> Golden {
    let mut golden = golden();
    golden.header.grade = Grading {
        verdict,
        graders: graders.iter().map(|&name| name.to_owned()).collect(),
    };
    golden
}

fn judged(grade_of_case: &Grade, answer: &Answer, golden: Option<&Golden>, golden_wanted: bool) -> Judged {
    let grades = grade(grade_of_case, &GradedAnswer::of_text(&answer.text));
    let comparison = golden.map(|golden| compare(golden, answer));
    judge(&Evidence {
        answer,
        grades: &grades,
        golden_wanted,
        golden: golden.zip(comparison.as_ref()),
        scored: None,
    })
}

fn shown(judged: &Judged) -> String {
    let mut lines = vec![format!("{} · {:?}", judged.verdict, judged.review)];
    for finding in &judged.findings {
        lines.push(format!("{:?}: {}", finding.severity, finding.text));
        lines.extend(finding.evidence.iter().map(|line| format!("    {line}")));
    }
    lines.join("\n")
}

#[test]
fn graders_decide_without_a_golden() {
    let (right, wrong) = (grader("Paris"), grader("Lyon"));
    assert_eq!(judged(&right, &answer(), None, false).verdict, Verdict::Passed);
    assert_eq!(judged(&wrong, &answer(), None, false).verdict, Verdict::Failed);
    assert_eq!(
        judged(&with_code(right), &answer(), None, false).verdict,
        Verdict::Skipped
    );
    assert_eq!(
        judged(&with_code(wrong), &answer(), None, false).verdict,
        Verdict::Failed
    );
    assert_eq!(
        judged(&Grade::default(), &answer(), None, false).verdict,
        Verdict::Skipped
    );
    // A golden that is not wanted decides nothing.
    let golden = recorded(GradeVerdict::Wrong, &["contains"]);
    let judged = judged(&grader("Lyon"), &answer(), Some(&golden), false);
    assert_eq!((judged.verdict, judged.review), (Verdict::Failed, Review::None));
}

#[test]
fn a_missing_golden_never_passes() {
    for case in [
        grader("Paris"),
        grader("Lyon"),
        Grade::default(),
        with_code(grader("Paris")),
    ] {
        let judged = judged(&case, &answer(), None, true);
        assert_eq!(
            (judged.verdict, judged.review),
            (Verdict::Unrecorded, Review::Pend)
        );
    }
    insta::assert_snapshot!(shown(&judged(&grader("Lyon"), &answer(), None, true)));
}

#[test]
fn an_identical_answer_passes() {
    insta::assert_snapshot!(shown(&judged(&grader("Paris"), &answer(), Some(&golden()), true)));
    let judged = judged(&with_code(grader("Paris")), &answer(), Some(&golden()), true);
    assert_eq!(
        judged.verdict,
        Verdict::Passed,
        "the golden decides where a grader could not run"
    );
}

#[test]
fn known_wrong_and_still_wrong_passes() {
    let golden = recorded(GradeVerdict::Wrong, &["contains"]);
    insta::assert_snapshot!(shown(&judged(&grader("Lyon"), &answer(), Some(&golden), true)));
    let other = recorded(GradeVerdict::Wrong, &["number"]);
    let judged = judged(&grader("Lyon"), &answer(), Some(&other), true);
    assert_eq!(judged.verdict, Verdict::Passed);
    assert!(
        judged.findings[1]
            .text
            .contains("for another reason (then number, now contains)"),
        "{judged:?}"
    );
}

#[test]
fn right_to_wrong_fails_even_by_a_near_tie() {
    let mut golden = golden();
    let changed = lyon(&mut golden, -0.6, -0.6);
    insta::assert_snapshot!(shown(&judged(&grader("Paris"), &changed, Some(&golden), true)));
}

#[test]
fn wrong_to_right_passes_and_asks_for_a_new_golden() {
    let mut golden = recorded(GradeVerdict::Wrong, &["contains"]);
    let changed = lyon(&mut golden, -3.5, -3.0);
    insta::assert_snapshot!(shown(&judged(&grader("Lyon"), &changed, Some(&golden), true)));
}

#[test]
fn a_near_tie_passes_within_the_floor_only() {
    let mut golden = golden();
    let changed = lyon(&mut golden, -0.7, -0.6);
    insta::assert_snapshot!(shown(&judged(&grader("France"), &changed, Some(&golden), true)));
    golden.header.floor = Some(Floor {
        repeats: 3,
        near_tie_nat: 0.15,
        identical_share: 0.9,
        top1_share: 0.99,
        mean_kld_nat: 1e-4,
        max_kld_nat: 1e-3,
        mean_delta_nat: 1e-3,
    });
    assert_eq!(
        judged(&grader("France"), &changed, Some(&golden), true).verdict,
        Verdict::Failed
    );
}

#[test]
fn a_near_tie_does_not_decide_what_a_grader_could_not() {
    let mut golden = golden();
    let changed = lyon(&mut golden, -0.6, -0.6);
    let judged = judged(&with_code(grader("France")), &changed, Some(&golden), true);
    assert_eq!((judged.verdict, judged.review), (Verdict::Skipped, Review::None));
}

#[test]
fn a_divergence_fails_and_is_shown() {
    let mut golden = golden();
    let changed = lyon(&mut golden, -3.5, -2.25);
    let judged = judged(&grader("France"), &changed, Some(&golden), true);
    let pending = Path::new("golden/smollm2_135m/capital_of_france.snap.new");
    insta::assert_snapshot!(shown(&judged.with_pending(Some(pending))));
}

#[test]
fn a_divergence_beside_clean_scores_warns() {
    let mut golden = golden();
    let changed = lyon(&mut golden, -3.5, -2.25);
    let grades = grade(&grader("France"), &GradedAnswer::of_text(&changed.text));
    let comparison = compare(&golden, &changed);
    let judged = |drift: &GoldenDrift| {
        judge(&Evidence {
            answer: &changed,
            grades: &grades,
            golden_wanted: true,
            golden: Some((&golden, &comparison)),
            scored: Some(drift),
        })
    };
    let mut drift = crate::golden::drift(&golden, &golden.positions).unwrap();
    let clean = judged(&drift);
    assert_eq!((clean.verdict, clean.review), (Verdict::Passed, Review::None));
    insta::assert_snapshot!(shown(&clean));
    drift.positions[5].margin_nat = 0.4;
    assert_eq!(judged(&drift).verdict, Verdict::Failed);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let mut shown_all = Vec::new();
    let mut show = |changed: &Answer, verdict| {
        let judged = judged(&grader("France"), changed, Some(&golden()), true).with_pending(None);
        assert_eq!(judged.verdict, verdict, "{judged:?}");
        shown_all.push(judged.findings[0].text.clone());
    };
    let mut changed = answer();
    changed.prompt_ids = Some(vec![1, 4093, 198, 1780]);
    show(&changed, Verdict::Failed);
    let mut changed = answer();
    changed.text = "Thе capital of France is Paris.".to_owned();
    show(&changed, Verdict::Failed);
    let mut changed = answer();
    changed.positions[3].top[2].logprob = f64::NAN;
    show(&changed, Verdict::Failed);
    let mut changed = answer();
    changed.positions.clear();
    changed.text.push('!');
    show(&changed, Verdict::Invalid);
    let mut changed = answer();
    changed.positions[5] = position(8000, &[(8000, -0.5), (8001, -0.6)]);
    let mut with_lyon = golden();
    with_lyon.positions[5].top[1].id = 8000;
    with_lyon.positions[5].top[1].logprob = -0.3;
    let judged = judged(&grader("France"), &changed, Some(&with_lyon), true);
    assert_eq!(judged.verdict, Verdict::Invalid, "{judged:?}");
    shown_all.push(judged.findings[0].text.clone());
    insta::assert_snapshot!(shown_all.join("\n"));
}
