//! Trials: what each subject asks of a server that answers, and the verdict.

use super::{
    SessionPlan, Subject, TrialPlan, ask, pending,
    session::{Context, Up},
};
use crate::{
    golden,
    judge::{self, CodeOutcome, GradedAnswer, GraderResult},
    load::{self, Phase, PromptSource, Spec},
    manifest::{Case, GoldenPolicy, LoadedCase, MemoryMetric},
    record::{Event, Finding, Measured, Outcome, RequestSample, Severity, TrialKind, Verdict},
    vllm::{Answer, Request},
};

/// Runs one trial. An error means that the server did not do its part; the caller looks whether it still lives.
pub async fn run(context: &Context, plan: &SessionPlan, trial: &TrialPlan, up: &Up) -> Result<Outcome, String> {
    match &trial.subject {
        Subject::Boot => Ok(boot(trial, up)),
        Subject::Memory(metric) => Ok(memory(plan, trial, up, *metric)),
        Subject::Correctness(case) => correctness(context, plan, trial, up, case).await,
        Subject::Latency => latency(context, plan, trial, up).await,
        Subject::Throughput(index) => throughput(context, plan, trial, up, *index).await,
    }
}

fn boot(trial: &TrialPlan, up: &Up) -> Outcome {
    let findings = up.booted.findings.clone();
    let mismatch = findings.iter().any(|finding| finding.severity == Severity::Failure);
    let verdict = if mismatch { Verdict::Invalid } else { Verdict::Passed };
    Outcome::new(&trial.name, TrialKind::Boot, verdict, findings)
}

fn memory(plan: &SessionPlan, trial: &TrialPlan, up: &Up, metric: MemoryMetric) -> Outcome {
    let budgets = plan.model.manifest.budgets.on(plan.stack.stack.accelerator);
    let Some(limit) = budgets.and_then(|budgets| budgets.memory.limit(metric)) else {
        let finding = Finding::note("the manifest has no budget for this figure on this accelerator");
        return Outcome::new(&trial.name, TrialKind::Memory, Verdict::Unrecorded, vec![finding]);
    };
    let (check, findings) = judge::memory(metric, &up.booted.memory, limit);
    let mut outcome = Outcome::new(&trial.name, TrialKind::Memory, check.verdict, findings);
    outcome.checks.push(check);
    outcome
}

async fn correctness(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
    case: &LoadedCase,
) -> Result<Outcome, String> {
    let manifest = &plan.model.manifest;
    let wanted = case.case.golden || manifest.correctness.goldens == GoldenPolicy::EveryCase;
    let request = ask::request(&up.client, case, manifest, wanted).await.map_err(|error| error.to_string())?;
    let answer = ask::ask(&up.client, &request).await.map_err(|error| error.to_string())?;
    let code = run_code(context, &case.case, &answer).await;
    let grade = case.case.grade.clone().unwrap_or_default();
    let results = judge::grade(&grade, &GradedAnswer { answer: &answer, code });
    let (mut verdict, mut findings) = if wanted {
        held_against_golden(plan, up, case, &request, &answer, &results).await
    } else {
        judge::correctness(&results, None)
    };
    if answer.text.is_empty() && answer.tool_calls.is_empty() && verdict == Verdict::Passed {
        verdict = Verdict::Failed;
        findings.push(Finding::failure("the answer is empty"));
    }
    let mut outcome = Outcome::new(&trial.name, TrialKind::Correctness, verdict, findings);
    outcome.answer = Some(answer.text);
    Ok(outcome)
}

async fn run_code(context: &Context, case: &Case, answer: &Answer) -> Option<CodeOutcome> {
    let wanted = case.grade.as_ref()?.code.as_ref()?;
    Some(match &context.code {
        Ok(runner) => runner.run(wanted, &answer.text).await.map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    })
}

/// Judges an answer with its golden; a difference, or a first recording, is left as a pending golden.
async fn held_against_golden(
    plan: &SessionPlan,
    up: &Up,
    case: &LoadedCase,
    request: &Request,
    answer: &Answer,
    results: &[GraderResult],
) -> (Verdict, Vec<Finding>) {
    let (model, id) = (&plan.model.name, &case.case.id);
    let golden = match up.goldens.load(model, id) {
        Ok(golden) => golden,
        Err(error) => return (Verdict::Invalid, vec![Finding::failure(error.to_string())]),
    };
    let comparison = golden.as_ref().map(|golden| (golden, golden::compare(golden, answer)));
    let (verdict, mut findings) = judge::correctness(results, comparison.as_ref());
    let kept = if verdict == Verdict::Passed {
        up.goldens.clear_pending(model, id).map(|_| None)
    } else {
        let fresh = pending::golden(plan, up, case, request, answer, results, golden.as_ref()).await;
        fresh.and_then(|fresh| up.goldens.pend(&fresh))
    };
    match kept {
        Ok(None) => {}
        Ok(Some(path)) => findings.push(Finding::note(format!(
            "the answer waits as {}: look at it with `cargo insta review`",
            path.display()
        ))),
        Err(error) => findings.push(Finding::warning(error.to_string())),
    }
    (verdict, findings)
}

async fn latency(context: &Context, plan: &SessionPlan, trial: &TrialPlan, up: &Up) -> Result<Outcome, String> {
    let workload = &plan.model.manifest.workload.latency;
    let mut prompts = prompt_source(plan, trial, up).await?;
    let mut specs = |lengths: &mut dyn Iterator<Item = u32>| -> Vec<Spec> {
        lengths
            .map(|output_tokens| Spec { prompt: prompts.next_prompt(workload.prompt_tokens), output_tokens })
            .collect()
    };
    let longest = workload.output_tokens.iter().copied().max().unwrap_or(1);
    let warmup = specs(&mut (0..workload.warmup).map(|_| longest.min(16)));
    let requests = specs(&mut workload.output_tokens.iter().copied());
    load::run(&up.client, phase(plan, trial, up, 1, warmup)).await;
    let samples = load::run(&up.client, phase(plan, trial, up, 1, requests)).await;
    record_samples(context, &samples);
    let figures = load::latency(&samples);
    let budgets = plan.model.manifest.budgets.on(plan.stack.stack.accelerator);
    let judgement = judge::latency(&figures, &samples, budgets.map(|budgets| &budgets.latency));
    context.journal.append(Event::Latency(measured(plan, trial, figures)));
    Ok(judged(trial, TrialKind::Latency, judgement))
}

async fn throughput(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
    index: usize,
) -> Result<Outcome, String> {
    let Some(workload) = plan.model.manifest.workload.throughput.get(index) else {
        return Err(format!("the plan names workload {index}, which the manifest has not"));
    };
    let mut prompts = prompt_source(plan, trial, up).await?;
    let requests = workload
        .output_tokens
        .iter()
        .cycle()
        .take(workload.requests as usize)
        .map(|&output_tokens| Spec { prompt: prompts.next_prompt(workload.prompt_tokens), output_tokens })
        .collect();
    let samples = load::run(&up.client, phase(plan, trial, up, workload.concurrency, requests)).await;
    record_samples(context, &samples);
    let figures = load::throughput(workload.concurrency, &samples);
    let budgets = plan.model.manifest.budgets.on(plan.stack.stack.accelerator);
    let budgets = budgets
        .and_then(|budgets| budgets.throughput.iter().find(|budget| budget.concurrency == workload.concurrency));
    let judgement = judge::throughput(&figures, &samples, budgets);
    context.journal.append(Event::Throughput(measured(plan, trial, figures)));
    Ok(judged(trial, TrialKind::Throughput, judgement))
}

/// Prompts of this trial; each trial has a seed of its own, so that no trial warms another's cache.
async fn prompt_source(plan: &SessionPlan, trial: &TrialPlan, up: &Up) -> Result<PromptSource, String> {
    let words = up.client.tokenize(load::WORDS, false).await.map_err(|error| error.to_string())?;
    // FNV-1a of the name: any mapping that never changes will do.
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = trial.name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ plan.model.manifest.serve.seed, fnv);
    Ok(PromptSource::new(words, seed))
}

fn phase(plan: &SessionPlan, trial: &TrialPlan, up: &Up, concurrency: u32, requests: Vec<Spec>) -> Phase {
    let (session, trial) = (plan.name.clone(), trial.name.clone());
    Phase { session, trial, concurrency, requests, clock: up.clock }
}

fn record_samples(context: &Context, samples: &[RequestSample]) {
    for sample in samples {
        context.journal.append(Event::Request(sample.clone()));
    }
}

fn measured<F>(plan: &SessionPlan, trial: &TrialPlan, figures: F) -> Measured<F> {
    Measured { session: plan.name.clone(), trial: trial.name.clone(), figures }
}

fn judged(trial: &TrialPlan, kind: TrialKind, judgement: judge::Judgement) -> Outcome {
    let mut outcome = Outcome::new(&trial.name, kind, judgement.verdict, judgement.findings);
    outcome.checks = judgement.checks;
    outcome
}
