//! Scoring: a server is handed a golden's prompt together with the golden's output, as token ids, and says how likely
//! it holds each of these tokens (teacher forcing). One request a golden scores all of its positions.
//!
//! vLLM gives the figures by `prompt_logprobs` in every version from 0.8.5 on; a server that knows none is asked by
//! `echo`. One that allows fewer alternatives is asked for as many as it allows. What cannot be scored this way is a
//! stated limit: pictures (token ids hold none), outputs under an enforced schema (recorded over the allowed tokens
//! alone) and sequences longer than the manifest allows (servers keep the logits of a whole prompt). Thought and tool
//! calls are scored like any output: they are tokens.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use super::{SessionPlan, ask, session::Up};
use crate::{
    golden::{Golden, GoldenDrift},
    judge::drift::{Refusal, Scoring, examine},
    manifest::{Case, LoadedCase},
    vllm::{Client, ClientError, Position, Prompt, Request},
};

/// A golden that was scored.
#[derive(Debug, Clone)]
pub struct ScoredGolden {
    /// The golden.
    pub golden: Golden,
    /// What the server said of its tokens, and how far that is from the golden.
    pub found: Result<(Vec<Position>, GoldenDrift), Refusal>,
}

/// What a session has scored so far, so that no golden is scored twice.
#[derive(Debug, Default)]
pub struct Scores {
    scorer: Scorer,
    by_case: Mutex<HashMap<String, ScoredGolden>>,
}

/// Asks one server for scores, and remembers what it allows.
#[derive(Debug)]
pub struct Scorer {
    /// Most alternatives that the server gives.
    alternatives: AtomicU8,
    /// Whether it is asked by `echo`.
    echo: AtomicBool,
}

impl Default for Scorer {
    fn default() -> Self {
        Self {
            alternatives: AtomicU8::new(u8::MAX),
            echo: AtomicBool::new(false),
        }
    }
}

impl Scorer {
    /// Positions of `output` behind `prompt`.
    pub async fn score(
        &self,
        client: &Client,
        prompt: &[u32],
        output: &[u32],
        alternatives: u8,
    ) -> Result<Vec<Position>, ClientError> {
        let sequence = [prompt, output].concat();
        loop {
            let most = alternatives.min(self.alternatives.load(Ordering::Relaxed));
            let echo = self.echo.load(Ordering::Relaxed);
            let answer = client.ask(&Request::scoring(sequence.clone(), most, echo)).await;
            match answer {
                Ok(answer) => {
                    let scored = answer.prompt_positions.into_iter().skip(prompt.len());
                    return Ok(scored.flatten().take(output.len()).collect());
                }
                Err(error) => match error.logprobs_cap() {
                    Some(cap) if cap < most => self.alternatives.store(cap, Ordering::Relaxed),
                    _ if !echo && knows_no_prompt_logprobs(&error) => {
                        self.echo.store(true, Ordering::Relaxed);
                    }
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Whether the server ignores `prompt_logprobs`, or refuses a request for them as such.
fn knows_no_prompt_logprobs(error: &ClientError) -> bool {
    match error {
        ClientError::Missing { field, .. } => field == "prompt_logprobs",
        ClientError::Http {
            status: 400 | 422,
            message,
            ..
        } => message.contains("prompt_logprobs") && error.logprobs_cap().is_none(),
        _ => false,
    }
}

/// Why a case's golden cannot be scored at all, if so.
pub fn limit(plan: &SessionPlan, case: &Case, golden: &Golden) -> Option<String> {
    let longest = plan.model.manifest.correctness.drift.max_sequence_tokens as usize;
    let tokens = golden.prompt_ids.len() + golden.positions.len();
    if !case.images.is_empty() {
        Some("it shows pictures, which token ids do not hold".to_owned())
    } else if case.structured.is_some() {
        Some("a schema was enforced on it, so its logprobs are those of the allowed tokens".to_owned())
    } else if tokens > longest {
        Some(format!(
            "its {tokens} tokens are longer than correctness.drift.max_sequence_tokens ({longest})"
        ))
    } else {
        None
    }
}

/// Ids of a case's prompt by the server's tokenizer and template of today; `None` where it does not tell them, or not of
/// such a prompt.
pub async fn prompt_ids(plan: &SessionPlan, client: &Client, case: &LoadedCase) -> Option<Vec<u32>> {
    let request = ask::request(client, case, &plan.model.manifest, false)
        .await
        .ok()?;
    match request.prompt {
        Prompt::Text(text) => client.tokenize(&text, true).await.ok(),
        // Versions before 0.9 cannot be told of tools.
        Prompt::Chat(turns) if request.tools.is_empty() && case.case.images.is_empty() => {
            client.tokenize_chat(&turns, request.thinking).await.ok()
        }
        Prompt::Chat(_) | Prompt::TokenIds(_) => None,
    }
}

impl Scores {
    /// What asks this session's server.
    pub const fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The scores of a case's golden, asked for once a session. An error means that the server may be lost.
    pub async fn of(
        &self,
        plan: &SessionPlan,
        up: &Up,
        case: &LoadedCase,
        golden: &Golden,
    ) -> Result<ScoredGolden, ClientError> {
        let known = || self.by_case.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scored) = known().get(&case.case.id) {
            return Ok(scored.clone());
        }
        let scored = ScoredGolden {
            golden: golden.clone(),
            found: self.examined(plan, up, case, golden).await?,
        };
        known().insert(case.case.id.clone(), scored.clone());
        Ok(scored)
    }

    async fn examined(
        &self,
        plan: &SessionPlan,
        up: &Up,
        case: &LoadedCase,
        golden: &Golden,
    ) -> Result<Result<(Vec<Position>, GoldenDrift), Refusal>, ClientError> {
        let scoring = self.scoring(plan, up, case, golden).await?;
        Ok(scoring.and_then(|scoring| {
            let drift = examine(golden, &scoring)?;
            Ok((scoring.positions, drift))
        }))
    }

    /// What the server says of a golden: its tokens scored, and its prompt and text by the tokenizer of today.
    pub async fn scoring(
        &self,
        plan: &SessionPlan,
        up: &Up,
        case: &LoadedCase,
        golden: &Golden,
    ) -> Result<Result<Scoring, Refusal>, ClientError> {
        if let Some(why) = limit(plan, &case.case, golden) {
            return Ok(Err(Refusal::Limit(why)));
        }
        let today = prompt_ids(plan, &up.client, case).await;
        let recorded = Some(&golden.prompt_ids).filter(|ids| !ids.is_empty());
        let Some(prompt) = recorded.or(today.as_ref()).cloned() else {
            let why = "neither the golden nor the server tells its prompt's token ids";
            return Ok(Err(Refusal::Limit(why.to_owned())));
        };
        let output: Vec<u32> = golden
            .positions
            .iter()
            .map(|position| position.token.id)
            .collect();
        let decoded = up.client.detokenize(&output).await.ok();
        let wanted = golden.header.settings.top_logprobs;
        match self.scorer.score(&up.client, &prompt, &output, wanted).await {
            Ok(positions) => Ok(Ok(Scoring {
                prompt_ids: today,
                decoded,
                positions,
            })),
            Err(error) if error.suggests_server_loss() => Err(error),
            Err(error) => Ok(Err(Refusal::Server(error.to_string()))),
        }
    }
}
