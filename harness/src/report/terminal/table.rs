//! The table of a session's trials: columns aligned whatever the script, names cut where the terminal is narrow.

use std::collections::BTreeMap;

use crate::{
    record::{Outcome, TrialKind, Verdict},
    report::{
        Session, Style, figure,
        style::Role,
        text::{clip, one_line, pad, width},
    },
};

/// Columns between those of the table.
const GAP: &str = "  ";
/// Least columns left to the name of a trial.
const MIN_NAME: usize = 16;

/// A line of the table.
struct Row {
    name: String,
    verdict: Verdict,
    measured: String,
    budget: String,
}

/// The table, empty where there are no trials; each line ends in a line feed.
pub fn render(session: &Session, style: Style) -> String {
    let rows = rows(session);
    if rows.is_empty() {
        return String::new();
    }
    let widest = |cell: fn(&Row) -> &str, head: &str| {
        rows.iter()
            .map(|row| width(cell(row)))
            .max()
            .unwrap_or(0)
            .max(head.len())
    };
    let verdicts = widest(|row| row.verdict.as_str(), "verdict");
    let measured = widest(|row| &row.measured, "measured");
    let budgets = widest(|row| &row.budget, "budget");
    let taken = verdicts + measured + budgets + 4 * GAP.len();
    let names = widest(|row| &row.name, "trial").min(style.width.saturating_sub(taken).max(MIN_NAME));
    let line = |name: &str, verdict: &str, role: Role, figures: [&str; 2]| {
        let name = pad(&clip(name, names), names);
        let verdict = style.paint(role, &pad(verdict, verdicts)).into_owned();
        let line = format!(
            "{GAP}{name}{GAP}{verdict}{GAP}{}{GAP}{}",
            pad(figures[0], measured),
            figures[1]
        );
        line.trim_end().to_owned() + "\n"
    };
    let mut out = line("trial", "verdict", Role::Faint, ["measured", "budget"]);
    for row in &rows {
        out += &line(
            &row.name,
            row.verdict.as_str(),
            Role::of(row.verdict),
            [&row.measured, &row.budget],
        );
    }
    out
}

/// The table: trials with figures and whatever went wrong, then the others, counted by kind and verdict.
fn rows(session: &Session) -> Vec<Row> {
    let counted = |trial: &&Outcome| trial.verdict <= Verdict::Unrecorded && trial.checks.is_empty();
    let mut rows: Vec<_> = session
        .trials
        .iter()
        .filter(|trial| !counted(trial))
        .map(|trial| row(session, trial))
        .collect();
    let mut groups: BTreeMap<(TrialKind, Verdict), Vec<&Outcome>> = BTreeMap::new();
    for trial in session.trials.iter().filter(counted) {
        groups.entry((trial.kind, trial.verdict)).or_default().push(trial);
    }
    for ((kind, verdict), trials) in groups {
        if let [trial] = trials[..] {
            rows.push(row(session, trial));
            continue;
        }
        let of_kind = session.trials.iter().filter(|trial| trial.kind == kind).count();
        let share = if trials.len() == of_kind { "all " } else { "" };
        rows.push(Row {
            name: format!("{}: {share}{}", kind_word(kind), trials.len()),
            verdict,
            measured: String::new(),
            budget: String::new(),
        });
    }
    rows
}

const fn kind_word(kind: TrialKind) -> &'static str {
    match kind {
        TrialKind::Boot => "boot",
        TrialKind::Memory => "memory",
        TrialKind::Correctness => "correctness",
        TrialKind::Latency => "latency",
        TrialKind::Throughput => "throughput",
    }
}

fn row(session: &Session, trial: &Outcome) -> Row {
    let check = trial.decisive_check();
    let measured = check.map(|check| figure::measured(check).unwrap_or_else(|| "not measured".to_owned()));
    let budget = check.and_then(|check| check.budget.as_ref()).map(figure::limit);
    Row {
        name: one_line(session.short_name(&trial.trial)),
        verdict: trial.verdict,
        measured: measured.unwrap_or_default(),
        budget: budget.unwrap_or_default(),
    }
}
