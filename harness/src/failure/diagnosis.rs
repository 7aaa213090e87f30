//! Finds the cause of a failure in a log and an exit state; `mod.rs` says in which order.

use super::{
    ExitState, Failure, FailureClass, Look, Rule,
    exception::{self, Exception, is_telling},
    rules,
};
use crate::vllm::{
    Phase, Reader,
    log_line::{self, Level, LogLine},
};

/// How many of the log's last lines a failure keeps.
pub(super) const LAST_LINES: usize = 20;
/// Most lines of evidence.
const EVIDENCE_LINES: usize = 8;
/// Longest line that is kept, in characters.
const LINE_CHARS: usize = 600;

/// A log, taken apart.
pub(super) struct Log {
    lines: Vec<LogLine>,
    exceptions: Vec<Exception>,
    /// Phase that the boot had reached.
    phase: Option<Phase>,
    last_lines: Vec<String>,
}

impl Log {
    pub(super) fn read(raw: &[String], exit: &ExitState) -> Self {
        let mut reader = Reader::new();
        let mut lines = Vec::new();
        let mut served_at = None;
        for raw in raw {
            let boots = reader.boots();
            let phase = reader.feed(raw);
            if reader.boots() > boots && boots > 0 {
                // Another start: what came before ended otherwise.
                lines.clear();
                served_at = None;
            }
            lines.extend(log_line::read(raw));
            if phase == Some(Phase::Serving) {
                served_at = Some(lines.len());
            }
        }
        if let ExitState::NeverStarted(message) = exit {
            lines.extend(message.lines().flat_map(log_line::read));
        }
        let shown = |line: &&LogLine| !line.text.trim().is_empty();
        let first = lines.iter().filter(shown).count().saturating_sub(LAST_LINES);
        let last_lines = lines.iter().filter(shown).skip(first).map(|line| {
            let mut text = line.text.trim_end().to_owned();
            shorten(&mut text);
            text
        });
        let last_lines = last_lines.collect();
        let mut exceptions = exception::find(&lines);
        if let Some(served_at) = served_at {
            // Requests fail without harm while a server serves. What ended it follows the fatal record, or is last.
            let fatal = lines[served_at..]
                .iter()
                .position(is_fatal)
                .map_or(usize::MAX, |at| served_at + at);
            let last = exceptions.last().map_or(0, |exception| exception.at);
            exceptions.retain(|exception| exception.at >= fatal.min(last));
        }
        let phase = reader.facts().phases.last().map(|seen| seen.phase);
        Self {
            lines,
            exceptions,
            phase,
            last_lines,
        }
    }

    /// The cause, with its evidence.
    pub(super) fn cause(&self, exit: &ExitState) -> Failure {
        trimmed(self.diagnosis(exit))
    }

    /// The cause, as far as the log alone shows one.
    pub(super) fn shown_cause(&self) -> Option<Failure> {
        let rules = match rules::table() {
            Ok(rules) => rules,
            Err(error) => {
                let message = format!("the table of failures cannot be read: {error}");
                return Some(self.unknown(&ExitState::Gone, message));
            }
        };
        if self.phase == Some(Phase::Serving) && !self.tells_of_an_end(rules) {
            return None;
        }
        let found = self
            .known_exception(rules)
            .or_else(|| self.known_line(rules, Look::Line))
            .or_else(|| self.symptom(rules))
            .or_else(|| {
                self.silence(rules, &ExitState::Running)
                    .filter(|failure| failure.rule.is_some())
            })
            .or_else(|| {
                let message = "the log holds an exception that no rule knows".to_owned();
                (!self.exceptions.is_empty()).then(|| self.unknown(&ExitState::Gone, message))
            });
        found.map(trimmed)
    }

    /// Whether a line says that the engine or a worker ended.
    pub(super) fn tells_of_an_end(&self, rules: &[Rule]) -> bool {
        let is_symptom = |line: &LogLine| {
            let mut symptoms = rules.iter().filter(|rule| rule.look == Look::Symptom);
            is_telling(line) && symptoms.any(|rule| rule.matches(&line.text))
        };
        self.lines.iter().any(|line| is_fatal(line) || is_symptom(line))
    }

    fn diagnosis(&self, exit: &ExitState) -> Failure {
        let rules = match rules::table() {
            Ok(rules) => rules,
            Err(error) => {
                return self.unknown(exit, format!("the table of failures cannot be read: {error}"));
            }
        };
        if *exit == ExitState::OomKilled {
            let message = "the system killed the server because it passed its memory limit";
            return self.without_rule(
                FailureClass::KilledByMemoryLimit,
                self.with_phase(message),
                "raise the container's memory limit; reading weights takes host memory too",
            );
        }
        self.known_exception(rules)
            .or_else(|| self.known_line(rules, Look::Line))
            .or_else(|| self.symptom(rules))
            .or_else(|| self.silence(rules, exit))
            .or_else(|| self.exit(exit))
            .unwrap_or_else(|| {
                self.unknown(
                    exit,
                    format!("the server failed ({exit}) in a way that no rule knows"),
                )
            })
    }

    fn known_exception(&self, rules: &[Rule]) -> Option<Failure> {
        self.exceptions.iter().find_map(|exception| {
            // A line that is known is known in an exception too: what comes first in the log is the cause.
            let rule = rules.iter().find(|rule| {
                matches!(rule.look, Look::Exception | Look::Line)
                    && exception.lines.iter().any(|line| rule.matches(line))
            })?;
            Some(self.by_rule(rule, exception.lines.clone()))
        })
    }

    fn known_line(&self, rules: &[Rule], look: Look) -> Option<Failure> {
        rules.iter().filter(|rule| rule.look == look).find_map(|rule| {
            let line = self
                .lines
                .iter()
                .find(|line| is_telling(line) && rule.matches(&line.text))?;
            Some(self.by_rule(rule, vec![line.text.trim().to_owned()]))
        })
    }

    /// A symptom explains the end of a server that served, and of one whose log holds no exception beside the
    /// symptom's own. A boot that ended with an exception that no rule knows is unknown.
    fn symptom(&self, rules: &[Rule]) -> Option<Failure> {
        let symptoms = || rules.iter().filter(|rule| rule.look == Look::Symptom);
        let unexplained = self
            .exceptions
            .iter()
            .find(|exception| !symptoms().any(|rule| exception.lines.iter().any(|line| rule.matches(line))));
        if unexplained.is_some() && self.phase != Some(Phase::Serving) {
            return None;
        }
        let mut failure = self.known_line(rules, Look::Symptom)?;
        failure.evidence.extend(
            unexplained
                .into_iter()
                .flat_map(|exception| exception.lines.clone()),
        );
        Some(failure)
    }

    /// A server that still runs did not answer in time.
    fn silence(&self, rules: &[Rule], exit: &ExitState) -> Option<Failure> {
        if *exit != ExitState::Running || !self.exceptions.is_empty() {
            return None;
        }
        let found = rules
            .iter()
            .filter(|rule| rule.look == Look::Silence)
            .find_map(|rule| {
                let is_out = |line: &LogLine| rule.unless.iter().any(|pattern| pattern.is_in(&line.text));
                let line = self.lines.iter().find(|line| rule.matches(&line.text))?;
                (!self.lines.iter().any(is_out))
                    .then(|| self.by_rule(rule, vec![line.text.trim().to_owned()]))
            });
        let message = match self.phase {
            Some(Phase::Serving) => "the server runs and stopped answering".to_owned(),
            Some(phase) => format!("the server runs and did not get beyond `{phase}` in time"),
            None => "the server runs and printed nothing".to_owned(),
        };
        let advice = "give it more time (boot_timeout), or look at what the last lines wait for";
        found.or_else(|| Some(self.without_rule(FailureClass::BootTimeout, message, advice)))
    }

    /// What the way of ending alone tells.
    fn exit(&self, exit: &ExitState) -> Option<Failure> {
        if !self.exceptions.is_empty() {
            return None;
        }
        let (class, advice) = match exit.signal()? {
            9 => (
                FailureClass::Killed,
                "look at the kernel log of the host (dmesg), which tells of a host out of memory, and at who else \
                 ends servers here (docker events)",
            ),
            2 | 15 => (
                FailureClass::StoppedFromOutside,
                "find out who stopped it: another user, a clean-up job, a limit",
            ),
            7 => (
                FailureClass::Crashed,
                "raise shm_size in the stack: a bus error often means full shared memory",
            ),
            _ => (
                FailureClass::Crashed,
                "look at the kernel log of the host (dmesg); check that driver and image fit",
            ),
        };
        Some(self.without_rule(
            class,
            format!("the server ended by {exit}, and its log does not say why"),
            advice,
        ))
    }

    fn by_rule(&self, rule: &Rule, mut evidence: Vec<String>) -> Failure {
        let also = self
            .lines
            .iter()
            .filter(|line| rule.also.iter().any(|pattern| pattern.is_in(&line.text)));
        evidence.extend(also.map(|line| line.text.trim().to_owned()).take(2));
        let message = if rule.class == FailureClass::OutOfMemory {
            self.with_phase(&rule.meaning)
        } else {
            rule.meaning.clone()
        };
        Failure {
            class: rule.class,
            rule: Some(rule.id.clone()),
            message,
            evidence,
            advice: rule.advice.clone(),
            last_lines: self.last_lines.clone(),
        }
    }

    /// Memory is asked for phase by phase, so the phase says what took it.
    fn with_phase(&self, message: &str) -> String {
        self.phase.map_or_else(
            || message.to_owned(),
            |phase| format!("{message} (last phase begun: {phase})"),
        )
    }

    fn without_rule(&self, class: FailureClass, message: String, advice: &str) -> Failure {
        Failure {
            class,
            rule: None,
            message,
            evidence: self.last_errors(),
            advice: advice.to_owned(),
            last_lines: self.last_lines.clone(),
        }
    }

    fn unknown(&self, exit: &ExitState, message: String) -> Failure {
        let advice = match exit {
            ExitState::Exited(0) => "a server that ends by itself with 0 was told to: check its command",
            _ => "read the log from its first error on; set VLLM_LOGGING_LEVEL=DEBUG and boot again",
        };
        self.without_rule(FailureClass::Unknown, message, advice)
    }

    /// The first exception, and the last error records; where there is none, what was printed last.
    fn last_errors(&self) -> Vec<String> {
        let mut shown: Vec<String> = self
            .exceptions
            .first()
            .map(|first| first.lines.clone())
            .unwrap_or_default();
        let is_error = |line: &&LogLine| line.head.as_ref().is_some_and(|head| head.level >= Level::Error);
        let is_message = |line: &&LogLine| !line.text.starts_with(' ') && !line.text.trim().is_empty();
        let errors: Vec<&LogLine> = self.lines.iter().filter(is_error).filter(is_message).collect();
        let newest = errors
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(|line| line.text.trim().to_owned());
        shown.extend(newest.filter(|line| {
            self.exceptions
                .iter()
                .all(|exception| exception.lines[0] != *line)
        }));
        if shown.is_empty() {
            shown.extend(self.last_lines.last().cloned());
        }
        shown
    }
}

/// The rule that knows one of these lines of a message, which has no place in a log.
pub(super) fn known_text(lines: &[String]) -> Option<Failure> {
    let rules = rules::table().ok()?;
    let known = |rule: &&Rule| {
        matches!(rule.look, Look::Exception | Look::Line) && lines.iter().any(|line| rule.matches(line))
    };
    let rule = rules.iter().find(known)?;
    Some(trimmed(Failure {
        class: rule.class,
        rule: Some(rule.id.clone()),
        message: rule.meaning.clone(),
        evidence: lines.to_vec(),
        advice: rule.advice.clone(),
        last_lines: Vec::new(),
    }))
}

impl Rule {
    fn matches(&self, line: &str) -> bool {
        self.any.iter().any(|pattern| pattern.is_in(line))
    }
}

/// Whether a record says that the engine or a worker is about to end.
fn is_fatal(line: &LogLine) -> bool {
    const FATAL: [&str; 4] = [
        "EngineCore encountered a fatal error",
        "WorkerProc hit an exception",
        "AsyncLLM output_handler failed",
        "died unexpectedly",
    ];
    is_telling(line) && FATAL.iter().any(|text| line.text.contains(text))
}

fn trimmed(mut failure: Failure) -> Failure {
    failure.evidence.dedup();
    failure.evidence.truncate(EVIDENCE_LINES);
    failure.evidence.iter_mut().for_each(shorten);
    failure
}

fn shorten(line: &mut String) {
    // What pydantic appends says nothing of the mistake.
    if let Some(at) = line.find(" [type=value_error, input_value=") {
        line.truncate(at);
    }
    if let Some((end, _)) = line.char_indices().nth(LINE_CHARS) {
        line.truncate(end);
        line.push('…');
    }
}
