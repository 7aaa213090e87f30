//! Knowing the machine: which cards a host has, what they are doing, and what is installed around them.
//!
//! [`mx_smi`] and [`nvidia_smi`] read what the tools print, [`host`] what the kernel says; all make a
//! [`DeviceReport`]. [`query`] asks the tools of this host, only ever by a read-only [`Invocation`]. [`health`] holds
//! the rules on when a card may be used, [`host_versions`] holds what a stack promises against what is there.

pub mod health;
pub mod host;
mod invocation;
pub mod mx_smi;
pub mod nvidia_smi;
pub mod query;
mod reading;
mod report;
pub mod sample;
mod topology;
mod versions;

#[cfg(test)]
mod tests;

pub use invocation::Invocation;
pub use query::{QueryError, Tools, current};
pub use report::{Card, DeviceReport, EccCounts, Process, Slice};
pub use topology::{Link, Topology};
pub use versions::{VersionCheck, host_versions, is_release};

/// Reads a saved output: any of mx-smi's, several one after another, or the answer to nvidia-smi's query.
pub fn parse_saved(text: &str) -> Result<DeviceReport, QueryError> {
    // Editors of some systems put a byte order mark before the text.
    let text = text.trim_start_matches('\u{feff}');
    if nvidia_smi::looks_like_answer(text) {
        return Ok(nvidia_smi::parse(text)?);
    }
    Ok(mx_smi::parse_any(text)?)
}
