//! Errors as each release words and wraps them: flat bodies to 0.10.0, nested ones after.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::json::Object;
use crate::version::Version;

/// One mistake of a request's body, as pydantic describes it.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// `missing`, `value_error`, `json_invalid` and the like.
    pub kind: &'static str,
    /// Python tuple: `('body', 'prompt')`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// Python notation of the input.
    pub input: String,
    /// Python notation of the context, if there is one.
    pub context: Option<String>,
}

/// A request that is refused.
#[derive(Debug, Clone)]
pub enum ApiError {
    /// 400 with a sentence.
    Bad(String),
    /// 404: no such model.
    NoModel(String),
    /// 400: the body has the wrong shape; carries the handler's name and path.
    Invalid(Box<Mistake>, &'static str),
    /// The engine died.
    EngineDead,
    /// A fault that refuses requests.
    Refused(u16),
    /// The model does not do that: an error body, but status 200 in earlier releases.
    Unsupported(String),
}

impl ApiError {
    /// HTTP status.
    pub fn status(&self, version: &Version) -> StatusCode {
        match self {
            Self::Bad(_) | Self::Invalid(..) => StatusCode::BAD_REQUEST,
            Self::NoModel(_) => StatusCode::NOT_FOUND,
            Self::EngineDead => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Refused(status) => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Unsupported(_) if version.unsupported_is_404() => StatusCode::NOT_FOUND,
            Self::Unsupported(_) => StatusCode::OK,
        }
    }

    fn code(&self, version: &Version) -> u16 {
        match self {
            Self::Unsupported(_) => 400,
            _ => self.status(version).as_u16(),
        }
    }

    fn kind(&self, version: &Version) -> &'static str {
        match self {
            Self::NoModel(_) => "NotFoundError",
            Self::Invalid(..) if version.at_least(12, 0) => "Bad Request",
            Self::Bad(_) | Self::Unsupported(_) | Self::Invalid(..) => "BadRequestError",
            Self::EngineDead if version.flat_errors() => "InternalServerError",
            Self::EngineDead => "Internal Server Error",
            Self::Refused(429) => "RateLimitError",
            Self::Refused(503) => "ServiceUnavailableError",
            Self::Refused(_) => "InternalServerError",
        }
    }

    fn message(&self, version: &Version) -> String {
        match self {
            Self::Bad(text) | Self::Unsupported(text) => text.clone(),
            Self::NoModel(name) => format!("The model `{name}` does not exist."),
            Self::EngineDead => crate::logs::ENGINE_DEAD.to_owned(),
            Self::Refused(429) => "Too many requests: the server is at its limit.".to_owned(),
            Self::Refused(503) => "The server is overloaded.".to_owned(),
            Self::Refused(_) => "Internal server error".to_owned(),
            Self::Invalid(mistake, handler) => {
                let plain = mistake.python();
                if !version.at_least(12, 0) {
                    return format!("[{plain}]");
                }
                let path = if *handler == "create_completion" {
                    "/v1/completions"
                } else {
                    "/v1/chat/completions"
                };
                format!(
                    "1 validation error:\n  {plain}\n\n  File \"/usr/local/lib/python3.12/dist-packages/vllm/entrypoints/utils.py\", line 733, in {handler}\n    POST {path} [{plain}]"
                )
            }
        }
    }

    /// The body.
    pub fn body(&self, version: &Version) -> String {
        let (message, kind, code) = (self.message(version), self.kind(version), self.code(version));
        if version.flat_errors() {
            return Object::new()
                .field("object", "error")
                .field("message", message)
                .field("type", kind)
                .null("param")
                .field("code", code)
                .end();
        }
        let inner = Object::new()
            .field("message", message)
            .field("type", kind)
            .null("param")
            .field("code", code);
        Object::new().raw("error", &inner.end()).end()
    }

    /// The body of an error in the middle of a stream: always inside `error`, flat or not.
    pub fn stream_body(&self, version: &Version) -> String {
        if version.flat_errors() {
            return Object::new().raw("error", &self.body(version)).end();
        }
        self.body(version)
    }

    /// The whole answer.
    pub fn respond(&self, version: &Version) -> Response {
        let status = self.status(version);
        // The first engine's handlers answer a dead engine without a body.
        let silent = matches!(self, Self::EngineDead) && !version.at_least(10, 0);
        let body = if silent { String::new() } else { self.body(version) };
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl Mistake {
    fn python(&self) -> String {
        let context = self
            .context
            .as_ref()
            .map(|context| format!(", 'ctx': {{'error': {context}}}"));
        format!(
            "{{'type': '{}', 'loc': {}, 'msg': '{}', 'input': {}{}}}",
            self.kind,
            self.place,
            self.message.replace('\'', "\\'"),
            self.input,
            context.unwrap_or_default()
        )
    }

    /// A rule of the whole body that is broken.
    pub fn rule(text: &str, body: &Value) -> Self {
        Self {
            kind: "value_error",
            place: "('body',)".to_owned(),
            message: format!("Value error, {text}"),
            input: python(body),
            context: Some(format!("ValueError('{}')", text.replace('\'', "\\'"))),
        }
    }

    /// A field that is not there.
    pub fn missing(name: &str, body: &Value) -> Self {
        Self {
            kind: "missing",
            place: format!("('body', '{name}')"),
            message: "Field required".to_owned(),
            input: python(body),
            context: None,
        }
    }
}

/// A JSON value in Python's notation.
pub fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.contains('\'') && !text.contains('"') => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('\n', "\\n"))
        }
        Value::String(text) => {
            format!(
                "'{}'",
                text.replace('\\', "\\\\")
                    .replace('\'', "\\'")
                    .replace('\n', "\\n")
            )
        }
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("'{name}': {}", python(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_by_release() {
        let body = json!({"model": "m", "max_tokens": 4, "flag": true});
        let errors = [
            ApiError::Bad("temperature must be non-negative, got -1.0.".to_owned()),
            ApiError::NoModel("nope".to_owned()),
            ApiError::Invalid(Box::new(Mistake::missing("prompt", &body)), "create_completion"),
            ApiError::Refused(429),
            ApiError::EngineDead,
        ];
        let line = |version: &Version, error: &ApiError| {
            format!("{version} {} {}", error.status(version), error.body(version))
        };
        let versions = ["0.8.5", "0.12.0"].map(|version| version.parse::<Version>().unwrap());
        let lines = versions
            .iter()
            .flat_map(|version| errors.iter().map(move |error| line(version, error)));
        let text = lines.collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(text);
    }
}
