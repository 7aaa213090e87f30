//! A TCP connection that tells when the kernel received what it hands over (`SO_TIMESTAMPNS`, socket(7)), so that a
//! time does not depend on when the client wakes. Of several segments that one read takes, the kernel tells the last.

use std::{
    io::{self, IoSliceMut, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, connect,
            recvmsg, setsockopt, socket, sockopt,
        },
        time::TimeSpec,
    },
};

/// Room for one read, and for what the kernel says of it.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl Buffer {
    /// Room for `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            control: cmsg_space!(TimeSpec),
        }
    }

    /// The first bytes.
    pub fn filled(&self, count: usize) -> &[u8] {
        &self.bytes[..count]
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Bytes, when the kernel received the last of them (real-time clock, where it says), and whether more may wait.
    Bytes {
        /// How many.
        count: usize,
        /// When.
        stamp_ns: Option<u64>,
        /// Whether the buffer is full.
        full: bool,
    },
    /// The peer closed.
    Closed,
    /// Nothing has come.
    Nothing,
}

/// A connection that never blocks.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Begins to connect, with or without the kernel's stamps; the socket becomes writable when that has ended, and [`Self::connected`] tells how.
    pub fn begin(address: SocketAddr, stamps: bool) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        if stamps {
            // Where there are none, the user's clock is used, and the run says so.
            setsockopt(&fd, sockopt::ReceiveTimestampns, &true).unwrap_or_default();
        }
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Self(fd.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// How connecting ended.
    pub fn connected(&self) -> io::Result<()> {
        self.0.take_error()?.map_or(Ok(()), Err)
    }

    /// Sends as much as there is room for.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                other => return other,
            }
        }
    }

    /// Reads once.
    pub fn receive(&self, buffer: &mut Buffer) -> io::Result<Received> {
        let room = buffer.bytes.len();
        let mut slices = [IoSliceMut::new(&mut buffer.bytes)];
        let read = recvmsg::<()>(
            self.0.as_raw_fd(),
            &mut slices,
            Some(&mut buffer.control),
            MsgFlags::empty(),
        );
        match read {
            Ok(message) if message.bytes == 0 => Ok(Received::Closed),
            Ok(message) => Ok(Received::Bytes {
                count: message.bytes,
                stamp_ns: message
                    .cmsgs()
                    .ok()
                    .and_then(|mut all| all.find_map(|one| stamp_ns(&one))),
                full: message.bytes == room,
            }),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn stamp_ns(message: &ControlMessageOwned) -> Option<u64> {
    match message {
        ControlMessageOwned::ScmTimestampns(time) => u64::try_from(Duration::from(*time).as_nanos()).ok(),
        _ => None,
    }
}
