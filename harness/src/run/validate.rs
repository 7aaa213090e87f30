//! `validate`: from the plan through libtest-mimic to the record and its reports.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio::runtime::Runtime;

use super::{
    Exit, Journal, JournalError, Plan, SessionPlan, Sink, Subject, TrialPlan, exit::verdict_exit,
    interrupt::Interrupt, prepare, session, session::Context, session::Place, session::Session, trial,
};
use crate::{
    device::Tools,
    record::{Event, Finding, Outcome, RunFinished, TrialFinished, TrialStarted, Verdict},
    report::{self, Summary},
    sandbox::CodeRunner,
    target,
};

const RUN_ID: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// How a run is to be done.
pub struct Options {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder for the record and the reports; absent: `target/validate/<run>`.
    pub out: Option<PathBuf>,
    /// The command as it was typed, for the record.
    pub command: Vec<String>,
    /// libtest's flags.
    pub libtest: Arguments,
}

/// Why a run could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or a folder.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime or the signal handlers.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// The record.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A report.
    #[error(transparent)]
    Report(#[from] report::ReportError),
}

impl RunError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { action, path, source }
    }
}

/// What a run left.
pub struct Finished {
    /// How the process ends.
    pub exit: Exit,
    /// What reports show.
    pub summary: Summary,
    /// Folder of the record and the reports.
    pub folder: PathBuf,
    /// The reports that were written.
    pub reports: Vec<PathBuf>,
}

/// Prints the names of the plan's trials as libtest does.
pub fn list(plan: &Plan, libtest: &Arguments) {
    let trials = plan.sessions.iter().flat_map(|session| &session.trials);
    let trials = trials.map(|trial| Trial::test(&trial.name, || Ok(()))).collect();
    // Nothing was run that could have a conclusion.
    drop(libtest_mimic::run(libtest, trials));
}

/// Does a plan: boots, asks, measures, judges, records and reports.
pub fn validate(plan: &Plan, options: Options, sink: Sink) -> Result<Finished, RunError> {
    let runtime = Runtime::new().map_err(RunError::Start)?;
    let interrupt = Interrupt::watch(runtime.handle()).map_err(RunError::Start)?;
    let run_id = run_id();
    let folder = open_folder(
        &options.root.join("target/validate"),
        options.out.as_deref(),
        &run_id,
    )?;
    let journal = Arc::new(Journal::create(&folder.join("record.jsonl"), sink)?);
    let mut stacks = plan.sessions.iter().map(|session| &session.stack.stack);
    let simulated = stacks.any(|stack| stack.simulator.is_some());
    journal.begin(&run_id, options.command, simulated);
    let code = runtime.block_on(find_code_runner(plan));
    let context = Context {
        place: Place {
            root: options.root,
            folder: folder.clone(),
            run_id,
        },
        journal,
        interrupt,
        tools: Tools::find(),
        code,
    };
    let runner = Arc::new(Runner {
        context,
        runtime,
        current: Mutex::new(None),
        outcomes: Mutex::default(),
    });
    run_trials(&runner, plan, options.libtest);
    runner.finish(folder)
}

/// Sweeps what killed runs left and looks for the code runner, where containers are used at all.
pub(super) async fn find_code_runner(plan: &Plan) -> Result<CodeRunner, String> {
    let uses_docker = plan
        .sessions
        .iter()
        .any(|session| session.stack.stack.docker.is_some());
    if uses_docker {
        match target::sweep().await {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::warn!(?removed, "removed containers that an earlier run left"),
            Err(error) => tracing::warn!(%error, "cannot look for containers that earlier runs left"),
        }
    }
    let grades_code = plan
        .sessions
        .iter()
        .flat_map(|session| &session.model.cases)
        .any(|case| case.case.grade.as_ref().is_some_and(|grade| grade.code.is_some()));
    if !grades_code {
        return Err("no case of this run grades code".to_owned());
    }
    CodeRunner::find().await.map_err(|why| why.to_string())
}

fn run_trials(runner: &Arc<Runner>, plan: &Plan, mut libtest: Arguments) {
    // The plan was filtered already, and its boot trials are wanted whatever the filter says.
    libtest.filter = None;
    libtest.skip.clear();
    // One server after another, in the plan's order.
    libtest.test_threads = Some(1);
    let trials = plan.sessions.iter().flat_map(|session| {
        session.trials.iter().map(|planned| {
            let (runner, session, planned) = (Arc::clone(runner), Arc::clone(session), planned.clone());
            Trial::ignorable_test(planned.name.clone(), move || runner.trial(&session, &planned))
        })
    });
    // The outcomes are in the journal.
    drop(libtest_mimic::run(&libtest, trials.collect()));
}

/// A name that no other run has.
pub fn run_id() -> String {
    let now = OffsetDateTime::now_utc();
    let time = now.format(RUN_ID).unwrap_or_default();
    format!("{time}-{:04x}", (std::process::id() ^ now.nanosecond()) & 0xffff)
}

/// A name for the folder of a gate.
pub fn gate_id() -> String {
    format!("gate-{}", run_id())
}

/// Makes the run's folder: `out`, or one of its own in `runs`, to which `latest` then points.
pub(super) fn open_folder(runs: &Path, out: Option<&Path>, run_id: &str) -> Result<PathBuf, RunError> {
    let own = runs.join(run_id);
    let folder = make_folder(out.unwrap_or(&own))?;
    if out.is_none() {
        let (link, fresh) = (runs.join("latest"), runs.join(format!("latest.{run_id}")));
        std::os::unix::fs::symlink(run_id, &fresh).map_err(|error| RunError::io("link", &fresh, error))?;
        std::fs::rename(&fresh, &link).map_err(|error| RunError::io("replace the link", &link, error))?;
    }
    Ok(folder)
}

/// Makes a folder; gives its whole path.
pub(super) fn make_folder(folder: &Path) -> Result<PathBuf, RunError> {
    std::fs::create_dir_all(folder).map_err(|error| RunError::io("make the folder", folder, error))?;
    folder
        .canonicalize()
        .map_err(|error| RunError::io("resolve", folder, error))
}

/// Runs trials one after another, each on its session's server.
struct Runner {
    context: Context,
    runtime: Runtime,
    current: Mutex<Option<(String, Session)>>,
    outcomes: Mutex<Vec<Verdict>>,
}

impl Runner {
    fn trial(&self, session: &Arc<SessionPlan>, planned: &TrialPlan) -> Result<Completion, Failed> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let outcome = self
            .runtime
            .block_on(self.outcome(&mut current, session, planned));
        let mut outcome = waived(outcome, planned);
        outcome.duration_s = begun.elapsed().as_secs_f64();
        let (verdict, text) = (outcome.verdict, first_finding(&outcome));
        self.outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(verdict);
        let session = session.name.clone();
        self.context
            .journal
            .append(Event::TrialFinished(TrialFinished { session, outcome }));
        match verdict {
            Verdict::Passed => Ok(Completion::Completed),
            Verdict::Skipped | Verdict::Waived => Ok(Completion::ignored_with(text)),
            _ => Err(Failed::from(format!("{verdict}: {text}"))),
        }
    }

    async fn outcome(
        &self,
        current: &mut Option<(String, Session)>,
        plan: &Arc<SessionPlan>,
        planned: &TrialPlan,
    ) -> Outcome {
        let context = &self.context;
        let token = &context.interrupt.token;
        let skipped = |why: &str| {
            Outcome::new(
                &planned.name,
                planned.subject.kind(),
                Verdict::Skipped,
                vec![Finding::note(why)],
            )
        };
        let session = self.session(current, plan, planned).await;
        if token.is_cancelled() {
            return skipped("the run was interrupted");
        }
        if let Some(why) = &planned.skip {
            return skipped(why);
        }
        let result = match &*session {
            Session::Up(up) => tokio::select! {
                biased;
                () = token.cancelled() => return skipped("the run was interrupted"),
                result = trial::run(context, plan, planned, up) => result,
            },
            Session::Down(failed) if planned.subject == Subject::Boot => {
                return errored(planned, failed, "the server did not boot");
            }
            Session::Down(failed) => return skipped(&format!("no server ({}): see boot", failed.class)),
        };
        let suspect = match &result {
            Ok(outcome) => outcome.verdict == Verdict::Failed && outcome.answer.is_none(),
            Err(_) => true,
        };
        if let Some(lost) = session.notice_loss(context, &plan.name, suspect).await {
            return errored(planned, &lost, "the server was lost");
        }
        result.unwrap_or_else(|error| {
            let finding = Finding::failure(error);
            Outcome::new(
                &planned.name,
                planned.subject.kind(),
                Verdict::Failed,
                vec![finding],
            )
        })
    }

    /// The session of a trial: the current one, or the next, after the one before was shut down. Tells the journal
    /// that the trial begins, behind the session's own announcement and before its boot.
    async fn session<'a>(
        &self,
        current: &'a mut Option<(String, Session)>,
        plan: &Arc<SessionPlan>,
        planned: &TrialPlan,
    ) -> &'a mut Session {
        let context = &self.context;
        let started = || {
            let (session, trial) = (plan.name.clone(), planned.name.clone());
            context
                .journal
                .append(Event::TrialStarted(TrialStarted { session, trial }));
        };
        match current.take() {
            Some((name, session)) if name == plan.name => {
                started();
                &mut current.insert((name, session)).1
            }
            before => {
                if let Some((name, mut before)) = before {
                    before.shut_down(context, &name).await;
                }
                let prepared = prepare::announce(context, plan);
                started();
                let session = session::boot(context, plan, prepared).await;
                &mut current.insert((plan.name.clone(), session)).1
            }
        }
    }

    /// Shuts the last server down, closes the record and writes the reports.
    fn finish(&self, folder: PathBuf) -> Result<Finished, RunError> {
        let context = &self.context;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, mut session)) = current.take() {
            self.runtime.block_on(session.shut_down(context, &name));
        }
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = Verdict::over(outcomes.iter().copied());
        let interrupted = context.interrupt.exit();
        let exit = interrupted.unwrap_or_else(|| verdict_exit(verdict));
        context.journal.append(Event::RunFinished(RunFinished {
            verdict,
            exit_code: exit.code(),
            interrupted: interrupted.is_some(),
        }));
        context.journal.finish()?;
        let summary = Summary::of(&context.journal.entries())?;
        let reports = report::write_all(&folder, &summary)?;
        Ok(Finished {
            exit,
            summary,
            folder,
            reports,
        })
    }
}

/// A failure that a waiver accounts for is shown as waived, never as passed.
fn waived(outcome: Outcome, planned: &TrialPlan) -> Outcome {
    let failed = matches!(
        outcome.verdict,
        Verdict::Failed | Verdict::Invalid | Verdict::Inconclusive | Verdict::Unrecorded
    );
    match (failed, &planned.waiver) {
        (true, Some(waiver)) => {
            let account = format!("{} ({})", waiver.reason, waiver.owner);
            outcome.waived(&waiver.until, &account)
        }
        _ => outcome,
    }
}

fn errored(planned: &TrialPlan, failed: &crate::record::BootFailed, what: &str) -> Outcome {
    let text = format!("{what}: {} ({}); {}", failed.message, failed.class, failed.advice);
    let evidence = if failed.evidence.is_empty() {
        &failed.last_lines
    } else {
        &failed.evidence
    };
    let finding = Finding::failure(text).with_evidence(evidence.clone());
    Outcome::new(
        &planned.name,
        planned.subject.kind(),
        Verdict::Error,
        vec![finding],
    )
}

fn first_finding(outcome: &Outcome) -> String {
    let worst = outcome
        .findings
        .iter()
        .rev()
        .max_by_key(|finding| finding.severity);
    worst.map_or_else(String::new, |finding| finding.text.clone())
}
