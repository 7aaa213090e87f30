//! The `workload` and `budgets` sections: whether every budget is a limit of something that a trial measures.

use std::collections::BTreeSet;

use super::{Document, repeated};
use crate::manifest::{
    Dimension, LatencyMetric, MemoryMetric, Quantity, ThroughputMetric, Unit, diagnostics::Diagnostic,
    wording::listed,
};

/// Sections of `budgets` by accelerator.
const ACCELERATORS: [&str; 3] = ["c500", "a100_40gb", "cpu"];

pub(super) fn workload(document: &Document, problems: &mut Vec<Diagnostic>) {
    fits_the_model(document, "/workload/latency", problems);
    for phase in document.items("/workload/throughput") {
        fits_the_model(document, &phase, problems);
        let [at_once, in_all] = ["concurrency", "requests"].map(|key| format!("{phase}/{key}"));
        if let (Some(concurrency), Some(requests)) =
            (document.read::<u32>(&at_once), document.read::<u32>(&in_all))
            && requests < concurrency
        {
            let never = document
                .wrong(
                    &in_all,
                    format!("{requests} requests are never {concurrency} at once"),
                )
                .see(document.place(&at_once), "");
            problems.push(never.help(format!("send at least {concurrency} requests")));
        }
    }
    repeated(
        document,
        concurrencies(document, "/workload/throughput"),
        "the concurrency",
        problems,
    );
}

/// Prompt and answer together must fit into a sequence, and an answer has at least one token.
fn fits_the_model(document: &Document, phase: &str, problems: &mut Vec<Diagnostic>) {
    let limit = document.read::<u64>("/serve/max_model_len");
    let prompt = document.read::<u64>(&format!("{phase}/prompt_tokens"));
    for place in document.items(&format!("{phase}/output_tokens")) {
        let Some(output) = document.read::<u64>(&place) else {
            continue;
        };
        if output == 0 {
            problems.push(
                document
                    .wrong(&place, "an answer of no tokens measures nothing")
                    .help("write at least 1"),
            );
        }
        if let (Some(limit), Some(prompt)) = (limit, prompt)
            && prompt.saturating_add(output) > limit
        {
            let message = format!("{prompt} + {output} tokens are longer than max_model_len {limit}");
            let too_long = document
                .wrong(&place, message)
                .see(document.place("/serve/max_model_len"), "");
            problems.push(too_long.help("ask for shorter answers or prompts"));
        }
    }
}

/// The concurrency of each element of the list at `pointer`, with its place.
fn concurrencies(document: &Document, pointer: &str) -> Vec<(u32, String)> {
    document
        .items(pointer)
        .map(|item| format!("{item}/concurrency"))
        .filter_map(|place| Some((document.read(&place)?, place)))
        .collect()
}

/// The least share of right answers is a share.
pub(super) fn correctness(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/correctness/min_right";
    let Some(least) = document.read::<Quantity>(place) else {
        return;
    };
    if least.unit() != Unit::Percent {
        problems.push(wrong_unit(document, place, least, Unit::Percent));
    } else if least.value() > 100.0 {
        let above = document.wrong(place, format!("{least} is more than all"));
        problems.push(above.help("write at most `100 %`"));
    }
}

pub(super) fn budgets(document: &Document, problems: &mut Vec<Diagnostic>) {
    for accelerator in ACCELERATORS {
        let card = format!("/budgets/{accelerator}");
        for metric in MemoryMetric::ALL {
            let place = format!("{card}/memory/{}", metric.name());
            limit(document, &place, metric.unit(), problems);
        }
        let tolerance = format!("{card}/prediction/non_torch_tolerance");
        if let Some(quantity) = document.read::<Quantity>(&tolerance)
            && quantity.unit().dimension() != Dimension::Memory
        {
            problems.push(wrong_unit(document, &tolerance, quantity, Unit::GiB));
        }
        for metric in LatencyMetric::ALL {
            let place = format!("{card}/latency/{}", metric.name());
            limit(document, &place, metric.unit(), problems);
        }
        let throughput = format!("{card}/throughput");
        for item in document.items(&throughput) {
            for metric in ThroughputMetric::ALL {
                limit(
                    document,
                    &format!("{item}/{}", metric.name()),
                    metric.unit(),
                    problems,
                );
            }
            let names: Vec<&str> = ThroughputMetric::ALL.iter().map(|metric| metric.name()).collect();
            if document.lacks(&item, &names) {
                let empty = document.wrong_part(&item, "this throughput budget limits nothing");
                problems.push(empty.help(format!("limit {}", listed(&names))));
            }
        }
        measured(document, &throughput, problems);
        repeated(
            document,
            concurrencies(document, &throughput),
            "the concurrency",
            problems,
        );
    }
}

/// A throughput budget holds at a concurrency that the workload measures.
fn measured(document: &Document, throughput: &str, problems: &mut Vec<Diagnostic>) {
    if !document.has("/workload/throughput") {
        return;
    }
    let measured: BTreeSet<u32> = concurrencies(document, "/workload/throughput")
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    for (concurrency, place) in concurrencies(document, throughput) {
        if !measured.contains(&concurrency) {
            let names: Vec<String> = measured.iter().map(u32::to_string).collect();
            let unmeasured = document
                .wrong(&place, format!("no trial measures concurrency {concurrency}"))
                .see(document.key("/workload/throughput"), "measured here");
            problems.push(unmeasured.help(format!(
                "add it to `workload.throughput`, or write {}",
                listed(&names)
            )));
        }
    }
}

fn limit(document: &Document, place: &str, unit: Unit, problems: &mut Vec<Diagnostic>) {
    if document.lacks(place, &["min", "max"]) {
        let empty = document.wrong_part(place, "this budget has neither `min` nor `max`");
        problems.push(empty.help(format!("write the limit, such as `max: 13.5 {unit}`")));
    }
    let [min_place, max_place] = ["min", "max"].map(|bound| format!("{place}/{bound}"));
    let mut bound = |place: &str| {
        let quantity: Quantity = document.read(place)?;
        if quantity.unit().dimension() == unit.dimension() {
            return Some(quantity);
        }
        problems.push(wrong_unit(document, place, quantity, unit));
        None
    };
    if let (Some(min), Some(max)) = (bound(&min_place), bound(&max_place))
        && min.in_base_unit() > max.in_base_unit()
    {
        let crossed = document
            .wrong(&min_place, format!("`min` {min} is above `max` {max}"))
            .see(document.place(&max_place), "");
        problems.push(crossed.help("exchange them, or keep one"));
    }
}

fn wrong_unit(document: &Document, place: &str, found: Quantity, expected: Unit) -> Diagnostic {
    // A bound stands under its metric; a limit without bounds is a metric itself.
    let key = place.rsplit('/').find(|key| !["min", "max"].contains(key));
    let metric = key.unwrap_or_default();
    let units: Vec<&str> = Unit::ALL
        .into_iter()
        .filter(|unit| unit.dimension() == expected.dimension())
        .map(Unit::symbol)
        .collect();
    let what = match expected.dimension() {
        Dimension::Memory => "memory",
        Dimension::Time => "a time",
        Dimension::TokenRate => "tokens for each second",
        Dimension::RequestRate => "requests for each second",
        Dimension::Blocks => "a count of blocks",
        Dimension::Tokens => "a count of tokens",
        Dimension::Multiple => "a multiple",
        Dimension::Share => "a share",
        Dimension::Divergence => "a divergence",
    };
    document
        .wrong(
            place,
            format!("`{metric}` is {what}: the unit of `{found}` does not fit"),
        )
        .help(format!("write it in {}", listed(&units)))
}
