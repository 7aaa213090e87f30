//! Looks for the step that broke a model: along an ordered list of stacks, or along a chain that changes one layer at a
//! time. Answers and memory need one boot a stack, since they do not vary; speed needs pairs for each probe.

use std::sync::Arc;

use super::{Exit, GateError, Interleaved, Progress};
use crate::{
    gate::{self, Arm, Bisection, Boot, ModelGate, Probe, Question, Sides, bisect},
    manifest::{LoadedModel, LoadedStack},
    record::Verdict,
};

/// What a search found for one model.
pub struct Searched {
    /// The step.
    pub bisection: Bisection,
    /// What was probed, in order: index of the stack, and what it turned out to be.
    pub probes: Vec<(usize, Probe)>,
    /// Servers that were started.
    pub boots: usize,
    /// The step's two sides through the gate, where it was found.
    pub step: Option<ModelGate>,
    /// How the user stopped it, if so.
    pub stopped: Option<Exit>,
}

/// Searches along `stacks`, of which the first is the reference.
pub fn search(
    job: &Interleaved,
    model: &Arc<LoadedModel>,
    stacks: &[Arc<LoadedStack>],
    told: &mut dyn FnMut(Progress<'_>),
) -> Result<Searched, GateError> {
    let mut prober = Prober {
        job,
        model,
        stacks,
        arms: vec![None; stacks.len()],
        probes: Vec::new(),
        boots: 0,
        stopped: None,
        told,
    };
    let bisection = bisect(stacks.len(), |at| prober.probe(at))?;
    let step = match &bisection {
        Bisection::Found { good, bad, .. } if prober.stopped.is_none() => Some(prober.step(*good, *bad)?),
        _ => None,
    };
    Ok(Searched {
        bisection,
        probes: prober.probes,
        boots: prober.boots,
        step,
        stopped: prober.stopped,
    })
}

struct Prober<'a> {
    job: &'a Interleaved,
    model: &'a Arc<LoadedModel>,
    stacks: &'a [Arc<LoadedStack>],
    /// The last session of each stack, where one session tells all.
    arms: Vec<Option<Arm>>,
    probes: Vec<(usize, Probe)>,
    boots: usize,
    stopped: Option<Exit>,
    told: &'a mut dyn FnMut(Progress<'_>),
}

impl Prober<'_> {
    fn probe(&mut self, at: usize) -> Result<Probe, GateError> {
        if self.stopped.is_some() {
            return Ok(Probe::Untold("the search was stopped".to_owned()));
        }
        let gate = self.gate(0, at)?;
        let probe = probe_of(&gate, self.arms[at].as_ref());
        self.probes.push((at, probe.clone()));
        Ok(probe)
    }

    /// The two sides of a step against each other. Sessions that tell all are not run again.
    fn step(&mut self, good: usize, bad: usize) -> Result<ModelGate, GateError> {
        if let (false, Some(before), Some(after)) = (self.asks_speed(), &self.arms[good], &self.arms[bad]) {
            let sides = Sides {
                baseline: vec![before.clone()],
                candidate: vec![after.clone()],
            };
            return Ok(gate::judge(&self.model.name, &sides, &self.job.comparison, &[]));
        }
        self.gate(good, bad)
    }

    fn asks_speed(&self) -> bool {
        self.job.comparison.questions.contains(&Question::Speed)
    }

    fn gate(&mut self, reference: usize, at: usize) -> Result<ModelGate, GateError> {
        let known = self.arms[reference].clone().filter(|_| !self.asks_speed());
        let part = self.job.part(
            self.probes.len() + 1,
            &self.stacks[reference],
            &self.stacks[at],
            known,
        );
        let (sides, stopped) = part.model(self.model, &mut |progress| {
            if let Progress::Begins { .. } = progress {
                self.boots += 1;
            }
            (self.told)(progress);
        })?;
        self.stopped = self.stopped.or(stopped);
        for (index, arms) in [(reference, &sides.baseline), (at, &sides.candidate)] {
            if let Some(arm) = arms.first() {
                self.arms[index] = Some(arm.clone());
            }
        }
        Ok(gate::judge(&self.model.name, &sides, &part.comparison, &[]))
    }
}

fn probe_of(gate: &ModelGate, arm: Option<&Arm>) -> Probe {
    let why = || {
        gate.reasons
            .first()
            .cloned()
            .unwrap_or_else(|| "the evidence does not decide".to_owned())
    };
    match gate.verdict {
        Verdict::Passed => Probe::Good,
        // A server that does not boot breaks the model too, but not in the way that is looked for.
        Verdict::Failed if arm.is_some_and(|arm| matches!(arm.boot, Boot::Booted { .. })) => Probe::Bad,
        _ => Probe::Untold(why()),
    }
}
