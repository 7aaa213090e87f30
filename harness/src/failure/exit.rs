//! How a server's process or container ended.

use std::fmt;

/// How a server ended, as far as its target can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitState {
    /// It still runs.
    Running,
    /// It ended with this code. Container engines report a signal as 128 + its number.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// The system killed it because it passed its memory limit.
    OomKilled,
    /// It is not there any more and nobody knows how it ended.
    Gone,
    /// It was never started, for the reason that the target gives.
    NeverStarted(String),
}

impl ExitState {
    /// The signal that ended it, where one did.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Signalled(signal) => Some(*signal),
            Self::Exited(code) => Some(code - 128).filter(|signal| (1..=64).contains(signal)),
            _ => None,
        }
    }

    /// Whether it is known to have ended, or never to have been.
    pub const fn ended(&self) -> bool {
        !matches!(self, Self::Running)
    }
}

impl fmt::Display for ExitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("still running"),
            Self::Exited(code) => {
                write!(f, "exit code {code}")?;
                self.signal()
                    .map_or(Ok(()), |signal| write!(f, ", {}", name(signal)))
            }
            Self::Signalled(signal) => f.write_str(&name(*signal)),
            Self::OomKilled => f.write_str("killed by its memory limit"),
            Self::Gone => f.write_str("gone without a trace"),
            Self::NeverStarted(reason) => write!(f, "never started: {reason}"),
        }
    }
}

fn name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => format!("signal {signal} ({known})"),
        Err(_) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_above_128_are_signals() {
        assert_eq!(
            ExitState::Exited(137).to_string(),
            "exit code 137, signal 9 (SIGKILL)"
        );
        assert_eq!(ExitState::Signalled(11).to_string(), "signal 11 (SIGSEGV)");
        assert_eq!(ExitState::Exited(1).to_string(), "exit code 1");
        assert_eq!(ExitState::Exited(255).signal(), None);
        assert_eq!(ExitState::Exited(-1).to_string(), "exit code -1");
    }
}
