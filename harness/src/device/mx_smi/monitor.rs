//! `mx-smi dmon`: a line of column names that begins with `dev`, a line of units, then a line a card and round.
//! Columns are read by name; the CSV form separates by commas, the plain one by spaces.
//!
//! `vram` is a rounded percentage here, too coarse to make MiB of.

use super::super::{
    reading::{is_bus_id, mebibytes, number},
    report::{DeviceReport, supersede},
};

/// The columns of the monitor's lines.
#[derive(Debug)]
pub(super) struct Monitor {
    columns: Vec<String>,
}

impl Monitor {
    /// The columns, if the line names them.
    pub(super) fn of(line: &str) -> Option<Self> {
        let columns: Vec<String> = words(line.trim_start().trim_start_matches('#'))
            .map(str::to_owned)
            .collect();
        let named = columns.first()? == "dev" && columns.len() > 1;
        named.then_some(Self { columns })
    }

    /// Reads a line of figures; `false` where it is something else.
    pub(super) fn line(&self, line: &str, report: &mut DeviceReport) -> bool {
        let values: Vec<&str> = words(line).collect();
        let Some(Ok(index)) = values.first().map(|word| word.parse()) else {
            // The line of units, or names repeated after a page.
            return values
                .first()
                .is_some_and(|word| ["idx", "dev", "#"].contains(word));
        };
        // Of a line that is cut off the last figure may be, too.
        if values.len() < self.columns.len() {
            return true;
        }
        let card = report.card_mut(index);
        for (column, value) in self.columns.iter().zip(values) {
            match column.as_str() {
                "hottemp" => supersede(&mut card.temperature_c, number(value, "")),
                "power" => supersede(&mut card.power_w, number(value, "")),
                "gpu" => supersede(&mut card.utilization_percent, number(value, "")),
                "total" => supersede(&mut card.memory_total_mib, mebibytes(&format!("{value} GB"))),
                "bdfid" if is_bus_id(value) => card.bus_id = Some(value.to_owned()),
                _ => {}
            }
        }
        true
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}
