//! Taking thinking and tool calls out of a model's text, as vLLM's parsers do.

use serde_json::Value;

const THINK: &str = "<think>";
const END_THINK: &str = "</think>";
/// Begins a tool call in the text.
pub const CALL: &str = "<tool_call>";
const END_CALL: &str = "</tool_call>";

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Function.
    pub name: String,
    /// Arguments, as JSON text.
    pub arguments: String,
}

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Thinking.
    pub reasoning: Option<String>,
    /// What is said; null when there are only calls.
    pub content: Option<String>,
    /// Calls.
    pub calls: Vec<ToolCall>,
}

/// Takes a whole text apart.
pub fn answer_of(text: &str, splits_reasoning: bool, tools: bool) -> Answer {
    let (reasoning, content) = match text.split_once(END_THINK).filter(|_| splits_reasoning) {
        Some((before, after)) => {
            let thinking = before.strip_prefix(THINK).unwrap_or(before);
            (Some(thinking.to_owned()), after.to_owned())
        }
        None => (None, text.to_owned()),
    };
    let calls = if tools { calls_of(&content) } else { Vec::new() };
    let content = if calls.is_empty() {
        Some(content)
    } else {
        content
            .split_once(CALL)
            .map(|(before, _)| before.to_owned())
            .filter(|before| !before.trim().is_empty())
    };
    Answer {
        reasoning,
        content,
        calls,
    }
}

/// The calls in a text.
pub fn calls_of(text: &str) -> Vec<ToolCall> {
    let parts = text.split(CALL).skip(1);
    let bodies = parts.map(|part| part.split_once(END_CALL).map_or(part, |(body, _)| body));
    bodies
        .filter_map(|body| {
            let call: Value = serde_json::from_str(body.trim()).ok()?;
            let name = call.get("name")?.as_str()?.to_owned();
            let arguments = call
                .get("arguments")
                .map_or_else(|| "{}".to_owned(), Value::to_string);
            Some(ToolCall { name, arguments })
        })
        .collect()
}

/// A part of a streamed text.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Thinking.
    Reasoning(String),
    /// What is said.
    Content(String),
}

/// Takes a streamed text apart. The marks are single tokens, so they never arrive in pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    thinks: bool,
    calls: String,
}

impl Splitter {
    /// The parts of the next piece of text.
    pub fn push(&mut self, text: String, splits_reasoning: bool, tools: bool) -> Vec<Part> {
        if tools && (!self.calls.is_empty() || text.contains(CALL)) {
            self.calls.push_str(&text);
            return Vec::new();
        }
        if !splits_reasoning {
            return vec![Part::Content(text)];
        }
        if let Some((before, after)) = text.split_once(THINK) {
            self.thinks = true;
            let parts = [
                (Part::Content(before.to_owned()), before),
                (Part::Reasoning(after.to_owned()), after),
            ];
            return parts
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(part, _)| part)
                .collect();
        }
        if !self.thinks {
            return vec![Part::Content(text)];
        }
        let Some((before, after)) = text.split_once(END_THINK) else {
            return vec![Part::Reasoning(text)];
        };
        self.thinks = false;
        let parts = [
            (Part::Reasoning(before.to_owned()), before),
            (Part::Content(after.to_owned()), after),
        ];
        parts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(part, _)| part)
            .collect()
    }

    /// The calls that were held back.
    pub fn calls(&self) -> Vec<ToolCall> {
        calls_of(&self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<think>\nhm\n</think>\n\n4";
    const CALLS: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

    #[test]
    fn thinking_is_taken_out_where_that_is_asked_for() {
        let split = answer_of(TEXT, true, false);
        assert_eq!(
            (split.reasoning.as_deref(), split.content.as_deref()),
            (Some("\nhm\n"), Some("\n\n4"))
        );
        assert_eq!(answer_of(TEXT, false, false).content.as_deref(), Some(TEXT));
    }

    #[test]
    fn calls_leave_no_content() {
        let answer = answer_of(CALLS, false, true);
        assert_eq!(answer.content, None);
        assert_eq!(
            answer.calls,
            [ToolCall {
                name: "f".to_owned(),
                arguments: "{\"a\":1}".to_owned()
            }]
        );
        assert_eq!(answer_of(CALLS, false, false).content.as_deref(), Some(CALLS));
    }

    #[test]
    fn a_stream_is_taken_apart_alike() {
        let mut splitter = Splitter::default();
        let parts: Vec<_> = ["<think>", "\nhm", "</think>", "4"]
            .into_iter()
            .flat_map(|piece| splitter.push(piece.to_owned(), true, true))
            .collect();
        assert_eq!(
            parts,
            [Part::Reasoning("\nhm".to_owned()), Part::Content("4".to_owned())]
        );
        assert!(splitter.push(CALLS.to_owned(), true, true).is_empty());
        assert_eq!(splitter.calls().len(), 1);
    }
}
