//! Reads reports of several makes into sheets.

mod csv;
mod json;
mod log;
mod markdown;
mod names;
mod number;

use serde_json::Value;

pub use self::json::report;
use super::Sheet;

/// Makes of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This project's `report.json`.
    ReportJson,
    /// What `vllm bench serve` saves.
    BenchJson,
    /// Tables in Markdown, such as the first report or this project's `report.md`.
    Markdown,
    /// A server's log.
    ServerLog,
    /// Results of MetaX's `batched_test`: of inference, or the summary of a benchmark.
    Csv,
}

/// Why a file is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// JSON of another make.
    #[error("this JSON is neither a report.json of this project nor a result of `vllm bench serve`")]
    OtherJson,
    /// Nothing was recognized.
    #[error(
        "no figure in it is known: name a report.json, Markdown tables, a vLLM start-up log, a result of `vllm bench \
         serve`, or a CSV of batched_test"
    )]
    Nothing,
}

/// Reads a report, whatever its make.
pub fn read(text: &str) -> Result<(Kind, Sheet), ReadError> {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        if let Some(sheet) = report(&value) {
            return Ok((Kind::ReportJson, sheet));
        }
        let sheet = json::bench(&value).ok_or(ReadError::OtherJson)?;
        return Ok((Kind::BenchJson, sheet));
    }
    for kind in [Kind::Csv, Kind::ServerLog, Kind::Markdown] {
        let sheet = match kind {
            Kind::Csv => csv::sheet(text),
            Kind::ServerLog => log::sheet(text),
            _ => markdown::sheet(text),
        };
        let has_figures = sheet.columns.iter().any(|column| {
            !column.words.is_empty() || column.sections.iter().any(|section| !section.cells.is_empty())
        });
        if has_figures {
            return Ok((kind, sheet));
        }
    }
    Err(ReadError::Nothing)
}
