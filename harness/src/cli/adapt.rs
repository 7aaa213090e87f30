//! `adapt`: looks for settings with which a model boots on a stack, and says what to change in its manifest.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{
    CliError, print, say,
    validate::{stack_names, with_faults},
};
use crate::{
    adapt::{self, AdaptReport, Conclusion, Limits, Search},
    manifest::{Catalogue, LoadedModel, LoadedStack, Target},
    record::{Entry, Event},
    report::{ReportError, Style, replace},
    run::{self, AdaptOptions, Adapted, Exit, Told},
};

/// What to look for.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Model: a name in models.d, or the path of a manifest
    #[arg(long, value_name = "NAME|FILE")]
    model: String,
    /// Stack: a name in ci/stacks, or the path of a stack file
    /// [default: on a host with /dev/mxcd the manifest's first C500 stack, elsewhere simulator_c500]
    #[arg(long, value_name = "NAME|FILE")]
    stack: Option<String>,
    /// Most servers that are booted
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    attempts: u16,
    /// Most cards that one server may take
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_cards: u32,
    /// Write what works into the manifest, keeping its comments
    #[arg(long)]
    apply: bool,
    /// Folder for attempts and reports [default: target/adapt/<run>, with a link `latest`]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print adapt.json to standard output, in place of the diff
    #[arg(long)]
    json: bool,
    /// Do not show the phases of each boot
    #[arg(long, short)]
    quiet: bool,
    /// Inject a fault into the simulator (`oom_load:until=tensor_parallel_size>=2`); may be given several times
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
}

/// Looks for settings that boot. The diff goes to standard output.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let catalogue = Catalogue::open(root);
    let model = Arc::new(catalogue.model(&arguments.model)?);
    let stack = Arc::new(stack(&catalogue, &model, arguments)?);
    let text = read(&model.path)?;
    // What was checked and what is edited must be one text.
    if catalogue.model_as(&model.path, &text)?.digest != model.digest {
        return Err(CliError::Usage(format!(
            "{} is being changed by somebody else",
            model.path.display()
        )));
    }
    let limits = Limits {
        attempts: usize::from(arguments.attempts),
        most_cards: arguments.max_cards,
    };
    let mut search = Search::new(&catalogue, Arc::clone(&model), &text, Arc::clone(&stack), limits);
    let options = AdaptOptions {
        root: root.to_owned(),
        out: arguments.out.clone(),
        command: std::env::args().collect(),
    };
    let adapted = run::adapt(&mut search, &stack, options, &shown(arguments.quiet))?;
    let manifest = model
        .path
        .strip_prefix(root)
        .unwrap_or(&model.path)
        .display()
        .to_string();
    let report = AdaptReport::of(
        &search,
        (&adapted.run, &manifest),
        (&model, &text),
        &stack,
        (adapted.conclusion, adapted.exit.code()),
    );
    finish(&report, &adapted, arguments, style)?;
    if arguments.apply && adapted.conclusion == Conclusion::Works && !report.diff.is_empty() {
        let after = search.text().map_err(|error| CliError::Usage(error.clone()))?;
        apply(&model.path, &text, &after)?;
        say(&format!("written to {manifest}\n"))?;
    }
    Ok(adapted.exit)
}

fn stack(catalogue: &Catalogue, model: &LoadedModel, arguments: &Arguments) -> Result<LoadedStack, CliError> {
    let asked: Vec<String> = arguments.stack.iter().cloned().collect();
    let name = stack_names(catalogue, model, &asked)
        .into_iter()
        .next()
        .unwrap_or_default();
    let stack = catalogue.stack(&name)?;
    if matches!(stack.stack.target(), Some(Target::Endpoint(_))) {
        return Err(CliError::Usage(format!(
            "the server of {} runs already: nothing of a manifest's `serve` section reaches it",
            stack.name
        )));
    }
    with_faults(stack, &arguments.faults)
}

fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path)
        .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))
}

/// Tells what is tried, and the phases of its boot.
fn shown(quiet: bool) -> Told {
    Arc::new(move |number: usize, tried: &str, entry: Option<&Entry>| {
        let line = match entry.map(|entry| &entry.event) {
            None => format!("attempt {number}: {tried}\n"),
            Some(Event::BootPhase(phase)) if !quiet => {
                format!(
                    "attempt {number}: {} (after {:.1} s)\n",
                    phase.phase, phase.after_s
                )
            }
            Some(Event::BootFailed(failed) | Event::ServerLost(failed)) => {
                format!("attempt {number}: {} ({})\n", failed.message, failed.class)
            }
            Some(_) => return,
        };
        // Nothing is left to tell it to if standard error is gone; the records hold it.
        drop(say(&line));
    })
}

/// Writes the reports, and shows them.
fn finish(
    report: &AdaptReport,
    adapted: &Adapted,
    arguments: &Arguments,
    style: Style,
) -> Result<(), CliError> {
    let json = adapt::json(report).map_err(ReportError::from)?;
    for (name, text) in [("adapt.json", &json), ("adapt.md", &adapt::markdown(report))] {
        let path = adapted.folder.join(name);
        replace(&path, text).map_err(|source| ReportError::Io { path, source })?;
    }
    say(&format!("\n{}", adapt::terminal(report, style)))?;
    say(&format!(
        "reports: adapt.json, adapt.md in {}\n",
        adapted.folder.display()
    ))?;
    print(if arguments.json { &json } else { &report.diff })?;
    Ok(())
}

/// Replaces the manifest's text, unless it became another meanwhile.
fn apply(path: &Path, before: &str, after: &str) -> Result<(), CliError> {
    if read(path)? != before {
        return Err(CliError::Usage(format!(
            "{} was changed meanwhile, so nothing was written: apply the diff by hand",
            path.display()
        )));
    }
    // A manifest that is a link stays one.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    replace(&target, after).map_err(|source| ReportError::Io { path: target, source })?;
    Ok(())
}
