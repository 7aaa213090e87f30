//! What is known of this host's cards, whoever said it: mx-smi in any layout, nvidia-smi, or sysfs.
//!
//! Every reader makes a [`DeviceReport`] of what its text holds and leaves the rest `None`; [`DeviceReport::absorb`]
//! joins them. Nothing is ever filled in by a guess.

use serde::{Deserialize, Serialize};

use super::topology::Topology;

/// Cards, slices and processes, with the versions around them. `None` is `null`: the text does not hold it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Version of the management tool (`2.2.8`).
    pub smi_version: Option<String>,
    /// Version of the kernel-mode driver.
    pub driver_version: Option<String>,
    /// Version of MACA that the tool sees, which need not be that of a container beside it.
    pub maca_version: Option<String>,
    /// BIOS of the cards; of the last card where they differ.
    pub bios_version: Option<String>,
    /// Cards, by index.
    pub cards: Vec<Card>,
    /// Slices of cards, by card and id.
    pub slices: Vec<Slice>,
    /// Processes on cards, by card and process id.
    pub processes: Vec<Process>,
    /// How the cards are linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// What a reader of this report should know of its source, such as that the text was cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One card.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The tool's index.
    pub index: u32,
    /// Name: the board's (`MetaX C500`) where the text says it, otherwise the chip's (`MXC500`).
    pub name: Option<String>,
    /// PCI address, `domain:bus:device.function`.
    pub bus_id: Option<String>,
    /// Unique id.
    pub uuid: Option<String>,
    /// Memory in use on the physical card, MiB.
    pub memory_used_mib: Option<u64>,
    /// Memory of the physical card, MiB, also where only a slice of it may be used.
    pub memory_total_mib: Option<u64>,
    /// Share of time in which it computed, percent.
    pub utilization_percent: Option<f64>,
    /// Power of the board, W.
    pub power_w: Option<f64>,
    /// Limit of that power, W.
    pub power_cap_w: Option<f64>,
    /// Temperature of the hottest spot, °C.
    pub temperature_c: Option<f64>,
    /// The tool's word: `Available`, `Not Available`.
    pub state: Option<String>,
    /// Why it is not available.
    pub unavailable_reason: Option<String>,
    /// Persistence mode: `On`, `Off`.
    pub persistence: Option<String>,
    /// Performance state: `P0` to `P9`.
    pub performance_state: Option<String>,
    /// Whether it can be sliced, in the tool's words: `Native`, `Enabled`, `Disabled`.
    pub slicing: Option<String>,
    /// Memory errors since the driver was loaded.
    pub ecc: Option<EccCounts>,
}

/// Memory errors of a card; `None` where the text does not count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EccCounts {
    /// Corrected, in SRAM.
    pub sram_correctable: Option<u64>,
    /// Not corrected, in SRAM.
    pub sram_uncorrectable: Option<u64>,
    /// Corrected, in DRAM.
    pub dram_correctable: Option<u64>,
    /// Not corrected, in DRAM.
    pub dram_uncorrectable: Option<u64>,
    /// Pages retired.
    pub retired_pages: Option<u64>,
}

impl EccCounts {
    /// Errors that were counted, of every kind; retired pages are their consequence and not counted again.
    pub fn errors(self) -> u64 {
        let kinds = [
            self.sram_correctable,
            self.sram_uncorrectable,
            self.dram_correctable,
            self.dram_uncorrectable,
        ];
        kinds.into_iter().flatten().fold(0, u64::saturating_add)
    }
}

/// A slice of a card (sGPU).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Index of its card.
    pub card: u32,
    /// Its id on that card.
    pub id: u32,
    /// Minor number of its device node.
    pub minor: Option<u32>,
    /// Share of the card's computing, percent.
    pub compute_percent: Option<f64>,
    /// Memory in use, MiB.
    pub vram_used_mib: Option<u64>,
    /// Memory it may use, MiB: the budget of a server on this slice.
    pub vram_quota_mib: Option<u64>,
    /// Share of time in which it computed, percent.
    pub utilization_percent: Option<f64>,
    /// Unique id.
    pub uuid: Option<String>,
    /// The tool's word: `Available`, `Not Available`.
    pub state: Option<String>,
    /// The name that was given to it.
    pub alias: Option<String>,
}

/// A process that uses a card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Index of the card.
    pub card: u32,
    /// Process id, in the namespace that the tool sees.
    pub pid: u32,
    /// Name.
    pub name: Option<String>,
    /// Memory on the card, MiB.
    pub memory_mib: Option<u64>,
}

impl DeviceReport {
    /// The card of this index.
    pub fn card(&self, index: u32) -> Option<&Card> {
        self.cards.iter().find(|card| card.index == index)
    }

    /// The card of this index, added where it is new.
    pub(super) fn card_mut(&mut self, index: u32) -> &mut Card {
        let place = match self.cards.binary_search_by_key(&index, |card| card.index) {
            Ok(place) => place,
            Err(place) => {
                self.cards.insert(
                    place,
                    Card {
                        index,
                        ..Card::default()
                    },
                );
                place
            }
        };
        &mut self.cards[place]
    }

    /// The slice of this card and id, added where it is new.
    pub(super) fn slice_mut(&mut self, card: u32, id: u32) -> &mut Slice {
        let place = match self
            .slices
            .binary_search_by_key(&(card, id), |slice| (slice.card, slice.id))
        {
            Ok(place) => place,
            Err(place) => {
                self.slices.insert(
                    place,
                    Slice {
                        card,
                        id,
                        ..Slice::default()
                    },
                );
                place
            }
        };
        &mut self.slices[place]
    }

    /// Adds a process, in place of what was known of it.
    pub(super) fn put_process(&mut self, process: Process) {
        let key = |process: &Process| (process.card, process.pid);
        match self.processes.binary_search_by_key(&key(&process), key) {
            Ok(place) => self.processes[place] = process,
            Err(place) => self.processes.insert(place, process),
        }
    }

    /// Adds what `later` holds. Where both hold a figure, the later one counts.
    pub fn absorb(&mut self, later: Self) {
        supersede(&mut self.smi_version, later.smi_version);
        supersede(&mut self.driver_version, later.driver_version);
        supersede(&mut self.maca_version, later.maca_version);
        supersede(&mut self.bios_version, later.bios_version);
        supersede(&mut self.topology, later.topology);
        for card in later.cards {
            self.card_mut(card.index).absorb(card);
        }
        for slice in later.slices {
            self.slice_mut(slice.card, slice.id).absorb(slice);
        }
        for process in later.processes {
            self.put_process(process);
        }
        for remark in later.remarks {
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
    }
}

impl Card {
    fn absorb(&mut self, later: Self) {
        if let Some(name) = later.name {
            self.rename(name);
        }
        supersede(&mut self.bus_id, later.bus_id);
        supersede(&mut self.uuid, later.uuid);
        supersede(&mut self.memory_used_mib, later.memory_used_mib);
        supersede(&mut self.memory_total_mib, later.memory_total_mib);
        supersede(&mut self.utilization_percent, later.utilization_percent);
        supersede(&mut self.power_w, later.power_w);
        supersede(&mut self.power_cap_w, later.power_cap_w);
        supersede(&mut self.temperature_c, later.temperature_c);
        supersede(&mut self.state, later.state);
        supersede(&mut self.unavailable_reason, later.unavailable_reason);
        supersede(&mut self.persistence, later.persistence);
        supersede(&mut self.performance_state, later.performance_state);
        supersede(&mut self.slicing, later.slicing);
        supersede(&mut self.ecc, later.ecc);
    }

    /// Some outputs say the board (`MetaX C500`), some the chip (`MXC500`): the board's name, of two words, stays.
    pub(super) fn rename(&mut self, name: String) {
        let is_board = |name: &str| name.contains(' ');
        if is_board(&name) || !self.name.as_deref().is_some_and(is_board) {
            self.name = Some(name);
        }
    }
}

impl Slice {
    fn absorb(&mut self, later: Self) {
        supersede(&mut self.minor, later.minor);
        supersede(&mut self.compute_percent, later.compute_percent);
        supersede(&mut self.vram_used_mib, later.vram_used_mib);
        supersede(&mut self.vram_quota_mib, later.vram_quota_mib);
        supersede(&mut self.utilization_percent, later.utilization_percent);
        supersede(&mut self.uuid, later.uuid);
        supersede(&mut self.state, later.state);
        supersede(&mut self.alias, later.alias);
    }
}

/// Keeps what is known unless something newer is.
pub(super) fn supersede<T>(known: &mut Option<T>, later: Option<T>) {
    if later.is_some() {
        *known = later;
    }
}
