//! One log record in the format of the played release.
//!
//! Three things vary: the process prefix (on the stream, or in the record from 0.31), its colour when piped,
//! and whether an API server has one. Continuation lines of a record repeat the record's own head, ended by
//! `\r\n`, as vLLM's formatter does.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use time::macros::format_description;

use crate::settings::Settings;
use crate::version::{Generation, Version};

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only with `VLLM_LOGGING_LEVEL=DEBUG`.
    Debug,
    /// Default.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// Which of the server's processes speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Before any process has a name: imports, plugins.
    Unnamed,
    /// The API server.
    Api,
    /// The engine core.
    Engine,
    /// The worker of a rank, where there are several.
    Worker(u64),
}

/// Prints records. Cheap to share; a line is written whole.
#[derive(Debug)]
pub struct Logger {
    version: Version,
    generation: Generation,
    tensor_parallel: u64,
    pipeline_parallel: u64,
    colour: Option<&'static str>,
    debug: bool,
    pid: u32,
    out: Mutex<std::io::Stdout>,
}

impl Logger {
    /// A logger for these settings.
    pub fn new(settings: &Settings) -> Self {
        let version = settings.version.clone();
        let plain = settings.environment.no_color && version.honours_no_color();
        Self {
            colour: version.piped_prefix_colour().filter(|_| !plain),
            version,
            generation: settings.generation,
            tensor_parallel: settings.placement.tensor_parallel,
            pipeline_parallel: settings.placement.pipeline_parallel,
            debug: settings.environment.debug,
            pid: std::process::id(),
            out: Mutex::new(std::io::stdout()),
        }
    }

    fn worker_name(&self, rank: u64) -> String {
        if self.generation == Generation::V0 {
            return "VllmWorkerProcess".to_owned();
        }
        if !self.version.at_least(10, 2) {
            return format!("VllmWorker rank={rank}");
        }
        let (pipeline, tensor) = (rank / self.tensor_parallel, rank % self.tensor_parallel);
        match (self.pipeline_parallel > 1, self.tensor_parallel > 1) {
            (true, true) => format!("Worker_PP{pipeline}_TP{tensor}"),
            (true, false) => format!("Worker_PP{pipeline}"),
            (false, true) => format!("Worker_TP{tensor}"),
            (false, false) => "Worker".to_owned(),
        }
    }

    /// `(<name> pid=<pid>) `, or nothing where the release names no such process.
    fn prefix(&self, process: Process) -> String {
        let (name, pid) = match process {
            Process::Unnamed => return String::new(),
            Process::Api if !self.version.api_server_prefix() => return String::new(),
            Process::Api => ("APIServer".to_owned(), self.pid),
            // V0's first worker lives in the engine's process, and that has no name.
            Process::Engine | Process::Worker(0) if self.generation == Generation::V0 => {
                return String::new();
            }
            Process::Engine => (self.engine_name().to_owned(), self.pid + 1),
            Process::Worker(rank) => {
                let offset = u32::try_from(rank).unwrap_or(0) + 2;
                (self.worker_name(rank), self.pid.saturating_add(offset))
            }
        };
        match self.colour {
            Some(colour) => format!("{colour}({name} pid={pid})\x1b[0;0m "),
            None => format!("({name} pid={pid}) "),
        }
    }

    fn engine_name(&self) -> &'static str {
        if self.version.at_least(18, 0) {
            "EngineCore"
        } else if self.version.at_least(10, 2) {
            "EngineCore_DP0"
        } else {
            "EngineCore_0"
        }
    }

    /// Prints a record. `source` is `file.py:line`.
    pub fn log(&self, process: Process, level: Level, source: &str, message: &str) {
        if level == Level::Debug && !self.debug {
            return;
        }
        // Containers run in UTC.
        let now = OffsetDateTime::now_utc();
        let format = format_description!("[month]-[day] [hour]:[minute]:[second]");
        let time = now.format(format).unwrap_or_default();
        let head = format!("{}{} {time} [{source}] ", self.prefix(process), level.name());
        let text = message.replace('\n', &format!("\r\n{head}"));
        self.write(&format!("{head}{text}\n"));
    }

    /// Prints text that no logger formats, with the stream's prefix where the release has one.
    pub fn raw(&self, process: Process, text: &str) {
        let prefix = if self.version.prefix_in_record() {
            String::new()
        } else {
            self.prefix(process)
        };
        let lines = text
            .split('\n')
            .fold(String::new(), |lines, line| lines + &prefix + line + "\n");
        self.write(&lines);
    }

    /// Prints a progress bar's step: a carriage return precedes it in a process with a stream prefix.
    pub fn progress(&self, process: Process, text: &str) {
        let prefix = if self.version.prefix_in_record() {
            String::new()
        } else {
            self.prefix(process)
        };
        self.write(&format!("{prefix}\r{text}\n"));
    }

    /// Prints a line of uvicorn.
    pub fn uvicorn(&self, text: &str) {
        self.raw(Process::Api, &format!("INFO:     {text}"));
    }

    fn write(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody may be reading: that must not end a server.
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        drop(written);
    }
}
