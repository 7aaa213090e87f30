//! Readiness: `/health` says 200, the model is listed, and one token was generated. A server that ends is noticed at
//! once, not at a time-out. There are two kinds of these: for the whole boot, and for each of its phases.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Server, log::Since};
use crate::{
    failure::ExitState,
    manifest::{Endpoint, Serve},
    vllm::{Client, ClientError, Health, Message, Phase, Prompt, Request, Role},
};

/// Pause between two looks at `/health`.
const POLL: Duration = Duration::from_millis(100);

/// How long a boot may take where the manifest's time cannot be read; `load` refuses such a manifest.
const FALLBACK: Duration = Duration::from_mins(10);

/// How long a boot and its phases may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// The whole boot.
    pub whole: Duration,
    /// Single phases, each from its first line in the log to the next phase's.
    pub phases: Vec<(Phase, Duration)>,
}

impl Deadlines {
    /// Those of a manifest.
    pub fn of(serve: &Serve) -> Self {
        let limits = &serve.phase_timeouts;
        let phases = [
            (Phase::Starting, limits.starting),
            (Phase::LoadingWeights, limits.loading_weights),
            (Phase::Profiling, limits.profiling),
            (Phase::Compiling, limits.compiling),
            (Phase::KvCache, limits.kv_cache),
            (Phase::CapturingGraphs, limits.capturing_graphs),
        ];
        let phases = phases
            .into_iter()
            .filter_map(|(phase, limit)| Some((phase, limit?.duration()?)));
        Self {
            whole: serve.boot_timeout.duration().unwrap_or(FALLBACK),
            phases: phases.collect(),
        }
    }

    fn of_phase(&self, phase: Phase) -> Option<Duration> {
        let found = self.phases.iter().find(|(known, _)| *known == phase);
        found.map(|(_, limit)| *limit)
    }
}

/// Why a server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It ended.
    #[error("the server ended while booting: {0}")]
    Ended(ExitState),
    /// It took too long.
    #[error("the server was not ready within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A phase of the boot took too long.
    #[error("the boot was in its phase `{phase}` for more than {} s", limit.as_secs_f64())]
    Stuck {
        /// The phase.
        phase: Phase,
        /// How long it may take.
        limit: Duration,
    },
    /// It answers, but does not serve the model.
    #[error("the server does not list the model `{wanted}`: it serves {found:?}")]
    OtherModel {
        /// The manifest's name.
        wanted: String,
        /// What is listed.
        found: Vec<String>,
    },
    /// It answers, but not to a prompt.
    #[error("the server is healthy but cannot generate: {0}")]
    CannotGenerate(ClientError),
    /// The run was stopped.
    #[error("stopped while booting")]
    Cancelled,
}

impl NotReady {
    /// Failure class, where the log does not tell a better one.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Ended(_) => "ended",
            Self::TimedOut(_) | Self::Stuck { .. } => "boot_timeout",
            Self::OtherModel { .. } => "other_model",
            Self::CannotGenerate(_) => "cannot_generate",
            Self::Cancelled => "interrupted",
        }
    }
}

/// Waits until the server is ready.
pub async fn ready(
    server: &Server,
    client: &Client,
    endpoint: Endpoint,
    deadlines: &Deadlines,
    cancel: &CancellationToken,
) -> Result<(), NotReady> {
    let mut exit = server.exit();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(NotReady::Cancelled),
        state = exit.wait_for(Option::is_some) => {
            let state = state.ok().and_then(|state| state.clone());
            Err(NotReady::Ended(state.unwrap_or(ExitState::Gone)))
        }
        result = answers(client, endpoint) => result,
        () = tokio::time::sleep(deadlines.whole) => Err(NotReady::TimedOut(deadlines.whole)),
        (phase, limit) = stuck(server.log.phase(), deadlines) => Err(NotReady::Stuck { phase, limit }),
    }
}

/// Returns when a phase of the boot has taken longer than it may.
async fn stuck(mut phase: watch::Receiver<Since>, deadlines: &Deadlines) -> (Phase, Duration) {
    loop {
        let (current, since) = *phase.borrow_and_update();
        let changed = match deadlines.of_phase(current) {
            None => phase.changed().await,
            Some(limit) => tokio::select! {
                biased;
                changed = phase.changed() => changed,
                () = tokio::time::sleep_until((since + limit).into()) => return (current, limit),
            },
        };
        if changed.is_err() {
            // Without a log there are no phases.
            std::future::pending::<()>().await;
        }
    }
}

async fn answers(client: &Client, endpoint: Endpoint) -> Result<(), NotReady> {
    while !matches!(client.health().await, Ok(Health::Ready)) {
        tokio::time::sleep(POLL).await;
    }
    let models = client.models().await.map_err(NotReady::CannotGenerate)?;
    if !models.iter().any(|card| card.id == client.model()) {
        let found = models.into_iter().map(|card| card.id).collect();
        return Err(NotReady::OtherModel {
            wanted: client.model().to_owned(),
            found,
        });
    }
    let text = "Say one word.".to_owned();
    let prompt = match endpoint {
        Endpoint::Completions => Prompt::Text(text),
        Endpoint::Chat => Prompt::Chat(vec![Message {
            role: Role::User,
            text,
            images: Vec::new(),
        }]),
    };
    client
        .ask(&Request::greedy(prompt, 1))
        .await
        .map_err(NotReady::CannotGenerate)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn deadlines(phases: &[(Phase, u64)]) -> Deadlines {
        let phases = phases
            .iter()
            .map(|&(phase, ms)| (phase, Duration::from_millis(ms)));
        Deadlines {
            whole: Duration::from_mins(1),
            phases: phases.collect(),
        }
    }

    #[tokio::test]
    async fn each_phase_has_its_own_time_from_its_own_beginning() {
        let sender = watch::Sender::new((Phase::Starting, Instant::now()));
        let deadlines = deadlines(&[(Phase::Starting, 10_000), (Phase::Profiling, 50)]);
        let watched = tokio::spawn({
            let phase = sender.subscribe();
            async move { stuck(phase, &deadlines).await }
        });
        // No limit stands for this phase, however long it takes.
        sender.send_replace((Phase::LoadingWeights, Instant::now()));
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!watched.is_finished());
        sender.send_replace((Phase::Profiling, Instant::now()));
        let stuck = tokio::time::timeout(Duration::from_secs(5), watched).await;
        assert_eq!(
            stuck.unwrap().unwrap(),
            (Phase::Profiling, Duration::from_millis(50))
        );
    }
}
