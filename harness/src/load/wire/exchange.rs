//! One request on its way: what was sent, and what has come of its answer.

use super::http::{Decoder, Head, HttpError, Part};
use crate::{
    load::{Arrivals, Failure, FailureClass, Trace, spec::Spec},
    vllm::{Keep, Splitter, StreamError, StreamReader},
};

/// Longest part of a body that is kept where it is no stream.
const MAX_BODY_BYTES: usize = 64 << 10;

/// A request that is being answered.
#[derive(Debug)]
pub struct Exchange {
    /// What it asks for.
    pub spec: Spec,
    trace: Trace,
    head: Option<Head>,
    /// Whether the body is a stream of events; the head or its first bytes tell.
    streams: Option<bool>,
    splitter: Splitter,
    reader: StreamReader,
    body: Vec<u8>,
    bytes: u64,
}

/// What became of a request.
#[derive(Debug)]
pub struct Ended {
    /// What it asked for.
    pub spec: Spec,
    /// All that is known of it.
    pub trace: Trace,
    /// Text of the answer, where it was kept.
    pub text: String,
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::new(FailureClass::BadHttp, error.to_string())
    }
}

impl Exchange {
    /// A request that is not sent yet.
    pub fn new(index: u64, spec: Spec, scheduled_ns: u64, keep: Keep) -> Self {
        let trace = Trace {
            index,
            scheduled_ns,
            connect_ns: 0,
            sent_ns: 0,
            blocked_ns: 0,
            arrivals: Arrivals::with_capacity(spec.output_tokens as usize),
            stamped: true,
            asked_prompt: spec.prompt_tokens,
            asked_output: spec.output_tokens,
            usage: None,
            ids: None,
            failure: None,
        };
        Self {
            spec,
            trace,
            head: None,
            streams: None,
            splitter: Splitter::default(),
            reader: StreamReader::new(keep),
            body: Vec::new(),
            bytes: 0,
        }
    }

    /// It had to wait for a connection of its own.
    pub const fn connected_after(&mut self, connect_ns: u64) {
        self.trace.connect_ns = connect_ns;
    }

    /// Its first byte is about to be sent.
    pub const fn sent(&mut self, at_ns: u64) {
        self.trace.sent_ns = at_ns;
    }

    /// Its last byte was sent later than its first, for the socket had no room.
    pub const fn unblocked(&mut self, at_ns: u64) {
        self.trace.blocked_ns = at_ns.saturating_sub(self.trace.sent_ns);
    }

    /// Takes bytes of the answer that came at `at_ns`; `stamped`: by the kernel's clock.
    pub fn take(
        &mut self,
        decoder: &mut Decoder,
        bytes: &[u8],
        at_ns: u64,
        stamped: bool,
    ) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        self.trace.stamped &= stamped;
        decoder.feed(bytes, &mut |part| self.part(part, at_ns))
    }

    fn part(&mut self, part: Part<'_>, at_ns: u64) -> Result<(), Failure> {
        let bytes = match part {
            Part::Head(head) => {
                self.head = Some(head);
                return Ok(());
            }
            Part::Body(bytes) => bytes,
        };
        let streams = *self.streams.get_or_insert_with(|| {
            let is_event = |field: &[u8]| bytes.starts_with(field);
            let head = self.head.is_some_and(|head| head.is_stream);
            let success = self.head.is_some_and(|head| head.status == 200);
            success && (head || is_event(b"data:") || is_event(b":") || is_event(b"event:"))
        });
        if !streams {
            let room = MAX_BODY_BYTES.saturating_sub(self.body.len());
            self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return Ok(());
        }
        let (reader, arrivals) = (&mut self.reader, &mut self.trace.arrivals);
        self.splitter.feed(bytes, &mut |event| {
            if reader.event(event)? {
                arrivals.push(at_ns);
            }
            Ok::<(), StreamError>(())
        })?;
        Ok(())
    }

    /// Whether the server will close the connection after this answer.
    pub fn closes(&self) -> bool {
        self.head.is_none_or(|head| head.closes)
    }

    /// The connection broke or ended.
    pub fn broken(self, now_ns: u64, cause: &str) -> Ended {
        let failure = Failure::broken(self.bytes, cause);
        self.failed(now_ns, failure)
    }

    /// It failed.
    pub fn failed(mut self, now_ns: u64, failure: Failure) -> Ended {
        if self.trace.sent_ns == 0 {
            self.trace.sent_ns = now_ns;
        }
        self.trace.failure = Some(failure);
        self.close(String::new())
    }

    /// The answer is whole.
    pub fn end(mut self, now_ns: u64) -> Ended {
        let status = self.head.map_or(0, |head| head.status);
        if status != 200 {
            let failure = Failure::status(status, &self.body);
            return self.failed(now_ns, failure);
        }
        if self.streams == Some(false) {
            let failure = Failure::no_stream(&self.body);
            return self.failed(now_ns, failure);
        }
        match std::mem::take(&mut self.reader).end() {
            Ok(end) => {
                self.trace.usage = end.usage;
                self.trace.ids = end.ids;
                self.close(end.text)
            }
            Err(error) => self.failed(now_ns, error.into()),
        }
    }

    fn close(mut self, text: String) -> Ended {
        self.trace.arrivals.shrink();
        Ended {
            spec: self.spec,
            trace: self.trace,
            text,
        }
    }
}
