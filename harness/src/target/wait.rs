//! Readiness: `/health` says 200, the model is listed, and one token was generated. A server that ends is noticed at
//! once, not at the time-out.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Server;
use crate::{
    failure::ExitState,
    manifest::Endpoint,
    vllm::{Client, ClientError, Health, Message, Prompt, Request, Role},
};

/// Pause between two looks at `/health`.
const POLL: Duration = Duration::from_millis(100);

/// Why a server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It ended.
    #[error("the server ended while booting: {0}")]
    Ended(ExitState),
    /// It took too long.
    #[error("the server was not ready within {} s", .0.as_secs())]
    TimedOut(Duration),
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
            Self::TimedOut(_) => "boot_timeout",
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
    timeout: Duration,
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
        result = tokio::time::timeout(timeout, answers(client, endpoint)) => {
            result.unwrap_or(Err(NotReady::TimedOut(timeout)))
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
