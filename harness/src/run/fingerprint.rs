//! The stack as it was found: versions on the host and inside the container, cards, weights. What the stack file
//! promises and the host does not hold is a failure, so that the session counts as invalid.

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest as _, Sha256};

use super::SessionPlan;
use crate::{
    device::{DeviceReport, Tools, VersionCheck, host_versions, is_release},
    manifest::{Accelerator, Target},
    record::Finding,
    target::Server,
};

/// Hexadecimal digits that tell one set of cards from another without naming their serial numbers.
const ID_DIGITS: usize = 16;

/// What was found, and what differs from the promise.
#[derive(Debug, Default)]
pub struct Fingerprint {
    /// By the names that the record's environment uses.
    pub environment: BTreeMap<String, String>,
    /// Differences, and what could not be seen.
    pub findings: Vec<Finding>,
}

/// Looks at the host and into the container.
pub async fn take(plan: &SessionPlan, tools: &Tools, cards: &[u32], server: &Server) -> Fingerprint {
    let mut taken = Fingerprint::default();
    if has_cards(plan) {
        let asked = tools.clone();
        let report = tokio::task::spawn_blocking(move || asked.report()).await;
        let report = report
            .map_err(|error| error.to_string())
            .and_then(|report| report.map_err(|error| error.to_string()));
        taken.host(plan, cards, report);
    }
    match server.inside().await {
        Some(Ok(versions)) => taken.environment.extend(versions),
        Some(Err(why)) => taken.findings.push(Finding::note(format!(
            "what is installed inside the container cannot be seen: {why}"
        ))),
        None => {}
    }
    taken.torch(plan);
    if let Some(version) = line(Path::new("/proc/sys/kernel/osrelease")) {
        taken.environment.insert("kernel".to_owned(), version);
    }
    taken
}

/// Whether the cards of this host are those of the session.
fn has_cards(plan: &SessionPlan) -> bool {
    let stack = &plan.stack.stack;
    stack.accelerator != Accelerator::Cpu
        && matches!(stack.target(), Some(Target::Docker(_) | Target::Process(_)))
}

fn line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

impl Fingerprint {
    /// What the tools of the host say of it.
    fn host(&mut self, plan: &SessionPlan, cards: &[u32], report: Result<DeviceReport, String>) {
        let expect = &plan.stack.stack.expect;
        let report = report.unwrap_or_else(|why| {
            self.findings.push(Finding::warning(format!(
                "driver and cards of this host cannot be seen: {why}"
            )));
            DeviceReport::default()
        });
        self.findings
            .extend(host_versions(&report, expect).iter().filter_map(promise_broken));
        let unseen = cards.iter().filter(|&&card| report.card(card).is_none());
        let unseen: Vec<String> = unseen.map(u32::to_string).collect();
        if !report.cards.is_empty() && !unseen.is_empty() {
            self.findings.push(Finding::warning(format!(
                "the host's tool does not show cards that this session uses: {}",
                unseen.join(", ")
            )));
        }
        self.environment.extend(shown(&report, cards));
    }

    /// torch inside the container, against the promise.
    fn torch(&mut self, plan: &SessionPlan) {
        let Some(expected) = &plan.stack.stack.expect.torch else {
            return;
        };
        let found = self.environment.get("torch");
        if found.is_some_and(|found| is_release(found, expected)) {
            return;
        }
        let check = VersionCheck {
            what: "torch in the container",
            expected: expected.clone(),
            found: found.cloned(),
        };
        self.findings.extend(promise_broken(&check));
    }
}

fn promise_broken(check: &VersionCheck) -> Option<Finding> {
    let (what, expected) = (check.what, &check.expected);
    match (check.holds(), &check.found) {
        (Some(true), _) => None,
        (_, Some(found)) => Some(Finding::failure(format!(
            "{what} is {found}, the stack promises {expected}: install that, or name the stack that is installed"
        ))),
        (_, None) => Some(Finding::warning(format!(
            "{what} could not be seen; the stack promises {expected}"
        ))),
    }
}

fn shown(report: &DeviceReport, cards: &[u32]) -> BTreeMap<String, String> {
    let used = || report.cards.iter().filter(|card| cards.contains(&card.index));
    let name = used().find_map(|card| card.name.clone());
    let power = used().find_map(|card| card.power_cap_w);
    let versions = [
        ("smi", report.smi_version.clone()),
        ("driver", report.driver_version.clone()),
        ("maca_of_host", report.maca_version.clone()),
        ("bios", report.bios_version.clone()),
        ("cards", name.map(|name| format!("{} × {name}", used().count()))),
        ("power_cap", power.map(|watts| format!("{watts} W"))),
        (
            "card_ids",
            card_ids(used().filter_map(|card| card.uuid.as_deref())),
        ),
    ];
    versions
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Tells whether two sessions ran on the same cards, and nothing more.
fn card_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    if ids.is_empty() {
        return None;
    }
    let digits = format!("{:x}", Sha256::digest(ids.join("\n")));
    Some(format!("sha256:{}", &digits[..ID_DIGITS]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::parse_saved, record::Severity};

    const TABLE: &str = include_str!("../device/fixtures/table-2.2.8.txt");

    #[test]
    fn the_hosts_versions_and_cards_are_named() {
        let shown = shown(&parse_saved(TABLE).unwrap(), &[0]);
        let shown: Vec<String> = shown
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn a_broken_promise_fails_and_an_unseen_one_warns() {
        let check = |found: Option<&str>| VersionCheck {
            what: "the driver",
            expected: "3.0.11".into(),
            found: found.map(str::to_owned),
        };
        assert_eq!(promise_broken(&check(Some("3.0.11"))), None);
        let broken = promise_broken(&check(Some("3.1.0"))).unwrap();
        assert_eq!(broken.severity, Severity::Failure);
        assert!(
            broken.text.contains("is 3.1.0, the stack promises 3.0.11"),
            "{}",
            broken.text
        );
        assert_eq!(promise_broken(&check(None)).unwrap().severity, Severity::Warning);
    }

    #[test]
    fn ids_of_cards_do_not_depend_on_their_order() {
        let ids = card_ids(["GPU-1", "GPU-2"].into_iter());
        assert_eq!(ids, card_ids(["GPU-2", "GPU-1"].into_iter()));
        assert_ne!(ids, card_ids(["GPU-1"].into_iter()));
        assert_eq!(card_ids(std::iter::empty()), None);
    }
}
