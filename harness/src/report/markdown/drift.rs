//! The tables on goldens: how far the server strays when it scores their own tokens, and the graded cases as a suite.

use super::escape::{Table, cell_code, inline};
use crate::{
    manifest::Unit,
    record::{CaseDrift, DriftFigures, PairedGrades, ThresholdSource, Unscored},
    report::{Session, figure},
};

/// Goldens that are shown of those that stray.
const SHOWN: usize = 10;

/// The figures, each with its interval and what it is held against.
pub fn drift(session: &Session) -> Option<String> {
    let figures = session.drift.as_ref()?;
    let source = match figures.threshold.source {
        ThresholdSource::Floor => "a multiple of the recorded floor",
        ThresholdSource::Proposal => "the general proposal, as no floor is recorded",
    };
    let mut parts = vec![
        format!(
            "{} positions of {} goldens, scored token by token; allowed is {source}.",
            figure::count(figures.positions),
            figures.prompts
        ),
        rows(figures).render(),
    ];
    let strays: Vec<_> = figures
        .cases
        .iter()
        .filter(|case| case.mean_kld_nat > 0.0)
        .collect();
    if !strays.is_empty() {
        parts.push(cases(&strays));
    }
    if !figures.unscored.is_empty() {
        parts.push(unscored(&figures.unscored));
    }
    Some(parts.join("\n\n"))
}

fn rows(figures: &DriftFigures) -> Table {
    let mut table = Table::new(["Figure", "Measured", "90 % interval", "Allowed", "Recorded floor"]);
    for row in figure::drift_rows(figures) {
        table.push(row);
    }
    table
}

fn cases(strays: &[&CaseDrift]) -> String {
    let mut table = Table::new([
        "Golden",
        "Mean KLD",
        "Likeliest",
        "Farthest at",
        "After",
        "Golden's token",
        "Likeliest token",
        "Lead",
    ]);
    for case in strays.iter().take(SHOWN) {
        let worst = &case.worst;
        table.push([
            cell_code(&case.case),
            figure::with_unit(case.mean_kld_nat, Unit::Nat),
            figure::with_unit(100.0 * case.top1, Unit::Percent),
            worst.position.to_string(),
            quoted(&worst.before),
            quoted(&worst.golden),
            quoted(&worst.candidate),
            figure::with_unit(worst.margin_nat, Unit::Nat),
        ]);
    }
    let rest = strays.len().saturating_sub(SHOWN);
    let more = if rest > 0 {
        format!("\n\n{rest} more stray less.")
    } else {
        String::new()
    };
    table.render() + &more
}

/// Text with its line feeds and blanks visible.
fn quoted(text: &str) -> String {
    inline(&format!("{text:?}"))
}

fn unscored(unscored: &[Unscored]) -> String {
    let mut table = Table::new(["Not scored", "Why"]);
    for one in unscored {
        table.push([cell_code(&one.case), inline(&one.why)]);
    }
    table.render()
}

/// The graded cases, and what so many of them could have shown.
pub fn grades(session: &Session) -> Option<String> {
    let figures = session.grades.as_ref()?;
    let percent = |share: f64| figure::with_unit(100.0 * share, Unit::Percent);
    let mut table = Table::new(["Figure", "Value"]);
    let mut row = |name: &str, value: String| table.push([name.to_owned(), value]);
    let low = figures.right_share.low.map(percent).unwrap_or_default();
    row(
        "Right",
        format!(
            "{} of {} ({}; with 95 % confidence at least {low})",
            figures.right,
            figures.items,
            percent(figures.right_share.value)
        ),
    );
    if let Some(least) = figures.min_right_share {
        row("At least", percent(least));
    }
    if let Some(paired) = &figures.paired {
        let PairedGrades {
            worse, better, alpha, ..
        } = paired;
        row("Graded when the golden was recorded", paired.items.to_string());
        row("Right then, wrong now", named(worse));
        row("Wrong then, right now", named(better));
        row(
            "Chance of so many losses",
            format!("{:.4} (fails at {alpha} and below)", paired.p),
        );
        let smallest = paired.smallest_drop.map_or_else(
            || "none".to_owned(),
            |drop| {
                format!(
                    "{} (with a probability of {})",
                    percent(drop),
                    percent(paired.power)
                )
            },
        );
        row("Smallest loss that so many would show", smallest);
    }
    Some(table.render())
}

fn named(cases: &[String]) -> String {
    if cases.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<_> = cases.iter().map(|case| cell_code(case)).collect();
    format!("{}: {}", cases.len(), names.join(", "))
}
