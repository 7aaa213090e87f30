//! A worker: one thread, one epoll set, its own connections. It shares nothing that it would have to wait for.
//!
//! Each round: requests that are due go out, then it waits for sockets, then it reads. Between two looks at busy sockets
//! it may sleep for a moment ([`Lull`]): the kernel stamps what arrives meanwhile, so no time is lost, and one waking
//! serves many streams.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::CreationError;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        time::TimeSpec,
        timer::{Expiration, TimerSetTimeFlags},
        timerfd::{ClockId, TimerFd, TimerFlags},
    },
};

use super::{
    Target,
    agenda::{Agenda, Pending},
    exchange::{Ended, Exchange},
    lull::Lull,
    slot::{Moment, Read, Slot, State},
    socket::{Buffer, Socket},
};
use crate::load::{
    ClientFacts, Counts, Failure, FailureClass, Phase, Trace, Watch, WorkerFacts, host,
    time::{Timebase, monotonic_ns, thread_cpu_ns},
};

/// Epoll data of the timer; slots count from 0.
const TIMER: u64 = u64::MAX;
/// Room for one read. A larger one would only be better for a client that lags.
const READ_BYTES: usize = 64 << 10;
/// Longest wait for sockets: how soon a stop, or a silent server, is noticed.
const LONGEST_WAIT: u16 = 250;
/// Pause after a request that failed as if the server were gone, nanoseconds.
const BACK_OFF_NS: u64 = 100_000_000;
/// Connections that are being set up at once before the start.
const CONNECTS_AT_ONCE: usize = 256;

/// What a worker is to do.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    /// Whom to ask.
    pub target: &'a Target,
    /// What.
    pub phase: &'a Phase,
    /// Next number of a request, shared by all workers where none is due at a moment of its own.
    pub next: &'a AtomicU64,
    /// Number of this worker.
    pub worker: usize,
    /// How many there are.
    pub workers: usize,
    /// Where it tells what it has done.
    pub watch: &'a Watch,
}

/// What a worker leaves.
pub struct Yield {
    /// Its requests.
    pub traces: Vec<Trace>,
    /// What it did.
    pub client: ClientFacts,
    /// Its connections, for the next phase.
    pub slots: Vec<Slot>,
}

/// A worker could not work at all.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The system refused what every worker needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It ended in a way that it never should.
    #[error("a worker of the load client panicked: this is a defect of the harness, please report it")]
    Panicked,
    /// A histogram could not be had.
    #[error("cannot set up a histogram: {0}")]
    Histogram(#[from] CreationError),
}

fn system(what: &'static str) -> impl FnOnce(Errno) -> WorkerError {
    move |errno| WorkerError::System {
        what,
        source: errno.into(),
    }
}

/// A worker at work.
pub struct Worker<'a> {
    share: Share<'a>,
    epoll: Epoll,
    timer: TimerFd,
    slots: Vec<Slot>,
    /// Slots without request, the last used first.
    idle: Vec<usize>,
    agenda: Agenda<'a>,
    time: Timebase,
    lull: Lull,
    buffer: Buffer,
    body: Vec<u8>,
    request: Vec<u8>,
    traces: Vec<Trace>,
    client: ClientFacts,
    swept_ns: u64,
}

impl<'a> Worker<'a> {
    /// A worker with the connections that an earlier phase left.
    pub fn new(share: Share<'a>, mut slots: Vec<Slot>) -> Result<Self, WorkerError> {
        let agenda = Agenda::new(&share);
        while slots.len() < agenda.connections() {
            slots.push(Slot::new());
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system("watch sockets"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )
        .map_err(system("set a timer"))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, TIMER);
        epoll
            .add(std::os::fd::AsFd::as_fd(&timer), event)
            .map_err(system("watch a timer"))?;
        for (index, slot) in slots.iter_mut().enumerate() {
            if let Some(socket) = &slot.socket {
                let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, index as u64);
                if epoll.add(socket, event).is_err() {
                    slot.drop_connection();
                }
            }
        }
        Ok(Self {
            share,
            epoll,
            timer,
            slots,
            idle: Vec::new(),
            agenda,
            time: Timebase::new(),
            lull: Lull::new(share.target.lull),
            buffer: Buffer::new(READ_BYTES),
            body: Vec::new(),
            request: Vec::new(),
            traces: Vec::new(),
            client: ClientFacts::new()?,
            swept_ns: 0,
        })
    }

    /// Sets up every connection that the start needs. One that cannot be set up is tried again by its first request,
    /// which then tells why.
    pub fn connect(&mut self) -> Result<(), WorkerError> {
        let mut open = 0..self.slots.len();
        let mut pending = 0;
        loop {
            while pending < CONNECTS_AT_ONCE {
                let Some(index) = open.next() else { break };
                if self.slots[index].state == State::Closed && self.begin_connect(index).is_ok() {
                    pending += 1;
                }
            }
            if pending == 0 {
                return Ok(());
            }
            self.round(EpollTimeout::from(LONGEST_WAIT))?;
            self.sweep();
            pending = self
                .slots
                .iter()
                .filter(|slot| slot.state == State::Connecting)
                .count();
        }
    }

    /// Works until nothing is left to do.
    pub fn work(mut self, start_ns: u64) -> Result<Yield, WorkerError> {
        self.agenda.begin(start_ns, self.share.phase.duration);
        self.idle = (0..self.slots.len()).rev().collect();
        let (wall_ns, cpu_ns, waited) = (monotonic_ns(), thread_cpu_ns(), host::thread_waited());
        while !self.share.watch.is_stopped() {
            self.send_due();
            let busy = self.slots.len() - self.idle.len();
            if busy == 0 && self.agenda.is_empty() {
                break;
            }
            let now_ns = monotonic_ns();
            self.arm(now_ns)?;
            if let Some(nap) = self.lull.before_next_look(now_ns, self.agenda.next_due()) {
                std::thread::sleep(nap);
            }
            self.round(EpollTimeout::from(LONGEST_WAIT))?;
            self.sweep();
            self.tell();
        }
        self.give_up_all();
        self.tell();
        self.client.workers.push(WorkerFacts {
            cpu_s: seconds(thread_cpu_ns() - cpu_ns),
            waited_s: waited
                .zip(host::thread_waited())
                .map(|(before, after)| seconds(after - before)),
            wall_s: seconds(monotonic_ns() - wall_ns),
        });
        self.client.clock_steps = self.time.steps();
        Ok(Yield {
            traces: self.traces,
            client: self.client,
            slots: self.slots,
        })
    }

    /// Sends what is due, as far as connections go.
    fn send_due(&mut self) {
        self.agenda.advance(monotonic_ns());
        while self.agenda.has_waiting() {
            let index = match self.idle.pop() {
                Some(index) => index,
                None if self.slots.len() < self.agenda.most_connections() => {
                    self.slots.push(Slot::new());
                    self.slots.len() - 1
                }
                None => return,
            };
            let Some(pending) = self.agenda.take_waiting() else {
                self.idle.push(index);
                return;
            };
            self.start(index, pending);
        }
    }

    /// Puts a request on an idle slot and sends it, or begins to connect first.
    fn start(&mut self, index: usize, pending: Pending) {
        let keep = self.share.target.keep;
        let exchange = Exchange::new(pending.index, pending.spec, pending.scheduled_ns, keep);
        self.slots[index].hold(Box::new(exchange));
        match self.slots[index].state {
            State::Open => self.send(index),
            State::Connecting => {}
            State::Closed => {
                self.client.late_connects += 1;
                if let Err(error) = self.begin_connect(index) {
                    let ended = self.slots[index].fail(monotonic_ns(), Failure::connect(&error));
                    self.finish(index, ended, monotonic_ns());
                }
            }
        }
    }

    fn send(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(exchange) = slot.exchange() else { return };
        let spec = &exchange.spec;
        let template = &self.share.target.template;
        template.render(
            &spec.prompt,
            spec.output_tokens,
            &mut self.body,
            &mut self.request,
        );
        let sent = slot.send(&self.request, monotonic_ns());
        self.after_send(index, sent, true);
    }

    fn after_send(&mut self, index: usize, sent: Result<(), Option<Box<Ended>>>, first: bool) {
        match sent {
            Ok(()) => {
                let blocked = self.slots[index].is_blocked();
                self.client.blocked_sends += u64::from(first && blocked);
                if first == blocked {
                    self.watch(index, blocked);
                }
            }
            Err(ended) => self.finish(index, ended, monotonic_ns()),
        }
    }

    fn begin_connect(&mut self, index: usize) -> io::Result<()> {
        let socket = Socket::begin(self.share.target.address, self.share.target.kernel_clock)?;
        let event = EpollEvent::new(EpollFlags::EPOLLOUT, index as u64);
        self.epoll.add(&socket, event)?;
        self.slots[index].connect(socket, monotonic_ns());
        Ok(())
    }

    /// Watches a slot for bytes, and for room where some is missing.
    fn watch(&mut self, index: usize, room: bool) {
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        flags.set(EpollFlags::EPOLLOUT, room);
        let mut event = EpollEvent::new(flags, index as u64);
        let modified = match &self.slots[index].socket {
            Some(socket) => self.epoll.modify(socket, &mut event),
            None => return,
        };
        if let Err(error) = modified {
            let failure = Failure::connect(&error.into());
            let ended = self.slots[index].fail(monotonic_ns(), failure);
            self.finish(index, ended, monotonic_ns());
        }
    }

    /// One look at the sockets.
    fn round(&mut self, timeout: EpollTimeout) -> Result<(), WorkerError> {
        let mut ready = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut ready, timeout) {
            Err(Errno::EINTR) => return Ok(()),
            other => other.map_err(system("wait for sockets"))?,
        };
        let now_ns = monotonic_ns();
        self.time.refresh(now_ns);
        let events = ready[..count].iter().filter(|event| event.data() != TIMER);
        let mut read = 0;
        for event in events {
            let Ok(index) = usize::try_from(event.data()) else {
                continue;
            };
            read += 1;
            self.attend(index, event.events());
        }
        self.lull.looked(now_ns, read);
        Ok(())
    }

    fn attend(&mut self, index: usize, flags: EpollFlags) {
        if self.slots[index].state == State::Connecting {
            self.connected(index);
            return;
        }
        if flags.contains(EpollFlags::EPOLLOUT) && self.slots[index].is_blocked() {
            let sent = self.slots[index].send_rest(monotonic_ns());
            self.after_send(index, sent, false);
        }
        loop {
            let (time, client) = (&self.time, &mut self.client);
            let read = self.slots[index].read(&mut self.buffer, |stamp| moment(stamp, time, client));
            match read {
                Read::More(true) => {}
                Read::More(false) => return,
                Read::ClosedIdle => {
                    self.client.closed_idle += 1;
                    return;
                }
                Read::Ended(ended, at_ns) => {
                    self.finish(index, Some(ended), at_ns);
                    return;
                }
            }
        }
    }

    /// A connection was set up, or was not.
    fn connected(&mut self, index: usize) {
        let now_ns = monotonic_ns();
        let slot = &mut self.slots[index];
        let outcome = match &slot.socket {
            Some(socket) => socket.connected(),
            None => return,
        };
        let took_ns = now_ns - slot.moved_ns;
        if let Err(error) = outcome {
            let ended = slot.fail(now_ns, Failure::connect(&error));
            self.finish(index, ended, now_ns);
            return;
        }
        slot.state = State::Open;
        self.client.connects_ns.push(took_ns);
        if let Some(exchange) = slot.exchange() {
            exchange.connected_after(took_ns);
        }
        self.watch(index, false);
        self.send(index);
    }

    /// Keeps what became of a request and sends the next on the same slot, if one is due.
    fn finish(&mut self, index: usize, ended: Option<Box<Ended>>, at_ns: u64) {
        let Some(ended) = ended else { return };
        let lost = ended
            .trace
            .failure
            .as_ref()
            .is_some_and(|failure| failure.class.suggests_server_loss());
        let not_before_ns = if lost { at_ns + BACK_OFF_NS } else { at_ns };
        self.count(&ended.trace);
        let answer = ended.trace.failure.is_none().then_some(ended.text.as_str());
        self.agenda.ended(&ended.spec, answer, at_ns, not_before_ns);
        self.traces.push(ended.trace);
        self.idle.push(index);
        // Only what was due before this moment: the rest of the round's sockets come first.
        self.agenda.advance(at_ns);
        if let Some(pending) = self.agenda.take_waiting()
            && let Some(index) = self.idle.pop()
        {
            self.start(index, pending);
        }
    }

    fn count(&self, trace: &Trace) {
        let counts = self.counts();
        let of = if trace.failure.is_none() {
            &counts.succeeded
        } else {
            &counts.failed
        };
        of.store(of.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let chunks = counts.chunks.load(Ordering::Relaxed) + u64::from(trace.arrivals.count());
        counts.chunks.store(chunks, Ordering::Relaxed);
    }

    fn counts(&self) -> &'a Counts {
        let counts = &self.share.watch.counts;
        &counts[self.share.worker % counts.len().max(1)]
    }

    fn tell(&self) {
        let busy = (self.slots.len() - self.idle.len()) as u64;
        self.counts().in_flight.store(busy, Ordering::Relaxed);
    }

    fn arm(&self, now_ns: u64) -> Result<(), WorkerError> {
        let set = match self.agenda.next_due() {
            None => self.timer.unset(),
            Some(due_ns) => {
                let at = TimeSpec::from(Duration::from_nanos(due_ns.max(now_ns).max(1)));
                self.timer
                    .set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
        };
        set.map_err(system("set a timer"))
    }

    /// Gives up requests of which nothing came for too long.
    fn sweep(&mut self) {
        let now_ns = monotonic_ns();
        let limits = self.share.target.limits;
        if now_ns.saturating_sub(self.swept_ns) < u64::from(LONGEST_WAIT) * 1_000_000 {
            return;
        }
        self.swept_ns = now_ns;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let limit = if slot.state == State::Connecting {
                limits.connect
            } else {
                limits.silence
            };
            let waited = Duration::from_nanos(now_ns.saturating_sub(slot.moved_ns));
            let awaited = slot.is_busy() || slot.state == State::Connecting;
            if awaited && waited > limit {
                let ended = slot.give_up(now_ns, waited.as_secs_f64());
                self.finish(index, ended, now_ns);
            }
        }
    }

    /// Ends what a stop left in flight.
    fn give_up_all(&mut self) {
        let now_ns = monotonic_ns();
        for slot in &mut self.slots {
            if slot.is_busy() {
                let failure = Failure::new(
                    FailureClass::Stopped,
                    "the run was stopped while it was in flight",
                );
                self.traces
                    .extend(slot.fail(now_ns, failure).map(|ended| ended.trace));
            }
        }
    }
}

/// When bytes came: by the kernel where it says so, else now.
fn moment(stamp_ns: Option<u64>, time: &Timebase, client: &mut ClientFacts) -> Moment {
    let now_ns = monotonic_ns();
    let Some(stamp_ns) = stamp_ns else {
        client.unstamped_reads += 1;
        return Moment {
            at_ns: now_ns,
            stamped: false,
        };
    };
    client.stamped_reads += 1;
    let at_ns = time.monotonic(stamp_ns).min(now_ns);
    client.lag_us.saturating_record((now_ns - at_ns) / 1000);
    Moment { at_ns, stamped: true }
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}
