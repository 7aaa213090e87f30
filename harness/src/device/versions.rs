//! Versions that a stack promises, held against what was found. One rule for `harness doctor`, which looks before a
//! run, and for a session, whose verdicts are invalid on another stack than the one that was named.

use super::DeviceReport;
use crate::manifest::Expect;

/// One version that a stack promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCheck {
    /// What has this version: `mx-smi`, `the driver`.
    pub what: &'static str,
    /// What the stack says.
    pub expected: String,
    /// What is there; `None` where nothing tells.
    pub found: Option<String>,
}

impl VersionCheck {
    /// Whether what is there is what was promised; `None` where nothing tells.
    pub fn holds(&self) -> Option<bool> {
        self.found.as_ref().map(|found| *found == self.expected)
    }
}

/// The host's versions that a stack promises. Each must be met to the letter: drivers differ by their last number.
pub fn host_versions(report: &DeviceReport, expect: &Expect) -> Vec<VersionCheck> {
    let promises = [
        ("mx-smi", &expect.smi, &report.smi_version),
        ("the driver", &expect.driver, &report.driver_version),
        ("MACA on the host", &expect.maca, &report.maca_version),
        ("the BIOS", &expect.bios, &report.bios_version),
    ];
    let check = |(what, expected, found): (&'static str, &Option<String>, &Option<String>)| {
        Some(VersionCheck {
            what,
            expected: expected.clone()?,
            found: found.clone(),
        })
    };
    promises.into_iter().filter_map(check).collect()
}

/// Whether a version is the release `release`: a build's suffix (`0.12.0.post2`, `2.8.0+metax3.3`) makes no other one.
pub fn is_release(version: &str, release: &str) -> bool {
    version
        .strip_prefix(release)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_suffix_is_the_same_release() {
        for version in ["0.12.0", "0.12.0.post2", "0.12.0+cpu", "0.12.0-rc1"] {
            assert!(is_release(version, "0.12.0"), "{version}");
        }
        for version in ["0.12.1", "0.12.01", "0.8.5", ""] {
            assert!(!is_release(version, "0.12.0"), "{version}");
        }
    }

    #[test]
    fn only_what_a_stack_promises_is_held_against_the_host() {
        let expect = Expect {
            driver: Some("3.0.11".into()),
            bios: Some("1.27.5.0".into()),
            smi: Some("2.2.8".into()),
            ..Expect::default()
        };
        let report = DeviceReport {
            driver_version: Some("3.0.11.2".into()),
            smi_version: Some("2.2.8".into()),
            maca_version: Some("3.1.0.14".into()),
            ..DeviceReport::default()
        };
        let checks = host_versions(&report, &expect);
        let told: Vec<_> = checks.iter().map(|check| (check.what, check.holds())).collect();
        assert_eq!(
            told,
            [
                ("mx-smi", Some(true)),
                ("the driver", Some(false)),
                ("the BIOS", None)
            ]
        );
    }
}
