//! The gate's reports: `gate.json` for tools, `gate.md` for a merge request, and the terminal. All are made from one
//! [`GateReport`].

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{AnswersGate, Change, Difference, MemoryGate, MetricGate, ModelGate, Tolerances};
use crate::{
    record::Verdict,
    report::{
        Style,
        markdown::escape::{Table, inline},
        style::Role,
        text::{one_line, pad, width, wrap},
    },
};

/// Version of `gate.json`.
pub const SCHEMA_VERSION: u32 = 1;
/// Most changed cases that the terminal shows; the reports hold them all.
const CASES: usize = 6;

/// A gate that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The verdict over all models.
    pub verdict: Verdict,
    /// Exit code.
    pub exit_code: u8,
    /// Whether a simulator played the servers: the verdict then says nothing of hardware.
    pub simulated: bool,
    /// Name of the baseline stack, or its runs.
    pub baseline: String,
    /// Name of the candidate stack, or its runs.
    pub candidate: String,
    /// Whether sessions were run pair by pair, on one host in turn.
    pub paired: bool,
    /// Tolerated slowdowns.
    pub tolerances: Tolerances,
    /// Tolerated growth of memory, as a share.
    pub memory_tolerance: f64,
    /// Chance of failing an equal candidate.
    pub alpha: f64,
    /// The models.
    pub models: Vec<ModelGate>,
}

impl GateReport {
    /// First line of what a simulator played.
    fn notice(&self) -> Option<&'static str> {
        self.simulated
            .then_some("SIMULATED: a simulator played the servers; this verdict says nothing of hardware")
    }

    fn title(&self) -> String {
        let how = if self.paired {
            ""
        } else {
            ", from finished runs, unpaired"
        };
        format!("{} → {}{how}", self.baseline, self.candidate)
    }
}

/// The report for the terminal.
pub fn terminal(report: &GateReport, style: Style) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    if let Some(notice) = report.notice() {
        line(&style.paint(Role::Warning, notice));
    }
    line(&format!("gate {}", report.title()));
    for model in &report.models {
        line("");
        line(&format!(
            "{} {} ({} + {} sessions)",
            style.paint(Role::Strong, &one_line(&model.model)),
            style.paint(Role::of(model.verdict), model.verdict.as_str()),
            model.sessions.0,
            model.sessions.1
        ));
        for reason in &model.reasons {
            for (index, text) in wrap(&one_line(reason), style.width.saturating_sub(4))
                .iter()
                .enumerate()
            {
                line(&format!("  {} {text}", if index == 0 { "-" } else { " " }));
            }
        }
        for row in table(&speed_rows(&model.metrics)) {
            line(&format!("  {row}"));
        }
        for row in table(&memory_rows(&model.memory)) {
            line(&format!("  {row}"));
        }
        if let Some(answers) = &model.answers {
            line(&format!("  answers: {}", answers_words(answers)));
            for change in answers.changes.iter().take(CASES) {
                let (before, after) = (
                    shown(change.answers.0.as_deref()),
                    shown(change.answers.1.as_deref()),
                );
                line(&format!("    {} {}", change_word(change.change), change.case));
                line(&format!("      baseline  {}", clip(&before, style.width)));
                line(&format!("      candidate {}", clip(&after, style.width)));
            }
        }
        if !model.differences.is_empty() {
            line(&format!("  differs: {}", layers_words(&model.differences)));
        }
    }
    line("");
    line(&format!(
        "verdict: {} (exit {})",
        style.paint(Role::of(report.verdict), report.verdict.as_str()),
        report.exit_code
    ));
    out
}

/// The report for a merge request.
pub fn markdown(report: &GateReport) -> String {
    let mut out = String::new();
    if let Some(notice) = report.notice() {
        let _ = writeln!(out, "**{notice}**\n");
    }
    let _ = writeln!(out, "# Gate: {}\n", inline(&report.title()));
    let _ = writeln!(out, "Verdict: **{}**\n", report.verdict);
    let _ = writeln!(
        out,
        "Tolerated: {} slower, {} slower to the first token, {} more memory. An equal candidate fails with a probability \
         of {} at most, over all looks and metrics.\n",
        percent(report.tolerances.speed),
        percent(report.tolerances.ttft),
        percent(report.memory_tolerance),
        percent(report.alpha)
    );
    for model in &report.models {
        let _ = writeln!(out, "## {}: {}\n", inline(&model.model), model.verdict);
        for reason in &model.reasons {
            let _ = writeln!(out, "- {}", inline(reason));
        }
        if !model.reasons.is_empty() {
            out.push('\n');
        }
        markdown_table(&mut out, &speed_rows(&model.metrics));
        markdown_table(&mut out, &memory_rows(&model.memory));
        if let Some(answers) = &model.answers {
            let _ = writeln!(out, "Answers: {}\n", answers_words(answers));
            markdown_table(&mut out, &answer_rows(answers));
        }
        markdown_table(&mut out, &difference_rows(&model.differences));
    }
    out
}

fn markdown_table(out: &mut String, rows: &[Vec<String>]) {
    let Some((head, rows)) = rows.split_first().filter(|(_, rows)| !rows.is_empty()) else {
        return;
    };
    let mut table = Table::new(head.clone());
    for row in rows {
        table.push(row.iter().map(|cell| inline(cell)));
    }
    let _ = writeln!(out, "{}\n", table.render().trim_end());
}

/// Rows in columns; nothing where there is only a head.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    if rows.len() < 2 {
        return Vec::new();
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or_default()
        })
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| pad(cell, width));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

fn speed_rows(metrics: &[MetricGate]) -> Vec<Vec<String>> {
    let head = [
        "speed",
        "verdict",
        "baseline",
        "candidate",
        "slower by",
        "95 % bounds",
        "pairs",
        "could have found",
    ];
    let rows = metrics.iter().map(|gate| {
        let bounds = gate.low.zip(gate.high);
        vec![
            gate.metric.to_string(),
            gate.verdict.to_string(),
            figure(gate, gate.baseline),
            figure(gate, gate.candidate),
            gate.slowdown.map_or_else(dash, signed),
            bounds.map_or_else(dash, |(low, high)| format!("{} … {}", signed(low), signed(high))),
            gate.pairs.to_string(),
            gate.smallest_found.map_or_else(dash, percent),
        ]
    });
    with_head(&head, rows)
}

fn figure(gate: &MetricGate, value: Option<f64>) -> String {
    match value {
        None => dash(),
        Some(value) if gate.metric.is_rate() => format!("{value:.2} tokens/s"),
        Some(value) => format!("{:.2} ms", value * 1000.0),
    }
}

fn memory_rows(memory: &[MemoryGate]) -> Vec<Vec<String>> {
    let rows = memory.iter().map(|gate| {
        vec![
            gate.figure.clone(),
            gate.verdict.to_string(),
            gate.baseline.map_or_else(dash, number),
            gate.candidate.map_or_else(dash, number),
            gate.worse_by.map_or_else(dash, signed),
        ]
    });
    with_head(&["memory", "verdict", "baseline", "candidate", "worse by"], rows)
}

fn answer_rows(answers: &AnswersGate) -> Vec<Vec<String>> {
    let rows = answers.changes.iter().map(|change| {
        vec![
            change.case.clone(),
            change_word(change.change).to_owned(),
            shown(change.answers.0.as_deref()),
            shown(change.answers.1.as_deref()),
        ]
    });
    with_head(&["case", "change", "baseline", "candidate"], rows)
}

fn difference_rows(differences: &[Difference]) -> Vec<Vec<String>> {
    let rows = differences.iter().map(|difference| {
        vec![
            difference.layer.to_string(),
            difference.fact.clone(),
            shown(difference.baseline.as_deref()),
            shown(difference.candidate.as_deref()),
        ]
    });
    with_head(&["layer", "fact", "baseline", "candidate"], rows)
}

fn with_head(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let head = head.iter().map(|&cell| cell.to_owned()).collect();
    std::iter::once(head).chain(rows).collect()
}

fn answers_words(answers: &AnswersGate) -> String {
    let mut words = format!("{} compared, {} identical", answers.compared, answers.identical);
    for change in [Change::Lost, Change::Waived, Change::Altered, Change::Won] {
        let count = answers
            .changes
            .iter()
            .filter(|found| found.change == change)
            .count();
        if count > 0 {
            let _ = write!(words, ", {count} {}", change_word(change));
        }
    }
    if !answers.one_sided.is_empty() {
        let _ = write!(words, ", {} on one side only", answers.one_sided.len());
    }
    if let Some(drift) = &answers.drift {
        let ((before, after), (old, new)) = (drift.mean_kld_nat, drift.top1);
        let _ = write!(
            words,
            "; scored at {} positions: mean KLD {before:.2e} → {after:.2e} nat, agreement {} → {}",
            drift.positions,
            percent(old),
            percent(new)
        );
    }
    match answers.smallest_loss {
        Some(loss) => {
            let _ = write!(
                words,
                "; a loss of {} of the cases would have been found",
                percent(loss)
            );
        }
        None => words.push_str("; too few cases for McNemar's test to find any loss"),
    }
    words
}

fn layers_words(differences: &[Difference]) -> String {
    let shown = differences.iter().map(|difference| {
        let (before, after) = (
            shown(difference.baseline.as_deref()),
            shown(difference.candidate.as_deref()),
        );
        format!("{} ({before} → {after})", difference.fact)
    });
    shown.collect::<Vec<_>>().join(", ")
}

const fn change_word(change: Change) -> &'static str {
    match change {
        Change::Lost => "lost",
        Change::Waived => "lost, waived",
        Change::Won => "won",
        Change::Altered => "altered, wrong on both",
    }
}

fn shown(text: Option<&str>) -> String {
    text.map_or_else(dash, one_line)
}

fn clip(text: &str, columns: usize) -> String {
    crate::report::text::clip(text, columns.saturating_sub(16)).into_owned()
}

fn dash() -> String {
    "–".to_owned()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn signed(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
