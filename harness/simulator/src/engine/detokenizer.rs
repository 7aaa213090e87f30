//! Tokens to text, piece by piece: incomplete characters wait for their bytes, and the end of the text waits
//! while it may be the beginning of a stop string.

use crate::tokenizer::{Token, Tokenizer};

/// Text of one sequence as it grows.
#[derive(Debug, Default)]
pub struct Detokenizer {
    /// Bytes of an incomplete character.
    pending: Vec<u8>,
    /// Text that has not been handed out.
    held: String,
}

/// What a token added.
#[derive(Debug, PartialEq, Eq)]
pub struct Added {
    /// Text to hand out.
    pub text: String,
    /// The stop string that was met.
    pub stop: Option<String>,
}

impl Detokenizer {
    /// Adds a token's text.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: Token, skip_special: bool) {
        if !(skip_special && tokenizer.is_hidden(token)) {
            self.pending.extend_from_slice(&tokenizer.bytes(token));
        }
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.pending.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.held
                        .push_str(&String::from_utf8_lossy(&self.pending[..valid]));
                    self.pending.drain(..valid);
                    let Some(wrong) = error.error_len() else { return };
                    self.held.push('\u{fffd}');
                    self.pending.drain(..wrong);
                }
            }
        }
    }

    /// Hands out what is certain, or all when the sequence is over.
    pub fn take(&mut self, stops: &[String], include_stop: bool, over: bool) -> Added {
        if let Some((at, stop)) = first_stop(&self.held, stops) {
            let end = if include_stop { at + stop.len() } else { at };
            self.held.truncate(end);
            self.pending.clear();
            return Added {
                text: std::mem::take(&mut self.held),
                stop: Some(stop.to_owned()),
            };
        }
        if over {
            if !self.pending.is_empty() {
                self.held.push('\u{fffd}');
                self.pending.clear();
            }
            return Added {
                text: std::mem::take(&mut self.held),
                stop: None,
            };
        }
        let longest = if include_stop {
            0
        } else {
            stops.iter().map(String::len).max().unwrap_or(0)
        };
        let mut certain = self.held.len().saturating_sub(longest.saturating_sub(1));
        while !self.held.is_char_boundary(certain) {
            certain -= 1;
        }
        let rest = self.held.split_off(certain);
        Added {
            text: std::mem::replace(&mut self.held, rest),
            stop: None,
        }
    }
}

fn first_stop<'a>(text: &str, stops: &'a [String]) -> Option<(usize, &'a str)> {
    let found = stops.iter().filter(|stop| !stop.is_empty());
    found
        .filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.as_str())))
        .min_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(text: &str, stops: &[&str], include: bool) -> (Vec<String>, Option<String>) {
        let tokenizer = Tokenizer::new(512);
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut detokenizer = Detokenizer::default();
        let mut parts = Vec::new();
        for token in tokenizer.encode(text) {
            detokenizer.push(&tokenizer, token, true);
            let added = detokenizer.take(&stops, include, false);
            parts.push(added.text);
            if added.stop.is_some() {
                return (parts, added.stop);
            }
        }
        parts.push(detokenizer.take(&stops, include, true).text);
        (parts, None)
    }

    #[test]
    fn characters_wait_for_their_bytes() {
        let (parts, _) = feed("é!", &[], false);
        assert_eq!(parts, ["", "é", "!", ""]);
    }

    #[test]
    fn a_stop_string_is_held_back_and_cut() {
        let (parts, stop) = feed("a END b", &["END"], false);
        assert_eq!((parts.concat().as_str(), stop.as_deref()), ("a ", Some("END")));
        let (parts, stop) = feed("a END b", &["END"], true);
        assert_eq!((parts.concat().as_str(), stop.as_deref()), ("a END", Some("END")));
        let (parts, stop) = feed("a EN", &["END"], false);
        assert_eq!((parts.concat().as_str(), stop), ("a EN", None));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let tokenizer = Tokenizer::new(512);
        let mut detokenizer = Detokenizer::default();
        detokenizer.push(&tokenizer, 16 + 0xff, true);
        detokenizer.push(&tokenizer, 16 + 0xc3, true);
        assert_eq!(detokenizer.take(&[], false, true).text, "\u{fffd}\u{fffd}");
    }
}
