//! nvidia-smi by its CSV query: one line a card, in the order of [`ARGUMENTS`], for the reference stacks on A100s.

use super::{
    reading::{known, whole},
    report::{Card, DeviceReport, supersede},
};

/// The one query that is made. Memory is in MiB, power in W, temperature in °C.
pub const ARGUMENTS: [&str; 2] = [
    "--query-gpu=index,name,pci.bus_id,uuid,memory.used,memory.total,utilization.gpu,power.draw,power.limit,\
     temperature.gpu,driver_version,vbios_version",
    "--format=csv,noheader,nounits",
];

/// Columns of the query.
const COLUMNS: usize = 12;

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NvidiaSmiError {
    /// There is no line.
    #[error("the output of nvidia-smi is empty: does this host have cards that this user may see?")]
    Empty,
    /// A line that is no card.
    #[error("line {line} of nvidia-smi's output is no answer to its query: `{text}`")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
}

/// Whether a text looks like an answer to the query.
pub(super) fn looks_like_answer(text: &str) -> bool {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| card(line).is_some())
}

/// Reads the answer to the query. A figure that the card or its driver does not give (`[N/A]`, `[Not Supported]`) is
/// `None`.
pub fn parse(text: &str) -> Result<DeviceReport, NvidiaSmiError> {
    let mut report = DeviceReport::default();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let Some((read, driver, bios)) = card(line) else {
            let text = line.trim().chars().take(60).collect();
            return Err(NvidiaSmiError::Line { line: at + 1, text });
        };
        supersede(&mut report.driver_version, driver);
        supersede(&mut report.bios_version, bios);
        let index = read.index;
        *report.card_mut(index) = read;
    }
    if report.cards.is_empty() {
        Err(NvidiaSmiError::Empty)
    } else {
        Ok(report)
    }
}

/// A card with the versions of its driver and its BIOS.
fn card(line: &str) -> Option<(Card, Option<String>, Option<String>)> {
    let values: Vec<&str> = line.split(',').map(str::trim).collect();
    if values.len() != COLUMNS {
        return None;
    }
    let text = |column: usize| known(values[column]).map(str::to_owned);
    let number = |column: usize| {
        known(values[column])?
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
    };
    let card = Card {
        index: values[0].parse().ok()?,
        name: text(1),
        bus_id: text(2),
        uuid: text(3),
        memory_used_mib: number(4).and_then(whole),
        memory_total_mib: number(5).and_then(whole),
        utilization_percent: number(6),
        power_w: number(7),
        power_cap_w: number(8),
        temperature_c: number(9),
        ..Card::default()
    };
    Some((card, text(10), text(11)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A100: &str = "0, NVIDIA A100-PCIE-40GB, 00000000:3B:00.0, GPU-0, 4, 40960, 0, 34.51, 250.00, 31, 550.54.15, \
                        92.00.25.00.08\n";

    #[test]
    fn reads_a_card() {
        let report = parse(A100).unwrap();
        let card = report.card(0).unwrap();
        assert_eq!(card.name.as_deref(), Some("NVIDIA A100-PCIE-40GB"));
        assert_eq!(
            (card.memory_used_mib, card.memory_total_mib),
            (Some(4), Some(40960))
        );
        assert_eq!((card.power_w, card.power_cap_w), (Some(34.51), Some(250.0)));
        assert_eq!(report.driver_version.as_deref(), Some("550.54.15"));
        assert_eq!(report.bios_version.as_deref(), Some("92.00.25.00.08"));
    }

    #[test]
    fn what_a_card_does_not_give_is_none() {
        let line = "1, Tesla K8, 00000000:3B:00.0, GPU-1, [N/A], [N/A], [Not Supported], [N/A], [N/A], 31, 470.1, [N/A]";
        let report = parse(line).unwrap();
        let card = report.card(1).unwrap();
        assert_eq!(
            (card.memory_used_mib, card.utilization_percent, card.power_w),
            (None, None, None)
        );
        assert_eq!((card.temperature_c, report.bios_version), (Some(31.0), None));
    }

    #[test]
    fn says_which_line_is_wrong() {
        let text = format!("{A100}NVIDIA-SMI has failed because it could not communicate with the driver.\n");
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, NvidiaSmiError::Line { line: 2, .. }), "{error}");
        assert_eq!(parse("\n"), Err(NvidiaSmiError::Empty));
    }
}
