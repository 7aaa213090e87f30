//! A whole measurement: warm-up, every phase, and the server's own figures around each.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Asked, ClientFigures, Clock, Generator, LoadError, LoadFigures, LoadPlan, Part, ServerFigures,
    ServerSide, Watch,
    probe::Audit,
    recording::{PhaseEnd, Recorded},
    throttled_s,
    validity::{self, Condition, Evidence},
};
use crate::{
    record::{RequestSample, Verdict},
    vllm::{Client, Metrics},
};

/// Time between two looks at a phase that goes on.
const TICK: Duration = Duration::from_secs(1);
/// The server may count its last tokens a little later than it sends them.
const COUNT_LAG: Duration = Duration::from_millis(100);
/// Looks at the server's counters until they have settled.
const COUNT_LOOKS: u32 = 20;
/// A sweep goes on while throughput climbs by this factor.
const CLIMB: f64 = 1.03;

/// What a measurement rests on beside its plan.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Client of the server, for its metrics.
    pub client: &'a Client,
    /// Clock of the server.
    pub clock: Clock,
    /// Name of the session in the samples.
    pub session: &'a str,
    /// What the server's count of tokens is worth.
    pub audit: Option<Audit>,
    /// Ends the measurement early; what was measured is told.
    pub stop: CancellationToken,
}

/// A look at a phase that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick<'a> {
    /// Name of the phase.
    pub phase: &'a str,
    /// Seconds since it began.
    pub elapsed_s: f64,
    /// Requests that succeeded, that failed, and that are in flight; chunks of tokens.
    pub totals: [u64; 4],
}

/// A phase with everything that is said of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Name of the phase.
    pub phase: String,
    /// Requests in flight, where the shape says.
    pub in_flight: Option<u32>,
    /// Its figures.
    pub figures: LoadFigures,
    /// The client.
    pub client: ClientFigures,
    /// The server, or why that is not known.
    pub server: ServerSide,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// The verdict over them.
    pub verdict: Verdict,
}

/// Makes the figures of a phase, from what was recorded and nothing else.
pub fn summarise(recorded: &Recorded, asked: &Asked, clock: Clock) -> Measured {
    let Recorded { samples, end } = recorded;
    let figures = LoadFigures::of(samples, asked);
    let conditions = validity::conditions(&Evidence {
        samples,
        figures: &figures,
        client: &end.client,
        server: end.server.known(),
        shares_prefixes: end.shares_prefixes,
        warmup: end.warmup,
        audit: end.audit,
        cards: end.cards.as_ref(),
        clock,
    });
    Measured {
        phase: end.phase.clone(),
        in_flight: end.in_flight,
        verdict: validity::verdict(&figures, &conditions),
        figures,
        client: end.client.clone(),
        server: end.server.clone(),
        conditions,
    }
}

/// Runs every phase of a plan; each is handed to `done` as it ends.
pub async fn measure(
    generator: &mut Generator,
    plan: &LoadPlan,
    setting: &Setting<'_>,
    tell: &mut (dyn FnMut(&Tick<'_>) + Send),
    done: &mut (dyn FnMut(Recorded) + Send),
) -> Result<(), LoadError> {
    let mut warmup = 0;
    if let Some(phase) = &plan.warmup {
        let part = Part {
            name: "warm-up".to_owned(),
            in_flight: None,
            shares_prefixes: false,
            phase: phase.clone(),
        };
        let recorded = run_part(generator, &part, setting, 0, tell).await?;
        warmup = recorded
            .samples
            .iter()
            .filter(|sample| sample.error.is_none())
            .count() as u64;
    }
    let mut best = 0.0_f64;
    for part in &plan.parts {
        if setting.stop.is_cancelled() {
            break;
        }
        let recorded = run_part(generator, part, setting, warmup, tell).await?;
        let speed = LoadFigures::of(&recorded.samples, &Asked::default()).output_tokens_per_s;
        done(recorded);
        if plan.ends_when_flat && speed < best * CLIMB {
            break;
        }
        best = best.max(speed);
    }
    Ok(())
}

/// Runs one phase with the server's counters before and after.
pub async fn run_part(
    generator: &mut Generator,
    part: &Part,
    setting: &Setting<'_>,
    warmup: u64,
    tell: &mut (dyn FnMut(&Tick<'_>) + Send),
) -> Result<Recorded, LoadError> {
    let before = setting.client.metrics().await;
    let throttled = throttled_s();
    let watch = Arc::new(Watch::new(generator.workers()));
    let run = {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let begun = std::time::Instant::now();
        let mut work = std::pin::pin!(generator.run(part.phase.clone(), Arc::clone(&watch)));
        loop {
            tokio::select! {
                run = &mut work => break run?,
                _ = ticks.tick() => tell(&Tick {
                    phase: &part.name,
                    elapsed_s: setting.clock.from_real(begun.elapsed()),
                    totals: watch.totals(),
                }),
                () = setting.stop.cancelled(), if !watch.is_stopped() => watch.stop(),
            }
        }
    };
    let throttled = throttled.zip(throttled_s()).map(|(before, after)| after - before);
    let sample =
        |trace: &super::Trace| trace.sample(setting.session, &part.name, run.start_ns, setting.clock);
    let samples: Vec<RequestSample> = run.traces.iter().map(sample).collect();
    let server = match before {
        Ok(before) => counted(setting.client, &before, &samples).await,
        Err(error) => Err(format!("no metrics of the server: {error}")),
    };
    Ok(Recorded {
        samples,
        end: PhaseEnd {
            phase: part.name.clone(),
            in_flight: part.in_flight,
            shares_prefixes: part.shares_prefixes,
            warmup,
            audit: setting.audit,
            cards: None,
            client: ClientFigures::new(&run.client, throttled),
            server: server.into(),
        },
    })
}

/// What the server counted since `before`: once it is as much as the answers say, or no longer grows.
async fn counted(
    client: &Client,
    before: &Metrics,
    samples: &[RequestSample],
) -> Result<ServerFigures, String> {
    let told: u64 = samples
        .iter()
        .filter_map(|sample| sample.output_tokens)
        .map(u64::from)
        .sum();
    let mut last = None;
    for _ in 0..COUNT_LOOKS {
        let after = client
            .metrics()
            .await
            .map_err(|error| format!("no metrics of the server: {error}"))?;
        let figures =
            ServerFigures::between(before, &after).ok_or("the server was started again within the phase")?;
        let counted = figures.generation_tokens;
        if counted.is_none_or(|counted| counted == told) || (last.is_some() && counted == last) {
            return Ok(figures);
        }
        last = counted;
        sleep(COUNT_LAG).await;
    }
    Err("the server's counters did not settle".to_owned())
}
