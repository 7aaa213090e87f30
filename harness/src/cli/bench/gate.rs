//! `bench gate`: thousands of simulated gates, by this harness's rule and by one run against 0.97.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{CliError, gate::Percent, print, say},
    gate::{
        Tolerances,
        power::{PowerRow, Rule, Setting, rows},
    },
    report::ReportError,
    run::Exit,
};

/// What to simulate.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Gates for each line
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    gates: u32,
    /// Spread of a session's figures; may be given several times
    #[arg(long = "cv", value_name = "PERCENT", default_values = ["1%", "2%", "3%"])]
    cvs: Vec<Percent>,
    /// True slowdowns; may be given several times
    #[arg(long = "slowdown", value_name = "PERCENT", default_values = ["0%", "3%", "5%", "10%"])]
    slowdowns: Vec<Percent>,
    /// Tolerated slowdown
    #[arg(long, value_name = "PERCENT", default_value = "3%")]
    tolerance: Percent,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the rows as JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    rows: Vec<PowerRow>,
}

/// Simulates and shows.
pub fn run(arguments: &Arguments) -> Result<Exit, CliError> {
    let tolerances = Tolerances {
        speed: arguments.tolerance.share(),
        ttft: arguments.tolerance.share(),
    };
    let settings = arguments.cvs.iter().flat_map(|cv| {
        arguments.slowdowns.iter().map(|slowdown| Setting {
            cv: cv.share(),
            slowdown: slowdown.share(),
            gates: arguments.gates,
            pairs: (5, 10),
            seed: arguments.seed,
        })
    });
    let report = Report {
        rows: settings.flat_map(|setting| rows(setting, tolerances)).collect(),
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).map_err(ReportError::Json)?;
        print(&(text + "\n"))?;
    } else {
        say(&table(&report.rows))?;
    }
    Ok(Exit::Passed)
}

fn table(rows: &[PowerRow]) -> String {
    let share =
        |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let mut text = format!(
        "{:<13} {:>6} {:>9} {:>7} {:>9} {:>12} {:>9} {:>6}\n",
        "rule", "cv", "slowdown", "gates", "power", "false alarm", "passed", "pairs"
    );
    for row in rows {
        let rule = match row.rule {
            Rule::Harness => "harness",
            Rule::OneRun => "one_run_0.97",
        };
        let _ = writeln!(
            text,
            "{rule:<13} {:>6} {:>9} {:>7} {:>9} {:>12} {:>9} {:>6.1}",
            format!("{:.0} %", row.cv * 100.0),
            format!("{:.0} %", row.slowdown * 100.0),
            row.gates,
            share(row.power),
            share(row.false_alarm),
            share(Some(row.passed)),
            row.mean_pairs
        );
    }
    text
}
