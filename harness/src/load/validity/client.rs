//! Conditions on the client: it must not measure itself.

use std::fmt::Write as _;

use super::{Condition, Evidence, State, condition, held};

/// Median delay of the client, seconds: of sends behind their schedule, and of reads behind the kernel.
const DELAY_S: f64 = 0.01;
/// Share of a processor beyond which a worker has no reserve.
const BUSY: f64 = 0.9;
/// Share of the time that a quota may hold the client back.
const THROTTLED: f64 = 0.05;

/// Median of real seconds; the figures may be on a faster clock.
fn median_s(evidence: &Evidence<'_>, mut seconds: Vec<f64>) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    crate::stats::percentile(&seconds, 50.0).map(|median| median / evidence.clock.speedup())
}

/// Whether requests were sent when they were due.
pub fn schedule(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "schedule";
    let delays = evidence
        .samples
        .iter()
        .map(|sample| sample.sent_s - sample.scheduled_s);
    let Some(median) = median_s(evidence, delays.collect()) else {
        return condition(NAME, State::Unknown, "nothing was sent");
    };
    let text = format!(
        "requests were sent {:.2} ms after they were due (median; limit 10 ms)",
        median * 1e3
    );
    let why = if median < DELAY_S {
        ""
    } else {
        ": this host is too busy, or too few connections are allowed (--max-in-flight)"
    };
    held(NAME, median < DELAY_S, text + why)
}

/// Whether answers were read when they came.
pub fn reads(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "reads";
    let Some(lag) = evidence.client.lag_ms else {
        return condition(
            NAME,
            State::Unknown,
            "the kernel stamps nothing here, so nobody knows how late the client reads",
        );
    };
    let text = format!(
        "answers were read {:.2} ms after they had come (median; limit 10 ms; p99 {:.2} ms)",
        lag.p50, lag.p99
    );
    held(NAME, lag.p50 < DELAY_S * 1e3, text)
}

/// Whether the client had processor time to spare.
pub fn processor(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "client_cpu";
    let client = evidence.client;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut text = format!(
        "the busiest worker computed {} of the time (limit 90 %)",
        percent(client.busiest_share)
    );
    if let Some(waited) = client.waited_share {
        let _ = write!(text, ", waited for a processor {}", percent(waited));
    }
    let throttled = client.throttled_share.unwrap_or_default();
    if throttled > 0.0 {
        let _ = write!(
            text,
            ", was held back by a quota {} (limit 5 %)",
            percent(throttled)
        );
    }
    held(NAME, client.busiest_share < BUSY && throttled < THROTTLED, text)
}

/// Whether times are the kernel's.
pub fn clock(evidence: &Evidence<'_>) -> Condition {
    let steps = evidence.client.clock_steps;
    match evidence.client.clock_note() {
        _ if steps > 0 => held(
            "clock",
            false,
            format!("somebody set this host's clock {steps} times meanwhile"),
        ),
        Some(note) => condition("clock", State::Doubtful, note),
        None => held("clock", true, "every time is the kernel's receive stamp"),
    }
}
