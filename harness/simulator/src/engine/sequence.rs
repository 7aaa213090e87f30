//! One sequence: its tokens, its place in the plan of a known answer, its times, and the choice of its next
//! token.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::Faulty;
use super::blocks::Held;
use super::detokenizer::Detokenizer;
use crate::language::{Context, Language, Plan, Sampler, Scored};
use crate::tokenizer::{EOS, Token};

/// How a sequence is generated.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Most tokens.
    pub max_tokens: usize,
    /// Tokens before which it does not end.
    pub min_tokens: usize,
    /// The end token does not end it.
    pub ignore_eos: bool,
    /// Texts that end it.
    pub stop: Vec<String>,
    /// Tokens that end it.
    pub stop_token_ids: Vec<Token>,
    /// The stop text stays in the output.
    pub include_stop: bool,
    /// Special tokens have no text.
    pub skip_special: bool,
    /// `None` is greedy.
    pub sampler: Option<Sampler>,
    /// Seed of the draws.
    pub seed: u64,
    /// How many alternatives of each token are reported; `None` for no logprobs.
    pub logprobs: Option<usize>,
    /// The same for the prompt's tokens.
    pub prompt_logprobs: Option<usize>,
}

/// Figures of one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// The token that is there.
    pub chosen: Scored,
    /// The most likely ones.
    pub top: Vec<Scored>,
}

/// Why a sequence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// `max_tokens` or the longest sequence.
    Length,
    /// The end token.
    End,
    /// A stop text.
    StopText(String),
    /// A stop token.
    StopToken(Token),
}

/// What the engine tells the request's handler.
#[derive(Debug)]
pub enum Event {
    /// The prompt was computed; figures of each of its positions if they were asked for.
    Prompt {
        /// Which sequence of the request.
        index: usize,
        /// Tokens that came from the prefix cache.
        cached_tokens: usize,
        /// Figures by position; the first has none.
        figures: Option<Vec<Option<Position>>>,
    },
    /// A token.
    Token(Emitted),
    /// The engine is dead.
    Dead,
}

/// A token that leaves the engine.
#[derive(Debug)]
pub struct Emitted {
    /// Which sequence of the request.
    pub index: usize,
    /// The token.
    pub token: Token,
    /// Text that is certain now.
    pub text: String,
    /// Figures, if they were asked for.
    pub figures: Option<Box<Position>>,
    /// Set on the last one.
    pub finish: Option<Finish>,
}

/// A sequence as it is handed in.
#[derive(Debug)]
pub struct Submission {
    /// Id of the request.
    pub request_id: Arc<str>,
    /// Which sequence of the request.
    pub index: usize,
    /// `n` of the request, on its first sequence only.
    pub leads: Option<usize>,
    /// Prompt.
    pub prompt: Arc<[Token]>,
    /// Known output.
    pub plan: Option<Plan>,
    /// Parameters.
    pub sampling: Arc<Sampling>,
    /// Where events go.
    pub events: UnboundedSender<Event>,
    /// Simulated second of arrival.
    pub arrived_s: f64,
}

/// Simulated seconds of a sequence's life.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_field_names, reason = "the postfix is the unit")]
pub struct Times {
    /// First scheduled.
    pub scheduled_s: Option<f64>,
    /// First token.
    pub first_s: Option<f64>,
    /// Latest token.
    pub latest_s: f64,
}

/// A sequence in the engine.
#[derive(Debug)]
pub struct Sequence {
    /// As handed in.
    pub given: Submission,
    /// Prompt and output.
    pub tokens: Vec<Token>,
    /// Tokens whose keys and values are in blocks.
    pub computed: usize,
    /// Its blocks.
    pub held: Held,
    /// Its times.
    pub times: Times,
    /// Tokens that came from the prefix cache.
    pub cached_tokens: usize,
    context: Context,
    detokenizer: Detokenizer,
    /// The next token's place in the plan, as long as the output keeps to it.
    plan_at: Option<usize>,
}

/// A token that was chosen.
pub struct Choice {
    /// The token.
    pub token: Token,
    /// Its figures.
    pub figures: Option<Box<Position>>,
}

impl Sequence {
    /// A sequence that has generated nothing.
    pub fn new(given: Submission, language: &Language) -> Self {
        let tokens = given.prompt.to_vec();
        let plan_at = given.plan.as_ref().and_then(|plan| {
            let said = tokens.get(plan.start..)?;
            plan.tokens.starts_with(said).then_some(said.len())
        });
        Self {
            context: language.read(&tokens),
            computed: 0,
            held: Held::default(),
            times: Times::default(),
            cached_tokens: 0,
            detokenizer: Detokenizer::default(),
            plan_at,
            tokens,
            given,
        }
    }

    /// Generated tokens.
    pub fn generated(&self) -> usize {
        self.tokens.len() - self.given.prompt.len()
    }

    fn planned(&self) -> Option<Token> {
        self.given.plan.as_ref()?.tokens.get(self.plan_at?).copied()
    }

    /// Chooses the next token.
    pub fn choose(&self, language: &Language, faulty: &Faulty, garble: bool) -> Choice {
        let sampling = &self.given.sampling;
        let planned = self.planned();
        let early = self.generated() < sampling.min_tokens;
        let simple = sampling.sampler.is_none() && sampling.logprobs.is_none() && faulty.noise.is_none();
        if simple && !early && !garble {
            return Choice {
                token: language.greedy(&self.context, planned),
                figures: None,
            };
        }
        let distribution = language.distribution(&self.context, planned, faulty.noise);
        let mut forbidden = Vec::new();
        if early {
            forbidden.push(EOS);
            forbidden.extend_from_slice(&sampling.stop_token_ids);
        }
        let position = (self.given.index as u64) << 32 | self.generated() as u64;
        let chosen = match &sampling.sampler {
            None => distribution.best(&forbidden),
            Some(sampler) => distribution.sample(sampler, &forbidden, language.draw(sampling.seed, position)),
        };
        let mut token = chosen.unwrap_or(EOS);
        if garble {
            token = language.garbled(&self.context, token);
        }
        let figures = sampling.logprobs.map(|count| {
            Box::new(Position {
                chosen: distribution.score(token),
                top: distribution.top(count),
            })
        });
        Choice { token, figures }
    }

    /// Appends a token; says what text is certain, and whether the sequence is over.
    pub fn push(
        &mut self,
        language: &Language,
        token: Token,
        max_model_len: u64,
    ) -> (String, Option<Finish>) {
        self.plan_at = self
            .plan_at
            .filter(|_| self.planned() == Some(token))
            .map(|at| at + 1);
        self.tokens.push(token);
        language.push(&mut self.context, token);
        let sampling = Arc::clone(&self.given.sampling);
        let stops_by_token = sampling.stop_token_ids.contains(&token);
        if !stops_by_token || sampling.include_stop {
            self.detokenizer
                .push(language.tokenizer(), token, sampling.skip_special);
        }
        let late = self.generated() >= sampling.min_tokens;
        let finish = if late && stops_by_token {
            Some(Finish::StopToken(token))
        } else if late && token == EOS && !sampling.ignore_eos {
            Some(Finish::End)
        } else if self.generated() >= sampling.max_tokens || self.tokens.len() as u64 >= max_model_len {
            Some(Finish::Length)
        } else {
            None
        };
        let stops: &[String] = if late { &sampling.stop } else { &[] };
        let added = self
            .detokenizer
            .take(stops, sampling.include_stop, finish.is_some());
        (added.text, added.stop.map(Finish::StopText).or(finish))
    }

    /// Figures of the prompt's own tokens.
    pub fn prompt_figures(&self, language: &Language, faulty: &Faulty) -> Option<Vec<Option<Position>>> {
        let count = self.given.sampling.prompt_logprobs?;
        let prompt = &self.given.prompt;
        let mut context = language.start();
        let mut figures = Vec::with_capacity(prompt.len());
        for (at, token) in prompt.iter().enumerate() {
            figures.push((at > 0).then(|| {
                let planned = self.given.plan.as_ref().and_then(|plan| plan.next(&prompt[..at]));
                let distribution = language.distribution(&context, planned, faulty.noise);
                Position {
                    chosen: distribution.score(*token),
                    top: distribution.top(count),
                }
            }));
            language.push(&mut context, *token);
        }
        Some(figures)
    }
}
