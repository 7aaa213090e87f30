//! One line of a server's output, taken apart: which process wrote it, at which level, and what it says.
//!
//! The prefix changed five times between 0.8.5 and 0.33, so nothing relies on its place: colours, time stamps of
//! container engines and overwritten progress bars are taken off, and a record's head is found wherever it stands,
//! also behind the rest of another process's progress bar. Lines without a head (tracebacks, libraries, uvicorn)
//! are kept as they are.

use std::{borrow::Cow, sync::Arc};

use serde::Deserialize;

/// Level of a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    const NAMES: [(&'static str, Self); 5] = [
        ("DEBUG", Self::Debug),
        ("INFO", Self::Info),
        ("WARNING", Self::Warning),
        ("ERROR", Self::Error),
        ("CRITICAL", Self::Critical),
    ];

    fn of(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, level)| level)
    }
}

/// Head of a record of vLLM's logger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) level: Level,
    /// `MM-DD hh:mm:ss`, local time of the server.
    pub(crate) time: String,
}

/// One line, or one line of a record of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Name in the process prefix (`EngineCore_DP0`, `VllmWorker rank=1`, `APIServer`).
    pub(crate) process: Option<Arc<str>>,
    /// Head of the record; absent on raw output.
    pub(crate) head: Option<Head>,
    /// What it says.
    pub(crate) text: String,
}

impl LogLine {
    /// Whether this is the line of a rank that speaks for the whole server: its only process, or rank 0 of every
    /// kind of parallelism.
    pub(crate) fn is_first_rank(&self) -> bool {
        let Some(process) = self.process.as_deref() else {
            return true;
        };
        if process.starts_with("VllmWorkerProcess") {
            return false; // V0: the driver is rank 0, and it has no prefix.
        }
        process.split(['_', ' ']).skip(1).all(|part| {
            let number = part.trim_start_matches(|c: char| !c.is_ascii_digit());
            number.is_empty() || number.bytes().all(|digit| digit == b'0')
        })
    }
}

/// Takes a line of output apart. Usually gives one; more where records were written into one line, or where a
/// record in JSON holds several.
pub(crate) fn read(raw: &str) -> Vec<LogLine> {
    let plain = without_escapes(raw.trim_end_matches(['\n', '\r']));
    let plain = without_time_stamp(&plain);
    if plain.starts_with('{')
        && let Some(lines) = json_record(plain)
    {
        return lines;
    }
    let (process, rest) = process_prefix(plain);
    // A progress bar overwrites itself: what stands last was seen last.
    let shown = rest
        .rsplit('\r')
        .find(|part| !part.trim().is_empty())
        .unwrap_or_default();
    let (own_process, shown) = process_prefix(shown);
    let process = own_process.or(process).map(Arc::from);
    split_records(process, shown)
}

/// Cuts a line at each record head in it.
fn split_records(process: Option<Arc<str>>, text: &str) -> Vec<LogLine> {
    let mut lines = Vec::new();
    let mut process = process;
    let mut head: Option<Head> = None;
    let mut rest = text;
    while let Some(found) = find_head(rest) {
        let (before, prefix) = split_trailing_prefix(&rest[..found.start]);
        if head.is_some() || !before.trim().is_empty() {
            lines.push(LogLine {
                process: process.clone(),
                head: head.take(),
                text: before.to_owned(),
            });
        }
        if let Some(prefix) = prefix {
            process = Some(Arc::from(prefix));
        }
        head = Some(found.head);
        rest = &rest[found.end..];
    }
    lines.push(LogLine {
        process,
        head,
        text: rest.trim_end().to_owned(),
    });
    lines
}

struct FoundHead {
    start: usize,
    end: usize,
    head: Head,
}

/// Finds `LEVEL MM-DD hh:mm:ss [file:line] `. The bracket is what to look for: it is rarer than a level's name.
fn find_head(text: &str) -> Option<FoundHead> {
    text.match_indices(" [").find_map(|(bracket, _)| {
        let before = text.get(..bracket)?;
        let time_start = before.len().checked_sub("MM-DD hh:mm:ss".len())?;
        let time = before.get(time_start..).filter(|time| is_time(time))?;
        let before = before.get(..time_start)?.strip_suffix(' ')?;
        let name_start = before
            .rfind(|c: char| !c.is_ascii_uppercase())
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let level = Level::of(&before[name_start..])?;
        let (source, message) = text[bracket + 2..].split_once(']')?;
        let (_, line) = source.rsplit_once(':')?;
        if line.is_empty() || !line.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let message = message.strip_prefix(' ').unwrap_or(message);
        Some(FoundHead {
            start: name_start,
            end: text.len() - message.len(),
            head: Head {
                level,
                time: time.to_owned(),
            },
        })
    })
}

fn is_time(text: &str) -> bool {
    let pattern = b"00-00 00:00:00";
    text.len() == pattern.len()
        && text.bytes().zip(pattern).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// `(NAME pid=N) `, once or several times, at the start of a text; the last one names the process.
fn process_prefix(text: &str) -> (Option<&str>, &str) {
    let mut process = None;
    let mut rest = text;
    while let Some((name, after)) = one_prefix(rest) {
        process = Some(name);
        rest = after;
    }
    (process, rest)
}

fn one_prefix(text: &str) -> Option<(&str, &str)> {
    let (inside, after) = text.strip_prefix('(')?.split_once(')')?;
    let (name, pid) = inside.rsplit_once(" pid=")?;
    if name.contains('(') || pid.is_empty() || !pid.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((name, after.strip_prefix(' ').unwrap_or(after)))
}

/// The same prefix at the end of a text, right before a record's head.
fn split_trailing_prefix(text: &str) -> (&str, Option<&str>) {
    let Some(open) = text.rfind('(') else {
        return (text, None);
    };
    match one_prefix(&text[open..]) {
        Some((name, "")) => (&text[..open], Some(name)),
        _ => (text, None),
    }
}

/// Takes off colours and other terminal escapes.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if chars.next() == Some('[') {
            // A control sequence ends with its first letter (or `@`, `~` and their like).
            chars.by_ref().find(|c| ('@'..='~').contains(c));
        }
    }
    Cow::Owned(plain)
}

/// Takes off the RFC 3339 time stamp that container engines put before each line on request.
fn without_time_stamp(text: &str) -> &str {
    let Some((stamp, rest)) = text.split_once(' ') else {
        return text;
    };
    let bytes = stamp.as_bytes();
    let is_stamp = bytes.len() >= 20
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && (bytes[4], bytes[7], bytes[10], bytes[13]) == (b'-', b'-', b'T', b':')
        && stamp
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-:.TZ+".contains(&byte));
    if is_stamp { rest } else { text }
}

/// A record of the JSON formatter that 0.31 and newer offer.
fn json_record(text: &str) -> Option<Vec<LogLine>> {
    #[derive(Deserialize)]
    struct Record {
        levelname: String,
        message: String,
        asctime: Option<String>,
        #[serde(rename = "processName")]
        process: Option<String>,
        exc_info: Option<String>,
    }
    let record: Record = serde_json::from_str(text).ok()?;
    let head = Head {
        level: Level::of(&record.levelname)?,
        time: record.asctime.unwrap_or_default(),
    };
    let process: Option<Arc<str>> = record.process.map(Arc::from);
    let lines = record
        .message
        .lines()
        .chain(record.exc_info.as_deref().unwrap_or_default().lines());
    let line = |text: &str| LogLine {
        process: process.clone(),
        head: Some(head.clone()),
        text: text.to_owned(),
    };
    Some(lines.map(line).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(raw: &str) -> LogLine {
        let mut lines = read(raw);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    fn parts(raw: &str) -> (Option<String>, Option<Level>, String) {
        let line = one(raw);
        (
            line.process.as_deref().map(str::to_owned),
            line.head.map(|head| head.level),
            line.text,
        )
    }

    fn told(
        process: Option<&str>,
        level: Option<Level>,
        text: &str,
    ) -> (Option<String>, Option<Level>, String) {
        (process.map(str::to_owned), level, text.to_owned())
    }

    #[test]
    fn every_prefix_is_read() {
        let cases = [
            (
                "INFO 05-20 10:11:12 [gpu_worker.py:123] Ready",
                told(None, Some(Level::Info), "Ready"),
            ),
            (
                "\u{1b}[1;36m(VllmWorker rank=1 pid=77)\u{1b}[0;0m WARNING 05-20 10:11:12 [a.py:1] Ready",
                told(Some("VllmWorker rank=1"), Some(Level::Warning), "Ready"),
            ),
            (
                "\u{1b}[0;36m(EngineCore_DP0 pid=14)\u{1b}[0;0m DEBUG 11-24 03:25:08 [v1/.../gpu_worker.py:9] Ready\r",
                told(Some("EngineCore_DP0"), Some(Level::Debug), "Ready"),
            ),
            (
                "(Worker_DP0_TP1_EP1 pid=3) ERROR 11-24 03:25:08 [core.py:843]   File \"x\"",
                told(Some("Worker_DP0_TP1_EP1"), Some(Level::Error), "  File \"x\""),
            ),
            (
                "2026-11-24T03:25:08.123456789Z (APIServer pid=1) INFO:     Application startup complete.",
                told(Some("APIServer"), None, "INFO:     Application startup complete."),
            ),
            (
                "Traceback (most recent call last):",
                told(None, None, "Traceback (most recent call last):"),
            ),
            (
                "(APIServer pid=1) INFO 08-12 11:35:11 [utils.py:302] ",
                told(Some("APIServer"), Some(Level::Info), ""),
            ),
            (
                r#"{"asctime":"2026-11-24","levelname":"ERROR","processName":"EngineCore","message":"gone"}"#,
                told(Some("EngineCore"), Some(Level::Error), "gone"),
            ),
        ];
        for (raw, expected) in cases {
            assert_eq!(parts(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        let raw =
            "(EngineCore_DP0 pid=2) \rCapturing CUDA graphs:   0%\rCapturing CUDA graphs: 100%|██| 35/35";
        assert_eq!(
            parts(raw),
            told(
                Some("EngineCore_DP0"),
                None,
                "Capturing CUDA graphs: 100%|██| 35/35"
            )
        );
    }

    #[test]
    fn records_behind_other_output_are_found() {
        let raw = "Loading shards:  50%(VllmWorker rank=1 pid=3) INFO 05-20 10:11:12 [a.py:1] oneINFO 05-20 10:11:13 [b.py:2] two";
        let lines = read(raw);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["Loading shards:  50%", "one", "two"]);
        assert_eq!(lines[0].process, None);
        assert_eq!(lines[1].process.as_deref(), Some("VllmWorker rank=1"));
    }

    #[test]
    fn the_first_rank_is_known_under_each_naming() {
        let first = |process: Option<&str>| {
            LogLine {
                process: process.map(Arc::from),
                head: None,
                text: String::new(),
            }
            .is_first_rank()
        };
        for process in [
            None,
            Some("EngineCore"),
            Some("EngineCore_0"),
            Some("EngineCore_DP0"),
            Some("Worker"),
        ] {
            assert!(first(process), "{process:?}");
        }
        for process in [
            "VllmWorker rank=0",
            "Worker_TP0",
            "Worker_DP0_PP0_TP0_EP0",
            "APIServer",
        ] {
            assert!(first(Some(process)), "{process}");
        }
        for process in [
            "VllmWorker rank=1",
            "VllmWorkerProcess",
            "Worker_TP1",
            "Worker_PP1_TP0",
            "EngineCore_DP1",
            "VllmWorker rank=10",
        ] {
            assert!(!first(Some(process)), "{process}");
        }
    }

    #[test]
    fn what_only_looks_like_a_head_is_left_alone() {
        for raw in [
            "ERROR",
            "an ERROR 05-20 [x:1] y",
            "NOTE 05-20 10:11:12 [a.py:1] x",
            "INFO 05-20 10:11:12 [a.py] x",
        ] {
            assert_eq!(parts(raw), told(None, None, raw));
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(raw in "(\\(?[A-Za-z_ =0-9]{0,8}( pid=[0-9]{0,3}\\))?|\u{1b}\\[[0-9;]{0,4}m?|\\r|INFO 05-20 10:11:12 \\[a:1\\] ?|\\PC{0,6}|é){0,8}") {
            let _ = read(&raw);
        }
    }
}
