//! A running container: its log is followed from the first byte, its end is noticed at once, and it is removed.

use std::time::{Duration, Instant};

use bollard::{
    Docker,
    models::ContainerMemoryStats,
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, StatsOptionsBuilder,
        StopContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::StreamExt;
use tokio::{sync::watch, task::JoinHandle};

use super::{DockerError, image::Image, inside, spec::Spec};
use crate::{
    failure::ExitState,
    target::{LineSplitter, Log, Stopped},
};

/// How long the log may lag behind the container's end.
const LOG_LAG: Duration = Duration::from_secs(10);
/// Pause before a lost connection to the daemon is made again.
const RECONNECT: Duration = Duration::from_secs(1);

/// A container that was started.
pub struct Container {
    docker: Docker,
    id: String,
    image: String,
    image_id: String,
    exit: watch::Receiver<Option<ExitState>>,
    pump: Option<JoinHandle<()>>,
    waiter: JoinHandle<()>,
}

impl Container {
    /// Creates and starts a container; one that does not start is removed again.
    pub async fn start(docker: Docker, spec: Spec, image: Image, log: &Log) -> Result<Self, DockerError> {
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let created = docker
            .create_container(Some(options), spec.body())
            .await
            .map_err(DockerError::call(format!("create the container {}", spec.name)))?;
        let id = created.id;
        if let Err(error) = docker.start_container(&id, None::<StartContainerOptions>).await {
            remove(&docker, &id).await;
            return Err(DockerError::call(format!("start the container {}", spec.name))(
                error,
            ));
        }
        let (sender, exit) = watch::channel(None);
        let waiter = tokio::spawn(watch_end(docker.clone(), id.clone(), sender));
        let pump = Some(tokio::spawn(follow(docker.clone(), id.clone(), log.clone())));
        Ok(Self {
            docker,
            id,
            image: spec.image,
            image_id: image.id,
            exit,
            pump,
            waiter,
        })
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> watch::Receiver<Option<ExitState>> {
        self.exit.clone()
    }

    /// The image and its id.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("image".to_owned(), self.image.clone()),
            ("image_id".to_owned(), self.image_id.clone()),
        ]
    }

    /// Names and versions of what is installed in it, or why they cannot be seen.
    pub async fn inside(&self) -> Result<Vec<(String, String)>, String> {
        let mut versions = inside::versions(&self.docker, &self.id).await?;
        versions.extend(inside::runtime(&self.docker).await);
        Ok(versions)
    }

    /// What of its memory limit is taken, if that is nearly all of it: a container that is not killed yet reads its own
    /// programs from the disk over and over, and gets nowhere. Files that the system keeps in memory do not count.
    pub async fn memory_is_full(&self) -> Option<String> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let stats = self
            .docker
            .stats(&self.id, Some(options))
            .next()
            .await?
            .ok()?
            .memory_stats?;
        taken_of_limit(&stats)
    }

    /// SIGTERM, `grace`, SIGKILL; then removes it. Returns when it is gone and its log read to the end.
    pub async fn stop(&mut self, grace: Duration) -> Stopped {
        let begun = Instant::now();
        let before = self.exit.borrow().clone();
        if before.is_none() {
            let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::new().t(seconds).build();
            // Whatever the daemon answers, the forced removal below has the last word.
            if let Err(error) = self.docker.stop_container(&self.id, Some(options)).await {
                tracing::warn!(container = self.id, %error, "cannot stop the container");
            }
        }
        let killed = before.is_none() && begun.elapsed() >= grace;
        if let Some(pump) = self.pump.take() {
            drop(tokio::time::timeout(LOG_LAG, pump).await);
        }
        self.waiter.abort();
        remove(&self.docker, &self.id).await;
        Stopped {
            before,
            killed,
            left_running: false,
            after: begun.elapsed(),
        }
    }
}

/// Keys are those of `memory.stat` (Linux, both versions of control groups).
fn taken_of_limit(stats: &ContainerMemoryStats) -> Option<String> {
    const FULL: f64 = 0.9;
    let (usage, limit) = (stats.usage?, stats.limit?);
    let files = |key| {
        stats
            .stats
            .as_ref()
            .and_then(|stats| stats.get(key))
            .copied()
            .unwrap_or(0)
    };
    let taken = usage.saturating_sub(files("active_file") + files("inactive_file"));
    #[expect(clippy::cast_precision_loss, reason = "bytes of a memory are far below 2^53")]
    let [taken, limit] = [taken, limit].map(|bytes| bytes as f64 / 1_073_741_824.0);
    (taken >= FULL * limit).then(|| format!("its memory is full: {taken:.2} of {limit:.2} GiB are taken"))
}

async fn remove(docker: &Docker, id: &str) {
    use bollard::errors::Error::DockerResponseServerError as Response;
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        // It is gone, or going: someone else removed it.
        Ok(())
        | Err(Response {
            status_code: 404 | 409,
            ..
        }) => {}
        Err(error) => {
            tracing::warn!(container = id, %error, "cannot remove the container; the next run's sweep will try again");
        }
    }
}

async fn follow(docker: Docker, id: String, log: Log) {
    let options = LogsOptionsBuilder::new()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .build();
    let mut stream = docker.logs(&id, Some(options));
    // One splitter a stream: lines of the two may interleave in the middle.
    let (mut out, mut err) = (LineSplitter::default(), LineSplitter::default());
    while let Some(Ok(piece)) = stream.next().await {
        use bollard::container::LogOutput::StdErr;
        let splitter = if matches!(piece, StdErr { .. }) {
            &mut err
        } else {
            &mut out
        };
        splitter.push(&piece.into_bytes(), |line| log.line(line));
    }
    out.finish(|line| log.line(line));
    err.finish(|line| log.line(line));
}

/// Waits for the end and tells how it came.
async fn watch_end(docker: Docker, id: String, sender: watch::Sender<Option<ExitState>>) {
    let exit = loop {
        let code = exit_code(&docker, &id).await;
        // Only the state tells why. A container that someone removed has none, and its code is all that is known.
        let found = docker
            .inspect_container(&id, None::<InspectContainerOptions>)
            .await;
        match found.ok().and_then(|container| container.state) {
            // Not its end was seen, but the connection's.
            Some(state) if state.running == Some(true) => tokio::time::sleep(RECONNECT).await,
            Some(state) if state.oom_killed == Some(true) => break ExitState::OomKilled,
            Some(state) => break state.exit_code.map_or(ExitState::Gone, ended_with),
            None => break code.map_or(ExitState::Gone, ended_with),
        }
    };
    sender.send_replace(Some(exit));
}

/// Waits for the end; the exit code as the daemon tells it.
async fn exit_code(docker: &Docker, id: &str) -> Option<i64> {
    use bollard::errors::Error::DockerContainerWaitError;
    let mut ended = docker.wait_container(id, None::<WaitContainerOptions>);
    let mut code = None;
    while let Some(step) = ended.next().await {
        code = match step {
            Ok(response) => Some(response.status_code),
            // Any code but 0.
            Err(DockerContainerWaitError { code, .. }) => Some(code),
            Err(_) => return code,
        };
    }
    code
}

/// A shell's and Docker's convention: 128 + signal.
fn ended_with(code: i64) -> ExitState {
    match i32::try_from(code) {
        Ok(code @ 129..=192) => ExitState::Signalled(code - 128),
        Ok(code) => ExitState::Exited(code),
        Err(_) => ExitState::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_programs_hold_fills_the_memory() {
        let stats = |taken: u64, files: u64| ContainerMemoryStats {
            usage: Some(taken + files),
            limit: Some(1 << 28),
            stats: Some(
                [("active_file", files / 2), ("inactive_file", files / 2)]
                    .map(|(k, v)| (k.to_owned(), v))
                    .into(),
            ),
            ..ContainerMemoryStats::default()
        };
        // As a vLLM in 256 MiB left it.
        assert_eq!(
            taken_of_limit(&stats(258_064_384, 10_280_960)).as_deref(),
            Some("its memory is full: 0.24 of 0.25 GiB are taken")
        );
        assert_eq!(taken_of_limit(&stats(100 << 20, 156 << 20)), None);
        assert_eq!(taken_of_limit(&ContainerMemoryStats::default()), None);
    }
}
