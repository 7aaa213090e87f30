//! Two recordings against each other, such as a C500's against an A100's: the same figures as a run has against its
//! goldens. The first one is the reference; thresholds come from its floor.
//!
//! Where both have the same tokens (one of them was scored over the other's, or both said the same) all positions count.
//! Where their answers part, those count that had the same context, up to and with the one at which they part.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::drift::{self, Refusal, Scored, Suite};
use crate::{
    golden::{self, Comparison, Golden, GoldenDrift, Margin, Recorded, Recording},
    record::{Check, DriftFigures, Finding, Verdict},
};

/// How two recordings stand to each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRecordings {
    /// Where the reference was recorded.
    pub reference: Vec<Origin>,
    /// Where the other one was.
    pub candidate: Vec<Origin>,
    /// Verdict of the drift.
    pub verdict: Verdict,
    /// What it rests on.
    pub findings: Vec<Finding>,
    /// Each figure beside its threshold.
    pub checks: Vec<Check>,
    /// The figures; `None` where nothing could be compared.
    pub figures: Option<DriftFigures>,
    /// Answers by how they stand to each other; `None` where one side only scored the tokens of another recording.
    pub answers: Option<Answers>,
    /// Answers that part, in the order of their names.
    pub parted: Vec<Parted>,
    /// Cases that only the reference has.
    pub only_reference: Vec<String>,
    /// Cases that only the other one has.
    pub only_candidate: Vec<String>,
}

/// Where goldens of a recording come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// Stack.
    pub stack: String,
    /// Version of vLLM.
    pub vllm: String,
    /// Accelerator.
    pub accelerator: String,
    /// What identifies the weights.
    pub model_digest: String,
    /// Whether a simulator answered.
    pub simulated: bool,
    /// How many.
    pub goldens: usize,
}

/// Counts of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// The same ids and text.
    pub identical: usize,
    /// They part where rounding explains it.
    pub near_tie: usize,
    /// They part where it does not.
    pub divergent: usize,
    /// They cannot be compared.
    pub incomparable: usize,
}

/// Two answers that part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parted {
    /// Model and case.
    pub case: String,
    /// Whether rounding explains it.
    pub near_tie: bool,
    /// Position, from 0.
    pub position: usize,
    /// How much likelier the reference held its own token, in nat; `None` where it is not known.
    pub reference_margin_nat: Option<f64>,
    /// The same on the other side.
    pub candidate_margin_nat: Option<f64>,
    /// End of what both share.
    pub shared: String,
    /// How the reference goes on.
    pub reference: String,
    /// How the other one goes on.
    pub candidate: String,
}

/// One pair, compared.
struct Pair<'a> {
    name: String,
    golden: &'a Golden,
    comparison: Comparison,
    drift: Result<GoldenDrift, Refusal>,
}

/// Compares two recordings.
pub fn compare(reference: &Recording, candidate: &Recording) -> ComparedRecordings {
    let pairs: Vec<Pair<'_>> = reference
        .goldens
        .par_iter()
        .filter_map(|(key, golden)| Some(pair(key, golden, candidate.goldens.get(key)?)))
        .collect();
    let mut suite = Suite::default();
    let mut answers = Answers::default();
    let mut parted = Vec::new();
    for pair in &pairs {
        match &pair.drift {
            Ok(drift) => suite.scored.push(Scored {
                golden: pair.golden,
                drift,
            }),
            Err(why) => suite.refused.push((pair.name.clone(), why.clone())),
        }
        match &pair.comparison {
            Comparison::Identical => answers.identical += 1,
            Comparison::NearTie(_) => answers.near_tie += 1,
            Comparison::Divergent(_) => answers.divergent += 1,
            Comparison::Incomparable(_) => answers.incomparable += 1,
        }
        parted.extend(parting(pair));
    }
    suite.pieces = pieces(candidate);
    let judged = drift::judge(&suite);
    let only = |one: &Recording, other: &Recording| {
        let missing = one.goldens.keys().filter(|key| !other.goldens.contains_key(*key));
        missing.map(name).collect()
    };
    ComparedRecordings {
        reference: origins(reference),
        candidate: origins(candidate),
        verdict: judged.verdict,
        findings: judged.findings,
        checks: judged.checks,
        figures: judged.figures,
        answers: (!reference.scored && !candidate.scored).then_some(answers),
        parted,
        only_reference: only(reference, candidate),
        only_candidate: only(candidate, reference),
    }
}

fn name((model, case): &(String, String)) -> String {
    format!("{model}/{case}")
}

fn pair<'a>(key: &(String, String), golden: &'a Golden, other: &Golden) -> Pair<'a> {
    let comparison = golden::compare(golden, &other.as_answer());
    let drift = golden::same_prompt(&golden.prompt_ids, &other.prompt_ids)
        .map_err(Refusal::from)
        .and_then(|()| match &comparison {
            Comparison::Incomparable(why @ golden::Incomparable::TokenizerChanged { .. }) => {
                Err(why.clone().into())
            }
            _ => golden::shared_drift(golden, &other.positions).map_err(Refusal::from),
        });
    Pair {
        name: name(key),
        golden,
        comparison,
        drift,
    }
}

fn parting(pair: &Pair<'_>) -> Option<Parted> {
    let (near_tie, divergence) = match &pair.comparison {
        Comparison::NearTie(divergence) => (true, divergence),
        Comparison::Divergent(divergence) => (false, divergence),
        _ => return None,
    };
    let margin = |margin| match margin {
        Margin::Exactly(nat) | Margin::AtLeast(nat) => Some(nat),
        Margin::Unknown => None,
    };
    Some(Parted {
        case: pair.name.clone(),
        near_tie,
        position: divergence.position,
        reference_margin_nat: margin(divergence.golden.margin),
        candidate_margin_nat: margin(divergence.answer.margin),
        shared: divergence.shared.clone(),
        reference: divergence.golden.after.clone(),
        candidate: divergence.answer.after.clone(),
    })
}

/// Texts of tokens that the candidate's goldens hold.
fn pieces(recording: &Recording) -> std::collections::HashMap<u32, String> {
    let of_golden = |golden: &Golden| {
        let ids = golden.positions.iter().map(|position| position.token.id);
        ids.zip(golden.pieces.iter().cloned()).collect::<Vec<_>>()
    };
    recording.goldens.values().flat_map(of_golden).collect()
}

fn origins(recording: &Recording) -> Vec<Origin> {
    let mut counted = BTreeMap::<Origin, usize>::new();
    for golden in recording.goldens.values() {
        let Recorded {
            stack,
            vllm,
            accelerator,
            model_digest,
            ..
        } = golden.header.recorded.clone();
        let origin = Origin {
            stack,
            vllm,
            accelerator,
            model_digest,
            simulated: golden.header.simulated,
            goldens: 0,
        };
        *counted.entry(origin).or_default() += 1;
    }
    counted
        .into_iter()
        .map(|(origin, goldens)| Origin { goldens, ..origin })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::sample;

    fn recording(goldens: Vec<Golden>) -> Recording {
        let keyed = goldens
            .into_iter()
            .map(|golden| ((golden.header.model.clone(), golden.header.case.clone()), golden));
        Recording {
            path: "recording".into(),
            scored: false,
            goldens: keyed.collect(),
        }
    }

    fn named(case: &str) -> Golden {
        let mut golden = sample::golden();
        golden.header.case = case.to_owned();
        golden
    }

    #[test]
    fn the_same_recording_is_the_same() {
        let cases: Vec<Golden> = (0..12).map(|number| named(&format!("case_{number}"))).collect();
        let one = recording(cases);
        let compared = compare(&one, &one);
        assert_eq!(compared.verdict, Verdict::Passed);
        assert_eq!(compared.answers.unwrap().identical, 12);
        assert_eq!(compared.figures.unwrap().mean_kld_nat.value, 0.0);
    }

    #[test]
    fn answers_that_part_count_as_far_as_they_share_their_context() {
        let mut other = named("a");
        other.positions[2] = sample::position(901, &[(901, -0.3), (282, -1.8), (902, -4.0)]);
        other.answer = "The capital town".to_owned();
        other.header.recorded.stack = "c500_maca3.3_vllm0.12.0".to_owned();
        let compared = compare(
            &recording(vec![named("a"), named("b")]),
            &recording(vec![other, named("c")]),
        );
        assert_eq!(compared.answers.unwrap().divergent, 1);
        assert_eq!(compared.figures.as_ref().unwrap().positions, 3);
        assert_eq!(compared.parted[0].position, 2);
        assert_eq!(compared.only_reference, ["smollm2_135m/b"]);
        assert_eq!(compared.only_candidate, ["smollm2_135m/c"]);
        assert_ne!(compared.verdict, Verdict::Passed, "two goldens show nothing");
    }

    #[test]
    fn other_prompts_are_not_compared() {
        let mut other = named("a");
        other.prompt_ids = vec![1, 2, 3];
        let compared = compare(&recording(vec![named("a")]), &recording(vec![other]));
        assert_eq!(
            (compared.verdict, compared.answers.unwrap().incomparable),
            (Verdict::Failed, 1)
        );
        assert_eq!(compared.figures, None);
    }
}
