//! The path from socket to time stamp. What is on it: one epoll set a thread, reads that carry the kernel's receive
//! stamp, HTTP and server-sent events split where they lie, and JSON only where it tells something. What is not: a
//! runtime, a lock, an allocation for each token. ARCHITECTURE.md has the figures that led to it.

mod agenda;
mod exchange;
mod http;
mod lull;
mod request;
mod slot;
mod socket;
mod worker;

use std::{
    net::SocketAddr,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use self::{
    slot::Slot,
    worker::{Share, Worker, Yield},
};
use super::{ClientFacts, Phase, PhaseRun, Watch, time::monotonic_ns};
use crate::vllm::Keep;

pub use self::{
    request::{IDS_HOLE, TEXT_HOLE, Template, tokens_hole},
    worker::WorkerError,
};

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer, and then for each next piece of it.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_mins(2),
        }
    }
}

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address of the server.
    pub address: SocketAddr,
    /// Everything of a request that is the same for all.
    pub template: Template,
    /// What of the answers is kept.
    pub keep: Keep,
    /// How long is waited.
    pub limits: Limits,
    /// How long a busy worker sleeps between two looks at its sockets.
    pub lull: Duration,
    /// Whether the kernel's receive stamps are asked for; without them times are those at which the client woke.
    pub kernel_clock: bool,
}

/// Connections that one phase hands to the next, by worker.
#[derive(Debug, Default)]
pub struct Pool(Vec<Vec<Slot>>);

/// Runs a phase on `workers` threads and waits for its end. Connections are set up before it starts.
pub fn run(
    target: &Target,
    phase: &Phase,
    workers: usize,
    pool: &mut Pool,
    watch: &Watch,
) -> Result<PhaseRun, WorkerError> {
    let workers = workers.max(1);
    let next = AtomicU64::new(0);
    let start_ns = AtomicU64::new(0);
    let connected = Barrier::new(workers);
    pool.0.resize_with(workers, Vec::new);
    let slots = std::mem::take(&mut pool.0);
    let work = |worker: usize, slots: Vec<Slot>| -> Result<Yield, WorkerError> {
        let share = Share {
            target,
            phase,
            next: &next,
            worker,
            workers,
            watch,
        };
        let ready = Worker::new(share, slots).and_then(|mut worker| worker.connect().map(|()| worker));
        // All begin together, once the last has its connections; whoever arrives last says when. One that failed must
        // arrive as well, or the others would wait for ever.
        if connected.wait().is_leader() {
            start_ns.store(monotonic_ns(), Ordering::SeqCst);
        }
        connected.wait();
        // The others need not work for a run that has failed.
        if ready.is_err() {
            watch.stop();
        }
        ready?.work(start_ns.load(Ordering::SeqCst))
    };
    let yields = thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = slots
            .into_iter()
            .enumerate()
            .map(|(worker, slots)| scope.spawn(move || work(worker, slots)))
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or(Err(WorkerError::Panicked)))
            .collect::<Result<Vec<Yield>, _>>()
    })?;
    let mut run = PhaseRun {
        start_ns: start_ns.load(Ordering::SeqCst),
        traces: Vec::new(),
        client: ClientFacts::new()?,
    };
    for worker in yields {
        run.traces.extend(worker.traces);
        run.client.add(worker.client);
        pool.0.push(worker.slots);
    }
    run.traces.sort_by_key(|trace| trace.index);
    Ok(run)
}

#[cfg(test)]
mod tests;
