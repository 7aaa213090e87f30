//! Each condition, held and broken.

use super::*;
use crate::load::figures::tests::{asked, failed, sample};

struct Case {
    samples: Vec<RequestSample>,
    client: ClientFigures,
    server: Option<ServerFigures>,
    shares_prefixes: bool,
    warmup: u64,
    audit: Option<Audit>,
    cards: Option<CardsSeen>,
    clock: Clock,
}

fn good() -> Case {
    let client = ClientFigures {
        busiest_share: 0.2,
        waited_share: Some(0.01),
        stamped_reads: 300,
        lag_ms: Some(crate::load::Lag {
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
        cards: Some(CardsSeen {
            cards: vec![CardSeen {
                index: 0,
                temperature_c: Some(61.0),
                power_w: Some(220.0),
                power_cap_w: Some(350.0),
            }],
            ..CardsSeen::default()
        }),
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
        cards: case.cards.as_ref(),
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
        wrong(|case| case.cards.as_mut().unwrap().in_use_before = vec![3]),
        wrong(|case| case.cards.as_mut().unwrap().strangers = vec!["process 77 (python) on card 0".into()]),
        wrong(|case| case.cards.as_mut().unwrap().cards[0].temperature_c = Some(91.0)),
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
        wrong(|case| case.cards = None),
        wrong(|case| case.cards.as_mut().unwrap().cards[0].power_w = Some(349.0)),
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
