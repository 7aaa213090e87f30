//! From a shape to phases. Pure.

use std::{sync::Arc, time::Duration};

use super::{
    Drawn, Joint, Lengths, Pace, Phase, Replayed, Requests, SharedPrefix, Spec, TraceFile, Vocabulary,
    schedule::Extent, shape::Shape,
};

/// Requests in flight at once under a schedule, unless another limit is given.
pub const MOST_IN_FLIGHT: u32 = 1024;
/// Requests at one concurrency, for each in flight, where neither count nor time is given.
const ROUNDS: u64 = 4;
/// Fewest requests of a phase where neither count nor time is given.
const FEWEST: u64 = 16;
/// Time of a schedule where neither count nor time is given.
const OPEN_TIME: Duration = Duration::from_secs(30);
/// Tokens of a warm-up's answer.
const WARMUP_TOKENS: u32 = 16;
/// Warm-up requests before a schedule, unless told otherwise.
const OPEN_WARMUP: u64 = 4;

/// What a user wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which requests are sent when.
    pub shape: Shape,
    /// Lengths of prompts.
    pub input: Lengths,
    /// Lengths of answers.
    pub output: Lengths,
    /// Prompts in the place of made ones.
    pub prompts: Option<Arc<Vec<Spec>>>,
    /// The trace that the shape names.
    pub trace: Option<TraceFile>,
    /// Requests (of a sweep, at each concurrency).
    pub count: Option<u64>,
    /// Time (of a sweep, at each concurrency).
    pub duration: Option<Duration>,
    /// Requests before the measured ones.
    pub warmup: Option<u64>,
    /// Most requests in flight under a schedule.
    pub max_in_flight: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// What prompts are made of.
    pub vocabulary: Arc<Vocabulary>,
    /// How conversations are written.
    pub joint: Joint,
    /// Longest sequence that the server takes, where known.
    pub max_model_len: Option<u32>,
}

/// A measured phase.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name among the parts.
    pub name: String,
    /// Requests in flight, where the shape says.
    pub in_flight: Option<u32>,
    /// Whether prompts share beginnings on purpose.
    pub shares_prefixes: bool,
    /// The phase.
    pub phase: Phase,
}

/// Phases of a run.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// What comes before and is not measured.
    pub warmup: Option<Phase>,
    /// What is measured.
    pub parts: Vec<Part>,
    /// Whether it ends with the first part that is no faster than the one before.
    pub ends_when_flat: bool,
}

/// Why a shape cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The model's length is not known.
    #[error("shape `long_prompt` needs `tokens`: the server does not tell its max_model_len")]
    NoLength,
    /// The answer leaves no room for a prompt.
    #[error(
        "answers of {output} tokens leave no room for a prompt: the server takes {max_model_len} tokens in all"
    )]
    NoRoom {
        /// Longest answer.
        output: u32,
        /// Longest sequence.
        max_model_len: u32,
    },
    /// A trace without times.
    #[error("the trace has no `timestamp`: send it as --prompts FILE with another shape")]
    NoTimes,
    /// The shape's trace was not read.
    #[error("the shape's trace was not read")]
    NoTrace,
    /// Conversations of fixed prompts.
    #[error("shape `{0}` makes its own prompts and takes no --prompts")]
    OwnPrompts(String),
    /// A schedule that sends nothing.
    #[error("the schedule holds no request: raise rate, count or time")]
    Nothing,
}

/// Plans the phases.
pub fn plan(wish: &Wish) -> Result<LoadPlan, PlanError> {
    let makes_own = matches!(
        wish.shape,
        Shape::Conversation { .. }
            | Shape::SharedPrefix { .. }
            | Shape::LongPrompt { .. }
            | Shape::Trace { .. }
    );
    if makes_own && wish.prompts.is_some() {
        return Err(PlanError::OwnPrompts(wish.shape.to_string()));
    }
    let parts = parts(wish)?;
    let flight = parts.first().and_then(|part| part.in_flight);
    Ok(LoadPlan {
        warmup: warmup(wish, flight),
        parts,
        ends_when_flat: matches!(wish.shape, Shape::Sweep { .. }),
    })
}

#[expect(clippy::too_many_lines, reason = "one arm a shape")]
fn parts(wish: &Wish) -> Result<Vec<Part>, PlanError> {
    let one = |part: Part| Ok(vec![part]);
    match &wish.shape {
        Shape::Single => one(closed(wish, 1, wish.seed)),
        Shape::Concurrency { n } => one(closed(wish, *n, wish.seed)),
        Shape::Ramp { to, over } => {
            let mut part = closed(wish, *to, wish.seed);
            if let Pace::Closed { ramp, .. } = &mut part.phase.pace {
                *ramp = *over;
            }
            // Without another limit, as long again at the top as on the way there.
            if wish.count.is_none() && wish.duration.is_none() {
                part.phase.duration = Some(*over * 2);
                without_end(&mut part.phase.requests);
            }
            one(part)
        }
        Shape::Sweep { from, to } => {
            let doubled = |n: &u32| n.checked_mul(2).filter(|next| next <= to);
            let numbers = std::iter::successors(Some(*from), doubled);
            Ok(numbers
                .map(|n| closed(wish, n, wish.seed.wrapping_add(n.into())))
                .collect())
        }
        Shape::Open(schedule) => {
            let no_limit = wish.count.is_none() && wish.duration.is_none();
            let extent = Extent {
                count: wish.count,
                duration: wish.duration.or(no_limit.then_some(OPEN_TIME)),
            };
            let due_ns = schedule.due_ns(wish.seed, extent);
            let requests = requests(wish, wish.seed, due_ns.len() as u64);
            one(open(wish, requests, due_ns, false)?)
        }
        Shape::Trace { speed, .. } => {
            let trace = wish.trace.as_ref().ok_or(PlanError::NoTrace)?;
            let due_ns = trace.due_ns.as_ref().ok_or(PlanError::NoTimes)?;
            one(replay(wish, trace, due_ns, *speed)?)
        }
        Shape::Conversation { n, turns, think } => {
            let mut part = closed(wish, *n, wish.seed);
            if let Requests::Drawn(drawn) = &mut part.phase.requests {
                drawn.turns = Some((*turns, wish.joint));
            }
            part.phase.think = *think;
            // Each turn repeats what was said before.
            part.shares_prefixes = true;
            one(part)
        }
        Shape::SharedPrefix { n, prefix, groups } => {
            let mut part = closed(wish, *n, wish.seed);
            if let Requests::Drawn(drawn) = &mut part.phase.requests {
                drawn.shared = Some(SharedPrefix {
                    tokens: *prefix,
                    groups: *groups,
                });
                drawn.prompt = longer(&drawn.prompt, *prefix);
            }
            part.shares_prefixes = true;
            one(part)
        }
        Shape::LongPrompt { n, tokens } => {
            let tokens = tokens.map_or_else(|| longest(wish), Ok)?;
            let mut part = closed(wish, *n, wish.seed);
            if let Requests::Drawn(drawn) = &mut part.phase.requests {
                drawn.prompt = Lengths::Fixed(tokens);
            }
            one(part)
        }
    }
}

fn longest(wish: &Wish) -> Result<u32, PlanError> {
    let max_model_len = wish.max_model_len.ok_or(PlanError::NoLength)?;
    let output = wish.output.greatest();
    match max_model_len.checked_sub(output) {
        None | Some(0) => Err(PlanError::NoRoom {
            output,
            max_model_len,
        }),
        Some(tokens) => Ok(tokens),
    }
}

/// The same lengths, `more` tokens longer.
fn longer(lengths: &Lengths, more: u32) -> Lengths {
    let add = |length: &u32| length.saturating_add(more);
    match lengths {
        Lengths::Fixed(length) => Lengths::Fixed(add(length)),
        Lengths::Uniform { low, high } => Lengths::Uniform {
            low: add(low),
            high: add(high),
        },
        Lengths::Normal { mean, deviation } => Lengths::Normal {
            mean: mean + f64::from(more),
            deviation: *deviation,
        },
        Lengths::Listed(lengths) => Lengths::Listed(lengths.iter().map(add).collect()),
    }
}

/// Requests of which so many are sent, the prompts given again from the first where they do not reach.
fn requests(wish: &Wish, seed: u64, count: u64) -> Requests {
    match &wish.prompts {
        Some(specs) => Requests::Listed {
            specs: Arc::clone(specs),
            count,
        },
        None => Requests::Drawn(Drawn {
            vocabulary: Arc::clone(&wish.vocabulary),
            seed,
            count,
            prompt: wish.input.clone(),
            output: wish.output.clone(),
            shared: None,
            turns: None,
        }),
    }
}

fn without_end(requests: &mut Requests) {
    match requests {
        Requests::Drawn(Drawn { count, .. }) | Requests::Listed { count, .. } => *count = u64::MAX,
        Requests::Replayed(_) => {}
    }
}

fn closed(wish: &Wish, in_flight: u32, seed: u64) -> Part {
    let given = wish.prompts.as_ref().map(|prompts| prompts.len() as u64);
    let count = match (wish.count, wish.duration) {
        (Some(count), _) => count,
        (None, Some(_)) => u64::MAX,
        (None, None) => given.unwrap_or_else(|| (ROUNDS * u64::from(in_flight)).max(FEWEST)),
    };
    Part {
        name: format!("{in_flight} in flight"),
        in_flight: Some(in_flight),
        shares_prefixes: false,
        phase: Phase {
            requests: requests(wish, seed, count),
            pace: Pace::Closed {
                in_flight,
                ramp: Duration::ZERO,
            },
            duration: wish.duration,
            think: Duration::ZERO,
        },
    }
}

fn open(wish: &Wish, requests: Requests, due_ns: Vec<u64>, shares_prefixes: bool) -> Result<Part, PlanError> {
    if due_ns.is_empty() {
        return Err(PlanError::Nothing);
    }
    Ok(Part {
        name: "schedule".to_owned(),
        in_flight: None,
        shares_prefixes,
        phase: Phase {
            requests,
            pace: Pace::Open {
                due_ns,
                max_in_flight: wish.max_in_flight,
            },
            duration: wish.duration,
            think: Duration::ZERO,
        },
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive factor of a moment within days"
)]
fn replay(wish: &Wish, trace: &TraceFile, due_ns: &[u64], speed: f64) -> Result<Part, PlanError> {
    let count = wish
        .count
        .map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let lines: Vec<_> = trace.lines.iter().take(count).cloned().collect();
    let due_ns = due_ns
        .iter()
        .take(count)
        .map(|&due| (due as f64 / speed) as u64)
        .collect();
    let shares = lines.iter().any(|line| !line.hash_ids.is_empty());
    let requests = Requests::Replayed(Replayed {
        lines: Arc::new(lines),
        vocabulary: Arc::clone(&wish.vocabulary),
        seed: wish.seed,
    });
    open(wish, requests, due_ns, shares)
}

/// Short requests like those to come, drawn from another seed so that none of them is in a cache.
fn warmup(wish: &Wish, in_flight: Option<u32>) -> Option<Phase> {
    let in_flight = in_flight.unwrap_or(1);
    let count = wish.warmup.unwrap_or_else(|| match wish.shape {
        Shape::Open(_) | Shape::Trace { .. } => OPEN_WARMUP,
        _ => in_flight.into(),
    });
    let requests = Requests::Drawn(Drawn {
        vocabulary: Arc::clone(&wish.vocabulary),
        seed: !wish.seed,
        count,
        prompt: wish.input.clone(),
        output: Lengths::Fixed(wish.output.greatest().min(WARMUP_TOKENS)),
        shared: None,
        turns: None,
    });
    (count > 0).then_some(Phase {
        requests,
        pace: Pace::Closed {
            in_flight,
            ramp: Duration::ZERO,
        },
        duration: None,
        think: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{PromptBody, replay};

    fn wish(shape: &str) -> Wish {
        Wish {
            shape: shape.parse().unwrap(),
            input: Lengths::Fixed(32),
            output: Lengths::Fixed(64),
            prompts: None,
            trace: None,
            count: None,
            duration: None,
            warmup: None,
            max_in_flight: MOST_IN_FLIGHT,
            seed: 1,
            vocabulary: Arc::new(Vocabulary::ids((0..100).collect())),
            joint: Joint::Chat,
            max_model_len: Some(2048),
        }
    }

    fn count(part: &Part) -> u64 {
        (0..u64::MAX)
            .find(|&index| part.phase.requests.get(index).is_none())
            .unwrap()
    }

    #[test]
    fn a_sweep_doubles_and_draws_anew() {
        let plan = plan(&wish("sweep:from=1,to=12")).unwrap();
        let numbers: Vec<_> = plan.parts.iter().map(|part| part.in_flight.unwrap()).collect();
        assert_eq!(numbers, [1, 2, 4, 8]);
        assert!(plan.ends_when_flat);
        assert_eq!(count(&plan.parts[0]), FEWEST);
        assert_eq!(count(&plan.parts[3]), 32);
        assert_ne!(
            plan.parts[0].phase.requests.get(0),
            plan.parts[1].phase.requests.get(0)
        );
    }

    #[test]
    fn a_schedule_ends_by_count_or_time() {
        let mut wish = wish("constant:rate=10");
        let due = |wish: &Wish| match &plan(wish).unwrap().parts[0].phase.pace {
            Pace::Open { due_ns, .. } => due_ns.len(),
            Pace::Closed { .. } => 0,
        };
        assert_eq!(due(&wish), 300);
        wish.count = Some(7);
        assert_eq!(due(&wish), 7);
        assert_eq!(
            plan(&wish).unwrap().warmup.map(|warmup| warmup.duration),
            Some(None)
        );
        wish.count = Some(0);
        assert_eq!(plan(&wish).unwrap_err(), PlanError::Nothing);
    }

    #[test]
    fn a_long_prompt_fills_the_model() {
        let part = &plan(&wish("long_prompt")).unwrap().parts[0];
        assert_eq!(part.phase.requests.get(0).unwrap().prompt_tokens, Some(1984));
        let mut none = wish("long_prompt");
        none.max_model_len = None;
        assert_eq!(plan(&none).unwrap_err(), PlanError::NoLength);
        none.max_model_len = Some(64);
        assert!(matches!(plan(&none).unwrap_err(), PlanError::NoRoom { .. }));
    }

    #[test]
    fn shared_prefixes_come_on_top() {
        let part = &plan(&wish("shared_prefix:prefix=100,groups=2")).unwrap().parts[0];
        assert_eq!(part.phase.requests.get(0).unwrap().prompt_tokens, Some(132));
        assert!(part.shares_prefixes);
    }

    #[test]
    fn a_trace_is_sent_faster_when_asked() {
        let text = "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 6}\n\
            {\"timestamp\": 3000, \"input_length\": 7, \"output_length\": 8}\n";
        let mut wish = wish("trace:file=x,speed=2");
        assert_eq!(plan(&wish).unwrap_err(), PlanError::NoTrace);
        wish.trace = Some(replay::read(text.as_bytes(), None).unwrap());
        let part = &plan(&wish).unwrap().parts[0];
        let Pace::Open { due_ns, .. } = &part.phase.pace else {
            panic!()
        };
        assert_eq!(*due_ns, [0, 1_500_000_000]);
        assert_eq!(part.phase.requests.get(1).unwrap().output_tokens, 8);
        wish.trace = Some(
            replay::read(
                text.replace("\"timestamp\": 0, ", "")
                    .replace("\"timestamp\": 3000, ", "")
                    .as_bytes(),
                None,
            )
            .unwrap(),
        );
        assert_eq!(plan(&wish).unwrap_err(), PlanError::NoTimes);
    }

    #[test]
    fn given_prompts_go_round() {
        let mut wish = wish("concurrency:n=2");
        let spec = |text: &str| Spec {
            prompt: PromptBody::Text(text.into()),
            prompt_tokens: None,
            output_tokens: 4,
            turn: None,
        };
        wish.prompts = Some(Arc::new(vec![spec("a"), spec("b")]));
        assert_eq!(count(&plan(&wish).unwrap().parts[0]), 2);
        wish.count = Some(5);
        let part = &plan(&wish).unwrap().parts[0];
        assert_eq!(part.phase.requests.get(4), Some(spec("a")));
        wish.shape = "conversation".parse().unwrap();
        assert!(matches!(plan(&wish).unwrap_err(), PlanError::OwnPrompts(_)));
    }
}
