//! The simulator's command line: reads it, resolves the settings, runs the server.

use std::io::Write;
use std::process::ExitCode;

use simulator::args::{ArgsError, ServeArgs};
use simulator::faults::{Fault, StartFailure};
use simulator::server;
use simulator::settings::{Environment, Settings, SettingsError};

/// What the played command line's parser exits with.
const USAGE: u8 = 2;

fn complain(text: &str) {
    // Nobody may be reading.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn main() -> ExitCode {
    match ServeArgs::parse(std::env::args().skip(1)) {
        Ok(args) => start(args),
        Err(error @ ArgsError::Usage { .. }) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

fn start(mut args: ServeArgs) -> ExitCode {
    if args
        .faults
        .contains(&Fault::ExitAtStart(StartFailure::UnknownFlag))
    {
        complain("usage: vllm [-h] [-v] {chat,complete,serve,bench,collect-env,run-batch} ...");
        complain("vllm: error: unrecognized arguments: --no-such-flag");
        return ExitCode::from(USAGE);
    }
    let mut environment = Environment::read();
    let settings = match Settings::resolve(&args, environment.clone()) {
        Ok(settings) => settings,
        Err(SettingsError::TooLong(_)) => {
            // Played as the failure it is, on the settings that would have been right.
            args.given.remove("max_model_len");
            args.faults
                .push(Fault::ExitAtStart(StartFailure::LengthAboveConfig));
            match Settings::resolve(&args, std::mem::take(&mut environment)) {
                Ok(settings) => settings,
                Err(error) => return refuse(&error),
            }
        }
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
