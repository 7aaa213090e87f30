//! `history`: what a figure did over the runs on record, and indexing of runs that are not yet.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{CliError, print, say};
use crate::{
    history::{self, Index, Line, Trend, Wanted},
    record::{self, RecordError},
    report::{ReportError, Style, Summary},
    run::Exit,
};

/// Latest runs that one trend lists.
const ROWS: usize = 20;

/// Names the folder of the index where no option does.
const VARIABLE: &str = "HARNESS_HISTORY";

/// Which trends, and how to show them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: Place,
    /// Only this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only this stack
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Metric by its name, or every metric whose name contains this; `all` for all [default: the most telling ones]
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Join the stacks of an accelerator into one trend, so that an upgrade shows as a change
    #[arg(long, conflicts_with = "stack")]
    join_stacks: bool,
    /// Only the latest runs of each trend
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Print the trends as JSON
    #[arg(long, group = "format")]
    json: bool,
    /// Print a line a figure as CSV
    #[arg(long, group = "format")]
    csv: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Index runs: folders of runs, or their record.jsonl
    Add(Add),
}

#[derive(Debug, Args)]
struct Add {
    /// Folders of runs, or their record.jsonl
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Where the index lies.
#[derive(Debug, Args)]
pub struct Place {
    /// Folder of the index [default: $HARNESS_HISTORY, or target/validate/history]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where runs are indexed: the folder given, or the environment's, or that of the repository. CI systems often set a
/// variable to nothing.
pub(super) fn folder(root: &Path, given: Option<&PathBuf>) -> PathBuf {
    let variable = || env::var_os(VARIABLE).filter(|value| !value.is_empty());
    given
        .cloned()
        .or_else(|| variable().map(PathBuf::from))
        .unwrap_or_else(|| root.join("target/validate/history"))
}

/// Shows trends, or indexes runs; exit 4 where nothing fits.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    if let Some(Command::Add(add)) = &arguments.command {
        return index_runs(&add.runs, &folder(root, add.place.dir.as_ref()));
    }
    let folder = folder(root, arguments.place.dir.as_ref());
    let index = history::read(&folder)?;
    say(&history::damage(&index.damaged, style))?;
    let wanted = Wanted {
        model: arguments.model.clone(),
        stack: arguments.stack.clone(),
        metric: arguments.metric.clone(),
        join_stacks: arguments.join_stacks,
        last: arguments.last,
    };
    let trends = history::trends(&index.lines, &wanted);
    if arguments.json {
        print(&history::json(&folder, &trends, &index.damaged)?)?;
    } else if arguments.csv {
        print(&history::csv(&trends)?)?;
    }
    if trends.is_empty() {
        say(&nothing(&index, &folder, &wanted))?;
        return Ok(Exit::Nothing);
    }
    if !arguments.json && !arguments.csv {
        say(&shown(&trends, style))?;
    }
    Ok(Exit::Passed)
}

fn shown(trends: &[Trend], style: Style) -> String {
    match trends {
        [trend] => history::single(trend, ROWS, style),
        trends => history::overview(trends, style),
    }
}

/// Why there is nothing to show, and what there would be.
fn nothing(index: &Index, folder: &Path, wanted: &Wanted) -> String {
    if index.lines.is_empty() {
        return format!(
            "no runs are indexed in {}: `validate` adds each run at its end, `history add RUN…` those of before\n",
            folder.display()
        );
    }
    let names = |name: fn(&Line) -> Vec<&str>| {
        let mut names: Vec<&str> = index.lines.iter().flat_map(name).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    };
    let known = |wanted: &Option<String>, name: fn(&Line) -> &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| index.lines.iter().any(|line| name(line) == wanted))
    };
    if !known(&wanted.model, |line| &line.model) {
        return format!(
            "no run of this model; there are {}\n",
            names(|line| vec![&line.model])
        );
    }
    if !known(&wanted.stack, |line| &line.stack) {
        return format!(
            "no run on this stack; there are {}\n",
            names(|line| vec![&line.stack])
        );
    }
    let metrics = names(|line| line.metrics.keys().map(String::as_str).collect());
    format!("no run of these has such a metric; there are {metrics}\n")
}

/// Indexes runs; one that cannot be read does not keep the others from it.
fn index_runs(runs: &[PathBuf], folder: &Path) -> Result<Exit, CliError> {
    let known = history::read(folder)?.lines;
    let (mut added, mut there, mut failed) = (0, 0, 0);
    for run in runs {
        let record = if run.is_dir() {
            run.join("record.jsonl")
        } else {
            run.clone()
        };
        // A shell's `target/validate/*` names the index too.
        if run.is_dir() && !record.exists() && run.join(history::FILE).exists() {
            continue;
        }
        match read_run(&record) {
            Ok(lines) => {
                let new: Vec<Line> = lines.into_iter().filter(|line| !known.contains(line)).collect();
                if new.is_empty() {
                    there += 1;
                } else {
                    history::append(folder, &new)?;
                    added += 1;
                }
            }
            Err(error) => {
                failed += 1;
                say(&CliError::from(error).render(false))?;
            }
        }
    }
    say(&format!(
        "{added} added to {}, {there} there already, {failed} not readable\n",
        folder.display()
    ))?;
    Ok(if failed > 0 { Exit::Usage } else { Exit::Passed })
}

/// Why a run cannot be indexed.
enum Unreadable {
    Record(RecordError),
    Report(ReportError),
}

impl From<Unreadable> for CliError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Record(error) => error.into(),
            Unreadable::Report(error) => error.into(),
        }
    }
}

fn read_run(record: &Path) -> Result<Vec<Line>, Unreadable> {
    let (entries, _) = record::read(record).map_err(Unreadable::Record)?;
    let summary = Summary::of(&entries).map_err(Unreadable::Report)?;
    Ok(history::lines(&summary))
}

/// Indexes a run that has just ended. What goes wrong is told and changes nothing of the run's end.
pub(super) fn index_finished(summary: &Summary, folder: &Path) {
    if let Err(error) = history::append(folder, &history::lines(summary)) {
        let text =
            format!("warning: {error}: this run is not in the history; add it later with `history add`\n");
        // Nothing is left to tell it to if standard error is gone.
        drop(say(&text));
    }
}
