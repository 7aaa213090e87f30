//! The command line: one file a command. Human words go to standard error, machine output to standard output.

mod audit_baselines;
mod bench;
mod check;
mod device;
mod doctor;
mod inspect_log;
mod load;
mod report;
mod review;
mod validate;

use std::{
    env, io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    baselines::AuditError,
    bench::BenchError,
    golden::GoldenError,
    load::LoadError,
    manifest::Diagnostics,
    report::{ColourChoice, ReportError, Style},
    review::ReviewError,
    run::{Exit, RunError},
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
    /// Check manifests, cases and stacks for mistakes
    Check(check::Arguments),
    /// Make the reports of a run again from its record
    Report(report::Arguments),
    /// Review goldens that wait: what changed, and whether rounding explains it
    Review(review::Arguments),
    /// List lowered budgets and unexplained goldens from the repository's history
    AuditBaselines(audit_baselines::Arguments),
    /// Show the cards of this host, or read a saved output of mx-smi
    Device(device::Arguments),
    /// Will a run work here? Driver, cards, Docker, images, disks, weights
    Doctor(doctor::Arguments),
    /// Measure the harness itself: what its load client costs, and how right it is
    Bench(bench::Arguments),
    /// Put load on any OpenAI-compatible server and measure it
    Load(Box<load::Arguments>),
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
    /// A record or a report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    /// A golden that waits.
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// The repository's history.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Load on a server.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A bench of the harness itself.
    #[error(transparent)]
    Bench(#[from] BenchError),
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
            Self::Diagnostics(_)
            | Self::Usage(_)
            | Self::Record(_)
            | Self::Review(_)
            | Self::Audit(AuditError::Revision(_)) => Exit::Usage,
            Self::Load(LoadError::WhichModel(_) | LoadError::Client(ClientError::Address { .. })) => {
                Exit::Usage
            }
            Self::Audit(_)
            | Self::Run(_)
            | Self::Report(_)
            | Self::Load(_)
            | Self::Bench(_)
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
            Command::Check(arguments) => root().and_then(|root| check::run(&root, &arguments, style)),
            Command::Report(arguments) => report::run(&arguments, style),
            Command::Review(arguments) => root().and_then(|root| review::run(&root, &arguments, style)),
            Command::AuditBaselines(arguments) => {
                root().and_then(|root| audit_baselines::run(&root, &arguments, style))
            }
            Command::Device(arguments) => device::run(&arguments, style),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Load(arguments) => load::run(&arguments, style),
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
