//! Signals: the first stops the run cleanly (servers too), the second ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::Exit;

/// Watches for SIGINT and SIGTERM.
#[derive(Clone)]
pub struct Interrupt {
    /// Cancelled by the first signal.
    pub token: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Interrupt {
    /// Installs the handlers.
    pub fn watch(runtime: &Handle) -> std::io::Result<Self> {
        let interrupt = Self {
            token: CancellationToken::new(),
            code: Arc::new(AtomicU8::new(0)),
        };
        let _guard = runtime.enter();
        for (kind, exit) in [
            (SignalKind::interrupt(), Exit::Interrupted),
            (SignalKind::terminate(), Exit::Terminated),
        ] {
            let mut signals = signal(kind)?;
            let watched = interrupt.clone();
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    if watched.token.is_cancelled() {
                        end_now(exit);
                    }
                    watched.code.store(exit.code(), Ordering::Relaxed);
                    watched.token.cancel();
                }
            });
        }
        Ok(interrupt)
    }

    /// How the run ends, if a signal ended it.
    pub fn exit(&self) -> Option<Exit> {
        [Exit::Interrupted, Exit::Terminated]
            .into_iter()
            .find(|exit| exit.code() == self.code.load(Ordering::Relaxed))
    }
}

/// The user insists. Containers are removed by the next run's sweep, processes end with their standard input.
fn end_now(exit: Exit) -> ! {
    #[expect(
        clippy::exit,
        clippy::disallowed_methods,
        reason = "a second signal asks for exactly this"
    )]
    std::process::exit(i32::from(exit.code()))
}
