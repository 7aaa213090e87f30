//! A generation request on its way through the engine: submitted as sequences, read back as events.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::App;
use super::errors::ApiError;
use crate::engine::{Emitted, Event, Finish, Position, Sampling, Submission};
use crate::json::{Object, quoted};
use crate::language::Plan;
use crate::tokenizer::{EOS, Token};

/// What is generated.
pub struct Job {
    /// Id of the answer.
    pub id: Arc<str>,
    /// Prompts, each generated `n` times.
    pub prompts: Vec<Arc<[Token]>>,
    /// Outputs for a prompt.
    pub n: usize,
    /// Parameters.
    pub sampling: Arc<Sampling>,
    /// Text that a constraint forces, unless a known answer fits it.
    pub forced: Option<Forced>,
}

/// A constraint's effect.
pub struct Forced {
    /// What is said when no known answer fits.
    pub fallback: String,
    /// Known answers must be JSON.
    pub json: bool,
}

impl Job {
    /// Hands all sequences to the engine.
    pub fn submit(&self, app: &App) -> UnboundedReceiver<Event> {
        let (events, receiver) = unbounded_channel();
        let arrived_s = app.clock.now();
        for (at, prompt) in self.prompts.iter().enumerate() {
            let plan = self.plan(app, prompt);
            for copy in 0..self.n {
                app.engine.submit(Submission {
                    request_id: Arc::clone(&self.id),
                    index: at * self.n + copy,
                    leads: (copy == 0).then_some(self.n),
                    prompt: Arc::clone(prompt),
                    plan: plan.clone(),
                    sampling: Arc::clone(&self.sampling),
                    events: events.clone(),
                    arrived_s,
                });
            }
        }
        receiver
    }

    fn plan(&self, app: &App, prompt: &[Token]) -> Option<Plan> {
        let tokenizer = app.language.tokenizer();
        let known = app.answers.plan(tokenizer, prompt);
        let Some(forced) = &self.forced else { return known };
        let fits = |plan: &Plan| {
            let text = tokenizer.decode(&plan.tokens, true);
            plan.start == prompt.len()
                && forced.json
                && serde_json::from_str::<serde_json::Value>(&text).is_ok()
        };
        known.filter(fits).or_else(|| {
            let mut tokens = tokenizer.encode(&forced.fallback);
            tokens.push(EOS);
            Some(Plan {
                start: prompt.len(),
                tokens,
            })
        })
    }

    /// Sequences of the job.
    pub fn sequences(&self) -> usize {
        self.prompts.len() * self.n
    }
}

/// One sequence's whole output.
#[derive(Debug, Default)]
pub struct Output {
    /// Text.
    pub text: String,
    /// Tokens.
    pub tokens: Vec<Token>,
    /// Figures of the tokens, if they were asked for.
    pub figures: Vec<Position>,
    /// Figures of the prompt, if they were asked for.
    pub prompt_figures: Option<Vec<Option<Position>>>,
    /// Tokens from the prefix cache.
    pub cached_tokens: usize,
    /// Why it ended.
    pub finish: Option<Finish>,
}

/// Reads all events of a job.
pub async fn collect(job: &Job, app: &App) -> Result<Vec<Output>, ApiError> {
    let mut receiver = job.submit(app);
    let mut outputs: Vec<Output> = (0..job.sequences()).map(|_| Output::default()).collect();
    let mut open = outputs.len();
    while open > 0 {
        let event = receiver.recv().await.ok_or(ApiError::EngineDead)?;
        match event {
            Event::Dead => return Err(ApiError::EngineDead),
            Event::Prompt {
                index,
                cached_tokens,
                figures,
            } => {
                if let Some(output) = outputs.get_mut(index) {
                    output.prompt_figures = figures;
                    output.cached_tokens = cached_tokens;
                }
            }
            Event::Token(Emitted {
                index,
                token,
                text,
                figures,
                finish,
            }) => {
                let Some(output) = outputs.get_mut(index) else {
                    continue;
                };
                output.tokens.push(token);
                output.text.push_str(&text);
                output.figures.extend(figures.map(|figures| *figures));
                if finish.is_some() {
                    output.finish = finish;
                    open -= 1;
                }
            }
        }
    }
    Ok(outputs)
}

/// `finish_reason`.
pub fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::End | Finish::StopText(_) | Finish::StopToken(_) => "stop",
    }
}

/// `stop_reason` in JSON.
pub fn stop_reason(finish: Option<&Finish>) -> String {
    match finish {
        Some(Finish::StopText(text)) => quoted(text),
        Some(Finish::StopToken(token)) => token.to_string(),
        _ => "null".to_owned(),
    }
}

/// Counts of a usage.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Prompt tokens.
    pub prompt: usize,
    /// Generated tokens.
    pub completion: usize,
}

impl Usage {
    fn object(self) -> Object {
        Object::new()
            .field("prompt_tokens", self.prompt)
            .field("total_tokens", self.prompt + self.completion)
            .field("completion_tokens", self.completion)
    }

    /// Without details.
    pub fn plain(self) -> String {
        self.object().end()
    }

    /// With `prompt_tokens_details`, null unless cached tokens are told.
    pub fn detailed(self, cached: Option<usize>) -> String {
        let details = cached.map(|count| Object::new().field("cached_tokens", count).end());
        self.object()
            .raw("prompt_tokens_details", details.as_deref().unwrap_or("null"))
            .end()
    }
}
