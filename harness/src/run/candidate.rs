//! `bench`'s view of a server: it scores the goldens of recordings and answers their prompts itself, and what it said is
//! kept, so that rules can be tried on it later without the server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::{
    Journal, RunError, SessionPlan, Sink,
    interrupt::Interrupt,
    passes::{self, Asked},
    prepare,
    session::{self, Context, Place, Session, Up},
    validate::{open_folder, run_id},
};
use crate::{
    device::Tools,
    golden::{Golden, Recording},
    judge::drift::{Refusal, Scoring},
    manifest::LoadedCase,
    vllm::{Answer, Position},
};

/// What is asked of a candidate.
pub struct CandidateOptions {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder for the server's log and the record.
    pub out: PathBuf,
    /// The command as it was typed.
    pub command: Vec<String>,
    /// Requests at once while it answers.
    pub at_once: usize,
    /// Goldens that it scores at once.
    pub scored_at_once: usize,
}

/// What a server said of one golden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Name of the case.
    pub case: String,
    /// Ids of the prompt by the server's tokenizer and template; `None` where it does not tell them.
    pub prompt_ids: Option<Vec<u32>>,
    /// Text of the golden's output ids by its tokenizer.
    pub decoded: Option<String>,
    /// The golden's tokens as it scored them; empty where it did not.
    pub scored: Vec<Position>,
    /// Why it did not.
    pub unscored: Option<String>,
    /// Its own answer: ids and alternatives, text, and the ids of its prompt.
    pub answer: Option<Own>,
}

/// A server's own answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// Text.
    pub text: String,
    /// Positions.
    pub positions: Vec<Position>,
}

impl Said {
    /// The scores in the shape that the judgement takes.
    pub fn scoring(&self) -> Result<Scoring, Refusal> {
        match &self.unscored {
            Some(why) => Err(Refusal::Server(why.clone())),
            None => Ok(Scoring {
                prompt_ids: self.prompt_ids.clone(),
                decoded: self.decoded.clone(),
                positions: self.scored.clone(),
            }),
        }
    }
}

/// Why a candidate said nothing.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its server.
    #[error("{0}")]
    Server(String),
}

/// Boots a candidate and asks it all: for each recording, what it says of its goldens, in their order.
pub fn candidate(
    plan: &Arc<SessionPlan>,
    references: &[&Recording],
    options: &CandidateOptions,
    sink: Sink,
) -> Result<Vec<Vec<Said>>, CandidateError> {
    let runtime = Runtime::new().map_err(RunError::Start)?;
    let interrupt = Interrupt::watch(runtime.handle()).map_err(RunError::Start)?;
    let folder = open_folder(Path::new(""), Some(&options.out), "")?;
    let journal = Journal::create(&folder.join("record.jsonl"), sink).map_err(RunError::from)?;
    let context = Context {
        place: Place {
            root: options.root.clone(),
            folder,
            run_id: run_id(),
        },
        journal: Arc::new(journal),
        interrupt,
        tools: Tools::find(),
        code: Err("nothing is graded".to_owned()),
    };
    let simulated = plan.stack.stack.simulator.is_some();
    context
        .journal
        .begin(&context.place.run_id, options.command.clone(), simulated);
    runtime.block_on(run(&context, plan, references, options))
}

async fn run(
    context: &Context,
    plan: &SessionPlan,
    references: &[&Recording],
    options: &CandidateOptions,
) -> Result<Vec<Vec<Said>>, CandidateError> {
    let prepared = prepare::announce(context, plan);
    let mut session = session::boot(context, plan, prepared).await;
    let said = match &session {
        Session::Up(up) => {
            let mut said = Vec::new();
            for reference in references {
                said.push(asked(context, plan, up, reference, options).await);
            }
            said.into_iter().collect()
        }
        Session::Down(failed) => Err(format!(
            "the server did not boot: {} ({})",
            failed.message, failed.class
        )),
    };
    session.shut_down(context, &plan.name).await;
    said.map_err(CandidateError::Server)
}

async fn asked(
    context: &Context,
    plan: &SessionPlan,
    up: &Up,
    reference: &Recording,
    options: &CandidateOptions,
) -> Result<Vec<Said>, String> {
    let find = |golden: &Golden| {
        let cases = plan.model.cases.iter();
        cases.into_iter().find(|case| case.case.id == golden.header.case)
    };
    let pairs: Vec<(&LoadedCase, &Golden)> = reference
        .goldens
        .values()
        .filter_map(|golden| Some((find(golden)?, golden)))
        .collect();
    let scores = pairs.iter().map(|&(case, golden)| async move {
        let scoring = up.scores.scoring(plan, up, case, golden).await;
        Ok(one(&case.case.id, scoring.map_err(|error| error.to_string())?))
    });
    let mut said: Vec<Said> = stream::iter(scores)
        .buffered(options.scored_at_once)
        .collect::<Vec<Result<Said, String>>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    let cases: Vec<&LoadedCase> = pairs.iter().map(|(case, _)| *case).collect();
    let (requests, _) = passes::requests(plan, up, &cases)
        .await
        .map_err(|error| error.to_string())?;
    let answers = answers(context, up, &requests, options.at_once).await?;
    for (asked, answer) in requests.iter().zip(answers) {
        if let Some(known) = said.iter_mut().find(|known| known.case == asked.case.case.id) {
            known.answer = answer.ok().map(|answer| Own {
                text: answer.text,
                positions: answer.positions,
            });
        }
    }
    Ok(said)
}

async fn answers(
    context: &Context,
    up: &Up,
    requests: &[Asked<'_>],
    at_once: usize,
) -> Result<Vec<Result<Answer, String>>, String> {
    passes::generate(&up.client, &context.interrupt.token, requests, at_once)
        .await
        .map_err(|error| error.to_string())
}

fn one(case: &str, scoring: Result<Scoring, Refusal>) -> Said {
    let (scoring, unscored) = match scoring {
        Ok(scoring) => (Some(scoring), None),
        Err(why) => (None, Some(why.to_string())),
    };
    let scoring = scoring.unwrap_or_else(|| Scoring {
        prompt_ids: None,
        decoded: None,
        positions: Vec::new(),
    });
    Said {
        case: case.to_owned(),
        prompt_ids: scoring.prompt_ids,
        decoded: scoring.decoded,
        scored: scoring.positions,
        unscored,
        answer: None,
    }
}
