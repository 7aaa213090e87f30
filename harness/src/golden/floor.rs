//! The floor: how far a stack strays from itself. The cases of a recording are asked again, alone and with others in
//! the batch, and their goldens are scored token by token in both ways, as they will be later. What differs then is
//! rounding, and another stack may differ as much without having changed the model.
//!
//! The bound of a near tie is the stack's, not a case's: the widest margin at which any repetition of any case parted,
//! or by which another token led while it was scored. The other figures are each golden's own.

use super::{Comparison, Floor, Golden, GoldenDrift, Margin, compare, shared_drift};
use crate::vllm::Answer;

/// Least bound of a near tie, in nat: a stack that repeats itself to the bit leaves room for another kernel's rounding.
const LEAST_NEAR_TIE_NAT: f64 = 0.01;

/// Widest margin, in nat, at which repetitions of one server may part. Beyond it, it is not rounding that parts them:
/// healthy bfloat16 was seen to part at up to 0.25.
const WIDEST_NEAR_TIE_NAT: f64 = 1.0;

/// A golden and what its own server said again.
#[derive(Debug, Clone, Copy)]
pub struct Repeated<'a> {
    /// The golden, as it was recorded.
    pub golden: &'a Golden,
    /// Answers to the same request.
    pub answers: &'a [Answer],
    /// The golden's tokens as they were scored; none where they cannot be.
    pub scores: &'a [GoldenDrift],
}

/// Why a golden gets no floor, and is not to be recorded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unsteady {
    /// A repetition cannot be compared.
    #[error("asked again, the answer cannot be compared: {0}")]
    Incomparable(String),
    /// Repetitions part by more than rounding does.
    #[error(
        "asked again, the same server parted at position {position} by {margin_nat:.3} nat, which rounding does not \
         explain (at most {WIDEST_NEAR_TIE_NAT} nat): the server is not steady"
    )]
    Parted {
        /// Position, from 0.
        position: usize,
        /// The wider of both margins.
        margin_nat: f64,
    },
}

/// What one golden's repetitions tell.
struct Own {
    identical: usize,
    margin_nat: f64,
    top1_share: f64,
    mean_kld_nat: f64,
    max_kld_nat: f64,
    mean_delta_nat: f64,
    repeats: usize,
}

/// The floor of each golden, in the order given.
pub fn floors(repeated: &[Repeated<'_>]) -> Vec<Result<Floor, Unsteady>> {
    let own: Vec<_> = repeated.iter().map(own).collect();
    let widest = own
        .iter()
        .flatten()
        .map(|own| own.margin_nat)
        .fold(LEAST_NEAR_TIE_NAT, f64::max);
    own.into_iter()
        .map(|own| {
            own.map(|own| Floor {
                repeats: u32::try_from(own.repeats).unwrap_or(u32::MAX),
                near_tie_nat: rounded(widest),
                identical_share: rounded(share(own.identical, own.repeats)),
                top1_share: rounded(own.top1_share),
                mean_kld_nat: rounded(own.mean_kld_nat),
                max_kld_nat: rounded(own.max_kld_nat),
                mean_delta_nat: rounded(own.mean_delta_nat),
            })
        })
        .collect()
}

/// Four digits: what a repetition tells has no more, and a person reads the header.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

fn own(repeated: &Repeated<'_>) -> Result<Own, Unsteady> {
    let Repeated {
        golden,
        answers,
        scores,
    } = repeated;
    let (mut identical, mut margin_nat) = (0, 0.0_f64);
    for answer in *answers {
        match compare(golden, answer) {
            Comparison::Identical => identical += 1,
            Comparison::NearTie(parted) | Comparison::Divergent(parted) => {
                let wider = nat(parted.golden.margin).max(nat(parted.answer.margin));
                if wider > WIDEST_NEAR_TIE_NAT {
                    return Err(Unsteady::Parted {
                        position: parted.position,
                        margin_nat: wider,
                    });
                }
                margin_nat = margin_nat.max(wider);
            }
            Comparison::Incomparable(why) => return Err(Unsteady::Incomparable(why.to_string())),
        }
    }
    // What cannot be scored token by token is compared as far as both sides said the same.
    let shared: Vec<GoldenDrift>;
    let drifts = if scores.is_empty() {
        let drift = |answer: &Answer| shared_drift(golden, &answer.positions);
        shared = answers
            .iter()
            .map(drift)
            .collect::<Result<_, _>>()
            .map_err(|why| Unsteady::Incomparable(why.to_string()))?;
        &shared
    } else {
        *scores
    };
    let mean = |figure: &dyn Fn(&GoldenDrift) -> f64| {
        drifts.iter().map(figure).sum::<f64>() / drifts.len().max(1) as f64
    };
    let greatest = |figure: &dyn Fn(&GoldenDrift) -> f64| drifts.iter().map(figure).fold(0.0, f64::max);
    let led = greatest(&|drift| drift.greatest(|position| position.margin_nat));
    Ok(Own {
        identical,
        // A lead wider than that would be a divergence: it counts in the share of agreement and in the divergence.
        margin_nat: margin_nat.max(led.min(WIDEST_NEAR_TIE_NAT)),
        top1_share: if drifts.is_empty() {
            1.0
        } else {
            mean(&|drift| share(drift.agreeing(), drift.positions.len()))
        },
        mean_kld_nat: mean(&|drift| drift.mean(|position| position.kld_nat)),
        max_kld_nat: greatest(&|drift| drift.greatest(|position| position.kld_nat)),
        mean_delta_nat: mean(&|drift| drift.mean(|position| position.delta_nat)),
        repeats: answers.len(),
    })
}

/// A margin's figure; a side that ended parted beyond any bound.
const fn nat(margin: Margin) -> f64 {
    match margin {
        Margin::Exactly(nat) | Margin::AtLeast(nat) => nat.abs(),
        Margin::Unknown => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{drift, sample};

    /// The sample's answer with another token at its sixth position, so much behind on either side.
    fn parted(margin_nat: f64) -> (Golden, Answer) {
        let mut golden = sample::golden();
        let mut answer = sample::answer();
        let rest = [(902, -4.0), (903, -5.25), (904, -6.0)];
        let top = |first, second| [&[(first, -0.5), (second, -0.5 - margin_nat)][..], &rest[..]].concat();
        golden.positions[5] = sample::position(7042, &top(7042, 8000));
        answer.positions[5] = sample::position(8000, &top(8000, 7042));
        answer.text = "The capital of France is Lyon.".to_owned();
        (golden, answer)
    }

    fn one(golden: &Golden, answers: &[Answer], scores: &[GoldenDrift]) -> Result<Floor, Unsteady> {
        floors(&[Repeated {
            golden,
            answers,
            scores,
        }])
        .remove(0)
    }

    #[test]
    fn a_stack_that_repeats_itself_has_a_floor_of_nothing() {
        let golden = sample::golden();
        let scores = [drift(&golden, &golden.positions).unwrap()];
        let floor = one(&golden, &[sample::answer(), sample::answer()], &scores).unwrap();
        assert_eq!(
            floor,
            Floor {
                repeats: 2,
                near_tie_nat: LEAST_NEAR_TIE_NAT,
                identical_share: 1.0,
                top1_share: 1.0,
                mean_kld_nat: 0.0,
                max_kld_nat: 0.0,
                mean_delta_nat: 0.0,
            }
        );
    }

    #[test]
    fn the_widest_margin_bounds_near_ties_of_every_golden() {
        let (golden, answer) = parted(0.125);
        let steady = sample::golden();
        let again = [sample::answer()];
        let both = floors(&[
            Repeated {
                golden: &golden,
                answers: &[answer, sample::answer()],
                scores: &[],
            },
            Repeated {
                golden: &steady,
                answers: &again,
                scores: &[],
            },
        ]);
        let both: Vec<Floor> = both.into_iter().map(Result::unwrap).collect();
        assert_eq!(both[0].near_tie_nat, 0.125);
        assert_eq!(both[1].near_tie_nat, 0.125);
        assert_eq!((both[0].identical_share, both[1].identical_share), (0.5, 1.0));
        assert!(both[0].mean_kld_nat > 0.0 && both[0].top1_share < 1.0);
        assert_eq!(both[1].mean_kld_nat, 0.0);
    }

    #[test]
    fn a_server_that_is_not_steady_gets_no_floor() {
        let (golden, answer) = parted(1.5);
        let error = one(&golden, &[answer], &[]).unwrap_err();
        assert!(matches!(error, Unsteady::Parted { position: 5, .. }), "{error}");
        let golden = sample::golden();
        let mut short = sample::answer();
        short.positions.truncate(3);
        assert!(
            one(&golden, &[short], &[])
                .unwrap_err()
                .to_string()
                .contains("not steady")
        );
        let mut other = sample::answer();
        other.prompt_ids = Some(vec![1, 2]);
        let error = one(&golden, &[other], &[]).unwrap_err();
        insta::assert_snapshot!(error);
    }
}
