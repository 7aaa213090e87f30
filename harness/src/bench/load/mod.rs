//! Measures the load client itself: against a server that keeps the truth about every token, beside a client that does
//! the least that is possible, and beside peers where they are installed.
//!
//! The server runs on one processor, the client on another. Every client sends the same prompts, each of which carries
//! its number, so that what a client reports of a request is held against the truth about that very request. Clients
//! take turns within a repetition, and the median over repetitions counts, so that what else the machine does meets all
//! of them alike.

mod clients;
mod process;
mod targets;
mod truth;

use std::{fs, io, path::PathBuf};

use serde::Serialize;

pub use clients::Contender;
pub use process::BenchError;
pub use targets::{Judged, judge};

use crate::{report::load::columns, stats};

/// Version of the JSON. Raised when a reader of the last version would misread.
pub const SCHEMA_VERSION: u32 = 1;

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Name.
    pub name: &'static str,
    /// Streams at once.
    pub streams: u32,
    /// Requests.
    pub requests: u32,
    /// Tokens of each answer.
    pub tokens: u32,
    /// From a request to its first token, milliseconds.
    pub ttft_ms: f64,
    /// From token to token, milliseconds; 0 is as fast as possible.
    pub itl_ms: f64,
    /// Events that leave in one write.
    pub events_per_write: u32,
}

/// Every case.
pub const CASES: [Case; 6] = [
    case("a", [2, 64, 220, 1], [50.0, 15.0]),
    case("b", [256, 2_048, 128, 1], [50.0, 20.0]),
    case("c", [1_024, 4_096, 64, 1], [50.0, 50.0]),
    case("d", [64, 1_024, 128, 1], [0.0, 0.0]),
    case("d16", [64, 8_192, 128, 16], [0.0, 0.0]),
    case("10k", [10_000, 10_000, 32, 1], [500.0, 500.0]),
];

const fn case(name: &'static str, counts: [u32; 4], times_ms: [f64; 2]) -> Case {
    let [streams, requests, tokens, events_per_write] = counts;
    Case {
        name,
        streams,
        requests,
        tokens,
        ttft_ms: times_ms[0],
        itl_ms: times_ms[1],
        events_per_write,
    }
}

/// Median and 99th percentile of the distance between what a client reports and the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ErrorMs {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// One client in one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the client.
    pub client: String,
    /// Name of the case.
    pub case: String,
    /// Tokens that the server sent, over the time from the first request's arrival to the last token.
    pub tokens_per_s: f64,
    /// Processor time of the whole client for 1,000 tokens, seconds.
    pub cpu_s_per_1k_tokens: f64,
    /// Times to first token; `None` where the client reports none.
    pub ttft_error_ms: Option<ErrorMs>,
    /// Gaps between tokens, pooled.
    pub itl_error_ms: Option<ErrorMs>,
    /// Greatest memory of the client, MB (10^6 bytes).
    pub peak_rss_mb: f64,
    /// From its start to its first request's arrival, seconds.
    pub startup_s: f64,
    /// Requests that failed or that nothing is reported of.
    pub errors: u64,
    /// Median delay of sends behind their schedule, milliseconds, where the client tells.
    pub schedule_delay_ms: Option<f64>,
}

/// A client that took no part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Name of the client.
    pub client: String,
    /// Why.
    pub why: String,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bench {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Repetitions, of which the median counts.
    pub repeat: u32,
    /// Processors of server and client, where they were kept apart.
    pub pinned: Option<[usize; 2]>,
    /// A client and a case each.
    pub rows: Vec<Row>,
    /// Who took no part.
    pub left_out: Vec<LeftOut>,
    /// Figures against their targets.
    pub judged: Vec<Judged>,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Cases.
    pub cases: Vec<Case>,
    /// Repetitions.
    pub repeat: u32,
    /// Whether peers take part where they are installed.
    pub peers: bool,
    /// Folder for prompts and results.
    pub folder: PathBuf,
}

/// Measures; each run of a client is told to `tell` before it begins.
pub fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Bench, BenchError> {
    process::raise_descriptor_limit();
    let (mut contenders, mut left_out) = clients::contenders(plan.peers);
    let pinned = process::two_processors();
    let mut rows = Vec::new();
    for case in &plan.cases {
        write_prompts(plan, case)?;
        let mut runs: Vec<Vec<Row>> = vec![Vec::new(); contenders.len()];
        let mut failed: Vec<Contender> = Vec::new();
        for repetition in 1..=plan.repeat {
            for (contender, runs) in contenders.iter().zip(&mut runs) {
                if failed.contains(contender) {
                    continue;
                }
                tell(&format!(
                    "{} {} ({repetition} of {})",
                    case.name,
                    contender.name(),
                    plan.repeat
                ));
                match process::run(plan, case, contender, pinned) {
                    Ok(row) => runs.push(row),
                    // What others cannot do says nothing of ours.
                    Err(error) if contender.is_peer() => {
                        left_out.push(LeftOut {
                            client: contender.name().to_owned(),
                            why: error.to_string(),
                        });
                        failed.push(contender.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        contenders.retain(|contender| !failed.contains(contender));
        rows.extend(runs.iter().filter_map(|runs| median(runs)));
    }
    let judged = judge(&rows);
    Ok(Bench {
        schema_version: SCHEMA_VERSION,
        repeat: plan.repeat,
        pinned,
        rows,
        left_out,
        judged,
    })
}

/// Prompts of about 128 tokens, each with its number in front: one a line, and as vLLM reads them.
fn write_prompts(plan: &Plan, case: &Case) -> io::Result<()> {
    let prompt = |number: u32| format!("q{number}{}", " river".repeat(120));
    let lines: String = (0..case.requests).map(|number| prompt(number) + "\n").collect();
    fs::write(plan.prompts(case, "txt"), lines)?;
    let json = |number: u32| serde_json::json!({ "prompt": prompt(number) }).to_string() + "\n";
    fs::write(
        plan.prompts(case, "jsonl"),
        (0..case.requests).map(json).collect::<String>(),
    )
}

impl Plan {
    fn prompts(&self, case: &Case, extension: &str) -> PathBuf {
        self.folder.join(format!("prompts-{}.{extension}", case.name))
    }
}

/// The median of each figure over runs of one client in one case; errors are added up.
fn median(runs: &[Row]) -> Option<Row> {
    let first = runs.first()?;
    let of = |figure: &dyn Fn(&Row) -> Option<f64>| -> Option<f64> {
        let mut figures: Vec<f64> = runs.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        stats::percentile(&figures, 50.0)
    };
    let error = |of_row: fn(&Row) -> Option<ErrorMs>| -> Option<ErrorMs> {
        Some(ErrorMs {
            p50: of(&|row| of_row(row).map(|error| error.p50))?,
            p99: of(&|row| of_row(row).map(|error| error.p99))?,
        })
    };
    Some(Row {
        client: first.client.clone(),
        case: first.case.clone(),
        tokens_per_s: of(&|row| Some(row.tokens_per_s))?,
        cpu_s_per_1k_tokens: of(&|row| Some(row.cpu_s_per_1k_tokens))?,
        ttft_error_ms: error(|row| row.ttft_error_ms),
        itl_error_ms: error(|row| row.itl_error_ms),
        peak_rss_mb: of(&|row| Some(row.peak_rss_mb))?,
        startup_s: of(&|row| Some(row.startup_s))?,
        errors: runs.iter().map(|row| row.errors).sum(),
        schedule_delay_ms: of(&|row| row.schedule_delay_ms),
    })
}

/// The table, the targets, and who took no part.
pub fn render(bench: &Bench) -> String {
    let head = [
        "case",
        "client",
        "tokens/s",
        "CPU s/1k tokens",
        "TTFT error ms",
        "ITL error ms",
        "MB",
        "start-up s",
        "errors",
    ];
    let error = |error: Option<ErrorMs>, digits: usize| {
        error.map_or_else(
            || "-".to_owned(),
            |error| format!("{:.digits$}/{:.digits$}", error.p50, error.p99),
        )
    };
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for row in &bench.rows {
        rows.push(vec![
            row.case.clone(),
            row.client.clone(),
            format!("{:.0}", row.tokens_per_s),
            format!("{:.5}", row.cpu_s_per_1k_tokens),
            error(row.ttft_error_ms, 3),
            error(row.itl_error_ms, 4),
            format!("{:.1}", row.peak_rss_mb),
            format!("{:.3}", row.startup_s),
            row.errors.to_string(),
        ]);
    }
    let mut lines = columns(&rows);
    let place = match bench.pinned {
        Some([server, client]) => format!("server on processor {server}, clients on {client}"),
        None => "server and clients share one processor: the figures say little".to_owned(),
    };
    lines.insert(
        0,
        format!(
            "median of {}, {place}; errors are p50/p99 of the distance to the truth",
            bench.repeat
        ),
    );
    lines.extend(bench.judged.iter().map(|judged| {
        let word = if judged.met { "met" } else { "MISSED" };
        format!("  {word}: {}", judged.text)
    }));
    lines.extend(
        bench
            .left_out
            .iter()
            .map(|left| format!("  left out: {} ({})", left.client, left.why)),
    );
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: &str, case: &str, cpu: f64) -> Row {
        Row {
            client: client.into(),
            case: case.into(),
            tokens_per_s: 12_630.0,
            cpu_s_per_1k_tokens: cpu,
            ttft_error_ms: Some(ErrorMs { p50: 0.4, p99: 1.2 }),
            itl_error_ms: Some(ErrorMs {
                p50: 0.001,
                p99: 0.02,
            }),
            peak_rss_mb: 11.6,
            startup_s: 0.03,
            errors: 0,
            schedule_delay_ms: Some(0.3),
        }
    }

    #[test]
    fn the_median_counts_and_errors_add_up() {
        let mut runs = vec![
            row("harness", "b", 0.03),
            row("harness", "b", 0.01),
            row("harness", "b", 0.02),
        ];
        runs[1].errors = 2;
        runs[2].ttft_error_ms = None;
        let found = median(&runs).unwrap();
        assert_eq!((found.cpu_s_per_1k_tokens, found.errors), (0.02, 2));
        assert_eq!(found.ttft_error_ms, Some(ErrorMs { p50: 0.4, p99: 1.2 }));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_table_says_what_was_met_and_who_was_left_out() {
        let rows = vec![
            row("harness", "b", 0.010),
            row("raw", "b", 0.0098),
            row("vllm bench serve", "b", 0.046),
            Row {
                peak_rss_mb: 70.0,
                startup_s: 0.2,
                ..row("harness", "c", 0.013)
            },
            row("raw", "c", 0.010),
            row("harness", "d", 0.004),
            Row {
                tokens_per_s: 15_000.0,
                ..row("raw", "d", 0.004)
            },
            row("harness", "d16", 0.0005),
        ];
        let bench = Bench {
            schema_version: SCHEMA_VERSION,
            repeat: 3,
            pinned: Some([0, 1]),
            judged: judge(&rows),
            rows,
            left_out: vec![LeftOut {
                client: "vllm bench serve".into(),
                why: "no vllm on PATH".into(),
            }],
        };
        insta::assert_snapshot!(render(&bench));
    }
}
