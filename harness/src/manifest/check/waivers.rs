//! The `stacks` and `waivers` sections: names that must be known, and dates that must not have passed.

use std::collections::BTreeMap;

use time::{Date, macros::format_description};

use super::{Document, repeated, texts};
use crate::manifest::{
    Accelerator, MemoryMetric,
    diagnostics::Diagnostic,
    wording::{counted, quoted, suggestion},
};

/// How long before its end a waiver is warned of, in days.
const WARN_DAYS: i64 = 14;

/// What the names in a manifest may refer to.
pub(in crate::manifest) struct Known<'a> {
    /// Every stack, with its accelerator where its file can be read.
    pub(in crate::manifest) stacks: &'a BTreeMap<String, Option<Accelerator>>,
    /// Ids of the manifest's cases.
    pub(in crate::manifest) cases: &'a [String],
    /// Whether `cases` is complete: no file of cases is missing or broken.
    pub(in crate::manifest) all_cases: bool,
    /// The day that waivers are held against.
    pub(in crate::manifest) today: Date,
}

/// Checks the names of `stacks`, the accelerators of `budgets`, and the waivers.
pub(in crate::manifest) fn waivers(document: &Document, known: &Known<'_>, problems: &mut Vec<Diagnostic>) {
    stacks(document, known, problems);
    let trials = trials(document, known);
    let mut seen = Vec::new();
    for waiver in document.items("/waivers") {
        let [trial_place, stack_place, until_place] =
            ["trial", "stack", "until"].map(|key| format!("{waiver}/{key}"));
        if let Some(trial) = document.read::<String>(&trial_place) {
            let maybe_case = !known.all_cases && trial.starts_with("correctness::");
            if !trials.contains(&trial) && !maybe_case {
                let unknown = document.wrong(
                    &trial_place,
                    format!("this model has no trial {}", quoted(&trial)),
                );
                problems.push(unknown.help(suggestion(&trial, &trials)));
            }
            let stack = document.read::<String>(&stack_place);
            let name = stack.map_or(trial.clone(), |stack| format!("{trial} on {stack}"));
            seen.push((name, trial_place));
        }
        stack_name(document, &stack_place, known, problems);
        until(document, &until_place, known.today, problems);
    }
    repeated(document, seen, "a waiver of", problems);
}

fn stacks(document: &Document, known: &Known<'_>, problems: &mut Vec<Diagnostic>) {
    let names = texts(document, "/stacks");
    for (_, place) in &names {
        stack_name(document, place, known, problems);
    }
    let accelerators: Option<Vec<Accelerator>> = names
        .iter()
        .map(|(name, _)| known.stacks.get(name).copied().flatten())
        .collect();
    // Only where every stack is known can one say that none of them has the accelerator.
    for accelerator in [Accelerator::C500, Accelerator::A100_40gb, Accelerator::Cpu] {
        let place = format!("/budgets/{}", accelerator.as_str());
        let unused = accelerators
            .as_ref()
            .is_some_and(|all| !all.is_empty() && !all.contains(&accelerator));
        if unused && document.has(&place) {
            let message = format!("no stack of this manifest measures on `{}`", accelerator.as_str());
            let unmeasured = document
                .wrong_part(&place, message)
                .see(document.key("/stacks"), "the stacks");
            problems.push(
                unmeasured.help("add a stack with this accelerator to `stacks`, or remove these budgets"),
            );
        }
    }
    repeated(document, names, "the stack", problems);
}

fn stack_name(document: &Document, place: &str, known: &Known<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(name) = document.read::<String>(place) else {
        return;
    };
    if !known.stacks.contains_key(&name) {
        let names: Vec<&String> = known.stacks.keys().collect();
        let unknown = document.wrong(place, format!("no stack {} in ci/stacks", quoted(&name)));
        problems.push(unknown.help(suggestion(&name, &names)));
    }
}

fn until(document: &Document, place: &str, today: Date, problems: &mut Vec<Diagnostic>) {
    let Some(text) = document.read::<String>(place) else {
        return;
    };
    let numbers = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let Ok(date) = Date::parse(&text, format_description!("[year]-[month]-[day]")) else {
        // What has not even the form of a date is the schema's to report.
        if numbers {
            let unreal = document.wrong(place, format!("{} is not in the calendar", quoted(&text)));
            problems.push(unreal.help("write the last day on which the waiver holds"));
        }
        return;
    };
    let left = (date - today).whole_days();
    if left < 0 {
        let expired = document.wrong(place, format!("this waiver expired on {date}; today is {today}"));
        problems.push(expired.help("mend what was waived, or agree on a later date and its reason"));
    } else if left <= WARN_DAYS {
        let days = usize::try_from(left).map_or(String::new(), |days| counted(days, "day"));
        let ends = Diagnostic::warning(format!("this waiver ends in {days}, with {date}"));
        problems.push(
            ends.at(document.place(place), "")
                .help("then its trial counts again"),
        );
    }
}

/// The names of the manifest's trials, without the model's.
fn trials(document: &Document, known: &Known<'_>) -> Vec<String> {
    let mut names = ["boot", "memory::prediction", "latency::single_stream"]
        .map(str::to_owned)
        .to_vec();
    let limited = |metric: &&MemoryMetric| {
        ["c500", "a100_40gb", "cpu"]
            .iter()
            .any(|card| document.has(&format!("/budgets/{card}/memory/{}", metric.name())))
    };
    let memory = MemoryMetric::ALL.iter().filter(limited);
    names.extend(memory.map(|metric| format!("memory::{}", metric.name())));
    names.extend(known.cases.iter().map(|case| format!("correctness::{case}")));
    names.extend(["drift", "grades"].map(|suite| format!("correctness::{suite}")));
    let phases = document.items("/workload/throughput");
    let concurrency = phases.filter_map(|phase| document.read::<u32>(&format!("{phase}/concurrency")));
    let concurrency: Vec<u32> = concurrency.collect();
    names.extend(
        concurrency
            .iter()
            .map(|in_flight| format!("throughput::concurrency_{in_flight}")),
    );
    names.extend(["answers", "latency.ttft_p50", "latency.tpot_p50"].map(|asked| format!("gate::{asked}")));
    // A gate does not compare blocks: versions cut the same cache into blocks of other sizes.
    let gated = MemoryMetric::ALL
        .iter()
        .filter(|metric| **metric != MemoryMetric::NumBlocks);
    names.extend(gated.map(|metric| format!("gate::memory.{}", metric.name())));
    names.extend(
        concurrency
            .iter()
            .map(|in_flight| format!("gate::throughput.output@{in_flight}")),
    );
    names
}
