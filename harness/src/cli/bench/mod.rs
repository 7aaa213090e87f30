//! `bench`: what the harness's own methods find and miss, and how fast they are. Never part of a test.

mod correctness;
mod gate;
mod load;

use std::path::Path;

use clap::{Args, Subcommand};

use super::CliError;
use crate::{report::Style, run::Exit};

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Specimens whose truth is known, by the harness's rules and by others on the same data
    Correctness(correctness::Arguments),
    /// Power and false alarms of the gate's rule on known slowdowns and known noise
    Gate(gate::Arguments),
    /// The load client: processor time, errors against the truth, memory, start-up
    Load(load::Arguments),
}

/// Measures.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    match &arguments.what {
        What::Correctness(arguments) => correctness::run(root, arguments, style),
        What::Gate(arguments) => gate::run(arguments),
        What::Load(arguments) => load::run(arguments),
    }
}
