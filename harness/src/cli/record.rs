//! `record`: goldens of a model on a stack, with the floor of that stack, for a reviewer to accept.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::Args;
use serde::Serialize;

use super::{CliError, print, say, validate};
use crate::{
    golden::{Floor, GradeVerdict},
    manifest::{Catalogue, Dtype},
    record::Entry,
    report::{Display, Style, live::Mode},
    run::{self, Filter, RecordOptions, Recorded, RecordedCase, Selection},
};

/// Refusals that the terminal shows; `--json` has them all.
const SHOWN: usize = 20;

/// What to record, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Model: a name in models.d, or the path of a manifest
    #[arg(long, value_name = "NAME|FILE")]
    model: String,
    /// Stack: a name in ci/stacks, or the path of a stack file
    #[arg(long, value_name = "NAME|FILE")]
    stack: String,
    /// How often each case is asked again, alone and at the manifest's concurrency, to learn what is rounding
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    repeat: u32,
    /// Only this case; may be given several times
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
    /// Only cases that have no golden yet
    #[arg(long)]
    missing: bool,
    /// Record answers that the graders refuse as well, and keep this reason in their goldens
    #[arg(long, value_name = "REASON")]
    known_wrong: Option<String>,
    /// Folder for the record and all that was recorded [default: target/record/<run>, with a link `latest`]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number type of weights and activations, in place of the manifest's and the stack's
    #[arg(long, value_name = "TYPE", value_parser = validate::dtype)]
    dtype: Option<Dtype>,
    /// Print what was recorded as JSON
    #[arg(long)]
    json: bool,
    /// Show only what is wrong
    #[arg(long, short)]
    quiet: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report {
    schema_version: u32,
    model: String,
    stack: String,
    simulated: bool,
    folder: PathBuf,
    at_once: usize,
    positions: usize,
    floor: Option<SuiteFloor>,
    failure: Option<String>,
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    name: String,
    positions: usize,
    grade: Option<GradeVerdict>,
    floor: Option<Floor>,
    pending: Option<PathBuf>,
    refused: Option<String>,
}

/// The floor over all that was recorded: means over positions.
#[derive(Debug, Clone, Copy, Serialize)]
struct SuiteFloor {
    repeats: u32,
    identical_share: f64,
    near_tie_nat: f64,
    top1_share: f64,
    mean_kld_nat: f64,
    max_kld_nat: f64,
    mean_delta_nat: f64,
}

/// Records.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<run::Exit, CliError> {
    let catalogue = Catalogue::open(root);
    let selection = Selection {
        model: Arc::new(catalogue.model(&arguments.model)?),
        stack: Arc::new(catalogue.stack(&arguments.stack)?),
        dtype: arguments.dtype,
    };
    let plan = run::plan(&[selection], &Filter::default());
    let Some(session) = plan.sessions.first() else {
        return Ok(run::Exit::Nothing);
    };
    let display = Display::on_stderr(Mode::of_stderr(arguments.quiet), style);
    let display = Arc::new(Mutex::new(display));
    // One pass is the recording, the scores are one more.
    validate::lock(&display).planned(3 * arguments.repeat as usize + 1);
    let shown = Arc::clone(&display);
    let options = RecordOptions {
        root: root.to_owned(),
        out: arguments.out.clone(),
        command: std::env::args().collect(),
        repeat: arguments.repeat,
        cases: arguments.cases.clone(),
        missing_only: arguments.missing,
        pend: true,
        known_wrong: arguments.known_wrong.clone(),
    };
    let sink = Box::new(move |entry: &Entry| validate::lock(&shown).entry(entry));
    let recorded = run::record(session, &options, sink);
    validate::lock(&display).close();
    let recorded = recorded?;
    let simulated = session.stack.stack.simulator.is_some();
    say(&words(&recorded, simulated))?;
    if arguments.json {
        let report = Report {
            schema_version: 1,
            model: session.model.name.clone(),
            stack: session.stack.name.clone(),
            simulated,
            folder: recorded.folder.clone(),
            at_once: recorded.at_once,
            positions: positions(&recorded.cases),
            floor: suite_floor(&recorded.cases),
            failure: recorded.failure.clone(),
            cases: recorded.cases.iter().map(case).collect(),
        };
        print(&(serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n"))?;
    }
    Ok(recorded.exit)
}

fn case(recorded: &RecordedCase) -> Case {
    let header = recorded.golden.as_ref().map(|golden| &golden.header);
    Case {
        name: recorded.case.clone(),
        positions: recorded
            .golden
            .as_ref()
            .map_or(0, |golden| golden.positions.len()),
        grade: header.map(|header| header.grade.verdict),
        floor: header.and_then(|header| header.floor),
        pending: recorded.pending.clone(),
        refused: recorded.refused.clone(),
    }
}

/// Goldens that were recorded and not refused, with their floors.
fn kept(cases: &[RecordedCase]) -> impl Iterator<Item = (usize, Floor)> {
    cases
        .iter()
        .filter(|case| case.refused.is_none())
        .filter_map(|case| {
            let golden = case.golden.as_ref()?;
            Some((golden.positions.len(), golden.header.floor?))
        })
}

fn positions(cases: &[RecordedCase]) -> usize {
    kept(cases).map(|(positions, _)| positions).sum()
}

fn suite_floor(cases: &[RecordedCase]) -> Option<SuiteFloor> {
    let (mut goldens, mut weights) = (0.0, 0.0);
    let mut sum = SuiteFloor {
        repeats: 0,
        identical_share: 0.0,
        near_tie_nat: 0.0,
        top1_share: 0.0,
        mean_kld_nat: 0.0,
        max_kld_nat: 0.0,
        mean_delta_nat: 0.0,
    };
    for (positions, floor) in kept(cases) {
        let weight = positions as f64;
        goldens += 1.0;
        weights += weight;
        sum.repeats = sum.repeats.max(floor.repeats);
        sum.identical_share += floor.identical_share;
        sum.near_tie_nat = sum.near_tie_nat.max(floor.near_tie_nat);
        sum.top1_share += weight * floor.top1_share;
        sum.mean_kld_nat += weight * floor.mean_kld_nat;
        sum.max_kld_nat = sum.max_kld_nat.max(floor.max_kld_nat);
        sum.mean_delta_nat += weight * floor.mean_delta_nat;
    }
    (weights > 0.0).then_some(SuiteFloor {
        identical_share: sum.identical_share / goldens,
        top1_share: sum.top1_share / weights,
        mean_kld_nat: sum.mean_kld_nat / weights,
        mean_delta_nat: sum.mean_delta_nat / weights,
        ..sum
    })
}

/// What was recorded, in words. Writing to a String does not fail.
fn words(recorded: &Recorded, simulated: bool) -> String {
    let mut text = String::new();
    if simulated {
        text += "SIMULATED: a simulator answered; these goldens never satisfy a real stack\n";
    }
    if let Some(failure) = &recorded.failure {
        let _ = writeln!(text, "error: {failure}");
    }
    let refused: Vec<_> = recorded
        .cases
        .iter()
        .filter_map(|case| Some((&case.case, case.refused.as_ref()?)))
        .collect();
    for (case, why) in refused.iter().take(SHOWN) {
        let _ = writeln!(text, "refused: {case}: {why}");
    }
    if refused.len() > SHOWN {
        let _ = writeln!(text, "refused: {} more (see --json)", refused.len() - SHOWN);
    }
    if let Some(floor) = suite_floor(&recorded.cases) {
        let _ = writeln!(
            text,
            "floor of {} positions in {} goldens, each asked {} times more and scored alone and {} at once: {:.1} % \
             identical, near ties up to {} nat, likeliest token the same at {:.2} %, KLD {:.2e} nat (at most {:.2e}), \
             mean change of logprob {:.2e} nat",
            positions(&recorded.cases),
            kept(&recorded.cases).count(),
            floor.repeats,
            recorded.at_once,
            100.0 * floor.identical_share,
            floor.near_tie_nat,
            100.0 * floor.top1_share,
            floor.mean_kld_nat,
            floor.max_kld_nat,
            floor.mean_delta_nat,
        );
    }
    let waiting = recorded
        .cases
        .iter()
        .filter(|case| case.pending.is_some())
        .count();
    if waiting > 0 {
        let review = if simulated {
            "harness review --simulated"
        } else {
            "harness review"
        };
        let _ = writeln!(text, "{waiting} goldens wait for review: `{review}`");
    }
    if recorded.cases.is_empty() && recorded.failure.is_none() {
        text += "nothing to record: no case of this model lacks a golden\n";
    }
    text + &format!("all that was recorded is in {}\n", recorded.folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::sample;

    #[test]
    fn says_the_floor_what_waits_and_what_was_refused() {
        let mut golden = sample::golden();
        golden.header.floor = Some(Floor {
            repeats: 5,
            near_tie_nat: 0.125,
            identical_share: 0.8,
            top1_share: 0.99,
            mean_kld_nat: 8.2e-4,
            max_kld_nat: 0.0154,
            mean_delta_nat: 0.018,
        });
        let kept = RecordedCase {
            case: "capital_of_france".to_owned(),
            golden: Some(golden),
            pending: Some("golden/smollm2_135m/capital_of_france.snap.new".into()),
            refused: None,
        };
        let wrong = RecordedCase {
            case: "sum".to_owned(),
            golden: None,
            pending: None,
            refused: Some("its graders refuse the answer (number)".to_owned()),
        };
        let recorded = |cases, failure: Option<&str>| Recorded {
            exit: run::Exit::Failed,
            folder: "target/record/run".into(),
            at_once: 8,
            cases,
            failure: failure.map(str::to_owned),
        };
        let some = words(&recorded(vec![kept, wrong], None), false);
        let none = words(&recorded(Vec::new(), None), true);
        let failed = words(&recorded(Vec::new(), Some("the server did not boot")), false);
        insta::assert_snapshot!([some, none, failed].join("\n"));
    }
}
