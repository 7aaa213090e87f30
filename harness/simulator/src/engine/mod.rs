//! The engine: a thread that schedules, computes and hands out tokens, step by step.
//!
//! It is a thread of its own because a thread's wait is exact to tens of microseconds where an async timer
//! knows milliseconds. Each step is due at an absolute simulated time, the previous step's due time plus its
//! own length; only an idle engine starts anew at an arrival. Idle, it blocks and costs nothing.

mod accounts;
mod blocks;
mod detokenizer;
mod scheduler;
mod sequence;
mod timing;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

pub use sequence::{Emitted, Event, Finish, Position, Sampling, Submission};
pub use timing::Timing;

use crate::clock::Clock;
use crate::faults::Fault;
use crate::language::{self, Language, Noise};
use crate::logs::Logger;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::truth::Truth;

/// What the engine is told.
#[derive(Debug)]
enum Command {
    Submit(Box<Submission>),
    SetFaults(Vec<Fault>),
    ResetPrefixCache,
}

/// The faults that the engine itself commits.
#[derive(Debug, Clone, Default)]
pub struct Faulty {
    /// Noise on logits.
    pub noise: Option<Noise>,
    /// Die at the request after so many.
    crash_after: Option<u64>,
    /// Stop after so many tokens.
    hang_after: Option<u64>,
    /// Every so many tokens one is wrong.
    garble_every: Option<u64>,
    /// Slower by a factor after so many requests.
    drift: Option<(f64, u64)>,
    /// Each step takes so much longer, as a logarithm.
    run_noise: f64,
    /// MiB lost with each request.
    leak_mib: f64,
}

impl Faulty {
    fn of(faults: &[Fault]) -> Self {
        let mut own = Self::default();
        for fault in faults {
            match *fault {
                Fault::LogitNoise { size, seed } => own.noise = Some(Noise { size, seed }),
                Fault::Crash { after } => own.crash_after = Some(after),
                Fault::Hang { after } => own.hang_after = Some(after),
                Fault::Garble { every } => own.garble_every = Some(every),
                Fault::Drift { percent, after } => own.drift = Some((1.0 + percent / 100.0, after)),
                Fault::RunNoise { percent, seed } => own.run_noise = percent / 100.0 * run_gaussian(seed),
                Fault::Leak { mib, .. } => own.leak_mib = mib,
                _ => {}
            }
        }
        own
    }
}

/// A run's own Gaussian number: the seed's, or for 0 the process's.
fn run_gaussian(seed: u64) -> f64 {
    let word = if seed == 0 {
        // The keys of a fresh `RandomState` are random in every process.
        RandomState::new().hash_one(0_u8)
    } else {
        seed
    };
    language::gaussian(word)
}

/// What the engine works with.
pub struct Parts {
    /// Settings of the server.
    pub settings: Arc<Settings>,
    /// The model.
    pub language: Arc<Language>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Log.
    pub logger: Arc<Logger>,
    /// Time.
    pub clock: Clock,
    /// Where arrivals and tokens are written down.
    pub truth: Truth,
    /// Faults from the start.
    pub faults: Vec<Fault>,
}

/// A handle to a running engine.
#[derive(Debug, Clone)]
pub struct Engine {
    commands: Sender<Command>,
    dead: Arc<AtomicBool>,
    death: Arc<tokio::sync::Notify>,
}

impl Engine {
    /// Starts the engine's thread.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (commands, received): (Sender<Command>, Receiver<Command>) = channel();
        let dead = Arc::new(AtomicBool::new(false));
        let death = Arc::new(tokio::sync::Notify::new());
        let engine = Self {
            commands,
            dead: Arc::clone(&dead),
            death: Arc::clone(&death),
        };
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || scheduler::Scheduler::new(parts, received, dead, death).run())?;
        Ok(engine)
    }

    /// Hands a sequence in. A dead engine drops it, which closes its event channel.
    pub fn submit(&self, submission: Submission) {
        self.command(Command::Submit(Box::new(submission)));
    }

    /// Replaces the faults; counts of requests and tokens begin anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.command(Command::SetFaults(faults));
    }

    /// Forgets cached prefixes.
    pub fn reset_prefix_cache(&self) {
        self.command(Command::ResetPrefixCache);
    }

    fn command(&self, command: Command) {
        // The thread only ends with the process.
        drop(self.commands.send(command));
    }

    /// True after a crash.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Waits for a crash.
    pub async fn died(&self) {
        self.death.notified().await;
    }
}
