//! Reading request bodies: typed fields with pydantic's complaints, and the sampling parameters that both
//! generation endpoints share, with vLLM's range checks.

use serde_json::{Map, Value};

use super::errors::{ApiError, Mistake, python};
use crate::engine::Sampling;
use crate::language::Sampler;
use crate::settings::Settings;
use crate::tokenizer::Token;

/// A temperature below this is greedy.
const SAMPLING_EPSILON: f64 = 1e-5;

/// A parsed body, and the handler that its complaints name.
#[derive(Debug)]
pub struct Body {
    /// The whole body.
    pub value: Value,
    handler: &'static str,
}

impl Body {
    /// Parses the bytes of a body.
    pub fn parse(bytes: &[u8], handler: &'static str) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            let lines_before: usize = bytes
                .split(|byte| *byte == b'\n')
                .take(error.line().saturating_sub(1))
                .map(|line| line.len() + 1)
                .sum();
            let place = (lines_before + error.column()).min(bytes.len());
            let mistake = Mistake {
                kind: "json_invalid",
                place: format!("('body', {place})"),
                message: "JSON decode error".to_owned(),
                input: "{}".to_owned(),
                context: Some("'Expecting value'".to_owned()),
            };
            ApiError::Invalid(Box::new(mistake), handler)
        })?;
        if !value.is_object() {
            let mistake = Mistake {
                kind: "model_attributes_type",
                place: "('body',)".to_owned(),
                message: "Input should be a valid dictionary or object to extract fields from".to_owned(),
                input: python(&value),
                context: None,
            };
            return Err(ApiError::Invalid(Box::new(mistake), handler));
        }
        Ok(Self { value, handler })
    }

    fn fields(&self) -> Option<&Map<String, Value>> {
        self.value.as_object()
    }

    /// A field that is there and not null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields()?.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, kind: &'static str, message: &str) -> ApiError {
        let mistake = Mistake {
            kind,
            place: format!("('body', '{name}')"),
            message: message.to_owned(),
            input: self.get(name).map_or_else(|| "None".to_owned(), python),
            context: None,
        };
        ApiError::Invalid(Box::new(mistake), self.handler)
    }

    /// A broken rule of the body.
    pub fn broken(&self, text: &str) -> ApiError {
        ApiError::Invalid(Box::new(Mistake::rule(text, &self.value)), self.handler)
    }

    /// A missing field.
    pub fn missing(&self, name: &str) -> ApiError {
        ApiError::Invalid(Box::new(Mistake::missing(name, &self.value)), self.handler)
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole floats below 2^53 are accepted as integers"
        )]
        let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
        let number = value.as_i64().or_else(|| value.as_f64().and_then(whole));
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, "int_type", "Input should be a valid integer"))
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value
            .as_f64()
            .map(Some)
            .ok_or_else(|| self.wrong(name, "float_type", "Input should be a valid number"))
    }

    /// A switch.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| self.wrong(name, "bool_type", "Input should be a valid boolean"))
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.wrong(name, "string_type", "Input should be a valid string"))
    }

    /// Texts: one or a list.
    fn texts(&self, name: &str) -> Result<Vec<String>, ApiError> {
        let wrong = || self.wrong(name, "string_type", "Input should be a valid string");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// Token ids.
    pub fn tokens(&self, name: &str) -> Result<Vec<Token>, ApiError> {
        let wrong = || self.wrong(name, "int_type", "Input should be a valid integer");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    item.as_u64()
                        .and_then(|id| u32::try_from(id).ok())
                        .ok_or_else(wrong)
                })
                .collect(),
            Some(_) => Err(self.wrong(name, "list_type", "Input should be a valid list")),
        }
    }

    /// Fields that nobody reads, in Python's notation of a set.
    pub fn ignored(&self, known: &[&[&str]]) -> Option<String> {
        let is_known = |name: &str| known.iter().any(|list| list.contains(&name));
        let names: Vec<_> = self.fields()?.keys().filter(|name| !is_known(name)).collect();
        let listed: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        (!names.is_empty()).then(|| format!("{{{}}}", listed.join(", ")))
    }
}

/// Fields of both endpoints.
pub const SHARED_FIELDS: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "length_penalty",
    "seed",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "prompt_logprobs",
    "echo",
    "add_special_tokens",
    "response_format",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_decoding_backend",
    "best_of",
    "use_beam_search",
    "truncate_prompt_tokens",
    "allowed_token_ids",
    "logits_processors",
    "priority",
    "user",
    "return_tokens_as_token_ids",
];

/// Which usage a stream reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamOptions {
    /// A last chunk holds the usage.
    pub include_usage: bool,
    /// Every chunk holds it.
    pub continuous: bool,
}

/// Reads `stream` and `stream_options`: `None` when nothing is streamed.
pub fn stream_options(body: &Body, settings: &Settings) -> Result<Option<StreamOptions>, ApiError> {
    let streams = body.flag("stream", false)?;
    let Some(options) = body.get("stream_options") else {
        return Ok(streams.then(StreamOptions::default));
    };
    if !streams {
        return Err(body.broken("Stream options can only be defined when `stream=True`."));
    }
    let flag = |name: &str, default| options.get(name).and_then(Value::as_bool).unwrap_or(default);
    let include_usage = flag("include_usage", settings.version.include_usage_default());
    let continuous = include_usage && flag("continuous_usage_stats", false);
    Ok(Some(StreamOptions {
        include_usage,
        continuous,
    }))
}

fn bad<T>(text: String) -> Result<T, ApiError> {
    Err(ApiError::Bad(text))
}

/// A number as Python prints a float.
fn python_float(value: f64) -> String {
    format!("{value:?}")
}

/// Limits of the endpoints on logprobs.
pub struct LogprobLimits {
    /// Alternatives of generated tokens.
    pub logprobs: Option<i64>,
    /// Alternatives of the prompt's tokens.
    pub prompt_logprobs: Option<i64>,
}

/// Checks a number of alternatives against the server's limit.
fn alternatives(asked: Option<i64>, prompt: bool, settings: &Settings) -> Result<Option<usize>, ApiError> {
    let Some(asked) = asked else { return Ok(None) };
    let vocabulary = settings.model.vocab_size as usize;
    if asked == -1 && settings.version.whole_vocabulary_logprobs() && settings.max_logprobs.is_none() {
        return Ok(Some(vocabulary));
    }
    let count = usize::try_from(asked).map_err(|_| {
        let name = if prompt { "prompt_logprobs" } else { "logprobs" };
        ApiError::Bad(format!("{name} must be non-negative, got {asked}."))
    })?;
    match settings.max_logprobs {
        Some(most) if count > most && settings.version.at_least(10, 0) => {
            let which = if prompt { "prompt" } else { "sample" };
            bad(format!(
                "Requested {which} logprobs of {count}, which is greater than max allowed: {most}"
            ))
        }
        Some(most) if count > most => {
            let which = if prompt { "prompt logprobs" } else { "logprobs" };
            bad(format!("Cannot request more than {most} {which}."))
        }
        _ => Ok(Some(count.min(vocabulary))),
    }
}

/// Reads and checks the sampling parameters.
pub fn sampling(
    body: &Body,
    settings: &Settings,
    max_tokens: usize,
    limits: &LogprobLimits,
    fallback_seed: u64,
) -> Result<Sampling, ApiError> {
    let sampler = sampler(body)?;
    check_penalties(body)?;
    let min_tokens = body.int("min_tokens")?.unwrap_or(0);
    if min_tokens < 0 {
        return bad(format!(
            "min_tokens must be greater than or equal to 0, got {min_tokens}."
        ));
    }
    let min_tokens = usize::try_from(min_tokens).unwrap_or(usize::MAX);
    if max_tokens < 1 {
        return bad(format!("max_tokens must be at least 1, got {max_tokens}."));
    }
    if min_tokens > max_tokens {
        return bad(format!(
            "min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}."
        ));
    }
    let stop = body.texts("stop")?;
    if stop.iter().any(String::is_empty) {
        return bad("stop cannot contain an empty string.".to_owned());
    }
    Ok(Sampling {
        max_tokens,
        min_tokens,
        ignore_eos: body.flag("ignore_eos", false)?,
        stop,
        stop_token_ids: body.tokens("stop_token_ids")?,
        include_stop: body.flag("include_stop_str_in_output", false)?,
        skip_special: body.flag("skip_special_tokens", true)?,
        sampler,
        seed: body.int("seed")?.map_or(fallback_seed, i64::cast_unsigned),
        logprobs: alternatives(limits.logprobs, false, settings)?,
        prompt_logprobs: alternatives(limits.prompt_logprobs, true, settings)?,
    })
}

fn sampler(body: &Body) -> Result<Option<Sampler>, ApiError> {
    let temperature = body.float("temperature")?.unwrap_or(1.0);
    if temperature < 0.0 {
        return bad(format!(
            "temperature must be non-negative, got {}.",
            python_float(temperature)
        ));
    }
    let top_p = body.float("top_p")?.unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        return bad(format!("top_p must be in (0, 1], got {}.", python_float(top_p)));
    }
    let top_k = body.int("top_k")?.unwrap_or(0);
    if top_k < -1 {
        return bad(format!("top_k must be 0 (disable), or at least 1, got {top_k}."));
    }
    let min_p = body.float("min_p")?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&min_p) {
        return bad(format!("min_p must be in [0, 1], got {}.", python_float(min_p)));
    }
    let top_k = usize::try_from(top_k).unwrap_or(0);
    Ok((temperature >= SAMPLING_EPSILON).then_some(Sampler {
        temperature,
        top_p,
        top_k,
        min_p,
    }))
}

fn check_penalties(body: &Body) -> Result<(), ApiError> {
    for name in ["presence_penalty", "frequency_penalty"] {
        let value = body.float(name)?.unwrap_or(0.0);
        if !(-2.0..=2.0).contains(&value) {
            return bad(format!("{name} must be in [-2, 2], got {}.", python_float(value)));
        }
    }
    let repetition = body.float("repetition_penalty")?.unwrap_or(1.0);
    if repetition <= 0.0 {
        return bad(format!(
            "repetition_penalty must be greater than zero, got {}.",
            python_float(repetition)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> String {
        match Body::parse(text.as_bytes(), "create_completion") {
            Err(ApiError::Invalid(mistake, _)) => mistake.place,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn broken_json_names_its_place() {
        assert_eq!(place(r#"{"model": "smollm2", "prompt": "#), "('body', 31)");
        assert_eq!(place("[]"), "('body',)");
    }

    #[test]
    fn fields_have_types() {
        let body = Body::parse(br#"{"a": 2.0, "b": "x", "c": 1.5, "d": null}"#, "h").unwrap();
        assert_eq!(body.int("a").unwrap(), Some(2));
        assert_eq!(body.int("d").unwrap(), None);
        assert!(body.int("b").is_err() && body.int("c").is_err() && body.flag("a", false).is_err());
        assert_eq!(body.ignored(&[&["a", "b"], &["d"]]).as_deref(), Some("{'c'}"));
    }
}
