//! The trial `correctness::drift`: scores the goldens on the server and judges how far it strays from them.
//!
//! Goldens are scored in the order of their cases until there are as many positions as the manifest asks for. Where
//! these do not decide, all others are scored too. What was scored is kept beside the record, in the goldens' format,
//! so that `compare` can hold two runs against each other.

use std::collections::HashMap;

use super::{
    SessionPlan, TrialPlan, pending,
    score::ScoredGolden,
    session::{Context, Up},
};
use crate::{
    golden::{Golden, SCORED},
    judge::drift::{Judged, Scored, Suite, broken_contexts, judge, unnamed_tokens},
    manifest::LoadedCase,
    record::{Event, Finding, Measured, Outcome, TrialKind, Verdict},
};

/// The goldens of a plan's cases, as far as they are there.
struct Goldens<'a> {
    present: Vec<(&'a LoadedCase, Golden)>,
    missing: Vec<&'a str>,
    broken: Vec<Finding>,
}

/// Runs the trial. An error means that the server did not do its part.
pub async fn drift(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    up: &Up,
) -> Result<Outcome, String> {
    let goldens = load(plan, up);
    let wanted = plan.model.manifest.correctness.drift.positions as usize;
    let first = needed(&goldens.present, wanted);
    let (begin, rest) = goldens.present.split_at(first);
    let mut scored = score(plan, up, begin).await?;
    let mut judged = judged(up, &scored).await;
    if judged.verdict == Verdict::Inconclusive && !rest.is_empty() {
        scored.extend(score(plan, up, rest).await?);
        judged = self::judged(up, &scored).await;
        judged.findings.push(Finding::note(format!(
            "the first {first} goldens did not decide: the other {} were scored too",
            rest.len()
        )));
    }
    if let Err(error) = keep(context, plan, up, &scored) {
        judged.findings.push(Finding::warning(error));
    }
    Ok(told(context, plan, trial, judged, &goldens))
}

fn load<'a>(plan: &'a SessionPlan, up: &Up) -> Goldens<'a> {
    let manifest = &plan.model.manifest;
    let mut goldens = Goldens {
        present: Vec::new(),
        missing: Vec::new(),
        broken: Vec::new(),
    };
    let asked = plan.model.cases.iter().filter(|case| {
        manifest.correctness.wants_golden(&case.case)
            && crate::prompt::cannot_ask(&case.case, manifest).is_none()
    });
    for case in asked {
        match up.goldens.load(&plan.model.name, &case.case.id) {
            Ok(Some(golden)) => goldens.present.push((case, golden)),
            Ok(None) => goldens.missing.push(&case.case.id),
            // Whatever is wrong with it, it is no evidence, and nothing is put in its place.
            Err(error) => goldens.broken.push(Finding::failure(error.to_string())),
        }
    }
    goldens
}

/// How many goldens from the first on hold so many positions.
fn needed(goldens: &[(&LoadedCase, Golden)], positions: usize) -> usize {
    let mut held = 0;
    let enough = goldens.iter().position(|(_, golden)| {
        held += golden.positions.len();
        held >= positions
    });
    enough.map_or(goldens.len(), |last| last + 1)
}

/// One golden after another: what a server says of one must not hang on what else is in the batch.
async fn score(
    plan: &SessionPlan,
    up: &Up,
    goldens: &[(&LoadedCase, Golden)],
) -> Result<Vec<ScoredGolden>, String> {
    let mut scored = Vec::with_capacity(goldens.len());
    for (case, golden) in goldens {
        let one = up.scores.of(plan, up, case, golden).await;
        scored.push(one.map_err(|error| error.to_string())?);
    }
    Ok(scored)
}

async fn judged(up: &Up, scored: &[ScoredGolden]) -> Judged {
    let mut suite = Suite::default();
    for ScoredGolden { golden, found } in scored {
        match found {
            Ok((_, drift)) => suite.scored.push(Scored { golden, drift }),
            Err(why) => suite.refused.push((golden.header.case.clone(), why.clone())),
        }
    }
    let mut pieces = HashMap::new();
    for token in unnamed_tokens(&suite) {
        if let Some(text) = up.piece(token).await {
            pieces.insert(token, text);
        }
    }
    suite.pieces = pieces;
    for (case, ids) in broken_contexts(&suite) {
        if let Ok(text) = up.client.detokenize(&ids).await {
            suite.contexts.insert(case, text);
        }
    }
    judge(&suite)
}

/// Writes what was scored beside the record.
fn keep(context: &Context, plan: &SessionPlan, up: &Up, scored: &[ScoredGolden]) -> Result<(), String> {
    let folder = context.place.folder.join(SCORED).join(&plan.name);
    let recorded = pending::recorded(plan, up);
    let simulated = plan.stack.stack.simulator.is_some();
    let write = |scored: &ScoredGolden| {
        let Ok((positions, _)) = &scored.found else {
            return Ok(());
        };
        let kept = scored.golden.rescored(recorded.clone(), simulated, positions);
        let text = kept
            .and_then(|kept| kept.to_snapshot())
            .map_err(|error| error.to_string())?;
        let path = folder.join(format!("{}.snap", scored.golden.header.case));
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    scored.iter().try_for_each(write)
}

fn told(
    context: &Context,
    plan: &SessionPlan,
    trial: &TrialPlan,
    mut judged: Judged,
    goldens: &Goldens<'_>,
) -> Outcome {
    if let [first, rest @ ..] = goldens.missing.as_slice() {
        let others = if rest.is_empty() {
            String::new()
        } else {
            format!(" and {} more", rest.len())
        };
        judged.findings.push(Finding::note(format!(
            "without a golden: {first}{others}; `harness record --model {}` records what is missing",
            plan.model.name
        )));
    }
    if !goldens.broken.is_empty() {
        judged.verdict = judged.verdict.max(Verdict::Invalid);
        judged.findings.splice(0..0, goldens.broken.iter().cloned());
    }
    if let Some(figures) = judged.figures {
        context.journal.append(Event::Drift(Box::new(Measured {
            session: plan.name.clone(),
            trial: trial.name.clone(),
            figures,
        })));
    }
    let mut outcome = Outcome::new(
        &trial.name,
        TrialKind::Correctness,
        judged.verdict,
        judged.findings,
    );
    outcome.checks = judged.checks;
    outcome
}
