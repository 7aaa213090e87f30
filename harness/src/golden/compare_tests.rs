//! The comparison's classes at their borders.

use proptest::prelude::*;

use super::sample::{answer, golden, position};
use super::*;

/// Golden and answer that part at position 5, with each side's alternatives.
fn parted(golden_top: &[(u32, f64)], answer_top: &[(u32, f64)]) -> Comparison {
    let (mut golden, mut changed) = (golden(), answer());
    changed.text = "The capital of France is Lyon.".to_owned();
    golden.positions[5] = position(7042, golden_top);
    changed.positions[5] = position(8000, answer_top);
    compare(&golden, &changed)
}

const FILL: [(u32, f64); 3] = [(902, -4.0), (903, -5.25), (904, -6.0)];

fn top(paris: f64, lyon: f64) -> Vec<(u32, f64)> {
    [(7042, paris), (8000, lyon)].into_iter().chain(FILL).collect()
}

#[test]
fn the_same_ids_are_identical_whatever_their_logprobs() {
    let mut other = answer();
    for position in &mut other.positions {
        position.token.logprob -= 0.1;
    }
    assert_eq!(compare(&golden(), &other), Comparison::Identical);
    other.prompt_ids = None;
    assert_eq!(compare(&golden(), &other), Comparison::Identical);
}

#[test]
fn both_margins_count() {
    assert!(matches!(
        parted(&top(-0.5, -0.75), &top(-0.75, -0.5)),
        Comparison::NearTie(_)
    ));
    assert!(matches!(
        parted(&top(-0.5, -0.76), &top(-0.75, -0.5)),
        Comparison::Divergent(_)
    ));
    assert!(matches!(
        parted(&top(-0.5, -0.75), &top(-0.76, -0.5)),
        Comparison::Divergent(_)
    ));
}

#[test]
fn a_token_below_rank_five_is_no_near_tie() {
    let crowd: Vec<_> = [
        (7042, -1.0),
        (1, -1.01),
        (2, -1.02),
        (3, -1.03),
        (4, -1.04),
        (8000, -1.05),
    ]
    .to_vec();
    assert!(matches!(
        parted(&crowd, &top(-0.6, -0.5)),
        Comparison::Divergent(_)
    ));
    // Servers may list the sampled token first: rank goes by logprob.
    let mut fifth = crowd;
    fifth.remove(4);
    assert!(matches!(parted(&fifth, &top(-0.6, -0.5)), Comparison::NearTie(_)));
}

#[test]
fn a_token_that_is_not_listed_is_divergent_by_a_bound() {
    let five: Vec<_> = [(7042, -0.1), (1, -2.0), (2, -3.0), (3, -4.0), (4, -5.0)].to_vec();
    let Comparison::Divergent(divergence) = parted(&five, &top(-0.6, -0.5)) else {
        panic!("not divergent");
    };
    assert_eq!(divergence.golden.margin, Margin::AtLeast(4.9));
    assert_eq!(divergence.golden.piece.as_deref(), Some(" Paris"));
    assert_eq!(divergence.position, 5);
    assert_eq!(divergence.shared, "The capital of France is ");
    assert_eq!(
        (&*divergence.golden.after, &*divergence.answer.after),
        ("Paris.", "Lyon.")
    );
    // Two alternatives cannot tell, unless even they are far away.
    let two = [(7042, -0.1), (1, -0.2)];
    let few = Incomparable::TooFewAlternatives {
        side: "golden",
        position: 5,
        listed: 2,
    };
    assert_eq!(parted(&two, &top(-0.6, -0.5)), Comparison::Incomparable(few));
    assert!(matches!(
        parted(&[(7042, -0.1), (1, -3.0)], &top(-0.6, -0.5)),
        Comparison::Divergent(_)
    ));
}

#[test]
fn an_end_is_a_divergence_unless_a_limit_cut() {
    let mut short = answer();
    short.positions.truncate(6);
    short.text = "The capital of France is Paris".to_owned();
    let Comparison::Divergent(divergence) = compare(&golden(), &short) else {
        panic!("not divergent");
    };
    assert_eq!(
        (divergence.answer.token, divergence.answer.margin),
        (None, Margin::Unknown)
    );
    short.finish = FinishReason::Length;
    let limit = Incomparable::Limit {
        side: "answer",
        tokens: 6,
    };
    assert_eq!(compare(&golden(), &short), Comparison::Incomparable(limit));
}

#[test]
fn another_prompt_or_tokenizer_is_named() {
    let mut other = answer();
    other.prompt_ids.as_mut().unwrap()[3] = 9;
    let changed = Incomparable::PromptChanged {
        position: 3,
        golden: "token 1780".to_owned(),
        answer: "token 9".to_owned(),
    };
    assert_eq!(compare(&golden(), &other), Comparison::Incomparable(changed));
    let mut other = answer();
    other.text = "The capital of France is Rome.".to_owned();
    let Comparison::Incomparable(Incomparable::TokenizerChanged {
        tokens,
        golden,
        answer,
    }) = compare(&golden(), &other)
    else {
        panic!("comparable");
    };
    assert_eq!((tokens, &*golden, &*answer), (7, "Paris.", "Rome."));
}

#[test]
fn texts_decide_where_there_are_no_ids() {
    let mut without = answer();
    without.positions.clear();
    assert_eq!(compare(&golden(), &without), Comparison::Identical);
    without.text.push(' ');
    let missing = Incomparable::NoTokenIds { side: "answer" };
    assert_eq!(compare(&golden(), &without), Comparison::Incomparable(missing));
}

proptest! {
    #[test]
    fn the_first_difference_is_found(
        ids in prop::collection::vec(0..5_u32, 1..30),
        other in prop::collection::vec(0..5_u32, 1..30),
    ) {
        let at = |id: u32| position(id, &[(0, -1.6), (1, -1.6), (2, -1.6), (3, -1.6), (4, -1.6)]);
        let text = |ids: &[u32]| ids.iter().map(|&id| ["北", "b", "c", "d", "é"][id as usize]).collect::<String>();
        let of = |ids: &[u32]| Answer { text: text(ids), positions: ids.iter().map(|&id| at(id)).collect(), ..answer() };
        let golden = Golden::record(sample::header(), "", &of(&ids), Vec::new()).unwrap();
        let first = (0..ids.len().max(other.len())).find(|&at| ids.get(at) != other.get(at));
        match (compare(&golden, &of(&other)), first) {
            (Comparison::Identical, None) => {}
            (Comparison::NearTie(divergence) | Comparison::Divergent(divergence), Some(first)) => {
                prop_assert_eq!(divergence.position, first);
                prop_assert_eq!(divergence.golden.token, ids.get(first).copied());
                prop_assert_eq!(divergence.answer.token, other.get(first).copied());
            }
            (comparison, first) => prop_assert!(false, "{comparison:?} at {first:?}"),
        }
    }
}
