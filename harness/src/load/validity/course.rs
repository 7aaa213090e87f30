//! Conditions on the course of a phase: a warm server, and one speed.

use super::{Condition, Evidence, State, condition, held};
use crate::load::summary::ttft_s;

/// How far the two halves of the steady part may be apart.
const STEADY_TOLERANCE: f64 = 0.1;
/// Requests that must end within the steady part for its halves to be compared.
const STEADY_REQUESTS: u64 = 20;
/// The first request is cold if its first token took this much longer than any other's, and a second more.
const COLD_FACTOR: f64 = 3.0;

/// Whether the server was warm.
pub fn warm_up(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "warm_up";
    let answered = || evidence.samples.iter().filter(|sample| sample.error.is_none());
    let first = answered().min_by(|a, b| a.sent_s.total_cmp(&b.sent_s));
    let others = answered()
        .filter(|sample| Some(sample.index) != first.map(|first| first.index))
        .filter_map(ttft_s)
        .reduce(f64::max);
    let (Some(first), Some(others)) = (first.and_then(ttft_s), others) else {
        return condition(NAME, State::Unknown, "too few requests to tell a cold one");
    };
    if first > COLD_FACTOR * others && first > others + 1.0 {
        let text = format!(
            "the first request's first token took {first:.2} s, any other's at most {others:.2} s: raise --warmup"
        );
        return held(NAME, false, text);
    }
    match evidence.warmup {
        0 => condition(
            NAME,
            State::Doubtful,
            "no warm-up; the first request was not slower than the others",
        ),
        count => held(NAME, true, format!("{count} requests before the measured ones")),
    }
}

/// Whether the full part went at one speed.
pub fn steady(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "steady";
    let steady = match evidence.figures.steady {
        Some(steady) if steady.ended >= STEADY_REQUESTS => steady,
        other => {
            let ended = other.map_or(0, |steady| steady.ended);
            let text = format!(
                "{ended} requests ended while as many were in flight as ever; {STEADY_REQUESTS} are needed"
            );
            return condition(NAME, State::Unknown, text);
        }
    };
    let [first, second] = steady.halves_tokens_per_s;
    let change = second / first - 1.0;
    let text = format!(
        "from {:.1} s to {:.1} s: {first:.1} output tokens/s in the first half, {second:.1} in the second (limit 10 % apart)",
        steady.from_s, steady.to_s
    );
    held(NAME, change.abs() <= STEADY_TOLERANCE, text)
}
