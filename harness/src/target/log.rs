//! The server's log: every line goes to a file from the first byte, to the start-up reader, and into a bounded tail
//! that failure classes are read from. It outlives the server, and tells which phase the boot is in.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::watch,
    task::JoinHandle,
};

use crate::vllm::startup_log::{Phase, Reader, StartupFacts};

/// Lines kept in memory: tracebacks of all ranks of a large server fit.
pub const TAIL_LINES: usize = 10_000;

/// Called with each new phase of the boot.
pub type OnPhase = Box<dyn FnMut(Phase) + Send>;

/// The phase that a boot is in, and when it began. A server that has printed nothing yet is starting.
pub type Since = (Phase, Instant);

/// A server's log, shared by its readers.
#[derive(Clone)]
pub struct Log {
    path: Arc<Path>,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    file: File,
    /// First error of writing the file, told once when the log is closed.
    error: Option<io::Error>,
    reader: Reader,
    tail: VecDeque<String>,
    on_phase: OnPhase,
    phase: watch::Sender<Since>,
}

impl Log {
    /// Begins a log at `path`; an earlier one is overwritten.
    pub fn create(path: PathBuf, on_phase: OnPhase) -> io::Result<Self> {
        let file = File::create(&path)?;
        let inner = Inner {
            file,
            error: None,
            reader: Reader::new(),
            tail: VecDeque::new(),
            on_phase,
            phase: watch::Sender::new((Phase::Starting, Instant::now())),
        };
        Ok(Self {
            path: path.into(),
            inner: Arc::new(Mutex::new(inner)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock cannot leave the fields inconsistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line, without its line end.
    pub fn line(&self, line: &str) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if let Err(error) = writeln!(inner.file, "{line}") {
            inner.error.get_or_insert(error);
        }
        if let Some(phase) = inner.reader.feed(line) {
            (inner.on_phase)(phase);
            if phase != Phase::Starting {
                inner.phase.send_replace((phase, Instant::now()));
            }
        }
        if inner.tail.len() == TAIL_LINES {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line.to_owned());
    }

    /// Takes a remark of the harness, which is no word of the server's: it goes to the file alone.
    pub fn remark(&self, text: &str) {
        let mut inner = self.lock();
        if let Err(error) = writeln!(inner.file, "harness: {text}") {
            inner.error.get_or_insert(error);
        }
    }

    /// The phase of the boot, and each change of it.
    pub fn phase(&self) -> watch::Receiver<Since> {
        self.lock().phase.subscribe()
    }

    /// What the start-up lines said so far.
    pub fn facts(&self) -> StartupFacts {
        self.lock().reader.facts()
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }

    /// The log's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first error of writing the file, if there was one.
    pub fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    /// Copies a stream into the log, line by line, until it ends. Bytes that are not UTF-8 are replaced.
    pub fn pump(&self, stream: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
        let log = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            // A read error means that the stream is gone: nothing more can come.
            while matches!(lines.read_until(b'\n', &mut line).await, Ok(1..)) {
                log.line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
                line.clear();
            }
        })
    }
}

/// Splits chunks of bytes into lines, for streams that arrive in pieces.
#[derive(Debug, Default)]
pub struct LineSplitter {
    rest: Vec<u8>,
}

impl LineSplitter {
    /// Takes a piece; calls `line` for each line that it completes.
    pub fn push(&mut self, piece: &[u8], mut line: impl FnMut(&str)) {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let whole: Vec<u8> = self.rest.drain(..=end).collect();
            line(String::from_utf8_lossy(&whole).trim_end_matches(['\n', '\r']));
        }
    }

    /// Ends the stream; a last line without line end is given too.
    pub fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            line(&String::from_utf8_lossy(&self.rest));
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_every_line_and_its_tail() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(folder.path().join("server.log"), Box::new(|_| ())).unwrap();
        log.pump(&b"first\r\nse\xffcond\nlast without end"[..])
            .await
            .unwrap();
        assert_eq!(log.tail(), ["first", "se\u{fffd}cond", "last without end"]);
        assert_eq!(
            std::fs::read_to_string(log.path()).unwrap(),
            "first\nse\u{fffd}cond\nlast without end\n"
        );
        for _ in 0..TAIL_LINES {
            log.line("x");
        }
        assert_eq!(log.tail().len(), TAIL_LINES);
        assert!(log.take_error().is_none());
    }

    #[tokio::test]
    async fn tells_the_phase_and_keeps_remarks_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(folder.path().join("server.log"), Box::new(|_| ())).unwrap();
        let mut phase = log.phase();
        log.remark("Starting to load model by hand");
        assert_eq!(phase.borrow().0, Phase::Starting);
        log.line("INFO 04-01 12:00:00 [gpu_model_runner.py:1] Starting to load model /model...");
        phase.changed().await.unwrap();
        assert_eq!(phase.borrow().0, Phase::LoadingWeights);
        assert_eq!(log.tail().len(), 1);
        let whole = std::fs::read_to_string(log.path()).unwrap();
        assert!(
            whole.starts_with("harness: Starting to load model by hand\n"),
            "{whole}"
        );
    }

    #[test]
    fn splits_pieces_into_lines() {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::default();
        for piece in [&b"a"[..], b"b\r\nc\nd", b"", b"e"] {
            splitter.push(piece, |line| lines.push(line.to_owned()));
        }
        splitter.finish(|line| lines.push(line.to_owned()));
        assert_eq!(lines, ["ab", "c", "de"]);
    }
}
