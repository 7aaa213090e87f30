//! How far a measurement is, while it goes on.

use std::io::{self, IsTerminal};

use crate::{cli::say, load::Tick, report::Style};

/// A line a second on a terminal, over itself; every tenth second elsewhere.
pub struct Progress {
    quiet: bool,
    terminal: bool,
    ticks: u64,
    style: Style,
}

impl Progress {
    /// On standard error.
    pub fn new(quiet: bool, style: Style) -> Self {
        Self {
            quiet,
            terminal: io::stderr().is_terminal(),
            ticks: 0,
            style,
        }
    }

    /// Shows a look.
    pub fn tick(&mut self, tick: &Tick<'_>) {
        self.ticks += 1;
        // The first look comes at once, when there is nothing to tell.
        if self.quiet || tick.elapsed_s < 0.5 || (!self.terminal && !self.ticks.is_multiple_of(10)) {
            return;
        }
        let [succeeded, failed, in_flight, chunks] = tick.totals;
        let line = format!(
            "{}: {:.0} s, {succeeded} answered, {failed} failed, {in_flight} in flight, {chunks} chunks",
            tick.phase, tick.elapsed_s
        );
        let line = if self.terminal {
            format!(
                "\r{}\u{1b}[K",
                line.chars().take(self.style.width).collect::<String>()
            )
        } else {
            line + "\n"
        };
        // A closed standard error silences the display and nothing else.
        drop(say(&line));
    }

    /// Leaves the line empty.
    pub fn close(&self) {
        if self.terminal && !self.quiet {
            drop(say("\r\u{1b}[K"));
        }
    }
}
