//! Work on a booted server that is no trial: a sweep. It boots and ends as a session of a run does, with a record of its
//! own that tells of both.

use std::{path::PathBuf, sync::Arc};

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{
    Exit, Journal, RunError, SessionPlan, Sink,
    exit::verdict_exit,
    interrupt::Interrupt,
    prepare,
    session::{self, Context, Place, Session, Up},
    validate::{open_folder, run_id},
};
use crate::{
    device::Tools,
    load::Clock,
    record::{Event, RunFinished, Severity, Verdict},
};

/// Where a server is booted.
#[derive(Debug)]
pub struct OnServerOptions {
    /// Root of the repository.
    pub root: PathBuf,
    /// Name of the folder of such runs in `target`.
    pub kind: &'static str,
    /// Folder of the run; absent: `target/<kind>/<run>`.
    pub out: Option<PathBuf>,
    /// The command as it was typed.
    pub command: Vec<String>,
}

/// A server that answers.
#[derive(Debug)]
pub struct ServerAt<'a> {
    /// Its address.
    pub url: &'a str,
    /// Name of its model.
    pub model: &'a str,
    /// Its clock.
    pub clock: Clock,
    /// Folder of the run.
    pub folder: &'a PathBuf,
    /// Told to stop by the user's signal.
    pub stop: CancellationToken,
}

/// What became of it.
#[derive(Debug)]
pub struct OnServer<T> {
    /// Folder of the run.
    pub folder: PathBuf,
    /// What was done, or why nothing was.
    pub done: Result<T, NotDone>,
    /// How the process ends, where a signal ended the work.
    pub interrupted: Option<Exit>,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDone {
    /// Whose fault.
    pub verdict: Verdict,
    /// In words.
    pub what: String,
}

impl NotDone {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        verdict_exit(self.verdict)
    }
}

/// Boots the server of a session, works on it, and shuts it down.
pub fn on_server<T>(
    plan: &Arc<SessionPlan>,
    options: OnServerOptions,
    sink: Sink,
    work: impl AsyncFnOnce(ServerAt<'_>) -> Result<T, String>,
) -> Result<OnServer<T>, RunError> {
    let runtime = Runtime::new().map_err(RunError::Start)?;
    let interrupt = Interrupt::watch(runtime.handle()).map_err(RunError::Start)?;
    let run_id = run_id();
    let runs = options.root.join("target").join(options.kind);
    let folder = open_folder(&runs, options.out.as_deref(), &run_id)?;
    let journal = Arc::new(Journal::create(&folder.join("record.jsonl"), sink)?);
    journal.begin(&run_id, options.command, plan.stack.stack.simulator.is_some());
    let context = Context {
        place: Place {
            root: options.root,
            folder: folder.clone(),
            run_id,
        },
        journal,
        interrupt,
        tools: Tools::find(),
        code: Err("nothing is graded here".to_owned()),
    };
    let done = runtime.block_on(boot_and_work(&context, plan, work));
    let verdict = done.as_ref().map_or_else(|not| not.verdict, |_| Verdict::Passed);
    let interrupted = context.interrupt.exit();
    context.journal.append(Event::RunFinished(RunFinished {
        verdict,
        exit_code: interrupted.unwrap_or_else(|| verdict_exit(verdict)).code(),
        interrupted: interrupted.is_some(),
    }));
    context.journal.finish()?;
    Ok(OnServer {
        folder,
        done,
        interrupted,
    })
}

async fn boot_and_work<T>(
    context: &Context,
    plan: &SessionPlan,
    work: impl AsyncFnOnce(ServerAt<'_>) -> Result<T, String>,
) -> Result<T, NotDone> {
    let error = |what: String| NotDone {
        verdict: Verdict::Error,
        what,
    };
    let prepared = prepare::announce(context, plan);
    let mut session = session::boot(context, plan, prepared).await;
    let done = match &session {
        Session::Down(failed) => {
            let what = format!("the server did not boot: {} ({})", failed.message, failed.class);
            return Err(error(what));
        }
        Session::Up(up) => {
            if let Some(not) = unfit(up) {
                Err(not)
            } else {
                let at = ServerAt {
                    url: up.client.base().as_str(),
                    model: up.client.model(),
                    clock: up.clock,
                    folder: &context.place.folder,
                    stop: context.interrupt.token.clone(),
                };
                work(at).await.map_err(error)
            }
        }
    };
    if let Some(lost) = session.notice_loss(context, &plan.name, done.is_err()).await {
        return Err(error(format!(
            "the server was lost: {} ({})",
            lost.message, lost.class
        )));
    }
    session.shut_down(context, &plan.name).await;
    done
}

/// What is measured of a server that is not what its stack promises would be held for the stack's.
fn unfit(up: &Up) -> Option<NotDone> {
    let findings = up.booted.findings.iter();
    let wrong: Vec<&str> = findings
        .filter(|finding| finding.severity == Severity::Failure)
        .map(|finding| finding.text.as_str())
        .collect();
    (!wrong.is_empty()).then(|| NotDone {
        verdict: Verdict::Invalid,
        what: format!("the server is not what its stack promises: {}", wrong.join("; ")),
    })
}
