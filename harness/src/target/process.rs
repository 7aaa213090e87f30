//! A server that is a process of this host, in a process group of its own, so that stopping it stops its children.

use std::{
    io,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
};

use super::{Log, Stopped};
use crate::failure::ExitState;

/// A running process group.
pub struct Process {
    group: Pid,
    exit: watch::Receiver<Option<ExitState>>,
    pumps: Vec<JoinHandle<()>>,
    /// Held open until the process is stopped; waiting for a child would close it.
    _stdin: Option<ChildStdin>,
    /// Ends the group when the harness is killed.
    guard: Option<Child>,
}

/// Waits until its standard input ends, which it does with the harness, and then ends the group `$0`.
const GUARD: &str = "read -r _; kill -TERM \"-$0\"; sleep 10; kill -KILL \"-$0\"";

impl Process {
    /// Starts `command`; its output goes to `log`. Standard input stays open for as long as the harness lives, so
    /// that a server that watches it ends even when the harness was killed.
    pub fn spawn(mut command: Command, log: &Log) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("the process ended before it had an id"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(|stream| log.pump(stream));
        let stderr = child.stderr.take().map(|stream| log.pump(stream));
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let state = wait(&mut child).await;
            sender.send_replace(Some(state));
        });
        Ok(Self {
            group,
            exit,
            pumps: stdout.into_iter().chain(stderr).collect(),
            _stdin: stdin,
            guard: None,
        })
    }

    /// As [`Process::spawn`], for a server that does not watch its standard input: a second process ends it when the
    /// harness was killed.
    pub fn spawn_guarded(command: Command, log: &Log) -> io::Result<Self> {
        let mut process = Self::spawn(command, log)?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, &process.group.as_raw().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the harness's own group must not end it before its time.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        match guard {
            Ok(guard) => process.guard = Some(guard),
            Err(error) => {
                process.signal(Signal::SIGKILL);
                return Err(error);
            }
        }
        Ok(process)
    }

    /// How it ended, if it did; the receiver tells at once when it does.
    pub fn exit(&self) -> watch::Receiver<Option<ExitState>> {
        self.exit.clone()
    }

    /// SIGTERM, then after `grace` SIGKILL, to the whole group; returns when it is gone and its output read.
    pub async fn stop(&mut self, grace: Duration) -> Stopped {
        let begun = Instant::now();
        let before = self.exit.borrow().clone();
        let mut killed = false;
        if before.is_none() {
            self.signal(Signal::SIGTERM);
            if tokio::time::timeout(grace, self.ended()).await.is_err() {
                killed = true;
                self.signal(Signal::SIGKILL);
                self.ended().await;
            }
        }
        // Children that outlived the server would keep its card's memory.
        self.signal(Signal::SIGKILL);
        // Before the group's number may be another's.
        if let Some(mut guard) = self.guard.take()
            && let Err(error) = guard.kill().await
        {
            tracing::warn!(%error, "cannot end the guard of the server's process group");
        }
        for pump in self.pumps.drain(..) {
            // A pump ends when the last holder of the pipe is gone; it cannot fail otherwise.
            drop(pump.await);
        }
        Stopped {
            before,
            killed,
            left_running: false,
            after: begun.elapsed(),
        }
    }

    async fn ended(&mut self) {
        // An error means that the waiter is gone, and it goes only after the process.
        drop(self.exit.wait_for(Option::is_some).await);
    }

    fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::warn!(group = self.group.as_raw(), %error, "cannot send {signal}"),
        }
    }
}

async fn wait(child: &mut Child) -> ExitState {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => ExitState::Exited(code),
            (None, Some(signal)) => ExitState::Signalled(signal),
            (None, None) => ExitState::Gone,
        },
        Err(_) => ExitState::Gone,
    }
}
