//! `inspect-log`: what a saved server log tells, whoever saved it. The file is read as a stream; of a long one the
//! last lines alone are kept for the search of a failure, as during a run.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::{CliError, device::json, print, say};
use crate::{
    failure::{self, Failure},
    record::MemoryFigures,
    run::Exit,
    target::TAIL_LINES,
    vllm::{Reader, StartupFacts, log_line},
};

/// Longest line that is read whole, in bytes; the rest of a longer one says nothing of a server.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Which log, and how to show it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The log, both streams in one file (`docker logs NAME > FILE 2>&1`); `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
}

/// What a log tells.
#[derive(Debug, Serialize)]
struct Inspection {
    #[serde(flatten)]
    facts: StartupFacts,
    /// Why the server failed; `null` where the log shows no failure.
    failure: Option<Failure>,
    /// Lines of the log.
    lines: u64,
}

/// Shows what a log tells; exit 2 on a file that is none.
pub fn run(arguments: &Arguments) -> Result<Exit, CliError> {
    let file = &arguments.file;
    let named = |what: &dyn std::fmt::Display| CliError::Usage(format!("{}: {what}", file.display()));
    let inspection = open(file).and_then(inspect);
    let inspection = inspection.map_err(|error| named(&format!("cannot be read: {error}")))?;
    let Some(inspection) = inspection else {
        let what = "no line of it is one of vLLM's: name what the server wrote on both of its streams \
                    (docker logs NAME > FILE 2>&1)";
        return Err(named(&what));
    };
    if arguments.json {
        print(&json(&inspection.value()?)?)?;
    } else {
        say(&inspection.render())?;
    }
    Ok(Exit::Passed)
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file)?;
    if opened.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 16, opened)))
}

/// Reads a log to its end. `None`: no line looks like one of vLLM's.
fn inspect(mut log: impl BufRead) -> io::Result<Option<Inspection>> {
    let mut reader = Reader::new();
    let mut tail = VecDeque::new();
    let mut has_record = false;
    let mut lines = 0;
    let mut bytes = Vec::new();
    while next_line(&mut log, &mut bytes)? {
        lines += 1;
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        has_record = has_record || log_line::read(line).iter().any(|part| part.head.is_some());
        reader.feed(line);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    }
    let facts = reader.facts();
    let failure = failure::classify_saved(tail.make_contiguous());
    let is_known = failure.as_ref().is_some_and(|failure| failure.rule.is_some());
    let is_log = has_record || facts.ready || facts.vllm_version.is_some() || is_known;
    Ok(is_log.then_some(Inspection {
        facts,
        failure,
        lines,
    }))
}

/// Reads the next line, of which at most [`MAX_LINE_BYTES`] are kept; `false` at the end.
fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    log.take(MAX_LINE_BYTES).read_until(b'\n', line)?;
    if line.len() as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        log.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}

impl Inspection {
    /// The JSON; `memory.why` is there even where nothing needs a reason.
    fn value(&self) -> io::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        if let Some(memory) = value.get_mut("memory").and_then(Value::as_object_mut) {
            memory.entry("why").or_insert_with(|| json!({}));
        }
        Ok(value)
    }

    fn render(&self) -> String {
        let facts = &self.facts;
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let engine = facts
            .engine
            .map_or("unknown".to_owned(), |engine| format!("{engine:?}"));
        let mut lines = vec![
            format!("vLLM      {}, engine {engine}", text(&facts.vllm_version)),
            format!("model     {}", text(&facts.architecture)),
            format!("attention {}", text(&facts.attention_backend)),
        ];
        lines.extend(self.plugin());
        lines.push(format!("boot      {}", self.boot()));
        lines.extend(memory_lines(&facts.memory));
        lines.extend(
            facts
                .sampling_overridden
                .iter()
                .map(|by| format!("note: sampling defaults are replaced by the model's: {by}")),
        );
        lines.extend(facts.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(failure_lines(self.failure.as_ref()));
        lines.join("\n") + "\n"
    }

    fn plugin(&self) -> Option<String> {
        let facts = &self.facts;
        let plugin = facts.platform_plugin.as_ref()?;
        let maca = facts
            .maca_version
            .as_ref()
            .map(|version| format!(", MACA {version}"));
        Some(format!("platform  {plugin}{}", maca.unwrap_or_default()))
    }

    /// The phases with their times, and whether they led anywhere.
    fn boot(&self) -> String {
        let facts = &self.facts;
        let phase = |seen: &crate::vllm::PhaseSeen| match &seen.at {
            Some(at) => format!("{} ({at})", seen.phase),
            None => seen.phase.to_string(),
        };
        let phases: Vec<String> = facts.phases.iter().map(phase).collect();
        let end = if facts.ready {
            "ready"
        } else {
            "not ready in this log"
        };
        format!("{}; {end}, {} lines", phases.join(", "), self.lines)
    }
}

/// A line a figure: its value, or why there is none.
fn memory_lines(memory: &MemoryFigures) -> Vec<String> {
    let gib = |figure: Option<f64>| figure.map(|figure| format!("{figure:.2} GiB"));
    let whole = |figure: Option<u64>| figure.map(|figure| figure.to_string());
    [
        ("weights_gib", "weights", gib(memory.weights_gib)),
        ("non_torch_gib", "non-torch", gib(memory.non_torch_gib)),
        ("activation_gib", "activation", gib(memory.activation_gib)),
        ("graph_gib", "graphs", gib(memory.graph_gib)),
        ("kv_cache_gib", "KV cache", gib(memory.kv_cache_gib)),
        ("num_blocks", "blocks", whole(memory.num_blocks)),
        ("kv_tokens", "KV tokens", whole(memory.kv_tokens)),
        (
            "max_concurrency",
            "concurrency",
            memory.max_concurrency.map(|times| format!("{times:.2}x")),
        ),
    ]
    .into_iter()
    .map(|(key, name, value)| {
        let why = memory.why.get(key).map(|why| format!("({why})"));
        let words = [
            Some(format!("  {name:<12}")),
            value.or_else(|| Some("?".to_owned())),
            why,
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    })
    .collect()
}

fn failure_lines(failure: Option<&Failure>) -> Vec<String> {
    let Some(failure) = failure else {
        return vec!["no failure is shown".to_owned()];
    };
    let mut lines = vec![format!("failed: {} ({})", failure.message, failure.class)];
    lines.extend(failure.evidence.iter().map(|line| format!("  | {line}")));
    lines.push(format!("  advice: {}", failure.advice));
    lines
}

#[cfg(test)]
mod tests;
