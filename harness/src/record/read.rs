//! Reading a record back. A line cut off at the end (the writer was killed in the middle of it) is dropped and said;
//! any other line that does not parse is an error with its number.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{Entry, Event, SCHEMA_VERSION};

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be opened or read.
    #[error("cannot read the record {path}: {source}")]
    Io {
        /// The record.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not an event.
    #[error("{path}:{line}: not an event of a record: {source}")]
    Line {
        /// The record.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The first line does not begin a run.
    #[error("{path}: does not begin with `run_started`: not a record of this harness")]
    NoHeader {
        /// The record.
        path: PathBuf,
    },
    /// Written by another version of the format.
    #[error(
        "{path}: record schema {found}, this harness reads {SCHEMA_VERSION}: use the harness that wrote it"
    )]
    Version {
        /// The record.
        path: PathBuf,
        /// The version found.
        found: u64,
    },
}

/// Reads a record. The second value tells whether the last line was cut off and dropped.
pub fn read(path: &Path) -> Result<(Vec<Entry>, bool), RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let mut entries = Vec::new();
    let mut text = Vec::new();
    let mut line = 0;
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(io)? == 0 {
            break;
        }
        line += 1;
        if line == 1 {
            check_header(path, &text)?;
        }
        match serde_json::from_slice::<Entry>(&text) {
            Ok(entry) => entries.push(entry),
            Err(_) if text.last() != Some(&b'\n') => return finish(path, entries, true),
            Err(source) => {
                return Err(RecordError::Line {
                    path: path.to_owned(),
                    line,
                    source,
                });
            }
        }
    }
    finish(path, entries, false)
}

/// Looks at the version before anything else, since another version's lines need not parse.
fn check_header(path: &Path, line: &[u8]) -> Result<(), RecordError> {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    match value.get("schema_version").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(SCHEMA_VERSION) => Err(RecordError::Version {
            path: path.to_owned(),
            found,
        }),
        _ => Ok(()),
    }
}

fn finish(path: &Path, entries: Vec<Entry>, cut: bool) -> Result<(Vec<Entry>, bool), RecordError> {
    match entries.first() {
        Some(Entry {
            event: Event::RunStarted(_),
            ..
        }) => Ok((entries, cut)),
        _ => Err(RecordError::NoHeader {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use time::macros::datetime;

    use super::*;
    use crate::record::{RunFinished, RunStarted, Verdict};

    fn entries() -> Vec<Entry> {
        let at = datetime!(2026-01-02 03:04:05 UTC);
        let started = RunStarted {
            schema_version: SCHEMA_VERSION,
            run_id: "20260102T030405Z-abcd".into(),
            harness_version: "0.1.0".into(),
            command: vec!["harness".into(), "validate".into()],
            simulated: true,
            host: BTreeMap::new(),
        };
        let finished = RunFinished {
            verdict: Verdict::Passed,
            exit_code: 0,
            interrupted: false,
        };
        vec![
            Entry {
                at,
                event: Event::RunStarted(started),
            },
            Entry {
                at,
                event: Event::RunFinished(finished),
            },
        ]
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn lines() -> Vec<String> {
        entries()
            .iter()
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect()
    }

    #[test]
    fn reads_back_what_was_written() {
        let file = written(&(lines().join("\n") + "\n"));
        assert_eq!(read(file.path()).unwrap(), (entries(), false));
    }

    #[test]
    fn drops_a_line_that_was_cut_off() {
        let lines = lines();
        let file = written(&format!("{}\n{}", lines[0], &lines[1][..20]));
        assert_eq!(read(file.path()).unwrap(), (entries()[..1].to_vec(), true));
    }

    #[test]
    fn names_the_broken_line() {
        let file = written(&format!("{}\n{{\"event\":\"nonsense\"}}\n", lines()[0]));
        assert!(matches!(
            read(file.path()),
            Err(RecordError::Line { line: 2, .. })
        ));
    }

    #[test]
    fn refuses_other_versions_and_other_files() {
        let file =
            written("{\"at\":\"2030-01-01T00:00:00Z\",\"event\":\"run_started\",\"schema_version\":9}\n");
        assert!(matches!(
            read(file.path()),
            Err(RecordError::Version { found: 9, .. })
        ));
        let file = written(&format!("{}\n", lines()[1]));
        assert!(matches!(read(file.path()), Err(RecordError::NoHeader { .. })));
        let file = written("");
        assert!(matches!(read(file.path()), Err(RecordError::NoHeader { .. })));
    }
}
