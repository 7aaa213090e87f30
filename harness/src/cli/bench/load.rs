//! `bench load`: what the load client costs and how right it is, held against the truth and against other clients.

use std::{fs, io, path::PathBuf};

use clap::Args;

use crate::{
    bench::load::{self, CASES, Case, Plan},
    cli::{CliError, print, say},
    run::Exit,
};

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Cases: a (2 streams), b (256 × 20 ms), c (1,024 × 50 ms), d (as fast as possible), d16 (16 events a write),
    /// 10k (10,000 streams)
    #[arg(long, value_name = "C,C", value_delimiter = ',', default_value = "b,c,d,d16", value_parser = case)]
    cases: Vec<Case>,
    /// Repetitions, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Leave out peers even where they are installed
    #[arg(long)]
    no_peers: bool,
    /// Keep prompts and results in this folder [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
}

/// Measures; exit 1 where a target is missed.
pub fn run(arguments: &Arguments) -> Result<Exit, CliError> {
    let temporary = tempfile::tempdir()?;
    let folder = match &arguments.out {
        Some(folder) => {
            fs::create_dir_all(folder)?;
            fs::canonicalize(folder)?
        }
        None => temporary.path().to_owned(),
    };
    if cfg!(debug_assertions) {
        say("note: this is a debug build, whose figures say nothing: use `cargo xtask bench load`\n")?;
    }
    let plan = Plan {
        cases: arguments.cases.clone(),
        repeat: arguments.repeat,
        peers: !arguments.no_peers,
        folder,
    };
    // A closed standard error silences the progress and nothing else.
    let found = load::run(&plan, &mut |step| drop(say(&format!("{step}\n"))))?;
    say(&load::render(&found))?;
    if arguments.json {
        print(&(serde_json::to_string_pretty(&found).map_err(io::Error::from)? + "\n"))?;
    }
    Ok(if found.judged.iter().all(|judged| judged.met) {
        Exit::Passed
    } else {
        Exit::Failed
    })
}

fn case(name: &str) -> Result<Case, String> {
    let found = CASES.iter().find(|case| case.name == name.trim());
    found.copied().ok_or_else(|| {
        let names = CASES.map(|case| case.name);
        format!("there are {}", names.join(", "))
    })
}
