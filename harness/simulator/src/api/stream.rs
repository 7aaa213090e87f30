//! Server-sent events from engine events.
//!
//! All events that are ready become one piece of the body, so a fast stream costs one write for many tokens;
//! a paced one still leaves token by token.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc::UnboundedReceiver;

use super::App;
use super::errors::ApiError;
use super::job::Job;
use crate::engine::Event;

/// Most events of one piece.
const PIECE: usize = 256;

/// Turns engine events into chunks of one endpoint.
pub trait Chunks: Send + 'static {
    /// Appends what an event becomes.
    fn event(&mut self, event: Event, out: &mut Vec<u8>);
    /// True when nothing more comes from the engine.
    fn is_over(&self) -> bool;
    /// Appends what follows the last event, without `[DONE]`.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// Appends `data: …` with its blank line.
pub fn data(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\n\n");
}

struct State<C> {
    app: Arc<App>,
    receiver: UnboundedReceiver<Event>,
    chunks: C,
    events: Vec<Event>,
    sent: u64,
    over: bool,
}

/// The answer of a streamed job.
pub fn respond<C: Chunks>(app: Arc<App>, job: &Job, chunks: C) -> Response {
    let receiver = job.submit(&app);
    let state = State {
        app,
        receiver,
        chunks,
        events: Vec::with_capacity(PIECE),
        sent: 0,
        over: false,
    };
    let pieces = stream::unfold(state, |mut state| async move {
        let piece = state.next_piece().await?;
        Some((piece, state))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    (StatusCode::OK, headers, HttpBody::from_stream(pieces)).into_response()
}

impl<C: Chunks> State<C> {
    /// The next piece; an error cuts the connection.
    async fn next_piece(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.over {
            return None;
        }
        self.events.clear();
        let count = self.receiver.recv_many(&mut self.events, PIECE).await;
        let mut out = Vec::with_capacity(256 * count.max(1));
        let faults = self.app.faults();
        if count == 0 {
            self.die(&mut out);
        }
        for event in std::mem::take(&mut self.events) {
            if let Some(after) = faults.cut_stream.filter(|after| self.sent >= *after) {
                self.over = true;
                let error = format!("cut after {after} events");
                return Some(Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionReset,
                    error,
                )));
            }
            if matches!(event, Event::Dead) {
                self.die(&mut out);
                break;
            }
            self.sent += u64::from(matches!(event, Event::Token(_)));
            let before = out.len();
            self.chunks.event(event, &mut out);
            if faults.invalid_utf8 {
                spoil(&mut out, before);
            }
        }
        if self.chunks.is_over() && !self.over {
            self.chunks.end(&mut out);
            data(&mut out, "[DONE]");
            self.over = true;
        }
        Some(Ok(out.into()))
    }

    fn die(&mut self, out: &mut Vec<u8>) {
        data(out, &ApiError::EngineDead.stream_body(&self.app.settings.version));
        data(out, "[DONE]");
        self.over = true;
    }
}

/// Puts bytes that are not UTF-8 into the content of a chunk.
pub fn spoil(out: &mut Vec<u8>, from: usize) {
    for key in [&b"\"content\":\""[..], b"\"text\":\""] {
        let found = out
            .get(from..)
            .and_then(|part| part.windows(key.len()).position(|window| window == key));
        if let Some(at) = found {
            let at = from + at + key.len();
            out.splice(at..at, [0xff, 0xfe]);
            return;
        }
    }
}
