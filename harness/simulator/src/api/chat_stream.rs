//! Chunks of a streamed chat: the role first, then a chunk for each token, tool calls at the end.

use super::chat::Form;
use super::job::{Job, Usage, finish_reason, stop_reason};
use super::logprobs;
use super::parsing::{Part, Splitter};
use super::request::StreamOptions;
use super::stream::{Chunks, data};
use crate::engine::{Event, Finish, Position};
use crate::json::{Object, quoted};
use crate::tokenizer::Token;

/// State of one choice.
#[derive(Default)]
struct Choice {
    tokens: usize,
    splitter: Splitter,
}

/// Chunks of a streamed chat.
pub struct ChatChunks {
    form: Form,
    options: StreamOptions,
    /// Everything before `choices`.
    head: String,
    choices: Vec<Choice>,
    open: usize,
    role_sent: bool,
}

impl ChatChunks {
    /// Chunks for a job.
    pub fn new(form: Form, job: &Job, options: StreamOptions) -> Self {
        let mut head = Object::new()
            .field("id", &*form.id)
            .field("object", "chat.completion.chunk")
            .field("created", form.created)
            .field("model", form.app.settings.served_name())
            .end();
        head.pop();
        let choices = (0..job.sequences()).map(|_| Choice::default()).collect();
        Self {
            form,
            options,
            head,
            choices,
            open: job.sequences(),
            role_sent: false,
        }
    }

    fn usage(&self, completion: usize) -> String {
        if !self.options.continuous {
            return String::new();
        }
        format!(
            ",\"usage\":{}",
            Usage {
                prompt: self.form.prompt.len(),
                completion
            }
            .plain()
        )
    }

    /// The chunks that say who speaks, one a choice, before any token.
    fn roles(&mut self, out: &mut Vec<u8>) {
        self.role_sent = true;
        let version = &self.form.app.settings.version;
        let usage = self.usage(0);
        let ids = if version.returns_token_ids() {
            let ids = self.form.token_ids.then_some(&self.form.prompt[..]);
            format!(
                ",\"prompt_token_ids\":{}",
                serde_json::to_string(&ids).unwrap_or_default()
            )
        } else {
            String::new()
        };
        for index in 0..self.choices.len() {
            let delta = Object::new()
                .field("role", "assistant")
                .field("content", "")
                .when(doubled_reasoning(version), |object| {
                    object.null("reasoning_content")
                });
            let choice = Object::new()
                .field("index", index)
                .raw("delta", &delta.end())
                .null("logprobs")
                .null("finish_reason");
            data(
                out,
                &format!("{},\"choices\":[{}]{usage}{ids}}}", self.head, choice.end()),
            );
        }
    }

    fn delta(&self, part: Part) -> String {
        let version = &self.form.app.settings.version;
        match part {
            Part::Content(text) => Object::new()
                .raw("content", &quoted(&text))
                .when(doubled_reasoning(version), |object| {
                    object.null("reasoning_content")
                })
                .end(),
            Part::Reasoning(text) => Object::new()
                .when(version.reasoning(), |object| object.field("reasoning", &text))
                .when(version.reasoning_content(), |object| {
                    object.field("reasoning_content", &text)
                })
                .end(),
        }
    }

    fn chunk(&mut self, event: Event, out: &mut Vec<u8>) {
        let Event::Token {
            index,
            token,
            text,
            figures,
            finish,
        } = event
        else {
            return;
        };
        let (splits, tools) = (self.form.app.settings.splits_reasoning, self.form.tools);
        let Some(choice) = self.choices.get_mut(index) else {
            return;
        };
        choice.tokens += 1;
        let generated = choice.tokens;
        let mut parts = choice.splitter.push(text, splits, tools);
        let calls = if finish.is_some() {
            choice.splitter.calls()
        } else {
            Vec::new()
        };
        if finish.is_some() && parts.is_empty() && calls.is_empty() {
            parts.push(Part::Content(String::new()));
        }
        let last = parts.len();
        for (at, part) in parts.into_iter().enumerate() {
            let delta = self.delta(part);
            let finish = finish.as_ref().filter(|_| at + 1 == last && calls.is_empty());
            let reason = finish.map(finish_reason);
            self.write(
                out,
                index,
                generated,
                &delta,
                (token, figures.as_deref()),
                finish,
                reason,
            );
        }
        let last = calls.len();
        for (at, call) in calls.iter().enumerate() {
            let function = Object::new()
                .field("name", &call.name)
                .field("arguments", &call.arguments)
                .end();
            let call = Object::new()
                .field("id", self.form.app.new_id("chatcmpl-tool-"))
                .field("type", "function")
                .field("index", at)
                .raw("function", &function)
                .end();
            let delta = Object::new().raw("tool_calls", &format!("[{call}]")).end();
            let finish = finish.as_ref().filter(|_| at + 1 == last);
            self.write(
                out,
                index,
                generated,
                &delta,
                (token, None),
                finish,
                finish.map(|_| "tool_calls"),
            );
        }
        if finish.is_some() {
            self.open -= 1;
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one chunk has these parts; a struct would only rename them"
    )]
    fn write(
        &self,
        out: &mut Vec<u8>,
        index: usize,
        generated: usize,
        delta: &str,
        (token, figures): (Token, Option<&Position>),
        finish: Option<&Finish>,
        reason: Option<&str>,
    ) {
        let logprobs = self.form.logprobs.zip(figures).map(|(count, position)| {
            let entry = logprobs::chat_entry(self.form.style(), position, count);
            format!("{{\"content\":[{entry}]}}")
        });
        let choice = Object::new()
            .field("index", index)
            .raw("delta", delta)
            .raw("logprobs", logprobs.as_deref().unwrap_or("null"))
            .field("finish_reason", reason)
            .when(finish.is_some(), |object| {
                object.raw("stop_reason", &stop_reason(finish))
            })
            .when(self.form.app.settings.version.returns_token_ids(), |object| {
                object.field("token_ids", self.form.token_ids.then_some([token]))
            })
            .end();
        data(
            out,
            &format!("{},\"choices\":[{choice}]{}}}", self.head, self.usage(generated)),
        );
    }
}

/// 0.11.2 to 0.15 put `reasoning_content` into every delta, null or not.
fn doubled_reasoning(version: &crate::version::Version) -> bool {
    version.reasoning() && version.reasoning_content()
}

impl Chunks for ChatChunks {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if !self.role_sent {
            self.roles(out);
        }
        self.chunk(event, out);
    }

    fn is_over(&self) -> bool {
        self.open == 0
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.options.include_usage {
            return;
        }
        let completion = self.choices.iter().map(|choice| choice.tokens).sum();
        let usage = Usage {
            prompt: self.form.prompt.len(),
            completion,
        };
        let usage = self.form.app.wrong_usage(usage).plain();
        data(out, &format!("{},\"choices\":[],\"usage\":{usage}}}", self.head));
    }
}
