//! Verdicts on suites whose drift is known.

use super::*;
use crate::{
    golden::{Floor, PositionDrift, sample},
    record::ThresholdSource,
    stats::Random,
};

/// A golden with `positions` positions, each with these alternatives.
fn golden(name: &str, positions: usize) -> Golden {
    let mut golden = sample::golden();
    golden.header.case = name.to_owned();
    golden.positions = vec![golden.positions[0].clone(); positions];
    golden.pieces = vec![" word".to_owned(); positions];
    golden
}

/// How a synthetic stack strays: KLD is exponential around its mean, and a share of positions disagrees.
#[derive(Clone, Copy)]
struct Stray {
    mean_kld_nat: f64,
    disagree: f64,
}

fn stray(stray: Stray, positions: usize, random: &mut Random) -> GoldenDrift {
    let position = |random: &mut Random| PositionDrift {
        kld_nat: -stray.mean_kld_nat * (1.0 - random.unit()).ln(),
        delta_nat: 0.01,
        margin_nat: if random.unit() < stray.disagree { 0.1 } else { 0.0 },
        likeliest: 900,
    };
    GoldenDrift {
        positions: (0..positions).map(|_| position(random)).collect(),
        alternatives: 20,
    }
}

fn judged(prompts: usize, positions: usize, how: Stray, floor: Option<Floor>) -> Judged {
    let mut random = Random::new(11);
    let mut goldens: Vec<_> = (0..prompts)
        .map(|number| golden(&format!("case_{number}"), positions))
        .collect();
    for golden in &mut goldens {
        golden.header.floor = floor;
    }
    let drifts: Vec<_> = (0..prompts).map(|_| stray(how, positions, &mut random)).collect();
    let scored = goldens
        .iter()
        .zip(&drifts)
        .map(|(golden, drift)| Scored { golden, drift });
    judge(&Suite {
        scored: scored.collect(),
        ..Suite::default()
    })
}

const FLOOR: Floor = Floor {
    repeats: 3,
    near_tie_nat: 0.25,
    identical_share: 0.9,
    top1_share: 0.995,
    mean_kld_nat: 6e-4,
    max_kld_nat: 0.02,
    mean_delta_nat: 0.016,
};

const HEALTHY: Stray = Stray {
    mean_kld_nat: 6e-4,
    disagree: 0.005,
};

#[test]
fn the_floor_decides_what_is_healthy() {
    // SmolLM2's healthy rounding: beyond the general proposal, within its own floor.
    let by_floor = judged(60, 96, HEALTHY, Some(FLOOR));
    assert_eq!(by_floor.verdict, Verdict::Passed, "{:?}", by_floor.findings);
    let threshold = by_floor.figures.unwrap().threshold;
    assert_eq!(threshold.source, ThresholdSource::Floor);
    assert!(
        (threshold.max_mean_kld_nat - 1.8e-3).abs() < 1e-12 && (threshold.min_top1 - 0.985).abs() < 1e-12
    );
    assert_eq!(judged(60, 96, HEALTHY, None).verdict, Verdict::Failed);
    // The wrong path of the same model: ten times its floor.
    let wrong = Stray {
        mean_kld_nat: 1e-2,
        disagree: 0.04,
    };
    assert_eq!(judged(60, 96, wrong, Some(FLOOR)).verdict, Verdict::Failed);
}

#[test]
fn a_floor_of_zero_still_leaves_room_for_rounding() {
    let exact = Floor {
        top1_share: 1.0,
        mean_kld_nat: 0.0,
        max_kld_nat: 0.0,
        mean_delta_nat: 0.0,
        ..FLOOR
    };
    let rounding = Stray {
        mean_kld_nat: 1e-5,
        disagree: 0.001,
    };
    assert_eq!(judged(60, 96, rounding, Some(exact)).verdict, Verdict::Passed);
    let q8 = Stray {
        mean_kld_nat: 1.36e-3,
        disagree: 0.023,
    };
    assert_eq!(judged(60, 96, q8, Some(exact)).verdict, Verdict::Failed);
}

#[test]
fn a_figure_on_its_threshold_is_inconclusive_and_says_how_many_more() {
    let near = judged(
        12,
        90,
        Stray {
            mean_kld_nat: 4.9e-4,
            disagree: 0.002,
        },
        None,
    );
    assert_eq!(near.verdict, Verdict::Inconclusive);
    let text = &near
        .findings
        .iter()
        .find(|finding| finding.text.contains("undecided"))
        .unwrap()
        .text;
    assert!(text.contains("more positions would decide"), "{text}");
}

#[test]
fn few_prompts_pass_nothing_and_fail_nothing_by_their_mean() {
    let few = judged(
        9,
        100,
        Stray {
            mean_kld_nat: 0.0,
            disagree: 0.0,
        },
        None,
    );
    assert_eq!(few.verdict, Verdict::Inconclusive);
    let short = judged(
        20,
        10,
        Stray {
            mean_kld_nat: 1e-6,
            disagree: 0.0,
        },
        None,
    );
    assert_eq!(short.verdict, Verdict::Passed);
    assert!(
        short
            .findings
            .iter()
            .any(|finding| finding.text.contains("shown and not judged"))
    );
}

#[test]
fn a_single_bad_position_in_a_thousand_is_found_by_the_tail() {
    let mut random = Random::new(3);
    let goldens: Vec<_> = (0..60)
        .map(|number| golden(&format!("case_{number}"), 100))
        .collect();
    let mut drifts: Vec<_> = (0..60)
        .map(|_| {
            stray(
                Stray {
                    mean_kld_nat: 1e-6,
                    disagree: 0.0,
                },
                100,
                &mut random,
            )
        })
        .collect();
    drifts
        .iter_mut()
        .step_by(2)
        .for_each(|drift| drift.positions[7].kld_nat = 0.05);
    let scored = goldens
        .iter()
        .zip(&drifts)
        .map(|(golden, drift)| Scored { golden, drift })
        .collect();
    let judged = judge(&Suite {
        scored,
        ..Suite::default()
    });
    let figures = judged.figures.unwrap();
    assert!(figures.mean_kld_nat.high.unwrap() < 5e-4, "the mean sees nothing");
    assert_eq!(judged.verdict, Verdict::Failed);
    assert_eq!(figures.cases[0].worst.position, 7);
}

fn scoring(golden: &Golden) -> Scoring {
    Scoring {
        prompt_ids: Some(golden.prompt_ids.clone()),
        decoded: Some(format!("{}<|im_end|>", golden.answer)),
        positions: golden.positions.clone(),
    }
}

#[test]
fn changed_prompts_and_tokenizers_are_named_and_not_scored() {
    let golden = sample::golden();
    assert_eq!(examine(&golden, &scoring(&golden)).unwrap().agreeing(), 7);
    let template = Scoring {
        prompt_ids: Some(vec![1, 2]),
        ..scoring(&golden)
    };
    let swapped = Scoring {
        decoded: Some("ehT lacipac".to_owned()),
        ..scoring(&golden)
    };
    let mut nan = scoring(&golden);
    nan.positions[3].token.logprob = f64::NAN;
    let refused: Vec<_> = [template, swapped, nan]
        .iter()
        .map(|scoring| examine(&golden, scoring).unwrap_err())
        .chain([
            Refusal::Server("timeout".to_owned()),
            Refusal::Limit("the case shows pictures".to_owned()),
        ])
        .map(|why| (golden.header.case.clone(), why))
        .collect();
    let suite = Suite {
        refused,
        ..Suite::default()
    };
    let judged = judge(&suite);
    assert_eq!(judged.verdict, Verdict::Failed);
    assert_eq!(judged.figures, None);
    insta::assert_yaml_snapshot!(judged.findings);
}

#[test]
fn nothing_scored_never_passes() {
    let verdict = |refused| {
        judge(&Suite {
            refused,
            ..Suite::default()
        })
        .verdict
    };
    assert_eq!(verdict(Vec::new()), Verdict::Unrecorded);
    let one = |why| vec![("x".to_owned(), why)];
    assert_eq!(verdict(one(Refusal::Server("500".to_owned()))), Verdict::Invalid);
    assert_eq!(
        verdict(one(Refusal::Limit("pictures".to_owned()))),
        Verdict::Skipped
    );
}

#[test]
fn the_headline_says_all_figures_and_shows_where() {
    let judged = judged(
        60,
        96,
        Stray {
            mean_kld_nat: 1e-2,
            disagree: 0.04,
        },
        Some(FLOOR),
    );
    insta::assert_yaml_snapshot!(judged.findings);
}

#[test]
fn a_golden_is_clean_within_its_floor_and_near_ties() {
    let mut random = Random::new(5);
    let mut golden = golden("x", 100);
    golden.header.floor = Some(FLOOR);
    let mut drift = stray(HEALTHY, 100, &mut random);
    assert!(is_clean(&golden, &drift));
    drift.positions[4].margin_nat = 0.3;
    assert!(!is_clean(&golden, &drift));
    assert!(!is_clean(
        &golden,
        &stray(
            Stray {
                mean_kld_nat: 1e-2,
                disagree: 0.0
            },
            100,
            &mut random
        )
    ));
}

#[test]
fn halves_of_characters_are_told_by_the_server() {
    let mut golden = golden("chinese", 3);
    golden.pieces = ["\u{fffd}", "\u{fffd}", "。"].map(str::to_owned).to_vec();
    let mut drift = golden::drift(&golden, &golden.positions).unwrap();
    drift.positions[2].margin_nat = 0.5;
    let mut suite = Suite {
        scored: vec![Scored {
            golden: &golden,
            drift: &drift,
        }],
        ..Suite::default()
    };
    let asked = broken_contexts(&suite);
    assert_eq!(asked, [("chinese".to_owned(), vec![504, 504])]);
    suite.contexts.insert("chinese".to_owned(), "茶".to_owned());
    let worst = figures(&suite).unwrap().cases.remove(0).worst;
    assert_eq!((worst.before.as_str(), worst.golden.as_str()), ("茶", "\u{fffd}"));
}
