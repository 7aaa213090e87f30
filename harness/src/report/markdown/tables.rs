//! The tables of the seed's report (environment, model configuration, single request, concurrency), each figure
//! beside its budget. What was not measured says so, with the reason in a note below the table.

use super::{
    escape::{Table, inline},
    performance,
};
use crate::{
    manifest::MemoryMetric,
    record::{Check, MemoryFigures, TrialKind, Verdict},
    report::{Session, figure},
};

/// Where there is nothing to say.
const NOTHING: &str = "–";
/// A verdict with its mark.
pub fn mark(verdict: Verdict) -> String {
    let mark = match verdict {
        Verdict::Passed => "✅",
        Verdict::Skipped => "➖",
        Verdict::Waived => "🟡",
        Verdict::Unrecorded | Verdict::Inconclusive => "❔",
        Verdict::Invalid | Verdict::Failed | Verdict::Error => "❌",
    };
    format!("{mark} {verdict}")
}

/// What ran, on what, with which settings.
pub fn environment(session: &Session) -> String {
    let started = &session.started;
    let mut table = Table::new(["Item", "Value"]);
    let mut row = |item: &str, value: &str| table.push([inline(item), inline(value)]);
    row("Hardware", started.accelerator_name().1);
    row("Stack", &format!("{}: {}", started.stack, started.about));
    row("Target", &started.target);
    if started.simulated {
        row(
            "Simulated clock",
            &format!("{} simulated seconds a second", started.clock),
        );
    }
    let environment = session.booted.iter().flat_map(|booted| &booted.environment);
    for (key, value) in environment.chain(&started.settings) {
        row(label(key), value);
    }
    row("Manifest", &format!("sha256 {}", started.manifest_digest));
    table.render()
}

/// The most that each card showed.
pub fn cards(session: &Session) -> Option<String> {
    session.cards.peaks().next()?;
    let mut table = Table::new(["Card", "Memory", "Power", "Temperature", "Busy", "Samples"]);
    for peak in session.cards.peaks() {
        let [memory, power, temperature, busy] = peak.shown();
        let (index, samples) = (peak.index.to_string(), peak.samples.to_string());
        table.push([index, memory, power, temperature, busy, samples]);
    }
    Some(table.render())
}

/// Memory of one card: the seed's "model configuration", beside what was predicted before the boot.
pub fn memory(session: &Session) -> Option<String> {
    let booted = session.booted.as_ref()?;
    let (figures, predicted) = (&booted.memory, booted.predicted.as_ref());
    let mut notes = Vec::new();
    let mut head = vec!["Figure", "Measured"];
    head.extend(predicted.map(|_| "Predicted"));
    head.extend(["Budget", "Verdict"]);
    let mut table = Table::new(head);
    for &metric in MemoryMetric::ALL {
        let (name, key, value) = memory_figure(figures, metric);
        let check = session.check(TrialKind::Memory, metric.name());
        let shown = |value| beside_limit(check).unwrap_or_else(|| figure::with_unit(value, metric.unit()));
        let value = value.map_or_else(|| "not printed".to_owned(), shown);
        let mut row = vec![name.to_owned(), value + &noted(figures, key, &mut notes)];
        if let Some(predicted) = predicted {
            let (_, _, value) = memory_figure(predicted, metric);
            let value = value.map_or_else(
                || NOTHING.to_owned(),
                |value| figure::with_unit(value, metric.unit()),
            );
            row.push(value + &noted(predicted, key, &mut notes));
        }
        row.extend(judged(check));
        table.push(row);
    }
    Some(with_notes(&table, &notes))
}

/// The note of a figure: of an absent one why it is absent, of some that are there where they come from.
fn noted(figures: &MemoryFigures, key: &str, notes: &mut Vec<String>) -> String {
    let why = figures.why.get(key);
    why.map_or_else(String::new, |why| format!(" ({})", number_of(inline(why), notes)))
}

/// Requests one after another.
pub fn latency(session: &Session) -> Option<String> {
    let measured = session.latency.as_ref()?;
    let mut notes = Vec::new();
    let mut table = Table::new(["Figure", "Measured", "Budget", "Verdict"]);
    for line in performance::latency(&measured.figures) {
        let check = line
            .metric
            .and_then(|metric| session.check_of(&measured.trial, metric));
        let value = line.shown(check, "", &mut notes);
        table.push([line.name.to_owned(), value].into_iter().chain(judged(check)));
    }
    Some(with_notes(&table, &notes))
}

/// Requests at once: a column for each concurrency, with its budget where there is one.
pub fn throughput(session: &Session) -> Option<String> {
    let first = session.throughput.first()?;
    let mut notes = Vec::new();
    let mut head = vec!["Figure".to_owned()];
    let mut rows: Vec<_> = performance::throughput(&first.figures)
        .iter()
        .map(|line| vec![line.name.to_owned()])
        .collect();
    for measured in &session.throughput {
        let concurrency = measured.figures.concurrency;
        let lines = performance::throughput(&measured.figures);
        let checks: Vec<_> = lines
            .iter()
            .map(|line| {
                line.metric
                    .and_then(|metric| session.check_of(&measured.trial, metric))
            })
            .collect();
        let limited = checks.iter().flatten().any(|check| check.budget.is_some());
        head.push(format!("{concurrency} at once"));
        head.extend(limited.then(|| "Budget".to_owned()));
        for ((row, line), check) in rows.iter_mut().zip(&lines).zip(checks) {
            row.push(line.shown(check, &format!(" at {concurrency}"), &mut notes));
            let [budget, verdict] = judged(check);
            let budget = if budget == NOTHING {
                budget
            } else {
                format!("{budget} {verdict}")
            };
            row.extend(limited.then_some(budget));
        }
    }
    let mut table = Table::new(head);
    for row in rows {
        table.push(row);
    }
    Some(with_notes(&table, &notes))
}

/// A figure in the unit and precision of its limit, where it was held against one.
pub(super) fn beside_limit(check: Option<&Check>) -> Option<String> {
    check
        .filter(|check| check.budget.is_some())
        .and_then(figure::measured)
}

/// Number of a note; the same note is written once.
pub(super) fn number_of(note: String, notes: &mut Vec<String>) -> usize {
    let index = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    index + 1
}

fn with_notes(table: &Table, notes: &[String]) -> String {
    let notes: Vec<_> = (1..)
        .zip(notes)
        .map(|(number, note)| format!("({number}) {note}"))
        .collect();
    if notes.is_empty() {
        table.render()
    } else {
        format!("{}\n\n{}", table.render(), notes.join("<br>\n"))
    }
}

/// Budget and verdict of a figure.
fn judged(check: Option<&Check>) -> [String; 2] {
    match check {
        Some(Check {
            budget: Some(limit),
            verdict,
            ..
        }) => [figure::limit(limit), mark(*verdict)],
        _ => [NOTHING, NOTHING].map(str::to_owned),
    }
}

fn memory_figure(figures: &MemoryFigures, metric: MemoryMetric) -> (&'static str, &'static str, Option<f64>) {
    let count = |count: Option<u64>| count.map(|count| count as f64);
    match metric {
        MemoryMetric::Weights => ("Model weights", "weights_gib", figures.weights_gib),
        MemoryMetric::NonTorch => ("Non-torch memory", "non_torch_gib", figures.non_torch_gib),
        MemoryMetric::Activation => ("Activation peak", "activation_gib", figures.activation_gib),
        MemoryMetric::Graph => ("Captured graphs", "graph_gib", figures.graph_gib),
        MemoryMetric::KvCache => ("KV cache", "kv_cache_gib", figures.kv_cache_gib),
        MemoryMetric::NumBlocks => ("KV-cache blocks", "num_blocks", count(figures.num_blocks)),
        MemoryMetric::KvTokens => ("KV-cache tokens", "kv_tokens", count(figures.kv_tokens)),
        MemoryMetric::MaxConcurrency => ("Maximum concurrency", "max_concurrency", figures.max_concurrency),
    }
}

/// What reports call a setting or a part of the environment; unknown ones keep their key.
fn label(key: &str) -> &str {
    match key {
        "image" => "Container image",
        "vllm" => "vLLM",
        "torch" => "PyTorch",
        "engine" => "vLLM engine",
        "attention_backend" => "Attention backend",
        "driver" => "Driver",
        "maca" => "MACA",
        "bios" => "BIOS",
        "smi" => "mx-smi",
        "tensor_parallel" => "Tensor parallel size",
        "pipeline_parallel" => "Pipeline parallel size",
        "max_model_len" => "Maximum sequence length (tokens)",
        "gpu_memory_utilization" => "Memory utilization (share)",
        "dtype" => "Number type",
        "block_size" => "KV-cache block size (tokens)",
        "kv_bytes_per_token" => "KV cache of a token (B, one card)",
        "bytes_read_per_token" => "Weights read for a token (B)",
        "card_memory_gib" => "Memory of the card (GiB)",
        "card_bandwidth_gb_per_s" => "Bandwidth of the card (GB/s)",
        "seed" => "Seed",
        other => other,
    }
}
