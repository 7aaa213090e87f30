//! What can go wrong between the harness and a server, told apart so that a caller can act on it: a server that is
//! not there, one that died in mid-answer, one that refuses, and one that answers something else than its API says.

use std::{error::Error as _, io, time::Duration};

use reqwest::Url;
use serde::Deserialize;

use crate::vllm::MetricsError;

/// Longest part of a body that an error quotes, in characters.
const QUOTE_CHARS: usize = 400;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base address is not one that can be asked.
    #[error("`{address}` is not a server address ({why}): write it as http://HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client could not be built.
    #[error("cannot set up the HTTP client: {cause}")]
    Setup {
        /// What the library said.
        cause: String,
    },
    /// Nothing listens.
    #[error("{url}: connection refused: the server is not listening yet, or it is gone")]
    Refused {
        /// Address that was asked.
        url: String,
    },
    /// The connection broke before the answer's head had come.
    #[error("{url}: the server closed the connection without an answer ({cause}): it may have died")]
    Reset {
        /// Address that was asked.
        url: String,
        /// What the socket said.
        cause: String,
    },
    /// No answer in time.
    #[error("{url}: {what} did not come within {} s", after.as_secs_f64())]
    Timeout {
        /// Address that was asked.
        url: String,
        /// What was waited for.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server answered with an error, as a status or in the body of a 200.
    #[error("{url}: the server answered {status}{space}{kind}: {message}", space = if kind.is_empty() { "" } else { " " })]
    Http {
        /// Address that was asked.
        url: String,
        /// HTTP status, or the code that the body gives.
        status: u16,
        /// The server's word for the error (`BadRequestError`); empty where it gives none.
        kind: String,
        /// The server's own message.
        message: String,
    },
    /// The body ended early.
    #[error("{url}: the answer was cut off ({cause})")]
    Cut {
        /// Address that was asked.
        url: String,
        /// How it ended.
        cause: String,
    },
    /// A body or an event that is not the JSON of the API.
    #[error("{url}: {place} is not the JSON that vLLM answers ({source}): {quote}")]
    BadJson {
        /// Address that was asked.
        url: String,
        /// Which part of the answer.
        place: String,
        /// What the parser said.
        source: serde_json::Error,
        /// The beginning of the text.
        quote: String,
    },
    /// A body or an event that is not UTF-8.
    #[error("{url}: byte {at_byte} of the answer is not UTF-8")]
    InvalidUtf8 {
        /// Address that was asked.
        url: String,
        /// Offset in the body.
        at_byte: usize,
    },
    /// The answer lacks something that was asked for.
    #[error("{url}: the answer holds no `{field}`")]
    Missing {
        /// Address that was asked.
        url: String,
        /// Path of the field.
        field: String,
    },
    /// A field holds what it must not.
    #[error("{url}: `{field}` is `{value}`, expected {expected}")]
    BadValue {
        /// Address that was asked.
        url: String,
        /// Path of the field.
        field: String,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// Metrics in another format.
    #[error("{url}: {source}")]
    Metrics {
        /// Address that was asked.
        url: String,
        /// Which line.
        source: MetricsError,
    },
    /// Anything else that the transport reports.
    #[error("{url}: {cause}")]
    Transport {
        /// Address that was asked.
        url: String,
        /// What the transport said.
        cause: String,
    },
}

impl ClientError {
    /// One word for records and tables.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::Setup { .. } => "setup",
            Self::Refused { .. } => "refused",
            Self::Reset { .. } => "reset",
            Self::Timeout { .. } => "timeout",
            Self::Http { .. } => "http",
            Self::Cut { .. } => "cut",
            Self::BadJson { .. } => "bad_json",
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::Missing { .. } => "missing",
            Self::BadValue { .. } => "bad_value",
            Self::Metrics { .. } => "metrics",
            Self::Transport { .. } => "transport",
        }
    }

    /// Whether the server itself may be gone, so that its state has to be looked at before anything is said of the
    /// request. A 500 counts: vLLM answers it when its engine has died, and then ends.
    pub const fn suggests_server_loss(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Reset { .. } | Self::Cut { .. } => true,
            Self::Http { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// The most alternatives that the server gives with a token, where it refused a request for wanting more
    /// (`max_logprobs`). Its words: `Cannot request more than N [prompt] logprobs.` up to 0.9, then `Requested … logprobs
    /// of M, which is greater than max allowed: N`.
    pub fn logprobs_cap(&self) -> Option<u8> {
        let Self::Http {
            status: 400, message, ..
        } = self
        else {
            return None;
        };
        let (_, behind) = message
            .split_once("max allowed: ")
            .or_else(|| message.split_once("more than "))
            .filter(|_| message.contains("logprobs"))?;
        let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        behind[..end].parse().ok()
    }

    /// Error of a request whose answer's head has not come.
    pub(super) fn from_send(url: &Url, waited: Duration, error: &reqwest::Error) -> Self {
        let url = url.to_string();
        if error.is_timeout() {
            return Self::Timeout {
                url,
                what: "an answer",
                after: waited,
            };
        }
        let cause = root_cause(error);
        match io_kind(error) {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused { url },
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => Self::Reset { url, cause },
            _ if error.is_request() && !error.is_connect() => Self::Reset { url, cause },
            _ => Self::Transport { url, cause },
        }
    }

    /// Error of an answer whose head came and whose body broke.
    pub(super) fn from_body(url: &Url, error: &reqwest::Error) -> Self {
        Self::Cut {
            url: url.to_string(),
            cause: root_cause(error),
        }
    }

    pub(super) fn missing(url: &Url, field: &str) -> Self {
        Self::Missing {
            url: url.to_string(),
            field: field.to_owned(),
        }
    }

    pub(super) fn bad_value(url: &Url, field: &str, value: &str, expected: &'static str) -> Self {
        Self::BadValue {
            url: url.to_string(),
            field: field.to_owned(),
            value: quote(value),
            expected,
        }
    }
}

/// Beginning of a text, short enough for a message.
pub(in crate::vllm) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The innermost message of an error's chain: the outer ones only say that a request failed.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(io) = source.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = source.source();
    }
    None
}

/// An error body in each of its shapes: flat up to 0.10.0 (`{"object":"error","message":…}`), nested from 0.10.2
/// (`{"error":{…}}`), and FastAPI's own (`{"detail":…}`) where no route matched.
#[derive(Debug, Deserialize)]
struct ErrorBody {
    object: Option<String>,
    error: Option<serde_json::Value>,
    message: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<serde_json::Value>,
    detail: Option<serde_json::Value>,
}

impl ErrorBody {
    /// Whether the body is an error at all; some versions answer 200 with one.
    fn is_error(&self) -> bool {
        self.error.as_ref().is_some_and(|error| !error.is_null()) || self.object.as_deref() == Some("error")
    }

    /// What it says; `status` speaks where the body gives no code.
    fn into_refusal(self, status: u16) -> Refusal {
        if let Some(error) = self.error {
            return match serde_json::from_value::<Self>(error.clone()) {
                Ok(inner) => inner.into_refusal(status),
                Err(_) => Refusal {
                    status,
                    kind: String::new(),
                    message: plain(&error),
                },
            };
        }
        let code = self.code.as_ref().and_then(serde_json::Value::as_u64);
        Refusal {
            status: code.and_then(|code| u16::try_from(code).ok()).unwrap_or(status),
            kind: self.kind.unwrap_or_default(),
            message: self
                .message
                .or_else(|| self.detail.as_ref().map(plain))
                .unwrap_or_default(),
        }
    }
}

/// What a server says where it does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, or the code that the body gives.
    pub status: u16,
    /// The server's word for the error (`BadRequestError`); empty where it gives none.
    pub kind: String,
    /// The server's own message; empty where it gives none.
    pub message: String,
}

impl Refusal {
    /// Reads the body of an answer whose status is an error, in whatever shape it has.
    pub fn read(status: u16, body: &str) -> Self {
        match serde_json::from_str::<ErrorBody>(body) {
            Ok(parsed) => parsed.into_refusal(status),
            Err(_) => Self {
                status,
                kind: String::new(),
                message: quote(body.trim()),
            },
        }
    }

    /// The error in a body whose status says that all is well; `None` where there is none.
    pub fn hidden_in(body: &str, status: u16) -> Option<Self> {
        let parsed = serde_json::from_str::<ErrorBody>(body).ok()?;
        parsed.is_error().then(|| parsed.into_refusal(status))
    }

    /// The error of a caller who asked `url`.
    pub(super) fn at(self, url: &Url) -> ClientError {
        ClientError::Http {
            url: url.to_string(),
            status: self.status,
            kind: self.kind,
            message: if self.message.is_empty() {
                "(no message)".to_owned()
            } else {
                self.message
            },
        }
    }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_of_logprobs_is_read_from_either_message() {
        let cap = |status, message: &str| {
            let (url, kind, message) = (String::new(), String::new(), message.to_owned());
            ClientError::Http {
                url,
                status,
                kind,
                message,
            }
            .logprobs_cap()
        };
        let new = "Requested prompt logprobs of 20, which is greater than max allowed: 5";
        assert_eq!(cap(400, new), Some(5));
        assert_eq!(cap(400, "Cannot request more than 10 prompt logprobs."), Some(10));
        assert_eq!(cap(500, new), None);
        assert_eq!(cap(400, "max_tokens is more than 5"), None);
        assert_eq!(cap(400, "Cannot request more than many logprobs."), None);
    }

    fn told(status: u16, body: &str) -> String {
        let url = Url::parse("http://127.0.0.1:8000/v1/completions").unwrap();
        Refusal::read(status, body).at(&url).to_string()
    }

    #[test]
    fn reads_the_servers_message_in_every_shape() {
        let bodies = [
            r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
            r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}}"#,
            r#"{"error":{"object":"error","message":"max_tokens must be at least 1","type":"BadRequestError","param":null,"code":400}}"#,
            r#"{"error":"EngineCore is gone"}"#,
            r#"{"detail":"Not Found"}"#,
            "Internal Server Error",
            "",
        ];
        let told: Vec<String> = bodies.iter().map(|body| told(500, body)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_long_body_is_quoted_in_part() {
        let body = "é".repeat(QUOTE_CHARS + 1);
        assert_eq!(quote(&body), format!("{}…", "é".repeat(QUOTE_CHARS)));
        assert_eq!(quote("short"), "short");
    }
}
