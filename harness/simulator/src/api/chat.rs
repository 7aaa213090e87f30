//! `POST /v1/chat/completions`: templates, images, tools, thinking, logprobs, streams.

use std::sync::Arc;

use axum::response::Response;
use serde_json::Value;

use super::errors::ApiError;
use super::job::{Job, Output, Usage, collect, finish_reason, stop_reason};
use super::logprobs::{self, Style};
use super::parsing::{Answer, ToolCall, answer_of};
use super::request::{Body, LogprobLimits, StreamOptions, sampling, stream_options};
use super::stream;
use super::{App, chat_stream, constraint, json_response, template};
use crate::json::{Object, list};
use crate::tokenizer::Token;

const HANDLER: &str = "create_chat_completion";
const OWN_FIELDS: &[&str] = &[
    "messages",
    "max_completion_tokens",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "documents",
    "mm_processor_kwargs",
    "request_id",
];
const LATER_FIELDS: &[&str] = &[
    "return_token_ids",
    "cache_salt",
    "kv_transfer_params",
    "vllm_xargs",
    "structured_outputs",
    "reasoning_effort",
    "include_reasoning",
    "bad_words",
];

/// What an answer is made from besides outputs.
pub struct Form {
    /// Server.
    pub app: Arc<App>,
    /// Id of the answer.
    pub id: Arc<str>,
    /// Seconds since 1970.
    pub created: u64,
    /// The prompt's tokens.
    pub prompt: Arc<[Token]>,
    /// Alternatives of each token, if logprobs were asked for.
    pub logprobs: Option<usize>,
    /// Tokens are written `token_id:…`.
    pub as_ids: bool,
    /// Token ids are in the answer.
    pub token_ids: bool,
    /// Tool calls are taken out of the text.
    pub tools: bool,
}

/// Handles a request.
pub async fn handle(app: Arc<App>, bytes: &[u8]) -> Result<Response, ApiError> {
    let body = Body::parse(bytes, HANDLER)?;
    let (form, job, options) = read(&app, &body)?;
    if let Some(options) = options {
        let chunks = chat_stream::ChatChunks::new(form, &job, options);
        return Ok(stream::respond(app, &job, chunks));
    }
    let outputs = collect(&job, &app).await?;
    Ok(json_response(&app, form.answer(&outputs)))
}

fn read(app: &Arc<App>, body: &Body) -> Result<(Form, Job, Option<StreamOptions>), ApiError> {
    let settings = &app.settings;
    if body.get("messages").is_none() {
        return Err(body.missing("messages"));
    }
    let options = stream_options(body, settings)?;
    let limits = limits(body, options)?;
    app.check_model(body)?;
    app.note_ignored(body, OWN_FIELDS, LATER_FIELDS);
    let tools = uses_tools(app, body)?;
    let text = template::render(body, settings)?;
    let tokens = app.encode(&text, body.flag("add_special_tokens", false)?);
    let prompt: Arc<[Token]> = tokens.into();
    let max_tokens = max_tokens(app, body, prompt.len())?;
    let sampling = sampling(body, settings, max_tokens, &limits, app.next_seed())?;
    let id: Arc<str> = match body.text("request_id")? {
        Some(given) => format!("chatcmpl-{given}").into(),
        None => app.new_id("chatcmpl-").into(),
    };
    let job = Job {
        id: Arc::clone(&id),
        prompts: vec![Arc::clone(&prompt)],
        n: App::read_n(body)?,
        sampling: Arc::new(sampling),
        forced: constraint::forced(body, settings)?,
    };
    app.log_request(&job, &text);
    let form = Form {
        app: Arc::clone(app),
        id,
        created: super::unix_seconds(),
        prompt,
        logprobs: job.sampling.logprobs,
        as_ids: body.flag("return_tokens_as_token_ids", false)?,
        token_ids: settings.version.returns_token_ids() && body.flag("return_token_ids", false)?,
        tools,
    };
    Ok((form, job, options))
}

fn limits(body: &Body, options: Option<StreamOptions>) -> Result<LogprobLimits, ApiError> {
    let prompt_logprobs = body.int("prompt_logprobs")?;
    if options.is_some() && prompt_logprobs.is_some_and(|count| count != 0) {
        return Err(body.broken("`prompt_logprobs` are not available when `stream=True`."));
    }
    let wants = body.flag("logprobs", false)?;
    let top = body.int("top_logprobs")?;
    if top.is_some_and(|count| count < 0) {
        return Err(body.broken("`top_logprobs` must be a positive value."));
    }
    if top.is_some_and(|count| count > 0) && !wants {
        return Err(body.broken("when using `top_logprobs`, `logprobs` must be set to true."));
    }
    let top = top.unwrap_or(0);
    let echo = body.flag("echo", false)?;
    Ok(LogprobLimits {
        logprobs: wants.then_some(top),
        prompt_logprobs: prompt_logprobs.or(echo.then_some(top)),
    })
}

/// True when tool calls are to be taken out of the text.
fn uses_tools(app: &App, body: &Body) -> Result<bool, ApiError> {
    let offered = body
        .get("tools")
        .and_then(Value::as_array)
        .is_some_and(|tools| !tools.is_empty());
    let choice = body.get("tool_choice").and_then(Value::as_str).unwrap_or("auto");
    if !offered || choice == "none" {
        return Ok(false);
    }
    if choice == "auto" && !app.settings.parses_tools {
        let text = "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set";
        return Err(ApiError::Bad(text.to_owned()));
    }
    Ok(true)
}

/// Tokens to generate: what was asked for, or all that the context leaves.
fn max_tokens(app: &App, body: &Body, prompt: usize) -> Result<usize, ApiError> {
    let asked = match body.int("max_completion_tokens")? {
        Some(count) => Some(count),
        None => body.int("max_tokens")?,
    };
    let version = &app.settings.version;
    let longest = usize::try_from(app.settings.placement.max_model_len).unwrap_or(usize::MAX);
    if let Some(count) = asked.filter(|count| *count < 1) {
        return Err(ApiError::Bad(format!(
            "max_tokens must be at least 1, got {count}."
        )));
    }
    let asked = asked.and_then(|count| usize::try_from(count).ok());
    let flat = version.flat_errors();
    if prompt >= longest || (flat && asked.is_some_and(|count| prompt + count > longest)) {
        return Err(ApiError::Bad(if !flat {
            let tail = if version.at_least(18, 0) { "" } else { " None" };
            format!(
                "This model's maximum context length is {longest} tokens. However, your request has {prompt} input \
                 tokens. Please reduce the length of the input messages.{tail}"
            )
        } else if let Some(count) = asked {
            format!(
                "This model's maximum context length is {longest} tokens. However, you requested {} tokens ({prompt} \
                 in the messages, {count} in the completion). Please reduce the length of the messages or completion.",
                prompt + count
            )
        } else {
            format!(
                "This model's maximum context length is {longest} tokens. However, you requested {prompt} tokens in \
                 the messages, Please reduce the length of the messages."
            )
        }));
    }
    match asked {
        Some(count) if prompt + count > longest => Err(ApiError::Bad(format!(
            "'max_tokens' or 'max_completion_tokens' is too large: {count}. This model's maximum context length is \
             {longest} tokens and your request has {prompt} input tokens ({count} > {longest} - {prompt})."
        ))),
        Some(count) => Ok(count),
        None => Ok(longest - prompt),
    }
}

impl Form {
    /// How tokens are written.
    pub fn style(&self) -> Style<'_> {
        Style {
            tokenizer: self.app.language.tokenizer(),
            as_ids: self.as_ids,
        }
    }

    fn answer(&self, outputs: &[Output]) -> String {
        let version = &self.app.settings.version;
        let completion = outputs.iter().map(|output| output.tokens.len()).sum();
        let usage = Usage {
            prompt: self.prompt.len(),
            completion,
        };
        let cached = outputs.first().map(|output| output.cached_tokens);
        let figures = outputs
            .first()
            .and_then(|output| output.prompt_figures.as_deref());
        let prompt_logprobs = figures.map(|figures| logprobs::prompt(self.style().tokenizer, figures));
        Object::new()
            .field("id", &*self.id)
            .field("object", "chat.completion")
            .field("created", self.created)
            .field("model", self.app.settings.served_name())
            .raw(
                "choices",
                &list(
                    outputs
                        .iter()
                        .enumerate()
                        .map(|(at, output)| self.choice(at, output)),
                ),
            )
            .when(version.service_tier(), |object| {
                object.null("service_tier").null("system_fingerprint")
            })
            .raw("usage", &self.app.usage(usage, cached))
            .raw("prompt_logprobs", prompt_logprobs.as_deref().unwrap_or("null"))
            .when(version.returns_token_ids(), |object| {
                object.field("prompt_token_ids", self.token_ids.then_some(&self.prompt[..]))
            })
            .when(version.kv_transfer_params(), |object| {
                object.null("kv_transfer_params")
            })
            .end()
    }

    fn choice(&self, at: usize, output: &Output) -> String {
        let version = &self.app.settings.version;
        let answer = answer_of(&output.text, self.app.settings.splits_reasoning, self.tools);
        let finish = output.finish.as_ref();
        let reason = if answer.calls.is_empty() {
            finish.map(finish_reason)
        } else {
            Some("tool_calls")
        };
        let logprobs = self.logprobs.map(|count| {
            let entries = output
                .figures
                .iter()
                .map(|position| logprobs::chat_entry(self.style(), position, count));
            Object::new().raw("content", &list(entries)).end()
        });
        Object::new()
            .field("index", at)
            .raw("message", &self.message(&answer))
            .raw("logprobs", logprobs.as_deref().unwrap_or("null"))
            .field("finish_reason", reason)
            .raw("stop_reason", &stop_reason(finish))
            .when(version.returns_token_ids(), |object| {
                object.field("token_ids", self.token_ids.then_some(&output.tokens))
            })
            .end()
    }

    fn message(&self, answer: &Answer) -> String {
        let version = &self.app.settings.version;
        let calls = list(answer.calls.iter().map(|call| self.call(call)));
        let message = Object::new().field("role", "assistant");
        if !version.openai_message_fields() {
            return message
                .field("reasoning_content", &answer.reasoning)
                .field("content", &answer.content)
                .raw("tool_calls", &calls)
                .end();
        }
        message
            .field("content", &answer.content)
            .null("refusal")
            .null("annotations")
            .null("audio")
            .null("function_call")
            .raw("tool_calls", &calls)
            .when(version.reasoning(), |object| {
                object.field("reasoning", &answer.reasoning)
            })
            .when(version.reasoning_content(), |object| {
                object.field("reasoning_content", &answer.reasoning)
            })
            .end()
    }

    fn call(&self, call: &ToolCall) -> String {
        let function = Object::new()
            .field("name", &call.name)
            .field("arguments", &call.arguments);
        Object::new()
            .field("id", self.app.new_id("chatcmpl-tool-"))
            .field("type", "function")
            .raw("function", &function.end())
            .end()
    }
}
