//! Renderers of a sweep.

use super::*;
use crate::{
    load::{
        Asked, ClientFigures, Clock, PERCENTILES, ServerFigures,
        recording::{PhaseEnd, Recorded},
        summarise,
        sweep::{End, LatencyPromise},
    },
    record::RequestSample,
    report::Style,
};

const STYLE: Style = Style {
    colour: false,
    width: 100,
};

/// A server whose step takes 8 ms and 1 ms a sequence; `broken` levels lost tokens.
fn step(level: u32, broken: bool, promise: &str) -> Step {
    let gap = 0.008 + 0.001 * f64::from(level);
    let samples: Vec<RequestSample> = (0..level * 8)
        .map(|index| {
            let begin = f64::from(index / level) * (gap * 10.0 + 0.001);
            let chunks_s: Vec<f64> = (1..=10).map(|n| gap * f64::from(n)).collect();
            RequestSample {
                session: "s".into(),
                trial: "t".into(),
                index,
                scheduled_s: begin,
                sent_s: begin,
                latency_s: chunks_s.last().copied(),
                chunks_s,
                prompt_tokens: Some(64),
                output_tokens: Some(if broken { 9 } else { 10 }),
                asked_tokens: 10,
                asked_prompt_tokens: Some(64),
                error: None,
            }
        })
        .collect();
    let recorded = Recorded {
        end: PhaseEnd {
            phase: format!("{level} in flight"),
            in_flight: Some(level),
            shares_prefixes: false,
            warmup: level.into(),
            audit: None,
            cards: None,
            client: ClientFigures::default(),
            server: Ok(ServerFigures::default()).into(),
        },
        samples,
    };
    let asked = Asked {
        percentiles: PERCENTILES.to_vec(),
        promises: None,
    };
    let measured = summarise(&recorded, &asked, Clock::REAL);
    let promise: Option<LatencyPromise> = (!promise.is_empty()).then(|| promise.parse().unwrap());
    let held = promise
        .iter()
        .map(|promise| promise.hold(&measured.figures, &recorded.samples));
    Step {
        level: level.into(),
        held: held.collect(),
        measured,
    }
}

fn report(levels: &[u32], broken: &[u32], promise: &str, end: End) -> SweepReport {
    let steps = levels
        .iter()
        .map(|level| step(*level, broken.contains(level), promise))
        .collect();
    let about = About {
        at: "2026-11-24T10:11:12Z".into(),
        model: "m".into(),
        on: "c500_maca2.33_vllm0.8.5".into(),
        simulated: false,
        clock: 1.0,
        axis: Axis::Concurrency,
        input: "64".into(),
        output: "10".into(),
        min_gain: 0.1,
        promises: promise
            .parse::<LatencyPromise>()
            .iter()
            .map(ToString::to_string)
            .collect(),
        notes: Vec::new(),
    };
    SweepReport::new(about, &Swept { steps, end })
}

/// Found by halving, one level without valid figures.
fn promised() -> SweepReport {
    let levels = [1, 2, 4, 8, 16, 32, 64, 128, 24, 20];
    report(&levels, &[4], "tpot_p99=30ms", End::Flat)
}

#[test]
fn knee_and_best_are_marked_and_invalid_levels_are_not_chosen() {
    let report = promised();
    assert_eq!((report.knee, report.best), (Some(8.0), Some(20.0)));
    assert_eq!(report.verdict, Verdict::Passed);
    insta::assert_snapshot!(render(&report, STYLE));
}

#[test]
fn the_chart_stands_alone() {
    let mut report = promised();
    report.about.simulated = true;
    report.about.model = "a <b> & c".into();
    let drawing = svg(&report);
    assert!(needs_nothing_else(&drawing), "{drawing}");
    insta::assert_snapshot!(drawing);
}

/// Nothing that would be fetched from elsewhere.
fn needs_nothing_else(drawing: &str) -> bool {
    drawing.matches("http").count() == 1 && !drawing.contains("href") && !drawing.contains("<style")
}

#[test]
fn what_was_not_found_is_said() {
    let climbing = report(&[1, 2, 4], &[], "", End::Top);
    let unkept = report(&[1, 2, 4], &[], "ttft_p99=1ms", End::Top);
    let unfit = report(&[1, 2], &[1, 2], "ttft_p99=1s", End::Unfit);
    let nothing = report(&[], &[], "", End::Stopped);
    let all = [climbing, unkept, unfit, nothing];
    assert_eq!(
        all.each_ref().map(|report| report.verdict),
        [
            Verdict::Passed,
            Verdict::Failed,
            Verdict::Invalid,
            Verdict::Failed
        ]
    );
    insta::assert_snapshot!(all.map(|report| render(&report, STYLE)).join("\n"));
}

#[test]
fn a_simulated_sweep_says_so_first() {
    let mut simulated = promised();
    simulated.about.simulated = true;
    simulated.advice = advice::advice(&simulated);
    assert!(render(&simulated, STYLE).starts_with("SIMULATED: "));
    assert!(simulated.advice[1].contains("模拟器"));
}

#[test]
fn a_level_is_told_when_it_is_over() {
    insta::assert_snapshot!(
        [
            line(&step(2, false, "")),
            line(&step(64, false, "ttft_p99=1ms")),
            line(&step(2, true, "")),
        ]
        .join("\n")
    );
}

#[test]
fn the_json_is_complete() {
    let text = json(&report(&[1, 2], &[], "ttft_p99=1s", End::Top)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = &value["rows"][1];
    assert_eq!(
        (&value["axis"], &value["best"]),
        (&"concurrency".into(), &2.0.into())
    );
    assert_eq!(row["held"][0]["promise"], "ttft_p99");
    assert!(row["gain"].as_f64().unwrap() > 0.5 && row["power"].as_f64().unwrap() > 0.0);
    assert_eq!(row["measured"]["verdict"], "passed");
}
