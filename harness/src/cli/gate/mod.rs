//! `gate`: may an upgrade ship? Baseline stack against candidate stack, or finished runs of both.

mod search;

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use clap::Args;

use super::{CliError, print, say};
use crate::{
    gate::{self, Arm, Boot, Comparison, GateReport, ModelGate, Question, Sides, Tolerances},
    manifest::{Catalogue, Diagnostics, Dtype, LoadedStack},
    record::Verdict,
    report::{Style, replace},
    run::{self, Exit, Interleaved, Progress, verdict_exit},
};

/// What to compare.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Arguments {
    /// Stack that is known: a name in ci/stacks, or the path of a stack file
    #[arg(long, value_name = "NAME|FILE", required_unless_present_any = ["baseline_runs", "bisect"])]
    baseline: Option<String>,
    /// Stack that is to be judged
    #[arg(long, value_name = "NAME|FILE", required_unless_present_any = ["candidate_runs", "bisect"])]
    candidate: Option<String>,
    /// Model: a name in models.d, or the path of a manifest; may be given several times
    #[arg(long = "model", value_name = "NAME|FILE")]
    models: Vec<String>,
    /// Every model of models.d
    #[arg(long, conflicts_with = "models")]
    all: bool,
    /// Finished run on the baseline; may be given several times. Nothing is then booted, and nothing is paired
    #[arg(
        long = "baseline-run",
        value_name = "DIR",
        conflicts_with = "baseline",
        requires = "candidate_runs"
    )]
    baseline_runs: Vec<PathBuf>,
    /// Finished run on the candidate; may be given several times
    #[arg(
        long = "candidate-run",
        value_name = "DIR",
        conflicts_with = "candidate",
        requires = "baseline_runs"
    )]
    candidate_runs: Vec<PathBuf>,
    /// Find the step that broke the model along these stacks, in their order; the first is the reference
    #[arg(long, value_name = "STACK", num_args = 2.., conflicts_with_all = ["baseline", "candidate", "baseline_runs"])]
    bisect: Vec<String>,
    /// Find the layer that broke the model: change one at a time from baseline to candidate
    #[arg(long, conflicts_with_all = ["bisect", "baseline_runs"])]
    attribute: bool,
    /// Pairs of sessions, least and most
    #[arg(long, value_name = "N..M", default_value = "5..10", value_parser = pairs)]
    pairs: (usize, usize),
    /// Slowdown that is tolerated in time per token and throughput
    #[arg(long, value_name = "PERCENT", default_value = "3%")]
    tolerance: Percent,
    /// Slowdown that is tolerated in time to the first token
    #[arg(long, value_name = "PERCENT", default_value = "10%")]
    ttft_tolerance: Percent,
    /// Growth of memory that is tolerated
    #[arg(long, value_name = "PERCENT", default_value = "1%")]
    memory_tolerance: Percent,
    /// Ask only this: answers, memory, speed; may be given several times [default: all]
    #[arg(long = "only", value_name = "QUESTION", value_parser = question)]
    only: Vec<Question>,
    /// Number type of weights and activations on both sides: bfloat16, float16, float32
    #[arg(long, value_name = "TYPE", value_parser = super::validate::dtype)]
    dtype: Option<Dtype>,
    /// Accept simulated stacks and runs, whose verdict says nothing of hardware
    #[arg(long)]
    allow_simulated: bool,
    /// Folder for the runs and reports [default: target/validate/gate-<time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print gate.json to standard output
    #[arg(long)]
    json: bool,
}

/// Gates.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let folder = arguments
        .out
        .clone()
        .unwrap_or_else(|| root.join("target/validate").join(run::gate_id()));
    if arguments.attribute || !arguments.bisect.is_empty() {
        return search::run(root, arguments, &folder, style);
    }
    let report = if arguments.baseline_runs.is_empty() {
        interleaved(root, arguments, &folder)?
    } else {
        finished(root, arguments)?
    };
    let written = write(&folder, &report)?;
    say(&gate::terminal(&report, style))?;
    say(&format!("reports: gate.json, gate.md in {}\n", written.display()))?;
    if arguments.json {
        print(&json(&report)?)?;
    }
    Ok(exit_of(&report))
}

fn exit_of(report: &GateReport) -> Exit {
    match report.exit_code {
        130 => Exit::Interrupted,
        143 => Exit::Terminated,
        _ => verdict_exit(report.verdict),
    }
}

fn json(report: &GateReport) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(report).map_err(crate::report::ReportError::Json)?;
    Ok(text + "\n")
}

fn write(folder: &Path, report: &GateReport) -> Result<PathBuf, CliError> {
    let failed = |path: &Path, source| {
        let path = path.to_owned();
        CliError::Report(crate::report::ReportError::Io { path, source })
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, text) in [("gate.json", json(report)?), ("gate.md", gate::markdown(report))] {
        let path = folder.join(name);
        replace(&path, &text).map_err(|error| failed(&path, error))?;
    }
    Ok(folder.to_owned())
}

fn comparison(arguments: &Arguments, paired: bool, pairs: (usize, usize)) -> Comparison {
    let questions = if arguments.only.is_empty() {
        vec![Question::Answers, Question::Memory, Question::Speed]
    } else {
        arguments.only.clone()
    };
    Comparison {
        paired,
        least: pairs.0,
        most: pairs.1,
        tolerances: Tolerances {
            speed: arguments.tolerance.share(),
            ttft: arguments.ttft_tolerance.share(),
        },
        memory_tolerance: arguments.memory_tolerance.share(),
        questions,
    }
}

/// Boots both stacks in turn.
fn interleaved(root: &Path, arguments: &Arguments, folder: &Path) -> Result<GateReport, CliError> {
    let job = job(root, arguments, folder)?;
    let simulated = [&job.baseline, &job.candidate]
        .iter()
        .any(|stack| stack.stack.simulator.is_some());
    refuse_simulated(arguments, simulated)?;
    let mut troubles = Ok(());
    let mut told = |progress: Progress<'_>| {
        if troubles.is_ok() {
            troubles = say(&progress_words(&progress));
        }
    };
    let (models, stopped) = run::interleave(&job, &mut told)?;
    troubles?;
    let names = (job.baseline.name.clone(), job.candidate.name.clone());
    Ok(report(
        arguments,
        names,
        simulated,
        &job.comparison,
        models,
        stopped,
    ))
}

fn job(root: &Path, arguments: &Arguments, folder: &Path) -> Result<Interleaved, CliError> {
    let catalogue = Catalogue::open(root);
    let names = if arguments.all {
        catalogue.model_names()
    } else {
        arguments.models.clone()
    };
    if names.is_empty() {
        return Err(CliError::Usage(
            "name what to serve: --model NAME or --all".to_owned(),
        ));
    }
    let mut mistakes = Vec::new();
    let mut models = Vec::new();
    for name in &names {
        match catalogue.model(name) {
            Ok(model) => models.push(Arc::new(model)),
            Err(found) => mistakes.extend(found),
        }
    }
    let mut stack = |name: &Option<String>| -> Option<Arc<LoadedStack>> {
        // A bisection names its stacks in its list.
        let name = name.as_deref().or(arguments.bisect.first().map(String::as_str));
        match catalogue.stack(name.unwrap_or_default()) {
            Ok(stack) => Some(Arc::new(stack)),
            Err(found) => {
                mistakes.extend(found);
                None
            }
        }
    };
    let (Some(baseline), Some(candidate)) = (stack(&arguments.baseline), stack(&arguments.candidate)) else {
        return Err(Diagnostics::from_iter(mistakes).into());
    };
    if !mistakes.is_empty() {
        return Err(Diagnostics::from_iter(mistakes).into());
    }
    Ok(Interleaved {
        root: root.to_owned(),
        folder: folder.to_owned(),
        command: std::env::args().collect(),
        models,
        baseline,
        candidate,
        dtype: arguments.dtype,
        comparison: comparison(arguments, true, arguments.pairs),
        known: None,
    })
}

/// Compares runs that were done before.
fn finished(root: &Path, arguments: &Arguments) -> Result<GateReport, CliError> {
    let all = |runs: &[PathBuf]| -> Result<Vec<Arm>, CliError> {
        let mut found = Vec::new();
        for run in runs {
            found.extend(run::arms(run)?);
        }
        Ok(found)
    };
    let (baseline, candidate) = (all(&arguments.baseline_runs)?, all(&arguments.candidate_runs)?);
    let simulated = baseline.iter().chain(&candidate).any(|arm| arm.simulated);
    refuse_simulated(arguments, simulated)?;
    let mut names: Vec<&str> = baseline
        .iter()
        .chain(&candidate)
        .map(|arm| arm.model.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let wanted =
        |name: &&str| arguments.models.is_empty() || arguments.models.iter().any(|model| model == name);
    // Two runs a side are the least from which a spread can be had; there is one look, at all of them.
    let least = baseline.len().min(candidate.len()).max(2);
    let comparison = comparison(arguments, false, (least, least));
    let catalogue = Catalogue::open(root);
    let models: Vec<ModelGate> = names
        .into_iter()
        .filter(wanted)
        .map(|name| {
            let of = |arms: &[Arm]| arms.iter().filter(|arm| arm.model == name).cloned().collect();
            let sides = Sides {
                baseline: of(&baseline),
                candidate: of(&candidate),
            };
            // A run of a model that this checkout does not know has no waivers.
            let model = catalogue.model(name).ok();
            let waivers = model.map(|model| model.manifest.waivers).unwrap_or_default();
            gate::judge(name, &sides, &comparison, &waivers)
        })
        .collect();
    let stacks = (stacks(&baseline), stacks(&candidate));
    Ok(report(arguments, stacks, simulated, &comparison, models, None))
}

fn stacks(arms: &[Arm]) -> String {
    let mut names: Vec<&str> = arms.iter().map(|arm| arm.stack.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn refuse_simulated(arguments: &Arguments, simulated: bool) -> Result<(), CliError> {
    if simulated && !arguments.allow_simulated {
        let text = "a simulator plays one of the sides, so the verdict would say nothing of hardware: name real stacks, \
                    or add --allow-simulated to try the gate itself";
        return Err(CliError::Usage(text.to_owned()));
    }
    Ok(())
}

fn report(
    arguments: &Arguments,
    (baseline, candidate): (String, String),
    simulated: bool,
    comparison: &Comparison,
    models: Vec<ModelGate>,
    stopped: Option<Exit>,
) -> GateReport {
    let verdict = Verdict::over(models.iter().map(|model| model.verdict));
    let verdict = if stopped.is_some() {
        verdict.max(Verdict::Inconclusive)
    } else {
        verdict
    };
    GateReport {
        schema_version: gate::SCHEMA_VERSION,
        verdict,
        exit_code: stopped.unwrap_or_else(|| verdict_exit(verdict)).code(),
        simulated,
        baseline,
        candidate,
        paired: comparison.paired,
        tolerances: comparison.tolerances,
        memory_tolerance: arguments.memory_tolerance.share(),
        alpha: gate::ALPHA,
        models,
    }
}

fn progress_words(progress: &Progress<'_>) -> String {
    match progress {
        Progress::Begins {
            model,
            pair,
            side,
            stack,
        } => format!("{model}, pair {pair}: {} on {stack} …\n", side.as_str()),
        Progress::Ended(arm) => {
            let speeds: Vec<String> = arm
                .figures
                .iter()
                .map(|(metric, value)| format!("{metric} {value:.4}"))
                .collect();
            match &arm.boot {
                Boot::Booted { seconds } => format!("  booted in {seconds:.1} s; {}\n", speeds.join(", ")),
                Boot::Failed { class, message, .. } => format!("  no server: {message} ({class})\n"),
                Boot::Unseen => "  no boot was recorded\n".to_owned(),
            }
        }
    }
}

fn pairs(text: &str) -> Result<(usize, usize), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let read = |part: &str| part.trim().parse::<usize>().ok();
    match (read(least), read(most)) {
        (Some(least), Some(most)) if 2 <= least && least <= most && most <= 100 => Ok((least, most)),
        _ => Err("write the least and the most pairs, such as 5..10, from 2 to 100".to_owned()),
    }
}

/// A share as users write it: `3%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(f64);

impl Percent {
    /// The share: 0.03 for `3%`.
    pub const fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim().trim_end_matches('%').trim_end();
        let value = number.parse().ok().filter(|value| (0.0..=100.0).contains(value));
        value
            .map(Self)
            .ok_or_else(|| "write a percentage from 0 to 100, such as 3%".to_owned())
    }
}

fn question(text: &str) -> Result<Question, String> {
    match text {
        "answers" => Ok(Question::Answers),
        "memory" => Ok(Question::Memory),
        "speed" => Ok(Question::Speed),
        _ => Err("write answers, memory or speed".to_owned()),
    }
}
