//! `doctor`: will a run work here? What was found, each with a remedy where it will not.

mod checks;
mod facts;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use self::{
    checks::{Check, State},
    facts::Facts,
};
use super::{CliError, device::json, print, say};
use crate::{manifest::Catalogue, report::Style, run::Exit};

/// What to look at.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Stack that is to run here: a name in ci/stacks, or the path of a stack file [default: none: what stacks need is shown and not required]
    #[arg(long, value_name = "NAME|FILE")]
    stack: Option<String>,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema_version: u32,
    stack: Option<&'a str>,
    state: State,
    checks: &'a [Check],
}

/// Looks; exit 3 where something is wrong.
pub fn run(root: &Path, arguments: &Arguments, _style: Style) -> Result<Exit, CliError> {
    let catalogue = Catalogue::open(root);
    let stack = arguments
        .stack
        .as_deref()
        .map(|stack| catalogue.stack(stack))
        .transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let facts = runtime.block_on(Facts::gather(root, &catalogue, stack.as_ref()));
    let checks = checks::checks(&facts, stack.as_ref());
    let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    if arguments.json {
        let stack = stack.as_ref().map(|stack| stack.name.as_str());
        print(&json(&Report {
            schema_version: 1,
            stack,
            state,
            checks: &checks,
        })?)?;
    } else {
        say(&render(&checks))?;
    }
    Ok(if state == State::Wrong {
        Exit::Infrastructure
    } else {
        Exit::Passed
    })
}

/// A line a check, its remedy below it, and a count at the end.
fn render(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!(
            "{:<8} {}: {}",
            check.state.as_str(),
            check.name,
            check.found
        ));
        lines.extend(
            check
                .remedy
                .iter()
                .map(|remedy| format!("         remedy: {remedy}")),
        );
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let warnings = count(State::Warning);
    lines.push(format!(
        "{} ok, {warnings} warning{}, {} wrong\n",
        count(State::Ok),
        if warnings == 1 { "" } else { "s" },
        count(State::Wrong)
    ));
    lines.join("\n")
}
