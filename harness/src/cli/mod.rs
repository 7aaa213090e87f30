//! The command line: one file a command. Human words go to standard error, machine output to standard output.

mod adapt;
mod audit;
mod audit_baselines;
mod bench;
mod capacity;
mod check;
mod compare;
mod device;
mod doctor;
mod gate;
mod history;
mod import;
mod inspect_log;
mod load;
mod matrix;
mod new_model;
mod record;
mod report;
mod review;
mod sweep;
mod validate;

use std::{
    env, io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    bench::{correctness::BenchError, load::BenchError as LoadBenchError},
    git::GitError,
    golden::GoldenError,
    history::HistoryError,
    load::{LoadError, sweep::SweepError},
    manifest::Diagnostics,
    report::{ColourChoice, ReportError, Style},
    review::ReviewError,
    run::{Exit, GateError, RunError},
    vllm::ClientError,
};

/// Validates large language models on MetaX C500 accelerators.
#[derive(Debug, Parser)]
#[command(name = "harness", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Repository that holds models.d and ci/stacks [default: found upwards from the current folder]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColourChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot models, ask, measure, judge and report
    Validate(validate::Arguments),
    /// Baseline stack against candidate stack: may the upgrade ship?
    Gate(gate::Arguments),
    /// Look for settings with which a model boots on a stack
    Adapt(adapt::Arguments),
    /// Check manifests, cases and stacks for mistakes
    Check(check::Arguments),
    /// Draft a complete manifest from a model's config.json
    NewModel(new_model::Arguments),
    /// Turn the model list of another test system into manifests
    Import(import::Arguments),
    /// Record goldens with the floor of their stack, for review
    Record(record::Arguments),
    /// Hold two recordings against each other: the same figures as a run has against its goldens
    Compare(compare::Arguments),
    /// Make the reports of a run again from its record
    Report(report::Arguments),
    /// Review goldens that wait: what changed, and whether rounding explains it
    Review(review::Arguments),
    /// Find figures that cannot be in a report, a log or a benchmark's result
    Audit(audit::Arguments),
    /// List lowered budgets and unexplained goldens from the repository's history
    AuditBaselines(audit_baselines::Arguments),
    /// List the models and stacks that a change concerns, for the jobs of a pipeline
    Matrix(matrix::Arguments),
    /// Measure the harness's own judgement: what it finds, what it misses, how fast it is
    Bench(bench::Arguments),
    /// Show what a figure did over the runs on record, with the changes of its level
    History(history::Arguments),
    /// Show the cards of this host, or read a saved output of mx-smi
    Device(device::Arguments),
    /// Will a run work here? Driver, cards, Docker, images, disks, weights
    Doctor(doctor::Arguments),
    /// Can a model fit? Memory of each card, how many cards, roofs of speed; nothing is loaded
    Capacity(Box<capacity::Arguments>),
    /// Put load on any OpenAI-compatible server and measure it
    Load(Box<load::Arguments>),
    /// Find the best concurrency: throughput against latency, level after level of load
    Sweep(Box<sweep::Arguments>),
    /// Read the saved log of a vLLM server: version, memory, phases, and why it failed
    InspectLog(inspect_log::Arguments),
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Mistakes in what users wrote.
    #[error(transparent)]
    Diagnostics(#[from] Diagnostics),
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A record or a report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    /// A golden that waits.
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// The bench of the judgement of answers.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The repository's history.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The index of runs.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Load on a server.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Load level after level.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The bench of the load client.
    #[error(transparent)]
    LoadBench(#[from] LoadBenchError),
    /// Wrong usage that clap cannot see.
    #[error("{0}")]
    Usage(String),
    /// Standard output or error.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            // The reader of a pipe has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Passed,
            Self::Review(ReviewError::Golden(GoldenError::Io { .. })) => Exit::Infrastructure,
            Self::Bench(error) if error.is_infrastructure() => Exit::Infrastructure,
            Self::Diagnostics(_)
            | Self::Usage(_)
            | Self::Record(_)
            | Self::Review(_)
            | Self::Bench(_)
            | Self::Git(GitError::Revision(_))
            | Self::Sweep(SweepError::Plan(_))
            | Self::Load(LoadError::WhichModel(_) | LoadError::Client(ClientError::Address { .. }))
            | Self::Gate(GateError::Record(_) | GateError::NoSession(_)) => Exit::Usage,
            Self::Gate(_)
            | Self::Git(_)
            | Self::History(_)
            | Self::Load(_)
            | Self::LoadBench(_)
            | Self::Sweep(_)
            | Self::Run(_)
            | Self::Report(_)
            | Self::Output(_) => Exit::Infrastructure,
        }
    }

    /// What the user reads, with colour where wanted.
    pub fn render(&self, colour: bool) -> String {
        if let Self::Diagnostics(found) = self {
            return found.render(colour);
        }
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
        let causes = causes.map(|error| format!("  because: {error}\n"));
        format!("error: {self}\n{}", causes.collect::<String>())
    }
}

impl Cli {
    /// Does what was asked. Errors are shown here; the caller only has to end the process.
    pub fn run(self) -> Exit {
        let style = Style::of_stderr(self.global.color);
        let root = || self.global.root();
        let done = match self.command {
            Command::Validate(arguments) => root().and_then(|root| validate::run(&root, arguments, style)),
            Command::Gate(arguments) => root().and_then(|root| gate::run(&root, &arguments, style)),
            Command::Adapt(arguments) => root().and_then(|root| adapt::run(&root, &arguments, style)),
            Command::Check(arguments) => root().and_then(|root| check::run(&root, &arguments, style)),
            Command::NewModel(arguments) => root().and_then(|root| new_model::run(&root, &arguments, style)),
            Command::Import(arguments) => root().and_then(|root| import::run(&root, &arguments)),
            Command::Record(arguments) => root().and_then(|root| record::run(&root, &arguments, style)),
            Command::Compare(arguments) => compare::run(&arguments, style),
            Command::Report(arguments) => report::run(&arguments, style),
            Command::Review(arguments) => root().and_then(|root| review::run(&root, &arguments, style)),
            Command::Audit(arguments) => audit::run(root().ok().as_deref(), &arguments, style),
            Command::AuditBaselines(arguments) => {
                root().and_then(|root| audit_baselines::run(&root, &arguments, style))
            }
            Command::Matrix(arguments) => root().and_then(|root| matrix::run(&root, &arguments, style)),
            Command::Capacity(arguments) => root().and_then(|root| capacity::run(&root, &arguments, style)),
            Command::Bench(arguments) => root().and_then(|root| bench::run(&root, &arguments, style)),
            Command::History(arguments) => root().and_then(|root| history::run(&root, &arguments, style)),
            Command::Device(arguments) => device::run(&arguments, style),
            Command::Load(arguments) => load::run(&arguments, style),
            Command::Sweep(arguments) => sweep::run(|| self.global.root(), &arguments, style),
            Command::InspectLog(arguments) => inspect_log::run(&arguments),
            Command::Doctor(arguments) => root().and_then(|root| doctor::run(&root, &arguments, style)),
        };
        done.unwrap_or_else(|error| {
            let exit = error.exit();
            if exit != Exit::Passed {
                // Nothing is left to tell it to if standard error is gone.
                drop(say(&error.render(style.colour)));
            }
            exit
        })
    }
}

impl Global {
    /// The folder given, or the nearest one upwards that holds `models.d` and `ci/stacks`.
    fn root(&self) -> Result<PathBuf, CliError> {
        let holds = |folder: &Path| folder.join("models.d").is_dir() && folder.join("ci/stacks").is_dir();
        if let Some(root) = &self.root {
            let text = || format!("{} holds no models.d and ci/stacks", root.display());
            return if holds(root) {
                Ok(root.clone())
            } else {
                Err(CliError::Usage(text()))
            };
        }
        let here = env::current_dir()?;
        here.ancestors().find(|folder| holds(folder)).map(Path::to_owned).ok_or_else(|| {
            CliError::Usage(format!(
                "no models.d and ci/stacks in {} or above it: go to the repository or name it with --root",
                here.display()
            ))
        })
    }
}

/// Writes human words.
fn say(text: &str) -> io::Result<()> {
    io::Write::write_all(&mut io::stderr().lock(), text.as_bytes())
}

/// Writes machine output.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    io::Write::write_all(&mut stdout, text.as_bytes())?;
    io::Write::flush(&mut stdout)
}
