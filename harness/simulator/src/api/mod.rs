//! The HTTP side: routes, and what their handlers share.

mod chat;
mod chat_stream;
mod completions;
mod constraint;
mod errors;
mod job;
mod logprobs;
mod metrics;
mod parsing;
mod request;
mod routes;
mod schema;
mod stream;
mod template;
mod tokenize;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub use routes::router;

use self::errors::ApiError;
use self::job::{Job, Usage};
use self::request::{Body, SHARED_FIELDS};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::faults::Fault;
use crate::json::Object;
use crate::language::{Answers, Language};
use crate::logs::{Level, Logger, Process};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::tokenizer::Token;

/// The faults that the HTTP side commits.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpFaults {
    /// Cut streams after so many tokens.
    pub cut_stream: Option<u64>,
    /// Put wrong bytes into texts.
    pub invalid_utf8: bool,
    /// Add to `completion_tokens`.
    pub wrong_usage: i64,
    /// Refuse one generation request in `.1` with status `.0`.
    pub refuse: Option<(u16, u64)>,
}

impl HttpFaults {
    /// The HTTP side's part of these faults.
    pub fn of(faults: &[Fault]) -> Self {
        let mut own = Self::default();
        for fault in faults {
            match *fault {
                Fault::CutStream { after } => own.cut_stream = Some(after),
                Fault::InvalidUtf8 => own.invalid_utf8 = true,
                Fault::WrongUsage { add } => own.wrong_usage = add,
                Fault::Http { status, every } => own.refuse = Some((status, every)),
                _ => {}
            }
        }
        own
    }
}

/// All that handlers share.
#[derive(Debug)]
pub struct App {
    /// Settings of the server.
    pub settings: Arc<Settings>,
    /// The model.
    pub language: Arc<Language>,
    /// Known answers.
    pub answers: Answers,
    /// The engine.
    pub engine: Engine,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Log.
    pub logger: Arc<Logger>,
    /// Time.
    pub clock: Clock,
    /// Seed of the simulator.
    pub seed: u64,
    /// Start of the process.
    pub started_s: f64,
    /// The model is served.
    pub ready: AtomicBool,
    faults: RwLock<(Vec<Fault>, HttpFaults)>,
    ids: AtomicU64,
    requests: AtomicU64,
}

/// What [`App::new`] is made from.
pub struct AppParts {
    /// Settings of the server.
    pub settings: Arc<Settings>,
    /// The model.
    pub language: Arc<Language>,
    /// Known answers.
    pub answers: Answers,
    /// The engine.
    pub engine: Engine,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Log.
    pub logger: Arc<Logger>,
    /// Time.
    pub clock: Clock,
    /// Seed of the simulator.
    pub seed: u64,
    /// Faults from the start.
    pub faults: Vec<Fault>,
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl App {
    /// A server that is not ready yet.
    pub fn new(parts: AppParts) -> Self {
        let own = HttpFaults::of(&parts.faults);
        Self {
            settings: parts.settings,
            language: parts.language,
            answers: parts.answers,
            engine: parts.engine,
            metrics: parts.metrics,
            logger: parts.logger,
            clock: parts.clock,
            seed: parts.seed,
            started_s: unix_seconds() as f64,
            ready: AtomicBool::new(false),
            faults: RwLock::new((parts.faults, own)),
            ids: AtomicU64::new(u64::from(std::process::id()) << 32),
            requests: AtomicU64::new(0),
        }
    }

    /// The HTTP side's faults.
    pub fn faults(&self) -> HttpFaults {
        self.faults.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// All faults, as they are written.
    pub fn fault_texts(&self) -> Vec<String> {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        faults.0.iter().map(ToString::to_string).collect()
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        let own = HttpFaults::of(&faults);
        self.engine.set_faults(faults.clone());
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = (faults, own);
        self.requests.store(0, Ordering::Relaxed);
    }

    /// True while SIGTERM is to be ignored.
    pub fn ignores_stop(&self) -> bool {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        faults.0.contains(&Fault::IgnoreStop)
    }

    /// Refuses a generation request if a fault says so.
    pub fn gate(&self) -> Result<(), ApiError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match self.faults().refuse {
            Some((status, every)) if number.is_multiple_of(every) => Err(ApiError::Refused(status)),
            _ if self.engine.is_dead() => Err(ApiError::EngineDead),
            _ => Ok(()),
        }
    }

    /// A new id with that prefix.
    pub fn new_id(&self, prefix: &str) -> String {
        let number = self
            .ids
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if self.settings.version.short_ids() {
            format!("{prefix}{number:016x}")
        } else {
            format!(
                "{prefix}{number:016x}{:016x}",
                number.rotate_left(29) ^ 0x5bd1_e995_0f0f_3c3c
            )
        }
    }

    /// Seed of a request that brings none: different for each, the same in each run.
    fn next_seed(&self) -> u64 {
        self.requests
            .load(Ordering::Relaxed)
            .wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Refuses a model that is not served.
    fn check_model(&self, body: &Body) -> Result<(), ApiError> {
        match body.text("model")? {
            Some(name) if !self.settings.served_names.iter().any(|served| served == name) => {
                Err(ApiError::NoModel(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn read_n(body: &Body) -> Result<usize, ApiError> {
        let n = body.int("n")?.unwrap_or(1);
        match usize::try_from(n) {
            Ok(n) if (1..=1_024).contains(&n) => Ok(n),
            _ => Err(ApiError::Bad(format!("n must be at least 1, got {n}."))),
        }
    }

    /// Encodes a text, with the beginning token where the tokenizer adds one.
    fn encode(&self, text: &str, specials: bool) -> Vec<Token> {
        let mut tokens = completions::beginning(&self.settings.model.architecture, specials);
        tokens.extend(self.language.tokenizer().encode(text));
        tokens
    }

    /// Fields that nobody reads are ignored with a line in the log.
    fn note_ignored(&self, body: &Body, own: &[&str], later: &[&str]) {
        let later = if self.settings.version.at_least(10, 2) {
            later
        } else {
            &[]
        };
        if let Some(names) = body.ignored(&[SHARED_FIELDS, own, later]) {
            let level = if self.settings.version.at_least(18, 0) {
                Level::Debug
            } else {
                Level::Warning
            };
            let line = format!("The following fields were present in the request but ignored: {names}");
            self.logger.log(Process::Api, level, "protocol.py:63", &line);
        }
    }

    fn log_request(&self, job: &Job, text: &str) {
        if !self.settings.log_requests {
            return;
        }
        let sampling = &job.sampling;
        let temperature = sampling.sampler.map_or(0.0, |sampler| sampler.temperature);
        let line = format!(
            "Received request {}: prompt: {text:?}, params: SamplingParams(n={}, temperature={temperature:?}, \
             max_tokens={}, min_tokens={}, ignore_eos={}), prompt_token_ids: None, lora_request: None, \
             prompt_adapter_request: None.",
            job.id,
            job.n,
            sampling.max_tokens,
            sampling.min_tokens,
            if sampling.ignore_eos { "True" } else { "False" }
        );
        self.logger.log(Process::Api, Level::Info, "logger.py:39", &line);
    }

    /// A usage as a fault may have it.
    fn wrong_usage(&self, usage: Usage) -> Usage {
        let completion = usage
            .completion
            .saturating_add_signed(isize::try_from(self.faults().wrong_usage).unwrap_or_default());
        Usage { completion, ..usage }
    }

    /// The usage of a whole answer.
    fn usage(&self, usage: Usage, cached: Option<usize>) -> String {
        let cached = cached.filter(|count| self.settings.prompt_tokens_details && *count > 0);
        self.wrong_usage(usage).detailed(cached)
    }
}

/// `GET /simulator/info`.
fn info(app: &App) -> String {
    Object::new()
        .field("simulator", true)
        .field("profile", &app.settings.profile.name)
        .field("vllm_version", app.settings.version.to_string())
        .field("clock", app.clock.factor())
        .field("seed", app.seed)
        .field("faults", app.fault_texts())
        .field("leaked_gib", app.metrics.lock().leaked_gib)
        .end()
}

/// A JSON answer; a fault may spoil its text.
fn json_response(app: &App, json: String) -> Response {
    let mut bytes = json.into_bytes();
    if app.faults().invalid_utf8 {
        stream::spoil(&mut bytes, 0);
    }
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, "application/json")],
        bytes,
    )
        .into_response()
}
