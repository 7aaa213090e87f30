//! One client of the stream server: its bytes in, its events out.

use std::io::{self, IoSliceMut, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::events::{Events, Kind};
use super::{StreamOptions, Truth, real_ns};

/// Longest request that is read.
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// Tokens where the request names none.
const DEFAULT_TOKENS: u32 = 16;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub kind: Kind,
    pub id: Option<u64>,
    pub tokens: u32,
    pub arrived_ns: Option<u64>,
    pub read_ns: u64,
}

/// What reading led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    Closed,
    Generate(Asked),
    Truth,
    Other(String),
}

/// How far writing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    All,
    Part,
    Broken,
}

struct Answer {
    kind: Kind,
    record: usize,
    tokens: u32,
    left: u32,
    due_ns: u64,
}

pub(super) struct Connection {
    stream: TcpStream,
    control: Vec<u8>,
    input: Vec<u8>,
    arrived_ns: Option<u64>,
    /// Bytes that the client has not taken.
    output: Vec<u8>,
    waiting: bool,
    answer: Option<Answer>,
}

impl Connection {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self {
            stream,
            control: cmsg_space!(TimeSpec),
            input: Vec::new(),
            arrived_ns: None,
            output: Vec::new(),
            waiting: false,
            answer: None,
        })
    }

    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn is_blocked(&self) -> bool {
        !self.output.is_empty()
    }

    pub const fn was_waiting(&self) -> bool {
        self.waiting
    }

    /// Notes whether room for more is watched for; returns what was noted before.
    pub const fn set_waiting(&mut self, waiting: bool) -> bool {
        std::mem::replace(&mut self.waiting, waiting)
    }

    /// Reads once: what is left makes the socket ready again.
    pub fn read(&mut self, buffer: &mut [u8]) -> Input {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<()>(
            self.stream.as_raw_fd(),
            &mut slices,
            Some(&mut self.control),
            flags,
        );
        let (count, stamp) = match received {
            Ok(message) => (
                message.bytes,
                message
                    .cmsgs()
                    .ok()
                    .and_then(|mut all| all.find_map(|one| stamp(&one))),
            ),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Input::Nothing,
            Err(_) => return Input::Closed,
        };
        if count == 0 || self.input.len() + count > MAX_REQUEST_BYTES {
            return Input::Closed;
        }
        self.arrived_ns = stamp.or(self.arrived_ns);
        self.input.extend_from_slice(&buffer[..count]);
        let Some((path, body, end)) = complete(&self.input) else {
            return Input::Nothing;
        };
        let input = match path {
            "/v1/completions" => Input::Generate(asked(Kind::Completion, body)),
            "/v1/chat/completions" => Input::Generate(asked(Kind::Chat, body)),
            "/truth" => Input::Truth,
            other => Input::Other(other.to_owned()),
        };
        self.input.drain(..end);
        match input {
            Input::Generate(mut asked) => {
                asked.arrived_ns = self.arrived_ns.take();
                Input::Generate(asked)
            }
            other => other,
        }
    }

    /// Queues bytes; [`Self::flush`] sends them.
    pub fn reply(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Begins an answer whose first token is due at `due_ns`.
    pub fn begin(&mut self, asked: &Asked, record: usize, due_ns: u64) {
        let tokens = asked.tokens.max(1);
        self.answer = Some(Answer {
            kind: asked.kind,
            record,
            tokens,
            left: tokens,
            due_ns,
        });
    }

    /// When the next event is due, unless the client has yet to take those before.
    pub fn next_due(&self) -> Option<u64> {
        let answer = self.answer.as_ref()?;
        (!self.is_blocked()).then_some(answer.due_ns)
    }

    /// Writes the next events, and the end after the last.
    pub fn write_next(&mut self, events: &Events, options: &StreamOptions, truth: &mut [Truth]) -> Written {
        let Some(answer) = &mut self.answer else {
            return Written::All;
        };
        if answer.left == answer.tokens && answer.kind == Kind::Chat {
            let step = send(&mut self.stream, &mut self.output, events.role());
            if step != Written::All {
                return step;
            }
        }
        let (bytes, count) = events.tokens(answer.kind, answer.left);
        let now = real_ns();
        if let Some(record) = truth.get_mut(answer.record) {
            record.tokens_ns.extend((0..count).map(|_| now));
        }
        answer.left -= count;
        answer.due_ns += options.itl_ns;
        let mut step = send(&mut self.stream, &mut self.output, bytes);
        if answer.left == 0 && step != Written::Broken {
            let end = Events::end(answer.kind, 1, answer.tokens);
            self.answer = None;
            step = send(&mut self.stream, &mut self.output, &end);
        }
        step
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Written {
        send(&mut self.stream, &mut self.output, &[])
    }
}

fn stamp(message: &ControlMessageOwned) -> Option<u64> {
    match message {
        ControlMessageOwned::ScmTimestampns(time) => u64::try_from(Duration::from(*time).as_nanos()).ok(),
        _ => None,
    }
}

/// Sends queued bytes, then further ones; what the client does not take stays queued.
fn send(stream: &mut TcpStream, queued: &mut Vec<u8>, bytes: &[u8]) -> Written {
    if queued.is_empty() {
        let Ok(sent) = write_some(stream, bytes) else {
            return Written::Broken;
        };
        queued.extend_from_slice(&bytes[sent..]);
    } else {
        queued.extend_from_slice(bytes);
        let Ok(sent) = write_some(stream, queued) else {
            return Written::Broken;
        };
        queued.drain(..sent);
    }
    if queued.is_empty() {
        Written::All
    } else {
        Written::Part
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Path and body of the first whole request, and where it ends.
fn complete(bytes: &[u8]) -> Option<(&str, &[u8], usize)> {
    let head_end = find(bytes, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let path = head.split(' ').nth(1)?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or_default();
    let end = head_end.checked_add(length)?;
    Some((path, bytes.get(head_end..end)?, end))
}

fn asked(kind: Kind, body: &[u8]) -> Asked {
    let tokens =
        number_after(body, b"\"max_tokens\":").or_else(|| number_after(body, b"\"max_completion_tokens\":"));
    Asked {
        kind,
        id: number_after(body, b"\"q"),
        tokens: tokens
            .and_then(|tokens| u32::try_from(tokens).ok())
            .unwrap_or(DEFAULT_TOKENS),
        arrived_ns: None,
        read_ns: real_ns(),
    }
}

/// The number that follows the first place of `key` that one follows.
fn number_after(bytes: &[u8], key: &[u8]) -> Option<u64> {
    let mut rest = bytes;
    loop {
        rest = &rest[find(rest, key)? + key.len()..];
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let digits = rest[spaces..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits > 0 {
            return std::str::from_utf8(&rest[spaces..spaces + digits])
                .ok()?
                .parse()
                .ok();
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_once_they_are_whole() {
        let body = br#"{"model":"stream","max_tokens": 12,"stop":["q"],"prompt":"q17 river"}"#;
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let whole = [head.as_bytes(), body].concat();
        assert!(complete(&whole[..whole.len() - 1]).is_none());
        let (path, read, end) = complete(&whole).unwrap();
        assert_eq!((path, end), ("/v1/completions", whole.len()));
        let asked = asked(Kind::Completion, read);
        assert_eq!((asked.id, asked.tokens), (Some(17), 12));
    }

    #[test]
    fn a_request_without_mark_or_length_has_defaults() {
        let asked = asked(Kind::Chat, br#"{"messages":[]}"#);
        assert_eq!((asked.id, asked.tokens), (None, DEFAULT_TOKENS));
    }
}
