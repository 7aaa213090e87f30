//! Exceptions in a log: the line that ends a traceback, with the lines that continue its message.
//!
//! Processes are told apart, so that tracebacks written at the same time do not mix. Warnings are left out: libraries
//! quote exceptions in them that they have dealt with.

use std::{collections::BTreeSet, sync::Arc};

use crate::vllm::log_line::{Level, LogLine};

/// Most lines of one message that are kept.
const MAX_LINES: usize = 6;

/// An exception as it was printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    /// Index of its first line in the log.
    pub(super) at: usize,
    /// Type and message, then the message's further lines.
    pub(super) lines: Vec<String>,
}

/// The exceptions in the order in which they were printed.
pub(super) fn find(log: &[LogLine]) -> Vec<Exception> {
    let mut in_traceback: BTreeSet<Option<Arc<str>>> = BTreeSet::new();
    let mut exceptions = Vec::new();
    for (at, line) in log.iter().enumerate() {
        if !is_telling(line) {
            continue;
        }
        if line.text.starts_with("Traceback (most recent call last)") {
            in_traceback.insert(line.process.clone());
        } else if is_exception(&line.text, in_traceback.contains(&line.process)) {
            in_traceback.remove(&line.process);
            exceptions.push(Exception {
                at,
                lines: message(log, at),
            });
        }
    }
    exceptions
}

/// Whether a line can tell of a failure: an error record, or output without a head.
pub(super) fn is_telling(line: &LogLine) -> bool {
    line.head.as_ref().is_none_or(|head| head.level >= Level::Error)
}

/// `package.TypeError: message`, or a type alone. Within a traceback any type's name will do; elsewhere it must end
/// like one.
fn is_exception(text: &str, in_traceback: bool) -> bool {
    let name = text.split(':').next().unwrap_or_default();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
    is_name && (in_traceback || name.ends_with("Error") || name.ends_with("Exception"))
}

/// The exception's line and those of the same process that continue it.
fn message(log: &[LogLine], at: usize) -> Vec<String> {
    let process = &log[at].process;
    let has_head = log[at].head.is_some();
    let following = log[at + 1..].iter().filter(|line| line.process == *process);
    let continued = following.take_while(|line| {
        line.head.is_some() == has_head
            && !line.text.trim().is_empty()
            && ![
                "Traceback",
                "During handling of",
                "The above exception",
                "INFO: ",
                "ERROR: ",
                "Process ",
            ]
            .iter()
            .any(|start| line.text.starts_with(start))
            && !is_exception(&line.text, false)
    });
    std::iter::once(&log[at])
        .chain(continued.take(MAX_LINES - 1))
        .map(|line| line.text.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vllm::log_line;

    fn firsts(text: &str) -> Vec<String> {
        let log: Vec<LogLine> = text.lines().flat_map(log_line::read).collect();
        find(&log)
            .into_iter()
            .map(|exception| exception.lines.join(" | "))
            .collect()
    }

    #[test]
    fn tracebacks_of_several_processes_do_not_mix() {
        let text = "(Worker_TP0 pid=1) ERROR 11-24 03:34:14 [a.py:1] Traceback (most recent call last):\n\
                    (Worker_TP1 pid=2) ERROR 11-24 03:34:14 [a.py:1] Traceback (most recent call last):\n\
                    (Worker_TP0 pid=1) ERROR 11-24 03:34:14 [a.py:1]   File \"x.py\", line 1, in f\n\
                    (Worker_TP1 pid=2) ERROR 11-24 03:34:14 [a.py:1] queue.Empty\n\
                    (Worker_TP0 pid=1) ERROR 11-24 03:34:14 [a.py:1] KeyError: 'q'\n";
        assert_eq!(firsts(text), ["queue.Empty", "KeyError: 'q'"]);
    }

    #[test]
    fn a_message_keeps_its_further_lines() {
        let text = "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n\
                    pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, not supported\n\n\
                    During handling of the above exception, another exception occurred:\n";
        let found = firsts(text);
        assert_eq!(
            found,
            [
                "pydantic_core.ValidationError: 1 validation error for ModelConfig |   Value error, not supported"
            ]
        );
    }

    #[test]
    fn quoted_exceptions_are_none() {
        let text = "WARNING 11-24 03:24:58 [a.py:1] Found ulimit … errors like `OSError: [Errno 24] Too many open files`.\n\
                    WARNING 11-24 03:24:58 [a.py:1] ImportError: optional\nINFO:     Started server process [1]\n\
                    INFO 11-24 03:24:58 [a.py:1] ValueError: x\nERROR 11-24 03:24:58 [a.py:1] something: else\n";
        assert_eq!(firsts(text), Vec::<String>::new());
    }
}
