//! Measured load as people read it in a terminal, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Style, figure,
    style::Role,
    text::{self, one_line, pad},
};
use crate::{
    load::{Measured, Percentile, Spread, validity::State},
    record::Verdict,
};

/// Version of the JSON. Raised when a reader of the last version would misread.
pub const SCHEMA_VERSION: u32 = 1;
/// Columns of the names in front of figures.
const NAMES: usize = 20;

/// A run of load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When it began (RFC 3339).
    pub at: String,
    /// Address of the server.
    pub url: String,
    /// Name of the model.
    pub model: String,
    /// Shape of the load.
    pub shape: String,
    /// Simulated seconds for each real one: 1, unless a simulator played the server.
    pub clock: f64,
    /// What a user should know.
    pub notes: Vec<String>,
    /// Every phase.
    pub phases: Vec<Measured>,
    /// The worst verdict of any phase.
    pub verdict: Verdict,
}

impl LoadReport {
    /// The verdict over phases; none at all is a failure.
    pub fn verdict_over(phases: &[Measured]) -> Verdict {
        phases
            .iter()
            .map(|phase| phase.verdict)
            .max()
            .unwrap_or(Verdict::Failed)
    }
}

/// The JSON, with its end of line.
pub fn json(report: &LoadReport) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Everything of one phase, or a line a phase of several.
pub fn render(report: &LoadReport, style: Style) -> String {
    let heading = format!(
        "{} on {} at {}",
        report.shape,
        one_line(&report.model),
        one_line(&report.url)
    );
    let mut lines = vec![style.paint(Role::Strong, &heading).into_owned()];
    if report.clock != 1.0 {
        let note = format!(
            "SIMULATED: times are a simulator's, {} seconds a second",
            report.clock
        );
        lines.insert(0, style.paint(Role::Warning, &note).into_owned());
    }
    match report.phases.as_slice() {
        [phase] => lines.extend(one(phase)),
        phases => lines.extend(table(phases)),
    }
    lines.extend(
        report
            .notes
            .iter()
            .map(|note| format!("  note: {}", one_line(note))),
    );
    for phase in &report.phases {
        lines.extend(conditions(phase, report.phases.len() > 1, style));
    }
    let verdict = style
        .paint(Role::of(report.verdict), report.verdict.as_str())
        .into_owned();
    lines.push(format!("verdict: {verdict}"));
    lines.join("\n") + "\n"
}

fn line(name: &str, text: &str) -> String {
    format!("  {}{text}", pad(name, NAMES))
}

fn one(phase: &Measured) -> Vec<String> {
    let figures = &phase.figures;
    let mut lines = vec![line(
        "requests",
        &format!(
            "{} sent, {} succeeded, {} failed, in {}",
            figures.sent,
            figures.succeeded,
            figures.failed(),
            figure::duration(figures.wall_s)
        ),
    )];
    lines.extend(figures.failures.iter().map(|(class, failures)| {
        line(
            "",
            &format!("{} {class}: {}", failures.count, one_line(&failures.example)),
        )
    }));
    let steady = figures.steady.map_or(String::new(), |steady| {
        format!(
            ", {:.2} while {} were in flight",
            steady.output_tokens_per_s, figures.peak_in_flight
        )
    });
    lines.push(line(
        "output throughput",
        &format!("{:.2} tokens/s{steady}", figures.output_tokens_per_s),
    ));
    lines.push(line(
        "total throughput",
        &format!("{:.2} tokens/s", figures.total_tokens_per_s),
    ));
    lines.push(line(
        "request throughput",
        &format!("{:.2} requests/s", figures.requests_per_s),
    ));
    lines.extend(figures.goodput.as_ref().map(|goodput| {
        let share = 100.0 * goodput.share;
        line(
            "goodput",
            &format!(
                "{:.2} requests/s, {share:.1} % kept every promise",
                goodput.requests_per_s
            ),
        )
    }));
    lines.extend(figures.mean_generation_tokens_per_s.map(|speed| {
        line(
            "individual speed",
            &format!("{speed:.2} tokens/s (mean over requests)"),
        )
    }));
    lines.push(String::new());
    lines.extend(latencies(phase));
    lines.push(String::new());
    lines.push(line("server", &server(phase)));
    lines.push(line("client", &client(phase)));
    lines
}

/// A row a latency: samples, mean, percentiles with their intervals.
fn latencies(phase: &Measured) -> Vec<String> {
    let figures = &phase.figures;
    let rows = [
        ("TTFT", &figures.ttft),
        ("TPOT", &figures.tpot),
        ("ITL", &figures.itl),
        ("E2EL", &figures.e2e),
        ("schedule delay", &figures.schedule_delay),
    ];
    let known: Vec<(&str, &Spread)> = rows
        .into_iter()
        .filter_map(|(name, spread)| Some((name, spread.as_ref()?)))
        .collect();
    let Some((_, first)) = known.first() else {
        return vec!["  no request succeeded, so there is no latency".to_owned()];
    };
    let mut head = vec![pad("", NAMES - 2), "samples".to_owned(), "mean".to_owned()];
    head.extend(
        first
            .percentiles
            .iter()
            .map(|percentile| format!("p{}", percentile.p)),
    );
    let mut table = vec![head];
    for (name, spread) in known {
        let mut row = vec![name.to_owned(), spread.samples.to_string(), ms(spread.mean_s)];
        row.extend(
            spread
                .percentiles
                .iter()
                .map(|percentile| cell(percentile, spread)),
        );
        table.push(row);
    }
    columns(&table)
}

/// A percentile with its interval; one of too few samples is only the greatest of them.
fn cell(percentile: &Percentile, spread: &Spread) -> String {
    if !percentile.enough {
        return format!("{} (max of {})", ms(spread.max_s), spread.samples);
    }
    match percentile.interval_s {
        Some([low, high]) => format!("{} ({}–{})", ms(percentile.value_s), bare_ms(low), bare_ms(high)),
        None => ms(percentile.value_s),
    }
}

fn ms(seconds: f64) -> String {
    format!("{} ms", bare_ms(seconds))
}

fn bare_ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms.abs() >= 1000.0 {
        format!("{ms:.0}")
    } else if ms.abs() >= 10.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.3}")
    }
}

fn server(phase: &Measured) -> String {
    let figures = match phase.server.known() {
        Ok(figures) => figures,
        Err(why) => return one_line(why),
    };
    let time = |name: &str, seconds: Option<f64>| seconds.map(|seconds| format!("{name} {}", ms(seconds)));
    let words = [
        figures
            .generation_tokens
            .map(|tokens| format!("{tokens} output tokens")),
        time("mean TTFT", figures.ttft_mean_s),
        time("ITL", figures.itl_mean_s),
        time("E2EL", figures.e2e_mean_s),
        time("in queue", figures.queue_mean_s),
        figures
            .prefix_hit_rate
            .map(|rate| format!("{:.1} % of prompt tokens cached", 100.0 * rate)),
        figures.preemptions.map(|count| format!("{count} preemptions")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() {
        "its /metrics tell nothing of this".to_owned()
    } else {
        words.join(", ")
    }
}

fn client(phase: &Measured) -> String {
    let client = &phase.client;
    let per_1k = if phase.figures.output_tokens > 0 {
        format!(
            " ({:.4} s for 1,000 tokens)",
            client.cpu_s * 1000.0 / phase.figures.output_tokens as f64
        )
    } else {
        String::new()
    };
    let threads = if client.workers == 1 { "thread" } else { "threads" };
    let mut text = format!(
        "{} {threads}, {:.2} s of processor{per_1k}",
        client.workers, client.cpu_s
    );
    if let Some(lag) = client.lag_ms {
        let _ = write!(
            text,
            ", read {:.2} ms after arrival (p99 {:.2} ms)",
            lag.p50, lag.p99
        );
    }
    if let Some([median, greatest]) = client.connect_ms {
        let _ = write!(
            text,
            ", {} connections set up in {median:.2} ms (max {greatest:.2} ms)",
            client.connections
        );
    }
    for (count, what) in [
        (client.late_connects, "set up after the start"),
        (client.closed_idle, "closed by the server while idle"),
        (client.blocked_sends, "requests too long for the socket at once"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn table(phases: &[Measured]) -> Vec<String> {
    let head = [
        "phase",
        "tokens/s",
        "requests/s",
        "TTFT p50",
        "TTFT p99",
        "TPOT p50",
        "E2EL p50",
        "verdict",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for phase in phases {
        let figures = &phase.figures;
        let time = |spread: &Option<Spread>, p: f64| {
            let seconds = spread.as_ref().and_then(|spread| spread.percentile_s(p));
            seconds.map_or_else(|| "-".to_owned(), ms)
        };
        rows.push(vec![
            one_line(&phase.phase),
            format!("{:.2}", figures.output_tokens_per_s),
            format!("{:.2}", figures.requests_per_s),
            time(&figures.ttft, 50.0),
            time(&figures.ttft, 99.0),
            time(&figures.tpot, 50.0),
            time(&figures.e2e, 50.0),
            phase.verdict.to_string(),
        ]);
    }
    columns(&rows)
}

/// Rows in columns as wide as their widest cell.
pub fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| text::width(cell)).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| pad(cell, *width))
            .collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What does not hold, with its reason; what holds is only counted. Conditions that fail for one reason share a line.
fn conditions(phase: &Measured, several: bool, style: Style) -> Vec<String> {
    let prefix = if several {
        format!("{}: ", one_line(&phase.phase))
    } else {
        String::new()
    };
    let mut told: Vec<(State, Vec<&str>, &str)> = Vec::new();
    for condition in &phase.conditions {
        let same = |(state, _, text): &&mut (State, Vec<&str>, &str)| {
            *state == condition.state && *text == condition.text
        };
        match (condition.state, told.iter_mut().find(same)) {
            // Of many phases, what cannot be told would be said many times.
            (State::Held, _) => {}
            (State::Unknown, _) if several => {}
            (_, Some((_, names, _))) => names.push(&condition.name),
            (state, None) => told.push((state, vec![&condition.name], &condition.text)),
        }
    }
    let mut lines: Vec<String> = told
        .into_iter()
        .map(|(state, names, text)| {
            let (word, role) = match state {
                State::Broken => ("broken", Role::Bad),
                State::Doubtful => ("doubtful", Role::Warning),
                State::Unknown | State::Held => ("unknown", Role::Faint),
            };
            let word = style.paint(role, word);
            format!("  {prefix}{word} {}: {}", names.join(", "), one_line(text))
        })
        .collect();
    if !several {
        let held = phase
            .conditions
            .iter()
            .filter(|condition| condition.state == State::Held)
            .count();
        lines.push(format!("  {held} of {} conditions hold", phase.conditions.len()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::{
            Asked, ClientFigures, Clock, Lag, PERCENTILES, Promises, ServerFigures,
            recording::{PhaseEnd, Recorded},
            summarise,
        },
        record::RequestSample,
    };

    fn sample(index: u32) -> RequestSample {
        let begin = f64::from(index / 2) * 1.1 + 0.5 * f64::from(index % 2);
        let chunks_s: Vec<f64> = (0..20)
            .map(|n| 0.12 + 0.001 * f64::from(index % 7) + 0.05 * f64::from(n))
            .collect();
        RequestSample {
            session: "s".into(),
            trial: "t".into(),
            index,
            scheduled_s: begin,
            sent_s: begin + 0.0002,
            latency_s: chunks_s.last().copied(),
            chunks_s,
            prompt_tokens: Some(64),
            output_tokens: Some(20),
            asked_tokens: 20,
            asked_prompt_tokens: Some(64),
            error: None,
        }
    }

    fn measured(change: impl FnOnce(&mut Recorded)) -> Measured {
        let samples: Vec<_> = (0..60).map(sample).collect();
        let mut recorded = Recorded {
            samples,
            end: PhaseEnd {
                phase: "2 in flight".into(),
                in_flight: Some(2),
                shares_prefixes: false,
                warmup: 2,
                audit: None,
                cards: None,
                client: ClientFigures {
                    workers: 1,
                    cpu_s: 0.021,
                    busiest_share: 0.0006,
                    lag_ms: Some(Lag {
                        p50: 0.21,
                        p99: 0.9,
                        max: 2.0,
                    }),
                    stamped_reads: 1200,
                    connections: 2,
                    connect_ms: Some([0.2, 0.3]),
                    ..ClientFigures::default()
                },
                server: Ok(ServerFigures {
                    generation_tokens: Some(1200),
                    ttft_mean_s: Some(0.118),
                    prefix_hit_rate: Some(0.0),
                    preemptions: Some(0),
                    ..ServerFigures::default()
                })
                .into(),
            },
        };
        change(&mut recorded);
        let asked = Asked {
            percentiles: PERCENTILES.to_vec(),
            promises: Some(Promises {
                ttft_s: Some(0.125),
                ..Promises::default()
            }),
        };
        summarise(&recorded, &asked, Clock::REAL)
    }

    fn report(phases: Vec<Measured>) -> LoadReport {
        LoadReport {
            schema_version: SCHEMA_VERSION,
            at: "2026-11-24T10:11:12Z".into(),
            url: "http://127.0.0.1:8000".into(),
            model: "m".into(),
            shape: "concurrency:n=2".into(),
            clock: 1.0,
            notes: Vec::new(),
            verdict: LoadReport::verdict_over(&phases),
            phases,
        }
    }

    const PLAIN: Style = Style {
        colour: false,
        width: 100,
    };

    #[test]
    fn one_phase_is_shown_whole() {
        insta::assert_snapshot!(render(&report(vec![measured(|_| {})]), PLAIN));
    }

    #[test]
    fn what_went_wrong_is_shown() {
        let phase = measured(|recorded| {
            recorded.samples[1].error = Some("cut: the answer was cut off after 3 events".into());
            recorded.samples[2].error = Some("http: the server answered 429: slow down\u{1b}[2J".into());
            recorded.end.server = Err("no metrics of the server: 404".to_owned()).into();
            recorded.end.client.throttled_share = Some(0.93);
            recorded.end.client.late_connects = 2;
        });
        let mut report = report(vec![phase]);
        report.clock = 10.0;
        report.notes.push("no token ids; prompts are text".into());
        insta::assert_snapshot!(render(&report, PLAIN));
    }

    #[test]
    fn several_phases_are_a_table() {
        let phases = vec![
            measured(|recorded| recorded.end.phase = "1 in flight".into()),
            measured(|recorded| recorded.end.client.busiest_share = 0.95),
            measured(|recorded| recorded.samples.clear()),
        ];
        insta::assert_snapshot!(render(&report(phases), PLAIN));
    }

    #[test]
    fn the_json_is_complete() {
        let text = json(&report(vec![measured(|recorded| recorded.samples.truncate(3))])).unwrap();
        insta::assert_snapshot!(text);
    }
}
