//! A server's log, by the reader that runs use; and of V0 the line that shows what the card gave.

use crate::{
    audit::{Cell, Column, Fact, Interval, Section, Sheet, sheet::Word},
    vllm::{Reader, StartupFacts, log_line},
};

use super::number::written;

/// Reads a log; a text that is none gives no figures.
pub(super) fn sheet(text: &str) -> Sheet {
    let mut reader = Reader::new();
    let mut card = None;
    for line in text.lines() {
        reader.feed(line);
        card = card.or_else(|| given(line));
    }
    // A table that quotes a figure of a log is no log.
    if !text
        .lines()
        .any(|line| log_line::read(line).iter().any(|part| part.head.is_some()))
    {
        return Sheet::default();
    }
    let facts = reader.facts();
    let mut section = figures(&facts);
    if let Some((total, share)) = card {
        section.cells.insert(Fact::CardMemory, total);
        section.cells.insert(Fact::Utilization, share);
    }
    let mut column = Column {
        name: "log".to_owned(),
        model: model_name(facts.config.get("model").map(String::as_str)),
        ..Column::default()
    };
    for (word, found) in [
        (Word::Vllm, facts.vllm_version),
        (Word::Maca, facts.maca_version),
        (Word::Dtype, facts.config.get("dtype").cloned()),
    ] {
        column.words.extend(found.map(|found| (word, found)));
    }
    if !section.cells.is_empty() {
        column.sections.push(section);
    }
    Sheet {
        columns: vec![column],
        text: String::new(),
    }
}

/// What a start-up prints. GiB and concurrency have two digits.
fn figures(facts: &StartupFacts) -> Section {
    let memory = &facts.memory;
    let count = |figure: Option<u64>| figure.map(|figure| figure as f64);
    let config = |key: &str| facts.config.get(key).and_then(|text| text.parse().ok());
    let printed = 0.005;
    let rows = [
        (Fact::Weights, "weights", memory.weights_gib, printed),
        (Fact::NonTorch, "non_torch", memory.non_torch_gib, printed),
        (Fact::Activation, "activation", memory.activation_gib, printed),
        (Fact::Graph, "graph", memory.graph_gib, printed),
        (Fact::KvCache, "kv_cache", memory.kv_cache_gib, printed),
        (
            Fact::MaxConcurrency,
            "max_concurrency",
            memory.max_concurrency,
            printed,
        ),
        (Fact::Blocks, "num_blocks", count(memory.num_blocks), 0.0),
        (Fact::KvTokens, "kv_tokens", count(memory.kv_tokens), 0.0),
        (Fact::MaxModelLen, "max_seq_len", config("max_seq_len"), 0.0),
        (
            Fact::TensorParallel,
            "tensor_parallel_size",
            config("tensor_parallel_size"),
            0.0,
        ),
        (
            Fact::PipelineParallel,
            "pipeline_parallel_size",
            config("pipeline_parallel_size"),
            0.0,
        ),
    ];
    let cells = rows.into_iter().filter_map(|(fact, name, figure, half)| {
        let figure = figure.filter(|figure: &f64| *figure >= 0.0)?;
        let cell = Cell {
            name: name.to_owned(),
            text: figure.to_string(),
            value: Interval::around(figure, half),
        };
        Some((fact, cell))
    });
    Section {
        name: "start-up".to_owned(),
        cells: cells.collect(),
        tells_samples: false,
    }
}

/// The name of a model's folder or repository.
fn model_name(path: Option<&str>) -> Option<String> {
    let name = path?.trim_matches(['\'', '"']).rsplit('/').next()?;
    Some(name.to_owned())
}

/// `can use total_gpu_memory (63.63GiB) x gpu_memory_utilization (0.90) = 57.27GiB`, V0.
fn given(line: &str) -> Option<(Cell, Cell)> {
    let rest = line.split_once("total_gpu_memory (")?.1;
    let (total, rest) = rest.split_once(')')?;
    let share = rest.split_once("gpu_memory_utilization (")?.1.split_once(')')?.0;
    let cell = |name: &str, text: &str, fact| {
        let value = written(text, fact)?;
        let (name, text) = (name.to_owned(), text.to_owned());
        Some(Cell { name, text, value })
    };
    Some((
        cell("total_gpu_memory", total, Fact::CardMemory)?,
        cell("gpu_memory_utilization", share, Fact::Utilization)?,
    ))
}
