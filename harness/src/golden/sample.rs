//! Goldens and answers for tests: small, and shaped as real servers answer.

use time::macros::datetime;

use super::{FORMAT_VERSION, Golden, GradeVerdict, Grading, Header, Recorded, Settings};
use crate::manifest::Endpoint;
use crate::vllm::{Answer, FinishReason, Position, TokenLogprob};

/// A position: its token and alternatives, likeliest first.
pub fn position(id: u32, top: &[(u32, f64)]) -> Position {
    let token = |&(id, logprob): &(u32, f64)| TokenLogprob { id, logprob };
    let chosen = top.iter().find(|(other, _)| *other == id).unwrap();
    Position {
        token: token(chosen),
        top: top.iter().map(token).collect(),
    }
}

/// `The capital of France is Paris.`, with alternatives.
pub fn answer() -> Answer {
    let steps = |id| {
        [
            (id, -0.2),
            (900, -2.0),
            (901, -3.5),
            (902, -4.0),
            (903, -5.25),
            (904, -6.0),
        ]
    };
    Answer {
        text: "The capital of France is Paris.".to_owned(),
        reasoning: None,
        tool_calls: Vec::new(),
        finish: FinishReason::Stop,
        usage: None,
        positions: [504, 3575, 282, 4649, 314, 7042, 30]
            .iter()
            .map(|&id| position(id, &steps(id)))
            .collect(),
        prompt_positions: Vec::new(),
        prompt_ids: Some(vec![1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2]),
    }
}

pub fn header() -> Header {
    Header {
        golden: FORMAT_VERSION,
        model: "smollm2_135m".to_owned(),
        case: "capital_of_france".to_owned(),
        simulated: false,
        recorded: Recorded {
            at: datetime!(2026-03-14 15:09:26 UTC),
            stack: "cpu_vllm0.12.0".to_owned(),
            vllm: "0.12.0".to_owned(),
            accelerator: "CPU".to_owned(),
            model_digest: "sha256:4c8d".to_owned(),
            command: "vllm serve /models/smollm2 --dtype bfloat16".to_owned(),
        },
        settings: Settings {
            endpoint: Endpoint::Chat,
            max_tokens: 32,
            seed: 0,
            top_logprobs: 20,
        },
        finish: FinishReason::Stop,
        grade: Grading {
            verdict: GradeVerdict::Right,
            graders: Vec::new(),
        },
        reason: None,
        replaces: None,
        floor: None,
    }
}

pub fn golden() -> Golden {
    let pieces = ["The", " capital", " of", " France", " is", " Paris", "."];
    Golden::record(
        header(),
        "What is the capital of France?",
        &answer(),
        pieces.iter().map(|&piece| piece.to_owned()).collect(),
    )
    .unwrap()
}
