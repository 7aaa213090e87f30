//! `bench correctness`: the table of specimens and rules, and the time that comparing takes.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::Args;
use serde::Serialize;

use crate::{
    bench::correctness::{
        Base, BenchError, Row, Rule, Truth, noise,
        real::{SPECIMENS, Saved, Specimen},
        speed::{self, Speed},
    },
    cli::{CliError, print, say, validate},
    record::Entry,
    report::{
        Display, Style, figure,
        live::Mode,
        text::{pad, width},
    },
    run::{Exit, Sink},
};

/// Folder of saved recordings.
const SAVED: &str = "target/bench/correctness";

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only specimens whose name contains this; may be given several times (`noise`, `int8`, `bf16`)
    #[arg(long = "specimens", value_name = "NAME", value_delimiter = ',')]
    specimens: Vec<String>,
    /// Runs of each specimen of noise
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Goldens that noise is put on [default: golden/smollm2_135m]
    #[arg(long, value_name = "DIR")]
    goldens: Option<PathBuf>,
    /// Folder with what real servers said [default: target/bench/correctness]
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// Boot the real servers (`ci/images/build`, `ci/images/damage`) whose recordings are missing
    #[arg(long)]
    record: bool,
    /// Prompts of a real recording
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(10..=64))]
    prompts: u32,
    /// Goldens of the measurement of time; 0 for none
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    speed: usize,
    /// Print the rows as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    rows: Vec<Row>,
    speed: Option<Speed>,
    /// Real specimens without recordings.
    skipped: Vec<&'static str>,
}

/// Measures; exit 1 where a healthy specimen raised an alarm of the harness's own judgement or a changed one raised none.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let wanted = |name: &str| {
        arguments.specimens.is_empty()
            || arguments
                .specimens
                .iter()
                .any(|part| name.contains(part.as_str()))
    };
    let goldens = arguments
        .goldens
        .clone()
        .unwrap_or_else(|| root.join("golden/smollm2_135m"));
    let mut rows = Vec::new();
    let of_noise = noise::names().any(wanted);
    let base = if of_noise || arguments.speed > 0 {
        Some(Base::read(&goldens).map_err(BenchError::from)?)
    } else {
        None
    };
    if let Some(base) = &base {
        rows.extend(noise::rows(base, arguments.runs, &wanted));
    }
    let folder = arguments.recordings.clone().unwrap_or_else(|| root.join(SAVED));
    let saved = Saved {
        root,
        folder: &folder,
        prompts: arguments.prompts as usize,
        command: std::env::args().collect(),
    };
    let real: Vec<&Specimen> = SPECIMENS
        .iter()
        .filter(|specimen| wanted(specimen.name))
        .collect();
    if arguments.record {
        saved.record(&real, &|| sink(style)).map_err(BenchError::from)?;
    }
    let (there, missing): (Vec<&Specimen>, Vec<&Specimen>) =
        real.into_iter().partition(|specimen| saved.has(specimen));
    for specimen in there {
        rows.extend(saved.rows(specimen).map_err(BenchError::from)?);
    }
    let speed = match &base {
        Some(base) if arguments.speed > 0 => {
            Some(speed::speed(base, arguments.speed).map_err(BenchError::from)?)
        }
        _ => None,
    };
    let report = Report {
        schema_version: 1,
        rows,
        speed,
        skipped: missing.iter().map(|specimen| specimen.name).collect(),
    };
    say(&words(&report))?;
    if arguments.json {
        print(&(serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n"))?;
    }
    Ok(exit(&report))
}

/// A display of its own for each server.
fn sink(style: Style) -> Sink {
    let display = Arc::new(Mutex::new(Display::on_stderr(Mode::of_stderr(false), style)));
    Box::new(move |entry: &Entry| validate::lock(&display).entry(entry))
}

/// The harness's own judgement has to be right; the other rules are shown beside it.
fn exit(report: &Report) -> Exit {
    if report.rows.is_empty() && report.speed.is_none() {
        return Exit::Nothing;
    }
    let wrong = |row: &&Row| {
        row.method == Rule::TeacherForced
            && match row.truth {
                Truth::Healthy => f64::from(row.false_alarms.unwrap_or(0)) > 0.01 * f64::from(row.runs),
                Truth::Changed => f64::from(row.caught.unwrap_or(0)) < 0.95 * f64::from(row.runs),
                Truth::Near => false,
            }
    };
    if report.rows.iter().any(|row| wrong(&row)) {
        Exit::Failed
    } else {
        Exit::Passed
    }
}

/// The report in words. Writing to a String does not fail.
fn words(report: &Report) -> String {
    let mut text = table(&report.rows);
    if let Some(speed) = &report.speed {
        let build = if speed.release {
            ""
        } else {
            " (not a release build: these times mean nothing)"
        };
        let _ = writeln!(
            text,
            "{} goldens of {} positions with {} alternatives on {} cores: read in {:.2} s ({} bytes each), compared \
             and judged in {:.2} s{build}",
            figure::count(speed.goldens as u64),
            speed.positions_each,
            speed.alternatives,
            speed.cores,
            speed.read_s,
            figure::count(speed.bytes_each as u64),
            speed.compare_s,
        );
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(
            text,
            "skipped, as no server was asked yet (--record boots them): {}",
            report.skipped.join(", ")
        );
    }
    text
}

/// One line a row, columns aligned.
fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 10] = [
        "specimen",
        "method",
        "positions",
        "runs",
        "caught",
        "false alarms",
        "undecided",
        "mean KLD",
        "top-1",
        "decided at",
    ];
    let dash = || "–".to_owned();
    let count = |count: Option<u32>| count.map_or_else(dash, |count| count.to_string());
    let cells = |row: &Row| {
        [
            row.specimen.clone(),
            row.method.as_str().to_owned(),
            figure::count(row.positions),
            row.runs.to_string(),
            count(row.caught),
            count(row.false_alarms),
            row.undecided.to_string(),
            row.mean_kld.map_or_else(dash, |kld| format!("{kld:.2e}")),
            row.top1
                .map_or_else(dash, |top1| format!("{:.2} %", 100.0 * top1)),
            row.decided_at.map_or_else(dash, figure::count),
        ]
    };
    let lines: Vec<[String; 10]> = std::iter::once(HEAD.map(str::to_owned))
        .chain(rows.iter().map(cells))
        .collect();
    let widths: [usize; 10] =
        std::array::from_fn(|column| lines.iter().map(|line| width(&line[column])).max().unwrap_or(0));
    let shown = |line: &[String; 10]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| pad(cell, width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::correctness::rules::Said;

    #[test]
    #[expect(clippy::too_many_lines, reason = "rows of a table")]
    fn lays_out_rows_and_judges_only_the_harness() {
        let row = |specimen, truth, rule, said: &[Said]| {
            let mut row = Row::new(specimen, truth, rule, 5_049);
            for &said in said {
                row.count(said);
            }
            row.mean_kld = Some(1.355e-3);
            row.top1 = Some(0.987);
            row
        };
        let mut report = Report {
            schema_version: 1,
            rows: vec![
                row(
                    "same",
                    Truth::Healthy,
                    Rule::TeacherForced,
                    &[Said::Silence, Said::Undecided],
                ),
                row(
                    "same",
                    Truth::Healthy,
                    Rule::TextEquality,
                    &[Said::Alarm, Said::Alarm],
                ),
                row(
                    "q8_0",
                    Truth::Changed,
                    Rule::TeacherForced,
                    &[Said::Alarm, Said::Alarm],
                ),
                row(
                    "q8_0",
                    Truth::Changed,
                    Rule::CheckLogprobsClose,
                    &[Said::Silence, Said::Silence],
                ),
            ],
            speed: Some(Speed {
                goldens: 10_000,
                positions_each: 256,
                alternatives: 20,
                bytes_each: 41_234,
                cores: 2,
                read_s: 1.5,
                compare_s: 1.25,
                release: true,
            }),
            skipped: vec!["int8"],
        };
        insta::assert_snapshot!(words(&report));
        assert_eq!(exit(&report), Exit::Passed);
        report
            .rows
            .push(row("new", Truth::Changed, Rule::TeacherForced, &[Said::Silence]));
        assert_eq!(exit(&report), Exit::Failed);
        let nothing = Report {
            rows: Vec::new(),
            speed: None,
            ..report
        };
        assert_eq!(exit(&nothing), Exit::Nothing);
    }
}
