//! `compare`: two recordings against each other, such as a C500's against an A100's.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{CliError, print, say};
use crate::{
    golden::Recording,
    judge::recordings::{ComparedRecordings, Origin, Parted, compare},
    manifest::Unit,
    report::{
        Style, figure,
        style::Role,
        text::{one_line, pad, printable, width},
    },
    review::ReviewError,
    run::{Exit, verdict_exit},
};

/// Answers that part and goldens that stray which the terminal shows; `--json` has them all.
const SHOWN: usize = 10;

/// What to compare.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The reference: a folder of goldens, or of a run that recorded or scored some; its floor decides
    reference: PathBuf,
    /// What is held against it, likewise
    candidate: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Compares; exit 1 where they differ by more than rounding, 5 where the evidence does not decide.
pub fn run(arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let read = |path: &Path| Recording::read(path).map_err(ReviewError::from);
    let compared = compare(&read(&arguments.reference)?, &read(&arguments.candidate)?);
    if arguments.json {
        print(&(serde_json::to_string_pretty(&compared).map_err(io::Error::from)? + "\n"))?;
    } else {
        say(&render(&compared, style))?;
    }
    Ok(verdict_exit(compared.verdict))
}

/// The comparison in words. Writing to a String does not fail.
fn render(compared: &ComparedRecordings, style: Style) -> String {
    let mut text = String::new();
    for (name, origins) in [
        ("reference", &compared.reference),
        ("candidate", &compared.candidate),
    ] {
        for origin in origins {
            text += &origin_line(name, origin);
        }
    }
    text += &table(compared);
    for finding in &compared.findings {
        let _ = writeln!(text, "{}", printable(&finding.text));
        for line in &finding.evidence {
            let _ = writeln!(text, "  | {}", printable(line));
        }
    }
    if let Some(answers) = compared.answers {
        let _ = writeln!(
            text,
            "answers: {} identical, {} parted by a near tie, {} divergent, {} not comparable",
            answers.identical, answers.near_tie, answers.divergent, answers.incomparable
        );
    }
    let mut parted: Vec<&Parted> = compared.parted.iter().collect();
    // What rounding does not explain comes first.
    parted.sort_by_key(|parted| parted.near_tie);
    for parted in parted.iter().take(SHOWN) {
        text += &parted_lines(parted);
    }
    if parted.len() > SHOWN {
        let _ = writeln!(text, "{} more answers part (see --json)", parted.len() - SHOWN);
    }
    for (name, cases) in [
        ("the reference", &compared.only_reference),
        ("the candidate", &compared.only_candidate),
    ] {
        if let [first, rest @ ..] = cases.as_slice() {
            let others = if rest.is_empty() {
                String::new()
            } else {
                format!(" and {} more", rest.len())
            };
            let _ = writeln!(text, "only {name} has {}{others}", one_line(first));
        }
    }
    let verdict = style.paint(Role::of(compared.verdict), compared.verdict.as_str());
    text + &format!("verdict: {verdict}\n")
}

fn origin_line(name: &str, origin: &Origin) -> String {
    let simulated = if origin.simulated { "SIMULATED " } else { "" };
    let digest: String = origin.model_digest.chars().take(19).collect();
    format!(
        "{name}: {simulated}{} goldens of {} (vLLM {}, {}, weights {digest})\n",
        origin.goldens,
        one_line(&origin.stack),
        one_line(&origin.vllm),
        one_line(&origin.accelerator),
    )
}

/// Each figure with its interval, what is allowed and the floor.
fn table(compared: &ComparedRecordings) -> String {
    let Some(figures) = &compared.figures else {
        return String::new();
    };
    let mut rows = vec![["figure", "measured", "90 % interval", "allowed", "floor"].map(str::to_owned)];
    rows.extend(figure::drift_rows(figures));
    let widths: Vec<usize> = (0..5)
        .map(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn parted_lines(parted: &Parted) -> String {
    let nat = |margin: Option<f64>| {
        margin.map_or_else(|| "unknown".to_owned(), |nat| figure::with_unit(nat, Unit::Nat))
    };
    let kind = if parted.near_tie { "near tie" } else { "divergent" };
    format!(
        "{kind}: {} at position {}, margins {} and {}\n  | shared    {}\n  | reference {}\n  | candidate {}\n",
        one_line(&parted.case),
        parted.position,
        nat(parted.reference_margin_nat),
        nat(parted.candidate_margin_nat),
        one_line(&format!("{:?}", parted.shared)),
        one_line(&format!("{:?}", parted.reference)),
        one_line(&format!("{:?}", parted.candidate)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Golden, sample};

    fn recording(goldens: impl IntoIterator<Item = Golden>) -> Recording {
        let keyed = goldens
            .into_iter()
            .map(|golden| ((golden.header.model.clone(), golden.header.case.clone()), golden));
        Recording {
            path: PathBuf::from("recording"),
            scored: false,
            goldens: keyed.collect(),
        }
    }

    #[test]
    fn lays_out_what_differs() {
        let named = |number: u32| {
            let mut golden = sample::golden();
            golden.header.case = format!("case_{number}");
            golden
        };
        let mut others: Vec<Golden> = (0..11).map(named).collect();
        for golden in &mut others {
            golden.header.recorded.stack = "c500_maca3.3_vllm0.12.0".to_owned();
            golden.header.recorded.accelerator = "c500".to_owned();
        }
        others[3].positions[5] = sample::position(8000, &[(8000, -0.3), (7042, -1.9), (902, -4.0)]);
        others[3].answer = "The capital of France is Lyon.".to_owned();
        others[3].pieces[5] = " Lyon".to_owned();
        let compared = compare(&recording((0..12).map(named)), &recording(others));
        let plain = Style {
            colour: false,
            width: 100,
        };
        insta::assert_snapshot!(render(&compared, plain));
    }
}
