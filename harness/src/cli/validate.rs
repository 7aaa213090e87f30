//! `validate`: which models on which stacks, and the run.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;

use super::{CliError, history, print, say};
use crate::{
    manifest::{Accelerator, Catalogue, Diagnostics, Dtype, LoadedModel, LoadedStack},
    record::Entry,
    report::{self, Display, Style, live::Mode},
    run::{self, DryRun, Exit, Filter, Options, Plan, Selection},
};

/// Stack of hosts without an accelerator.
const SIMULATOR: &str = "simulator_c500";

/// What to validate.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Arguments {
    /// Model: a name in models.d, or the path of a manifest; may be given several times
    #[arg(long = "model", value_name = "NAME|FILE", required_unless_present = "all")]
    models: Vec<String>,
    /// Every model of models.d
    #[arg(long, conflicts_with = "models")]
    all: bool,
    /// Stack: a name in ci/stacks, or the path of a stack file; may be given several times
    /// [default: on a host with /dev/mxcd the manifest's first C500 stack, elsewhere simulator_c500]
    #[arg(long = "stack", value_name = "NAME|FILE")]
    stacks: Vec<String>,
    /// Only trials whose name contains this (boot is always among them)
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Leave out trials whose name contains this; may be given several times
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,
    /// Compare filters with the whole name
    #[arg(long)]
    exact: bool,
    /// Print the names of the trials and stop
    #[arg(long)]
    list: bool,
    /// Folder for record and reports [default: target/validate/<run>, with a link `latest`]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of the index that `history` reads; each run is added to it at its end [default: $HARNESS_HISTORY, or
    /// target/validate/history]
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Print report.json to standard output
    #[arg(long)]
    json: bool,
    /// Show only what is wrong
    #[arg(long, short)]
    quiet: bool,
    /// Print the command line that would start each server, and start none
    #[arg(long, conflicts_with_all = ["list", "json"])]
    dry_run: bool,
    /// Number type of weights and activations, in place of the manifest's and the stack's: bfloat16, float16, float32
    #[arg(long, value_name = "TYPE", value_parser = dtype)]
    dtype: Option<Dtype>,
    /// Inject a fault into the simulator (`crash:after=3`); may be given several times
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
}

/// Validates.
pub fn run(root: &Path, arguments: Arguments, style: Style) -> Result<Exit, CliError> {
    let selections = select(root, &arguments)?;
    let filter = Filter {
        wanted: arguments.filter.clone(),
        unwanted: arguments.skip.clone(),
        exact: arguments.exact,
    };
    let plan = run::plan(&selections, &filter);
    if plan.sessions.is_empty() {
        say("nothing to do: no trial's name fits the filter (see them with --list)\n")?;
        return Ok(Exit::Nothing);
    }
    if arguments.list {
        list(&plan)?;
        return Ok(Exit::Passed);
    }
    if arguments.dry_run {
        return dry_run(root, &plan, arguments.out);
    }
    let display = Display::on_stderr(Mode::of_stderr(arguments.quiet), style);
    let display = Arc::new(Mutex::new(display));
    let options = Options {
        root: root.to_owned(),
        out: arguments.out,
        command: std::env::args().collect(),
        libtest: quiet_libtest(),
    };
    lock(&display).planned(plan.trial_count());
    let shown = Arc::clone(&display);
    let finished = run::validate(
        &plan,
        options,
        Box::new(move |entry: &Entry| lock(&shown).entry(entry)),
    );
    lock(&display).close();
    let finished = finished?;
    say(&report::terminal::render(
        &finished.summary,
        &finished.reports,
        style,
    ))?;
    let history = history::folder(root, arguments.history.as_ref());
    history::index_finished(&finished.summary, &history);
    if arguments.json {
        print(&report::json::render(&finished.summary)?)?;
    }
    Ok(finished.exit)
}

pub(super) fn lock(display: &Mutex<Display>) -> std::sync::MutexGuard<'_, Display> {
    // A display that panicked in the middle of a line can still write the next one.
    display.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(plan: &Plan) -> Result<(), CliError> {
    let names = plan
        .sessions
        .iter()
        .flat_map(|session| &session.trials)
        .map(|trial| trial.name.clone() + "\n");
    print(&names.collect::<String>())?;
    Ok(())
}

/// Shows what would be started: the lines on standard output, in the order of the sessions that are named beside.
fn dry_run(root: &Path, plan: &Plan, out: Option<PathBuf>) -> Result<Exit, CliError> {
    let mut exit = Exit::Passed;
    for DryRun {
        session,
        simulated,
        line,
        notes,
    } in run::dry_run(plan, root.to_owned(), out)?
    {
        let simulated = if simulated { "SIMULATED: " } else { "" };
        say(&format!("{simulated}{session}\n"))?;
        for note in notes {
            say(&format!("  note: {note}\n"))?;
        }
        match line {
            Ok(line) => print(&(line + "\n"))?,
            Err(why) => {
                say(&format!("  error: {why}\n"))?;
                exit = Exit::Infrastructure;
            }
        }
    }
    Ok(exit)
}

/// Reads the name of a number type.
pub(super) fn dtype(word: &str) -> Result<Dtype, String> {
    let found = Dtype::ALL.into_iter().find(|dtype| dtype.as_str() == word);
    found.ok_or_else(|| "write bfloat16, float16 or float32".to_owned())
}

/// libtest's own printing would only repeat what the display shows.
fn quiet_libtest() -> libtest_mimic::Arguments {
    libtest_mimic::Arguments {
        logfile: Some("/dev/null".to_owned()),
        ..libtest_mimic::Arguments::default()
    }
}

/// Loads what was named; all mistakes of all files are told at once.
fn select(root: &Path, arguments: &Arguments) -> Result<Vec<Selection>, CliError> {
    let catalogue = Catalogue::open(root);
    let names = if arguments.all {
        catalogue.model_names()
    } else {
        arguments.models.clone()
    };
    let mut mistakes = Vec::new();
    let mut models = Vec::new();
    for name in &names {
        match catalogue.model(name) {
            Ok(model) => models.push(Arc::new(model)),
            Err(found) => mistakes.extend(found),
        }
    }
    let mut selections = Vec::new();
    for model in models {
        for stack in stack_names(&catalogue, &model, &arguments.stacks) {
            match catalogue.stack(&stack) {
                Ok(stack) => {
                    let stack = with_faults(stack, &arguments.faults)?;
                    selections.push(Selection {
                        model: Arc::clone(&model),
                        stack: Arc::new(stack),
                        dtype: arguments.dtype,
                    });
                }
                Err(found) => mistakes.extend(found),
            }
        }
    }
    if mistakes.is_empty() {
        Ok(selections)
    } else {
        Err(Diagnostics::from_iter(mistakes).into())
    }
}

/// The stacks asked for; otherwise the host decides, and nothing is ever simulated on a C500 host unasked.
pub(super) fn stack_names(catalogue: &Catalogue, model: &LoadedModel, asked: &[String]) -> Vec<String> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    if !run::has_c500() {
        return vec![SIMULATOR.to_owned()];
    }
    let on_c500 = |name: &&String| {
        catalogue.stack(name).is_ok_and(|loaded| {
            loaded.stack.accelerator == Accelerator::C500 && loaded.stack.simulator.is_none()
        })
    };
    // A manifest without a C500 stack names none here, so that the mistake is told instead of simulated.
    vec![
        model
            .manifest
            .stacks
            .iter()
            .find(on_c500)
            .unwrap_or(&model.manifest.stacks[0])
            .clone(),
    ]
}

pub(super) fn with_faults(mut loaded: LoadedStack, faults: &[String]) -> Result<LoadedStack, CliError> {
    match &mut loaded.stack.simulator {
        Some(simulator) => simulator.faults.extend(faults.iter().cloned()),
        None if faults.is_empty() => {}
        None => {
            let text = format!(
                "--fault works on simulators only; {} is a real stack",
                loaded.name
            );
            return Err(CliError::Usage(text));
        }
    }
    Ok(loaded)
}
