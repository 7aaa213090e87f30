//! Trials: what each subject asks of a server that answers, and the verdict.

use super::{
    SessionPlan, Subject, TrialPlan, ask, drift, grades, pending, performance,
    session::{Context, Up},
};
use crate::{
    capacity::Known,
    golden::{self, Comparison},
    judge::{
        self,
        correctness::{Evidence, Review, grading},
        graders::{self, GradedAnswer, GraderResult},
        grades::GradedItem,
    },
    manifest::{Case, LoadedCase, MemoryMetric},
    record::{Finding, Outcome, Severity, TrialKind, Verdict},
    vllm::{Answer, Request},
};

/// Runs one trial. An error means that the server did not do its part; the caller looks whether it still lives.
pub async fn run(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
) -> Result<Outcome, String> {
    match &trial.subject {
        Subject::Boot => Ok(boot(trial, up)),
        Subject::Memory(metric) => Ok(memory(plan, trial, up, *metric)),
        Subject::Prediction => prediction(plan, trial, up),
        Subject::Correctness(case) => correctness(context, plan, trial, up, case).await,
        Subject::Drift => drift::drift(context, plan, trial, up).await,
        Subject::Grades => Ok(grades::grades(context, plan, trial, up)),
        Subject::Latency => performance::latency(context, plan, trial, up).await,
        Subject::Throughput(index) => performance::throughput(context, plan, trial, up, *index).await,
    }
}

fn boot(trial: &TrialPlan, up: &Up) -> Outcome {
    let findings = up.booted.findings.clone();
    let mismatch = findings
        .iter()
        .any(|finding| finding.severity == Severity::Failure);
    let verdict = if mismatch {
        Verdict::Invalid
    } else {
        Verdict::Passed
    };
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

fn prediction(plan: &SessionPlan, trial: &TrialPlan, up: &Up) -> Result<Outcome, String> {
    let measured = &up.booted.memory;
    let served = plan.served()?;
    let estimated = served.predict(Known::default())?;
    let informed = served.predict(Known {
        activation_gib: measured.activation_gib,
        graph_gib: measured.graph_gib,
        ..Known::default()
    })?;
    let budgets = plan.model.manifest.budgets.on(plan.stack.stack.accelerator);
    let budgets = budgets.and_then(|budgets| budgets.prediction.as_ref());
    let mut judgement = judge::prediction(&informed, measured, budgets);
    judgement
        .findings
        .extend(judge::activation(estimated.activation, measured));
    Ok(judged(trial, TrialKind::Memory, judgement))
}

async fn correctness(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
    case: &LoadedCase,
) -> Result<Outcome, String> {
    let manifest = &plan.model.manifest;
    let wanted = manifest.correctness.wants_golden(&case.case);
    let request = ask::request(&up.client, case, manifest, wanted)
        .await
        .map_err(|error| error.to_string())?;
    let answer = ask::ask(&up.client, &request)
        .await
        .map_err(|error| error.to_string())?;
    let grades = grade(context, &case.case, &answer).await;
    let exchange = Exchange {
        case,
        request: &request,
        answer: &answer,
        grades: &grades,
    };
    let (verdict, findings) = judged_case(plan, up, &exchange, wanted).await;
    let mut outcome = Outcome::new(&trial.name, TrialKind::Correctness, verdict, findings);
    outcome.answer = Some(answer.text);
    Ok(outcome)
}

/// What was asked in a case, and what came back.
pub struct Exchange<'a> {
    /// The case.
    pub case: &'a LoadedCase,
    /// The request.
    pub request: &'a Request,
    /// The answer.
    pub answer: &'a Answer,
    /// What the graders say of it.
    pub grades: &'a [GraderResult],
}

/// What the graders of a case say of an answer.
pub async fn grade(context: &Context, case: &Case, answer: &Answer) -> Vec<GraderResult> {
    let Some(grade) = &case.grade else {
        return Vec::new();
    };
    let program = grade
        .code
        .as_ref()
        .and_then(|code| graders::program(code, &answer.text));
    let run = match (program, &context.code) {
        (None, _) => Err("the answer holds no program".to_owned()),
        (Some(_), Err(why)) => Err(why.clone()),
        (Some(program), Ok(runner)) => runner.run(&program).await.map_err(|error| error.to_string()),
    };
    let code_run = run.as_ref().map_err(String::as_str);
    graders::grade(
        grade,
        &GradedAnswer {
            text: &answer.text,
            tool_calls: &answer.tool_calls,
            code_run,
        },
    )
}

/// Judges an answer by its graders and its golden; a difference, or a first recording, is left for the reviewer.
async fn judged_case(
    plan: &SessionPlan,
    up: &Up,
    exchange: &Exchange<'_>,
    golden_wanted: bool,
) -> (Verdict, Vec<Finding>) {
    let (model, id) = (&plan.model.name, &exchange.case.case.id);
    let golden = match up.goldens.load(model, id) {
        _ if !golden_wanted => None,
        Ok(golden) => golden,
        // Whatever is wrong with an accepted golden, it is no evidence, and nothing is put in its place.
        Err(error) => return (Verdict::Invalid, vec![Finding::failure(error.to_string())]),
    };
    let comparison = golden
        .as_ref()
        .map(|golden| golden::compare(golden, exchange.answer));
    let scored = match (&golden, &comparison) {
        (Some(golden), Some(Comparison::Divergent(_))) => {
            up.scores.of(plan, up, exchange.case, golden).await.ok()
        }
        _ => None,
    };
    let drift = scored.as_ref().and_then(|scored| scored.found.as_ref().ok());
    let mut judged = judge::correctness::judge(&Evidence {
        answer: exchange.answer,
        grades: exchange.grades,
        golden_wanted,
        golden: golden.as_ref().zip(comparison.as_ref()),
        scored: drift.map(|(_, drift)| drift),
    });
    up.grades.keep(GradedItem {
        case: id.clone(),
        before: golden.as_ref().map(|golden| golden.header.grade.verdict),
        now: grading(exchange.grades).verdict,
    });
    let kept = match judged.review {
        Review::None => Ok(()),
        Review::Settled => up.goldens.clear_pending(model, id).map(|_| ()),
        Review::Pend => {
            let fresh = pending::golden(plan, up, exchange, golden.as_ref()).await;
            fresh.and_then(|fresh| up.goldens.pend(&fresh)).map(|path| {
                judged = judged.clone().with_pending(path.as_deref());
            })
        }
    };
    if let Err(error) = kept {
        judged.findings.push(Finding::warning(error.to_string()));
    }
    (judged.verdict, judged.findings)
}

pub(super) fn judged(trial: &TrialPlan, kind: TrialKind, judgement: judge::Judgement) -> Outcome {
    let mut outcome = Outcome::new(&trial.name, kind, judgement.verdict, judgement.findings);
    outcome.checks = judgement.checks;
    outcome
}
