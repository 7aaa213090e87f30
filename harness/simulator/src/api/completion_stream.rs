//! Chunks of a streamed completion: one for each token, the prompt in front of the first where it is echoed.

use std::sync::Arc;

use super::completions::{Echo, Form};
use super::job::{Job, Usage, finish_reason, stop_reason};
use super::logprobs;
use super::request::StreamOptions;
use super::stream::{Chunks, data};
use crate::engine::{Emitted, Event, Position};
use crate::json::{Object, quoted};
use crate::tokenizer::Token;

/// State of one streamed choice.
#[derive(Default)]
struct Choice {
    tokens: usize,
    offset: usize,
    prompt_figures: Option<Vec<Option<Position>>>,
    cached_tokens: usize,
}

/// Chunks of a streamed completion.
pub struct CompletionChunks {
    form: Form,
    options: StreamOptions,
    head: String,
    choices: Vec<Choice>,
    open: usize,
}

impl CompletionChunks {
    /// Chunks for a job.
    pub fn new(form: Form, job: &Job, options: StreamOptions) -> Self {
        let mut head = form.head().end();
        head.pop();
        let choices = (0..job.sequences()).map(|_| Choice::default()).collect();
        Self {
            form,
            options,
            head,
            choices,
            open: job.sequences(),
        }
    }

    fn logprobs(&mut self, index: usize, tokens: &[(Token, Option<&Position>)]) -> String {
        let Some(count) = self.form.logprobs else {
            return "null".to_owned();
        };
        let offset = self.choices.get(index).map_or(0, |choice| choice.offset);
        let (json, offset) = logprobs::completion(self.form.style(), tokens, count, offset);
        if let Some(choice) = self.choices.get_mut(index) {
            choice.offset = offset;
        }
        json
    }

    /// The chunk of a token.
    fn token(&mut self, emitted: &Emitted, out: &mut Vec<u8>) {
        let Emitted {
            index, token, finish, ..
        } = emitted;
        let Some(choice) = self.choices.get_mut(*index) else {
            return;
        };
        choice.tokens += 1;
        let generated = choice.tokens;
        let prompt_figures = choice.prompt_figures.take().unwrap_or_default();
        let Some(prompt) = self.form.prompts.get(index / self.form.n) else {
            return;
        };
        let prompt_tokens = Arc::clone(&prompt.tokens);
        let (mut shown, mut tokens) = (String::new(), Vec::new());
        if self.form.echo != Echo::No && generated == 1 {
            shown.push_str(&prompt.text);
            tokens.extend(
                prompt_tokens
                    .iter()
                    .copied()
                    .zip(prompt_figures.iter().map(Option::as_ref)),
            );
        }
        if self.form.echo != Echo::PromptOnly {
            shown.push_str(&emitted.text);
            tokens.push((*token, emitted.figures.as_deref()));
        }
        let logprobs = self.logprobs(*index, &tokens);
        let token_ids = self.form.token_ids;
        let choice = Object::new()
            .field("index", index)
            .raw("text", &quoted(&shown))
            .raw("logprobs", &logprobs)
            .field("finish_reason", finish.as_ref().map(finish_reason))
            .raw("stop_reason", &stop_reason(finish.as_ref()))
            .when(self.form.app.settings.version.returns_token_ids(), |object| {
                object
                    .field(
                        "prompt_token_ids",
                        (token_ids && generated == 1).then_some(&prompt_tokens[..]),
                    )
                    .field("token_ids", token_ids.then_some([token]))
            })
            .end();
        let usage = self.usage(prompt_tokens.len(), generated);
        data(out, &format!("{},\"choices\":[{choice}]{usage}}}", self.head));
        if finish.is_some() {
            self.open -= 1;
        }
    }

    /// The usage of a chunk, with its comma.
    fn usage(&self, prompt: usize, completion: usize) -> String {
        if self.options.continuous {
            format!(",\"usage\":{}", Usage { prompt, completion }.detailed(None))
        } else if self.form.app.settings.version.null_usage_in_chunks() {
            ",\"usage\":null".to_owned()
        } else {
            String::new()
        }
    }
}

impl Chunks for CompletionChunks {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Prompt {
                index,
                cached_tokens,
                figures,
            } => {
                if let Some(choice) = self.choices.get_mut(index) {
                    choice.prompt_figures = figures;
                    choice.cached_tokens = cached_tokens;
                }
            }
            Event::Token(emitted) => self.token(&emitted, out),
            Event::Dead => {}
        }
    }

    fn is_over(&self) -> bool {
        self.open == 0
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.options.include_usage {
            return;
        }
        let usage = Usage {
            prompt: self.form.prompts.iter().map(|prompt| prompt.tokens.len()).sum(),
            completion: self.choices.iter().map(|choice| choice.tokens).sum(),
        };
        let usage = self.form.app.wrong_usage(usage).plain();
        data(out, &format!("{},\"choices\":[],\"usage\":{usage}}}", self.head));
    }
}
