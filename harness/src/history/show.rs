//! Trends in the terminal: a table of many, or one with its changes and its latest runs.

use time::OffsetDateTime;

use super::{Change, Damage, Difference, Key, Point, Trend, kind, spark::spark};
use crate::report::{
    Style, figure,
    style::Role,
    text::{one_line, pad, width},
};

/// Most damaged lines that are named one by one.
const DAMAGED_SHOWN: usize = 10;
/// Most differences that a change names.
const DIFFERENCES_SHOWN: usize = 8;
/// Columns of a trend in a table.
const SPARK: usize = 24;
/// Runs from which on a change in the middle of them can be told from noise: of 14 figures 1 in 1,716 orders is as
/// well divided.
const ENOUGH: usize = 14;

/// What was passed over, in words; empty where nothing was.
pub fn damage(damaged: &[Damage], style: Style) -> String {
    let warning = style.paint(Role::Warning, "warning");
    let line = |Damage { file, line, what }: &Damage| {
        let place = one_line(&format!("{}:{line}", file.display()));
        format!("{warning}: {place}: passed over: {}\n", one_line(what))
    };
    let shown: String = damaged.iter().take(DAMAGED_SHOWN).map(line).collect();
    match damaged.len().checked_sub(DAMAGED_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown}  and {more} more lines\n"),
    }
}

/// The first line of whatever shows a simulated trend.
fn notice(trends: &[Trend]) -> String {
    if trends.iter().any(|trend| trend.key.simulated) {
        "SIMULATED: where it says so, a simulator played the hardware; such a trend says nothing of hardware\n\n"
            .to_owned()
    } else {
        String::new()
    }
}

/// Many trends: a table for each that compare.
pub fn overview(trends: &[Trend], style: Style) -> String {
    let groups = trends.chunk_by(|one, other| one.key == other.key);
    let shown = groups.map(|group| format!("{}\n{}", heading(group, style), table(group, style)));
    notice(trends) + &shown.collect::<Vec<_>>().join("\n")
}

fn heading(group: &[Trend], style: Style) -> String {
    let Some(longest) = group.iter().max_by_key(|trend| trend.points.len()) else {
        return String::new();
    };
    let name = style.paint(Role::Strong, &subject(&longest.key)).into_owned();
    format!("{name}: {}", span(&longest.points))
}

/// `model on stack (accelerator, type)`.
fn subject(key: &Key) -> String {
    let stack = key.stack.as_deref().unwrap_or("all its stacks");
    let mut parts = vec![key.accelerator.clone(), key.dtype.clone()];
    if key.simulated {
        parts.push("SIMULATED".to_owned());
        parts.push(format!("clock {}x", key.clock));
    }
    parts.retain(|part| !part.is_empty());
    one_line(&format!("{} on {stack} ({})", key.model, parts.join(", ")))
}

/// `34 runs from 2026-01-02 to 2026-03-04, the latest passed`.
fn span(points: &[Point]) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return "no runs".to_owned();
    };
    let (from, to) = (first.at.date(), last.at.date());
    let when = if from == to {
        format!("on {from}")
    } else {
        format!("from {from} to {to}")
    };
    let runs = if points.len() == 1 { "run" } else { "runs" };
    format!("{} {runs} {when}, the latest {}", points.len(), last.verdict)
}

fn table(group: &[Trend], style: Style) -> String {
    let head = ["metric", "trend", "runs", "level", "latest", "last change"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(group.iter().map(|trend| row(trend, SPARK)))
        .collect();
    let roles = group.iter().map(|trend| match trend.changes.last()?.better {
        Some(false) => Some(Role::Bad),
        Some(true) => Some(Role::Good),
        None => Some(Role::Warning),
    });
    let roles = std::iter::once(Some(Role::Faint)).chain(roles);
    let painted = |(line, role): (String, Option<Role>)| match role {
        Some(role) => style.paint(role, &line).into_owned() + "\n",
        None => line + "\n",
    };
    aligned(&rows).into_iter().zip(roles).map(painted).collect()
}

/// Rows in columns, the first being their head.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<String> {
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| pad(cell, *width))
            .collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(trend: &Trend, columns: usize) -> [String; 6] {
    let shown = |value: f64| with_unit(&trend.metric, value);
    let change = trend.changes.last().map(|change| {
        let at = trend
            .points
            .get(change.at)
            .map(|point| point.at.date().to_string());
        format!("{} on {}", effect(change), at.unwrap_or_default())
    });
    [
        one_line(&trend.metric),
        line_of(trend, columns),
        trend.points.len().to_string(),
        trend.level().map(shown).unwrap_or_default(),
        trend
            .points
            .last()
            .map(|point| shown(point.value))
            .unwrap_or_default(),
        change.unwrap_or_default(),
    ]
}

fn line_of(trend: &Trend, columns: usize) -> String {
    let values: Vec<f64> = trend.points.iter().map(|point| point.value).collect();
    let changes: Vec<usize> = trend.changes.iter().map(|change| change.at).collect();
    spark(&values, &changes, columns)
}

/// One trend: its shape, its changes with what changed beside them, and its latest `rows` runs.
pub fn single(trend: &Trend, rows: usize, style: Style) -> String {
    let shown = |value: f64| with_unit(&trend.metric, value);
    let mut lines = vec![
        format!(
            "{}: {}",
            style.paint(Role::Strong, &subject(&trend.key)),
            one_line(&trend.metric)
        ),
        format!("  {}", line_of(trend, style.width.saturating_sub(4))),
    ];
    let values = || trend.points.iter().map(|point| point.value);
    let least = values().fold(f64::INFINITY, f64::min);
    let most = values().fold(f64::NEG_INFINITY, f64::max);
    lines.push(format!(
        "  {} to {}; {}",
        shown(least),
        shown(most),
        span(&trend.points)
    ));
    if trend.invalid > 0 {
        let what = if trend.invalid == 1 { "run is" } else { "runs are" };
        lines.push(format!(
            "  {} more {what} left out: a precondition of the measurement did not hold",
            trend.invalid
        ));
    }
    for change in &trend.changes {
        lines.extend(change_lines(trend, change, style));
    }
    if trend.changes.is_empty() {
        lines.push(if trend.points.len() < ENOUGH {
            format!(
                "no change found, as {} runs are too few to tell one from noise: it takes about {ENOUGH}",
                trend.points.len()
            )
        } else {
            "no change found".to_owned()
        });
    }
    lines.push(String::new());
    notice(std::slice::from_ref(trend)) + &lines.join("\n") + &latest(trend, rows, style)
}

fn change_lines(trend: &Trend, change: &Change, style: Style) -> Vec<String> {
    let shown = |value: f64| with_unit(&trend.metric, value);
    let role = match change.better {
        Some(true) => Role::Good,
        Some(false) => Role::Bad,
        None => Role::Warning,
    };
    let at = trend
        .points
        .get(change.at)
        .map(|point| moment(point.at))
        .unwrap_or_default();
    let text = format!(
        "{}: {} → {}, from run {} of {at} on ({})",
        effect(change),
        shown(change.before),
        shown(change.after),
        one_line(&change.run),
        chance(change.p)
    );
    let mut lines = vec![style.paint(role, &text).into_owned()];
    for difference in change.with.iter().take(DIFFERENCES_SHOWN) {
        lines.push(format!("  with it: {}", difference_words(difference)));
    }
    if change.with.is_empty() {
        lines.push("  nothing else that is recorded changed there".to_owned());
    } else if change.with.len() > DIFFERENCES_SHOWN {
        lines.push(format!(
            "  and {} more differences (--json lists them)",
            change.with.len() - DIFFERENCES_SHOWN
        ));
    }
    lines
}

fn difference_words(difference: &Difference) -> String {
    let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let Difference { what, from, to } = difference;
    one_line(&format!("{what} {} → {}", or_unknown(from), or_unknown(to)))
}

/// `p = 7e-12`.
fn chance(p: f64) -> String {
    if p < 1e-12 {
        "p < 1e-12".to_owned()
    } else {
        format!("p = {p:.0e}")
    }
}

/// `−5.0 % (worse)`.
fn effect(change: &Change) -> String {
    let better = match change.better {
        Some(true) => " (better)",
        Some(false) => " (worse)",
        None => "",
    };
    match change.relative() {
        Some(relative) => {
            let sign = if relative < 0.0 { '−' } else { '+' };
            format!("{sign}{:.1} %{better}", relative.abs() * 100.0)
        }
        None => format!("another level{better}"),
    }
}

/// The latest runs, the newest last.
fn latest(trend: &Trend, rows: usize, style: Style) -> String {
    let skipped = trend.points.len().saturating_sub(rows);
    let head = ["run", "time (UTC)", "stack", "verdict", "value"].map(str::to_owned);
    let cells = |(index, point): (usize, &Point)| {
        let mark = if trend.changes.iter().any(|change| change.at == index) {
            " │ new level"
        } else {
            ""
        };
        [
            one_line(&point.run),
            moment(point.at),
            one_line(&point.stack),
            point.verdict.to_string(),
            with_unit(&trend.metric, point.value) + mark,
        ]
    };
    let rows: Vec<_> = std::iter::once(head)
        .chain(trend.points.iter().enumerate().skip(skipped).map(cells))
        .collect();
    let mut lines = aligned(&rows);
    if let Some(head) = lines.first_mut() {
        *head = style.paint(Role::Faint, head).into_owned();
    }
    if skipped > 0 {
        lines.insert(1, format!("  … {skipped} earlier"));
    }
    lines.join("\n") + "\n"
}

fn with_unit(metric: &str, value: f64) -> String {
    match kind(metric).unit {
        Some(unit) => figure::with_unit(value, unit),
        None if value != 0.0 && value.abs() < 1e-3 => format!("{value:.2e}"),
        None => format!("{value:.4}"),
    }
}

fn moment(at: OffsetDateTime) -> String {
    format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute())
}
