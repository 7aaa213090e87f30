//! Whether a card may be used: the rules that operators of such cards follow, on figures that were read.
//!
//! A figure that is not known decides nothing.

use std::fmt;

use super::report::{Card, DeviceReport};

/// Most memory that an idle card uses, MiB. Idle C500s show 826 to 858 MiB.
pub const IDLE_MAX_MIB: u64 = 900;
/// Temperature of the hottest spot from which a card is refused, °C.
pub const HOTSPOT_LIMIT_C: f64 = 85.0;
/// Memory errors beyond which a card is refused.
pub const ECC_LIMIT: u64 = 64;

/// Why a card should not be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Concern {
    /// It is too hot.
    Hot {
        /// Hottest spot, °C.
        temperature_c: f64,
    },
    /// Its memory has had too many errors.
    Errors {
        /// Errors of every kind.
        count: u64,
    },
    /// The tool says that it cannot be used.
    NotAvailable {
        /// Why, where the tool says.
        reason: Option<String>,
    },
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hot { temperature_c } => {
                write!(
                    f,
                    "its hottest spot is at {temperature_c} °C; from {HOTSPOT_LIMIT_C} °C on a card is not used"
                )
            }
            Self::Errors { count } => {
                write!(
                    f,
                    "its memory has had {count} errors; beyond {ECC_LIMIT} a card is not used"
                )
            }
            Self::NotAvailable { reason: Some(reason) } => write!(f, "it is not available: {reason}"),
            Self::NotAvailable { reason: None } => f.write_str("it is not available"),
        }
    }
}

/// What speaks against using a card.
pub fn concerns(card: &Card) -> Vec<Concern> {
    let mut concerns = Vec::new();
    // Some versions print no state: then only a word that says so makes a card unavailable.
    if card.state.as_deref().is_some_and(|state| state != "Available") {
        concerns.push(Concern::NotAvailable {
            reason: card.unavailable_reason.clone(),
        });
    }
    if let Some(temperature_c) = card
        .temperature_c
        .filter(|temperature| *temperature >= HOTSPOT_LIMIT_C)
    {
        concerns.push(Concern::Hot { temperature_c });
    }
    if let Some(count) = card
        .ecc
        .map(super::EccCounts::errors)
        .filter(|count| *count > ECC_LIMIT)
    {
        concerns.push(Concern::Errors { count });
    }
    concerns
}

/// Whether nothing uses a card; `None` where its memory is not known. A card with a process on it is not idle, however
/// little memory that holds. Of a card that is seen through slices only these count: the tool shows the memory of the
/// whole card, which others use.
pub fn idle(report: &DeviceReport, card: u32) -> Option<bool> {
    let slices: Vec<_> = report.slices.iter().filter(|slice| slice.card == card).collect();
    let used = if slices.is_empty() {
        report.card(card)?.memory_used_mib?
    } else {
        slices
            .iter()
            .map(|slice| slice.vram_used_mib)
            .sum::<Option<u64>>()?
    };
    let occupied = report.processes.iter().any(|process| process.card == card);
    Some(used <= IDLE_MAX_MIB && !occupied)
}

#[cfg(test)]
mod tests {
    use super::{
        super::report::{EccCounts, Process, Slice},
        *,
    };

    fn report(memory_used_mib: Option<u64>) -> DeviceReport {
        DeviceReport {
            cards: vec![Card {
                memory_used_mib,
                ..Card::default()
            }],
            ..DeviceReport::default()
        }
    }

    #[test]
    fn idle_is_little_memory_and_no_process() {
        assert_eq!(idle(&report(Some(900)), 0), Some(true));
        assert_eq!(idle(&report(Some(901)), 0), Some(false));
        assert_eq!(idle(&report(None), 0), None);
        assert_eq!(idle(&report(Some(1)), 1), None);
        let mut busy = report(Some(858));
        busy.processes.push(Process {
            pid: 7,
            ..Process::default()
        });
        assert_eq!(idle(&busy, 0), Some(false));
    }

    #[test]
    fn a_slice_is_idle_beside_busy_ones_of_others() {
        let mut shared = report(Some(15155));
        shared.slices.push(Slice {
            vram_used_mib: Some(0),
            ..Slice::default()
        });
        assert_eq!(idle(&shared, 0), Some(true));
        shared.slices[0].vram_used_mib = Some(11_840);
        assert_eq!(idle(&shared, 0), Some(false));
        shared.slices[0].vram_used_mib = None;
        assert_eq!(idle(&shared, 0), None);
    }

    #[test]
    fn limits_are_where_they_are_said_to_be() {
        let card = |temperature_c, errors| Card {
            temperature_c: Some(temperature_c),
            ecc: Some(EccCounts {
                dram_correctable: Some(errors),
                ..EccCounts::default()
            }),
            ..Card::default()
        };
        assert_eq!(concerns(&card(84.5, 64)), []);
        assert_eq!(concerns(&card(85.0, 64)), [Concern::Hot { temperature_c: 85.0 }]);
        assert_eq!(concerns(&card(40.0, 65)), [Concern::Errors { count: 65 }]);
        assert_eq!(concerns(&Card::default()), []);
    }

    #[test]
    fn a_hidden_card_is_not_available() {
        let state = Some("Not Available".to_owned());
        let reason = Some("MetaX Sysfs File Unaccessible".to_owned());
        let hidden = Card {
            state,
            unavailable_reason: reason.clone(),
            ..Card::default()
        };
        assert_eq!(concerns(&hidden), [Concern::NotAvailable { reason }]);
    }
}
