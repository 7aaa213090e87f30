//! Traces of real traffic, one JSON object a line, and the requests that repeat them.
//!
//! Mooncake's form (`{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": […]}`,
//! github.com/kvcache-ai/Mooncake): every hash stands for a block of 512 prompt tokens, and equal hashes for equal blocks,
//! so that prompts share what the real ones shared. vLLM's custom form (`{"prompt": "…", "output_tokens": n}`) has the
//! text itself; `timestamp` may stand beside it. Without any `timestamp` a file is a list of requests and no schedule.

use std::{
    io::{self, BufRead},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    Vocabulary,
    spec::{PromptBody, Spec},
};
use crate::stats::Random;

/// Tokens of a block that a hash stands for.
const BLOCK_TOKENS: usize = 512;
/// Longest line that is read.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Line {
    /// When the request came, milliseconds from any beginning.
    pub timestamp: Option<f64>,
    /// Tokens of the prompt.
    pub input_length: Option<u32>,
    /// Tokens of the answer.
    #[serde(alias = "output_tokens")]
    pub output_length: Option<u32>,
    /// Blocks of the prompt.
    #[serde(default)]
    pub hash_ids: Vec<u64>,
    /// The prompt itself.
    pub prompt: Option<String>,
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not one of a trace.
    #[error("line {line}: {why}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It holds no request.
    #[error("holds no request")]
    Empty,
}

/// A trace that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceFile {
    /// Its lines, in the order of time.
    pub lines: Vec<Line>,
    /// When each request is due, nanoseconds after the first; `None` where the file has no times.
    pub due_ns: Option<Vec<u64>>,
}

/// Reads a trace. `default_output` speaks where a line names no length of the answer.
pub fn read(mut file: impl BufRead, default_output: Option<u32>) -> Result<TraceFile, ReplayError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let count = io::Read::take(&mut file, MAX_LINE_BYTES).read_until(b'\n', &mut text)?;
        if count == 0 {
            break;
        }
        let wrong = |why: String| ReplayError::Line { line: number, why };
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut line: Line = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        line.output_length = line.output_length.or(default_output);
        check(&line).map_err(wrong)?;
        if lines
            .first()
            .is_some_and(|first| first.timestamp.is_some() != line.timestamp.is_some())
        {
            return Err(wrong("only some lines have a `timestamp`".to_owned()));
        }
        lines.push(line);
    }
    let first = lines.first().ok_or(ReplayError::Empty)?.timestamp;
    let due_ns = first.is_some().then(|| {
        lines.sort_by(|a, b| time_ms(a).total_cmp(&time_ms(b)));
        let begin = lines.first().map_or(0.0, time_ms);
        lines
            .iter()
            .map(|line| nanoseconds(time_ms(line) - begin))
            .collect()
    });
    Ok(TraceFile { lines, due_ns })
}

fn check(line: &Line) -> Result<(), String> {
    let blocks = line.hash_ids.len() * BLOCK_TOKENS;
    match (line.input_length, &line.prompt) {
        (None, None) => return Err("neither `input_length` nor `prompt`".to_owned()),
        (Some(0), None) => return Err("`input_length` is 0".to_owned()),
        (Some(length), None) if !line.hash_ids.is_empty() && length as usize > blocks => {
            return Err(format!(
                "`input_length` is {length}, but `hash_ids` stand for {blocks} tokens"
            ));
        }
        _ => {}
    }
    if line.output_length.is_none_or(|length| length == 0) {
        return Err(
            "no `output_length` (or `output_tokens`), and none was given with --output-len".to_owned(),
        );
    }
    if line.timestamp.is_some_and(|time| !time.is_finite()) {
        return Err("`timestamp` is not a number".to_owned());
    }
    Ok(())
}

fn time_ms(line: &Line) -> f64 {
    line.timestamp.unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and saturating is right"
)]
fn nanoseconds(ms: f64) -> u64 {
    (ms.max(0.0) * 1e6) as u64
}

/// Requests that repeat a trace.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The trace.
    pub lines: Arc<Vec<Line>>,
    /// What prompts are made of where the trace only has their lengths.
    pub vocabulary: Arc<Vocabulary>,
    /// Seed of those prompts.
    pub seed: u64,
}

impl Replayed {
    /// The request of that number.
    pub fn get(&self, index: u64) -> Option<Spec> {
        let line = self.lines.get(usize::try_from(index).ok()?)?;
        let (prompt, prompt_tokens) = match (&line.prompt, line.input_length) {
            (Some(text), length) => (PromptBody::Text(escaped(text)), length),
            (None, length) => {
                let tokens = length.unwrap_or(1);
                (self.made(index, tokens, &line.hash_ids), Some(tokens))
            }
        };
        Some(Spec {
            prompt,
            prompt_tokens,
            output_tokens: line.output_length.unwrap_or(1),
            turn: None,
        })
    }

    /// A prompt of blocks; without hashes it is like no other.
    fn made(&self, index: u64, tokens: u32, hashes: &[u64]) -> PromptBody {
        let size = self.vocabulary.size();
        let stream = |seed: u64, number: u64| {
            let mut random = Random::stream(seed, number);
            std::iter::repeat_with(move || random.below(size))
        };
        if hashes.is_empty() {
            // A seed of its own, so that no request is somebody's block.
            return self.vocabulary.prompt(tokens, stream(!self.seed, index));
        }
        let blocks = hashes
            .iter()
            .flat_map(|&hash| stream(self.seed, hash).take(BLOCK_TOKENS));
        self.vocabulary.prompt(tokens, blocks)
    }
}

/// A text as it stands between the quotes of a JSON string.
pub fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(file: &TraceFile) -> Replayed {
        Replayed {
            lines: Arc::new(file.lines.clone()),
            vocabulary: Arc::new(Vocabulary::ids((0..500).collect())),
            seed: 3,
        }
    }

    fn ids(spec: &Spec) -> &[u32] {
        match &spec.prompt {
            PromptBody::TokenIds(ids) => ids,
            PromptBody::Text(text) => panic!("{text}"),
        }
    }

    #[test]
    fn a_mooncake_trace_shares_what_it_shared() {
        let text = "{\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [7, 8]}\n\n\
            {\"timestamp\": 1000, \"input_length\": 1024, \"output_length\": 9, \"hash_ids\": [7, 9]}\n";
        let file = read(text.as_bytes(), None).unwrap();
        assert_eq!(file.due_ns, Some(vec![0, 2_000_000_000]));
        let requests = replayed(&file);
        let (first, second) = (requests.get(0).unwrap(), requests.get(1).unwrap());
        assert_eq!((first.output_tokens, ids(&first).len()), (9, 1024));
        assert_eq!((second.output_tokens, ids(&second).len()), (5, 600));
        assert_eq!(ids(&first)[..512], ids(&second)[..512]);
        assert_ne!(ids(&first)[512..600], ids(&second)[512..]);
        assert_eq!(requests.get(2), None);
    }

    #[test]
    fn a_list_of_prompts_is_no_schedule() {
        let text = "{\"prompt\": \"say \\\"a\\\"\\n\", \"output_tokens\": 3}\n{\"prompt\": \"b\"}\n";
        let file = read(text.as_bytes(), Some(8)).unwrap();
        assert_eq!(file.due_ns, None);
        let requests = replayed(&file);
        let first = requests.get(0).unwrap();
        assert_eq!(first.prompt, PromptBody::Text("say \\\"a\\\"\\n".into()));
        assert_eq!((first.output_tokens, first.prompt_tokens), (3, None));
        assert_eq!(requests.get(1).unwrap().output_tokens, 8);
    }

    #[test]
    fn requests_without_hashes_share_nothing() {
        let text = "{\"input_length\": 20, \"output_length\": 1}\n".repeat(2);
        let requests = replayed(&read(text.as_bytes(), None).unwrap());
        assert_ne!(ids(&requests.get(0).unwrap()), ids(&requests.get(1).unwrap()));
    }

    #[test]
    fn what_is_wrong_with_a_trace_is_said_with_its_line() {
        let told = [
            "",
            "\n{\"input_length\": 3}\n",
            "{\"output_length\": 3}\n",
            "{\"input_length\": 0, \"output_length\": 3}\n",
            "{\"input_length\": 513, \"output_length\": 3, \"hash_ids\": [1]}\n",
            "{\"input_length\": 1, \"output_length\": 3}\n{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 3}\n",
            "input_length,output_length\n",
        ]
        .map(|text| read(text.as_bytes(), None).unwrap_err().to_string());
        insta::assert_snapshot!(told.join("\n"));
    }
}
