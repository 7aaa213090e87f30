//! Chunks of a streamed chat: the role first, then a chunk for each token, tool calls at the end.

use super::chat::Form;
use super::job::{Job, Usage, finish_reason, stop_reason};
use super::logprobs;
use super::parsing::{Part, Splitter, ToolCall};
use super::request::StreamOptions;
use super::stream::{Chunks, data};
use crate::engine::{Emitted, Event};
use crate::json::{Object, quoted};

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

    /// The chunks of a token: what it adds, and at the end the calls that were held back.
    fn token(&mut self, mut emitted: Emitted, out: &mut Vec<u8>) {
        let (splits, tools) = (self.form.app.settings.splits_reasoning, self.form.tools);
        let Some(choice) = self.choices.get_mut(emitted.index) else {
            return;
        };
        choice.tokens += 1;
        let is_last = emitted.finish.is_some();
        let mut parts = choice
            .splitter
            .push(std::mem::take(&mut emitted.text), splits, tools);
        let calls = if is_last {
            choice.splitter.calls()
        } else {
            Vec::new()
        };
        if is_last && parts.is_empty() && calls.is_empty() {
            parts.push(Part::Content(String::new()));
        }
        let mut deltas: Vec<String> = parts.into_iter().map(|part| self.delta(part)).collect();
        deltas.extend(calls.iter().enumerate().map(|(at, call)| self.call(at, call)));
        let reason = match &emitted.finish {
            Some(_) if !calls.is_empty() => Some("tool_calls"),
            finish => finish.as_ref().map(finish_reason),
        };
        let end = deltas.len();
        for (at, delta) in deltas.iter().enumerate() {
            self.write(out, &emitted, delta, reason.filter(|_| at + 1 == end));
            // A token's figures are told once.
            emitted.figures = None;
        }
        if is_last {
            self.open -= 1;
        }
    }

    fn call(&self, at: usize, call: &ToolCall) -> String {
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
        Object::new().raw("tool_calls", &format!("[{call}]")).end()
    }

    /// One chunk; `reason` is set on the last one.
    fn write(&self, out: &mut Vec<u8>, emitted: &Emitted, delta: &str, reason: Option<&str>) {
        let logprobs = self
            .form
            .logprobs
            .zip(emitted.figures.as_deref())
            .map(|(count, position)| {
                let entry = logprobs::chat_entry(self.form.style(), position, count);
                format!("{{\"content\":[{entry}]}}")
            });
        let choice = Object::new()
            .field("index", emitted.index)
            .raw("delta", delta)
            .raw("logprobs", logprobs.as_deref().unwrap_or("null"))
            .field("finish_reason", reason)
            .when(reason.is_some(), |object| {
                object.raw("stop_reason", &stop_reason(emitted.finish.as_ref()))
            })
            .when(self.form.app.settings.version.returns_token_ids(), |object| {
                object.field("token_ids", self.form.token_ids.then_some([emitted.token]))
            })
            .end();
        let usage = self.usage(self.choices.get(emitted.index).map_or(0, |choice| choice.tokens));
        data(out, &format!("{},\"choices\":[{choice}]{usage}}}", self.head));
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
        if let Event::Token(emitted) = event {
            self.token(emitted, out);
        }
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
