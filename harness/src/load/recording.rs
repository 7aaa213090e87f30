//! A recording of load: everything that its figures are made of, so that they can be made again.
//!
//! UTF-8 JSON lines. The first names the format and what was asked (`{"recording": 1, …}`), each further one is a request
//! ([`RequestSample`], times in seconds to the microsecond) or the end of a phase (`{"phase": …}`), which follows its
//! requests.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{ClientFigures, ServerSide, probe::Audit, validity::CardsSeen};
use crate::record::RequestSample;

/// Version of the format. Raised when a reader of the last version would misread.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`] of the writer.
    pub recording: u32,
    /// When the run began (RFC 3339).
    pub at: String,
    /// Address of the server.
    pub url: String,
    /// Name of the model.
    pub model: String,
    /// Whether the chat endpoint was asked.
    pub chat: bool,
    /// Shape of the load.
    pub shape: String,
    /// Simulated seconds for each real one; 1 for real servers.
    pub clock: f64,
}

/// The end of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseEnd {
    /// Name of the phase, as its requests carry it in `trial`.
    pub phase: String,
    /// Requests in flight, where the shape says.
    pub in_flight: Option<u32>,
    /// Whether prompts share beginnings on purpose.
    pub shares_prefixes: bool,
    /// Requests that were sent before, to warm the server up.
    pub warmup: u64,
    /// What the server's count of tokens is worth, where that could be seen.
    pub audit: Option<Audit>,
    /// The server's cards, where a tool told of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<CardsSeen>,
    /// What the client did.
    pub client: ClientFigures,
    /// What the server counted, or why that is not known.
    pub server: ServerSide,
}

/// A phase with its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The requests.
    pub samples: Vec<RequestSample>,
    /// The rest.
    pub end: PhaseEnd,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not one of a recording.
    #[error("line {line} is not one of a recording of load: {why}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It was written by another version.
    #[error("was written in version {0} of the format; this program reads version {VERSION}")]
    Version(u32),
    /// It holds no phase that came to its end.
    #[error("holds no phase that came to its end")]
    Empty,
}

/// Writes the first line.
pub fn write_header(out: &mut impl Write, header: &Header) -> io::Result<()> {
    write_line(out, header)
}

/// Writes a phase.
pub fn write_phase(out: &mut impl Write, phase: &Recorded) -> io::Result<()> {
    for sample in &phase.samples {
        write_line(out, sample)?;
    }
    write_line(out, &phase.end)
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    End(Box<PhaseEnd>),
    Sample(RequestSample),
}

/// Reads a recording. Requests of a phase that was cut off are left out.
pub fn read(file: impl BufRead) -> Result<(Header, Vec<Recorded>), RecordingError> {
    let mut lines = file.lines().enumerate();
    let wrong = |line: usize, why: &dyn std::fmt::Display| RecordingError::Line {
        line: line + 1,
        why: why.to_string(),
    };
    let (_, first) = lines.next().ok_or(RecordingError::Empty)?;
    let header: Header = serde_json::from_str(&first?).map_err(|error| wrong(0, &error))?;
    if header.recording != VERSION {
        return Err(RecordingError::Version(header.recording));
    }
    let (mut phases, mut samples) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        match serde_json::from_str(&line?).map_err(|error| wrong(number, &error))? {
            Line::Sample(sample) => samples.push(sample),
            Line::End(end) => phases.push(Recorded {
                samples: std::mem::take(&mut samples),
                end: *end,
            }),
        }
    }
    if phases.is_empty() {
        return Err(RecordingError::Empty);
    }
    Ok((header, phases))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{
        ServerFigures,
        figures::tests::{failed, sample},
    };

    fn header() -> Header {
        Header {
            recording: VERSION,
            at: "2026-11-24T10:11:12Z".into(),
            url: "http://127.0.0.1:8000".into(),
            model: "m".into(),
            chat: true,
            shape: "single".into(),
            clock: 1.0,
        }
    }

    fn phase() -> Recorded {
        Recorded {
            samples: vec![sample(0, 0.0, 0.5, 0.25, 3), failed(1, "cut: x")],
            end: PhaseEnd {
                phase: "single".into(),
                in_flight: Some(1),
                shares_prefixes: false,
                warmup: 1,
                audit: None,
                cards: None,
                client: ClientFigures::default(),
                server: Err("the server has no /metrics".to_owned()).into(),
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, &header()).unwrap();
        write_phase(&mut bytes, &phase()).unwrap();
        let mut measured = phase();
        measured.end.server = Ok(ServerFigures::default()).into();
        write_phase(&mut bytes, &measured).unwrap();
        let (found, phases) = read(bytes.as_slice()).unwrap();
        assert_eq!((found, phases), (header(), vec![phase(), measured]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut whole = Vec::new();
        write_header(&mut whole, &header()).unwrap();
        let whole = String::from_utf8(whole).unwrap();
        let told = [
            String::new(),
            "{}".to_owned(),
            whole.replace("\"recording\":1", "\"recording\":2"),
            whole.clone(),
            whole + "{\"index\":3}\n",
        ]
        .map(|text| read(text.as_bytes()).unwrap_err().to_string());
        insta::assert_snapshot!(told.join("\n"));
    }
}
