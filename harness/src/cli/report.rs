//! `report`: makes the reports of a run again from its record.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, print, say};
use crate::{
    record,
    report::{self, Style, Summary},
    run::Exit,
};

/// Which run, and what to print.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder of the run, or its record.jsonl
    run: PathBuf,
    /// Print report.json instead of the summary
    #[arg(long)]
    json: bool,
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
    if arguments.json {
        print(&report::json::render(&summary)?)?;
    } else {
        say(&report::terminal::render(&summary, &reports, style))?;
    }
    Ok(Exit::Passed)
}
