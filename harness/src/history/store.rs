//! The folder of the index: appending whole lines while others append, and reading what can be read.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use rayon::prelude::*;
use serde::Serialize;

use super::{HistoryError, Line, VERSION};

/// File that runs append to.
pub const FILE: &str = "history.jsonl";
/// How long a run waits for another that writes; a write takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Index {
    /// Its lines, the oldest first; each session of a run once.
    pub lines: Vec<Line>,
    /// What could not be read.
    pub damaged: Vec<Damage>,
}

/// A line that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Appends lines to the folder's file, all of them or none. The folder is made where it is missing.
///
/// # Errors
/// [`HistoryError`]; what was there before is then as it was.
pub fn append(folder: &Path, lines: &[Line]) -> Result<(), HistoryError> {
    append_within(folder, lines, PATIENCE)
}

/// The same with another patience.
pub(super) fn append_within(folder: &Path, lines: &[Line], patience: Duration) -> Result<(), HistoryError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for line in lines {
        let line = serde_json::to_string(line).map_err(|error| HistoryError::Layout(error.to_string()))?;
        text.push_str(&line);
        text.push('\n');
    }
    fs::create_dir_all(folder).map_err(|source| io_error("make the folder", folder, source))?;
    let path = folder.join(FILE);
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(&path)
        .map_err(|source| io_error("open", &path, source))?;
    let mut file = lock(file, &path, patience)?;
    write(&mut file, text).map_err(|source| io_error("write", &path, source))
}

/// Writes behind what is there. A line that somebody left without its end gets one, so that only it is lost.
fn write(file: &mut File, mut text: String) -> io::Result<()> {
    let length = file.metadata()?.len();
    if let Some(last) = length.checked_sub(1) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, last)?;
        if byte != *b"\n" {
            text.insert(0, '\n');
        }
    }
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // A full disk: half a line is worth nothing. Where even this fails, readers pass over the half.
        drop(file.set_len(length));
    }
    written
}

fn lock(file: File, path: &Path, patience: Duration) -> Result<Flock<File>, HistoryError> {
    let begun = Instant::now();
    let mut file = file;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if begun.elapsed() < patience => file = back,
            Err((_, Errno::EWOULDBLOCK)) => {
                let path = path.to_owned();
                return Err(HistoryError::Busy {
                    path,
                    seconds: patience.as_secs(),
                });
            }
            Err((_, errno)) => return Err(io_error("lock", path, errno.into())),
        }
        thread::sleep(PAUSE);
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> HistoryError {
    let path = path.to_owned();
    HistoryError::Io { action, path, source }
}

/// Reads every `*.jsonl` file of a folder. A folder that is not there holds nothing.
///
/// # Errors
/// [`HistoryError`] where the folder or a file of it cannot be read at all.
pub fn read(folder: &Path) -> Result<Index, HistoryError> {
    let mut files = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|source| io_error("read", folder, source))?.path();
                if path.extension().is_some_and(|extension| extension == "jsonl") {
                    files.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(io_error("read", folder, source)),
    }
    files.sort();
    let mut index = Index::default();
    for path in files {
        let bytes = fs::read(&path).map_err(|source| io_error("read", &path, source))?;
        read_file(&path, &bytes, &mut index);
    }
    index.lines = once(index.lines);
    index
        .lines
        .sort_by(|one, other| (one.at, &one.run, &one.session).cmp(&(other.at, &other.run, &other.session)));
    Ok(index)
}

fn read_file(path: &Path, bytes: &[u8], index: &mut Index) {
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let read = lines
        .par_iter()
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| (number + 1, parse(line)));
    for (line, parsed) in read.collect::<Vec<_>>() {
        match parsed {
            Ok(parsed) => index.lines.push(parsed),
            Err(what) => index.damaged.push(Damage {
                file: path.to_owned(),
                line,
                what,
            }),
        }
    }
}

/// Reads a line; its version is looked at only if it is not one of this version.
fn parse(line: &[u8]) -> Result<Line, String> {
    let error = match serde_json::from_slice::<Line>(line) {
        Ok(line) if line.history == VERSION => return Ok(line),
        Ok(line) => return Err(other_version(line.history.into())),
        Err(error) => error,
    };
    let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    match value.get("history").and_then(serde_json::Value::as_u64) {
        Some(version) if version != u64::from(VERSION) => Err(other_version(version)),
        _ => Err(format!("no line of the history: {error}")),
    }
}

fn other_version(version: u64) -> String {
    format!("history version {version}, this harness reads {VERSION}: use the harness that wrote it")
}

/// The lines with each session of a run once: the last that was written.
fn once(lines: Vec<Line>) -> Vec<Line> {
    let mut last: HashMap<(String, String), usize> = HashMap::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        last.insert((line.run.clone(), line.session.clone()), index);
    }
    let keep =
        |(index, line): &(usize, Line)| last.get(&(line.run.clone(), line.session.clone())) == Some(index);
    lines
        .into_iter()
        .enumerate()
        .filter(keep)
        .map(|(_, line)| line)
        .collect()
}
