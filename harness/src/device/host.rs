//! What the kernel and the file system say of MetaX cards, without any tool: PCI devices, the driver's module, device
//! nodes, and the MACA toolkit. The root of the file system is given, so that tests can make one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    reading::known,
    report::{DeviceReport, supersede},
};

/// MetaX's PCI vendor id.
const VENDOR: &str = "0x9999";

/// Traces of MetaX cards on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostTraces {
    /// PCI addresses of MetaX devices, sorted.
    pub pci_cards: Vec<String>,
    /// Version of the loaded kernel module `metax`.
    pub module_version: Option<String>,
    /// Whether `/dev/mxcd` is there.
    pub has_mxcd: bool,
    /// Nodes in `/dev/dri`, sorted. Cards of other makers have such nodes too.
    pub dri_nodes: Vec<String>,
    /// Version of the toolkit in `/opt/maca`.
    pub maca_version: Option<String>,
}

impl HostTraces {
    /// Reads the traces below `root`, which is `/` but in tests. What cannot be read is absent.
    pub fn read(root: &Path) -> Self {
        Self {
            pci_cards: pci_cards(root),
            module_version: line(&root.join("sys/module/metax/version")),
            has_mxcd: root.join("dev/mxcd").exists(),
            dri_nodes: names(&root.join("dev/dri")),
            maca_version: maca_version(root),
        }
    }

    /// Fills the versions that the tools did not say.
    pub(super) fn complete(&self, report: &mut DeviceReport) {
        if report.driver_version.is_none() {
            supersede(&mut report.driver_version, self.module_version.clone());
        }
        if report.maca_version.is_none() {
            supersede(&mut report.maca_version, self.maca_version.clone());
        }
    }
}

/// Where mx-smi is installed, below `root`: with the driver or with the toolkit.
pub(super) fn mx_smi_places(root: &Path) -> [PathBuf; 2] {
    ["opt/mxdriver/bin/mx-smi", "opt/maca/bin/mx-smi"].map(|place| root.join(place))
}

fn pci_cards(root: &Path) -> Vec<String> {
    let devices = root.join("sys/bus/pci/devices");
    let is_metax = |name: &String| line(&devices.join(name).join("vendor")).as_deref() == Some(VENDOR);
    names(&devices).into_iter().filter(is_metax).collect()
}

/// The line `Version:…` of the toolkit.
fn maca_version(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("opt/maca/Version.txt")).ok()?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:"))?;
    known(version).map(str::trim).map(str::to_owned)
}

fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    known(text.lines().next()?).map(str::trim).map(str::to_owned)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn reads_what_a_c500_host_has() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "sys/bus/pci/devices/0000:0e:00.0/vendor", "0x9999\n");
        write(root, "sys/bus/pci/devices/0000:00:1f.0/vendor", "0x8086\n");
        write(root, "sys/module/metax/version", "3.0.11\n");
        write(root, "dev/mxcd", "");
        write(root, "dev/dri/renderD128", "");
        write(root, "opt/maca/Version.txt", "MACA SDK\nVersion:3.1.0.14\n");
        let traces = HostTraces::read(root);
        assert_eq!(traces.pci_cards, ["0000:0e:00.0"]);
        assert_eq!(traces.module_version.as_deref(), Some("3.0.11"));
        assert_eq!(traces.maca_version.as_deref(), Some("3.1.0.14"));
        assert_eq!(
            (traces.has_mxcd, traces.dri_nodes),
            (true, vec!["renderD128".to_owned()])
        );
    }

    #[test]
    fn a_host_without_cards_has_no_traces() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(HostTraces::read(root.path()), HostTraces::default());
    }

    #[test]
    fn the_tools_words_go_before_the_files() {
        let traces = HostTraces {
            module_version: Some("1".into()),
            maca_version: Some("2".into()),
            ..Default::default()
        };
        let mut report = DeviceReport {
            driver_version: Some("3.0.11".into()),
            ..DeviceReport::default()
        };
        traces.complete(&mut report);
        assert_eq!(
            (report.driver_version.as_deref(), report.maca_version.as_deref()),
            (Some("3.0.11"), Some("2"))
        );
    }
}
