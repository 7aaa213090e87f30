//! Boots what a search for settings asks for: one server after another, each in a folder with a record of its own.
//!
//! A server works when it booted and answered a prompt of the manifest; whether the answer is right is asked of
//! `validate`. Nothing is judged here and no golden is touched.

use std::{path::PathBuf, sync::Arc, time::Instant};

use tokio::runtime::Runtime;

use super::{
    Exit, Filter, Interrupt, Journal, RunError, Selection, SessionPlan, Sink, TrialPlan, ask, plan, prepare,
    session::{self, Context, Place, Session, Up},
    trial,
    validate::{find_code_runner, open_folder, run_id},
    verdict_exit,
};
use crate::{
    adapt::{Conclusion, Ended, Next, Search},
    device::Tools,
    manifest::{Endpoint, LoadedCase, LoadedModel, LoadedStack},
    prompt,
    record::{
        BootFailed, Entry, Event, Finding, Outcome, RunFinished, TrialFinished, TrialKind, TrialStarted,
        Verdict,
    },
    report::{self, Summary},
    vllm::{Answer, Message, Prompt, Request, Role},
};

/// Tokens that the one prompt may be answered with, where the manifest has no case that can be asked.
const ANSWER_TOKENS: u32 = 16;

/// What is shown while servers boot: number of the attempt, what it tries, and the events of its record.
pub type Told = Arc<dyn Fn(usize, &str, Option<&Entry>) + Send + Sync>;

/// How a search is run.
pub struct AdaptOptions {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder for attempts and reports; absent: `target/adapt/<run>`.
    pub out: Option<PathBuf>,
    /// The command as it was typed, for the records.
    pub command: Vec<String>,
}

/// A search that was run.
pub struct Adapted {
    /// Name of the run.
    pub run: String,
    /// How the search ended.
    pub conclusion: Conclusion,
    /// How the process ends.
    pub exit: Exit,
    /// Folder of attempts and reports.
    pub folder: PathBuf,
}

/// Runs a search to its end.
pub fn adapt(
    search: &mut Search<'_>,
    stack: &Arc<LoadedStack>,
    options: AdaptOptions,
    told: &Told,
) -> Result<Adapted, RunError> {
    let runtime = Runtime::new().map_err(RunError::Start)?;
    let interrupt = Interrupt::watch(runtime.handle()).map_err(RunError::Start)?;
    let run = run_id();
    let folder = open_folder(&options.root.join("target/adapt"), options.out.as_deref(), &run)?;
    let bench = Bench {
        runtime,
        interrupt,
        tools: Tools::find(),
        root: options.root,
        folder,
        run,
        command: options.command,
        stack: Arc::clone(stack),
    };
    let conclusion = loop {
        match search.step() {
            Next::Done(conclusion) => break conclusion,
            Next::Boot(candidate) => {
                told(candidate.number, &candidate.tried, None);
                let (number, tried, shown) = (candidate.number, candidate.tried.clone(), Arc::clone(told));
                let sink: Sink = Box::new(move |entry| shown(number, &tried, Some(entry)));
                search.tell(bench.attempt(number, &candidate.model, sink)?);
            }
        }
    };
    let exit = match conclusion {
        Conclusion::Works => Exit::Passed,
        Conclusion::Interrupted => bench.interrupt.exit().unwrap_or(Exit::Interrupted),
        Conclusion::Unknown | Conclusion::NoRemedy | Conclusion::Exhausted | Conclusion::AttemptsUsed => {
            Exit::Infrastructure
        }
    };
    Ok(Adapted {
        run: bench.run,
        conclusion,
        exit,
        folder: bench.folder,
    })
}

/// Where servers are booted.
struct Bench {
    runtime: Runtime,
    interrupt: Interrupt,
    tools: Tools,
    root: PathBuf,
    folder: PathBuf,
    run: String,
    command: Vec<String>,
    stack: Arc<LoadedStack>,
}

impl Bench {
    /// Boots one server, asks it, stops it; leaves a record with its reports.
    fn attempt(&self, number: usize, model: &Arc<LoadedModel>, sink: Sink) -> Result<Ended, RunError> {
        let folder = super::validate::make_folder(&self.folder.join(format!("attempt_{number:02}")))?;
        let selection = Selection {
            model: Arc::clone(model),
            stack: Arc::clone(&self.stack),
            dtype: None,
        };
        let boot = Filter {
            wanted: Some(format!("{}::boot", model.name)),
            unwanted: Vec::new(),
            exact: true,
        };
        let plan = plan(&[selection], &boot);
        let journal = Arc::new(Journal::create(&folder.join("record.jsonl"), sink)?);
        let run_id = format!("{}-{number:02}", self.run);
        let simulated = self.stack.stack.simulator.is_some();
        journal.begin(&run_id, self.command.clone(), simulated);
        let context = Context {
            place: Place {
                root: self.root.clone(),
                folder: folder.clone(),
                run_id,
            },
            journal,
            interrupt: self.interrupt.clone(),
            tools: self.tools.clone(),
            code: self.runtime.block_on(find_code_runner(&plan)),
        };
        let mut verdict = Verdict::Skipped;
        let mut ended = Ended::Interrupted;
        for session in &plan.sessions {
            (ended, verdict) = self.runtime.block_on(boot_and_ask(&context, session));
        }
        let interrupted = self.interrupt.exit();
        context.journal.append(Event::RunFinished(RunFinished {
            verdict,
            exit_code: interrupted.unwrap_or_else(|| verdict_exit(verdict)).code(),
            interrupted: interrupted.is_some(),
        }));
        context.journal.finish()?;
        let summary = Summary::of(&context.journal.entries())?;
        report::write_all(&folder, &summary)?;
        Ok(if interrupted.is_some() {
            Ended::Interrupted
        } else {
            ended
        })
    }
}

async fn boot_and_ask(context: &Context, plan: &SessionPlan) -> (Ended, Verdict) {
    let Some(planned) = plan.trials.first() else {
        return (Ended::Interrupted, Verdict::Skipped);
    };
    let begun = Instant::now();
    let prepared = prepare::announce(context, plan);
    context.journal.append(Event::TrialStarted(TrialStarted {
        session: plan.name.clone(),
        trial: planned.name.clone(),
    }));
    let mut session = session::boot(context, plan, prepared).await;
    let (ended, mut outcome) = judged(context, plan, planned, &mut session).await;
    session.shut_down(context, &plan.name).await;
    outcome.duration_s = begun.elapsed().as_secs_f64();
    let verdict = outcome.verdict;
    context.journal.append(Event::TrialFinished(TrialFinished {
        session: plan.name.clone(),
        outcome,
    }));
    (ended, verdict)
}

/// What a server that was started is good for, and the outcome of its boot trial.
async fn judged(
    context: &Context,
    plan: &SessionPlan,
    planned: &TrialPlan,
    session: &mut Session,
) -> (Ended, Outcome) {
    let asked = match session {
        Session::Up(up) => tokio::select! {
            biased;
            () = context.interrupt.token.cancelled() => Err("the run was interrupted".to_owned()),
            asked = ask_one(plan, up) => asked,
        },
        Session::Down(failure) => {
            let failure = (**failure).clone();
            return failed(context, planned, "the server did not boot", failure);
        }
    };
    match (asked, &mut *session) {
        (Ok(answer), Session::Up(up)) => {
            let boot_s = up.booted.boot_s;
            let booted = trial::run(context, plan, planned, up).await;
            let booted = booted.unwrap_or_else(|error| {
                outcome(&planned.name, Verdict::Failed, vec![Finding::failure(error)])
            });
            (Ended::Works { boot_s, answer }, booted)
        }
        (asked, _) => {
            let why = asked.err().unwrap_or_default();
            let lost = session.notice_loss(context, &plan.name, true).await;
            let failure = lost.unwrap_or_else(|| unanswered(plan, &why));
            failed(context, planned, "the server booted and did not answer", failure)
        }
    }
}

fn failed(context: &Context, planned: &TrialPlan, what: &str, failure: BootFailed) -> (Ended, Outcome) {
    let finding = Finding::failure(format!("{what}: {} ({})", failure.message, failure.class));
    let finding = finding.with_evidence(failure.evidence.clone());
    let phase = phase(context);
    (
        Ended::Failed { failure, phase },
        outcome(&planned.name, Verdict::Error, vec![finding]),
    )
}

fn outcome(name: &str, verdict: Verdict, findings: Vec<Finding>) -> Outcome {
    Outcome::new(name, TrialKind::Boot, verdict, findings)
}

/// Last phase of the boot that the record holds.
fn phase(context: &Context) -> Option<String> {
    let entries = context.journal.entries();
    entries.into_iter().rev().find_map(|entry| match entry.event {
        Event::BootPhase(phase) => Some(phase.phase),
        _ => None,
    })
}

fn unanswered(plan: &SessionPlan, why: &str) -> BootFailed {
    match crate::failure::of_refusal(why) {
        Some(known) => known.into_record(&plan.name, &crate::failure::ExitState::Running),
        None => *prepare::failed(
            plan,
            "cannot_generate",
            why.to_owned(),
            "look at the server's log around the request",
        ),
    }
}

/// Asks the first case that this model can be asked, and nothing of its answer but that there is one.
async fn ask_one(plan: &SessionPlan, up: &Up) -> Result<String, String> {
    let manifest = &plan.model.manifest;
    let askable = |loaded: &&LoadedCase| {
        !loaded.case.scoring_only
            && loaded.case.haystack.is_none()
            && prompt::cannot_ask(&loaded.case, manifest).is_none()
    };
    let request = match plan.model.cases.iter().find(askable) {
        Some(case) => ask::request(&up.client, case, manifest, false)
            .await
            .map_err(|error| error.to_string())?,
        None => Request::greedy(greeting(manifest.model.endpoint), ANSWER_TOKENS),
    };
    let answer = ask::ask(&up.client, &request)
        .await
        .map_err(|error| error.to_string())?;
    said(&answer).ok_or_else(|| "the answer to the first prompt was empty".to_owned())
}

fn greeting(endpoint: Endpoint) -> Prompt {
    let text = "Say one word.".to_owned();
    match endpoint {
        Endpoint::Completions => Prompt::Text(text),
        Endpoint::Chat => Prompt::Chat(vec![Message {
            role: Role::User,
            text,
            images: Vec::new(),
        }]),
    }
}

/// What an answer holds, be it text, a thought or a call.
fn said(answer: &Answer) -> Option<String> {
    let thought = answer.reasoning.clone().unwrap_or_default();
    let called = answer
        .tool_calls
        .iter()
        .map(|call| call.name.clone())
        .collect::<Vec<_>>()
        .join(", ");
    [answer.text.clone(), thought, called]
        .into_iter()
        .find(|text| !text.trim().is_empty())
}
