//! Passes over many prompts: all of them asked, or all goldens scored, so many at a time. What comes back stands in the
//! order in which it was asked for, whatever ended first.

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{SessionPlan, ask, score, score::Scorer, session::Up};
use crate::{
    golden::{Golden, GoldenDrift, drift},
    manifest::LoadedCase,
    vllm::{Answer, Client, ClientError, Position, Prompt, Request},
};

/// Alternatives below which near ties cannot be told.
const LEAST_ALTERNATIVES: u8 = 5;

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The user stopped it.
    #[error("the run was interrupted")]
    Interrupted,
    /// The server may be lost.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A case with the request that asks it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The case.
    pub case: &'a LoadedCase,
    /// Its request, with token ids and logprobs.
    pub request: Request,
    /// Ids of its prompt, where the answers will not tell them.
    pub prompt_ids: Option<Vec<u32>>,
}

/// Builds the requests of cases; those that cannot be built come back with the reason.
pub async fn requests<'a>(
    plan: &SessionPlan,
    up: &Up,
    cases: &[&'a LoadedCase],
) -> Result<(Vec<Asked<'a>>, Vec<(&'a LoadedCase, String)>), PassError> {
    let (mut asked, mut refused) = (Vec::new(), Vec::new());
    for &case in cases {
        match ask::request(&up.client, case, &plan.model.manifest, true).await {
            Ok(request) => {
                let prompt_ids = match &request.prompt {
                    Prompt::TokenIds(_) => None,
                    _ => score::prompt_ids(plan, &up.client, case).await,
                };
                asked.push(Asked {
                    case,
                    request,
                    prompt_ids,
                });
            }
            Err(ask::AskError::Client(error)) if error.suggests_server_loss() => return Err(error.into()),
            Err(error) => refused.push((case, error.to_string())),
        }
    }
    Ok((asked, refused))
}

/// Asks all, `at_once` at a time. A server that caps the alternatives is asked for as many as it gives; what it refuses
/// otherwise comes back as the reason.
pub async fn generate(
    client: &Client,
    token: &CancellationToken,
    asked: &[Asked<'_>],
    at_once: usize,
) -> Result<Vec<Result<Answer, String>>, PassError> {
    let one = |asked: Asked<'_>| {
        let client = client.clone();
        let (mut request, ids) = (asked.request, asked.prompt_ids);
        async move {
            let mut answer = client.ask(&request).await;
            if let Some(cap) = answer.as_ref().err().and_then(ClientError::logprobs_cap)
                && cap >= LEAST_ALTERNATIVES
            {
                request.top_logprobs = Some(cap);
                answer = client.ask(&request).await;
            }
            answer.map(|answer| Answer {
                prompt_ids: answer.prompt_ids.or(ids),
                ..answer
            })
        }
    };
    all(token, asked.iter().map(|asked| one(asked.clone())), at_once).await
}

/// Scores the tokens of goldens, `at_once` at a time. A golden without prompt ids cannot be.
pub async fn score(
    client: &Client,
    scorer: &Scorer,
    token: &CancellationToken,
    goldens: &[&Golden],
    at_once: usize,
) -> Result<Vec<Result<Vec<Position>, String>>, PassError> {
    let one = |golden: &Golden| {
        let output: Vec<u32> = golden
            .positions
            .iter()
            .map(|position| position.token.id)
            .collect();
        let (prompt, wanted) = (golden.prompt_ids.clone(), golden.header.settings.top_logprobs);
        async move { scorer.score(client, &prompt, &output, wanted).await }
    };
    all(token, goldens.iter().map(|golden| one(golden)), at_once).await
}

/// Scores goldens and holds what was scored against them.
pub async fn drifts(
    client: &Client,
    scorer: &Scorer,
    token: &CancellationToken,
    goldens: &[&Golden],
    at_once: usize,
) -> Result<Vec<Result<GoldenDrift, String>>, PassError> {
    let found = score(client, scorer, token, goldens, at_once).await?;
    let held_against = |(golden, positions): (&&Golden, Result<Vec<Position>, String>)| {
        drift(golden, &positions?).map_err(|why| why.to_string())
    };
    Ok(goldens.iter().zip(found).map(held_against).collect())
}

/// Awaits all, `at_once` at a time, in order. An error that means a lost server ends the pass.
async fn all<T>(
    token: &CancellationToken,
    futures: impl Iterator<Item = impl Future<Output = Result<T, ClientError>>>,
    at_once: usize,
) -> Result<Vec<Result<T, String>>, PassError> {
    let mut results = stream::iter(futures).buffered(at_once.max(1));
    let mut done = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            () = token.cancelled() => return Err(PassError::Interrupted),
            next = results.next() => next,
        };
        match next {
            None => return Ok(done),
            Some(Err(error)) if error.suggests_server_loss() => return Err(error.into()),
            Some(result) => done.push(result.map_err(|error| error.to_string())),
        }
    }
}
