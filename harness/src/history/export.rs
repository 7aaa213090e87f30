//! Trends for programs: JSON with everything, CSV with a line a figure.

use std::path::Path;

use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::{Better, Change, Damage, HistoryError, Key, Point, Trend, kind};
use crate::manifest::Unit;

/// The output of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    /// Whether any of the trends is simulated.
    simulated: bool,
    folder: &'a Path,
    trends: Vec<JsonTrend<'a>>,
    damaged: &'a [Damage],
}

#[derive(Serialize)]
struct JsonTrend<'a> {
    #[serde(flatten)]
    key: &'a Key,
    metric: &'a str,
    unit: Option<&'static str>,
    better: Better,
    /// Median of the figures since the last change.
    level: Option<f64>,
    invalid_runs: usize,
    points: &'a [Point],
    changes: Vec<JsonChange<'a>>,
}

#[derive(Serialize)]
struct JsonChange<'a> {
    #[serde(flatten)]
    change: &'a Change,
    /// After / before − 1; `null` where it was 0 before.
    relative: Option<f64>,
}

/// A line of the CSV.
#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    stack: &'a str,
    accelerator: &'a str,
    simulated: bool,
    dtype: &'a str,
    clock: &'a str,
    metric: &'a str,
    unit: &'static str,
    run: &'a str,
    at: String,
    verdict: &'static str,
    value: f64,
    /// Relative change of level that begins here; empty where none does.
    change: Option<f64>,
}

/// Everything, as JSON.
///
/// # Errors
/// [`HistoryError::Layout`], which data of this shape cannot cause.
pub fn json(folder: &Path, trends: &[Trend], damaged: &[Damage]) -> Result<String, HistoryError> {
    let report = Report {
        schema_version: 1,
        simulated: trends.iter().any(|trend| trend.key.simulated),
        folder,
        trends: trends.iter().map(json_trend).collect(),
        damaged,
    };
    let text =
        serde_json::to_string_pretty(&report).map_err(|error| HistoryError::Layout(error.to_string()))?;
    Ok(text + "\n")
}

fn json_trend(trend: &Trend) -> JsonTrend<'_> {
    let known = kind(&trend.metric);
    let change = |change| JsonChange {
        change,
        relative: Change::relative(change),
    };
    JsonTrend {
        key: &trend.key,
        metric: &trend.metric,
        unit: known.unit.map(Unit::symbol),
        better: known.better,
        level: trend.level(),
        invalid_runs: trend.invalid,
        points: &trend.points,
        changes: trend.changes.iter().map(change).collect(),
    }
}

/// A line a figure, with a heading (RFC 4180).
///
/// # Errors
/// [`HistoryError::Layout`], which data of this shape cannot cause.
pub fn csv(trends: &[Trend]) -> Result<String, HistoryError> {
    let failed = |error: &dyn std::fmt::Display| HistoryError::Layout(error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    for trend in trends {
        for (index, point) in trend.points.iter().enumerate() {
            let change = trend.changes.iter().find(|change| change.at == index);
            let row = Row {
                model: &trend.key.model,
                stack: &point.stack,
                accelerator: &trend.key.accelerator,
                simulated: trend.key.simulated,
                dtype: &trend.key.dtype,
                clock: &trend.key.clock,
                metric: &trend.metric,
                unit: kind(&trend.metric).unit.map_or("", Unit::symbol),
                run: &point.run,
                at: point.at.format(&Rfc3339).map_err(|error| failed(&error))?,
                verdict: point.verdict.as_str(),
                value: point.value,
                change: change.and_then(Change::relative),
            };
            writer.serialize(row).map_err(|error| failed(&error))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}
