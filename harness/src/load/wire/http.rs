//! Reads HTTP/1.1 answers off a byte stream: the head by `httparse`, bodies of a given length, in chunks, or up to the
//! end of the connection (RFC 9112, sections 6 and 7). Body bytes are handed on where they lie.

/// Longest head, and longest line between chunks.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Most header fields.
const MAX_FIELDS: usize = 100;

/// Why bytes are not an HTTP/1.1 answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head cannot be read.
    #[error("the answer's head cannot be read: {0}")]
    Head(httparse::Error),
    /// The head, or a line between chunks, does not end.
    #[error("a line of the answer is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// The body's length makes no sense.
    #[error("the length of the body is `{0}`")]
    Length(String),
    /// A chunk does not begin or end as it must.
    #[error("a chunk of the body begins or ends wrongly")]
    Chunk,
    /// Bytes that no request asked for.
    #[error("bytes came after the end of the answer")]
    Surplus,
}

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Whether the server closes the connection after this answer.
    pub closes: bool,
    /// Whether the body is a stream of events.
    pub is_stream: bool,
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// The head; informational ones (1xx) are left out.
    Head(Head),
    /// The next bytes of the body.
    Body(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Fixed { left: u64 },
    UntilClose,
    Size,
    Chunk { left: u64 },
    ChunkEnd,
    Trailer,
    Done,
}

/// The state between two pieces of an answer.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of a head or of a line that a piece cut.
    held: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Head,
            held: Vec::new(),
        }
    }
}

impl Decoder {
    /// Takes the next bytes and hands each part that they complete to `sink`, in order.
    pub fn feed<E: From<HttpError>>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes, sink)?,
                State::Fixed { left } => {
                    let (part, rest) = split(bytes, left);
                    sink(Part::Body(part))?;
                    self.state = match left - part.len() as u64 {
                        0 => State::Done,
                        left => State::Fixed { left },
                    };
                    rest
                }
                State::UntilClose => {
                    sink(Part::Body(bytes))?;
                    &[]
                }
                State::Chunk { left } => {
                    let (part, rest) = split(bytes, left);
                    sink(Part::Body(part))?;
                    self.state = match left - part.len() as u64 {
                        0 => State::ChunkEnd,
                        left => State::Chunk { left },
                    };
                    rest
                }
                State::Size | State::ChunkEnd | State::Trailer => self.line(bytes)?,
                State::Done => return Err(HttpError::Surplus.into()),
            };
        }
        Ok(())
    }

    /// Whether the answer is whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The connection ended; whether that is how this answer was to end.
    pub fn close(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    fn head<'a, E: From<HttpError>>(
        &mut self,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let before = self.held.len();
        let held = !self.held.is_empty();
        if held {
            self.held.extend_from_slice(bytes);
        }
        let all = if held { &self.held } else { bytes };
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let Some(length) = complete(response.parse(all).map_err(HttpError::Head)?) else {
            if !held {
                self.held.extend_from_slice(bytes);
            }
            if self.held.len() > MAX_LINE_BYTES {
                return Err(HttpError::TooLong.into());
            }
            return Ok(&[]);
        };
        let (told, state) = read_head(&response)?;
        self.state = state;
        self.held.clear();
        if let Some(told) = told {
            sink(Part::Head(told))?;
        }
        Ok(&bytes[length - before..])
    }

    /// A line between chunks: a size, the end of a chunk, or a trailer field.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], HttpError> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.held.extend_from_slice(bytes);
            return if self.held.len() > MAX_LINE_BYTES {
                Err(HttpError::TooLong)
            } else {
                Ok(&[])
            };
        };
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.held.is_empty() {
            self.state = after_line(self.state, line)?;
        } else {
            self.held.extend_from_slice(line);
            self.state = after_line(self.state, &self.held)?;
            self.held.clear();
        }
        Ok(rest)
    }
}

fn complete(status: httparse::Status<usize>) -> Option<usize> {
    match status {
        httparse::Status::Complete(length) => Some(length),
        httparse::Status::Partial => None,
    }
}

fn split(bytes: &[u8], left: u64) -> (&[u8], &[u8]) {
    let most = usize::try_from(left).unwrap_or(usize::MAX);
    bytes.split_at(bytes.len().min(most))
}

/// Where a line, without its line feed, leads.
fn after_line(state: State, line: &[u8]) -> Result<State, HttpError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match state {
        State::Size => match size(line).ok_or(HttpError::Chunk)? {
            0 => Ok(State::Trailer),
            left => Ok(State::Chunk { left }),
        },
        State::ChunkEnd if line.is_empty() => Ok(State::Size),
        State::ChunkEnd => Err(HttpError::Chunk),
        // Trailer fields say nothing that is asked for.
        _ if line.is_empty() => Ok(State::Done),
        _ => Ok(State::Trailer),
    }
}

/// A size in hexadecimal, before an extension if there is one.
fn size(line: &[u8]) -> Option<u64> {
    let mut size = 0_u64;
    let mut digits = 0;
    for byte in line {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b';' | b' ' | b'\t' if digits > 0 => break,
            _ => return None,
        };
        digits += 1;
        size = size.checked_mul(16)?.checked_add(u64::from(digit))?;
    }
    (digits > 0).then_some(size)
}

fn read_head(response: &httparse::Response<'_, '_>) -> Result<(Option<Head>, State), HttpError> {
    let status = response.code.unwrap_or_default();
    if (100..200).contains(&status) && status != 101 {
        return Ok((None, State::Head));
    }
    let mut head = Head {
        status,
        closes: response.version == Some(0),
        is_stream: false,
    };
    let mut length = None;
    let mut chunked = false;
    for field in response.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        let has = |word: &str| value.to_ascii_lowercase().contains(word);
        match field.name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => chunked = has("chunked"),
            "content-type" => head.is_stream = has("text/event-stream"),
            "connection" => head.closes = has("close") || (head.closes && !has("keep-alive")),
            "content-length" => {
                let parsed = value.trim().parse::<u64>();
                length = Some(parsed.map_err(|_| HttpError::Length(value.into_owned()))?);
            }
            _ => {}
        }
    }
    let state = match (chunked, length) {
        _ if matches!(status, 204 | 304) => State::Done,
        (true, _) => State::Size,
        (false, Some(0)) => State::Done,
        (false, Some(left)) => State::Fixed { left },
        (false, None) => {
            head.closes = true;
            State::UntilClose
        }
    };
    Ok((Some(head), state))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nx-sum: 1\r\n\r\n";

    /// Head and body of an answer that came in these pieces, and whether it is whole.
    fn read(pieces: &[&[u8]]) -> Result<(Option<Head>, String, bool), HttpError> {
        let mut decoder = Decoder::default();
        let (mut head, mut body) = (None, Vec::new());
        for piece in pieces {
            decoder.feed(piece, &mut |part| {
                match part {
                    Part::Head(found) => head = Some(found),
                    Part::Body(bytes) => body.extend_from_slice(bytes),
                }
                Ok::<(), HttpError>(())
            })?;
        }
        Ok((head, String::from_utf8(body).unwrap(), decoder.is_done()))
    }

    #[test]
    fn a_chunked_answer_is_put_together() {
        let (head, body, done) = read(&[CHUNKED]).unwrap();
        let head = head.unwrap();
        assert_eq!((head.status, head.is_stream, head.closes), (200, true, false));
        assert_eq!((body.as_str(), done), ("hello world", true));
    }

    #[test]
    fn a_length_ends_a_body() {
        let (head, body, done) = read(&[
            b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 3\r\n\r\nab",
            b"c",
        ])
        .unwrap();
        let head = head.unwrap();
        assert_eq!((head.status, head.closes), (404, true));
        assert_eq!((body.as_str(), done), ("abc", true));
        assert!(read(&[b"HTTP/1.1 204 No Content\r\n\r\n"]).unwrap().2);
        assert!(
            read(&[b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
                .unwrap()
                .2
        );
    }

    #[test]
    fn the_end_of_the_connection_ends_a_body_without_length() {
        let mut decoder = Decoder::default();
        let mut sink = |_: Part<'_>| Ok::<(), HttpError>(());
        decoder.feed(b"HTTP/1.0 200 OK\r\n\r\nabc", &mut sink).unwrap();
        assert!(!decoder.is_done());
        assert!(decoder.close());
        let mut decoder = Decoder::default();
        decoder
            .feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", &mut sink)
            .unwrap();
        assert!(!decoder.close());
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
        let told = [
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab".to_owned(),
            chunked("zz\r\n"),
            chunked("2\r\nabc\r\n"),
            chunked(&format!("1{}\r\n", "0".repeat(20))),
            chunked(&"1".repeat(MAX_LINE_BYTES + 1)),
        ];
        let told: Vec<String> = told
            .iter()
            .map(|bytes| match read(&[bytes.as_bytes()]) {
                Ok((_, _, done)) => format!("no error, whole: {done}"),
                Err(error) => error.to_string(),
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_answer(cuts in prop::collection::vec(0..=CHUNKED.len(), 0..20)) {
            let mut at = cuts;
            at.extend([0, CHUNKED.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &CHUNKED[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[CHUNKED]));
        }

        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let mut decoder = Decoder::default();
            for piece in pieces {
                drop(decoder.feed(piece, &mut |_| Ok::<(), HttpError>(())));
            }
        }
    }
}
