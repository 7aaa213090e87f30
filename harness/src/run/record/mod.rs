//! `record`: goldens with the floor of the stack that says them.
//!
//! Every case is asked alone, again alone and at the manifest's concurrency, and each golden is scored token by token
//! alone and at that concurrency: what differs between these is the floor. Whatever was recorded is kept in the run's
//! folder; a golden without a fault also waits beside the accepted one for its reviewer. Nothing is recorded from a
//! server that is not what its stack promises, nor from a simulator that plays a running server; a case whose graders
//! refuse the answer is not recorded unless that is known.

mod recorder;

use std::{path::PathBuf, sync::Arc};

use tokio::runtime::Runtime;

use self::recorder::Recorder;
use super::{
    Exit, Journal, Plan, RunError, SessionPlan, Sink,
    exit::verdict_exit,
    interrupt::Interrupt,
    session::{Context, Place},
    validate::{find_code_runner, open_folder, run_id},
};
use crate::{
    device::Tools,
    golden::Golden,
    record::{Event, RunFinished, Verdict},
};

/// What to record, and how.
pub struct RecordOptions {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder of the run; absent: `target/record/<run>`.
    pub out: Option<PathBuf>,
    /// The command as it was typed.
    pub command: Vec<String>,
    /// How often each case is asked and each golden scored at the manifest's concurrency.
    pub repeat: u32,
    /// Only these cases; empty: all.
    pub cases: Vec<String>,
    /// Only cases that have no golden yet.
    pub missing_only: bool,
    /// Whether the goldens are handed to the reviewer; otherwise they are only kept in the run's folder.
    pub pend: bool,
    /// Why answers that the graders refuse are recorded all the same.
    pub known_wrong: Option<String>,
}

/// One case of a recording.
#[derive(Debug)]
pub struct RecordedCase {
    /// Name of the case.
    pub case: String,
    /// The golden, where there is one.
    pub golden: Option<Golden>,
    /// Where it waits for its reviewer.
    pub pending: Option<PathBuf>,
    /// Why it does not.
    pub refused: Option<String>,
}

/// What a recording left.
#[derive(Debug)]
pub struct Recorded {
    /// How the process ends.
    pub exit: Exit,
    /// The run's folder.
    pub folder: PathBuf,
    /// Requests at once while the floor was measured.
    pub at_once: usize,
    /// The cases, in their order.
    pub cases: Vec<RecordedCase>,
    /// Why nothing was recorded, if so.
    pub failure: Option<String>,
}

/// Records the goldens of a session's model on its stack.
pub fn record(plan: &Arc<SessionPlan>, options: &RecordOptions, sink: Sink) -> Result<Recorded, RunError> {
    let runtime = Runtime::new().map_err(RunError::Start)?;
    let interrupt = Interrupt::watch(runtime.handle()).map_err(RunError::Start)?;
    let run_id = run_id();
    let runs = options.root.join("target/record");
    let folder = open_folder(&runs, options.out.as_deref(), &run_id)?;
    let journal = Arc::new(Journal::create(&folder.join("record.jsonl"), sink)?);
    journal.begin(
        &run_id,
        options.command.clone(),
        plan.stack.stack.simulator.is_some(),
    );
    let sessions = vec![Arc::clone(plan)];
    let code = runtime.block_on(find_code_runner(&Plan { sessions }));
    let context = Context {
        place: Place {
            root: options.root.clone(),
            folder: folder.clone(),
            run_id,
        },
        journal,
        interrupt,
        tools: Tools::find(),
        code,
    };
    let recorder = Recorder {
        context: &context,
        plan,
        options,
        at_once: at_once(plan),
    };
    let (cases, failure) = match runtime.block_on(recorder.run()) {
        Ok(cases) => (cases, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let verdict = match &failure {
        Some(failure) => failure.verdict,
        None if cases.iter().any(|case| case.refused.is_some()) => Verdict::Failed,
        None => Verdict::over(cases.iter().map(|_| Verdict::Passed)),
    };
    let interrupted = context.interrupt.exit();
    let exit = interrupted.unwrap_or_else(|| verdict_exit(verdict));
    context.journal.append(Event::RunFinished(RunFinished {
        verdict,
        exit_code: exit.code(),
        interrupted: interrupted.is_some(),
    }));
    context.journal.finish()?;
    Ok(Recorded {
        exit,
        folder,
        at_once: at_once(plan),
        cases,
        failure: failure.map(|failure| failure.what),
    })
}

/// The largest concurrency that the manifest measures, as far as the server takes so many at once.
pub fn at_once(plan: &SessionPlan) -> usize {
    let manifest = &plan.model.manifest;
    let measured = manifest.workload.throughput.iter().map(|phase| phase.concurrency);
    let most = manifest.serve.max_num_seqs.unwrap_or(u32::MAX);
    measured.max().unwrap_or(2).min(most).max(2) as usize
}
