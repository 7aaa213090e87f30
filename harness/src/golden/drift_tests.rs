//! Drift figures against figures computed elsewhere, and what bad input gives.

use proptest::prelude::*;

use super::sample::{answer, golden};
use super::{Golden, GoldenDrift, Unscorable, drift};
use crate::vllm::{Position, TokenLogprob};

fn token(id: u32, probability: f64) -> TokenLogprob {
    TokenLogprob {
        id,
        logprob: probability.ln(),
    }
}

/// A golden of one position whose token is the first listed, in the steps of the format.
fn one(top: &[(u32, f64)]) -> Golden {
    let mut answer = answer();
    answer.positions = vec![position(top)];
    Golden::record(golden().header, "x", &answer, Vec::new()).unwrap()
}

fn position(top: &[(u32, f64)]) -> Position {
    let top: Vec<_> = top
        .iter()
        .map(|&(id, probability)| token(id, probability))
        .collect();
    Position { token: top[0], top }
}

fn scored(golden: &Golden, theirs: Position) -> GoldenDrift {
    drift(golden, &[theirs]).unwrap()
}

/// `scipy.stats.entropy([0.6, 0.25, 0.1, 0.05], [0.5, 0.3, 0.15, 0.05])`, the last being the bucket.
#[test]
fn figures_agree_with_scipy() {
    let golden = one(&[(1, 0.6), (2, 0.25), (3, 0.1)]);
    let found = scored(&golden, position(&[(1, 0.5), (2, 0.3), (3, 0.15)])).positions[0];
    assert!(
        (found.kld_nat - 0.023_266_034_067_067_67).abs() < 1e-4,
        "{found:?}"
    );
    assert!((found.delta_nat - (0.6_f64 / 0.5).ln()).abs() < 1e-4, "{found:?}");
    assert_eq!((found.margin_nat, found.likeliest), (0.0, 1));
}

/// Token 3 is not listed by the candidate: it joins the bucket.
/// `scipy.stats.entropy([0.6, 0.25, 0.15], [0.3, 0.5, 0.2])`.
#[test]
fn what_the_candidate_does_not_list_joins_the_bucket() {
    let golden = one(&[(1, 0.6), (2, 0.25), (3, 0.1)]);
    let theirs = Position {
        token: token(1, 0.3),
        top: vec![token(2, 0.5)],
    };
    let found = scored(&golden, theirs);
    assert_eq!(found.alternatives, 1);
    assert_eq!(found.agreeing(), 0);
    let found = found.positions[0];
    assert!(
        (found.kld_nat - 0.199_449_202_328_213_73).abs() < 1e-4,
        "{found:?}"
    );
    assert!(
        (found.margin_nat - (0.5_f64 / 0.3).ln()).abs() < 1e-12,
        "{found:?}"
    );
    assert_eq!(found.likeliest, 2);
}

#[test]
fn an_impossible_token_gives_finite_figures() {
    let golden = one(&[(1, 0.9), (2, 0.05)]);
    for impossible in [f64::NEG_INFINITY, -9_999.0] {
        let theirs = Position {
            token: TokenLogprob {
                id: 1,
                logprob: impossible,
            },
            top: vec![token(2, 1.0)],
        };
        let found = scored(&golden, theirs).positions[0];
        assert!(found.kld_nat > 40.0 && found.kld_nat.is_finite(), "{found:?}");
        assert!((61.0..62.0).contains(&found.margin_nat), "{found:?}");
        assert!((61.0..62.0).contains(&found.delta_nat), "{found:?}");
    }
}

#[test]
fn what_cannot_be_scored_is_told() {
    let golden = golden();
    let positions = answer().positions;
    let changed = |change: fn(&mut Vec<Position>)| {
        let mut positions = positions.clone();
        change(&mut positions);
        drift(&golden, &positions).unwrap_err()
    };
    let told = [
        changed(|positions| drop(positions.pop())),
        changed(|positions| positions[2].token.id += 1),
        changed(|positions| positions[3].top[1].logprob = f64::NAN),
        changed(|positions| positions[4].top.clear()),
        drift(
            &Golden {
                positions: Vec::new(),
                ..golden.clone()
            },
            &[],
        )
        .unwrap_err(),
    ];
    assert_eq!(told[3], Unscorable::NoAlternatives { position: 4 });
    insta::assert_snapshot!(told.map(|error| error.to_string()).join("\n"));
}

prop_compose! {
    /// Probabilities of 20 tokens that leave something to the rest.
    fn probabilities()(weights in prop::collection::vec(0.001..1.0_f64, 21)) -> Vec<f64> {
        let sum: f64 = weights.iter().sum();
        weights.iter().take(20).map(|weight| weight / sum).collect()
    }
}

fn listed(probabilities: &[f64]) -> Vec<(u32, f64)> {
    (0..).zip(probabilities.iter().copied()).collect()
}

proptest! {
    #[test]
    fn a_stack_does_not_stray_from_itself(p in probabilities()) {
        let found = scored(&one(&listed(&p)), position(&listed(&p))).positions[0];
        prop_assert_eq!((found.kld_nat, found.delta_nat), (0.0, 0.0));
    }

    /// The data processing inequality, up to the rounding of the format.
    #[test]
    fn a_shorter_list_never_raises_the_divergence(p in probabilities(), q in probabilities(), kept in 1..20_usize) {
        let golden = one(&listed(&p));
        let whole = scored(&golden, position(&listed(&q))).positions[0].kld_nat;
        let short = scored(&golden, position(&listed(&q)[..kept])).positions[0].kld_nat;
        prop_assert!(short <= whole + 1e-3, "{} {}", short, whole);
        prop_assert!(short >= 0.0);
    }
}
