//! A sweep as people read it: a table with the knee and the best level marked, a chart, advice, and JSON.

mod advice;
mod chart;
mod table;

use serde::Serialize;

use crate::{
    load::{
        Measured, Spread,
        sweep::{End, Held, Step, Swept},
    },
    record::Verdict,
};

pub use chart::svg;
pub use table::{line, render};

/// Version of the JSON. Raised when a reader of the last version would misread.
pub const SCHEMA_VERSION: u32 = 1;

/// What the levels of a sweep are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Requests in flight.
    Concurrency,
    /// Requests a second.
    Rate,
}

/// What was swept, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct About {
    /// When it began (RFC 3339).
    pub at: String,
    /// Name of the model.
    pub model: String,
    /// The stack, or the address of a server that ran before.
    pub on: String,
    /// Whether a simulator played the hardware.
    pub simulated: bool,
    /// Simulated seconds for each real one; 1 for real servers.
    pub clock: f64,
    /// What the levels are.
    pub axis: Axis,
    /// Lengths of prompts, tokens.
    pub input: String,
    /// Lengths of answers, tokens.
    pub output: String,
    /// Share by which a doubling had to raise throughput for the climb to go on.
    pub min_gain: f64,
    /// The promises.
    pub promises: Vec<String>,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// A level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Requests in flight, or requests a second.
    pub level: f64,
    /// Throughput by that of the level below, minus 1, among valid levels.
    pub gain: Option<f64>,
    /// Throughput / mean latency, by which the knee is found.
    pub power: Option<f64>,
    /// What it says of each promise.
    pub held: Vec<Held>,
    /// Its figures, its conditions and the verdict over them.
    pub measured: Measured,
}

/// A sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What was swept.
    #[serde(flatten)]
    pub about: About,
    /// Levels, ascending.
    pub rows: Vec<Row>,
    /// Why no further level was measured.
    pub end: End,
    /// The level of the greatest throughput / latency; absent where that still climbs at the last level.
    pub knee: Option<f64>,
    /// The level of the most throughput that keeps every promise; absent where none does, or none was made.
    pub best: Option<f64>,
    /// Advice in Chinese, as in the performance reports: one paragraph a line.
    pub advice: Vec<String>,
    /// Passed where a level is valid and, under a promise, one keeps it.
    pub verdict: Verdict,
}

impl SweepReport {
    /// Of a sweep.
    pub fn new(about: About, swept: &Swept) -> Self {
        let mut steps: Vec<&Step> = swept.steps.iter().collect();
        steps.sort_by(|a, b| a.level.total_cmp(&b.level));
        let mut below = None;
        let rows = steps.iter().map(|step| {
            let tokens_per_s = step.tokens_per_s();
            let valid = step.is_valid();
            let gain = below
                .filter(|_| valid)
                .map(|below: f64| tokens_per_s / below - 1.0);
            if valid {
                below = Some(tokens_per_s);
            }
            Row {
                level: step.level,
                gain,
                power: step
                    .latency_s()
                    .filter(|_| valid)
                    .map(|latency| tokens_per_s / latency),
                held: step.held.clone(),
                measured: step.measured.clone(),
            }
        });
        let rows: Vec<Row> = rows.collect();
        let best = swept.best().filter(|_| !about.promises.is_empty());
        let verdict = if !swept.steps.iter().any(Step::is_valid) {
            // What is wrong with every level is wrong with the sweep.
            let worst = swept.steps.iter().map(|step| step.measured.verdict).max();
            worst.unwrap_or(Verdict::Failed)
        } else if !about.promises.is_empty() && best.is_none() {
            Verdict::Failed
        } else {
            Verdict::Passed
        };
        let mut report = Self {
            schema_version: SCHEMA_VERSION,
            about,
            rows,
            end: swept.end,
            knee: swept.knee(),
            best,
            advice: Vec::new(),
            verdict,
        };
        report.advice = advice::advice(&report);
        report
    }

    /// The row of a level.
    fn row(&self, level: Option<f64>) -> Option<&Row> {
        self.rows.iter().find(|row| Some(row.level) == level)
    }
}

impl Row {
    /// Whether its figures mean anything.
    pub fn is_valid(&self) -> bool {
        self.measured.verdict == Verdict::Passed
    }

    /// Output tokens a second.
    pub const fn tokens_per_s(&self) -> f64 {
        self.measured.figures.output_tokens_per_s
    }

    /// Mean latency, seconds.
    pub fn latency_s(&self) -> Option<f64> {
        self.measured.figures.e2e.as_ref().map(|spread| spread.mean_s)
    }
}

/// A percentile in milliseconds.
fn ms(spread: Option<&Spread>, p: f64) -> String {
    let seconds = spread.and_then(|spread| spread.percentile_s(p));
    seconds.map_or_else(|| "-".to_owned(), milliseconds)
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

/// The JSON, with its end of line.
pub fn json(report: &SweepReport) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

#[cfg(test)]
mod tests;
