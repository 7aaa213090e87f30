//! `POST /v1/completions`: texts and token lists, batches, echo, logprobs, streams.

use std::sync::Arc;

use axum::response::Response;
use serde_json::Value;

use super::errors::ApiError;
use super::job::{Job, Output, Usage, collect, finish_reason, stop_reason};
use super::logprobs::{self, Style};
use super::request::{Body, LogprobLimits, StreamOptions, sampling, stream_options};
use super::stream;
use super::{App, completion_stream, constraint, json_response};
use crate::engine::Position;
use crate::json::{Object, list};
use crate::tokenizer::{BOS, Token};

const HANDLER: &str = "create_completion";
const OWN_FIELDS: &[&str] = &["prompt", "suffix", "prompt_embeds"];
const LATER_FIELDS: &[&str] = &[
    "return_token_ids",
    "cache_salt",
    "kv_transfer_params",
    "vllm_xargs",
    "request_id",
    "structured_outputs",
];
const DEFAULT_MAX_TOKENS: i64 = 16;

/// A prompt: its tokens, and the text that `echo` gives back.
pub struct Prompt {
    /// Tokens.
    pub tokens: Arc<[Token]>,
    /// Text.
    pub text: String,
}

/// What of the prompt an answer gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// Nothing.
    No,
    /// The prompt, then the output.
    Prompt,
    /// The prompt alone (`max_tokens` 0): one token is computed, and not shown.
    PromptOnly,
}

/// What an answer is made from besides outputs.
pub struct Form {
    /// Server.
    pub app: Arc<App>,
    /// Id of the answer.
    pub id: Arc<str>,
    /// Seconds since 1970.
    pub created: u64,
    /// Prompts.
    pub prompts: Vec<Prompt>,
    /// Outputs of each prompt.
    pub n: usize,
    /// What is given back of them.
    pub echo: Echo,
    /// Alternatives of each token, if logprobs were asked for.
    pub logprobs: Option<usize>,
    /// Tokens are written `token_id:…`.
    pub as_ids: bool,
    /// Token ids are in the answer.
    pub token_ids: bool,
}

/// Handles a request.
pub async fn handle(app: Arc<App>, bytes: &[u8]) -> Result<Response, ApiError> {
    let body = Body::parse(bytes, HANDLER)?;
    let (form, job, options) = read(&app, &body)?;
    if let Some(options) = options {
        let chunks = completion_stream::CompletionChunks::new(form, &job, options);
        return Ok(stream::respond(app, &job, chunks));
    }
    let outputs = collect(&job, &app).await?;
    Ok(json_response(&app, form.answer(&outputs)))
}

fn read(app: &Arc<App>, body: &Body) -> Result<(Form, Job, Option<StreamOptions>), ApiError> {
    let settings = &app.settings;
    let options = stream_options(body, settings)?;
    let mut limits = limits(body, options)?;
    let given = match body.get("prompt") {
        Some(prompt) => prompt,
        None if settings.version.at_least(10, 2) => {
            return Err(body.broken("Either prompt or prompt_embeds must be provided and non-empty."));
        }
        None => return Err(body.missing("prompt")),
    };
    app.check_model(body)?;
    app.note_ignored(body, OWN_FIELDS, LATER_FIELDS);
    let (echo, max_tokens) = length(body)?;
    if echo != Echo::No {
        limits.prompt_logprobs = limits.prompt_logprobs.or(limits.logprobs);
    }
    let prompts = prompts(app, body, given, body.flag("add_special_tokens", true)?)?;
    for prompt in &prompts {
        check_length(app, prompt.tokens.len(), max_tokens)?;
    }
    let sampling = sampling(body, settings, max_tokens, &limits, app.next_seed())?;
    let job = Job {
        id: app.new_id("cmpl-").into(),
        prompts: prompts.iter().map(|prompt| Arc::clone(&prompt.tokens)).collect(),
        n: App::read_n(body)?,
        sampling: Arc::new(sampling),
        forced: constraint::forced(body, settings)?,
    };
    app.log_request(&job, prompts.first().map_or("", |prompt| &prompt.text));
    let form = Form {
        app: Arc::clone(app),
        id: Arc::clone(&job.id),
        created: super::unix_seconds(),
        prompts,
        n: job.n,
        echo,
        logprobs: job.sampling.logprobs,
        as_ids: body.flag("return_tokens_as_token_ids", false)?,
        token_ids: settings.version.returns_token_ids() && body.flag("return_token_ids", false)?,
    };
    Ok((form, job, options))
}

fn limits(body: &Body, options: Option<StreamOptions>) -> Result<LogprobLimits, ApiError> {
    let prompt_logprobs = body.int("prompt_logprobs")?;
    if options.is_some() && prompt_logprobs.is_some_and(|count| count != 0) {
        return Err(body.broken("`prompt_logprobs` are not available when `stream=True`."));
    }
    let logprobs = body.int("logprobs")?;
    if logprobs.is_some_and(|count| count < 0) {
        return Err(body.broken("`logprobs` must be a positive value."));
    }
    Ok(LogprobLimits {
        logprobs,
        prompt_logprobs,
    })
}

/// What is echoed, and how many tokens are generated.
fn length(body: &Body) -> Result<(Echo, usize), ApiError> {
    let asked = body.int("max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS);
    let echo = match (body.flag("echo", false)?, asked) {
        (false, _) => Echo::No,
        (true, 0) => return Ok((Echo::PromptOnly, 1)),
        (true, _) => Echo::Prompt,
    };
    let max_tokens = usize::try_from(asked);
    let too_few = || ApiError::Bad(format!("max_tokens must be at least 1, got {asked}."));
    Ok((echo, max_tokens.map_err(|_| too_few())?))
}

fn prompts(app: &App, body: &Body, given: &Value, specials: bool) -> Result<Vec<Prompt>, ApiError> {
    let from_text = |text: &str| Prompt {
        tokens: app.encode(text, specials).into(),
        text: text.to_owned(),
    };
    let wrong =
        || body.broken("prompt must be a string, a list of strings, token ids, or a list of token ids");
    let list = match given {
        Value::String(text) => return Ok(vec![from_text(text)]),
        Value::Array(list) if !list.is_empty() => list,
        _ => return Err(wrong()),
    };
    if list.iter().all(Value::is_number) {
        return Ok(vec![from_tokens(app, given, body)?]);
    }
    list.iter()
        .map(|item| match item {
            Value::String(text) => Ok(from_text(text)),
            Value::Array(_) => from_tokens(app, item, body),
            _ => Err(wrong()),
        })
        .collect()
}

fn from_tokens(app: &App, ids: &Value, body: &Body) -> Result<Prompt, ApiError> {
    let ids = ids.as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Option<Vec<u64>> = ids.iter().map(Value::as_u64).collect();
    let ids = ids.ok_or_else(|| body.broken("token ids must be non-negative integers"))?;
    let tokens = ids.into_iter().map(|id| {
        let token = u32::try_from(id)
            .ok()
            .filter(|token| *token < app.settings.model.vocab_size);
        token.ok_or_else(|| ApiError::Bad(format!("Token id {id} is out of vocabulary")))
    });
    let tokens: Vec<Token> = tokens.collect::<Result<_, _>>()?;
    let text = app.language.tokenizer().decode(&tokens, false);
    Ok(Prompt {
        tokens: tokens.into(),
        text,
    })
}

/// Refuses a prompt that does not fit, in the words of the release. 0.10.2 to 0.17 took the output off the
/// limit that they name.
fn check_length(app: &App, prompt: usize, max_tokens: usize) -> Result<(), ApiError> {
    let longest = i64::try_from(app.settings.placement.max_model_len).unwrap_or(i64::MAX);
    let (prompt, output) = (
        i64::try_from(prompt).unwrap_or(i64::MAX),
        i64::try_from(max_tokens).unwrap_or(i64::MAX),
    );
    if prompt == 0 {
        return Err(ApiError::Bad("The decoder prompt cannot be empty".to_owned()));
    }
    if prompt.saturating_add(output) <= longest {
        return Ok(());
    }
    let version = &app.settings.version;
    Err(ApiError::Bad(if version.flat_errors() {
        format!(
            "This model's maximum context length is {longest} tokens. However, you requested {} tokens ({prompt} in \
             the messages, {output} in the completion). Please reduce the length of the messages or completion.",
            prompt.saturating_add(output)
        )
    } else {
        let named = if version.at_least(18, 0) {
            longest
        } else {
            longest.saturating_sub(output)
        };
        format!(
            "This model's maximum context length is {named} tokens. However, your request has {prompt} input tokens. \
             Please reduce the length of the input messages."
        )
    }))
}

impl Form {
    /// How tokens are written.
    pub fn style(&self) -> Style<'_> {
        Style {
            tokenizer: self.app.language.tokenizer(),
            as_ids: self.as_ids,
        }
    }

    /// The fields that answers and chunks begin with.
    pub fn head(&self) -> Object {
        Object::new()
            .field("id", &*self.id)
            .field("object", "text_completion")
            .field("created", self.created)
            .field("model", self.app.settings.served_name())
    }

    fn answer(&self, outputs: &[Output]) -> String {
        let version = &self.app.settings.version;
        let choices = list(
            outputs
                .iter()
                .enumerate()
                .map(|(at, output)| self.choice(at, output)),
        );
        let completion = outputs.iter().map(|output| output.tokens.len()).sum();
        let usage = Usage {
            prompt: self.prompts.iter().map(|prompt| prompt.tokens.len()).sum(),
            completion,
        };
        let cached = outputs.iter().map(|output| output.cached_tokens).sum();
        self.head()
            .raw("choices", &choices)
            .when(version.service_tier(), |object| {
                object.null("service_tier").null("system_fingerprint")
            })
            .raw("usage", &self.app.usage(usage, Some(cached)))
            .when(version.kv_transfer_params(), |object| {
                object.null("kv_transfer_params")
            })
            .end()
    }

    fn choice(&self, at: usize, output: &Output) -> String {
        let Some(prompt) = self.prompts.get(at / self.n) else {
            return "null".to_owned();
        };
        let version = &self.app.settings.version;
        let shown = if self.echo == Echo::PromptOnly {
            ""
        } else {
            &output.text
        };
        let given = if self.echo == Echo::No { "" } else { &prompt.text };
        let text = format!("{given}{shown}");
        let figures = output.prompt_figures.as_deref();
        let prompt_logprobs = figures.map(|figures| logprobs::prompt(self.app.language.tokenizer(), figures));
        let finish = output.finish.as_ref();
        Object::new()
            .field("index", at)
            .field("text", text)
            .raw("logprobs", &self.logprobs(prompt, output))
            .field("finish_reason", finish.map(finish_reason))
            .raw("stop_reason", &stop_reason(finish))
            .when(version.returns_token_ids(), |object| {
                object.field("token_ids", self.token_ids.then_some(&output.tokens))
            })
            .raw("prompt_logprobs", prompt_logprobs.as_deref().unwrap_or("null"))
            .when(version.returns_token_ids(), |object| {
                object.field("prompt_token_ids", self.token_ids.then_some(&prompt.tokens[..]))
            })
            .end()
    }

    fn logprobs(&self, prompt: &Prompt, output: &Output) -> String {
        let Some(count) = self.logprobs else {
            return "null".to_owned();
        };
        let mut tokens: Vec<(Token, Option<&Position>)> = Vec::new();
        if self.echo != Echo::No {
            let figures = output.prompt_figures.as_deref().unwrap_or_default();
            tokens.extend(
                prompt
                    .tokens
                    .iter()
                    .copied()
                    .zip(figures.iter().map(Option::as_ref)),
            );
        }
        if self.echo != Echo::PromptOnly {
            let figures = output.figures.iter().map(Some);
            tokens.extend(output.tokens.iter().copied().zip(figures));
        }
        logprobs::completion(self.style(), &tokens, count, 0).0
    }
}

/// True for models whose tokenizer puts a beginning token before a text.
pub fn adds_bos(architecture: &str) -> bool {
    ["Mistral", "Llama", "Deepseek", "Mixtral"]
        .iter()
        .any(|family| architecture.starts_with(family))
}

/// The beginning token, where the tokenizer adds one.
pub fn beginning(architecture: &str, specials: bool) -> Vec<Token> {
    if specials && adds_bos(architecture) {
        vec![BOS]
    } else {
        Vec::new()
    }
}
