//! Conditions without which the figures of a phase mean nothing, each with its limit. A condition that is broken makes
//! the phase invalid; one that nothing is known of is named and breaks nothing.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{ClientFigures, Clock, LoadFigures, ServerFigures, probe::Audit, summary::ttft_s};
use crate::record::{RequestSample, Verdict};

/// Lengths may be this far from what was asked (InferenceX #356 lost a tenth of its tokens unnoticed).
const LENGTH_TOLERANCE: f64 = 0.02;
/// Prompt tokens that a prefix cache may hold unasked (vllm #52884 was 2.3 times too fast).
const PREFIX_HITS: f64 = 0.01;
/// Median delay of the client, seconds: of sends behind their schedule, and of reads behind the kernel.
const DELAY_S: f64 = 0.01;
/// Share of a processor beyond which a worker has no reserve.
const BUSY: f64 = 0.9;
/// Share of the time that a quota may hold the client back.
const THROTTLED: f64 = 0.05;
/// How far the two halves of the steady part may be apart.
const STEADY_TOLERANCE: f64 = 0.1;
/// Requests that must end within the steady part for its halves to be compared.
const STEADY_REQUESTS: u64 = 20;
/// The first request is cold if its first token took this much longer than any other's, and a second more.
const COLD_FACTOR: f64 = 3.0;
/// The clients' and the server's mean may be this far apart, seconds or as a share, whichever is more: the network and
/// the API server are between them.
const SERVER_APART: (f64, f64) = (0.05, 0.2);

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Held,
    /// It does not: the figures mean nothing.
    Broken,
    /// Worth a look, and no reason to throw the figures away.
    Doubtful,
    /// It cannot be told.
    Unknown,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Name.
    pub name: String,
    /// Whether it holds.
    pub state: State,
    /// What was measured, and the limit.
    pub text: String,
}

/// All that conditions rest on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The requests.
    pub samples: &'a [RequestSample],
    /// Their figures.
    pub figures: &'a LoadFigures,
    /// The client.
    pub client: &'a ClientFigures,
    /// The server's own figures, or why there are none.
    pub server: Result<&'a ServerFigures, &'a str>,
    /// Whether prompts share beginnings on purpose.
    pub shares_prefixes: bool,
    /// Requests that were sent before, to warm the server up.
    pub warmup: u64,
    /// What the server's count of tokens is worth, where that could be seen.
    pub audit: Option<Audit>,
    /// Clock of the figures.
    pub clock: Clock,
}

/// Every condition of a phase.
pub fn conditions(evidence: &Evidence<'_>) -> Vec<Condition> {
    [
        output_lengths(evidence),
        prompt_lengths(evidence),
        usage(evidence),
        server_counts(evidence),
        server_times(evidence),
        prefix_hits(evidence),
        schedule(evidence),
        reads(evidence),
        processor(evidence),
        warm_up(evidence),
        steady(evidence),
        clock(evidence),
    ]
    .into_iter()
    .collect()
}

/// The verdict over a phase: failed requests fail it, a broken condition makes it invalid.
pub fn verdict(figures: &LoadFigures, conditions: &[Condition]) -> Verdict {
    if figures.failed() > 0 || figures.sent == 0 {
        Verdict::Failed
    } else if conditions
        .iter()
        .any(|condition| condition.state == State::Broken)
    {
        Verdict::Invalid
    } else {
        Verdict::Passed
    }
}

fn condition(name: &str, state: State, text: impl Into<String>) -> Condition {
    Condition {
        name: name.to_owned(),
        state,
        text: text.into(),
    }
}

fn held(name: &str, holds: bool, text: impl Into<String>) -> Condition {
    let state = if holds { State::Held } else { State::Broken };
    condition(name, state, text)
}

/// Requests that were answered, as the server counted their tokens.
fn counted(samples: &[RequestSample]) -> impl Iterator<Item = (&RequestSample, u32)> {
    let good = samples.iter().filter(|sample| sample.error.is_none());
    good.filter_map(|sample| Some((sample, sample.output_tokens?)))
}

fn off(given: u32, asked: u32) -> bool {
    (f64::from(given) / f64::from(asked.max(1)) - 1.0).abs() > LENGTH_TOLERANCE
}

/// Lengths that were asked and given, pair by pair.
fn lengths(name: &str, what: &str, pairs: &[(u32, u32)]) -> Condition {
    if pairs.is_empty() {
        return condition(
            name,
            State::Unknown,
            format!("no {what} has both an asked and a counted length"),
        );
    }
    let wrong = pairs.iter().filter(|(given, asked)| off(*given, *asked)).count();
    let example = pairs.iter().find(|(given, asked)| off(*given, *asked));
    let text = match example {
        None => format!("{} {what}s, each within 2 % of what was asked", pairs.len()),
        Some((given, asked)) => format!(
            "{wrong} of {} {what}s are more than 2 % off: {given} tokens instead of {asked}",
            pairs.len()
        ),
    };
    held(name, wrong == 0, text)
}

fn output_lengths(evidence: &Evidence<'_>) -> Condition {
    let pairs: Vec<_> = counted(evidence.samples)
        .map(|(sample, given)| (given, sample.asked_tokens))
        .collect();
    lengths("output_length", "answer", &pairs)
}

fn prompt_lengths(evidence: &Evidence<'_>) -> Condition {
    let good = evidence.samples.iter().filter(|sample| sample.error.is_none());
    let pairs: Vec<_> = good
        .filter_map(|sample| sample.prompt_tokens.zip(sample.asked_prompt_tokens))
        .collect();
    lengths("prompt_length", "prompt", &pairs)
}

/// More tokens than were allowed, or fewer than chunks came, cannot be.
fn usage(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "usage";
    let figures = evidence.figures;
    if figures.uncounted > 0 {
        let text = format!(
            "{} of {} answers came without `usage`: no figure that rests on tokens means anything",
            figures.uncounted, figures.succeeded
        );
        return held(NAME, false, text);
    }
    if let Some(Audit { ids, usage }) = evidence.audit.filter(|audit| audit.ids != audit.usage) {
        let text = format!(
            "an answer of {ids} token ids was counted as {usage} tokens: the server's `usage` is wrong"
        );
        return held(NAME, false, text);
    }
    let lie = counted(evidence.samples).find_map(|(sample, given)| {
        let (index, asked, chunks) = (sample.index, sample.asked_tokens, sample.chunks_s.len());
        if given > asked {
            Some(format!(
                "request {index}: the server counts {given} tokens where {asked} were allowed"
            ))
        } else if (given as usize) < chunks {
            Some(format!(
                "request {index}: the server counts {given} tokens in {chunks} chunks of tokens"
            ))
        } else {
            None
        }
    });
    match lie {
        Some(lie) => held(NAME, false, lie + ": its `usage` is wrong"),
        None => held(
            NAME,
            true,
            format!("{} answers, none with an impossible count", figures.succeeded),
        ),
    }
}

fn server_counts(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "server_counts";
    let server = match evidence.server {
        Ok(server) => server,
        Err(why) => return condition(NAME, State::Unknown, why),
    };
    let Some(generated) = server.generation_tokens else {
        return condition(NAME, State::Unknown, "the server counts no generated tokens");
    };
    let figures = evidence.figures;
    if figures.failed() > 0 {
        let text =
            "requests failed, so that the server's count of tokens need not be the sum of the answers'";
        return condition(NAME, State::Unknown, text);
    }
    let told = figures.output_tokens;
    let text = if generated == told {
        format!("{told} output tokens, by `usage` and by /metrics")
    } else {
        format!(
            "answers count {told} output tokens, /metrics {generated}: either `usage` is wrong or others use this server"
        )
    };
    held(NAME, generated == told, text)
}

fn server_times(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "server_times";
    let server = match evidence.server {
        Ok(server) => server,
        Err(why) => return condition(NAME, State::Unknown, why),
    };
    let mean = |spread: &Option<super::Spread>| spread.as_ref().map(|spread| spread.mean_s);
    let pairs = [
        ("TTFT", mean(&evidence.figures.ttft), server.ttft_mean_s),
        ("E2EL", mean(&evidence.figures.e2e), server.e2e_mean_s),
    ];
    let known: Vec<(&str, f64, f64)> = pairs
        .into_iter()
        .filter_map(|(name, ours, theirs)| Some((name, ours?, theirs? * evidence.clock.speedup())))
        .collect();
    if known.is_empty() {
        return condition(NAME, State::Unknown, "the server tells no times of its own");
    }
    let apart = |(_, ours, theirs): &(&str, f64, f64)| {
        (ours - theirs).abs() > SERVER_APART.0.max(SERVER_APART.1 * ours.max(*theirs))
    };
    let words: Vec<String> = known
        .iter()
        .map(|(name, ours, theirs)| format!("mean {name} {ours:.3} s here, {theirs:.3} s by /metrics"))
        .collect();
    let state = if known.iter().any(apart) {
        State::Doubtful
    } else {
        State::Held
    };
    condition(NAME, state, words.join("; "))
}

fn prefix_hits(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "prefix_hits";
    let rate = match evidence.server.map(|server| server.prefix_hit_rate) {
        Err(why) => return condition(NAME, State::Unknown, why),
        Ok(None) => {
            return condition(
                NAME,
                State::Unknown,
                "the server counts no hits of a prefix cache",
            );
        }
        Ok(Some(rate)) => rate,
    };
    let percent = 100.0 * rate;
    if evidence.shares_prefixes {
        return held(
            NAME,
            true,
            format!("{percent:.1} % of the prompt tokens were cached, as the shape wants"),
        );
    }
    held(
        NAME,
        rate < PREFIX_HITS,
        format!("{percent:.2} % of the prompt tokens were cached (limit 1 %)"),
    )
}

/// Median of real seconds; the figures may be on a faster clock.
fn median_s(evidence: &Evidence<'_>, mut seconds: Vec<f64>) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    crate::stats::percentile(&seconds, 50.0).map(|median| median / evidence.clock.speedup())
}

fn schedule(evidence: &Evidence<'_>) -> Condition {
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

fn reads(evidence: &Evidence<'_>) -> Condition {
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

fn processor(evidence: &Evidence<'_>) -> Condition {
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

fn warm_up(evidence: &Evidence<'_>) -> Condition {
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

fn steady(evidence: &Evidence<'_>) -> Condition {
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

fn clock(evidence: &Evidence<'_>) -> Condition {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::figures::tests::{asked, failed, sample};

    struct Case {
        samples: Vec<RequestSample>,
        client: ClientFigures,
        server: Option<ServerFigures>,
        shares_prefixes: bool,
        warmup: u64,
        audit: Option<Audit>,
        clock: Clock,
    }

    fn good() -> Case {
        let client = ClientFigures {
            busiest_share: 0.2,
            waited_share: Some(0.01),
            stamped_reads: 300,
            lag_ms: Some(super::super::Lag {
                p50: 0.3,
                p99: 1.2,
                max: 4.0,
            }),
            ..ClientFigures::default()
        };
        let samples: Vec<_> = (0..60)
            .map(|n| sample(n, f64::from(n / 2) + 0.5 * f64::from(n % 2), 0.1, 0.1, 10))
            .collect();
        Case {
            samples,
            client,
            server: Some(ServerFigures {
                generation_tokens: Some(600),
                prefix_hit_rate: Some(0.001),
                ttft_mean_s: Some(0.09),
                e2e_mean_s: Some(0.98),
                ..ServerFigures::default()
            }),
            shares_prefixes: false,
            warmup: 2,
            audit: Some(Audit { ids: 8, usage: 8 }),
            clock: Clock::REAL,
        }
    }

    fn judged(case: &Case) -> (Verdict, Vec<Condition>) {
        let figures = LoadFigures::of(&case.samples, &asked());
        let found = conditions(&Evidence {
            samples: &case.samples,
            figures: &figures,
            client: &case.client,
            server: case.server.as_ref().ok_or("the server has no /metrics"),
            shares_prefixes: case.shares_prefixes,
            warmup: case.warmup,
            audit: case.audit,
            clock: case.clock,
        });
        (verdict(&figures, &found), found)
    }

    /// The conditions that do not hold, as users read them.
    fn wrong(change: impl FnOnce(&mut Case)) -> String {
        let mut case = good();
        change(&mut case);
        let (verdict, found) = judged(&case);
        let lines = found
            .iter()
            .filter(|condition| condition.state != State::Held)
            .map(|condition| format!("  {:?} {}: {}", condition.state, condition.name, condition.text));
        format!("{verdict}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_good_phase_is_valid() {
        let (verdict, found) = judged(&good());
        assert_eq!(verdict, Verdict::Passed, "{found:#?}");
        let lines: Vec<_> = found
            .iter()
            .map(|c| format!("{:?} {}: {}", c.state, c.name, c.text))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn each_condition_can_make_it_invalid() {
        let cases = [
            wrong(|case| case.samples[3].output_tokens = Some(9)),
            wrong(|case| case.samples[3].prompt_tokens = Some(11)),
            wrong(|case| case.samples[3].output_tokens = None),
            wrong(|case| case.samples[3].asked_tokens = 9),
            wrong(|case| case.audit = Some(Audit { ids: 8, usage: 9 })),
            wrong(|case| case.server.as_mut().unwrap().generation_tokens = Some(660)),
            wrong(|case| case.server.as_mut().unwrap().prefix_hit_rate = Some(0.4)),
            wrong(|case| case.samples.iter_mut().for_each(|sample| sample.sent_s += 0.02)),
            wrong(|case| case.client.lag_ms.as_mut().unwrap().p50 = 45.0),
            wrong(|case| case.client.busiest_share = 0.97),
            wrong(|case| case.client.throttled_share = Some(0.9)),
            wrong(|case| case.samples[0].chunks_s[0] = 3.0),
            wrong(|case| {
                case.samples
                    .retain(|sample| sample.index < 40 || sample.index % 6 < 2);
            }),
            wrong(|case| case.client.clock_steps = 1),
        ];
        assert!(
            cases.iter().all(|case| case.starts_with("invalid\n")),
            "{cases:#?}"
        );
        insta::assert_snapshot!(cases.concat());
    }

    #[test]
    fn what_is_doubtful_or_unknown_breaks_nothing() {
        let cases = [
            wrong(|case| case.server = None),
            wrong(|case| case.server.as_mut().unwrap().e2e_mean_s = Some(0.5)),
            wrong(|case| case.warmup = 0),
            wrong(|case| case.client.unstamped_reads = 5),
            wrong(|case| case.client.lag_ms = None),
            wrong(|case| case.samples.truncate(4)).replace("invalid", "passed"),
        ];
        assert!(
            cases.iter().all(|case| case.starts_with("passed\n")),
            "{cases:#?}"
        );
        insta::assert_snapshot!(cases.concat());
        let shared = wrong(|case| {
            case.shares_prefixes = true;
            case.server.as_mut().unwrap().prefix_hit_rate = Some(0.4);
        });
        assert!(shared.starts_with("passed"), "{shared}");
    }

    #[test]
    fn failed_requests_fail_and_a_fast_clock_is_no_delay() {
        assert!(wrong(|case| case.samples.push(failed(99, "cut: x"))).starts_with("failed"));
        assert!(wrong(|case| case.samples.clear()).starts_with("failed"));
        let fast = wrong(|case| {
            case.clock = Clock::new(10.0);
            case.samples.iter_mut().for_each(|sample| sample.sent_s += 0.02);
            case.server = None;
        });
        assert!(fast.starts_with("passed"), "2 real ms are no delay: {fast}");
    }
}
