//! A server that runs already. It is neither started nor stopped; all that is known of it is what it answers.

use std::time::{Duration, Instant};

use tokio::{sync::watch, task::JoinHandle};

use super::{Launch, LaunchError, Log, Stopped};
use crate::{
    failure::ExitState,
    manifest::EndpointTarget,
    vllm::{Client, ClientError},
};

/// How long nobody may listen before a server counts as not there: one that is just being restarted comes back.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(250);

/// Why no figure of the log is known.
pub const NO_LOG: &str = "the log of a running server cannot be seen";

/// A running server that is watched.
pub struct Endpoint {
    url: String,
    exit: watch::Receiver<Option<ExitState>>,
    watcher: JoinHandle<()>,
}

impl Endpoint {
    /// Begins to watch the server. One where nobody listens is an error at once: there is nothing to wait for.
    pub async fn attach(
        launch: &Launch<'_>,
        target: &EndpointTarget,
        log: &Log,
    ) -> Result<Self, LaunchError> {
        log.remark(&format!("{} was running before; {NO_LOG}", target.url));
        let unreachable = |source| LaunchError::Unreachable {
            url: target.url.clone(),
            source,
        };
        let name = target.model.as_deref().unwrap_or(&launch.settings.served_name);
        let client = Client::new(&target.url, name, &launch.settings.version).map_err(unreachable)?;
        let begun = Instant::now();
        while let Err(error) = client.health().await {
            if begun.elapsed() >= PATIENCE {
                return Err(unreachable(error));
            }
            tokio::time::sleep(POLL).await;
        }
        let (sender, exit) = watch::channel(None);
        Ok(Self {
            url: target.url.clone(),
            exit,
            watcher: tokio::spawn(watch_end(client, sender)),
        })
    }

    /// Whether it went away; how it ended nobody can tell.
    pub fn exit(&self) -> watch::Receiver<Option<ExitState>> {
        self.exit.clone()
    }

    /// Its address.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("url".to_owned(), self.url.clone())]
    }

    /// Stops watching.
    pub fn leave(&self) -> Stopped {
        self.watcher.abort();
        Stopped {
            before: self.exit.borrow().clone(),
            killed: false,
            left_running: true,
            after: Duration::ZERO,
        }
    }
}

/// Whether nobody is there. A server that is slow, or answers anything at all, is there.
async fn is_gone(client: &Client) -> bool {
    use ClientError::{Refused, Reset, Transport};
    let health = client.health().await;
    matches!(health, Err(Refused { .. } | Reset { .. } | Transport { .. }))
}

/// Looks for the server until it is gone. Two looks: a single refused connection may be a full queue.
async fn watch_end(client: Client, sender: watch::Sender<Option<ExitState>>) {
    let mut misses = 0;
    while misses < 2 {
        tokio::time::sleep(POLL).await;
        misses = if is_gone(&client).await { misses + 1 } else { 0 };
    }
    sender.send_replace(Some(ExitState::Gone));
}
