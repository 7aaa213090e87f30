//! `POST /v1/completions`: texts and token lists, batches, echo, logprobs, streams.

use std::sync::Arc;

use axum::response::Response;
use serde_json::Value;

use super::errors::ApiError;
use super::job::{Job, Output, Usage, collect, finish_reason, stop_reason};
use super::logprobs::{self, Style};
use super::request::{Body, LogprobLimits, StreamOptions, sampling, stream_options};
use super::stream::{self, Chunks, data};
use super::{App, constraint, json_response};
use crate::engine::{Emitted, Event, Position};
use crate::json::{Object, list, quoted};
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
struct Prompt {
    tokens: Arc<[Token]>,
    text: String,
}

/// What of the prompt an answer gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    /// Nothing.
    No,
    /// The prompt, then the output.
    Prompt,
    /// The prompt alone (`max_tokens` 0): one token is computed, and not shown.
    PromptOnly,
}

/// What an answer is made from besides outputs.
struct Form {
    app: Arc<App>,
    id: Arc<str>,
    created: u64,
    prompts: Vec<Prompt>,
    n: usize,
    echo: Echo,
    logprobs: Option<usize>,
    as_ids: bool,
    token_ids: bool,
}

/// Handles a request.
pub async fn handle(app: Arc<App>, bytes: &[u8]) -> Result<Response, ApiError> {
    let body = Body::parse(bytes, HANDLER)?;
    let (form, job, options) = read(&app, &body)?;
    if let Some(options) = options {
        let chunks = CompletionChunks::new(form, &job, options);
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
    if tokens.is_empty() {
        return Err(ApiError::Bad("The decoder prompt cannot be empty".to_owned()));
    }
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
    fn style(&self) -> Style<'_> {
        Style {
            tokenizer: self.app.language.tokenizer(),
            as_ids: self.as_ids,
        }
    }

    fn head(&self) -> Object {
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

/// State of one streamed choice.
#[derive(Default)]
struct Choice {
    tokens: usize,
    offset: usize,
    prompt_figures: Option<Vec<Option<Position>>>,
    cached_tokens: usize,
}

/// Chunks of a streamed completion.
struct CompletionChunks {
    form: Form,
    options: StreamOptions,
    head: String,
    choices: Vec<Choice>,
    open: usize,
}

impl CompletionChunks {
    fn new(form: Form, job: &Job, options: StreamOptions) -> Self {
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
