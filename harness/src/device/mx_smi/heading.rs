//! The lines of `-L`, which are also the headings over the figures of each card in the `--show-…` outputs:
//! `GPU#0    MXC500      0000:37:00.0   Available (UUID: GPU-…)`, and below a card its slices:
//! `SGPU#3   25% 15.625gb   Available (UUID: GPU-…) alias`.
//!
//! A card that this container may not see is listed as `Not Available(<reason>)`.

use super::super::{
    reading::{is_bus_id, known, mebibytes, number},
    report::{DeviceReport, supersede},
};

/// Reads a heading of a card and returns its index.
pub(super) fn card(line: &str, report: &mut DeviceReport) -> Option<u32> {
    let (index, rest) = numbered(line, "GPU#")?;
    // Each has its address; a line without one is the beginning of a line.
    let bus = rest.split_whitespace().find(|word| is_bus_id(word))?;
    let (name, behind) = rest.split_once(bus)?;
    let card = report.card_mut(index);
    if let Some(name) = known(name) {
        card.rename(name.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    card.bus_id = Some(bus.to_owned());
    let status = Status::of(behind);
    supersede(&mut card.state, status.state);
    supersede(&mut card.unavailable_reason, status.reason);
    supersede(&mut card.uuid, status.uuid);
    Some(index)
}

/// Reads a line of a slice below its card and returns its id.
pub(super) fn slice(line: &str, card: u32, report: &mut DeviceReport) -> Option<u32> {
    let (id, rest) = numbered(line, "SGPU#").filter(|(_, rest)| !rest.is_empty())?;
    let slice = report.slice_mut(card, id);
    let figures = rest
        .split_whitespace()
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut behind = rest;
    for figure in figures {
        supersede(&mut slice.compute_percent, number(figure, "%"));
        supersede(&mut slice.vram_quota_mib, mebibytes(figure));
        behind = behind.split_once(figure).map_or("", |(_, after)| after);
    }
    let status = Status::of(behind);
    supersede(&mut slice.state, status.state);
    supersede(&mut slice.uuid, status.uuid);
    supersede(&mut slice.alias, status.alias);
    Some(id)
}

/// The number behind a prefix, and what follows it.
fn numbered<'line>(line: &'line str, prefix: &str) -> Option<(u32, &'line str)> {
    let rest = line.trim().strip_prefix(prefix)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((rest[..end].parse().ok()?, &rest[end..]))
}

/// `Available (UUID: GPU-…) alias` or `Not Available(<reason>)`.
#[derive(Debug, Default)]
struct Status {
    state: Option<String>,
    reason: Option<String>,
    uuid: Option<String>,
    alias: Option<String>,
}

impl Status {
    fn of(text: &str) -> Self {
        let mut status = Self::default();
        let (state, mut rest) = text.split_once('(').unwrap_or((text, ""));
        let state = state.trim();
        status.state = ["Available", "Not Available"]
            .contains(&state)
            .then(|| state.to_owned());
        while let Some((inside, behind)) = rest.split_once(')') {
            match inside.trim().strip_prefix("UUID:") {
                Some(uuid) => status.uuid = known(uuid).map(str::to_owned),
                None => status.reason = known(inside).map(str::to_owned),
            }
            let (alias, next) = behind.split_once('(').unwrap_or((behind, ""));
            supersede(&mut status.alias, known(alias).map(str::to_owned));
            rest = next;
        }
        status
    }
}
