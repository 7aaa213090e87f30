//! Driver, cards and their versions.

use super::{Check, State};
use crate::{
    cli::doctor::facts::Facts,
    device::{Card, DeviceReport, VersionCheck, health, host_versions},
    manifest::{Accelerator, Stack},
};

/// Checks of driver, cards and versions.
pub(super) fn checks(facts: &Facts, stack: Option<&Stack>) -> Vec<Check> {
    let accelerator = stack
        .filter(|stack| stack.simulator.is_none())
        .map(|stack| stack.accelerator);
    let mut checks = vec![driver(facts, accelerator)];
    match &facts.device {
        Ok(report) => {
            checks.push(cards(report, accelerator));
            checks.extend(report.slices.iter().map(|slice| {
                let quota = slice
                    .vram_quota_mib
                    .map_or_else(|| "?".to_owned(), |quota| quota.to_string());
                let found = format!(
                    "slice {} of card {}: {quota} MiB may be used",
                    slice.id, slice.card
                );
                Check::ok("slice", found)
            }));
            checks.extend(report.remarks.iter().map(|remark| {
                Check::bad(
                    State::Warning,
                    "cards",
                    remark.as_str(),
                    "see `mx-smi` and the kernel's log (dmesg)",
                )
            }));
            checks.extend(stack.into_iter().flat_map(|stack| versions(report, stack)));
        }
        Err(why) if stack.is_none() => {
            checks.push(Check::ok(
                "cards",
                format!("{why}; stacks on the CPU and the simulator need none"),
            ));
        }
        Err(why) => checks.push(no_cards(why, accelerator)),
    }
    checks
}

fn driver(facts: &Facts, accelerator: Option<Accelerator>) -> Check {
    let traces = &facts.traces;
    let needed = accelerator == Some(Accelerator::C500);
    match (&traces.module_version, traces.has_mxcd, traces.pci_cards.len()) {
        (Some(version), true, _) => {
            Check::ok("driver", format!("metax {version} is loaded, /dev/mxcd is there"))
        }
        (None, true, _) => Check::ok(
            "driver",
            "/dev/mxcd is there; the module's version cannot be read here",
        ),
        (_, false, 0) if !needed => Check::ok("driver", "no MetaX card on the PCI bus: no driver is needed"),
        (_, false, 0) => Check::bad(
            State::Wrong,
            "driver",
            "no MetaX card on the PCI bus and no /dev/mxcd",
            "run this stack on a C500 host, or name a stack for this one with --stack",
        ),
        (module, false, cards) => Check::bad(
            if needed { State::Wrong } else { State::Warning },
            "driver",
            match module {
                Some(version) => format!("metax {version} is loaded, and there is no /dev/mxcd"),
                None => format!("{cards} MetaX cards on the PCI bus, and the module metax is not loaded"),
            },
            "install the driver and load it (modprobe metax); in a container pass --device=/dev/mxcd",
        ),
    }
}

fn no_cards(why: &str, needed: Option<Accelerator>) -> Check {
    match needed {
        Some(Accelerator::C500 | Accelerator::A100_40gb) => Check::bad(
            State::Wrong,
            "cards",
            why,
            "install the tool of the cards and see that this user may run it; in a container pass /dev/dri as well",
        ),
        Some(Accelerator::Cpu) | None => Check::ok("cards", "this stack needs none"),
    }
}

/// Refused cards are wrong only where no usable one is left: others may belong to other containers.
fn cards(report: &DeviceReport, accelerator: Option<Accelerator>) -> Check {
    let mut notes = Vec::new();
    let mut usable = 0;
    for card in &report.cards {
        let refused: Vec<String> = health::concerns(card).iter().map(ToString::to_string).collect();
        if !refused.is_empty() {
            notes.push(format!("card {}: {}", card.index, refused.join("; ")));
            continue;
        }
        match health::idle(report, card.index) {
            Some(false) => notes.push(format!("card {}: in use ({})", card.index, users(report, card))),
            Some(true) | None => usable += 1,
        }
    }
    let names: Vec<&str> = report
        .cards
        .iter()
        .filter_map(|card| card.name.as_deref())
        .collect();
    let name = names.first().copied().unwrap_or("card");
    let found = format!("{usable} of {} × {name} are free", report.cards.len());
    if notes.is_empty() && usable > 0 {
        return Check::ok("cards", found);
    }
    let state = match accelerator {
        Some(Accelerator::C500 | Accelerator::A100_40gb) if usable == 0 => State::Wrong,
        _ => State::Warning,
    };
    let remedy = "free them (end what uses them), or leave them out with CUDA_VISIBLE_DEVICES";
    Check::bad(state, "cards", [vec![found], notes].concat().join("; "), remedy)
}

fn users(report: &DeviceReport, card: &Card) -> String {
    let on_card = report
        .processes
        .iter()
        .filter(|process| process.card == card.index);
    let mut users: Vec<String> = on_card
        .map(|process| {
            format!(
                "process {} {}",
                process.pid,
                process.name.as_deref().unwrap_or("?")
            )
        })
        .collect();
    users.extend(card.memory_used_mib.map(|used| format!("{used} MiB")));
    users.join(", ")
}

/// What the stack promises, against what was found.
fn versions(report: &DeviceReport, stack: &Stack) -> Vec<Check> {
    let check = |version: VersionCheck| {
        let (name, expected) = (format!("version of {}", version.what), &version.expected);
        match (version.holds(), &version.found) {
            (Some(true), Some(found)) => Check::ok(name, found.as_str()),
            (_, Some(found)) => Check::bad(
                State::Wrong,
                name,
                format!("{found}, and the stack expects {expected}"),
                "install what the stack expects, or write a stack for what is installed",
            ),
            (_, None) => Check::bad(
                State::Warning,
                name,
                format!("not said by this host; the stack expects {expected}"),
                "compare it by hand: it cannot be checked here",
            ),
        }
    };
    host_versions(report, &stack.expect)
        .into_iter()
        .map(check)
        .collect()
}
