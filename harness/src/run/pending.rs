//! From an answer to a golden that waits for its reviewer.

use time::OffsetDateTime;

use super::{SessionPlan, session::Up, trial::Exchange};
use crate::{
    golden::{FORMAT_VERSION, Golden, GoldenError, Header, Recorded, Settings},
    judge::correctness::grading,
    vllm::Prompt,
};

/// Makes the golden of an answer; `before` is the accepted golden that it would replace.
pub async fn golden(
    plan: &SessionPlan,
    up: &Up,
    exchange: &Exchange<'_>,
    before: Option<&Golden>,
) -> Result<Golden, GoldenError> {
    let Exchange {
        case,
        request,
        answer,
        grades,
    } = exchange;
    let header = Header {
        golden: FORMAT_VERSION,
        model: plan.model.name.clone(),
        case: case.case.id.clone(),
        simulated: plan.stack.stack.simulator.is_some(),
        recorded: recorded(plan, up),
        settings: Settings {
            endpoint: plan.model.manifest.model.endpoint,
            max_tokens: request.max_tokens,
            seed: request.seed,
            top_logprobs: request.top_logprobs.unwrap_or_default(),
        },
        finish: answer.finish.clone(),
        grade: grading(grades),
        reason: None,
        replaces: before.map(Golden::digest).transpose()?,
        floor: None,
    };
    // Without texts the golden is only harder to read: a server without `/detokenize` is no reason to lose it.
    let mut pieces = Vec::new();
    for position in &answer.positions {
        let Some(text) = up.piece(position.token.id).await else {
            pieces.clear();
            break;
        };
        pieces.push(text);
    }
    Golden::record(header, &shown(&request.prompt), answer, pieces)
}

/// Where this session's answers come from.
pub fn recorded(plan: &SessionPlan, up: &Up) -> Recorded {
    Recorded {
        at: OffsetDateTime::now_utc(),
        stack: plan.stack.name.clone(),
        vllm: up.booted.environment.get("vllm").cloned().unwrap_or_default(),
        accelerator: plan.stack.stack.accelerator.as_str().to_owned(),
        model_digest: up.weights.clone(),
        command: up.command.clone(),
    }
}

/// The prompt for the golden's reader.
fn shown(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::TokenIds(ids) => format!("{} token ids", ids.len()),
        Prompt::Chat(turns) => turns
            .iter()
            .map(|turn| {
                let images = "[image] ".repeat(turn.images.len());
                format!("{:?}: {images}{}", turn.role, turn.text)
            })
            .collect::<Vec<_>>()
            .join("\n"),
    }
}
