//! One model through the gate: all its sessions on both sides → one verdict, with the evidence of each kind.

use serde::{Deserialize, Serialize};

use super::{
    AnswersGate, Arm, Boot, Difference, Looks, MemoryGate, Metric, MetricGate, Series, Tolerances, answers,
    differences, memory, precondition, speed, waiving::Waivers,
};
use crate::{
    manifest::Waiver,
    record::{MemoryFigures, Verdict},
};

/// The sessions of one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sides {
    /// On the baseline stack, in the order of the pairs.
    pub baseline: Vec<Arm>,
    /// On the candidate stack, in the order of the pairs.
    pub candidate: Vec<Arm>,
}

/// How sides are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Whether the sessions were run pair by pair.
    pub paired: bool,
    /// Pairs at the first look.
    pub least: usize,
    /// Pairs at the last.
    pub most: usize,
    /// Slowdowns that are tolerated.
    pub tolerances: Tolerances,
    /// Growth of memory that is tolerated, as a share.
    pub memory_tolerance: f64,
    /// What is asked.
    pub questions: Vec<Question>,
}

/// What a gate asks of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Are its answers right?
    Answers,
    /// Does it need more memory?
    Memory,
    /// Is it slower?
    Speed,
}

/// A model's verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelGate {
    /// Name of the manifest.
    pub model: String,
    /// The verdict: the worst of what was asked.
    pub verdict: Verdict,
    /// Why, in one sentence each, the weightiest first.
    pub reasons: Vec<String>,
    /// Sessions on each side.
    pub sessions: (usize, usize),
    /// What differs between the stacks, as found.
    pub differences: Vec<Difference>,
    /// Answers; `None` where none were asked for.
    pub answers: Option<AnswersGate>,
    /// Memory.
    pub memory: Vec<MemoryGate>,
    /// Speeds.
    pub metrics: Vec<MetricGate>,
    /// Whether another pair could still change the verdict.
    pub undecided: bool,
}

/// Judges a model. `waivers` are those of its manifest: what they account for is waived where it fails.
pub fn judge(model: &str, sides: &Sides, comparison: &Comparison, waivers: &[Waiver]) -> ModelGate {
    let mut gate = ModelGate {
        model: model.to_owned(),
        verdict: Verdict::Passed,
        reasons: Vec::new(),
        sessions: (sides.baseline.len(), sides.candidate.len()),
        differences: Vec::new(),
        answers: None,
        memory: Vec::new(),
        metrics: Vec::new(),
        undecided: false,
    };
    if let (Some(baseline), Some(candidate)) = (sides.baseline.first(), sides.candidate.first()) {
        gate.differences = differences(&baseline.fingerprint, &candidate.fingerprint);
    }
    gate.boots(sides);
    for breach in precondition::breaches(sides) {
        gate.settle(Verdict::Invalid, breach);
    }
    if gate.verdict != Verdict::Passed {
        return gate;
    }
    let stack = sides.candidate.first().map(|arm| arm.stack.as_str());
    let waivers = Waivers::on(stack, waivers);
    for question in &comparison.questions {
        match question {
            Question::Answers => gate.ask_answers(sides, &waivers),
            Question::Memory => gate.ask_memory(sides, comparison.memory_tolerance, &waivers),
            Question::Speed => gate.ask_speed(sides, comparison, &waivers),
        }
    }
    if comparison.questions.is_empty() {
        gate.settle(Verdict::Inconclusive, "nothing was asked".to_owned());
    }
    gate
}

impl ModelGate {
    fn settle(&mut self, verdict: Verdict, reason: String) {
        if verdict > self.verdict {
            self.verdict = verdict;
            self.reasons.insert(0, reason);
        } else {
            self.reasons.push(reason);
        }
    }

    /// A baseline that does not boot is no baseline; a candidate that does not has failed, unless nothing was even
    /// started.
    fn boots(&mut self, sides: &Sides) {
        if sides.baseline.is_empty() || sides.candidate.is_empty() {
            self.settle(
                Verdict::Inconclusive,
                "one side has no session of this model".to_owned(),
            );
        }
        for arm in &sides.baseline {
            if let Some(how) = not_answering(arm) {
                self.settle(
                    Verdict::Error,
                    format!("the baseline {how}: nothing can be compared"),
                );
            }
        }
        for arm in &sides.candidate {
            let Some(how) = not_answering(arm) else { continue };
            // Of a candidate that was never started nothing is known.
            let started =
                !matches!(&arm.boot, Boot::Failed { class, .. } if NEVER_STARTED.contains(&class.as_str()));
            let verdict = if started && arm.boot != Boot::Unseen {
                Verdict::Failed
            } else {
                Verdict::Error
            };
            self.settle(verdict, format!("the candidate {how}"));
        }
    }

    fn ask_answers(&mut self, sides: &Sides, waivers: &Waivers<'_>) {
        let pairs = sides.baseline.iter().zip(&sides.candidate);
        // Answers are asked for in the first pair alone: greedy ones do not vary from boot to boot.
        let Some(mut answers) = pairs.into_iter().find_map(|(b, c)| answers::judge(b, c)) else {
            let text = "no session holds answers to cases: their correctness is not known";
            self.settle(Verdict::Inconclusive, text.to_owned());
            return;
        };
        let reasons = answers.reasons();
        if let Some(waived) = waivers.account("answers", &mut answers.verdict) {
            self.settle(Verdict::Waived, waived);
        }
        for reason in reasons {
            self.settle(answers.verdict, reason);
        }
        self.answers = Some(answers);
    }

    fn ask_memory(&mut self, sides: &Sides, tolerance: f64, waivers: &Waivers<'_>) {
        let first = |arms: &[Arm]| arms.iter().find_map(|arm| arm.memory.clone());
        let (Some(baseline), Some(candidate)) = (first(&sides.baseline), first(&sides.candidate)) else {
            self.settle(Verdict::Inconclusive, "no session tells of its memory".to_owned());
            return;
        };
        self.memory = memory::judge(&baseline, &candidate, tolerance);
        let account =
            |gate: &mut MemoryGate| waivers.account(&format!("memory.{}", gate.figure), &mut gate.verdict);
        let waived: Vec<String> = self.memory.iter_mut().filter_map(account).collect();
        for reason in waived {
            self.settle(Verdict::Waived, reason);
        }
        let failed: Vec<String> = self
            .memory
            .iter()
            .filter(|gate| gate.verdict == Verdict::Failed)
            .map(|gate| {
                let (before, after) = (
                    gate.baseline.unwrap_or_default(),
                    gate.candidate.unwrap_or_default(),
                );
                format!("{}: {before} → {after}", gate.figure)
            })
            .collect();
        if !failed.is_empty() {
            self.settle(
                Verdict::Failed,
                format!("memory became scarcer: {}", failed.join(", ")),
            );
        } else if self.memory.iter().all(|gate| gate.verdict == Verdict::Skipped) {
            self.settle(
                Verdict::Inconclusive,
                "no figure of memory is known on both sides".to_owned(),
            );
        }
        for (side, arms) in [("baseline", &sides.baseline), ("candidate", &sides.candidate)] {
            if let Some(drift) = memory_drift(arms) {
                self.settle(
                    Verdict::Failed,
                    format!("memory of the {side} differs from boot to boot: {drift}"),
                );
            }
        }
    }

    fn ask_speed(&mut self, sides: &Sides, comparison: &Comparison, waivers: &Waivers<'_>) {
        let series = series(sides, comparison.paired);
        if series.is_empty() {
            self.settle(
                Verdict::Inconclusive,
                "no speed was measured on both sides".to_owned(),
            );
            return;
        }
        let looks = Looks::new(comparison.least, comparison.most, series.len());
        self.metrics = speed::judge(&series, comparison.paired, &looks, comparison.tolerances);
        let account = |gate: &mut MetricGate| waivers.account(&gate.metric.to_string(), &mut gate.verdict);
        let waived: Vec<String> = self.metrics.iter_mut().filter_map(account).collect();
        for reason in waived {
            self.settle(Verdict::Waived, reason);
        }
        let with = |verdict: Verdict| {
            let found = self.metrics.iter().filter(move |gate| gate.verdict == verdict);
            found.map(|gate| gate.metric.to_string()).collect::<Vec<_>>()
        };
        let (failed, open) = (with(Verdict::Failed), with(Verdict::Inconclusive));
        if !failed.is_empty() {
            self.settle(Verdict::Failed, format!("slower: {}", failed.join(", ")));
        }
        if !open.is_empty() {
            let pairs = self
                .metrics
                .iter()
                .map(|gate| gate.pairs)
                .min()
                .unwrap_or_default();
            self.settle(
                Verdict::Inconclusive,
                format!("{pairs} pairs do not decide: {}", open.join(", ")),
            );
            self.undecided = failed.is_empty() && pairs < comparison.most;
        }
    }
}

/// The figures of all sessions, metric by metric; metrics that a session of either side lacks are left out.
fn series(sides: &Sides, paired: bool) -> Vec<Series> {
    let pairs = sides.baseline.len().min(sides.candidate.len());
    let cut = |arms: &'_ [Arm]| -> Vec<Arm> { arms[..if paired { pairs } else { arms.len() }].to_vec() };
    let (baseline, candidate) = (cut(&sides.baseline), cut(&sides.candidate));
    let figure = |arm: &Arm, metric: Metric| {
        let found = arm.figures.iter().find(|(known, _)| *known == metric);
        found.map(|(_, value)| *value)
    };
    let mut metrics: Vec<Metric> = baseline
        .iter()
        .flat_map(|arm| arm.figures.iter().map(|(metric, _)| *metric))
        .collect();
    metrics.sort_unstable();
    metrics.dedup();
    let all = |arms: &[Arm], metric| {
        arms.iter()
            .map(|arm| figure(arm, metric))
            .collect::<Option<Vec<f64>>>()
    };
    metrics
        .into_iter()
        .filter_map(|metric| {
            Some(Series {
                metric,
                baseline: all(&baseline, metric)?,
                candidate: all(&candidate, metric)?,
            })
        })
        .collect()
}

fn not_answering(arm: &Arm) -> Option<String> {
    match &arm.boot {
        Boot::Booted { .. } => None,
        Boot::Unseen => Some(format!("({}) has no boot in its record", arm.run)),
        Boot::Failed { class, message, lost } => {
            let what = if *lost { "was lost" } else { "did not boot" };
            Some(format!("({}) {what}: {message} ({class})", arm.run))
        }
    }
}

/// Classes of failures in which no server was even started.
const NEVER_STARTED: [&str; 10] = [
    "interrupted",
    "launch",
    "goldens",
    "arguments",
    "image_missing",
    "docker",
    "docker_unreachable",
    "endpoint_unreachable",
    "model_missing",
    "no_simulator",
];

/// One stack must always load the same: KV tokens that differ from boot to boot are a leak, or a card that is shared.
fn memory_drift(arms: &[Arm]) -> Option<String> {
    let tokens = |memory: &MemoryFigures| memory.kv_tokens;
    let found: Vec<u64> = arms
        .iter()
        .filter_map(|arm| arm.memory.as_ref().and_then(tokens))
        .collect();
    let (least, most) = (found.iter().min()?, found.iter().max()?);
    (least != most).then(|| format!("{least} to {most} KV tokens"))
}
