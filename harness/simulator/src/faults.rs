//! What can go wrong, by name.
//!
//! A fault is written `kind` or `kind:key=value,key=value`; the same syntax serves the command line, the
//! configuration and `POST /simulator/faults`. Each parameter has a default, so `crash` alone is a fault. A fault of the
//! boot takes `until=CONDITION`: a server that is started so that the condition holds does not have it.

mod start;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use start::StartFailure;

use crate::until::Until;

/// Names of all kinds, in the order in which errors list them.
pub const KINDS: [&str; 18] = [
    "slow_boot",
    "never_ready",
    "exit_at_start",
    "oom_load",
    "oom_profiling",
    "crash",
    "hang",
    "cut_stream",
    "garble",
    "invalid_utf8",
    "wrong_usage",
    "http",
    "drift",
    "run_noise",
    "logit_noise",
    "leak",
    "ignore_stop",
    "no_chat_template",
];
/// Kinds that strike while the server boots, or before it can be asked: what it is started with can cure them.
const CURABLE: [&str; 5] = [
    "never_ready",
    "exit_at_start",
    "oom_load",
    "oom_profiling",
    "no_chat_template",
];

/// One fault with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The boot takes that many simulated seconds more.
    SlowBoot {
        /// Simulated seconds.
        seconds: f64,
    },
    /// The boot stops before the server listens.
    NeverReady,
    /// The boot ends with that failure.
    ExitAtStart(StartFailure),
    /// Out of memory while weights are loaded.
    OomLoad,
    /// Out of memory while memory is profiled.
    OomProfiling,
    /// The engine dies at the request that follows that many.
    Crash {
        /// Requests served before.
        after: u64,
    },
    /// The engine stops in the middle of a stream.
    Hang {
        /// Tokens generated before.
        after: u64,
    },
    /// The connection of a stream is cut.
    CutStream {
        /// Events sent before.
        after: u64,
    },
    /// Every so many tokens one is wrong.
    Garble {
        /// Distance of wrong tokens.
        every: u64,
    },
    /// Answers hold bytes that are not UTF-8.
    InvalidUtf8,
    /// `completion_tokens` is wrong.
    WrongUsage {
        /// What is added.
        add: i64,
    },
    /// Generation requests are refused.
    Http {
        /// Status of the refusal: 429, 500 or 503.
        status: u16,
        /// One request in so many.
        every: u64,
    },
    /// Steps take longer.
    Drift {
        /// How much longer, percent.
        percent: f64,
        /// Requests served at full speed before.
        after: u64,
    },
    /// The whole run is faster or slower by a factor of its own, as runs on real hosts are.
    RunNoise {
        /// Standard deviation of the factor's logarithm, percent.
        percent: f64,
        /// Decides the factor; 0 draws another one in every process.
        seed: u64,
    },
    /// Gaussian noise on logits.
    LogitNoise {
        /// Standard deviation, nat.
        size: f64,
        /// Seed of the noise.
        seed: u64,
    },
    /// Memory is not given back.
    Leak {
        /// MiB of a run, and of a request.
        mib: f64,
        /// Runs that leaked before this one.
        runs: u64,
    },
    /// SIGTERM is ignored.
    IgnoreStop,
    /// The tokenizer brings no chat template.
    NoChatTemplate,
    /// A fault that is there until a condition holds.
    Until {
        /// The fault.
        fault: Box<Fault>,
        /// What cures it.
        until: Until,
    },
}

impl Fault {
    /// The fault, unless its condition holds.
    pub fn uncured(self, holds: impl Fn(&Until) -> bool) -> Option<Self> {
        match self {
            Self::Until { until, .. } if holds(&until) => None,
            Self::Until { fault, .. } => Some(*fault),
            fault => Some(fault),
        }
    }
}

/// A fault text that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultError {
    /// No such kind.
    #[error("no fault `{kind}`: there are {}", KINDS.join(", "))]
    Kind {
        /// What was written.
        kind: String,
    },
    /// A parameter the kind does not have, or text that is not `key=value`.
    #[error("fault `{kind}` has no parameter `{key}`: it takes {known}")]
    Parameter {
        /// The fault.
        kind: String,
        /// What was written.
        key: String,
        /// What it takes.
        known: String,
    },
    /// A value of the wrong kind or range.
    #[error("fault `{kind}` cannot take `{key}={value}`: use {expected}")]
    Value {
        /// The fault.
        kind: String,
        /// The parameter.
        key: String,
        /// What was written.
        value: String,
        /// What would be right.
        expected: String,
    },
}

/// Parameters of one fault while they are read.
struct Parameters<'a> {
    kind: &'a str,
    given: BTreeMap<&'a str, &'a str>,
    known: Vec<&'static str>,
}

impl<'a> Parameters<'a> {
    fn parse(kind: &'a str, text: &'a str) -> Self {
        let mut given = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            given.insert(key.trim(), value.trim());
        }
        Self {
            kind,
            given,
            known: Vec::new(),
        }
    }

    fn take<T: FromStr>(
        &mut self,
        key: &'static str,
        default: T,
        expected: &str,
        valid: impl Fn(&T) -> bool,
    ) -> Result<T, FaultError> {
        self.known.push(key);
        let Some(text) = self.given.remove(key) else {
            return Ok(default);
        };
        text.parse().ok().filter(valid).ok_or_else(|| FaultError::Value {
            kind: self.kind.to_owned(),
            key: key.to_owned(),
            value: text.to_owned(),
            expected: expected.to_owned(),
        })
    }

    fn count(&mut self, key: &'static str, default: u64, least: u64) -> Result<u64, FaultError> {
        self.take(key, default, &format!("a whole number from {least}"), |value| {
            *value >= least
        })
    }

    fn positive(&mut self, key: &'static str, default: f64) -> Result<f64, FaultError> {
        self.take(key, default, "a number from 0", |value: &f64| {
            value.is_finite() && *value >= 0.0
        })
    }

    fn finish(self, fault: Fault) -> Result<Fault, FaultError> {
        match self.given.keys().next() {
            None => Ok(fault),
            Some(key) => Err(FaultError::Parameter {
                kind: self.kind.to_owned(),
                key: (*key).to_owned(),
                known: if self.known.is_empty() {
                    "none".to_owned()
                } else {
                    self.known.join(", ")
                },
            }),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let kind = kind.trim();
        let mut given = Parameters::parse(kind, rest);
        let fault = match kind {
            "slow_boot" => Self::SlowBoot {
                seconds: given.positive("seconds", 60.0)?,
            },
            _ if CURABLE.contains(&kind) => return curable(given),
            "crash" => Self::Crash {
                after: given.count("after", 0, 0)?,
            },
            "hang" => Self::Hang {
                after: given.count("after", 8, 0)?,
            },
            "cut_stream" => Self::CutStream {
                after: given.count("after", 4, 0)?,
            },
            "garble" => Self::Garble {
                every: given.count("every", 10, 1)?,
            },
            "invalid_utf8" => Self::InvalidUtf8,
            "wrong_usage" => Self::WrongUsage {
                add: given.take("add", 1, "a whole number", |_| true)?,
            },
            "http" => Self::Http {
                status: given.take("status", 500, "429, 500 or 503", |status| {
                    matches!(status, 429 | 500 | 503)
                })?,
                every: given.count("every", 1, 1)?,
            },
            "drift" => Self::Drift {
                percent: given.positive("percent", 10.0)?,
                after: given.count("after", 0, 0)?,
            },
            "run_noise" => run_noise(&mut given)?,
            "logit_noise" => Self::LogitNoise {
                size: given.take("size", 0.05, "a number from 0 to 100", |size| {
                    (0.0..=100.0).contains(size)
                })?,
                seed: given.count("seed", 0, 0)?,
            },
            "leak" => Self::Leak {
                mib: given.positive("mib", 64.0)?,
                runs: given.count("runs", 1, 0)?,
            },
            "ignore_stop" => Self::IgnoreStop,
            _ => {
                return Err(FaultError::Kind {
                    kind: kind.to_owned(),
                });
            }
        };
        given.finish(fault)
    }
}

/// A fault that may have a condition.
fn curable(mut given: Parameters<'_>) -> Result<Fault, FaultError> {
    let fault = match given.kind {
        "exit_at_start" => Fault::ExitAtStart(start_failure(&mut given)?),
        "oom_load" => Fault::OomLoad,
        "oom_profiling" => Fault::OomProfiling,
        "no_chat_template" => Fault::NoChatTemplate,
        _ => Fault::NeverReady,
    };
    let until = until(&mut given)?;
    let fault = given.finish(fault)?;
    Ok(match until {
        Some(until) => Fault::Until {
            fault: Box::new(fault),
            until,
        },
        None => fault,
    })
}

fn until(given: &mut Parameters<'_>) -> Result<Option<Until>, FaultError> {
    let expected = "a flag or a variable, alone or with `<=`, `>=` or `==` (max_num_seqs<=64)";
    let text = given.take("until", String::new(), expected, |text: &String| {
        text.parse::<Until>().is_ok()
    })?;
    Ok(text.parse().ok())
}

fn run_noise(given: &mut Parameters<'_>) -> Result<Fault, FaultError> {
    Ok(Fault::RunNoise {
        percent: given.take("percent", 2.0, "a number from 0 to 50", |percent| {
            (0.0..=50.0).contains(percent)
        })?,
        seed: given.count("seed", 0, 0)?,
    })
}

fn start_failure(given: &mut Parameters<'_>) -> Result<StartFailure, FaultError> {
    let names = StartFailure::ALL.map(|(name, _)| name).join(", ");
    let name = given.take("class", String::new(), &names, |name: &String| {
        StartFailure::ALL.iter().any(|(known, _)| known == name)
    })?;
    let chosen = StartFailure::ALL.iter().find(|(known, _)| *known == name);
    chosen
        .map(|(_, failure)| *failure)
        .ok_or_else(|| FaultError::Value {
            kind: given.kind.to_owned(),
            key: "class".to_owned(),
            value: name,
            expected: names,
        })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowBoot { seconds } => write!(f, "slow_boot:seconds={seconds}"),
            Self::NeverReady => f.write_str("never_ready"),
            Self::ExitAtStart(failure) => {
                let name = StartFailure::ALL.iter().find(|(_, known)| known == failure);
                write!(f, "exit_at_start:class={}", name.map_or("", |(name, _)| name))
            }
            Self::OomLoad => f.write_str("oom_load"),
            Self::OomProfiling => f.write_str("oom_profiling"),
            Self::Crash { after } => write!(f, "crash:after={after}"),
            Self::Hang { after } => write!(f, "hang:after={after}"),
            Self::CutStream { after } => write!(f, "cut_stream:after={after}"),
            Self::Garble { every } => write!(f, "garble:every={every}"),
            Self::InvalidUtf8 => f.write_str("invalid_utf8"),
            Self::WrongUsage { add } => write!(f, "wrong_usage:add={add}"),
            Self::Http { status, every } => write!(f, "http:status={status},every={every}"),
            Self::Drift { percent, after } => write!(f, "drift:percent={percent},after={after}"),
            Self::RunNoise { percent, seed } => write!(f, "run_noise:percent={percent},seed={seed}"),
            Self::LogitNoise { size, seed } => write!(f, "logit_noise:size={size},seed={seed}"),
            Self::Leak { mib, runs } => write!(f, "leak:mib={mib},runs={runs}"),
            Self::IgnoreStop => f.write_str("ignore_stop"),
            Self::NoChatTemplate => f.write_str("no_chat_template"),
            Self::Until { fault, until } => {
                let fault = fault.to_string();
                let sign = if fault.contains(':') { ',' } else { ':' };
                write!(f, "{fault}{sign}until={until}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_parses_and_prints_what_it_parses() {
        for kind in KINDS {
            let text = if kind == "exit_at_start" {
                "exit_at_start:class=nccl"
            } else {
                kind
            };
            let fault: Fault = text.parse().unwrap();
            let printed = fault.to_string();
            assert!(printed.starts_with(kind), "{printed}");
            assert_eq!(printed.parse::<Fault>().unwrap(), fault);
        }
    }

    #[test]
    fn what_cures_a_fault_is_written_behind_it() {
        for text in [
            "oom_load:until=tensor_parallel_size>=2",
            "exit_at_start:class=remote_code,until=trust_remote_code",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            assert_eq!(fault.clone().uncured(|_| true), None);
            assert!(matches!(
                fault.uncured(|_| false),
                Some(Fault::OomLoad | Fault::ExitAtStart(_))
            ));
        }
        assert_eq!(
            Fault::Hang { after: 3 }.uncured(|_| true),
            Some(Fault::Hang { after: 3 })
        );
    }

    #[test]
    fn every_start_failure_has_its_name() {
        for (name, failure) in StartFailure::ALL {
            let fault: Fault = format!("exit_at_start:class={name}").parse().unwrap();
            assert_eq!(fault, Fault::ExitAtStart(failure));
        }
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let problem = |text: &str| text.parse::<Fault>().unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                "crush",
                "crash:after=soon",
                "crash:before=3",
                "never_ready:x=1",
                "http:status=404",
                "garble:every=0",
                "exit_at_start",
                "drift:percent=-1",
                "oom_load:until=max num seqs",
                "hang:until=enforce_eager",
            ]
            .map(problem)
            .join("\n")
        );
    }
}
