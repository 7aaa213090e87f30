//! Shapes of load, as users write them: `name` or `name:key=value,key=value`.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use super::schedule::{Rate, Scatter, Schedule};

/// Names of all shapes, in the order in which errors list them.
pub const SHAPES: [&str; 12] = [
    "single",
    "concurrency",
    "ramp",
    "sweep",
    "constant",
    "poisson",
    "gamma",
    "rate_ramp",
    "trace",
    "conversation",
    "shared_prefix",
    "long_prompt",
];

/// Which requests are sent when.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// One after another.
    Single,
    /// So many in flight.
    Concurrency {
        /// Requests in flight.
        n: u32,
    },
    /// More and more in flight.
    Ramp {
        /// Requests in flight at the end.
        to: u32,
        /// Time until then.
        over: Duration,
    },
    /// 1, 2, 4 … in flight, until throughput stops climbing.
    Sweep {
        /// The first number in flight.
        from: u32,
        /// The last.
        to: u32,
    },
    /// At a rate, whatever becomes of them.
    Open(Schedule),
    /// As a trace says.
    Trace {
        /// The trace.
        file: PathBuf,
        /// How much faster than it was.
        speed: f64,
    },
    /// Conversations in which each turn repeats what was said.
    Conversation {
        /// Conversations at once.
        n: u32,
        /// Turns of each.
        turns: u32,
        /// Pause before each further turn.
        think: Duration,
    },
    /// Prompts that begin alike.
    SharedPrefix {
        /// Requests in flight.
        n: u32,
        /// Tokens of the common beginning.
        prefix: u32,
        /// How many different beginnings there are.
        groups: u64,
    },
    /// Prompts as long as the model takes.
    LongPrompt {
        /// Requests in flight.
        n: u32,
        /// Tokens of each; else what the model's length leaves.
        tokens: Option<u32>,
    },
}

/// A text that is no shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// No such name.
    #[error("no shape `{name}`: there are {}", SHAPES.join(", "))]
    Name {
        /// What was written.
        name: String,
    },
    /// A parameter the shape does not have, or text that is not `key=value`.
    #[error("shape `{shape}` has no parameter `{key}`: it takes {known}")]
    Parameter {
        /// The shape.
        shape: String,
        /// What was written.
        key: String,
        /// What it takes.
        known: String,
    },
    /// A value of the wrong kind or range.
    #[error("shape `{shape}` cannot take `{key}={value}`: use {expected}")]
    Value {
        /// The shape.
        shape: String,
        /// The parameter.
        key: &'static str,
        /// What was written.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A parameter that has no default.
    #[error("shape `{shape}` needs `{key}`: {expected}")]
    Missing {
        /// The shape.
        shape: String,
        /// The parameter.
        key: &'static str,
        /// What it is.
        expected: &'static str,
    },
}

/// Parameters of a shape while they are read.
struct Parameters<'a> {
    shape: &'a str,
    given: BTreeMap<&'a str, &'a str>,
    known: Vec<&'static str>,
}

const IN_FLIGHT: &str = "a number of requests in flight, 1 to 100000";
const RATE: &str = "requests a second, above 0";
const TIME: &str = "a time such as `30s` or `500ms`";
const BURSTINESS: &str = "a number above 0: 1 for a Poisson process, less for bursts";

impl<'a> Parameters<'a> {
    fn parse(text: &'a str) -> Self {
        let (shape, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut given = BTreeMap::new();
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            given.insert(key.trim(), value.trim());
        }
        Self {
            shape: shape.trim(),
            given,
            known: Vec::new(),
        }
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ShapeError> {
        self.known.push(key);
        let Some(text) = self.given.remove(key) else {
            return Ok(None);
        };
        match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(ShapeError::Value {
                shape: self.shape.to_owned(),
                key,
                value: text.to_owned(),
                expected,
            }),
        }
    }

    fn needed<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ShapeError> {
        self.optional(key, expected, read)?
            .ok_or_else(|| ShapeError::Missing {
                shape: self.shape.to_owned(),
                key,
                expected,
            })
    }

    fn in_flight(&mut self, key: &'static str) -> Result<Option<u32>, ShapeError> {
        self.optional(key, IN_FLIGHT, |text| {
            text.parse().ok().filter(|n| (1..=100_000).contains(n))
        })
    }

    fn rate(&mut self, key: &'static str) -> Result<f64, ShapeError> {
        self.needed(key, RATE, positive)
    }

    fn time(&mut self, key: &'static str) -> Result<Option<Duration>, ShapeError> {
        self.optional(key, TIME, time)
    }

    fn finish(self, shape: Shape) -> Result<Shape, ShapeError> {
        match self.given.keys().next() {
            None => Ok(shape),
            Some(key) => Err(ShapeError::Parameter {
                shape: self.shape.to_owned(),
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

fn positive(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
}

fn whole(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0)
}

/// A time with its unit: `500ms`, `30s`, `2m`, `1h`; without one, seconds.
pub fn time(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * factor).ok()
}

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let mut given = Parameters::parse(text);
        let shape = match given.shape {
            "single" => Self::Single,
            "concurrency" => Self::Concurrency {
                n: given.in_flight("n")?.unwrap_or(8),
            },
            "ramp" => Self::Ramp {
                to: given.in_flight("to")?.unwrap_or(64),
                over: given.time("over")?.unwrap_or(Duration::from_secs(30)),
            },
            "sweep" => Self::Sweep {
                from: given.in_flight("from")?.unwrap_or(1),
                to: given.in_flight("to")?.unwrap_or(256),
            },
            "constant" | "poisson" | "gamma" | "rate_ramp" => Self::Open(schedule(&mut given)?),
            "trace" => Self::Trace {
                file: given.needed("file", "the trace, JSON lines", |text| Some(PathBuf::from(text)))?,
                speed: given
                    .optional("speed", "a factor above 0", positive)?
                    .unwrap_or(1.0),
            },
            "conversation" => Self::Conversation {
                n: given.in_flight("n")?.unwrap_or(8),
                turns: given
                    .optional("turns", "a number of turns, 1 or more", whole)?
                    .unwrap_or(4),
                think: given.time("think")?.unwrap_or(Duration::ZERO),
            },
            "shared_prefix" => Self::SharedPrefix {
                n: given.in_flight("n")?.unwrap_or(8),
                prefix: given
                    .optional("prefix", "a number of tokens", whole)?
                    .unwrap_or(1024),
                groups: given
                    .optional("groups", "a number from 1", whole)?
                    .unwrap_or(1)
                    .into(),
            },
            "long_prompt" => Self::LongPrompt {
                n: given.in_flight("n")?.unwrap_or(1),
                tokens: given.optional("tokens", "a number of tokens", whole)?,
            },
            name => {
                return Err(ShapeError::Name {
                    name: name.to_owned(),
                });
            }
        };
        given.finish(shape)
    }
}

fn schedule(given: &mut Parameters<'_>) -> Result<Schedule, ShapeError> {
    let poisson = Scatter::Gamma { burstiness: 1.0 };
    Ok(match given.shape {
        "constant" => Schedule {
            rate: Rate::Constant(given.rate("rate")?),
            scatter: Scatter::Even,
        },
        "poisson" => Schedule {
            rate: Rate::Constant(given.rate("rate")?),
            scatter: poisson,
        },
        "gamma" => Schedule {
            rate: Rate::Constant(given.rate("rate")?),
            scatter: Scatter::Gamma {
                burstiness: given.needed("burstiness", BURSTINESS, positive)?,
            },
        },
        _ => {
            let (from, to) = (given.rate("from")?, given.rate("to")?);
            let over = given.time("over")?.filter(|over| !over.is_zero());
            let over = over.unwrap_or(Duration::from_mins(1));
            let growth = given.optional("growth", "`linear` or `exponential`", |text| match text {
                "linear" => Some(Rate::Linear { from, to, over }),
                "exponential" => Some(Rate::Exponential { from, to, over }),
                _ => None,
            })?;
            Schedule {
                rate: growth.unwrap_or(Rate::Linear { from, to, over }),
                scatter: poisson,
            }
        }
    })
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("single"),
            Self::Concurrency { n } => write!(f, "concurrency:n={n}"),
            Self::Ramp { to, over } => write!(f, "ramp:to={to},over={}s", over.as_secs_f64()),
            Self::Sweep { from, to } => write!(f, "sweep:from={from},to={to}"),
            Self::Open(schedule) => write_schedule(f, schedule),
            Self::Trace { file, speed } => write!(f, "trace:file={},speed={speed}", file.display()),
            Self::Conversation { n, turns, think } => {
                write!(
                    f,
                    "conversation:n={n},turns={turns},think={}s",
                    think.as_secs_f64()
                )
            }
            Self::SharedPrefix { n, prefix, groups } => {
                write!(f, "shared_prefix:n={n},prefix={prefix},groups={groups}")
            }
            Self::LongPrompt { n, tokens: None } => write!(f, "long_prompt:n={n}"),
            Self::LongPrompt {
                n,
                tokens: Some(tokens),
            } => write!(f, "long_prompt:n={n},tokens={tokens}"),
        }
    }
}

fn write_schedule(f: &mut fmt::Formatter<'_>, schedule: &Schedule) -> fmt::Result {
    let ramp = |f: &mut fmt::Formatter<'_>, [from, to]: [f64; 2], over: Duration, growth| {
        write!(
            f,
            "rate_ramp:from={from},to={to},over={}s,growth={growth}",
            over.as_secs_f64()
        )
    };
    match (schedule.rate, schedule.scatter) {
        (Rate::Constant(rate), Scatter::Even) => write!(f, "constant:rate={rate}"),
        (Rate::Constant(rate), Scatter::Gamma { burstiness: 1.0 }) => write!(f, "poisson:rate={rate}"),
        (Rate::Constant(rate), Scatter::Gamma { burstiness }) => {
            write!(f, "gamma:rate={rate},burstiness={burstiness}")
        }
        (Rate::Linear { from, to, over }, _) => ramp(f, [from, to], over, "linear"),
        (Rate::Exponential { from, to, over }, _) => ramp(f, [from, to], over, "exponential"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_read_and_writes_what_it_read() {
        for name in SHAPES {
            let text = match name {
                "constant" | "poisson" => format!("{name}:rate=2.5"),
                "gamma" => "gamma:rate=2.5,burstiness=0.5".to_owned(),
                "rate_ramp" => "rate_ramp:from=1,to=8,over=2m,growth=exponential".to_owned(),
                "trace" => "trace:file=a.jsonl,speed=2".to_owned(),
                other => other.to_owned(),
            };
            let shape: Shape = text.parse().unwrap();
            let written = shape.to_string();
            assert!(written.starts_with(name), "{written}");
            assert_eq!(written.parse::<Shape>().unwrap(), shape);
        }
        let shape: Shape = "conversation: n=2, turns=3, think=500ms".parse().unwrap();
        assert_eq!(
            shape,
            Shape::Conversation {
                n: 2,
                turns: 3,
                think: Duration::from_millis(500)
            }
        );
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let told = [
            "",
            "concurency:n=3",
            "single:n=3",
            "concurrency:8",
            "concurrency:n=0",
            "poisson",
            "poisson:rate=-1",
            "gamma:rate=1",
            "ramp:to=8,over=2d",
            "rate_ramp:from=1,to=2,growth=fast",
            "trace",
        ]
        .map(|text| text.parse::<Shape>().unwrap_err().to_string());
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("1.5m"), Some(Duration::from_secs(90)));
        assert_eq!(time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(time("7"), Some(Duration::from_secs(7)));
        assert_eq!((time("-1s"), time("s"), time("")), (None, None, None));
    }
}
