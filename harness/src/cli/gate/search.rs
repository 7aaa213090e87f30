//! `gate --bisect` and `gate --attribute`: which step of a list of stacks, or which layer, broke a model.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::{Arguments, job, progress_words, refuse_simulated};
use crate::{
    cli::{CliError, print, say},
    gate::{Bisection, GateReport, Layer, ModelGate, Probe, chain, terminal},
    manifest::{Catalogue, Diagnostics, LoadedStack},
    record::Verdict,
    report::{ReportError, Style, replace},
    run::{self, Exit, Interleaved, Searched},
};

/// `search.json`.
#[derive(Serialize)]
struct Report {
    schema_version: u32,
    model: String,
    simulated: bool,
    /// The stacks, in their order.
    stacks: Vec<String>,
    /// The layer that each step changes, where layers were searched.
    layers: Vec<Option<Layer>>,
    /// Layers that differ by the host and that no session here can separate.
    inseparable: Vec<Layer>,
    probes: Vec<ProbeReport>,
    /// Servers that were started.
    boots: usize,
    /// Last good stack and first bad one.
    found: Option<Found>,
    /// In words.
    conclusion: String,
    /// The step's two sides.
    step: Option<ModelGate>,
}

#[derive(Serialize)]
struct ProbeReport {
    stack: String,
    result: &'static str,
    why: Option<String>,
}

#[derive(Serialize)]
struct Found {
    good: String,
    bad: String,
    layer: Option<Layer>,
}

/// The stacks of a search.
struct Route {
    stacks: Vec<Arc<LoadedStack>>,
    layers: Vec<Option<Layer>>,
    fixed: Vec<Layer>,
}

/// Searches, model by model.
pub fn run(root: &Path, arguments: &Arguments, folder: &Path, style: Style) -> Result<Exit, CliError> {
    let (job, path) = if arguments.bisect.is_empty() {
        let job = job(root, arguments, folder)?;
        let chain = chain(&job.baseline, &job.candidate);
        let path = Route {
            layers: chain.steps.iter().map(|step| step.layer).collect(),
            stacks: chain.steps.into_iter().map(|step| Arc::new(step.stack)).collect(),
            fixed: chain.fixed,
        };
        (job, path)
    } else {
        let stacks = listed(root, &arguments.bisect)?;
        let mut job = job(root, arguments, folder)?;
        (job.baseline, job.candidate) = (Arc::clone(&stacks[0]), Arc::clone(&stacks[stacks.len() - 1]));
        let layers = vec![None; stacks.len()];
        (
            job,
            Route {
                stacks,
                layers,
                fixed: Vec::new(),
            },
        )
    };
    let simulated = path.stacks.iter().any(|stack| stack.stack.simulator.is_some());
    refuse_simulated(arguments, simulated)?;
    let mut exit = Exit::Passed;
    for model in &job.models {
        let mut troubles = Ok(());
        let searched = run::search(&job, model, &path.stacks, &mut |progress| {
            if troubles.is_ok() {
                troubles = say(&progress_words(&progress));
            }
        })?;
        troubles?;
        let ended = exit_of(&searched);
        let report = report(&model.name, simulated, &path, searched);
        show(arguments, &job, &report, style, ended)?;
        if ended != Exit::Passed {
            exit = ended;
        }
        if let Exit::Interrupted | Exit::Terminated = ended {
            break;
        }
    }
    Ok(exit)
}

fn listed(root: &Path, names: &[String]) -> Result<Vec<Arc<LoadedStack>>, CliError> {
    let catalogue = Catalogue::open(root);
    let mut mistakes = Vec::new();
    let mut stacks = Vec::new();
    for name in names {
        match catalogue.stack(name) {
            Ok(stack) => stacks.push(Arc::new(stack)),
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        return Err(Diagnostics::from_iter(mistakes).into());
    }
    if stacks.len() < 2 {
        return Err(CliError::Usage(
            "--bisect needs two stacks at least, in their order".to_owned(),
        ));
    }
    Ok(stacks)
}

fn exit_of(searched: &Searched) -> Exit {
    if let Some(stopped) = searched.stopped {
        return stopped;
    }
    match &searched.bisection {
        Bisection::Found { .. } => Exit::Failed,
        Bisection::NothingWrong => Exit::Passed,
        Bisection::EndUntold(..) | Bisection::NotRepeatable(_) => Exit::Undecided,
    }
}

fn report(model: &str, simulated: bool, path: &Route, searched: Searched) -> Report {
    let name = |at: usize| path.stacks[at].name.clone();
    let found = match &searched.bisection {
        Bisection::Found { good, bad, .. } => Some(Found {
            good: name(*good),
            bad: name(*bad),
            layer: path.layers[*bad].filter(|_| bad - good == 1),
        }),
        _ => None,
    };
    let probes = searched.probes.iter().map(|(at, probe)| ProbeReport {
        stack: name(*at),
        result: match probe {
            Probe::Good => "good",
            Probe::Bad => "bad",
            Probe::Untold(_) => "untold",
        },
        why: match probe {
            Probe::Untold(why) => Some(why.clone()),
            Probe::Good | Probe::Bad => None,
        },
    });
    Report {
        schema_version: 1,
        model: model.to_owned(),
        simulated,
        stacks: path.stacks.iter().map(|stack| stack.name.clone()).collect(),
        layers: path.layers.clone(),
        inseparable: path.fixed.clone(),
        probes: probes.collect(),
        boots: searched.boots,
        conclusion: conclusion(path, &searched),
        found,
        step: searched.step,
    }
}

fn conclusion(path: &Route, searched: &Searched) -> String {
    let name = |at: usize| path.stacks[at].name.as_str();
    let fixed: Vec<String> = path.fixed.iter().map(ToString::to_string).collect();
    let beside = if fixed.is_empty() {
        String::new()
    } else {
        format!(
            "; the stacks also promise different {}, which one host cannot separate: run both stacks on hosts that \
             differ in nothing else",
            fixed.join(" and ")
        )
    };
    let what = match &searched.bisection {
        Bisection::NothingWrong => format!("{} is as good as {}", name(path.stacks.len() - 1), name(0)),
        Bisection::EndUntold(at, why) => format!("{} does not tell: {why}", name(*at)),
        Bisection::NotRepeatable(at) => {
            format!(
                "{} failed once and passed when it was repeated: no step is to blame",
                name(*at)
            )
        }
        Bisection::Found { good, bad, between } => {
            let skipped: Vec<&str> = between.iter().map(|(at, _)| name(*at)).collect();
            let skipped = if skipped.is_empty() {
                String::new()
            } else {
                format!(" (between them {} did not tell)", skipped.join(", "))
            };
            match path.layers[*bad].filter(|_| bad - good == 1) {
                Some(layer) => format!(
                    "the layer {layer} did it: {} is good, {} is bad",
                    name(*good),
                    name(*bad)
                ),
                None => format!("it turned from {} to {}{skipped}", name(*good), name(*bad)),
            }
        }
    };
    format!("{what}; {} servers were started{beside}", searched.boots)
}

fn show(
    arguments: &Arguments,
    job: &Interleaved,
    report: &Report,
    style: Style,
    ended: Exit,
) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(report).map_err(ReportError::Json)? + "\n";
    let path = job.folder.join(format!("search_{}.json", report.model));
    std::fs::create_dir_all(&job.folder)
        .and_then(|()| replace(&path, &text))
        .map_err(|source| ReportError::Io {
            path: path.clone(),
            source,
        })?;
    if let (Some(step), Some(found)) = (&report.step, &report.found) {
        let gate = GateReport {
            schema_version: crate::gate::SCHEMA_VERSION,
            verdict: step.verdict.max(Verdict::Failed),
            exit_code: ended.code(),
            simulated: report.simulated,
            baseline: found.good.clone(),
            candidate: found.bad.clone(),
            paired: job.comparison.paired,
            tolerances: job.comparison.tolerances,
            memory_tolerance: job.comparison.memory_tolerance,
            alpha: crate::gate::ALPHA,
            models: vec![step.clone()],
        };
        say(&terminal(&gate, style))?;
    }
    for probe in &report.probes {
        let why = probe
            .why
            .as_ref()
            .map(|why| format!(" ({why})"))
            .unwrap_or_default();
        say(&format!("probe {}: {}{why}\n", probe.stack, probe.result))?;
    }
    say(&format!("{}\nreport: {}\n", report.conclusion, path.display()))?;
    if arguments.json {
        print(&text)?;
    }
    Ok(())
}
