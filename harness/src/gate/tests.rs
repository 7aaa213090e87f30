//! Whole models through the gate, made of arms that a record could hold.

use std::collections::BTreeMap;

use super::*;
use crate::{
    manifest::Waiver,
    record::{MemoryFigures, Verdict},
    report::{Style, Summary, fixture},
};

const PLAIN: Style = Style {
    colour: false,
    width: 100,
};

fn arm(stack: &str, speed: f64) -> Arm {
    let facts = [
        ("model_id", "m/m"),
        ("revision", "main"),
        ("weights", "abc"),
        ("vllm", stack),
    ];
    let case = |verdict, answer: &str| CaseOutcome {
        verdict,
        answer: Some(answer.to_owned()),
        finding: None,
    };
    Arm {
        run: format!("run-{stack}"),
        model: "mistral".to_owned(),
        stack: stack.to_owned(),
        accelerator: "c500".to_owned(),
        simulated: false,
        fingerprint: facts.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
        boot: Boot::Booted { seconds: 50.0 },
        memory: Some(MemoryFigures {
            weights_gib: Some(13.5),
            kv_tokens: Some(299_056),
            ..MemoryFigures::default()
        }),
        figures: vec![
            (Metric::Tpot, 0.0148 / speed),
            (Metric::Output { concurrency: 2 }, 114.0 * speed),
        ],
        cases: BTreeMap::from([
            ("correctness::capital".to_owned(), case(Verdict::Passed, "Paris")),
            ("correctness::sum".to_owned(), case(Verdict::Failed, "41")),
        ]),
        drift: None,
        max_temperature_c: Some(61.0),
        troubles: Vec::new(),
    }
}

/// Five pairs with a little noise; the candidate's speed is a share of the baseline's.
fn sides(speed: f64) -> Sides {
    let noise = [1.0, 1.002, 0.998, 1.001, 0.999];
    Sides {
        baseline: noise.iter().map(|noise| arm("0.8.5", *noise)).collect(),
        candidate: noise
            .iter()
            .rev()
            .map(|noise| arm("0.12.0", noise * speed))
            .collect(),
    }
}

fn comparison() -> Comparison {
    Comparison {
        paired: true,
        least: 5,
        most: 10,
        tolerances: Tolerances {
            speed: 0.03,
            ttft: 0.1,
        },
        memory_tolerance: 0.01,
        questions: vec![Question::Answers, Question::Memory, Question::Speed],
    }
}

fn gate(sides: &Sides) -> ModelGate {
    judge("mistral", sides, &comparison(), &[])
}

#[test]
fn an_equal_candidate_passes_with_evidence_of_each_kind() {
    let gate = gate(&sides(1.0));
    assert_eq!(gate.verdict, Verdict::Passed, "{:?}", gate.reasons);
    assert!(!gate.undecided && gate.reasons.is_empty());
    assert_eq!(gate.metrics.len(), 2);
    assert_eq!(gate.answers.unwrap().identical, 2);
    assert_eq!(gate.differences.len(), 1);
}

#[test]
fn a_slower_candidate_fails() {
    let gate = gate(&sides(0.9));
    assert_eq!(gate.verdict, Verdict::Failed);
    assert_eq!(gate.reasons, ["slower: latency.tpot_p50, throughput.output@2"]);
}

#[test]
fn an_answer_that_is_lost_fails_and_one_that_was_never_right_does_not() {
    let mut lost = sides(1.0);
    lost.candidate[0]
        .cases
        .get_mut("correctness::capital")
        .unwrap()
        .verdict = Verdict::Failed;
    lost.candidate[0]
        .cases
        .get_mut("correctness::capital")
        .unwrap()
        .answer = Some("L'Étoile".to_owned());
    let failed = gate(&lost);
    assert_eq!(failed.verdict, Verdict::Failed);
    assert_eq!(
        failed.reasons,
        ["1 of 2 cases were right and are wrong: correctness::capital"]
    );
    let mut altered = sides(1.0);
    altered.candidate[0]
        .cases
        .get_mut("correctness::sum")
        .unwrap()
        .answer = Some("43".to_owned());
    let open = gate(&altered);
    assert_eq!(open.verdict, Verdict::Inconclusive);
    assert_eq!(
        open.reasons,
        ["1 cases are wrong on both sides and differ: correctness::sum"]
    );
}

#[test]
fn memory_that_grew_or_varies_fails() {
    let mut grown = sides(1.0);
    for arm in &mut grown.candidate {
        arm.memory.as_mut().unwrap().kv_tokens = Some(280_000);
    }
    let failed = gate(&grown);
    assert_eq!(failed.verdict, Verdict::Failed);
    assert_eq!(
        failed.reasons,
        ["memory became scarcer: kv_tokens: 299056 → 280000"]
    );
    let mut leaking = sides(1.0);
    leaking.candidate[3].memory.as_mut().unwrap().kv_tokens = Some(299_000);
    assert_eq!(gate(&leaking).verdict, Verdict::Failed);
}

#[test]
fn a_candidate_that_does_not_boot_fails_and_a_baseline_that_does_not_is_no_baseline() {
    let dead = |class: &str| Boot::Failed {
        class: class.to_owned(),
        message: "MLA is not supported on CPU".to_owned(),
        lost: false,
    };
    let mut sides = sides(1.0);
    sides.candidate[0].boot = dead("unsupported_platform");
    assert_eq!(gate(&sides).verdict, Verdict::Failed);
    sides.candidate[0].boot = dead("image_missing");
    assert_eq!(
        gate(&sides).verdict,
        Verdict::Error,
        "of the candidate nothing is known"
    );
    sides.baseline[0].boot = dead("unsupported_platform");
    assert_eq!(gate(&sides).verdict, Verdict::Error);
}

#[test]
fn broken_preconditions_are_invalid_whatever_the_figures_say() {
    type Break = fn(&mut Sides);
    let breaks: [(&str, Break); 6] = [
        ("different weights", |sides| {
            sides.candidate[0]
                .fingerprint
                .insert("weights".into(), "xyz".into());
        }),
        ("one side is simulated", |sides| {
            sides.candidate[1].simulated = true;
        }),
        ("different accelerators", |sides| {
            sides.candidate[0].accelerator = "a100_40gb".into();
        }),
        ("reached 99 °C", |sides| {
            sides.baseline[2].max_temperature_c = Some(99.0);
        }),
        ("clock jumped", |sides| {
            sides.baseline[0].troubles.push("the host's clock jumped".into());
        }),
        ("different cards", |sides| {
            sides.baseline[0]
                .fingerprint
                .insert("card_ids".into(), "1".into());
            sides.candidate[0]
                .fingerprint
                .insert("card_ids".into(), "2".into());
        }),
    ];
    for (word, break_it) in breaks {
        let mut sides = sides(0.8);
        break_it(&mut sides);
        let gate = gate(&sides);
        assert_eq!(gate.verdict, Verdict::Invalid, "{word}: {:?}", gate.reasons);
        assert!(gate.reasons[0].contains(word), "{word}: {:?}", gate.reasons);
        assert!(gate.metrics.is_empty(), "no figure counts");
    }
}

#[test]
fn nothing_passes_without_evidence() {
    assert_eq!(gate(&Sides::default()).verdict, Verdict::Inconclusive);
    let few = Sides {
        baseline: vec![arm("0.8.5", 1.0)],
        candidate: vec![arm("0.12.0", 1.0)],
    };
    let gate = gate(&few);
    assert_eq!((gate.verdict, gate.undecided), (Verdict::Inconclusive, true));
    let mut silent = sides(1.0);
    for arm in silent.baseline.iter_mut().chain(&mut silent.candidate) {
        arm.figures.clear();
        arm.cases.clear();
        arm.memory = None;
    }
    let gate = judge("mistral", &silent, &comparison(), &[]);
    assert_eq!((gate.verdict, gate.reasons.len()), (Verdict::Inconclusive, 3));
}

fn waiver(trial: &str, stack: Option<&str>) -> Waiver {
    Waiver {
        trial: trial.to_owned(),
        stack: stack.map(str::to_owned),
        reason: "the new scheduler".to_owned(),
        owner: "serving team".to_owned(),
        until: "2026-12-31".to_owned(),
    }
}

#[test]
fn a_waived_slowdown_is_shown_as_waived_and_only_where_its_waiver_holds() {
    let sides = sides(0.93);
    let metrics = ["gate::latency.tpot_p50", "gate::throughput.output@2"];
    let on = |stack| metrics.map(|metric| waiver(metric, stack));
    let judged = |waivers: &[Waiver]| judge("mistral", &sides, &comparison(), waivers);
    let gate = judged(&on(None));
    assert_eq!(gate.verdict, Verdict::Waived, "{:?}", gate.reasons);
    assert!(
        gate.metrics
            .iter()
            .all(|metric| metric.verdict == Verdict::Waived)
    );
    assert_eq!(
        gate.reasons[0],
        "latency.tpot_p50 failed, waived until 2026-12-31: the new scheduler (serving team)"
    );
    assert_eq!(judged(&on(Some("another"))).verdict, Verdict::Failed);
    assert_eq!(judged(&on(None)[..1]).verdict, Verdict::Failed, "one of two");
}

#[test]
fn lost_answers_and_memory_are_waived_each_by_its_own_waiver() {
    let mut sides = sides(1.0);
    for arm in &mut sides.candidate {
        arm.memory.as_mut().unwrap().kv_tokens = Some(1);
        let lost = arm.cases.get_mut("correctness::capital").unwrap();
        lost.verdict = Verdict::Failed;
        lost.answer = Some("Lyon".to_owned());
    }
    let judged = |sides: &Sides, waivers: &[&str]| {
        let waivers: Vec<Waiver> = waivers.iter().map(|trial| waiver(trial, None)).collect();
        judge("mistral", sides, &comparison(), &waivers).verdict
    };
    let both = ["gate::answers", "gate::memory.kv_tokens"];
    assert_eq!(judged(&sides, &both), Verdict::Waived);
    assert_eq!(judged(&sides, &both[..1]), Verdict::Failed);
    assert_eq!(judged(&sides, &both[1..]), Verdict::Failed);
    // A case whose own trial was waived in the candidate's session is not lost a second time.
    for arm in &mut sides.candidate {
        arm.cases.get_mut("correctness::capital").unwrap().verdict = Verdict::Waived;
    }
    assert_eq!(judged(&sides, &both[1..]), Verdict::Waived);
}

#[test]
fn a_session_whose_figures_contradict_each_other_decides_nothing() {
    let mut summary = fixture::summary(&fixture::passed());
    let troubles = |summary: &Summary| Arm::of_run(summary, &[]).remove(0).troubles;
    assert_eq!(troubles(&summary), [""; 0]);
    let measured = summary.sessions[0].throughput.first_mut().unwrap();
    measured.figures.output_tokens_per_s *= 1.5;
    let found = troubles(&summary);
    assert!(
        found.len() == 1 && found[0].starts_with("figures that cannot be: throughput in "),
        "{found:?}"
    );
}

fn report(model: ModelGate) -> GateReport {
    GateReport {
        schema_version: SCHEMA_VERSION,
        verdict: model.verdict,
        exit_code: 1,
        simulated: true,
        baseline: "c500_old".to_owned(),
        candidate: "c500_new".to_owned(),
        paired: true,
        tolerances: comparison().tolerances,
        memory_tolerance: 0.01,
        alpha: ALPHA,
        models: vec![model],
    }
}

#[test]
fn reports_show_effect_interval_pairs_and_what_could_have_been_found() {
    let mut sides = sides(0.93);
    let lost = sides.candidate[0].cases.get_mut("correctness::capital").unwrap();
    lost.verdict = Verdict::Failed;
    lost.answer = Some("L'Étoile | *la* Marseillaise\nand more".to_owned());
    let report = report(gate(&sides));
    insta::assert_snapshot!("terminal", terminal(&report, PLAIN));
    insta::assert_snapshot!("markdown", markdown(&report));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<GateReport>(&json).unwrap(), report);
}
