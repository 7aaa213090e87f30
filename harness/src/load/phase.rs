//! A phase of load: which requests, at what pace, and what is known once it is over.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::{CreationError, Histogram};

use super::{Requests, Trace};

/// Longest lag that is told apart from longer ones, microseconds.
const LONGEST_LAG_US: u64 = 60_000_000;

/// When requests are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// So many in flight: each ends before its successor is sent.
    Closed {
        /// Requests in flight.
        in_flight: u32,
        /// Time over which their number grows from one to all.
        ramp: Duration,
    },
    /// At given moments, whatever has become of the ones before.
    Open {
        /// When each is due, nanoseconds after the start, ascending.
        due_ns: Vec<u64>,
        /// Most requests in flight; more wait in the client, and their waiting counts.
        max_in_flight: u32,
    },
}

/// A phase.
#[derive(Debug, Clone)]
pub struct Phase {
    /// The requests.
    pub requests: Requests,
    /// When they are sent.
    pub pace: Pace,
    /// Time after which no further request is sent; those in flight are awaited.
    pub duration: Option<Duration>,
    /// Pause between the turns of a conversation.
    pub think: Duration,
}

/// What may be asked of a run while it goes on, and told to it.
#[derive(Debug, Default)]
pub struct Watch {
    /// Told to stop: nothing more is sent, and what is in flight is given up.
    stop: AtomicBool,
    /// One a worker.
    pub counts: Vec<Counts>,
}

/// What one worker has done so far. Nobody else writes here, so nobody waits.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counts {
    /// Requests that ended well.
    pub succeeded: AtomicU64,
    /// Requests that failed.
    pub failed: AtomicU64,
    /// Requests in flight.
    pub in_flight: AtomicU64,
    /// Chunks that carried tokens.
    pub chunks: AtomicU64,
}

impl Watch {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            stop: AtomicBool::new(false),
            counts: (0..workers).map(|_| Counts::default()).collect(),
        }
    }

    /// Tells the workers to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether they were told.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Succeeded, failed, in flight and chunks, over all workers.
    pub fn totals(&self) -> [u64; 4] {
        let sum = |of: fn(&Counts) -> &AtomicU64| {
            self.counts
                .iter()
                .map(|counts| of(counts).load(Ordering::Relaxed))
                .sum()
        };
        [
            sum(|counts| &counts.succeeded),
            sum(|counts| &counts.failed),
            sum(|counts| &counts.in_flight),
            sum(|counts| &counts.chunks),
        ]
    }
}

/// What the client itself did in a phase: what its figures rest on.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// Each worker's processor time over the phase's wall time, and how long it was ready to run and did not.
    pub workers: Vec<WorkerFacts>,
    /// From the kernel's receive stamp to the moment at which the client had read, microseconds. Empty without stamps.
    pub lag_us: Histogram<u64>,
    /// Reads that the kernel stamped.
    pub stamped_reads: u64,
    /// Reads that it did not.
    pub unstamped_reads: u64,
    /// How long each connection took to set up, nanoseconds; outside all other figures.
    pub connects_ns: Vec<u64>,
    /// Connections that the server closed while they were idle.
    pub closed_idle: u64,
    /// Connections that were set up after the start.
    pub late_connects: u64,
    /// Requests of which the socket took only a part at once.
    pub blocked_sends: u64,
    /// How often somebody set the real-time clock.
    pub clock_steps: u32,
}

/// One worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WorkerFacts {
    /// Seconds it computed.
    pub cpu_s: f64,
    /// Seconds it was ready to run and waited for a processor, where the kernel tells.
    pub waited_s: Option<f64>,
    /// Seconds from its first look to its last.
    pub wall_s: f64,
}

impl ClientFacts {
    /// Of a client that has done nothing.
    pub fn new() -> Result<Self, CreationError> {
        Ok(Self {
            workers: Vec::new(),
            // Two digits from 1 µs to a minute: a few KiB.
            lag_us: Histogram::new_with_bounds(1, LONGEST_LAG_US, 2)?,
            stamped_reads: 0,
            unstamped_reads: 0,
            connects_ns: Vec::new(),
            closed_idle: 0,
            late_connects: 0,
            blocked_sends: 0,
            clock_steps: 0,
        })
    }

    /// Adds what another worker did.
    pub fn add(&mut self, other: Self) {
        self.workers.extend(other.workers);
        // Both have the same bounds, so that nothing can be out of range.
        let added = self.lag_us.add(&other.lag_us);
        debug_assert!(added.is_ok());
        self.stamped_reads += other.stamped_reads;
        self.unstamped_reads += other.unstamped_reads;
        self.connects_ns.extend(other.connects_ns);
        self.closed_idle += other.closed_idle;
        self.late_connects += other.late_connects;
        self.blocked_sends += other.blocked_sends;
        self.clock_steps = self.clock_steps.max(other.clock_steps);
    }
}

/// A phase that is over.
#[derive(Debug)]
pub struct PhaseRun {
    /// The phase's first moment, nanoseconds of the monotonic clock.
    pub start_ns: u64,
    /// Every request that was begun, by number.
    pub traces: Vec<Trace>,
    /// What the client did.
    pub client: ClientFacts,
}
