//! The live display of a run: each event as it happens, on standard error.
//!
//! On a terminal one bar counts the trials and names what goes on, with a line above it for each trial that ended;
//! elsewhere, and always in CI, plain lines: one a boot phase, one a trial. A display that cannot write stays silent:
//! it never fails a run.

use std::{
    env,
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    Style, figure,
    style::Role,
    text::{clip, one_line, pad},
};
use crate::record::{BootFailed, Entry, Event, Outcome, RunFinished, SessionStarted, Verdict};

/// Columns of the longest verdict.
const VERDICT_WIDTH: usize = 12;
/// Time between two frames of the bar.
const FRAME: Duration = Duration::from_millis(120);
/// Variables that CI systems set (GitHub, GitLab, and most others; Jenkins).
const CI_VARIABLES: [&str; 2] = ["CI", "JENKINS_URL"];

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing but what is wrong.
    Quiet,
    /// Plain lines.
    Lines,
    /// A bar, with lines above it.
    Bar,
}

impl Mode {
    /// A bar on a terminal outside CI, plain lines elsewhere.
    pub fn of_stderr(quiet: bool) -> Self {
        let in_ci = CI_VARIABLES
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false"));
        match (quiet, console::user_attended_stderr() && !in_ci) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// Shows the events of one run.
pub struct Display {
    mode: Mode,
    style: Style,
    out: Box<dyn Write + Send>,
    bar: ProgressBar,
    planned: usize,
    finished: usize,
}

impl Display {
    /// A display on standard error.
    pub fn on_stderr(mode: Mode, style: Style) -> Self {
        let mut display = Self::to(Box::new(io::stderr()), mode, style);
        if mode == Mode::Bar {
            display.bar = bar();
        }
        display
    }

    /// A display that writes plain lines to `out`.
    fn to(out: Box<dyn Write + Send>, mode: Mode, style: Style) -> Self {
        Self {
            mode,
            style,
            out,
            bar: ProgressBar::hidden(),
            planned: 0,
            finished: 0,
        }
    }

    /// How many trials the run will have.
    pub fn planned(&mut self, trials: usize) {
        self.planned = trials;
        self.bar.set_length(trials as u64);
    }

    /// Shows one event.
    pub fn entry(&mut self, entry: &Entry) {
        match &entry.event {
            Event::RunStarted(run) => {
                if run.simulated {
                    self.line(
                        Role::Warning,
                        "SIMULATED: a simulator plays the hardware; nothing here is measured on hardware",
                    );
                }
                self.note(Role::Faint, &format!("run {}", run.run_id));
            }
            Event::SessionStarted(session) => self.session(session),
            Event::BootPhase(event) => {
                let phase = format!(
                    "{}: {} (after {})",
                    event.session,
                    event.phase,
                    figure::duration(event.after_s)
                );
                self.step(&phase);
            }
            Event::Booted(event) => {
                let line = format!("{}: booted in {}", event.session, figure::duration(event.boot_s));
                self.note(Role::Good, &line);
            }
            Event::BootFailed(event) => self.failure("did not boot", event),
            Event::ServerLost(event) => self.failure("was lost", event),
            Event::TrialStarted(event) => self.now(&event.trial),
            Event::CardSample(_)
            | Event::Request(_)
            | Event::Latency(_)
            | Event::Throughput(_)
            | Event::Drift(_)
            | Event::Grades(_) => {}
            Event::TrialFinished(event) => self.trial(&event.outcome),
            Event::SessionEnded(event) => {
                self.note(Role::Faint, &format!("{}: {}", event.session, event.exit));
            }
            Event::RunFinished(event) => self.end(event),
        }
    }

    /// Takes the bar off the screen; lines may be written to standard error afterwards.
    pub fn close(&mut self) {
        self.bar.finish_and_clear();
    }

    fn session(&mut self, session: &SessionStarted) {
        let clock = if session.simulated && session.clock != 1.0 {
            format!(", {} simulated seconds a second", session.clock)
        } else {
            String::new()
        };
        self.note(
            Role::Strong,
            &format!(
                "{}: {} ({}{clock})",
                session.session, session.about, session.target
            ),
        );
        self.now(&format!("{}: starting", session.session));
    }

    fn failure(&mut self, what: &str, failure: &BootFailed) {
        self.line(
            Role::Bad,
            &format!(
                "{}: the server {what} ({}): {}",
                failure.session, failure.class, failure.message
            ),
        );
    }

    fn trial(&mut self, outcome: &Outcome) {
        self.finished += 1;
        self.bar.inc(1);
        let failing = Role::of(outcome.verdict) == Role::Bad;
        if self.mode == Mode::Quiet && !failing {
            return;
        }
        let verdict = pad(outcome.verdict.as_str(), VERDICT_WIDTH);
        let detail = detail(outcome);
        let counter = match self.mode {
            Mode::Lines if self.planned > 0 => {
                let digits = self.planned.to_string().len();
                format!("[{:digits$}/{}] ", self.finished, self.planned)
            }
            _ => String::new(),
        };
        let room = self.style.width.saturating_sub(counter.len() + VERDICT_WIDTH + 1);
        let text = one_line(&format!("{}  {detail}", outcome.trial));
        let text = if self.mode == Mode::Bar {
            clip(&text, room).into_owned()
        } else {
            text
        };
        let verdict = self.style.paint(Role::of(outcome.verdict), &verdict).into_owned();
        self.write(&format!("{counter}{verdict} {text}"));
    }

    fn end(&mut self, run: &RunFinished) {
        self.close();
        if run.interrupted {
            self.line(Role::Warning, "interrupted: the reports are partial");
        }
    }

    /// A step that a bar shows in place and plain output as a line.
    fn step(&mut self, text: &str) {
        self.now(text);
        if self.mode == Mode::Lines {
            self.line(Role::Faint, text);
        }
    }

    /// What goes on now, on the bar.
    fn now(&self, text: &str) {
        self.bar.set_message(one_line(text));
    }

    /// A line that a quiet display leaves out.
    fn note(&mut self, role: Role, text: &str) {
        if self.mode != Mode::Quiet {
            self.line(role, text);
        }
    }

    fn line(&mut self, role: Role, text: &str) {
        let line = self.style.paint(role, &one_line(text)).into_owned();
        self.write(&line);
    }

    fn write(&mut self, line: &str) {
        let out = &mut self.out;
        // A closed standard error silences the display and nothing else.
        let written = self.bar.suspend(|| writeln!(out, "{line}"));
        if written.is_err() {
            self.bar.finish_and_clear();
            self.out = Box::new(io::sink());
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a trial's line says besides its name: its figure, or why it did not pass.
fn detail(outcome: &Outcome) -> String {
    if outcome.verdict != Verdict::Passed {
        return outcome.reason();
    }
    let figure = outcome.decisive_check().and_then(|check| {
        let measured = figure::measured(check)?;
        let limit = check
            .budget
            .as_ref()
            .map(|limit| format!(" ({})", figure::limit(limit)));
        Some(measured + &limit.unwrap_or_default())
    });
    figure.unwrap_or_default()
}

/// The bar, on standard error, drawn until it is closed.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The template is a constant of this file: where it does not parse, indicatif's own style serves.
    let style = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} {elapsed} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸─"));
    bar.enable_steady_tick(FRAME);
    bar
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::fixture::{self, Record};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(record: &Record, mode: Mode) -> String {
        let out = Shared::default();
        let mut display = Display::to(
            Box::new(out.clone()),
            mode,
            Style {
                colour: false,
                width: 80,
            },
        );
        let ends = |entry: &&Entry| matches!(entry.event, Event::TrialFinished(_));
        display.planned(record.entries().iter().filter(ends).count());
        record.entries().iter().for_each(|entry| display.entry(entry));
        drop(display);
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn shows_each_record_in_plain_lines() {
        for (name, record) in fixture::all() {
            let text = shown(&record, Mode::Lines);
            assert!(text.starts_with("SIMULATED: "), "{text}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            insta::assert_snapshot!(name, text);
        }
    }

    #[test]
    fn a_real_card_is_not_called_simulated() {
        assert!(!shown(&fixture::on_hardware(), Mode::Lines).contains("imulated"));
    }

    #[test]
    fn quiet_shows_what_is_wrong() {
        assert_eq!(shown(&fixture::passed(), Mode::Quiet).lines().count(), 1);
        insta::assert_snapshot!("quiet", shown(&fixture::mixed(), Mode::Quiet));
    }

    #[test]
    fn a_closed_stream_fails_nothing() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut display = Display::to(
            Box::new(Closed),
            Mode::Lines,
            Style {
                colour: false,
                width: 80,
            },
        );
        fixture::mixed()
            .entries()
            .iter()
            .for_each(|entry| display.entry(entry));
        assert_eq!(display.finished, 15);
    }
}
