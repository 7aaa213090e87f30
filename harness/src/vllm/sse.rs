//! Splits a byte stream into server-sent events (WHATWG HTML, 9.2.6: event stream interpretation).
//!
//! Incremental: bytes are fed as they come off the socket, and any cutting of the stream, through the middle of a
//! line end or of a UTF-8 sequence, yields the same events. Only `data` matters here; comments (keep-alives) and
//! other fields are dropped. Memory is bounded by [`MAX_EVENT_BYTES`], whatever the server sends. An event of one line
//! that lies whole in a piece, as nearly all do, is handed on where it lies; only what is cut is copied.

use std::ops::Range;

use memchr::memchr2;

/// Longest event that is accepted. A whole answer in one event, with 20 logprobs a token, stays far below.
pub const MAX_EVENT_BYTES: usize = 64 << 20;

/// Why a stream cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line is not UTF-8.
    #[error("byte {at_byte} of the stream is not UTF-8")]
    InvalidUtf8 {
        /// Offset from the start of the stream.
        at_byte: usize,
    },
    /// An event does not end.
    #[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
    TooLong,
}

/// The state between two pieces of a stream.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes of the line that has not ended yet.
    line: Vec<u8>,
    /// Data of the event that has not ended yet; lines joined by line feeds.
    data: String,
    /// Whether the event has a `data` field (its text may be empty).
    has_data: bool,
    /// Whether the last byte was a carriage return, so that a line feed belongs to it.
    after_return: bool,
    /// Where the current line begins, counted from the start of the stream.
    line_start_byte: usize,
}

impl Splitter {
    /// Takes the next bytes and hands the data of each event that they complete to `emit`, in order.
    pub fn feed<E: From<SseError>>(
        &mut self,
        mut bytes: &[u8],
        emit: &mut impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&first) = bytes.first() {
            if let Some((data, length)) = self.whole_event(bytes) {
                let begin = data.start;
                let text = str::from_utf8(&bytes[data]).map_err(|error| SseError::InvalidUtf8 {
                    at_byte: self.line_start_byte + begin + error.valid_up_to(),
                })?;
                emit(text)?;
                self.line_start_byte += length;
                bytes = &bytes[length..];
                continue;
            }
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                self.line_start_byte += 1;
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                return Ok(self.check_length()?);
            };
            self.after_return = bytes[end] == b'\r';
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line(emit)?;
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Where the data of an event of one line lies with which `bytes` begins, and the length of the event; `None` where
    /// the state or the bytes are any other, which is for the slower way to tell.
    fn whole_event(&self, bytes: &[u8]) -> Option<(Range<usize>, usize)> {
        if self.after_return || self.is_mid_event() || !bytes.starts_with(b"data:") {
            return None;
        }
        let start = 5 + usize::from(bytes.get(5) == Some(&b' '));
        let end = start + memchr2(b'\n', b'\r', &bytes[start..])?;
        let close = if bytes[end..].starts_with(b"\n\n") {
            2
        } else if bytes[end..].starts_with(b"\r\n\r\n") {
            4
        } else {
            return None;
        };
        (end - start <= MAX_EVENT_BYTES).then_some((start..end, end + close))
    }

    /// Whether the stream ended within an event, which is then lost.
    pub const fn is_mid_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    fn end_line<E: From<SseError>>(&mut self, emit: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        self.check_length()?;
        let line = std::mem::take(&mut self.line);
        let text = str::from_utf8(&line).map_err(|error| SseError::InvalidUtf8 {
            at_byte: self.line_start_byte + error.valid_up_to(),
        })?;
        let text = if self.line_start_byte == 0 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        self.line_start_byte += line.len() + 1;
        if text.is_empty() {
            if std::mem::take(&mut self.has_data) {
                let data = std::mem::take(&mut self.data);
                emit(&data)?;
            }
        } else {
            self.take_field(text);
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }

    /// A line is `name`, `name:value` or `name: value`; a comment has an empty name.
    fn take_field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name != "data" {
            return;
        }
        if self.has_data {
            self.data.push('\n');
        }
        self.has_data = true;
        self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
    }

    const fn check_length(&self) -> Result<(), SseError> {
        if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
            return Err(SseError::TooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Result<Vec<String>, SseError> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.feed(piece, &mut |event: &str| {
                events.push(event.to_owned());
                Ok::<(), SseError>(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn every_line_end_separates_events() {
        assert_eq!(split(&[b"data: a\n\ndata: b\n\n"]).unwrap(), ["a", "b"]);
        assert_eq!(split(&[b"data: a\r\n\r\ndata: b\r\n\r\n"]).unwrap(), ["a", "b"]);
        assert_eq!(split(&[b"data: a\r\rdata: b\r\r"]).unwrap(), ["a", "b"]);
        assert_eq!(
            split(&[b"data: a\r", b"\n\r", b"\ndata:b\n\n"]).unwrap(),
            ["a", "b"]
        );
    }

    #[test]
    fn comments_and_other_fields_are_dropped() {
        let stream = b": keep-alive\n\nevent: x\nid: 7\ndata: a\n: inside\ndata: b\nretry: 1\n\nid: 8\n\n";
        assert_eq!(split(&[stream]).unwrap(), ["a\nb"]);
    }

    #[test]
    fn empty_data_and_a_missing_space_are_kept_as_written() {
        assert_eq!(
            split(&[b"\xef\xbb\xbfdata\n\ndata:\n\ndata:  x\n\n"]).unwrap(),
            ["", "", " x"]
        );
    }

    #[test]
    fn an_event_that_did_not_end_is_not_emitted() {
        let mut splitter = Splitter::default();
        let mut none = |_: &str| -> Result<(), SseError> { panic!("nothing ended") };
        splitter.feed(b"data: half", &mut none).unwrap();
        assert!(splitter.is_mid_event());
        splitter.feed(b" line\n", &mut none).unwrap();
        assert!(splitter.is_mid_event());
        splitter.feed(b"\n", &mut |_| Ok::<(), SseError>(())).unwrap();
        assert!(!splitter.is_mid_event());
    }

    #[test]
    fn invalid_utf8_is_located() {
        assert_eq!(
            split(&[b"data: ok\r\n\r\n", b"data: a\xff\n\n"]),
            Err(SseError::InvalidUtf8 { at_byte: 19 })
        );
    }

    #[test]
    fn an_event_of_a_megabyte_survives_small_pieces() {
        let text = "é".repeat(1 << 19);
        let stream = format!("data: {text}\n\n");
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(1447).collect();
        assert_eq!(split(&pieces).unwrap(), [text]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let piece = vec![b'x'; 1 << 20];
        let pieces = vec![piece.as_slice(); 65];
        assert_eq!(split(&pieces), Err(SseError::TooLong));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_events(
            parts in prop::collection::vec("(data: ?[a-zé漢😀]{0,6}|:[a-z]{0,3}|id: 1)?(\n|\r\n|\r|\n\n|\r\n\r\n)", 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let stream = parts.concat();
            let bytes = stream.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces).unwrap(), split(&[bytes]).unwrap());
        }

        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = split(&pieces);
        }
    }
}
