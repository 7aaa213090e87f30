//! Where the server runs. Each kind of target starts a server for a manifest on a stack, tells at once when it ends,
//! keeps its log, and stops it for good.

mod arguments;
mod docker;
mod log;
mod path;
mod process;
mod simulator;
mod wait;
mod weights;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use arguments::{ArgumentError, ServerSettings, settings};
pub use docker::{CONTAINER_TEMPLATE, DockerError, sweep};
pub use log::{LineSplitter, Log, OnPhase};
pub use path::{PathError, expand};
pub use wait::{NotReady, ready};
pub use weights::digest as weights_digest;

use crate::{
    failure::ExitState,
    manifest::{LoadedModel, LoadedStack},
};

/// Everything that is needed to start a server.
pub struct Launch<'a> {
    /// Name of the session.
    pub session: &'a str,
    /// Name of the run.
    pub run_id: &'a str,
    /// What to serve.
    pub model: &'a LoadedModel,
    /// Where.
    pub stack: &'a LoadedStack,
    /// Arguments and environment.
    pub settings: &'a ServerSettings,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Folder of the run, for files that the server is handed.
    pub folder: &'a Path,
    /// Root of the repository, which build commands run in.
    pub root: &'a Path,
}

/// Why a server could not even be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A program or a file of this host.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The simulator's program is not there.
    #[error(
        "the simulator's program is not at {0}: build it with `cargo build -p simulator`, or set HARNESS_SIMULATOR"
    )]
    NoSimulator(PathBuf),
    /// A path of the manifest.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Docker.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The run was stopped.
    #[error("stopped before the server was started")]
    Cancelled,
}

impl LaunchError {
    /// Failure class, as the failure rules name theirs.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Path(_) => "launch",
            Self::NoSimulator(_) => "no_simulator",
            Self::Cancelled | Self::Docker(DockerError::Cancelled) => "interrupted",
            Self::Docker(DockerError::Unreachable(_)) => "docker_unreachable",
            Self::Docker(DockerError::NoImage { .. } | DockerError::Build { .. }) => "image_missing",
            Self::Docker(DockerError::NoModel(_)) => "model_missing",
            Self::Docker(_) => "docker",
        }
    }
}

/// A server that was started; it need not be ready, or even alive.
pub struct Server {
    /// Its log.
    pub log: Log,
    kind: Kind,
}

enum Kind {
    Process(process::Process),
    Container(docker::Container),
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// How it had ended before it was told to, if it had.
    pub before: Option<ExitState>,
    /// Whether it ignored SIGTERM and had to be killed.
    pub killed: bool,
    /// How long stopping took.
    pub after: Duration,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, self.killed) {
            (Some(state), _) => write!(f, "had ended by itself: {state}"),
            (None, true) => write!(
                f,
                "ignored SIGTERM and was killed after {:.1} s",
                self.after.as_secs_f64()
            ),
            (None, false) => write!(f, "stopped in {:.1} s", self.after.as_secs_f64()),
        }
    }
}

impl Server {
    /// Starts a server.
    pub async fn start(
        launch: &Launch<'_>,
        log: Log,
        cancel: &CancellationToken,
    ) -> Result<Self, LaunchError> {
        let stack = &launch.stack.stack;
        let kind = if let Some(target) = &stack.simulator {
            Kind::Process(simulator::start(launch, target, &log)?)
        } else if let Some(target) = &stack.docker {
            Kind::Container(docker::start(launch, target, &log, cancel).await?)
        } else {
            return Err(DockerError::NoTarget(launch.stack.name.clone()).into());
        };
        Ok(Self { log, kind })
    }

    /// How it ended, if it did; the receiver tells at once when it does.
    pub fn exit(&self) -> watch::Receiver<Option<ExitState>> {
        match &self.kind {
            Kind::Process(process) => process.exit(),
            Kind::Container(container) => container.exit(),
        }
    }

    /// What is known of the environment by the target alone (image, container runtime, profile).
    pub fn environment(&self) -> Vec<(String, String)> {
        match &self.kind {
            Kind::Process(_) => Vec::new(),
            Kind::Container(container) => container.environment(),
        }
    }

    /// SIGTERM, `grace`, SIGKILL; returns when nothing of the server is left.
    pub async fn stop(&mut self, grace: Duration) -> Stopped {
        match &mut self.kind {
            Kind::Process(process) => process.stop(grace).await,
            Kind::Container(container) => container.stop(grace).await,
        }
    }
}

/// The equal command line that a person could type.
pub fn command_line(launch: &Launch<'_>) -> Result<String, LaunchError> {
    let stack = &launch.stack.stack;
    if stack.simulator.is_some() {
        return Ok(simulator::command_line(launch));
    }
    match &stack.docker {
        Some(target) => Ok(docker::command_line(launch, target)?),
        None => Err(DockerError::NoTarget(launch.stack.name.clone()).into()),
    }
}

/// The server's words without what differs from host to host: for goldens, which tell how they came to be.
pub fn portable_command(launch: &Launch<'_>) -> String {
    let model = &launch.model.manifest.model;
    let template = launch
        .model
        .chat_template
        .as_ref()
        .map(|path| path.to_string_lossy());
    let portable = |word: &'_ String| match (&template, &model.chat_template) {
        (Some(path), Some(written)) if word == path => written.clone(),
        _ => word.clone(),
    };
    let args: Vec<String> = launch.settings.args.iter().map(portable).collect();
    let words = ["vllm", "serve", &model.id];
    shell_line(words.into_iter().chain(args.iter().map(String::as_str)))
}

/// A port of the loopback interface that is free now.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Words of a command as a shell takes them.
pub(crate) fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c))
    };
    let quote = |word: &str| {
        if plain(word) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = [
            "docker",
            "run",
            "",
            "a b",
            "it's",
            "$HOME",
            "--x={\"a\": 1}",
            "path/to:/model",
        ];
        let script = format!("printf '%s\\n' {}", shell_line(words));
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            words.map(|word| format!("{word}\n")).concat()
        );
    }

    #[test]
    fn a_stop_is_told_in_words() {
        let after = Duration::from_millis(1200);
        let stopped = |before, killed| {
            Stopped {
                before,
                killed,
                after,
            }
            .to_string()
        };
        assert_eq!(stopped(None, false), "stopped in 1.2 s");
        assert_eq!(stopped(None, true), "ignored SIGTERM and was killed after 1.2 s");
        assert!(stopped(Some(ExitState::Exited(1)), false).starts_with("had ended by itself: "));
    }
}
