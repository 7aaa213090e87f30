//! Noise of a known size on goldens, as the simulator puts it on its logits: each logit listed gets a Gaussian of its
//! own. The rest of a distribution is thousands of tokens whose noise averages out, so its bucket gets none.
//!
//! The goldens of the repository play the truth. A stack's rounding is noise of which every run has its own; a changed
//! model has more. How large noise must be for a given divergence hangs on how certain a model is, so it is found by
//! bisection over these goldens.

use rayon::prelude::*;

use super::{
    Base, Row, Rule, Truth,
    rules::{self, Trialed},
};
use crate::{
    golden::{Floor, Golden, GoldenDrift, Repeated, drift, floors},
    stats::Random,
    vllm::{Answer, Position, TokenLogprob},
};

/// Divergence of a healthy stack's rounding from itself, in nat: between BF16 against FP16 of llama.cpp's tables (2.5e-5)
/// and bfloat16 on a model of 135 million parameters (8e-4).
pub const ROUNDING_KLD_NAT: f64 = 1e-4;
/// Divergence of q8_0 weights (llama.cpp's tables).
pub const Q8_0_KLD_NAT: f64 = 1.355e-3;
/// Divergence of q4_K_M weights (llama.cpp's tables).
pub const Q4_K_M_KLD_NAT: f64 = 3.13e-2;

/// Repetitions that the floor is made of.
const REPEATS: u64 = 4;

/// A specimen of noise.
struct Specimen {
    name: &'static str,
    truth: Truth,
    /// Divergence of the changed model, in nat; 0 for none.
    kld_nat: f64,
    /// Positions that a run looks at.
    positions: &'static [usize],
}

const SPECIMENS: [Specimen; 3] = [
    Specimen {
        name: "noise_same_stack",
        truth: Truth::Healthy,
        kld_nat: 0.0,
        positions: &[1_000, 5_000],
    },
    Specimen {
        name: "noise_q8_0",
        truth: Truth::Changed,
        kld_nat: Q8_0_KLD_NAT,
        positions: &[1_000, 5_000],
    },
    Specimen {
        name: "noise_q4_k_m",
        truth: Truth::Changed,
        kld_nat: Q4_K_M_KLD_NAT,
        positions: &[1_000],
    },
];

/// Names of the specimens.
pub fn names() -> impl Iterator<Item = &'static str> {
    SPECIMENS.iter().map(|specimen| specimen.name)
}

/// The rows of all specimens that `wanted` names, with `runs` runs each.
pub fn rows(base: &Base, runs: u32, wanted: &dyn Fn(&str) -> bool) -> Vec<Row> {
    let rounding = size_for(&base.first(5_000), ROUNDING_KLD_NAT);
    let mut rows = Vec::new();
    for specimen in SPECIMENS.iter().filter(|specimen| wanted(specimen.name)) {
        let change = if specimen.kld_nat > 0.0 {
            size_for(&base.first(5_000), specimen.kld_nat)
        } else {
            0.0
        };
        for &positions in specimen.positions {
            let truth = base.first(positions);
            let reference = reference(&truth, rounding);
            rows.extend(of_specimen(
                specimen,
                &reference,
                &truth,
                [rounding, change],
                runs,
            ));
        }
    }
    rows
}

/// One run: what each rule said, the mean divergence and the share of agreement.
struct Run {
    said: [rules::Said; 4],
    mean_kld: f64,
    top1: f64,
}

fn of_specimen(
    specimen: &Specimen,
    reference: &[Golden],
    truth: &[&Golden],
    [rounding, change]: [f64; 2],
    runs: u32,
) -> Vec<Row> {
    let size = rounding.hypot(change);
    let found: Vec<Run> = (0..u64::from(runs))
        .into_par_iter()
        // Seeds below are the floor's.
        .map(|run| trial(reference, truth, size, 1_000 + run))
        .collect();
    let positions = reference.iter().map(|golden| golden.positions.len() as u64).sum();
    let mean =
        |figure: &dyn Fn(&Run) -> f64| found.iter().map(figure).sum::<f64>() / found.len().max(1) as f64;
    (0..)
        .zip(Rule::ALL)
        .map(|(index, rule)| {
            let mut row = Row::new(specimen.name, specimen.truth, rule, positions);
            for run in &found {
                row.count(run.said[index]);
            }
            row.mean_kld = Some(mean(&|run| run.mean_kld));
            row.top1 = Some(mean(&|run| run.top1));
            row
        })
        .collect()
}

fn trial(reference: &[Golden], truth: &[&Golden], size: f64, seed: u64) -> Run {
    let trialed: Vec<Trialed<'_>> = reference
        .iter()
        .zip(truth)
        .enumerate()
        .map(|(index, (golden, truth))| {
            let disturbed = disturbed(truth, size, stream(seed, index));
            let scored = scored(golden, &disturbed);
            Trialed {
                golden,
                drift: drift(golden, &scored).map_err(Into::into),
                own: Some(own(golden, &disturbed)),
            }
        })
        .collect();
    let judged = rules::judged(&trialed);
    let figure =
        |pick: &dyn Fn(&crate::record::DriftFigures) -> f64| judged.figures.as_ref().map_or(f64::NAN, pick);
    Run {
        said: Rule::ALL.map(|rule| match rule {
            Rule::TeacherForced => rules::said(judged.verdict),
            rule => rules::on_answers(rule, &trialed),
        }),
        mean_kld: figure(&|figures| figures.mean_kld_nat.value),
        top1: figure(&|figures| figures.top1.value),
    }
}

const fn stream(seed: u64, golden: usize) -> u64 {
    seed.wrapping_mul(1_000_003) ^ golden as u64
}

/// A golden's distributions with noise on their logits.
fn disturbed(golden: &Golden, size: f64, seed: u64) -> Vec<Position> {
    let mut random = Random::new(seed);
    golden
        .positions
        .iter()
        .map(|position| disturb(position, size, &mut random))
        .collect()
}

/// A distribution with noise on the logits listed. Its token becomes the likeliest.
pub fn disturb(position: &Position, size: f64, random: &mut Random) -> Position {
    let listed: f64 = position.top.iter().map(|token| token.logprob.exp()).sum();
    let rest = (1.0 - listed).max(0.0);
    let mut top: Vec<TokenLogprob> = position
        .top
        .iter()
        .map(|token| TokenLogprob {
            id: token.id,
            logprob: token.logprob + size * random.gaussian(),
        })
        .collect();
    let total = rest + top.iter().map(|token| token.logprob.exp()).sum::<f64>();
    for token in &mut top {
        token.logprob -= total.ln();
    }
    top.sort_by(|one, other| other.logprob.total_cmp(&one.logprob));
    Position {
        token: top.first().copied().unwrap_or(position.token),
        top,
    }
}

/// The disturbed distributions as scores of the golden's tokens.
fn scored(golden: &Golden, disturbed: &[Position]) -> Vec<Position> {
    golden
        .positions
        .iter()
        .zip(disturbed)
        .map(|(golden, disturbed)| {
            let token = disturbed
                .top
                .iter()
                .find(|token| token.id == golden.token.id)
                .copied()
                .unwrap_or(golden.token);
            Position {
                token,
                top: disturbed.top.clone(),
            }
        })
        .collect()
}

/// The free answer: the golden's as far as the likeliest tokens are the same, and then the token that parts.
fn own(golden: &Golden, disturbed: &[Position]) -> Answer {
    let same = golden
        .positions
        .iter()
        .zip(disturbed)
        .take_while(|(golden, disturbed)| golden.token.id == disturbed.token.id)
        .count();
    let mut answer = golden.as_answer();
    if same < golden.positions.len() {
        answer.positions = golden.positions[..same].to_vec();
        answer.positions.push(disturbed[same].clone());
        answer.text.push_str(" (parts)");
    } else {
        answer.positions = disturbed.to_vec();
    }
    answer
}

/// Goldens as a stack with this rounding records them, with the floor that it measures of itself.
fn reference(truth: &[&Golden], rounding: f64) -> Vec<Golden> {
    let mut goldens: Vec<Golden> = truth
        .iter()
        .enumerate()
        .map(|(index, truth)| Golden {
            positions: disturbed(truth, rounding, stream(0, index)),
            ..(*truth).clone()
        })
        .collect();
    let again: Vec<(Vec<Answer>, Vec<GoldenDrift>)> = goldens
        .iter()
        .zip(truth)
        .enumerate()
        .map(|(index, (golden, truth))| {
            let repetitions = (1..=REPEATS).map(|seed| disturbed(truth, rounding, stream(seed, index)));
            repetitions
                .filter_map(|again| Some((own(golden, &again), drift(golden, &scored(golden, &again)).ok()?)))
                .unzip()
        })
        .collect();
    let repeated: Vec<Repeated<'_>> = goldens
        .iter()
        .zip(&again)
        .map(|(golden, (answers, scores))| Repeated {
            golden,
            answers,
            scores,
        })
        .collect();
    let floors: Vec<Option<Floor>> = floors(&repeated).into_iter().map(Result::ok).collect();
    for (golden, floor) in goldens.iter_mut().zip(floors) {
        golden.header.floor = floor;
    }
    goldens
}

/// Size of the noise that gives this mean divergence between two runs that have it each (rounding), or between a model
/// and its changed form.
pub fn size_for(goldens: &[&Golden], kld_nat: f64) -> f64 {
    let mean = |size: f64| {
        let sums: Vec<(f64, usize)> = goldens
            .par_iter()
            .enumerate()
            .map(|(index, golden)| {
                let found = drift(
                    golden,
                    &scored(golden, &disturbed(golden, size, stream(77, index))),
                );
                found.map_or((0.0, 0), |found| {
                    let positions = found.positions.len();
                    (
                        found.mean(|position| position.kld_nat) * positions as f64,
                        positions,
                    )
                })
            })
            .collect();
        let (sum, positions) = sums
            .into_iter()
            .fold((0.0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        sum / positions.max(1) as f64
    };
    let (mut less, mut more) = (0.0, 4.0);
    for _ in 0..24 {
        let middle = f64::midpoint(less, more);
        if mean(middle) < kld_nat {
            less = middle;
        } else {
            more = middle;
        }
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::sample;

    /// The sample's golden with probabilities that leave something to the tokens not listed.
    fn golden() -> Golden {
        let mut golden = sample::golden();
        for position in &mut golden.positions {
            let id = position.token.id;
            *position = sample::position(
                id,
                &[(id, -0.3), (900, -2.0), (901, -3.5), (902, -4.0), (903, -6.0)],
            );
        }
        golden
    }

    #[test]
    fn noise_keeps_a_distribution_one_and_finds_its_size() {
        let golden = golden();
        let mut random = Random::new(1);
        let position = disturb(&golden.positions[0], 0.3, &mut random);
        let listed =
            |position: &Position| -> f64 { position.top.iter().map(|token| token.logprob.exp()).sum() };
        assert!(listed(&position) <= 1.0 + 1e-9);
        assert!(
            position
                .top
                .windows(2)
                .all(|pair| pair[0].logprob >= pair[1].logprob)
        );
        assert_eq!(position.token, position.top[0]);
        let many: Vec<Golden> = vec![golden; 200];
        let many: Vec<&Golden> = many.iter().collect();
        let size = size_for(&many, 1e-3);
        assert!((0.01..0.2).contains(&size), "{size}");
    }

    #[test]
    fn a_reference_knows_its_own_rounding() {
        let truth: Vec<Golden> = (0..40).map(|_| golden()).collect();
        let truth: Vec<&Golden> = truth.iter().collect();
        let reference = reference(&truth, 0.02);
        let floor = reference[0].header.floor.unwrap();
        assert!(floor.mean_kld_nat > 0.0 && floor.mean_kld_nat < 1e-3, "{floor:?}");
        let again = trial(&reference, &truth, 0.02, 5_000);
        assert_eq!(again.said[0], rules::Said::Silence);
        let changed = trial(&reference, &truth, 0.5, 5_000);
        assert_eq!(changed.said[0], rules::Said::Alarm);
    }
}
