//! Words for drift: the figures in one sentence, the goldens that stray farthest with the text around, and what could
//! not be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    FLOOR_MULTIPLE, Refusal, Scored, Suite,
    stand::{Stand, Stands, rounded_up},
};
use crate::{
    golden::{Golden, PositionDrift},
    record::{CaseDrift, DriftFigures, Estimate, Finding, Severity, ThresholdSource, Verdict, WorstPosition},
};

/// Goldens that a finding shows.
const SHOWN: usize = 5;
/// Characters of text before a position.
const CONTEXT: usize = 48;
/// Alternatives that goldens are recorded with; fewer are said.
const ALTERNATIVES: usize = 20;

/// All figures, what they are held against and how near they come; as evidence the goldens that stray farthest.
pub fn headline(figures: &DriftFigures, verdict: Verdict) -> Finding {
    let DriftFigures {
        threshold,
        mean_kld_nat,
        ..
    } = figures;
    let source = match threshold.source {
        ThresholdSource::Floor => format!("by {FLOOR_MULTIPLE} times the recorded floor"),
        ThresholdSource::Proposal => "by the general proposal, as no floor is recorded".to_owned(),
    };
    let text = format!(
        "{} scored positions of {} goldens: top-1 agreement {} (at least {} allowed), mean KLD {} nat (at most {} \
         allowed: {:.0} % of it is used), p99.9 KLD {} nat (at most {}), mean |Δ logprob| {} nat; allowed {source}",
        figures.positions,
        figures.prompts,
        percent_interval(figures.top1),
        percent(threshold.min_top1),
        interval(*mean_kld_nat),
        nat(threshold.max_mean_kld_nat),
        100.0 * mean_kld_nat.value / threshold.max_mean_kld_nat,
        nat(figures.p999_kld_nat.value),
        nat(threshold.max_p999_kld_nat),
        nat(figures.mean_delta_nat.value),
    );
    let severity = match verdict {
        Verdict::Passed => Severity::Note,
        Verdict::Failed => Severity::Failure,
        _ => Severity::Warning,
    };
    let strays = figures.cases.iter().filter(|case| case.mean_kld_nat > 0.0);
    Finding::new(severity, text).with_evidence(strays.take(SHOWN).map(case_line))
}

fn case_line(case: &CaseDrift) -> String {
    let worst = &case.worst;
    let lead = if worst.margin_nat > 0.0 {
        format!(
            "{:?} leads over {:?} by {} nat",
            worst.candidate,
            worst.golden,
            nat(worst.margin_nat)
        )
    } else {
        format!("{:?} stays the likeliest", worst.golden)
    };
    format!(
        "{}: mean KLD {} nat, top-1 {}; farthest at position {} after {:?}: {lead}, KLD {} nat",
        case.case,
        nat(case.mean_kld_nat),
        percent(case.top1),
        worst.position,
        worst.before,
        nat(worst.kld_nat)
    )
}

/// What so many positions do not decide.
pub fn undecided(stands: &Stands, figures: &DriftFigures) -> Vec<Finding> {
    let line = |(name, stand)| match stand {
        Stand::Within | Stand::Beyond => None,
        Stand::Undecided { needed } => Some(Finding::warning(format!(
            "{name} is undecided: its interval holds the threshold; about {} more positions would decide (goldens of \
             further prompts, `harness record`)",
            rounded_up(needed.saturating_sub(figures.positions) as f64)
        ))),
        Stand::TooFew { needed } => Some(Finding::note(format!(
            "{name} is shown and not judged: even a perfect result needs {needed} positions, there are {}",
            figures.positions
        ))),
    };
    stands.each().into_iter().filter_map(line).collect()
}

/// That lists were shorter than goldens are recorded with.
pub fn shallow(suite: &Suite<'_>) -> Option<Finding> {
    let shallow: Vec<_> = suite
        .scored
        .iter()
        .filter(|scored| scored.drift.alternatives < ALTERNATIVES)
        .collect();
    let fewest = shallow.iter().map(|scored| scored.drift.alternatives).min()?;
    Some(Finding::note(format!(
        "{} of {} goldens were compared over fewer than {ALTERNATIVES} alternatives (as few as {fewest}): their \
         divergence counts low; a server that caps them has a low max_logprobs",
        shallow.len(),
        suite.scored.len()
    )))
}

/// One finding for each reason, with the cases it holds for.
pub fn refusals(refused: &[(String, Refusal)]) -> Vec<Finding> {
    let mut by_reason = BTreeMap::<(std::cmp::Reverse<Severity>, String), Vec<&str>>::new();
    for (case, why) in refused {
        by_reason
            .entry((std::cmp::Reverse(why.severity()), why.to_string()))
            .or_default()
            .push(case);
    }
    let finding = |((severity, why), cases): ((std::cmp::Reverse<Severity>, String), Vec<&str>)| {
        let [first, rest @ ..] = cases.as_slice() else {
            return None;
        };
        let others = if rest.is_empty() {
            String::new()
        } else {
            format!(" and {} more", rest.len())
        };
        let finding = Finding::new(severity.0, format!("not compared: {first}{others}: {why}"));
        Some(finding.with_evidence(rest.iter().take(SHOWN).copied()))
    };
    by_reason.into_iter().filter_map(finding).collect()
}

/// Each golden's figures, the one that strays farthest first.
pub fn cases(suite: &Suite<'_>) -> Vec<CaseDrift> {
    let mut cases: Vec<_> = suite
        .scored
        .iter()
        .filter_map(|scored| case(scored, suite))
        .collect();
    cases.sort_by(|a, b| {
        b.mean_kld_nat
            .total_cmp(&a.mean_kld_nat)
            .then_with(|| a.case.cmp(&b.case))
    });
    cases
}

/// `None` for a golden without positions, which nothing scores.
fn case(scored: &Scored<'_>, suite: &Suite<'_>) -> Option<CaseDrift> {
    let Scored { golden, drift } = scored;
    let positions = drift.positions.len();
    let (at, worst) = worst(scored)?;
    Some(CaseDrift {
        case: golden.header.case.clone(),
        positions: u32::try_from(positions).unwrap_or(u32::MAX),
        top1: drift.agreeing() as f64 / positions as f64,
        mean_kld_nat: drift.mean(|position| position.kld_nat),
        max_kld_nat: drift.greatest(|position| position.kld_nat),
        mean_delta_nat: drift.mean(|position| position.delta_nat),
        max_delta_nat: drift.greatest(|position| position.delta_nat),
        max_margin_nat: drift.greatest(|position| position.margin_nat),
        worst: worst_position(golden, at, worst, suite),
    })
}

/// The position with the widest margin; among equals the one with the widest divergence.
fn worst<'a>(scored: &Scored<'a>) -> Option<(usize, &'a PositionDrift)> {
    scored
        .drift
        .positions
        .iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| {
            a.margin_nat
                .total_cmp(&b.margin_nat)
                .then(a.kld_nat.total_cmp(&b.kld_nat))
        })
}

/// Tokens that findings name and whose text no golden holds.
pub fn unnamed_tokens(suite: &Suite<'_>) -> BTreeSet<u32> {
    let unnamed = |scored: &Scored<'_>| {
        let (_, worst) = worst(scored)?;
        let held = &scored.golden.positions;
        (!held.iter().any(|position| position.token.id == worst.likeliest)).then_some(worst.likeliest)
    };
    suite.scored.iter().filter_map(unnamed).collect()
}

/// For each golden whose text before the farthest position falls into halves of characters: its case and the ids.
pub fn broken_contexts(suite: &Suite<'_>) -> Vec<(String, Vec<u32>)> {
    let broken = |scored: &Scored<'_>| {
        let (at, _) = worst(scored)?;
        let Golden {
            header,
            positions,
            pieces,
            ..
        } = scored.golden;
        let halves = pieces.iter().take(at).any(|piece| piece.contains('\u{fffd}'));
        let ids = || {
            positions
                .iter()
                .take(at)
                .map(|position| position.token.id)
                .collect()
        };
        halves.then(|| (header.case.clone(), ids()))
    };
    suite.scored.iter().filter_map(broken).collect()
}

fn worst_position(
    golden: &Golden,
    position: usize,
    drift: &PositionDrift,
    suite: &Suite<'_>,
) -> WorstPosition {
    let joined = || golden.pieces.iter().take(position).map(String::as_str).collect();
    let before: String = suite
        .contexts
        .get(&golden.header.case)
        .cloned()
        .unwrap_or_else(joined);
    let skipped = before.chars().count().saturating_sub(CONTEXT);
    let name = |id: u32| {
        let held = golden.positions.iter().position(|held| held.token.id == id);
        let held = held
            .and_then(|at| golden.pieces.get(at))
            .or_else(|| suite.pieces.get(&id));
        held.cloned().unwrap_or_else(|| format!("token {id}"))
    };
    WorstPosition {
        position: u32::try_from(position).unwrap_or(u32::MAX),
        kld_nat: drift.kld_nat,
        margin_nat: drift.margin_nat,
        before: before.chars().skip(skipped).collect(),
        golden: golden
            .positions
            .get(position)
            .map(|held| name(held.token.id))
            .unwrap_or_default(),
        candidate: name(drift.likeliest),
    }
}

/// A figure in nat, three digits of it.
pub(in crate::judge) fn nat(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value < 1e-3 {
        format!("{value:.2e}")
    } else {
        format!("{value:.4}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn interval(estimate: Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{} ({} to {})", nat(estimate.value), nat(low), nat(high)),
        _ => nat(estimate.value),
    }
}

fn percent_interval(estimate: Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => {
            format!(
                "{} ({:.2} to {:.2})",
                percent(estimate.value),
                100.0 * low,
                100.0 * high
            )
        }
        _ => percent(estimate.value),
    }
}
