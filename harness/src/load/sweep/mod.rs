//! A sweep: level after level of load on one server, where throughput stops climbing, the knee of throughput against
//! latency, and the highest level that keeps a promise. Levels are requests in flight, or requests a second.

mod knee;
mod promise;
mod search;

use super::{
    Asked, Generator, LoadError, Measured, PERCENTILES, PlanError, Rate, Scatter, Schedule, Setting, Shape,
    Tick, Wish, measure, plan::plan, recording::Recorded, summarise,
};
use crate::record::Verdict;

pub use knee::{Point, knee};
pub use promise::{At, Held, Latency, LatencyPromise, PromiseError, of_budgets};
pub use search::{End, Next, Rules, Seen, Standing};

/// Requests at a level, for each in flight: one generation of answers fills the server, the others show it full.
const ROUNDS: u64 = 4;
/// Fewest requests at a level.
const FEWEST: u64 = 16;
/// Most generations of answers at a level: a promise on a percentile wants many requests, and one at a time they take
/// very long.
const MOST_ROUNDS: u64 = 12;
/// Time that a rate is held, on the server's clock, seconds.
const RATE_TIME_S: f64 = 30.0;

/// Which levels.
#[derive(Debug, Clone, PartialEq)]
pub enum Levels {
    /// Requests in flight, searched.
    Concurrency(Rules),
    /// Requests a second, as a Poisson process, one after the other.
    Rates(Vec<f64>),
}

/// What is swept.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Prompts and answers; its shape and count are set level by level. A count given there holds for every level.
    pub wish: Wish,
    /// Levels.
    pub levels: Levels,
    /// Promises that the best level keeps.
    pub promises: Vec<LatencyPromise>,
}

/// A level that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Requests in flight, or requests a second.
    pub level: f64,
    /// Its figures, its conditions and the verdict over them.
    pub measured: Measured,
    /// What it says of each promise.
    pub held: Vec<Held>,
}

/// A sweep that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Swept {
    /// The levels, in the order in which they were measured.
    pub steps: Vec<Step>,
    /// Why it ended.
    pub end: End,
}

/// Why a sweep could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A level.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Load on the server.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Hears of a sweep while it goes on.
pub trait Watcher: Send {
    /// A level goes on.
    fn tick(&mut self, tick: &Tick<'_>);
    /// A level is over; what was recorded of it makes its figures again.
    fn step(&mut self, step: &Step, recorded: Recorded);
}

impl Step {
    /// Whether its figures mean anything: only then is it chosen, or compared with.
    pub fn is_valid(&self) -> bool {
        self.measured.verdict == Verdict::Passed
    }

    /// Whether it is valid and keeps every promise.
    pub fn keeps(&self) -> bool {
        self.is_valid() && self.held.iter().all(|held| held.kept)
    }

    /// Output tokens a second.
    pub const fn tokens_per_s(&self) -> f64 {
        self.measured.figures.output_tokens_per_s
    }

    /// Mean latency, seconds.
    pub fn latency_s(&self) -> Option<f64> {
        self.measured.figures.e2e.as_ref().map(|spread| spread.mean_s)
    }

    fn standing(&self) -> Standing {
        match (self.is_valid(), self.keeps()) {
            (false, _) => Standing::Unfit,
            (true, true) => Standing::Kept,
            (true, false) => Standing::Broke,
        }
    }
}

impl Swept {
    /// The knee, by the valid levels.
    pub fn knee(&self) -> Option<f64> {
        let point = |step: &Step| {
            Some(Point {
                level: step.level,
                tokens_per_s: step.tokens_per_s(),
                latency_s: step.latency_s().filter(|latency| *latency > 0.0)?,
            })
        };
        let valid = self.steps.iter().filter(|step| step.is_valid());
        knee(&valid.filter_map(point).collect::<Vec<_>>())
    }

    /// The level that keeps every promise with the most throughput, below the first that broke one.
    pub fn best(&self) -> Option<f64> {
        let broke = |step: &&Step| step.is_valid() && !step.keeps();
        let limit = self
            .steps
            .iter()
            .filter(broke)
            .map(|step| step.level)
            .fold(f64::INFINITY, f64::min);
        let kept = self
            .steps
            .iter()
            .filter(|step| step.keeps() && step.level < limit);
        kept.max_by(|a, b| a.tokens_per_s().total_cmp(&b.tokens_per_s()))
            .map(|step| step.level)
    }
}

impl Plan {
    /// Measures level after level.
    pub async fn run(
        &self,
        generator: &mut Generator,
        setting: &Setting<'_>,
        watcher: &mut dyn Watcher,
    ) -> Result<Swept, SweepError> {
        let mut steps: Vec<Step> = Vec::new();
        let (mut measured, mut again) = (0, None);
        loop {
            let level = match self.next(&steps) {
                _ if setting.stop.is_cancelled() => {
                    return Ok(Swept {
                        steps,
                        end: End::Stopped,
                    });
                }
                Ok(level) => level,
                Err(end) => return Ok(Swept { steps, end }),
            };
            let wish = self.at(level, measured, setting.clock.speedup());
            measured += 1;
            let step = self.step(level, &wish, generator, setting, watcher).await?;
            // A level that was stopped half-way was measured on a server that was never full.
            let Some(step) = step.filter(|_| !setting.stop.is_cancelled()) else {
                continue;
            };
            // What disturbed it may have passed: it is measured once more.
            if step.measured.verdict == Verdict::Invalid && again != Some(level) {
                again = Some(level);
                continue;
            }
            steps.push(step);
        }
    }

    fn next(&self, steps: &[Step]) -> Result<f64, End> {
        match &self.levels {
            Levels::Concurrency(rules) => {
                let seen: Vec<Seen> = steps.iter().map(seen).collect();
                match rules.next(&seen) {
                    Next::Level(level) => Ok(f64::from(level)),
                    Next::Done(end) => Err(end),
                }
            }
            Levels::Rates(rates) => rates.get(steps.len()).copied().ok_or(End::Top),
        }
    }

    /// The load of one level. `speedup`: of the server's clock, on which rates are given.
    fn at(&self, level: f64, index: u64, speedup: f64) -> Wish {
        let needed = self
            .promises
            .iter()
            .map(LatencyPromise::requests_needed)
            .max()
            .unwrap_or(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "levels are positive, and saturating is right"
        )]
        let (shape, usual) = match self.levels {
            Levels::Concurrency(_) => {
                let n = level as u32;
                let most = (MOST_ROUNDS * u64::from(n)).max(FEWEST);
                let count = (ROUNDS * u64::from(n)).max(FEWEST).max(needed.min(most));
                (Shape::Concurrency { n }, count)
            }
            Levels::Rates(_) => {
                let schedule = Schedule {
                    rate: Rate::Constant(level * speedup),
                    scatter: Scatter::Gamma { burstiness: 1.0 },
                };
                let count = ((level * RATE_TIME_S).ceil() as u64).max(FEWEST).max(needed);
                (Shape::Open(schedule), count)
            }
        };
        Wish {
            shape,
            count: self.wish.count.or(Some(usual)),
            // No level finds in a cache what an earlier one asked.
            seed: self.wish.seed.wrapping_add(index),
            ..self.wish.clone()
        }
    }

    async fn step(
        &self,
        level: f64,
        wish: &Wish,
        generator: &mut Generator,
        setting: &Setting<'_>,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<Step>, SweepError> {
        let mut load = plan(wish)?;
        for part in &mut load.parts {
            part.name = match self.levels {
                Levels::Concurrency(_) => format!("{level} in flight"),
                Levels::Rates(_) => format!("{level} requests/s"),
            };
        }
        let mut all = Vec::new();
        let mut keep = |recorded: Recorded| all.push(recorded);
        measure(
            generator,
            &load,
            setting,
            &mut |tick| watcher.tick(tick),
            &mut keep,
        )
        .await?;
        let Some(recorded) = all.pop() else {
            return Ok(None);
        };
        let measured = summarise(&recorded, &self.asked(), setting.clock);
        let held = self
            .promises
            .iter()
            .map(|promise| promise.hold(&measured.figures, &recorded.samples));
        let step = Step {
            level,
            held: held.collect(),
            measured,
        };
        watcher.step(&step, recorded);
        Ok(Some(step))
    }

    fn asked(&self) -> Asked {
        let mut percentiles = PERCENTILES.to_vec();
        percentiles.extend(self.promises.iter().filter_map(LatencyPromise::percentile));
        percentiles.sort_by(f64::total_cmp);
        percentiles.dedup();
        Asked {
            percentiles,
            promises: None,
        }
    }
}

fn seen(step: &Step) -> Seen {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a level of concurrency is a u32"
    )]
    let level = step.level as u32;
    Seen {
        level,
        tokens_per_s: step.tokens_per_s(),
        standing: step.standing(),
    }
}
