//! A slot holds one connection and at most one request on it.

use std::io;

use super::{
    exchange::{Ended, Exchange},
    http::Decoder,
    socket::{Buffer, Received, Socket},
};
use crate::load::{Failure, FailureClass};

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Closed,
    /// It is being set up.
    Connecting,
    /// It is there.
    Open,
}

/// One connection, and the request on it.
#[derive(Debug)]
pub struct Slot {
    /// Where the connection is.
    pub state: State,
    pub(super) socket: Option<Socket>,
    decoder: Decoder,
    exchange: Option<Box<Exchange>>,
    /// Bytes of the request that the socket had no room for.
    unsent: Vec<u8>,
    /// When something last went forward.
    pub moved_ns: u64,
}

/// What a read led to.
#[derive(Debug)]
pub enum Read {
    /// Nothing ended; whether more may wait.
    More(bool),
    /// The request ended at that moment. The connection is open if it can be used again.
    Ended(Box<Ended>, u64),
    /// An idle connection was closed.
    ClosedIdle,
}

impl Read {
    fn ended(request: Option<Box<Ended>>, moment: Moment) -> Self {
        request.map_or(Self::More(false), |request| Self::Ended(request, moment.at_ns))
    }
}

/// When bytes came, and by which clock.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// Whether the kernel says so.
    pub stamped: bool,
}

impl Slot {
    /// Without connection.
    pub fn new() -> Self {
        Self {
            state: State::Closed,
            socket: None,
            decoder: Decoder::default(),
            exchange: None,
            unsent: Vec::new(),
            moved_ns: 0,
        }
    }

    /// Whether a request is on it.
    pub const fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// Whether part of a request waits for room.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Begins to set up a connection.
    pub fn connect(&mut self, socket: Socket, now_ns: u64) {
        self.socket = Some(socket);
        self.state = State::Connecting;
        self.decoder = Decoder::default();
        self.moved_ns = now_ns;
    }

    /// Puts a request on it, to be sent once it is connected.
    pub fn hold(&mut self, exchange: Box<Exchange>) {
        self.exchange = Some(exchange);
    }

    /// The request that is on it.
    pub fn exchange(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_deref_mut()
    }

    /// Sends the request that is held. An error ends it.
    pub fn send(&mut self, bytes: &[u8], now_ns: u64) -> Result<(), Option<Box<Ended>>> {
        self.decoder = Decoder::default();
        self.moved_ns = now_ns;
        if let Some(exchange) = self.exchange.as_mut() {
            exchange.sent(now_ns);
        }
        match self.write(bytes) {
            Ok(count) => {
                self.unsent.extend_from_slice(&bytes[count..]);
                Ok(())
            }
            Err(error) => Err(self.break_off(now_ns, &error.to_string())),
        }
    }

    /// Sends what had no room.
    pub fn send_rest(&mut self, now_ns: u64) -> Result<(), Option<Box<Ended>>> {
        let unsent = std::mem::take(&mut self.unsent);
        match self.write(&unsent) {
            Ok(count) => {
                self.moved_ns = now_ns;
                self.unsent.extend_from_slice(&unsent[count..]);
                if self.unsent.is_empty()
                    && let Some(exchange) = self.exchange.as_mut()
                {
                    exchange.unblocked(now_ns);
                }
                Ok(())
            }
            Err(error) => Err(self.break_off(now_ns, &error.to_string())),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.as_mut() {
            Some(socket) => socket.send(bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Reads once; `when` turns the kernel's stamp into the moment of the bytes.
    pub fn read(&mut self, buffer: &mut Buffer, when: impl FnOnce(Option<u64>) -> Moment) -> Read {
        let Some(socket) = self.socket.as_ref() else {
            return Read::More(false);
        };
        match socket.receive(buffer) {
            Ok(Received::Nothing) => Read::More(false),
            Ok(Received::Bytes {
                count,
                stamp_ns,
                full,
            }) => {
                let moment = when(stamp_ns);
                self.take(buffer.filled(count), moment, full)
            }
            Ok(Received::Closed) => self.ended_by_peer(when(None), "end of the connection"),
            Err(error) => self.ended_by_peer(when(None), &error.to_string()),
        }
    }

    fn take(&mut self, bytes: &[u8], moment: Moment, full: bool) -> Read {
        self.moved_ns = moment.at_ns;
        let Some(exchange) = self.exchange.as_mut() else {
            // Bytes that nobody asked for: whatever they are, the next answer must not begin with them.
            self.drop_connection();
            return Read::ClosedIdle;
        };
        if let Err(failure) = exchange.take(&mut self.decoder, bytes, moment.at_ns, moment.stamped) {
            return Read::ended(self.fail(moment.at_ns, failure), moment);
        }
        if !self.decoder.is_done() {
            return Read::More(full);
        }
        self.complete(moment.at_ns)
    }

    fn complete(&mut self, at_ns: u64) -> Read {
        let Some(exchange) = self.exchange.take() else {
            return Read::More(false);
        };
        if exchange.closes() || self.is_blocked() {
            self.drop_connection();
        }
        Read::Ended(Box::new(exchange.end(at_ns)), at_ns)
    }

    fn ended_by_peer(&mut self, moment: Moment, cause: &str) -> Read {
        if !self.is_busy() {
            self.drop_connection();
            return Read::ClosedIdle;
        }
        if self.decoder.close() {
            return self.complete(moment.at_ns);
        }
        Read::ended(self.break_off(moment.at_ns, cause), moment)
    }

    /// Ends the request, whose connection broke.
    fn break_off(&mut self, now_ns: u64, cause: &str) -> Option<Box<Ended>> {
        self.drop_connection();
        let exchange = self.exchange.take()?;
        Some(Box::new(exchange.broken(now_ns, cause)))
    }

    /// Ends the request as a failure; the connection is of no further use.
    pub fn fail(&mut self, now_ns: u64, failure: Failure) -> Option<Box<Ended>> {
        self.drop_connection();
        let exchange = self.exchange.take()?;
        Some(Box::new(exchange.failed(now_ns, failure)))
    }

    /// Gives up what has gone on for too long: a request, and a connection that is not set up.
    pub fn give_up(&mut self, now_ns: u64, waited_s: f64) -> Option<Box<Ended>> {
        let failure = if self.state == State::Connecting {
            Failure::new(
                FailureClass::Unreachable,
                format!("no connection within {waited_s:.0} s"),
            )
        } else {
            Failure::new(FailureClass::Silent, format!("nothing came for {waited_s:.0} s"))
        };
        self.fail(now_ns, failure)
    }

    /// Closes the connection; the descriptor leaves the epoll set with it.
    pub fn drop_connection(&mut self) {
        self.socket = None;
        self.state = State::Closed;
        self.unsent.clear();
    }
}
