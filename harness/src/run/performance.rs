//! Latency and throughput trials: load on the session's server, and the conditions without which its figures mean
//! nothing.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    SessionPlan, TrialPlan,
    session::{Context, Up},
    trial::judged,
};
use crate::{
    judge,
    load::{
        self, Asked, Drawn, Form, Generator, Lengths, Pace, Part, Phase, Requests, Setting,
        recording::Recorded, validity::Condition,
    },
    record::{Event, Measured, Outcome, RequestSample, TrialKind},
    vllm::Keep,
};

/// Most tokens of a warm-up's answer.
const WARMUP_TOKENS: u32 = 16;

/// Requests one after another.
pub async fn latency(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
) -> Result<Outcome, String> {
    let workload = &plan.model.manifest.workload.latency;
    let requests = Drawn {
        count: workload.output_tokens.len() as u64,
        output: Lengths::Listed(workload.output_tokens.clone()),
        ..draw(plan, trial, up, workload.prompt_tokens).await?
    };
    let load = Load {
        in_flight: 1,
        warmup: workload.warmup.into(),
        requests,
    };
    let loaded = load.put(context, plan, trial, up).await?;
    let figures = load::latency(&loaded.samples);
    let budgets = plan.model.manifest.budgets.on(plan.stack.stack.accelerator);
    let budgets = budgets.map(|budgets| &budgets.latency);
    let judgement = judge::latency(&figures, &loaded.samples, &loaded.conditions, budgets);
    context
        .journal
        .append(Event::Latency(measured(plan, trial, figures)));
    Ok(judged(trial, TrialKind::Latency, judgement))
}

/// Requests at once.
pub async fn throughput(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
    index: usize,
) -> Result<Outcome, String> {
    let Some(workload) = plan.model.manifest.workload.throughput.get(index) else {
        return Err(format!(
            "the plan names workload {index}, which the manifest has not"
        ));
    };
    let requests = Drawn {
        count: workload.requests.into(),
        output: Lengths::Listed(workload.output_tokens.clone()),
        ..draw(plan, trial, up, workload.prompt_tokens).await?
    };
    let load = Load {
        in_flight: workload.concurrency,
        // A batch of this size may be compiled or captured when it is first seen.
        warmup: workload.concurrency.into(),
        requests,
    };
    let loaded = load.put(context, plan, trial, up).await?;
    let figures = load::throughput(workload.concurrency, &loaded.samples);
    let budgets = plan.model.manifest.budgets.on(plan.stack.stack.accelerator);
    let budgets = budgets.and_then(|budgets| {
        budgets
            .throughput
            .iter()
            .find(|budget| budget.concurrency == workload.concurrency)
    });
    let judgement = judge::throughput(&figures, &loaded.samples, &loaded.conditions, budgets);
    context
        .journal
        .append(Event::Throughput(measured(plan, trial, figures)));
    Ok(judged(trial, TrialKind::Throughput, judgement))
}

/// Requests of this trial; each trial has a seed of its own, so that no trial warms another's cache.
async fn draw(plan: &SessionPlan, trial: &TrialPlan, up: &Up, prompt_tokens: u32) -> Result<Drawn, String> {
    let vocabulary = load::vocabulary(&up.client)
        .await
        .map_err(|error| error.to_string())?;
    // FNV-1a of the name: any mapping that never changes will do.
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = trial
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ plan.model.manifest.serve.seed, fnv);
    Ok(Drawn {
        vocabulary: Arc::new(vocabulary),
        seed,
        count: 0,
        prompt: Lengths::Fixed(prompt_tokens),
        output: Lengths::Fixed(1),
        shared: None,
        turns: None,
    })
}

/// The load of a trial.
struct Load {
    in_flight: u32,
    /// Short requests before the measured ones.
    warmup: u64,
    requests: Drawn,
}

/// What came of it.
struct Loaded {
    samples: Vec<RequestSample>,
    conditions: Vec<Condition>,
}

impl Load {
    /// Warms up and measures over the same connections; the requests go to the record.
    async fn put(
        self,
        context: &Context,
        plan: &SessionPlan,
        trial: &TrialPlan,
        up: &Up,
    ) -> Result<Loaded, String> {
        let told = |error: load::LoadError| error.to_string();
        let target = load::target(&up.client, Form::Ids, Keep::Nothing)
            .await
            .map_err(told)?;
        let mut generator = Generator::new(target, 1);
        let setting = Setting {
            client: &up.client,
            clock: up.clock,
            session: &plan.name,
            audit: None,
            // A run that is interrupted drops the whole trial.
            stop: CancellationToken::new(),
        };
        let in_flight = self.in_flight;
        let part = |requests: Drawn| Part {
            name: trial.name.clone(),
            in_flight: Some(in_flight),
            shares_prefixes: false,
            phase: Phase {
                requests: Requests::Drawn(requests),
                pace: Pace::Closed {
                    in_flight,
                    ramp: Duration::ZERO,
                },
                duration: None,
                think: Duration::ZERO,
            },
        };
        if self.warmup > 0 {
            let warmup = Drawn {
                // Another seed: no measured prompt is in a cache.
                seed: !self.requests.seed,
                count: self.warmup,
                output: Lengths::Fixed(self.requests.output.greatest().min(WARMUP_TOKENS)),
                ..self.requests.clone()
            };
            load::run_part(&mut generator, &part(warmup), &setting, 0, &mut |_| ())
                .await
                .map_err(told)?;
        }
        let mut recorded: Recorded = load::run_part(
            &mut generator,
            &part(self.requests),
            &setting,
            self.warmup,
            &mut |_| (),
        )
        .await
        .map_err(told)?;
        recorded.end.cards = up.cards.seen().await;
        for sample in &recorded.samples {
            context.journal.append(Event::Request(sample.clone()));
        }
        let conditions = load::summarise(&recorded, &Asked::default(), up.clock).conditions;
        Ok(Loaded {
            samples: recorded.samples,
            conditions,
        })
    }
}

fn measured<F>(plan: &SessionPlan, trial: &TrialPlan, figures: F) -> Measured<F> {
    Measured {
        session: plan.name.clone(),
        trial: trial.name.clone(),
        figures,
    }
}
