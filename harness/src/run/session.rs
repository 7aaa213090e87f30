//! Sessions: boots one server a session, keeps it for all its trials, and shuts it down before the next.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Journal, SessionPlan,
    cards::Cards,
    facts, fingerprint,
    grades::Grades,
    interrupt::Interrupt,
    prepare::{self, Prepared, failed, launch_failed},
    score::Scores,
};
use crate::{
    device::Tools,
    failure::{self, ExitState, FailureClass},
    golden::Store,
    load::Clock,
    manifest::Target,
    record::{BootFailed, BootPhase, Booted, Event, SessionEnded},
    sandbox::CodeRunner,
    target::{self, Deadlines, Log, NotReady, Server},
    vllm::{Client, Phase},
};

/// How long a server may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// How long after a lost connection a server's end may show.
const END_LAG: Duration = Duration::from_secs(3);
/// How long a server whose engine died may take until it has ended itself: it shuts down like one that was told to.
const DEAD_ENGINE_LAG: Duration = Duration::from_secs(30);

/// Where a run is done.
pub struct Place {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder of the run.
    pub folder: PathBuf,
    /// Name of the run.
    pub run_id: String,
}

/// What all sessions of a run share.
pub struct Context {
    /// Where it is done.
    pub place: Place,
    /// The record.
    pub journal: Arc<Journal>,
    /// Signals.
    pub interrupt: Interrupt,
    /// What tells of the host's cards.
    pub tools: Tools,
    /// Runs graded code, or the reason why nothing can.
    pub code: Result<CodeRunner, String>,
}

/// A session that was begun.
pub enum Session {
    /// Its server answers.
    Up(Box<Up>),
    /// Its server did not boot, or was lost.
    Down(Box<BootFailed>),
}

/// A server that answers.
pub struct Up {
    /// The server.
    pub server: Server,
    /// Its cards.
    pub cards: Cards,
    /// How it is asked.
    pub client: Client,
    /// Its clock.
    pub clock: Clock,
    /// What the boot told.
    pub booted: Booted,
    /// Goldens of its kind of target.
    pub goldens: Store,
    /// The server's words without what differs from host to host.
    pub command: String,
    /// What identifies the weights.
    pub weights: String,
    /// What was found of its goldens so far.
    pub scores: Scores,
    /// Grades of the cases that were asked.
    pub grades: Grades,
    /// Texts of tokens, as the server told them.
    pub pieces: Mutex<HashMap<u32, String>>,
}

impl Up {
    /// Text of one token, asked for once; `None` where the server does not tell it.
    pub async fn piece(&self, token: u32) -> Option<String> {
        let known = || self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = known().get(&token) {
            return Some(text.clone());
        }
        let text = self.client.detokenize(&[token]).await.ok()?;
        known().insert(token, text.clone());
        Some(text)
    }
}

/// Boots the server of a session, telling the journal all along.
pub async fn boot(
    context: &Context,
    plan: &SessionPlan,
    prepared: Result<Prepared, Box<BootFailed>>,
) -> Session {
    let interrupted = || context.interrupt.token.is_cancelled();
    let booted = match prepared {
        Ok(_) if interrupted() => Err(failed(
            plan,
            "interrupted",
            "the run was interrupted".to_owned(),
            "",
        )),
        Ok(prepared) => try_boot(context, plan, prepared).await,
        Err(failed) => Err(failed),
    };
    match booted {
        Ok(up) => Session::Up(Box::new(up)),
        Err(failed) => {
            // A boot that the user stopped did not fail.
            if !interrupted() {
                context.journal.append(Event::BootFailed((*failed).clone()));
            }
            Session::Down(failed)
        }
    }
}

async fn try_boot(context: &Context, plan: &SessionPlan, prepared: Prepared) -> Result<Up, Box<BootFailed>> {
    let token = &context.interrupt.token;
    let clock = prepare::clock(plan);
    let goldens = Store::open(
        context.place.root.join("golden"),
        plan.stack.stack.simulator.is_some(),
    )
    .map_err(|error| failed(plan, "goldens", error.to_string(), "correct the variable"))?;
    let launch = prepared.launch(&context.place, plan);
    let (address, name) = target::address(&launch);
    let client = Client::new(&address, &name, &prepared.settings.version)
        .map_err(|error| failed(plan, "launch", error.to_string(), "see the message"))?;
    let begun = Instant::now();
    let log = open_log(context, plan, clock, begun)
        .map_err(|error| failed(plan, "launch", error.to_string(), "see whether the disk is full"))?;
    let mut cards = Cards::watch(
        context.tools.clone(),
        &prepared.cards,
        &plan.name,
        &context.journal,
    )
    .await;
    let server = match Server::start(&launch, log.clone(), token).await {
        Ok(server) => server,
        Err(error) => {
            cards.leave().await;
            if !log.tail().is_empty() {
                // How the image was looked for.
                ended(context, &plan.name, "was not started".to_owned());
            }
            return Err(launch_failed(plan, &error));
        }
    };
    let deadlines = Deadlines::of(&plan.model.manifest.serve);
    let endpoint = plan.model.manifest.model.endpoint;
    if let Err(error) = target::ready(&server, &client, endpoint, &deadlines, token).await {
        return Err(gave_up(context, plan, (server, cards), &error).await);
    }
    let boot_s = clock.from_real(begun.elapsed());
    cards.settle().await;
    let mut found = fingerprint::take(plan, &context.tools, &prepared.cards, &server).await;
    let weights = weights(plan);
    found.environment.insert("weights".to_owned(), weights.clone());
    let booted = facts::booted(plan, &server, &client, found, boot_s).await;
    context.journal.append(Event::Booted(Box::new(booted.clone())));
    Ok(Up {
        server,
        cards,
        client,
        clock,
        booted,
        goldens,
        command: prepared.portable_command,
        weights,
        scores: Scores::default(),
        grades: Grades::default(),
        pieces: Mutex::default(),
    })
}

/// What identifies the weights that were served; a simulator has none.
fn weights(plan: &SessionPlan) -> String {
    match plan.stack.stack.target() {
        Some(Target::Simulator(_)) => return "simulated".to_owned(),
        Some(Target::Endpoint(_)) => {
            return "unknown: the files of a running server cannot be seen".to_owned();
        }
        _ => {}
    }
    let digest = target::expand(&plan.model.manifest.model.path)
        .map_err(|error| error.to_string())
        .and_then(|folder| target::weights_digest(&folder).map_err(|error| error.to_string()));
    digest.unwrap_or_else(|error| format!("unknown: {error}"))
}

fn open_log(context: &Context, plan: &SessionPlan, clock: Clock, begun: Instant) -> std::io::Result<Log> {
    let (journal, session) = (Arc::clone(&context.journal), plan.name.clone());
    let on_phase = move |phase: Phase| {
        let (session, phase) = (session.clone(), phase.to_string());
        let after_s = clock.from_real(begun.elapsed());
        journal.append(Event::BootPhase(BootPhase {
            session,
            phase,
            after_s,
        }));
    };
    Log::create(
        context.place.folder.join(log_name(&plan.name)),
        Box::new(on_phase),
    )
}

fn log_name(session: &str) -> String {
    format!("{session}.server.log")
}

/// Ends a server that did not become ready; why it did not is looked for while it still runs.
async fn gave_up(
    context: &Context,
    plan: &SessionPlan,
    (mut server, mut cards): (Server, Cards),
    error: &NotReady,
) -> Box<BootFailed> {
    let state = server.exit().borrow().clone();
    let strain = match error {
        NotReady::TimedOut(_) | NotReady::Stuck { .. } => server.strain().await,
        _ => None,
    };
    end(context, &plan.name, &mut server, &mut cards).await;
    let mut failed = not_ready(&plan.name, &server, error, state);
    if let Some(strain) = strain {
        failed.message = format!("{}; {strain}", failed.message);
        "raise the container's memory limit (memory_gib in the stack)".clone_into(&mut failed.advice);
    }
    failed
}

fn not_ready(session: &str, server: &Server, error: &NotReady, state: Option<ExitState>) -> Box<BootFailed> {
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
        // Where the log names no cause, what the server answered may.
        NotReady::CannotGenerate(refused) if names_no_cause(&failed) => {
            failed = match failure::of_refusal(&refused.to_string()) {
                Some(known) => BootFailed {
                    last_lines: failed.last_lines,
                    ..known.into_record(session, &state)
                },
                None => BootFailed {
                    class: error.class().into(),
                    message: error.to_string(),
                    ..failed
                },
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
    Box::new(failed)
}

/// Whether a server that still runs was classed for its silence alone.
fn names_no_cause(failed: &BootFailed) -> bool {
    [FailureClass::Unknown, FailureClass::BootTimeout]
        .iter()
        .any(|class| failed.class == class.to_string())
}

/// Stops the server, waits until its cards are free for the next, and tells the journal.
async fn end(context: &Context, session: &str, server: &mut Server, cards: &mut Cards) {
    let stopped = server.stop(GRACE).await;
    // There is no next one where the user ended the run.
    let held = if context.interrupt.token.is_cancelled() {
        cards.leave().await;
        None
    } else {
        cards.released().await
    };
    let cut = server
        .log
        .take_error()
        .map(|error| format!("its log is incomplete: {error}"));
    let words = [Some(stopped.to_string()), held, cut];
    ended(
        context,
        session,
        words.into_iter().flatten().collect::<Vec<_>>().join("; "),
    );
}

fn ended(context: &Context, session: &str, exit: String) {
    let (session, log) = (session.to_owned(), log_name(session));
    context
        .journal
        .append(Event::SessionEnded(SessionEnded { session, exit, log }));
}

/// How a server ended, if it did. `suspect`: the end may be about to show.
async fn end_of(server: &Server, suspect: bool) -> Option<ExitState> {
    let mut exit = server.exit();
    for lag in [END_LAG, DEAD_ENGINE_LAG] {
        let has_ended = exit.borrow().is_some();
        if has_ended || !suspect || (lag == DEAD_ENGINE_LAG && !engine_died(server)) {
            break;
        }
        drop(tokio::time::timeout(lag, exit.wait_for(Option::is_some)).await);
    }
    exit.borrow().clone()
}

/// Whether the log says that the engine died, however long the process in front of it goes on.
fn engine_died(server: &Server) -> bool {
    failure::engine_died(&server.log.tail())
}

impl Session {
    /// Looks whether the server still lives; one that ended, or whose engine died, makes the session `Down` and is told
    /// to the journal. `suspect`: a request just failed, so the end may be about to show.
    pub async fn notice_loss(
        &mut self,
        context: &Context,
        session: &str,
        suspect: bool,
    ) -> Option<BootFailed> {
        let Self::Up(up) = self else { return None };
        let state = match end_of(&up.server, suspect).await {
            Some(state) => state,
            None if suspect && engine_died(&up.server) => ExitState::Running,
            None => return None,
        };
        end(context, session, &mut up.server, &mut up.cards).await;
        let lost = failure::classify(&up.server.log.tail(), &state).into_record(session, &state);
        context.journal.append(Event::ServerLost(lost.clone()));
        *self = Self::Down(Box::new(lost.clone()));
        Some(lost)
    }

    /// Shuts the server down.
    pub async fn shut_down(&mut self, context: &Context, session: &str) {
        if let Self::Up(up) = self {
            end(context, session, &mut up.server, &mut up.cards).await;
        }
    }
}
