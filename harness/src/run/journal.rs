//! The journal: appends events to `record.jsonl` as they happen and shows them to the live display.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use time::OffsetDateTime;

use super::host;
use crate::record::{Entry, Event, RunStarted, SCHEMA_VERSION};

/// Called with each entry, after it was written.
pub type Sink = Box<dyn FnMut(&Entry) + Send>;

/// Why the record could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the record {}: {}", path.display(), what_now(source))]
pub struct JournalError {
    /// The record.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

fn what_now(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return "that of another run lies there; name another folder with --out".to_owned();
    }
    error.to_string()
}

/// An open record. Each entry is one write of one whole line, so a killed run leaves at most one cut line.
pub struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    sink: Sink,
    entries: Vec<Entry>,
    error: Option<io::Error>,
}

impl Journal {
    /// Begins a record at `path`, which must not exist: a record is never overwritten.
    pub fn create(path: &Path, sink: Sink) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|source| JournalError {
                path: path.to_owned(),
                source,
            })?;
        let inner = Inner {
            file,
            sink,
            entries: Vec::new(),
            error: None,
        };
        Ok(Self {
            path: path.to_owned(),
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock cannot leave the fields inconsistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the event that begins every record: which run, by which harness and command, on which host.
    pub fn begin(&self, run_id: &str, command: Vec<String>, simulated: bool) {
        self.append(Event::RunStarted(RunStarted {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.to_owned(),
            harness_version: env!("CARGO_PKG_VERSION").to_owned(),
            command,
            simulated,
            host: host::facts(),
        }));
    }

    /// Appends an event. An error of writing is kept for [`Journal::finish`]: the run goes on and says so at its end.
    pub fn append(&self, event: Event) {
        let entry = Entry {
            at: OffsetDateTime::now_utc(),
            event,
        };
        let mut guard = self.lock();
        let inner = &mut *guard;
        let written = serde_json::to_string(&entry)
            .map_err(io::Error::from)
            .and_then(|line| inner.file.write_all((line + "\n").as_bytes()));
        if let Err(error) = written {
            inner.error.get_or_insert(error);
        }
        (inner.sink)(&entry);
        inner.entries.push(entry);
    }

    /// What was appended so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Makes sure that everything reached the disk; tells the first error.
    pub fn finish(&self) -> Result<(), JournalError> {
        let mut inner = self.lock();
        let result = match inner.error.take() {
            Some(error) => Err(error),
            None => inner.file.sync_all(),
        };
        result.map_err(|source| JournalError {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::record::{self, BootPhase};

    fn started() -> Event {
        Event::RunStarted(RunStarted {
            schema_version: SCHEMA_VERSION,
            run_id: "r".into(),
            harness_version: "0".into(),
            command: Vec::new(),
            simulated: true,
            host: facts(),
        })
    }

    fn facts() -> std::collections::BTreeMap<String, String> {
        host::facts()
    }

    #[test]
    fn what_is_appended_can_be_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.jsonl");
        let seen = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&seen);
        let journal = Journal::create(
            &path,
            Box::new(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
        )
        .unwrap();
        journal.append(started());
        let phase = BootPhase {
            session: "m@s".into(),
            phase: "loading".into(),
            after_s: 0.5,
        };
        journal.append(Event::BootPhase(phase));
        assert_eq!(record::read(&path).unwrap(), (journal.entries(), false));
        assert_eq!(seen.load(Ordering::Relaxed), 2);
        journal.finish().unwrap();
        assert!(
            Journal::create(&path, Box::new(|_| ())).is_err(),
            "a record is never overwritten"
        );
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let journal = Journal {
            path: "/dev/full".into(),
            inner: Mutex::new(Inner {
                file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
                sink: Box::new(|_| ()),
                entries: Vec::new(),
                error: None,
            }),
        };
        journal.append(started());
        assert_eq!(journal.entries().len(), 1);
        assert!(journal.finish().unwrap_err().to_string().contains("/dev/full"));
    }
}
