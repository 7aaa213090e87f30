//! The simulator's command line: reads it, resolves the settings, runs the server.

use std::io::Write;
use std::process::ExitCode;

use simulator::args::ServeArgs;
use simulator::faults::{Fault, StartFailure};
use simulator::server;
use simulator::settings::{Environment, Settings, SettingsError};
use simulator::stream::{self, StreamOptions};

/// What the played parser exits with, and what the simulator's own mistakes exit with.
const USAGE: u8 = 2;

fn complain(text: &str) {
    // Nobody may be reading.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == "stream").is_some() {
        return stream(words);
    }
    match ServeArgs::parse(words) {
        Ok(args) => start(args),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

/// The bare stream server, which runs until it is killed.
fn stream(words: impl Iterator<Item = String>) -> ExitCode {
    let options = match StreamOptions::parse(words) {
        Ok(options) => options,
        Err(error) => {
            complain(&format!("simulator {error}"));
            return ExitCode::from(USAGE);
        }
    };
    match stream::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("simulator stream: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start(args: ServeArgs) -> ExitCode {
    if args
        .faults
        .contains(&Fault::ExitAtStart(StartFailure::UnknownFlag))
    {
        complain("usage: vllm [-h] [-v] {chat,complete,serve,bench,collect-env,run-batch} ...");
        complain("vllm: error: unrecognized arguments: --no-such-flag");
        return ExitCode::from(USAGE);
    }
    let settings = match Settings::resolve(&args, Environment::read()) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(server::run(args, settings)),
        Err(error) => {
            complain(&format!("simulator: cannot start a runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    ended.unwrap_or_else(|error| {
        complain(&format!("simulator: {error}"));
        ExitCode::FAILURE
    })
}

/// Settings that vLLM itself refuses end as it ends: a traceback and status 1.
fn refuse(error: &SettingsError) -> ExitCode {
    complain(&format!(
        "Traceback (most recent call last):\nValueError: {error}"
    ));
    ExitCode::FAILURE
}
