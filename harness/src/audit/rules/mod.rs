//! The rules. Each takes what it needs from a column and says nothing where something is missing.

mod claims;
mod memory;
mod order;
mod speed;
mod versions;

pub(super) use claims::claims;

use super::{Cell, Column, Finding, Interval, Rule};

/// Holds a column against every rule.
pub(super) fn column(column: &Column, findings: &mut Vec<Finding>) {
    memory::memory(column, findings);
    speed::speed(column, findings);
    order::order(column, findings);
    versions::versions(column, findings);
}

/// A contradiction that was found.
struct Contradiction<'a> {
    rule: Rule,
    /// The cells, the last of which is wrong or the doubtful one.
    cells: &'a [&'a Cell],
    /// What it would have to be, with its unit.
    expected: String,
    /// The arithmetic.
    arithmetic: String,
}

impl Contradiction<'_> {
    fn in_column(self, column: &Column) -> Finding {
        let found = self
            .cells
            .last()
            .map_or_else(String::new, |cell| cell.text.clone());
        Finding {
            column: column.name.clone(),
            cells: self.cells.iter().map(|cell| cell.shown()).collect(),
            expected: self.expected,
            found,
            rule: self.rule,
            arithmetic: self.arithmetic,
        }
    }
}

/// How far `found` lies from `expected`, in words: `12.9 % less`.
fn off(expected: Interval, found: Interval) -> String {
    let (expected, found) = (expected.middle(), found.middle());
    let share = (found / expected - 1.0) * 100.0;
    if !share.is_finite() {
        return "far off".to_owned();
    }
    let word = if share < 0.0 { "less" } else { "more" };
    let share = share.abs();
    let places = if share < 1.0 { 2 } else { 1 };
    format!("{share:.places$} % {word}")
}

/// A figure in as few digits as tell it.
fn plain(value: f64) -> String {
    let places = if value.abs() < 1.0 { 3 } else { 2 };
    let text = format!("{value:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
