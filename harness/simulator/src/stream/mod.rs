//! The plain stream server: no engine, no logs, only server-sent events at an exact pace and the truth about them.
//!
//! `simulator stream` is what load clients are measured against. One thread writes 150,000 events a second and more,
//! each as vLLM's API server writes it (one JSON object an event, one event an HTTP chunk, the role first, usage and
//! `[DONE]` last), and keeps when each request had arrived (the kernel's time stamp of its last byte) and when each
//! token left (the clock before the write). `GET /truth` tells them: one JSON object a request and line, nanoseconds of
//! the real-time clock: `{"id":…,"arrived_ns":…,"read_ns":…,"tokens_ns":[…]}`. The id is the number after the first `"q`
//! of the request (`"q17 some prompt"`), so that any client can be matched with the truth; without one it is `null`.

mod connection;
mod events;
mod options;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, listen};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use nix::time::clock_gettime;

use connection::{Connection, Input, Written};
use events::Events;

pub use options::StreamOptions;

/// Epoll data of the listening socket and of the timer; connections count from 0.
const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
/// Writes between two looks at the sockets when events leave as fast as possible.
const WRITES_A_ROUND: usize = 64;

/// What is known of one request.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    id: Option<u64>,
    arrived_ns: u64,
    read_ns: u64,
    tokens_ns: Vec<u64>,
}

/// Serves until the process is killed.
pub fn run(options: &StreamOptions) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
    // The standard library listens with a queue of 128, which thousands of clients that connect at once overflow.
    listen(&listener, Backlog::MAXCONN)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
    epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
    let mut server = Server {
        events: Events::new(options.events_per_write),
        options: *options,
        listener,
        epoll,
        timer,
        connections: Vec::new(),
        free: Vec::new(),
        due: BinaryHeap::new(),
        eager: VecDeque::new(),
        truth: Vec::new(),
        buffer: vec![0; 64 * 1024],
    };
    server.serve()
}

struct Server {
    options: StreamOptions,
    events: Events,
    listener: TcpListener,
    epoll: Epoll,
    timer: TimerFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When connections write next, on the monotonic clock.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Connections that write as fast as they can.
    eager: VecDeque<usize>,
    truth: Vec<Truth>,
    buffer: Vec<u8>,
}

impl Server {
    fn serve(&mut self) -> io::Result<()> {
        let mut ready = vec![EpollEvent::empty(); 1024];
        loop {
            let timeout = if self.eager.is_empty() {
                EpollTimeout::NONE
            } else {
                EpollTimeout::ZERO
            };
            self.arm()?;
            let count = match self.epoll.wait(&mut ready, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            for event in &ready[..count] {
                match event.data() {
                    LISTENER => self.accept(),
                    TIMER => {}
                    slot => self.attend(usize::try_from(slot).unwrap_or(usize::MAX), event.events()),
                }
            }
            self.write_due();
            for _ in 0..WRITES_A_ROUND {
                let Some(slot) = self.eager.pop_front() else { break };
                self.write(slot);
            }
        }
    }

    fn arm(&self) -> io::Result<()> {
        match self.due.peek() {
            None => self.timer.unset()?,
            Some(Reverse((at, _))) => {
                let at = TimeSpec::from(Duration::from_nanos((*at).max(1)));
                self.timer
                    .set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        // Whatever ends the loop (no more clients, no more descriptors), the listener stays ready for the next look.
        while let Ok((stream, _)) = self.listener.accept() {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let made = Connection::new(stream);
            let added = made.and_then(|connection| {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
                self.epoll.add(connection.stream(), event)?;
                Ok(connection)
            });
            match added {
                Ok(connection) => self.connections[slot] = Some(connection),
                Err(_) => self.free.push(slot),
            }
        }
    }

    /// Reads what came and goes on writing where the client took what was left.
    fn attend(&mut self, slot: usize, flags: EpollFlags) {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.write(slot);
        }
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        match connection.read(&mut self.buffer) {
            Input::Nothing => {}
            Input::Closed => self.close(slot),
            Input::Truth => {
                let text = self.truth.iter().map(Truth::line).collect::<String>();
                connection.reply(&Events::plain("application/json", &text));
                self.flush(slot);
            }
            Input::Other(path) => {
                connection.reply(&Events::other(&path));
                self.flush(slot);
            }
            Input::Generate(asked) => {
                let record = self.truth.len();
                self.truth.push(Truth {
                    id: asked.id,
                    arrived_ns: asked.arrived_ns.unwrap_or(asked.read_ns),
                    read_ns: asked.read_ns,
                    tokens_ns: Vec::with_capacity(asked.tokens as usize),
                });
                let ttft = monotonic_ns() + self.options.ttft_ns;
                connection.begin(&asked, record, ttft);
                connection.reply(self.events.head());
                self.flush(slot);
                self.schedule(slot);
            }
        }
    }

    /// Puts a connection where its next write is looked for.
    fn schedule(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        match connection.next_due() {
            Some(at) if at > monotonic_ns() => self.due.push(Reverse((at, slot))),
            Some(_) => self.eager.push_back(slot),
            None => {}
        }
    }

    fn write_due(&mut self) {
        let now = monotonic_ns();
        while let Some(Reverse((at, slot))) = self.due.peek().copied() {
            if at > now {
                return;
            }
            self.due.pop();
            self.write(slot);
        }
    }

    /// The next events of a connection, if the client has taken those before.
    fn write(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        if connection.is_blocked() {
            self.flush(slot);
            return;
        }
        let step = connection.write_next(&self.events, &self.options, &mut self.truth);
        self.settle(slot, step);
        self.schedule(slot);
    }

    fn flush(&mut self, slot: usize) {
        if let Some(connection) = self.connections[slot].as_mut() {
            let step = connection.flush();
            let resumed = connection.was_waiting() && step == Written::All;
            self.settle(slot, step);
            if resumed {
                self.schedule(slot);
            }
        }
    }

    /// Watches for room where some is missing, and closes what broke.
    fn settle(&mut self, slot: usize, step: Written) {
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        let watch = step == Written::Part;
        if step == Written::Broken {
            self.close(slot);
        } else if connection.set_waiting(watch) != watch {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, watch);
            let mut event = EpollEvent::new(flags, slot as u64);
            if self.epoll.modify(connection.stream(), &mut event).is_err() {
                self.close(slot);
            }
        }
    }

    fn close(&mut self, slot: usize) {
        // The descriptor leaves the epoll set as it is closed.
        if self.connections[slot].take().is_some() {
            self.due.retain(|Reverse((_, other))| *other != slot);
            self.eager.retain(|other| *other != slot);
            self.free.push(slot);
        }
    }
}

impl Truth {
    fn line(&self) -> String {
        let id = self.id.map_or_else(|| "null".to_owned(), |id| id.to_string());
        let tokens: Vec<String> = self.tokens_ns.iter().map(u64::to_string).collect();
        format!(
            "{{\"id\":{id},\"arrived_ns\":{},\"read_ns\":{},\"tokens_ns\":[{}]}}\n",
            self.arrived_ns,
            self.read_ns,
            tokens.join(",")
        )
    }
}

fn clock_ns(clock: nix::time::ClockId) -> u64 {
    // Neither clock can fail, nor be before its epoch.
    let now = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn monotonic_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_MONOTONIC)
}

/// The clock of the kernel's time stamps.
fn real_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_REALTIME)
}
