//! What can become of a request that fails, told apart: by where it failed, and never repeated in silence.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::vllm::{Refusal, SseError, StreamError};

/// Where a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Nothing listens.
    Refused,
    /// This host has no free port for one more connection.
    NoPort,
    /// This process may open no more files.
    NoDescriptor,
    /// No connection for another reason, or none in time.
    Unreachable,
    /// The server closed the connection without a byte of an answer, as with one that had been idle.
    Unanswered,
    /// The connection broke within an answer, or the stream ended without its end mark.
    Cut,
    /// The answer's stream ended well and brought no token.
    Empty,
    /// An HTTP status that is no success.
    Http,
    /// An error in the place of a chunk, or of a stream.
    Server,
    /// The answer is not HTTP/1.1.
    BadHttp,
    /// An event that is not the JSON of the API, or a body that is no stream.
    BadEvent,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// An event without end.
    TooLong,
    /// Nothing came for longer than is waited.
    Silent,
    /// The run was stopped while it was in flight.
    Stopped,
}

impl FailureClass {
    /// Word in records and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NoPort => "no_port",
            Self::NoDescriptor => "no_descriptor",
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::Cut => "cut",
            Self::Empty => "empty",
            Self::Http => "http",
            Self::Server => "server",
            Self::BadHttp => "bad_http",
            Self::BadEvent => "bad_event",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooLong => "too_long",
            Self::Silent => "silent",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the server may be gone, so that asking again at once would only fill the log.
    pub const fn suggests_server_loss(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::NoPort
                | Self::NoDescriptor
                | Self::Unreachable
                | Self::Unanswered
                | Self::Cut
        )
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub class: FailureClass,
    /// What happened, in words.
    pub text: String,
}

impl Failure {
    /// A failure of a class, in words.
    pub fn new(class: FailureClass, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
        }
    }

    /// No connection.
    pub fn connect(error: &io::Error) -> Self {
        const EMFILE: i32 = nix::libc::EMFILE;
        const ENFILE: i32 = nix::libc::ENFILE;
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::ConnectionRefused, _) => Self::new(
                FailureClass::Refused,
                "connection refused: the server is not listening, or it is gone",
            ),
            (io::ErrorKind::AddrNotAvailable, _) => Self::new(
                FailureClass::NoPort,
                "no free port is left for one more connection (`sysctl net.ipv4.ip_local_port_range`)",
            ),
            (_, Some(EMFILE | ENFILE)) => Self::new(
                FailureClass::NoDescriptor,
                "no file descriptor is left for one more connection (`ulimit -n`)",
            ),
            _ => Self::new(FailureClass::Unreachable, format!("no connection: {error}")),
        }
    }

    /// A connection that broke or ended after `bytes` bytes of the answer.
    pub fn broken(bytes: u64, cause: &str) -> Self {
        if bytes == 0 {
            Self::new(
                FailureClass::Unanswered,
                format!("the server closed the connection without an answer ({cause})"),
            )
        } else {
            Self::new(
                FailureClass::Cut,
                format!("the answer was cut off after {bytes} bytes ({cause})"),
            )
        }
    }

    /// A status that is no success, with the server's own message where the body has one.
    pub fn status(status: u16, body: &[u8]) -> Self {
        let text = Self::refusal(&Refusal::read(status, &String::from_utf8_lossy(body)));
        Self::new(FailureClass::Http, text)
    }

    /// A whole body in the place of a stream.
    pub fn no_stream(body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        match Refusal::hidden_in(&body, 200) {
            Some(refusal) => Self::new(FailureClass::Server, Self::refusal(&refusal)),
            None => Self::new(
                FailureClass::BadEvent,
                format!(
                    "the answer is no stream of events: {}",
                    body.chars().take(200).collect::<String>()
                ),
            ),
        }
    }

    fn refusal(refusal: &Refusal) -> String {
        let space = if refusal.kind.is_empty() { "" } else { " " };
        let message = match refusal.message.as_str() {
            "" => "(no message)",
            message => message,
        };
        format!(
            "the server answered {}{space}{}: {message}",
            refusal.status, refusal.kind
        )
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        let class = match &error {
            StreamError::Split(SseError::InvalidUtf8 { .. }) => FailureClass::InvalidUtf8,
            StreamError::Split(SseError::TooLong) => FailureClass::TooLong,
            StreamError::BadJson { .. } | StreamError::NoFinish => FailureClass::BadEvent,
            StreamError::Refused(_) => FailureClass::Server,
            StreamError::Cut { .. } => FailureClass::Cut,
            StreamError::Empty => FailureClass::Empty,
        };
        Self::new(class, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_told_with_its_class() {
        let os = |code: i32| Failure::connect(&io::Error::from_raw_os_error(code));
        let told = [
            os(nix::libc::ECONNREFUSED),
            os(nix::libc::EADDRNOTAVAIL),
            os(nix::libc::EMFILE),
            os(nix::libc::ENETUNREACH),
            Failure::broken(0, "reset"),
            Failure::broken(17, "end of the connection"),
            Failure::status(
                400,
                br#"{"error":{"message":"too long","type":"BadRequestError","code":400}}"#,
            ),
            Failure::status(502, b""),
            Failure::no_stream(br#"{"object":"error","message":"no","type":"","code":404}"#),
            Failure::no_stream(b"<html>proxy</html>"),
            StreamError::Split(SseError::TooLong).into(),
            StreamError::Cut { events: 3 }.into(),
            StreamError::Empty.into(),
        ];
        insta::assert_snapshot!(told.map(|failure| failure.to_string()).join("\n"));
    }
}
