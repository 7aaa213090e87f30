//! Throughput against latency as a drawing that needs nothing else: SVG without styles or scripts from elsewhere.

use std::fmt::Write as _;

use super::{Axis, Row, SweepReport};
use crate::report::text::one_line;

/// Width and height of the drawing.
const SIZE: [f64; 2] = [760.0, 460.0];
/// Left, top, right and bottom margins.
const MARGINS: [f64; 4] = [80.0, 60.0, 30.0, 60.0];
/// Most lines of the grid in one direction.
const GRID: f64 = 6.0;

/// From figures to places.
struct Scale {
    /// Greatest throughput and latency of the axes.
    most: [f64; 2],
    /// Between two lines of the grid.
    step: [f64; 2],
}

impl Scale {
    fn of(rows: &[(&Row, f64)]) -> Self {
        let greatest = |of: &dyn Fn(&(&Row, f64)) -> f64| rows.iter().map(of).fold(0.0, f64::max);
        let greatest = [
            greatest(&|(row, _)| row.tokens_per_s()),
            greatest(&|(_, latency)| *latency),
        ];
        let step = greatest.map(grid_step);
        let whole = |axis: usize| (greatest[axis] / step[axis]).ceil().max(1.0) * step[axis];
        Self {
            most: [whole(0), whole(1)],
            step,
        }
    }

    fn place(&self, tokens_per_s: f64, latency_s: f64) -> [f64; 2] {
        let [left, top, right, bottom] = MARGINS;
        let across = SIZE[0] - left - right;
        let up = SIZE[1] - top - bottom;
        [
            left + across * tokens_per_s / self.most[0],
            SIZE[1] - bottom - up * latency_s / self.most[1],
        ]
    }
}

/// A distance of grid lines of 1, 2 or 5 times a power of ten.
fn grid_step(greatest: f64) -> f64 {
    if greatest <= 0.0 {
        return 1.0;
    }
    let raw = greatest / GRID;
    let power = 10.0_f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fitting = factors.into_iter().find(|factor| factor * power >= raw);
    fitting.unwrap_or(10.0) * power
}

/// The drawing.
pub fn svg(report: &SweepReport) -> String {
    let rows: Vec<(&Row, f64)> = report
        .rows
        .iter()
        .filter_map(|row| Some((row, row.latency_s()?)))
        .collect();
    let scale = Scale::of(&rows);
    let [width, height] = SIZE;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    title(&mut out, report);
    grid(&mut out, &scale);
    curve(&mut out, &scale, &rows);
    for (row, latency) in &rows {
        mark(&mut out, report, row, scale.place(row.tokens_per_s(), *latency));
    }
    out + "</svg>\n"
}

// Writing to a String does not fail.
fn text(out: &mut String, [x, y]: [f64; 2], more: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\"{more}>{words}</text>");
}

fn title(out: &mut String, report: &SweepReport) {
    let about = &report.about;
    let simulated = if about.simulated { "SIMULATED: " } else { "" };
    let words = format!("{simulated}{} on {}", one_line(&about.model), one_line(&about.on));
    text(
        out,
        [MARGINS[0], 24.0],
        " font-size=\"15\" font-weight=\"bold\"",
        &words,
    );
    let level = match about.axis {
        Axis::Concurrency => "requests in flight",
        Axis::Rate => "requests a second",
    };
    let words = format!(
        "at each point: {level}; prompts of {} tokens, answers of {}",
        about.input, about.output
    );
    text(out, [MARGINS[0], 42.0], " fill=\"#555555\"", &words);
}

fn grid(out: &mut String, scale: &Scale) {
    let ticks = |axis: usize| {
        let step = scale.step[axis];
        std::iter::successors(Some(0.0_f64), move |at| Some(at + step))
            .take_while(move |at| *at <= scale.most[axis] + step / 2.0)
    };
    let line = |out: &mut String, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]| {
        let _ = writeln!(
            out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
        );
    };
    for tokens in ticks(0) {
        let [x, y] = scale.place(tokens, 0.0);
        line(out, [x, y], scale.place(tokens, scale.most[1]));
        text(out, [x, y + 18.0], " text-anchor=\"middle\"", &round(tokens));
    }
    for latency in ticks(1) {
        let [x, y] = scale.place(0.0, latency);
        line(out, [x, y], scale.place(scale.most[0], latency));
        text(
            out,
            [x - 8.0, y + 4.0],
            " text-anchor=\"end\"",
            &format!("{} s", round(latency)),
        );
    }
    let [middle, bottom] = scale.place(scale.most[0] / 2.0, 0.0);
    text(
        out,
        [middle, bottom + 40.0],
        " text-anchor=\"middle\"",
        "output tokens/s",
    );
    let [left, centre] = scale.place(0.0, scale.most[1] / 2.0);
    let turned = format!(
        " text-anchor=\"middle\" transform=\"rotate(-90 {:.1} {centre:.1})\"",
        left - 60.0
    );
    text(out, [left - 60.0, centre], &turned, "mean latency (E2EL)");
}

/// Without the noise of binary fractions.
fn round(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Through the valid levels, in their order.
fn curve(out: &mut String, scale: &Scale, rows: &[(&Row, f64)]) {
    let points: Vec<String> = rows
        .iter()
        .filter(|(row, _)| row.is_valid())
        .map(|(row, latency)| {
            let [x, y] = scale.place(row.tokens_per_s(), *latency);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let points = points.join(" ");
    let _ = writeln!(
        out,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"2\"/>"
    );
}

/// A level: full where it keeps every promise, in another colour where it breaks one, hollow where it means nothing.
fn mark(out: &mut String, report: &SweepReport, row: &Row, [x, y]: [f64; 2]) {
    let (knee, best) = (Some(row.level) == report.knee, Some(row.level) == report.best);
    let kept = row.held.iter().all(|held| held.kept);
    let (fill, edge) = match (row.is_valid(), kept) {
        (false, _) => ("#ffffff", "#888888"),
        (true, true) => ("#1f5fa8", "#1f5fa8"),
        (true, false) => ("#c0392b", "#c0392b"),
    };
    let radius = if knee || best { 7 } else { 4 };
    let _ = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"2\"/>"
    );
    let words = [
        Some(row.level.to_string()),
        knee.then(|| "knee".to_owned()),
        best.then(|| "best".to_owned()),
        (!row.is_valid()).then(|| row.measured.verdict.to_string()),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    text(
        out,
        [x - 10.0, y - 10.0],
        " text-anchor=\"end\"",
        &words.join(", "),
    );
}
