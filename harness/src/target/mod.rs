//! Where the server runs. Each kind of target starts a server for a manifest on a stack, tells at once when it ends,
//! keeps its log, and stops it for good.

mod arguments;
mod command;
mod docker;
mod endpoint;
mod fit;
mod log;
mod path;
mod process;
mod simulator;
mod wait;
mod weights;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use arguments::{ArgumentError, ServerSettings, settings};
pub use docker::{CONTAINER_TEMPLATE, DockerError, sweep};
pub use endpoint::NO_LOG;
pub use fit::fit;
pub use log::{LineSplitter, Log, OnPhase, TAIL_LINES};
pub use path::{PathError, expand};
pub use wait::{Deadlines, NotReady, ready};
pub use weights::digest as weights_digest;

use crate::{
    failure::ExitState,
    manifest::{LoadedModel, LoadedStack, Target},
    vllm::ClientError,
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
    /// Indices of the cards that the server may use; empty where the accelerator has none.
    pub cards: &'a [u32],
    /// Folder of the run, for files that the server is handed.
    pub folder: &'a Path,
    /// Root of the repository, which build commands run in.
    pub root: &'a Path,
}

impl Launch<'_> {
    /// The server's environment.
    fn env(&self) -> BTreeMap<String, String> {
        arguments::server_env(self.settings, self.stack.stack.accelerator, self.cards)
    }
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
    /// The weights are not there.
    #[error("the model's folder {} is not on this host: put the weights there, or correct `model.path`", .0.display())]
    NoModel(PathBuf),
    /// Nobody listens where a server should be running.
    #[error("no server runs at {url}: {source}: start it, or correct `endpoint.url`")]
    Unreachable {
        /// The address.
        url: String,
        /// What the attempt said.
        source: ClientError,
    },
    /// A stack without target.
    #[error("the stack {0} has no target")]
    NoTarget(String),
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
            Self::NoTarget(_) => "no_target",
            Self::NoModel(_) | Self::Docker(DockerError::NoModel(_)) => "model_missing",
            Self::Unreachable { .. } => "endpoint_unreachable",
            Self::Cancelled | Self::Docker(DockerError::Cancelled) => "interrupted",
            Self::Docker(DockerError::Unreachable(_)) => "docker_unreachable",
            Self::Docker(
                DockerError::NoImage { .. } | DockerError::Build { .. } | DockerError::Archive { .. },
            ) => "image_missing",
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
    Endpoint(endpoint::Endpoint),
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// How it had ended before it was told to, if it had.
    pub before: Option<ExitState>,
    /// Whether it ignored SIGTERM and had to be killed.
    pub killed: bool,
    /// Whether it was not ours to stop.
    pub left_running: bool,
    /// How long stopping took.
    pub after: Duration,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, self.killed) {
            (Some(state), _) => write!(f, "had ended by itself: {state}"),
            (None, _) if self.left_running => f.write_str("was left running"),
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
        let kind = match target_of(launch)? {
            Target::Simulator(target) => Kind::Process(simulator::start(launch, target, &log)?),
            Target::Process(target) => Kind::Process(command::start(launch, target, &log)?),
            Target::Docker(target) => Kind::Container(docker::start(launch, target, &log, cancel).await?),
            Target::Endpoint(target) => tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(LaunchError::Cancelled),
                endpoint = endpoint::Endpoint::attach(launch, target, &log) => Kind::Endpoint(endpoint?),
            },
        };
        Ok(Self { log, kind })
    }

    /// How it ended, if it did; the receiver tells at once when it does.
    pub fn exit(&self) -> watch::Receiver<Option<ExitState>> {
        match &self.kind {
            Kind::Process(process) => process.exit(),
            Kind::Container(container) => container.exit(),
            Kind::Endpoint(endpoint) => endpoint.exit(),
        }
    }

    /// What is known of the environment by the target alone (image, container runtime, profile).
    pub fn environment(&self) -> Vec<(String, String)> {
        match &self.kind {
            Kind::Process(_) => Vec::new(),
            Kind::Container(container) => container.environment(),
            Kind::Endpoint(endpoint) => endpoint.environment(),
        }
    }

    /// What is installed beside the server, by the container's own records; `None` where there is no container.
    pub async fn inside(&self) -> Option<Result<Vec<(String, String)>, String>> {
        match &self.kind {
            Kind::Container(container) => Some(container.inside().await),
            Kind::Process(_) | Kind::Endpoint(_) => None,
        }
    }

    /// Whether its log can be seen.
    pub const fn has_log(&self) -> bool {
        !matches!(self.kind, Kind::Endpoint(_))
    }

    /// What keeps a server that still runs from getting further, as far as its target can see.
    pub async fn strain(&self) -> Option<String> {
        match &self.kind {
            Kind::Container(container) => container.memory_is_full().await,
            Kind::Process(_) | Kind::Endpoint(_) => None,
        }
    }

    /// SIGTERM, `grace`, SIGKILL; returns when nothing of the server is left. A server that ran before is left alone.
    pub async fn stop(&mut self, grace: Duration) -> Stopped {
        match &mut self.kind {
            Kind::Process(process) => process.stop(grace).await,
            Kind::Container(container) => container.stop(grace).await,
            Kind::Endpoint(endpoint) => endpoint.leave(),
        }
    }
}

fn target_of<'a>(launch: &Launch<'a>) -> Result<Target<'a>, LaunchError> {
    let target = launch.stack.stack.target();
    target.ok_or_else(|| LaunchError::NoTarget(launch.stack.name.clone()))
}

/// Where the server of a launch answers, and the name under which it serves the model.
pub fn address(launch: &Launch<'_>) -> (String, String) {
    let name = &launch.settings.served_name;
    match &launch.stack.stack.endpoint {
        Some(target) => (target.url.clone(), target.model.as_ref().unwrap_or(name).clone()),
        None => (format!("http://127.0.0.1:{}", launch.port), name.clone()),
    }
}

/// The equal command line that a person could type; of a server that runs already, one that asks it.
pub fn command_line(launch: &Launch<'_>) -> Result<String, LaunchError> {
    Ok(match target_of(launch)? {
        Target::Simulator(_) => simulator::command_line(launch),
        Target::Process(target) => command::command_line(launch, target)?,
        Target::Docker(target) => docker::command_line(launch, target)?,
        Target::Endpoint(target) => {
            shell_line(["curl", &format!("{}/v1/models", target.url.trim_end_matches('/'))])
        }
    })
}

/// Writes the files that the command line of [`command_line`] reads.
pub fn write_files(launch: &Launch<'_>) -> Result<(), LaunchError> {
    match target_of(launch)? {
        Target::Simulator(target) => simulator::write_config(launch, target),
        Target::Process(_) | Target::Docker(_) | Target::Endpoint(_) => Ok(()),
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

/// The simulator's program.
pub fn simulator_program() -> PathBuf {
    simulator::program()
}

/// A port of the loopback interface that is free now.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// `env NAME=VALUE …`, the words in front of a command that sets its environment.
fn env_words(env: &BTreeMap<String, String>) -> Vec<String> {
    let set = env.iter().map(|(name, value)| format!("{name}={value}"));
    std::iter::once("env".to_owned()).chain(set).collect()
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
                left_running: false,
                after,
            }
            .to_string()
        };
        assert_eq!(stopped(None, false), "stopped in 1.2 s");
        assert_eq!(stopped(None, true), "ignored SIGTERM and was killed after 1.2 s");
        assert!(stopped(Some(ExitState::Exited(1)), false).starts_with("had ended by itself: "));
    }
}
