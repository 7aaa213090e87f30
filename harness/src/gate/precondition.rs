//! What must hold before two sessions may be compared at all. Each breach says which, what was found, and what to do.

use super::{Arm, Boot, judge::Sides};

/// Above this the C500's clocks may be lowered; it shuts down at 110 °C (mx-smi's thresholds).
const HOT_C: f64 = 95.0;
/// Facts that must be equal for two sessions to have served the same model on the same cards.
const SAME_MODEL: [(&str, &str); 3] = [
    ("model_id", "the stacks serve different models"),
    ("revision", "the stacks serve different revisions of the model"),
    ("weights", "the stacks serve different weights"),
];

/// Why nothing may be concluded; empty where something may.
pub fn breaches(sides: &Sides) -> Vec<String> {
    let mut breaches = Vec::new();
    for (side, arms) in [("baseline", &sides.baseline), ("candidate", &sides.candidate)] {
        for arm in arms {
            let told = arm
                .troubles
                .iter()
                .map(|trouble| format!("{side} ({}): {trouble}", arm.run));
            breaches.extend(told);
            if let Some(hot) = arm.max_temperature_c.filter(|&found| found >= HOT_C) {
                breaches.push(format!(
                    "{side} ({}): a card reached {hot} °C (limit {HOT_C} °C), so its clocks may have been lowered: cool \
                     it and repeat",
                    arm.run
                ));
            }
        }
    }
    let all: Vec<&Arm> = sides.baseline.iter().chain(&sides.candidate).collect();
    // A server that did not boot tells nothing of what it would have served.
    let booted: Vec<&&Arm> = all
        .iter()
        .filter(|arm| matches!(arm.boot, Boot::Booted { .. }))
        .collect();
    for (fact, breach) in SAME_MODEL {
        breaches.extend(differ(&booted, fact).map(|found| format!("{breach} ({fact}: {found})")));
    }
    breaches.extend(
        differ(&booted, "card_ids")
            .map(|found| format!("the sessions ran on different cards ({found}): run both on the same")),
    );
    if let Some(first) = all.first() {
        if all.iter().any(|arm| arm.accelerator != first.accelerator) {
            breaches
                .push("the sides ran on different accelerators: use `harness compare` for that".to_owned());
        }
        if all.iter().any(|arm| arm.simulated != first.simulated) {
            breaches.push("one side is simulated, the other is not: they cannot be compared".to_owned());
        }
    }
    breaches
}

/// The values of a fact, where more than one was recorded.
fn differ(arms: &[&&Arm], fact: &str) -> Option<String> {
    let mut values: Vec<&str> = arms
        .iter()
        .filter_map(|arm| arm.fingerprint.get(fact).map(String::as_str))
        .collect();
    values.sort_unstable();
    values.dedup();
    (values.len() > 1).then(|| values.join(" and "))
}
