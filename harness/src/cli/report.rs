//! `report`: makes the reports of a run again from its record, and hands them to the CI system that runs it.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{CliError, print, say};
use crate::{
    record,
    report::{self, ReportError, Style, Summary},
    run::Exit,
};

/// Names the file that GitHub shows as a job's summary.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Which run, and what to print.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder of the run, or its record.jsonl
    run: PathBuf,
    /// Print report.json instead of the summary
    #[arg(long)]
    json: bool,
    /// Print GitHub's annotations, and add the report to the job's summary where GITHUB_STEP_SUMMARY names it
    #[arg(long, conflicts_with = "json")]
    github: bool,
    /// Write the figures as OpenMetrics, for GitLab's `artifacts:reports:metrics`
    #[arg(long, value_name = "FILE")]
    gitlab: Option<PathBuf>,
}

/// Reads the record, writes the reports beside it, and shows the summary.
pub fn run(arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let record = if arguments.run.is_dir() {
        arguments.run.join("record.jsonl")
    } else {
        arguments.run.clone()
    };
    let (entries, cut) = record::read(&record)?;
    if cut {
        say("note: the last line of the record was cut off; everything before it is reported\n")?;
    }
    let summary = Summary::of(&entries)?;
    let folder = record.parent().map_or_else(PathBuf::new, PathBuf::from);
    let reports = report::write_all(&folder, &summary)?;
    if let Some(file) = &arguments.gitlab {
        fs::write(file, report::gitlab::render(&summary)).map_err(|source| failed(file, source))?;
    }
    if arguments.json {
        print(&report::json::render(&summary)?)?;
    } else if arguments.github {
        print(&report::github::annotations(&summary))?;
        add_to_step_summary(&summary)?;
    } else {
        say(&report::terminal::render(&summary, &reports, style))?;
    }
    Ok(Exit::Passed)
}

fn add_to_step_summary(summary: &Summary) -> Result<(), CliError> {
    let Some(file) = env::var_os(STEP_SUMMARY).filter(|file| !file.is_empty()) else {
        say(&format!(
            "note: {STEP_SUMMARY} is not set, so there is no job summary to add to\n"
        ))?;
        return Ok(());
    };
    let file = PathBuf::from(file);
    let text = report::github::step_summary(summary)?;
    let appended = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()));
    appended.map_err(|source| failed(&file, source).into())
}

fn failed(path: &Path, source: std::io::Error) -> ReportError {
    let path = path.to_owned();
    ReportError::Io { path, source }
}
