//! Reading of streamed answers: which chunk carries tokens, when its bytes came, and how the stream ended.

use std::time::Instant;

use reqwest::Url;
use serde::Deserialize;

use super::error::{ClientError, ErrorBody, quote};
use crate::vllm::{FinishReason, Usage, sse::SseError};

/// Data of the event that ends a stream.
const DONE: &str = "[DONE]";

/// Something that a stream brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A chunk that carries at least one token. Its text may be empty: the first half of a character, a special
    /// token, or the end of the sequence.
    Tokens {
        /// When the chunk's bytes arrived.
        at: Instant,
        /// Text of the chunk, thought or answer.
        text: String,
    },
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// Why generation ended.
    pub finish: FinishReason,
    /// Tokens as the server counted them.
    pub usage: Option<Usage>,
    /// The whole text of the answer, without the thought before it.
    pub text: String,
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
    tool_calls: Option<Vec<ToolDelta>>,
}

#[derive(Debug, Deserialize)]
struct ToolDelta {
    function: Option<FunctionDelta>,
}

#[derive(Debug, Deserialize)]
struct FunctionDelta {
    arguments: Option<String>,
}

/// The state of a stream between its events.
#[derive(Debug)]
pub(super) struct StreamReader<'a> {
    url: &'a Url,
    /// Events that came, the end mark among them.
    pub(super) events: usize,
    done: bool,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    text: String,
}

impl<'a> StreamReader<'a> {
    pub(super) const fn new(url: &'a Url) -> Self {
        Self {
            url,
            events: 0,
            done: false,
            finish: None,
            usage: None,
            text: String::new(),
        }
    }

    /// Takes the data of one event, whose last byte came at `at`.
    pub(super) fn event(
        &mut self,
        data: &str,
        at: Instant,
        sink: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), ClientError> {
        self.events += 1;
        if data == DONE {
            self.done = true;
            return Ok(());
        }
        let bad_json = |source| ClientError::BadJson {
            url: self.url.to_string(),
            place: format!("event {} of the stream", self.events),
            source,
            quote: quote(data),
        };
        let chunk: Chunk = serde_json::from_str(data).map_err(bad_json)?;
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            let body: ErrorBody = serde_json::from_str(data).map_err(bad_json)?;
            return Err(body.into_error(self.url, 500));
        }
        self.usage = chunk.usage.or(self.usage);
        // With `n` pinned to 1 there is one choice, or none in the chunk that only carries the usage.
        if let Some(choice) = chunk.choices.into_iter().next() {
            self.choice(choice, at, sink);
        }
        Ok(())
    }

    fn choice(&mut self, choice: ChunkChoice, at: Instant, sink: &mut dyn FnMut(StreamEvent)) {
        let carries_tokens = choice.carries_tokens();
        self.finish = choice.finish_reason.or(self.finish.take());
        let (answer, shown) = match (choice.text, choice.delta) {
            (Some(text), _) => (text.clone(), text),
            (None, Some(delta)) => delta.texts(),
            (None, None) => (String::new(), String::new()),
        };
        self.text.push_str(&answer);
        if carries_tokens {
            sink(StreamEvent::Tokens { at, text: shown });
        }
    }

    /// The end, once the connection has given its last byte.
    pub(super) fn end(self) -> Result<StreamEnd, ClientError> {
        if !self.done {
            let cause = "the end mark `[DONE]` is missing".to_owned();
            return Err(ClientError::Cut {
                url: self.url.to_string(),
                events: self.events,
                cause,
            });
        }
        let finish = self
            .finish
            .ok_or_else(|| ClientError::missing(self.url, "choices[0].finish_reason"))?;
        Ok(StreamEnd {
            finish,
            usage: self.usage,
            text: self.text,
        })
    }
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

    /// The answer's text, and everything that the chunk shows: thought, answer or arguments of a call.
    fn texts(self) -> (String, String) {
        let answer = self.content.unwrap_or_default();
        let mut shown = self.reasoning.or(self.reasoning_content).unwrap_or_default();
        shown.push_str(&answer);
        for call in self.tool_calls.unwrap_or_default() {
            shown.push_str(
                call.function
                    .and_then(|function| function.arguments)
                    .as_deref()
                    .unwrap_or_default(),
            );
        }
        (answer, shown)
    }
}

/// An error out of the splitter or out of an event's meaning.
pub(super) enum StreamError {
    Split(SseError),
    Event(ClientError),
}

impl From<SseError> for StreamError {
    fn from(error: SseError) -> Self {
        Self::Split(error)
    }
}

impl StreamError {
    pub(super) fn at(self, url: &Url) -> ClientError {
        match self {
            Self::Event(error) => error,
            Self::Split(SseError::InvalidUtf8 { at_byte }) => ClientError::InvalidUtf8 {
                url: url.to_string(),
                at_byte,
            },
            Self::Split(source @ SseError::TooLong) => ClientError::Endless {
                url: url.to_string(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &[&str]) -> (Vec<String>, Result<StreamEnd, ClientError>) {
        let url = Url::parse("http://127.0.0.1:1/v1/chat/completions").unwrap();
        let mut reader = StreamReader::new(&url);
        let mut texts = Vec::new();
        for event in events {
            let step = reader.event(
                event,
                Instant::now(),
                &mut |StreamEvent::Tokens { text, .. }| texts.push(text),
            );
            if let Err(error) = step {
                return (texts, Err(error));
            }
        }
        (texts, reader.end())
    }

    #[test]
    fn the_role_chunk_and_the_usage_chunk_are_no_tokens() {
        let (texts, end) = run(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null},"logprobs":null,"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Pa"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"ris"},"finish_reason":"length","stop_reason":null}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"total_tokens":6,"completion_tokens":3}}"#,
            "[DONE]",
        ]);
        assert_eq!(texts, ["Pa", "", "ris"]);
        let end = end.unwrap();
        assert_eq!((end.text.as_str(), end.finish), ("Paris", FinishReason::Length));
        assert_eq!(
            end.usage,
            Some(Usage {
                prompt_tokens: 3,
                completion_tokens: 3
            })
        );
    }

    #[test]
    fn thought_counts_as_tokens_and_not_as_answer() {
        let (texts, end) = run(&[
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"m"}}]}"#,
            r#"{"choices":[{"delta":{"content":"4"},"finish_reason":"stop"}],"usage":null}"#,
            "[DONE]",
        ]);
        assert_eq!(texts, ["hm", "m", "4"]);
        assert_eq!(end.unwrap().text, "4");
    }

    #[test]
    fn token_ids_decide_where_they_are_told() {
        let (texts, _) = run(&[
            r#"{"choices":[{"text":"","token_ids":[]}]}"#,
            r#"{"choices":[{"text":" a","token_ids":[5]}]}"#,
        ]);
        assert_eq!(texts, [" a"]);
    }

    #[test]
    fn bad_ends_are_told_apart() {
        let told = [
            run(&[r#"{"choices":[{"text":" a"}],"usage":null}"#]).1,
            run(&[r#"{"choices":[{"text":" a"}]}"#, "[DONE]"]).1,
            run(&[r#"{"choices":[{"text":" a""#]).1,
            run(&[
                r#"{"error":{"object":"error","message":"boom","type":"InternalServerError","code":500}}"#,
            ])
            .1,
            run(&[r#"{"object":"error","message":"boom","type":"InternalServerError","code":500}"#]).1,
        ];
        let told: Vec<String> = told.into_iter().map(|end| end.unwrap_err().to_string()).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
