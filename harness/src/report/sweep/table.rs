//! The table of a sweep in a terminal, and a line for each level while it goes on.

use super::{Axis, Row, SweepReport, milliseconds, ms};
use crate::{
    load::{
        sweep::{End, Held, Step},
        validity::State,
    },
    report::{Style, figure, load::columns, style::Role, text::one_line},
};

/// Everything of a sweep.
pub fn render(report: &SweepReport, style: Style) -> String {
    let about = &report.about;
    let heading = format!(
        "{} on {}, prompts of {} tokens, answers of {}",
        one_line(&about.model),
        one_line(&about.on),
        about.input,
        about.output
    );
    let mut lines = vec![style.paint(Role::Strong, &heading).into_owned()];
    if about.simulated {
        let note = "SIMULATED: a simulator played the hardware; nothing here was measured on hardware";
        lines.insert(0, style.paint(Role::Warning, note).into_owned());
    }
    lines.extend(rows(report));
    lines.extend(
        about
            .notes
            .iter()
            .map(|note| format!("  note: {}", one_line(note))),
    );
    lines.extend(report.rows.iter().filter_map(|row| why_unfit(row, style)));
    lines.push(end(report));
    if report.rows.iter().any(Row::is_valid) {
        lines.push(knee(report));
    }
    lines.extend(best(report));
    lines.push(String::new());
    lines.extend(report.advice.iter().cloned());
    let verdict = style.paint(Role::of(report.verdict), report.verdict.as_str());
    lines.push(format!("verdict: {verdict}"));
    lines.join("\n") + "\n"
}

fn rows(report: &SweepReport) -> Vec<String> {
    let level = match report.about.axis {
        Axis::Concurrency => "in flight",
        Axis::Rate => "requests/s",
    };
    let head = [
        "",
        level,
        "requests",
        "tokens/s",
        "gain",
        "TTFT p50",
        "TTFT p99",
        "TPOT p50",
        "TPOT p99",
        "E2EL mean",
        "",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for row in &report.rows {
        let figures = &row.measured.figures;
        let gain = row.gain.map(|gain| format!("{:+.0} %", 100.0 * gain));
        let mark = match () {
            () if Some(row.level) == report.best => "►",
            () if !row.is_valid() => "✗",
            () => "",
        };
        table.push(vec![
            mark.to_owned(),
            row.level.to_string(),
            figures.sent.to_string(),
            format!("{:.1}", row.tokens_per_s()),
            gain.unwrap_or_default(),
            ms(figures.ttft.as_ref(), 50.0),
            ms(figures.ttft.as_ref(), 99.0),
            ms(figures.tpot.as_ref(), 50.0),
            ms(figures.tpot.as_ref(), 99.0),
            row.latency_s()
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s")),
            said(row, report),
        ]);
    }
    columns(&table)
}

/// What is to be said of a level, beside its figures.
fn said(row: &Row, report: &SweepReport) -> String {
    if !row.is_valid() {
        return row.measured.verdict.to_string();
    }
    let mut words = Vec::new();
    if Some(row.level) == report.knee {
        words.push("knee".to_owned());
    }
    if Some(row.level) == report.best {
        words.push("best".to_owned());
    }
    words.extend(
        row.held
            .iter()
            .filter(|held| !held.kept)
            .map(|held| format!("breaks {}", held.promise)),
    );
    words.join(", ")
}

/// Why the figures of a level mean nothing.
fn why_unfit(row: &Row, style: Style) -> Option<String> {
    if row.is_valid() {
        return None;
    }
    let failures = row.measured.figures.failures.iter();
    let failed = failures
        .map(|(class, failures)| format!("{} {class}: {}", failures.count, one_line(&failures.example)));
    let conditions = row
        .measured
        .conditions
        .iter()
        .filter(|condition| condition.state == State::Broken);
    let broken = conditions.map(|condition| format!("{}: {}", condition.name, one_line(&condition.text)));
    let words: Vec<String> = failed.chain(broken).collect();
    let verdict = style.paint(Role::Bad, row.measured.verdict.as_str());
    Some(format!("  {} {verdict}: {}", row.level, words.join("; ")))
}

fn end(report: &SweepReport) -> String {
    let gain = 100.0 * report.about.min_gain;
    match (report.end, report.about.axis) {
        (End::Flat, _) => format!("end: a doubling raises throughput by less than {gain:.0} %"),
        (End::Top, Axis::Concurrency) => "end: the last level that was allowed (--to)".to_owned(),
        (End::Top, Axis::Rate) => "end: every rate was measured".to_owned(),
        (End::Unfit, _) => "end: no valid figures; the search cannot go on without them".to_owned(),
        (End::Stopped, _) => "end: stopped; levels are missing".to_owned(),
    }
}

fn knee(report: &SweepReport) -> String {
    let Some(row) = report.row(report.knee) else {
        return "knee: not reached; throughput / latency is greatest at the last valid level".to_owned();
    };
    format!(
        "knee: {} (greatest throughput / latency): {:.1} tokens/s",
        row.level,
        row.tokens_per_s()
    )
}

fn best(report: &SweepReport) -> Option<String> {
    if report.about.promises.is_empty() {
        return None;
    }
    let promises = report.about.promises.join(", ");
    let Some(row) = report.row(report.best) else {
        return Some(format!("best: no valid level keeps {promises}"));
    };
    let held: Vec<String> = row.held.iter().map(certain).collect();
    Some(format!(
        "best: {} keeps {promises}: {:.1} tokens/s ({})",
        row.level,
        row.tokens_per_s(),
        held.join("; ")
    ))
}

fn certain(held: &Held) -> String {
    let measured = held.measured_s.map_or_else(|| "-".to_owned(), milliseconds);
    let sure = match held.requests_to_be_sure {
        Some(0) => ", 95 % sure".to_owned(),
        Some(more) => format!(", {more} more requests would make it 95 % sure"),
        None => String::new(),
    };
    format!("{} {measured}{sure}", held.promise)
}

/// A level that has just been measured, in a line.
pub fn line(step: &Step) -> String {
    let figures = &step.measured.figures;
    let broken: Vec<&str> = step
        .held
        .iter()
        .filter(|held| !held.kept)
        .map(|held| held.promise.as_str())
        .collect();
    let said = match (step.is_valid(), broken.as_slice()) {
        (false, _) => format!(" ({})", step.measured.verdict),
        (true, []) => String::new(),
        (true, broken) => format!(" (breaks {})", broken.join(", ")),
    };
    format!(
        "{}: {:.1} tokens/s, TTFT p50 {}, TPOT p50 {}, in {}{said}",
        step.measured.phase,
        step.tokens_per_s(),
        ms(figures.ttft.as_ref(), 50.0),
        ms(figures.tpot.as_ref(), 50.0),
        figure::duration(figures.wall_s),
    )
}
