//! What the client did, in figures: a figure of a server is only as good as the client that measured it.

use serde::{Deserialize, Serialize};

use super::ClientFacts;
use crate::stats;

/// The client of a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientFigures {
    /// Threads that sent and received.
    pub workers: usize,
    /// Processor time of all of them, seconds.
    pub cpu_s: f64,
    /// Processor time of the busiest over the phase's wall time, 0 to 1.
    pub busiest_share: f64,
    /// Time that one was ready to run and got no processor, over the phase's wall time; the worst.
    pub waited_share: Option<f64>,
    /// Time that the control group's quota held the client back, over the phase's wall time.
    pub throttled_share: Option<f64>,
    /// From the kernel's receive stamp until the client had read, milliseconds; `None` without stamps.
    pub lag_ms: Option<Lag>,
    /// Reads that the kernel stamped.
    pub stamped_reads: u64,
    /// Reads whose time is that at which the client woke.
    pub unstamped_reads: u64,
    /// Connections that were set up.
    pub connections: u64,
    /// How long setting up took, milliseconds: median and greatest. No part of any other figure.
    pub connect_ms: Option<[f64; 2]>,
    /// Connections that were set up after the start.
    pub late_connects: u64,
    /// Idle connections that the server closed.
    pub closed_idle: u64,
    /// Requests that the socket could not take at once.
    pub blocked_sends: u64,
    /// How often somebody set the real-time clock.
    pub clock_steps: u32,
}

/// Lag of the client behind the kernel, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Greatest.
    pub max: f64,
}

impl ClientFigures {
    /// Figures of what was noted. `throttled_s`: for how long a quota held the client back meanwhile.
    pub fn new(facts: &ClientFacts, throttled_s: Option<f64>) -> Self {
        let wall_s = facts
            .workers
            .iter()
            .map(|worker| worker.wall_s)
            .fold(0.0, f64::max);
        let share = |time_s: f64| if wall_s > 0.0 { time_s / wall_s } else { 0.0 };
        let waited = facts.workers.iter().filter_map(|worker| worker.waited_s);
        let mut connects: Vec<f64> = facts.connects_ns.iter().map(|&ns| ns as f64 / 1e6).collect();
        connects.sort_by(f64::total_cmp);
        let ms = |us: u64| us as f64 / 1e3;
        Self {
            workers: facts.workers.len(),
            cpu_s: facts.workers.iter().map(|worker| worker.cpu_s).sum(),
            busiest_share: share(
                facts
                    .workers
                    .iter()
                    .map(|worker| worker.cpu_s)
                    .fold(0.0, f64::max),
            ),
            waited_share: waited.reduce(f64::max).map(share),
            throttled_share: throttled_s.map(share),
            lag_ms: (!facts.lag_us.is_empty()).then(|| Lag {
                p50: ms(facts.lag_us.value_at_quantile(0.5)),
                p99: ms(facts.lag_us.value_at_quantile(0.99)),
                max: ms(facts.lag_us.max()),
            }),
            stamped_reads: facts.stamped_reads,
            unstamped_reads: facts.unstamped_reads,
            connections: facts.connects_ns.len() as u64,
            connect_ms: stats::percentile(&connects, 50.0)
                .zip(connects.last().copied())
                .map(<[f64; 2]>::from),
            late_connects: facts.late_connects,
            closed_idle: facts.closed_idle,
            blocked_sends: facts.blocked_sends,
            clock_steps: facts.clock_steps,
        }
    }

    /// In words, where times are not the kernel's.
    pub fn clock_note(&self) -> Option<String> {
        (self.unstamped_reads > 0).then(|| {
            let all = self.stamped_reads + self.unstamped_reads;
            format!(
                "{} of {all} reads have no receive stamp of the kernel: their times are those at which the client woke",
                self.unstamped_reads
            )
        })
    }
}
