//! Sessions: boots one server a session, keeps it for all its trials, and shuts it down before the next.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    failure::{self, ExitState, FailureClass},
    golden::Store,
    load::Clock,
    record::{BootFailed, BootPhase, Booted, Event, SessionEnded, SessionStarted},
    sandbox::CodeRunner,
    target::{self, Launch, LaunchError, Log, NotReady, Server, ServerSettings},
    vllm::Client,
};

use super::{Journal, SessionPlan, facts, interrupt::Interrupt};

/// How long a server may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// How long after a lost connection a server's end may show.
const END_LAG: Duration = Duration::from_secs(3);

/// What all sessions of a run share.
pub struct Context {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder of the run.
    pub folder: PathBuf,
    /// Name of the run.
    pub run_id: String,
    /// The record.
    pub journal: Arc<Journal>,
    /// Signals.
    pub interrupt: Interrupt,
    /// Runs graded code, or the reason why nothing can.
    pub code: Result<CodeRunner, String>,
}

/// A session that was begun.
pub enum Session {
    /// Its server answers.
    Up(Box<Up>),
    /// Its server did not boot, or was lost.
    Down(BootFailed),
}

/// A server that answers.
pub struct Up {
    /// The server.
    pub server: Server,
    /// How it is asked.
    pub client: Client,
    /// Its clock.
    pub clock: Clock,
    /// What the boot told.
    pub booted: Booted,
    /// Goldens of its kind of target.
    pub goldens: Store,
    /// What it was started with.
    pub settings: ServerSettings,
    /// The equal command line.
    pub command_line: String,
}

/// Boots the server of a session, telling the journal all along.
pub async fn boot(context: &Context, plan: &SessionPlan) -> Session {
    match try_boot(context, plan).await {
        Ok(up) => Session::Up(Box::new(up)),
        Err(failed) => {
            context.journal.append(Event::BootFailed(failed.clone()));
            Session::Down(failed)
        }
    }
}

async fn try_boot(context: &Context, plan: &SessionPlan) -> Result<Up, BootFailed> {
    let failed = |class: &str, message: String, advice: &str| BootFailed {
        session: plan.name.clone(),
        class: class.to_owned(),
        message,
        evidence: Vec::new(),
        advice: advice.to_owned(),
        exit: None,
        last_lines: Vec::new(),
    };
    let stack = &plan.stack.stack;
    let template = template_place(plan);
    let settings = target::settings(&plan.model, &plan.stack, template.as_deref()).map_err(|error| {
        failed(
            "arguments",
            error.to_string(),
            "correct the manifest's `serve` section",
        )
    })?;
    let port = target::free_port().map_err(|error| {
        failed(
            "launch",
            format!("no free port on 127.0.0.1: {error}"),
            "see what holds the ports",
        )
    })?;
    let launch = Launch {
        session: &plan.name,
        run_id: &context.run_id,
        model: &plan.model,
        stack: &plan.stack,
        settings: &settings,
        port,
        folder: &context.folder,
        root: &context.root,
    };
    let command_line = target::command_line(&launch).map_err(|error| launch_failed(&plan.name, &error))?;
    let clock = Clock::new(stack.simulator.as_ref().map_or(1.0, |simulator| simulator.clock));
    context.journal.append(Event::SessionStarted(session_started(
        plan,
        &settings,
        clock,
        &command_line,
    )));

    let begun = Instant::now();
    let log = open_log(context, plan, clock, begun)
        .map_err(|error| failed("launch", error.to_string(), "see whether the disk is full"))?;
    let server = Server::start(&launch, log, &context.interrupt.token).await;
    let mut server = server.map_err(|error| launch_failed(&plan.name, &error))?;
    let client = Client::new(
        &format!("http://127.0.0.1:{port}"),
        &plan.model.name,
        &settings.version,
    )
    .map_err(|error| failed("launch", error.to_string(), ""))?;
    let timeout = plan
        .model
        .manifest
        .serve
        .boot_timeout
        .duration()
        .unwrap_or(Duration::from_mins(10));
    let endpoint = plan.model.manifest.model.endpoint;
    if let Err(error) = target::ready(&server, &client, endpoint, timeout, &context.interrupt.token).await {
        let state = server.exit().borrow().clone();
        end(context, &plan.name, &mut server).await;
        return Err(not_ready(&plan.name, &server, &error, state));
    }
    let boot_s = clock.from_real(begun.elapsed());
    let booted = facts::booted(plan, &server, &client, boot_s).await;
    context.journal.append(Event::Booted(Box::new(booted.clone())));
    let goldens = Store::open(context.root.join("golden"), stack.simulator.is_some())
        .map_err(|error| failed("goldens", error.to_string(), "correct the environment variable"))?;
    Ok(Up {
        server,
        client,
        clock,
        booted,
        goldens,
        settings,
        command_line,
    })
}

/// Where the server finds the chat template: mounted in a container, beside the manifest elsewhere.
fn template_place(plan: &SessionPlan) -> Option<String> {
    let template = plan.model.chat_template.as_ref()?;
    if plan.stack.stack.docker.is_some() {
        return Some(target::CONTAINER_TEMPLATE.to_owned());
    }
    Some(template.to_string_lossy().into_owned())
}

fn open_log(context: &Context, plan: &SessionPlan, clock: Clock, begun: Instant) -> std::io::Result<Log> {
    let (journal, session) = (Arc::clone(&context.journal), plan.name.clone());
    let on_phase = move |phase: crate::vllm::startup_log::Phase| {
        let (session, phase) = (session.clone(), phase.to_string());
        let after_s = clock.from_real(begun.elapsed());
        journal.append(Event::BootPhase(BootPhase {
            session,
            phase,
            after_s,
        }));
    };
    Log::create(context.folder.join(log_name(&plan.name)), Box::new(on_phase))
}

fn log_name(session: &str) -> String {
    format!("{session}.server.log")
}

fn session_started(
    plan: &SessionPlan,
    settings: &ServerSettings,
    clock: Clock,
    command_line: &str,
) -> SessionStarted {
    let (manifest, stack) = (&plan.model.manifest, &plan.stack.stack);
    let serve = &manifest.serve;
    let mut shown = vec![
        ("model_id", manifest.model.id.clone()),
        ("revision", manifest.model.revision.clone()),
        ("vllm", stack.vllm.clone()),
        ("dtype", settings.dtype.as_str().to_owned()),
        ("tensor_parallel", serve.tensor_parallel.to_string()),
        ("pipeline_parallel", serve.pipeline_parallel.to_string()),
        ("max_model_len", serve.max_model_len.to_string()),
        ("gpu_memory_utilization", serve.gpu_memory_utilization.to_string()),
        ("seed", serve.seed.to_string()),
    ];
    shown.extend(serve.block_size.map(|size| ("block_size", size.to_string())));
    shown.extend(
        serve
            .max_num_seqs
            .map(|count| ("max_num_seqs", count.to_string())),
    );
    let mut notes = settings.changes.clone();
    if stack.docker.as_ref().is_some_and(|docker| docker.privileged) {
        notes.push("the container is privileged, as its stack asks".to_owned());
    }
    if settings.dtype != serve.dtype {
        notes.push(format!(
            "the stack replaces dtype {} by {}",
            serve.dtype.as_str(),
            settings.dtype.as_str()
        ));
    }
    if let Some(simulator) = &stack.simulator
        && !simulator.faults.is_empty()
    {
        notes.push(format!("faults injected: {}", simulator.faults.join(" ")));
    }
    SessionStarted {
        session: plan.name.clone(),
        model: plan.model.name.clone(),
        stack: plan.stack.name.clone(),
        about: stack.about.clone(),
        target: if stack.simulator.is_some() {
            "simulator"
        } else {
            "docker"
        }
        .to_owned(),
        simulated: stack.simulator.is_some(),
        clock: clock.speedup(),
        accelerator: stack.accelerator.as_str().to_owned(),
        manifest_digest: plan.model.digest.clone(),
        settings: shown
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        command_line: command_line.to_owned(),
        notes,
    }
}

fn launch_failed(session: &str, error: &LaunchError) -> BootFailed {
    let class = error.class();
    let advice = "nothing was started; the message says what is missing".to_owned();
    let (session, message) = (session.to_owned(), error.to_string());
    let class = class.to_owned();
    BootFailed {
        session,
        class,
        message,
        evidence: Vec::new(),
        advice,
        exit: None,
        last_lines: Vec::new(),
    }
}

fn not_ready(session: &str, server: &Server, error: &NotReady, state: Option<ExitState>) -> BootFailed {
    let state = state.unwrap_or(ExitState::Running);
    let failure = failure::classify(&server.log.tail(), &state);
    let mut failed = failure.into_record(session, &state);
    match error {
        NotReady::Ended(_) => {}
        NotReady::Cancelled => {
            failed = BootFailed {
                class: "interrupted".into(),
                ..failed
            }
        }
        // The log may name a cause; where it does not, the class is what was seen.
        _ if failed.class == FailureClass::Unknown.to_string() => {
            failed = BootFailed {
                class: error.class().into(),
                message: error.to_string(),
                ..failed
            };
        }
        _ => failed.message = format!("{error}; {}", failed.message),
    }
    failed
}

/// Stops the server and tells the journal.
async fn end(context: &Context, session: &str, server: &mut Server) {
    let stopped = server.stop(GRACE).await;
    let mut exit = stopped.to_string();
    if let Some(error) = server.log.take_error() {
        exit += &format!("; its log is incomplete: {error}");
    }
    let (session, log) = (session.to_owned(), log_name(session));
    context
        .journal
        .append(Event::SessionEnded(SessionEnded { session, exit, log }));
}

impl Session {
    /// Looks whether the server still lives; one that ended makes the session `Down` and is told to the journal.
    /// `suspect`: a request just failed, so the end may be about to show.
    pub async fn notice_loss(
        &mut self,
        context: &Context,
        session: &str,
        suspect: bool,
    ) -> Option<BootFailed> {
        let Self::Up(up) = self else { return None };
        let mut exit = up.server.exit();
        if suspect {
            drop(tokio::time::timeout(END_LAG, exit.wait_for(Option::is_some)).await);
        }
        let state = exit.borrow().clone()?;
        end(context, session, &mut up.server).await;
        let lost = failure::classify(&up.server.log.tail(), &state).into_record(session, &state);
        context.journal.append(Event::ServerLost(lost.clone()));
        *self = Self::Down(lost.clone());
        Some(lost)
    }

    /// Shuts the server down.
    pub async fn shut_down(&mut self, context: &Context, session: &str) {
        if let Self::Up(up) = self {
            end(context, session, &mut up.server).await;
        }
    }
}
