//! The truth about timing, for those who measure: when each request arrived and when each token left.
//!
//! `--sim-truth FILE` appends one JSON object a line, with nanoseconds of a monotonic clock that starts with
//! the process: `{"event":"arrived"|"token","id":…,"index":…,"n":…,"ns":…}`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::clock::Clock;

/// A writer, or nothing.
#[derive(Debug, Default)]
pub struct Truth(Option<BufWriter<File>>);

impl Truth {
    /// Appends to a file, if there is one.
    pub fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path));
        Ok(Self(file.transpose()?.map(BufWriter::new)))
    }

    fn write(&mut self, event: &str, id: &str, index: usize, number: usize, clock: &Clock) {
        let ns = clock.real_ns();
        if let Some(file) = &mut self.0 {
            let line = format!(
                "{{\"event\":\"{event}\",\"id\":\"{id}\",\"index\":{index},\"n\":{number},\"ns\":{ns}}}\n"
            );
            // A full disk must not end a server; the reader sees that lines are missing.
            drop(file.write_all(line.as_bytes()));
        }
    }

    /// A request arrived.
    pub fn arrived(&mut self, id: &str, index: usize, clock: &Clock) {
        self.write("arrived", id, index, 0, clock);
    }

    /// The `number`th token left.
    pub fn token(&mut self, id: &str, index: usize, number: usize, clock: &Clock) {
        self.write("token", id, index, number, clock);
    }

    /// Makes what was written visible.
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.0 {
            drop(file.flush());
        }
    }
}
