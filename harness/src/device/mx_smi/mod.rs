//! What mx-smi prints, in every layout from 2.1.6 to 2.3.1, from a running tool or a saved file.
//!
//! Each line is recognised by its form, so a text may hold several outputs one after another, lack its banner, or end
//! in the middle. A line that no reader knows is passed over; a text of which no reader knows anything is an error.
//! No text panics.

mod frame;
mod heading;
mod json;
mod labels;
mod matrix;
mod monitor;
mod table;

use self::{labels::Scope, matrix::Matrix, monitor::Monitor, table::TableReader};
use super::{
    reading::known,
    report::{DeviceReport, supersede},
};

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MxSmiError {
    /// There is none.
    #[error("the output is empty: save it again, with `mx-smi > FILE 2>&1`")]
    Empty,
    /// The tool refused its arguments, as it does with NVIDIA's.
    #[error(
        "mx-smi refused the argument {argument}: it does not take nvidia-smi's options; run `mx-smi` without any"
    )]
    Refused {
        /// The argument.
        argument: String,
    },
    /// NVIDIA's table.
    #[error(
        "this is nvidia-smi's table, which is made for people: save `nvidia-smi {}` instead",
        super::nvidia_smi::ARGUMENTS.join(" ")
    )]
    Nvidia,
    /// The object of `-j` is cut off or damaged.
    #[error("the JSON that begins on line {line} is cut off or damaged ({reason}): save `mx-smi -j` again")]
    Json {
        /// Where it begins, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Nothing that mx-smi prints.
    #[error("this is no output of mx-smi known here (it begins `{beginning}`): save `mx-smi` or `mx-smi -L`")]
    Unrecognised {
        /// Its first words.
        beginning: String,
    },
}

/// Reads any outputs of mx-smi, one after another.
pub fn parse_any(text: &str) -> Result<DeviceReport, MxSmiError> {
    let mut reader = Reader::default();
    let mut offset = 0;
    let mut number = 0;
    while offset < text.len() {
        let rest = &text[offset..];
        let line = rest.split('\n').next().unwrap_or(rest);
        number += 1;
        if line.trim_start().starts_with('{') {
            let read = json::object(rest, &mut reader.report).map_err(|error| MxSmiError::Json {
                line: number,
                reason: error.to_string(),
            })?;
            reader.recognised = true;
            number += rest[..read].matches('\n').count();
            offset += read + rest[read..].find('\n').map_or(rest.len() - read, |end| end + 1);
        } else {
            let is_whole = offset + line.len() < text.len();
            reader.line(line.trim(), is_whole)?;
            offset += line.len() + 1;
        }
    }
    reader.finish(text)
}

/// What has been read, and what the next lines belong to.
#[derive(Debug)]
struct Reader {
    report: DeviceReport,
    recognised: bool,
    table: TableReader,
    monitor: Option<Monitor>,
    matrix: Option<Matrix>,
    scope: Scope,
    /// Cards that the tool said it would list.
    attached: Option<usize>,
    /// Logs begun and not ended.
    open_logs: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            report: DeviceReport::default(),
            recognised: false,
            table: TableReader::default(),
            monitor: None,
            matrix: None,
            scope: Scope::Host,
            attached: None,
            open_logs: 0,
        }
    }
}

impl Reader {
    /// Reads a line, without the spaces around it. It may be the beginning of a line where the text ends in it.
    fn line(&mut self, line: &str, is_whole: bool) -> Result<(), MxSmiError> {
        if line.starts_with('|') || line.starts_with('+') {
            self.table.line(line, &mut self.report);
            return Ok(());
        }
        self.table.end();
        if self.columns(line) || line.is_empty() {
            return Ok(());
        }
        if line.starts_with("GPU#") {
            self.scope = heading::card(line, &mut self.report).map_or(Scope::Host, Scope::Card);
        } else if line.starts_with("SGPU#") {
            self.slice(line);
        } else if line.contains("System Management Interface Log") {
            self.recognised = true;
            self.scope = Scope::Host;
            self.open_logs += 1;
        } else if line.starts_with("End of Log") {
            self.scope = Scope::Host;
            self.open_logs = self.open_logs.saturating_sub(1);
        } else if let Some((label, value)) = line.split_once(':')
            && is_whole
        {
            // A count or a version has no unit that would show that its end is missing.
            self.label(label.trim(), value.trim())?;
        }
        Ok(())
    }

    /// Lines of `dmon` and `topo -m`, whose columns their first line names.
    fn columns(&mut self, line: &str) -> bool {
        if let Some(monitor) = &self.monitor {
            if monitor.line(line, &mut self.report) {
                return true;
            }
            self.monitor = None;
        }
        if let Some(matrix) = &self.matrix {
            if matrix.line(line, &mut self.report) {
                return true;
            }
            self.matrix = None;
        }
        self.monitor = Monitor::of(line);
        self.matrix = Matrix::of(line);
        if self.matrix.is_some() {
            self.report.topology = None;
        }
        self.monitor.is_some() || self.matrix.is_some()
    }

    fn slice(&mut self, line: &str) {
        let (Scope::Card(card) | Scope::Slice { card, .. }) = self.scope else {
            return;
        };
        if let Some(id) = heading::slice(line, card, &mut self.report) {
            self.scope = Scope::Slice { card, id };
        }
    }

    fn label(&mut self, label: &str, value: &str) -> Result<(), MxSmiError> {
        match label {
            "PARSE ERROR" => {
                let argument = value.trim_start_matches("Argument:").trim();
                return Err(MxSmiError::Refused {
                    argument: argument.to_owned(),
                });
            }
            "Attached GPUs" => {
                self.recognised = true;
                self.attached = value.parse().ok();
            }
            _ if label.split_whitespace().eq(["mx-smi", "version"]) => {
                self.recognised = true;
                supersede(&mut self.report.smi_version, known(value).map(str::to_owned));
            }
            _ => labels::line(label, value, self.scope, &mut self.report),
        }
        Ok(())
    }

    fn finish(mut self, text: &str) -> Result<DeviceReport, MxSmiError> {
        let Some(beginning) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
            return Err(MxSmiError::Empty);
        };
        if !self.recognised && self.report == DeviceReport::default() {
            if text.contains("NVIDIA-SMI") {
                return Err(MxSmiError::Nvidia);
            }
            let beginning = beginning.chars().take(60).collect();
            return Err(MxSmiError::Unrecognised { beginning });
        }
        let listed = self.report.cards.len();
        match self.attached {
            Some(attached) if listed > 0 && listed < attached => {
                let text = format!("the output says {attached} cards are attached and lists {listed}");
                self.report.remarks.push(text);
            }
            _ => {}
        }
        if self.open_logs > 0 {
            self.report
                .remarks
                .push("the output is cut off: it lacks its `End of Log`".to_owned());
        }
        Ok(self.report)
    }
}
