//! The `label : value` lines below a card's heading, of every `--show-…` and `--count-ecc` output.
//!
//! A label says what its value is, and its unit confirms it; labels that are not in these tables (firmware, voltages,
//! PCIe memory, other sensors) are passed over.

use super::super::{
    reading::{known, mebibytes, number},
    report::{Card, DeviceReport, EccCounts, Slice, supersede},
};

/// Whose figures follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// No card's: versions only.
    Host,
    /// This card's.
    Card(u32),
    /// This slice's.
    Slice {
        /// Its card.
        card: u32,
        /// Its id.
        id: u32,
    },
}

/// Reads one line.
pub(super) fn line(label: &str, value: &str, scope: Scope, report: &mut DeviceReport) {
    let label = label.trim().to_ascii_lowercase();
    let Some(value) = known(value) else { return };
    versions(&label, value, report);
    match scope {
        Scope::Host => {}
        Scope::Card(index) => card(&label, value, report.card_mut(index)),
        Scope::Slice { card, id } => slice(&label, value, report.slice_mut(card, id)),
    }
}

/// `--show-version` has other words than the main table.
fn versions(label: &str, value: &str, report: &mut DeviceReport) {
    let place = match label {
        "maca" | "maca version" => &mut report.maca_version,
        "bios" | "bios version" => &mut report.bios_version,
        "kmd" | "driver version" | "kernel mode driver version" => &mut report.driver_version,
        _ => return,
    };
    *place = Some(value.to_owned());
}

fn card(label: &str, value: &str, card: &mut Card) {
    match label {
        "model name" => card.rename(value.to_owned()),
        // Without the prefix `vis_`, which is the part that the host can address.
        "vram total" => supersede(&mut card.memory_total_mib, mebibytes(value)),
        "vram used" => supersede(&mut card.memory_used_mib, mebibytes(value)),
        "gpu" => supersede(&mut card.utilization_percent, number(value, "%")),
        "total" => supersede(&mut card.power_w, number(value, "W")),
        "limit" => supersede(&mut card.power_cap_w, number(value, "W")),
        "unavailable reason" => card.unavailable_reason = Some(value.to_owned()),
        "sgpu mode" => card.slicing = Some(value.to_owned()),
        _ if label.starts_with("hotspot") => supersede(&mut card.temperature_c, number(value, "C")),
        _ if label.starts_with("persistence") => card.persistence = Some(value.to_owned()),
        _ => errors(label, value, &mut card.ecc),
    }
}

fn errors(label: &str, value: &str, ecc: &mut Option<EccCounts>) {
    let mut counts = ecc.unwrap_or_default();
    let place = match label {
        "sram correctable" => &mut counts.sram_correctable,
        "sram uncorrectable" => &mut counts.sram_uncorrectable,
        "dram correctable" => &mut counts.dram_correctable,
        "dram uncorrectable" => &mut counts.dram_uncorrectable,
        "double bit ecc" => &mut counts.retired_pages,
        _ => return,
    };
    *place = value.parse().ok();
    *ecc = Some(counts);
}

/// The labels of `sgpu --show-usage` and `sgpu --show-memory`, as far as they name what the slice table names.
fn slice(label: &str, value: &str, slice: &mut Slice) {
    match label {
        "compute" | "compute quota" => supersede(&mut slice.compute_percent, number(value, "%")),
        "vram total" | "vram quota" => supersede(&mut slice.vram_quota_mib, mebibytes(value)),
        "vram used" => supersede(&mut slice.vram_used_mib, mebibytes(value)),
        "gpu" | "usage" | "sgpu-util" => supersede(&mut slice.utilization_percent, number(value, "%")),
        _ => {}
    }
}
