//! The main table of mx-smi with its slices and processes, and the process tables of `--show-process`.
//!
//! Layouts by version: three columns with no power cap (2.1.6), with one (2.1.12), with the state (2.2.4), with
//! persistence, performance and slicing (2.2.6 to 2.2.8); four columns (2.2.9 to 2.3.1).

use super::{
    super::{
        reading::{known, mebibytes, number},
        report::{Card, DeviceReport, Process, Slice, supersede},
    },
    frame::{Field, Frame, Line, Row},
};

/// Reads framed lines into a report.
#[derive(Debug, Default)]
pub(super) struct TableReader {
    frame: Frame,
    /// What further lines of the row belong to.
    current: Option<Subject>,
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Card(u32),
    Slice { card: u32, id: u32 },
}

impl TableReader {
    /// A line that is not framed.
    pub(super) fn end(&mut self) {
        self.frame.end();
        self.current = None;
    }

    /// A framed line.
    pub(super) fn line(&mut self, line: &str, report: &mut DeviceReport) {
        match self.frame.line(line) {
            Line::Structure => {}
            Line::Title(title) => {
                self.current = None;
                versions(&title, report);
            }
            Line::First(row) => {
                self.current = subject(&row, report);
                self.add(&row, report);
            }
            Line::Next(row) => self.add(&row, report),
        }
    }

    fn add(&self, row: &Row, report: &mut DeviceReport) {
        match self.current {
            Some(Subject::Card(index)) => card(row, report.card_mut(index)),
            Some(Subject::Slice { card, id }) => slice(row, report.slice_mut(card, id)),
            None => {}
        }
    }
}

/// What a row is about. A process is one line and needs no further one.
fn subject(row: &Row, report: &mut DeviceReport) -> Option<Subject> {
    let gpu: u32 = row.get(Field::Gpu)?.parse().ok()?;
    if let Some(pid) = row.get(Field::Pid) {
        report.put_process(process(row, gpu, pid.parse().ok()?));
        return None;
    }
    match row.get(Field::SliceId) {
        Some(id) => Some(Subject::Slice {
            card: gpu,
            id: id.parse().ok()?,
        }),
        None => Some(Subject::Card(gpu)),
    }
}

fn process(row: &Row, card: u32, pid: u32) -> Process {
    let name = row.get(Field::ProcessName).map(str::to_owned);
    // The header gives the unit, MiB; a row that says its own is believed.
    let memory = row.get(Field::ProcessMemory);
    let memory_mib = memory.and_then(|text| text.parse().ok().or_else(|| mebibytes(text)));
    Process {
        card,
        pid,
        name,
        memory_mib,
    }
}

fn card(row: &Row, card: &mut Card) {
    let text = |field| row.get(field).map(str::to_owned);
    if let Some(name) = text(Field::Name) {
        card.rename(name);
    }
    supersede(&mut card.bus_id, text(Field::BusId));
    supersede(&mut card.utilization_percent, percent(row, Field::Utilization));
    supersede(
        &mut card.temperature_c,
        row.get(Field::Temperature).and_then(|text| number(text, "C")),
    );
    if let Some(power) = row.get(Field::Power) {
        let (usage, cap) = power.split_once('/').unwrap_or((power, ""));
        supersede(&mut card.power_w, number(usage, "W"));
        supersede(&mut card.power_cap_w, number(cap, "W"));
    }
    let (used, total) = memory(row, Field::Memory);
    supersede(&mut card.memory_used_mib, used);
    supersede(&mut card.memory_total_mib, total);
    supersede(&mut card.state, text(Field::State));
    supersede(&mut card.persistence, text(Field::Persistence));
    supersede(&mut card.performance_state, text(Field::Performance));
    supersede(&mut card.slicing, text(Field::Slicing));
}

fn slice(row: &Row, slice: &mut Slice) {
    supersede(
        &mut slice.minor,
        row.get(Field::Minor).and_then(|text| text.parse().ok()),
    );
    supersede(&mut slice.compute_percent, percent(row, Field::Compute));
    supersede(
        &mut slice.utilization_percent,
        percent(row, Field::SliceUtilization),
    );
    let (used, quota) = memory(row, Field::VramQuota);
    supersede(&mut slice.vram_used_mib, used);
    supersede(&mut slice.vram_quota_mib, quota);
}

fn percent(row: &Row, field: Field) -> Option<f64> {
    number(row.get(field)?, "%")
}

/// `858/65536MiB`: used and total share the unit at the end.
fn memory(row: &Row, field: Field) -> (Option<u64>, Option<u64>) {
    let Some((used, total)) = row.get(field).and_then(|text| text.split_once('/')) else {
        return (None, None);
    };
    let unit = total.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let has_unit = used.ends_with(|c: char| c.is_ascii_alphabetic());
    let used = if has_unit {
        used.to_owned()
    } else {
        format!("{used}{unit}")
    };
    (mebibytes(&used), mebibytes(total))
}

/// Versions in the title rows: `MX-SMI 2.2.8`, `Kernel Mode Driver Version: …`, `MACA Version: …`, `BIOS Version: …`.
fn versions(title: &str, report: &mut DeviceReport) {
    let after = |label: &str| {
        let value = title.split_once(label)?.1.split_whitespace().next()?;
        known(value).map(str::to_owned)
    };
    supersede(&mut report.smi_version, after("MX-SMI "));
    supersede(&mut report.driver_version, after("Kernel Mode Driver Version:"));
    supersede(&mut report.maca_version, after("MACA Version:"));
    supersede(&mut report.bios_version, after("BIOS Version:"));
}
