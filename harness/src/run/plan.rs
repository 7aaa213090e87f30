//! The plan: manifests × stacks × filter → sessions and their trials. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    capacity::Served,
    manifest::{Accelerator, Dtype, LoadedCase, LoadedModel, LoadedStack, MemoryMetric, Waiver},
    prompt,
    record::TrialKind,
};

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One server each, in order.
    pub sessions: Vec<Arc<SessionPlan>>,
}

impl Plan {
    /// Trials of all sessions.
    pub fn trial_count(&self) -> usize {
        self.sessions.iter().map(|session| session.trials.len()).sum()
    }
}

/// One server and its trials.
#[derive(Debug, Clone)]
pub struct SessionPlan {
    /// `<model>@<stack>`.
    pub name: String,
    /// What to serve.
    pub model: Arc<LoadedModel>,
    /// Where.
    pub stack: Arc<LoadedStack>,
    /// Number type that was asked for in place of the manifest's and the stack's.
    pub asked_dtype: Option<Dtype>,
    /// Trials, in order; boot is always the first.
    pub trials: Vec<TrialPlan>,
}

impl SessionPlan {
    /// Number type of weights and activations: the one asked for, else the stack's, else the manifest's.
    pub fn dtype(&self) -> Dtype {
        resolved_dtype(self.asked_dtype, &self.stack, &self.model)
    }

    /// The server as capacity knows it before it is started; `Err` says why nothing can be predicted.
    pub fn served(&self) -> Result<Served<'_>, String> {
        served(&self.model, &self.stack, self.dtype())
    }
}

fn served<'a>(model: &LoadedModel, stack: &'a LoadedStack, dtype: Dtype) -> Result<Served<'a>, String> {
    Served::of(&model.manifest, &stack.stack, stack.card.as_ref(), dtype)
}

fn resolved_dtype(asked: Option<Dtype>, stack: &LoadedStack, model: &LoadedModel) -> Dtype {
    asked.or(stack.stack.dtype).unwrap_or(model.manifest.serve.dtype)
}

/// One trial.
#[derive(Debug, Clone)]
pub struct TrialPlan {
    /// Full name (`qwen3_32b::memory::kv_cache`).
    pub name: String,
    /// What it examines.
    pub subject: Subject,
    /// Why it is not run, if so.
    pub skip: Option<String>,
    /// The waiver that accounts for a failure.
    pub waiver: Option<Waiver>,
}

/// What a trial examines.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// That the server boots and answers.
    Boot,
    /// One figure of memory.
    Memory(MemoryMetric),
    /// That memory is as predicted.
    Prediction,
    /// One case.
    Correctness(Arc<LoadedCase>),
    /// How far the server strays from the goldens' own tokens.
    Drift,
    /// The graded cases as a suite.
    Grades,
    /// Requests one after another.
    Latency,
    /// Requests at once: index into the workload.
    Throughput(usize),
}

impl Subject {
    /// The kind of trial.
    pub const fn kind(&self) -> TrialKind {
        match self {
            Self::Boot => TrialKind::Boot,
            Self::Memory(_) | Self::Prediction => TrialKind::Memory,
            Self::Correctness(_) | Self::Drift | Self::Grades => TrialKind::Correctness,
            Self::Latency => TrialKind::Latency,
            Self::Throughput(_) => TrialKind::Throughput,
        }
    }
}

/// A model on a stack.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What to serve.
    pub model: Arc<LoadedModel>,
    /// Where.
    pub stack: Arc<LoadedStack>,
    /// Number type in place of the manifest's and the stack's.
    pub dtype: Option<Dtype>,
}

/// Which trials are wanted, by libtest's rules: a substring or the whole name, and names to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Substring (or whole name) of wanted trials.
    pub wanted: Option<String>,
    /// Substrings (or whole names) of unwanted trials.
    pub unwanted: Vec<String>,
    /// Whether names are compared whole.
    pub exact: bool,
}

impl Filter {
    /// Whether a trial of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let matches = |pattern: &String| {
            if self.exact {
                name == pattern
            } else {
                name.contains(pattern)
            }
        };
        self.wanted.as_ref().is_none_or(matches) && !self.unwanted.iter().any(matches)
    }
}

/// Makes the plan. A session keeps its boot trial whenever any of its trials is wanted, since one boot serves them
/// all and must be told of; sessions without a wanted trial are left out.
pub fn plan(selections: &[Selection], filter: &Filter) -> Plan {
    let mut stacks_of = BTreeMap::<&str, usize>::new();
    for selection in selections {
        *stacks_of.entry(&selection.model.name).or_default() += 1;
    }
    let sessions = selections
        .iter()
        .filter_map(|selection| {
            let model = &selection.model.name;
            let name = format!("{model}@{}", selection.stack.name);
            // With one stack the model's name says enough.
            let prefix = if stacks_of.get(model.as_str()) == Some(&1) {
                model
            } else {
                &name
            };
            let mut trials = trials(selection, prefix);
            if !trials.iter().any(|trial| filter.wants(&trial.name)) {
                return None;
            }
            trials.retain(|trial| trial.subject == Subject::Boot || filter.wants(&trial.name));
            let (model, stack) = (Arc::clone(&selection.model), Arc::clone(&selection.stack));
            Some(Arc::new(SessionPlan {
                name,
                model,
                stack,
                asked_dtype: selection.dtype,
                trials,
            }))
        })
        .collect();
    Plan { sessions }
}

fn trials(selection: &Selection, prefix: &str) -> Vec<TrialPlan> {
    let manifest = &selection.model.manifest;
    let mut trials = Vec::new();
    let mut add = |short: String, subject, skip| {
        let accounts = |waiver: &&Waiver| {
            waiver.trial == short
                && waiver
                    .stack
                    .as_ref()
                    .is_none_or(|stack| *stack == selection.stack.name)
        };
        let waiver = manifest.waivers.iter().find(accounts).cloned();
        trials.push(TrialPlan {
            name: format!("{prefix}::{short}"),
            subject,
            skip,
            waiver,
        });
    };
    add("boot".to_owned(), Subject::Boot, None);
    for metric in memory_metrics(selection) {
        add(
            format!("memory::{}", metric.name()),
            Subject::Memory(metric),
            other_size(selection, metric),
        );
    }
    let dtype = resolved_dtype(selection.dtype, &selection.stack, &selection.model);
    let unpredicted = served(&selection.model, &selection.stack, dtype).err();
    let unpredicted = unpredicted.map(|why| format!("nothing is predicted: {why}"));
    add("memory::prediction".to_owned(), Subject::Prediction, unpredicted);
    let cases = &selection.model.cases;
    for case in cases.iter().filter(|case| !case.case.scoring_only) {
        let skip = prompt::cannot_ask(&case.case, manifest);
        add(
            format!("correctness::{}", case.case.id),
            Subject::Correctness(Arc::new(case.clone())),
            skip,
        );
    }
    if grades_as_suite(&selection.model) {
        add("correctness::grades".to_owned(), Subject::Grades, None);
    }
    if cases
        .iter()
        .any(|case| manifest.correctness.wants_golden(&case.case))
    {
        let off = "the manifest switches it off (correctness.drift.scored)".to_owned();
        let skip = (!manifest.correctness.drift.scored).then_some(off);
        add("correctness::drift".to_owned(), Subject::Drift, skip);
    }
    add("latency::single_stream".to_owned(), Subject::Latency, None);
    for (index, workload) in manifest.workload.throughput.iter().enumerate() {
        add(
            format!("throughput::concurrency_{}", workload.concurrency),
            Subject::Throughput(index),
            None,
        );
    }
    trials
}

/// Whether the grades of a model's cases can be held against something: against goldens that keep them, or against the
/// least share of right ones.
fn grades_as_suite(model: &LoadedModel) -> bool {
    let correctness = &model.manifest.correctness;
    model.cases.iter().map(|loaded| &loaded.case).any(|case| {
        case.grade.is_some() && (correctness.min_right.is_some() || correctness.wants_golden(case))
    })
}

/// Why the budget of a memory figure says nothing: it was made for numbers of another size. Only memory outside of
/// torch holds none of the model's numbers.
fn other_size(selection: &Selection, metric: MemoryMetric) -> Option<String> {
    let planned = selection.model.manifest.serve.dtype;
    let served = resolved_dtype(selection.dtype, &selection.stack, &selection.model);
    let depends = metric != MemoryMetric::NonTorch && served.bytes() != planned.bytes();
    depends.then(|| {
        format!(
            "the budget is for {} ({} bytes a number), and the server uses {} ({} bytes)",
            planned.as_str(),
            planned.bytes(),
            served.as_str(),
            served.bytes()
        )
    })
}

fn memory_metrics(selection: &Selection) -> Vec<MemoryMetric> {
    let accelerator: Accelerator = selection.stack.stack.accelerator;
    let budgets = selection.model.manifest.budgets.on(accelerator);
    budgets.map_or(Vec::new(), |budgets| {
        budgets.memory.limits().map(|(metric, _)| metric).collect()
    })
}
