//! Runs the sessions of a gate: a fresh server for each arm, in the order A B B A, until the verdict is certain or the
//! pairs are used up. Each arm is a run of its own with a record of its own.

use std::{path::PathBuf, sync::Arc};

use super::{Exit, Filter, Options, RunError, Selection, plan, validate};
use crate::{
    gate::{self, Arm, Comparison, ModelGate, Question, Sides},
    manifest::{Dtype, LoadedModel, LoadedStack},
    record::{self, RecordError, Verdict},
    report::Summary,
};

/// A gate that is to be run.
pub struct Interleaved {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder of the gate; each arm gets a folder in it.
    pub folder: PathBuf,
    /// The command as it was typed, for the records.
    pub command: Vec<String>,
    /// What is served.
    pub models: Vec<Arc<LoadedModel>>,
    /// The stack that is known.
    pub baseline: Arc<LoadedStack>,
    /// The stack that is judged.
    pub candidate: Arc<LoadedStack>,
    /// Number type in place of the manifest's and the stacks'.
    pub dtype: Option<Dtype>,
    /// How sides are compared.
    pub comparison: Comparison,
    /// A session of the baseline that is known already, where speed is not asked for.
    pub known: Option<Arm>,
}

/// Which side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The known stack.
    Baseline,
    /// The judged stack.
    Candidate,
}

impl Side {
    /// Word in reports and folder names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }
}

/// What happens while a gate runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// An arm begins.
    Begins {
        /// Name of the model.
        model: &'a str,
        /// Number of the pair, from 1.
        pair: usize,
        /// Which side.
        side: Side,
        /// Name of its stack.
        stack: &'a str,
    },
    /// An arm has ended.
    Ended(&'a Arm),
}

/// Why a gate could not be run.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A session.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record that is none of one run.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
    /// A run without sessions.
    #[error("{0} holds no session: compare runs that booted a model")]
    NoSession(PathBuf),
}

/// The sessions of a finished run.
pub fn arms(run: &std::path::Path) -> Result<Vec<Arm>, GateError> {
    let record = if run.is_dir() {
        run.join("record.jsonl")
    } else {
        run.to_owned()
    };
    let (entries, _) = record::read(&record)?;
    let arms = Arm::of_run(&Summary::of(&entries)?, &entries);
    if arms.is_empty() {
        return Err(GateError::NoSession(record));
    }
    Ok(arms)
}

/// Runs the gate. The second value is how the user stopped it, if so.
pub fn interleave(
    job: &Interleaved,
    told: &mut dyn FnMut(Progress<'_>),
) -> Result<(Vec<ModelGate>, Option<Exit>), GateError> {
    let mut gates = Vec::new();
    for model in &job.models {
        let (sides, stopped) = job.model(model, told)?;
        gates.push(gate::judge(
            &model.name,
            &sides,
            &job.comparison,
            &model.manifest.waivers,
        ));
        if stopped.is_some() {
            return Ok((gates, stopped));
        }
    }
    Ok((gates, None))
}

/// The side that was warm last comes first next: A B B A.
const fn order(pair: usize) -> [Side; 2] {
    if pair % 2 == 1 {
        [Side::Baseline, Side::Candidate]
    } else {
        [Side::Candidate, Side::Baseline]
    }
}

impl Interleaved {
    /// A part of a search: one stack against another, in a folder of its own.
    pub(super) fn part(
        &self,
        number: usize,
        baseline: &Arc<LoadedStack>,
        candidate: &Arc<LoadedStack>,
        known: Option<Arm>,
    ) -> Self {
        Self {
            root: self.root.clone(),
            folder: self.folder.join(format!("probe_{number:02}_{}", candidate.name)),
            command: self.command.clone(),
            models: Vec::new(),
            baseline: Arc::clone(baseline),
            candidate: Arc::clone(candidate),
            dtype: self.dtype,
            comparison: self.comparison.clone(),
            known,
        }
    }

    /// The sessions of one model, pair after pair until the verdict is certain.
    pub(super) fn model(
        &self,
        model: &Arc<LoadedModel>,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Sides, Option<Exit>), GateError> {
        let mut sides = Sides::default();
        for pair in 1..=self.pairs() {
            for side in order(pair) {
                if let (Side::Baseline, Some(known), false) = (side, &self.known, self.asks(Question::Speed))
                {
                    sides.baseline.push(known.clone());
                    continue;
                }
                let (arm, exit) = self.arm(model, pair, side, told)?;
                told(Progress::Ended(&arm));
                match side {
                    Side::Baseline => sides.baseline.push(arm),
                    Side::Candidate => sides.candidate.push(arm),
                }
                if let Exit::Interrupted | Exit::Terminated = exit {
                    return Ok((sides, Some(exit)));
                }
            }
            let so_far = gate::judge(&model.name, &sides, &self.comparison, &model.manifest.waivers);
            if so_far.verdict > Verdict::Inconclusive || !so_far.undecided {
                break;
            }
        }
        Ok((sides, None))
    }

    fn asks(&self, question: Question) -> bool {
        self.comparison.questions.contains(&question)
    }

    /// Answers and memory need one pair.
    fn pairs(&self) -> usize {
        if self.asks(Question::Speed) {
            self.comparison.most
        } else {
            1
        }
    }

    fn arm(
        &self,
        model: &Arc<LoadedModel>,
        pair: usize,
        side: Side,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Arm, Exit), GateError> {
        let stack = match side {
            Side::Baseline => &self.baseline,
            Side::Candidate => &self.candidate,
        };
        told(Progress::Begins {
            model: &model.name,
            pair,
            side,
            stack: &stack.name,
        });
        let selection = Selection {
            model: Arc::clone(model),
            stack: Arc::clone(stack),
            dtype: self.dtype,
        };
        let plan = plan(&[selection], &self.filter(pair));
        let folder = self
            .folder
            .join(&model.name)
            .join(format!("pair_{pair:02}_{}", side.as_str()));
        let options = Options {
            root: self.root.clone(),
            out: Some(folder),
            command: self.command.clone(),
            libtest: libtest_mimic::Arguments {
                // Its own printing would only repeat what the display shows.
                logfile: Some("/dev/null".to_owned()),
                ..libtest_mimic::Arguments::default()
            },
        };
        let finished = validate(&plan, options, Box::new(|_| ()))?;
        let mut arms = arms(&finished.folder)?;
        Ok((arms.remove(0), finished.exit))
    }

    /// Answers are greedy and asked for once; speed is measured in every pair.
    fn filter(&self, pair: usize) -> Filter {
        let mut unwanted = Vec::new();
        if pair > 1 || !self.asks(Question::Answers) {
            unwanted.push("::correctness::".to_owned());
        }
        if !self.asks(Question::Speed) {
            unwanted.extend(["::latency::".to_owned(), "::throughput::".to_owned()]);
        }
        Filter {
            wanted: None,
            unwanted,
            exact: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_alternate_which_side_comes_first() {
        use Side::{Baseline, Candidate};
        let sides: Vec<Side> = (1..=4).flat_map(order).collect();
        assert_eq!(
            sides,
            [
                Baseline, Candidate, Candidate, Baseline, Baseline, Candidate, Candidate, Baseline
            ]
        );
    }
}
