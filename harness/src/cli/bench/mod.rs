//! `bench`: what the harness's own methods are worth, measured. Never part of a test.

mod gate;

use clap::{Args, Subcommand};

use super::CliError;
use crate::run::Exit;

/// Which method.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Power and false alarms of the gate's rule on known slowdowns and known noise
    Gate(gate::Arguments),
}

/// Measures.
pub fn run(arguments: &Arguments) -> Result<Exit, CliError> {
    match &arguments.what {
        What::Gate(arguments) => gate::run(arguments),
    }
}
