//! Tests against the real process: it is started on a free loopback port and spoken to over HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod faults;
mod generation;
mod logs;
mod server;
mod shapes;
mod timing;
