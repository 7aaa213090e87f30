//! `mx-smi -j`: one object with a key a card, which is its PCI address. It holds no memory, no name and, at its top, no
//! BIOS version; a line with the tool's version stands before it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::{
    reading::{is_bus_id, known, number},
    report::{DeviceReport, supersede},
};

#[derive(Debug, Deserialize)]
struct Output {
    smi_version: Option<String>,
    maca_version: Option<String>,
    driver_version: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct CardObject {
    device_id: u32,
    vbios_version: Option<String>,
    unavailable_reason: Option<String>,
    hotspot: Option<String>,
    utilization: Option<f64>,
    #[serde(default)]
    board_power: BoardPower,
    #[serde(default)]
    sgpu_info: Vec<SliceObject>,
}

#[derive(Debug, Default, Deserialize)]
struct BoardPower {
    /// Watts by way.
    #[serde(default)]
    power: BTreeMap<String, String>,
}

/// `vram_quota` and `vram_used` are MiB: 16000 is the table's `16000 MiB`.
#[derive(Debug, Deserialize)]
struct SliceObject {
    minor: Option<u32>,
    sgpu_id: u32,
    compute_quota: Option<f64>,
    vram_quota: Option<u64>,
    vram_used: Option<String>,
    utilization: Option<String>,
}

/// Reads the object at the beginning of `text`; returns how many bytes it takes.
pub(super) fn object(text: &str, report: &mut DeviceReport) -> Result<usize, serde_json::Error> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Output>();
    let Some(output) = objects.next().transpose()? else {
        return Ok(0);
    };
    let version = |text: Option<String>| text.as_deref().and_then(known).map(str::to_owned);
    supersede(&mut report.smi_version, version(output.smi_version));
    supersede(&mut report.maca_version, version(output.maca_version));
    supersede(&mut report.driver_version, version(output.driver_version));
    for (bus_id, value) in output.rest {
        if is_bus_id(&bus_id) {
            card(bus_id, serde_json::from_value(value)?, report);
        }
    }
    Ok(objects.byte_offset())
}

fn card(bus_id: String, object: CardObject, report: &mut DeviceReport) {
    supersede(&mut report.bios_version, object.vbios_version);
    let card = report.card_mut(object.device_id);
    card.bus_id = Some(bus_id);
    supersede(&mut card.utilization_percent, object.utilization);
    supersede(
        &mut card.temperature_c,
        object.hotspot.and_then(|text| number(&text, "")),
    );
    let ways: Vec<Option<f64>> = object
        .board_power
        .power
        .values()
        .map(|text| number(text, ""))
        .collect();
    // A sum with a way missing would be too low. The ways are in mW: further digits are the sum's own.
    let total = ways
        .iter()
        .copied()
        .sum::<Option<f64>>()
        .filter(|_| !ways.is_empty());
    supersede(
        &mut card.power_w,
        total.map(|watts| (watts * 1000.0).round() / 1000.0),
    );
    if let Some(reason) = object.unavailable_reason.as_deref().and_then(known) {
        card.state = Some("Not Available".to_owned());
        card.unavailable_reason = Some(reason.to_owned());
    }
    for found in object.sgpu_info {
        let slice = report.slice_mut(object.device_id, found.sgpu_id);
        supersede(&mut slice.minor, found.minor);
        supersede(&mut slice.compute_percent, found.compute_quota);
        supersede(&mut slice.vram_quota_mib, found.vram_quota);
        supersede(
            &mut slice.vram_used_mib,
            found.vram_used.and_then(|text| text.trim().parse().ok()),
        );
        supersede(
            &mut slice.utilization_percent,
            found.utilization.and_then(|text| number(&text, "%")),
        );
    }
}
