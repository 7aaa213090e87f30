//! Every way in which the harness calls a management tool. There is no other way: [`Invocation`] has no variant with
//! text in it, so what changes a card (reset, firmware, limits, modes, slices) cannot be expressed.

use super::nvidia_smi;

/// A call that only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invocation {
    /// The main table.
    Summary,
    /// `-L`: cards, slices, and cards that are hidden from this container.
    List,
    /// `-j`.
    Json,
    /// Versions of MACA, BIOS, driver and firmware.
    Version,
    /// Memory.
    Memory,
    /// Utilization.
    Usage,
    /// Temperatures.
    Temperature,
    /// Power.
    BoardPower,
    /// Names and capacities.
    Hardware,
    /// Processes.
    Processes,
    /// Memory errors.
    EccCounts,
    /// One round of the monitor.
    Monitor,
    /// Links between the cards.
    Topology,
    /// Utilization of slices.
    SliceUsage,
    /// Memory of slices.
    SliceMemory,
    /// nvidia-smi's query.
    NvidiaQuery,
}

impl Invocation {
    /// Every call.
    pub const ALL: [Self; 16] = [
        Self::Summary,
        Self::List,
        Self::Json,
        Self::Version,
        Self::Memory,
        Self::Usage,
        Self::Temperature,
        Self::BoardPower,
        Self::Hardware,
        Self::Processes,
        Self::EccCounts,
        Self::Monitor,
        Self::Topology,
        Self::SliceUsage,
        Self::SliceMemory,
        Self::NvidiaQuery,
    ];

    /// Its arguments.
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Summary => &[],
            Self::List => &["-L"],
            Self::Json => &["-j"],
            Self::Version => &["--show-version"],
            Self::Memory => &["--show-memory"],
            Self::Usage => &["--show-usage"],
            Self::Temperature => &["--show-temperature"],
            Self::BoardPower => &["--show-board-power"],
            Self::Hardware => &["--show-hwinfo"],
            Self::Processes => &["--show-all-process"],
            Self::EccCounts => &["--count-ecc"],
            Self::Monitor => &["dmon", "-c", "1"],
            Self::Topology => &["topo", "-m"],
            Self::SliceUsage => &["sgpu", "--show-usage"],
            Self::SliceMemory => &["sgpu", "--show-memory"],
            Self::NvidiaQuery => &nvidia_smi::ARGUMENTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options and beginnings of options that change a card, kill a process, or write a file.
    const FORBIDDEN: [&str; 20] = [
        "-r",
        "-u",
        "-U",
        "-o",
        "-t",
        "--reset",
        "--vbios",
        "--force",
        "--set",
        "--kill",
        "--flr",
        "--vfflr",
        "--create",
        "--remove",
        "--enable",
        "--disable",
        "--clear",
        "--gpu-reset",
        "-pm",
        "-pl",
    ];

    #[test]
    fn nothing_that_changes_a_card_can_be_expressed() {
        for invocation in Invocation::ALL {
            for argument in invocation.arguments() {
                let changes = |forbidden: &&str| {
                    if forbidden.starts_with("--") {
                        argument.starts_with(*forbidden)
                    } else {
                        argument == forbidden
                    }
                };
                let found = FORBIDDEN.iter().find(|forbidden| changes(forbidden));
                assert_eq!(found, None, "{invocation:?} calls {argument}");
                let reads = ["--show-", "--count-ecc", "--query-gpu=", "--format="];
                let known = reads.iter().any(|read| argument.starts_with(read))
                    || ["-L", "-j", "-c", "1", "-m", "dmon", "topo", "sgpu"].contains(argument);
                assert!(known, "{invocation:?}: say here that {argument} only reads");
            }
        }
    }

    #[test]
    fn all_is_all() {
        for (at, invocation) in Invocation::ALL.iter().enumerate() {
            assert_eq!(*invocation as usize, at, "{invocation:?}");
        }
        assert_eq!(Invocation::NvidiaQuery as usize + 1, Invocation::ALL.len());
    }
}
