//! Before a boot: settings, port and the equal command line, and the announcement of the session in the record.

use std::{collections::BTreeMap, path::Path};

use super::{
    SessionPlan,
    session::{Context, Place},
};
use crate::{
    capacity::{Known, Shape},
    failure::{self, ExitState},
    load::Clock,
    manifest::{Accelerator, Target},
    record::{BootFailed, Event, SessionStarted},
    target::{self, Launch, LaunchError, ServerSettings},
};

/// What a session's server will be started with.
pub struct Prepared {
    /// Arguments and environment.
    pub settings: ServerSettings,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Indices of the cards that the server may use.
    pub cards: Vec<u32>,
    /// The equal command line.
    pub command_line: String,
    /// The server's words without what differs from host to host.
    pub portable_command: String,
}

impl Prepared {
    /// The launch of this session.
    pub fn launch<'a>(&'a self, place: &'a Place, plan: &'a SessionPlan) -> Launch<'a> {
        Launch {
            session: &plan.name,
            run_id: &place.run_id,
            model: &plan.model,
            stack: &plan.stack,
            settings: &self.settings,
            port: self.port,
            cards: &self.cards,
            folder: &place.folder,
            root: &place.root,
        }
    }
}

/// The cards of a session: as many as it shares its layers over, from the host's first on. Nothing computes on cards
/// where the simulator plays or the CPU works, and which ones a running server has nobody tells.
fn cards(plan: &SessionPlan) -> Vec<u32> {
    let stack = &plan.stack.stack;
    let uses_cards = matches!(stack.target(), Some(Target::Docker(_) | Target::Process(_)))
        && stack.accelerator != Accelerator::Cpu;
    if uses_cards {
        (0..plan.model.manifest.serve.cards()).collect()
    } else {
        Vec::new()
    }
}

/// The clock that a session's figures are stated on.
pub fn clock(plan: &SessionPlan) -> Clock {
    Clock::new(
        plan.stack
            .stack
            .simulator
            .as_ref()
            .map_or(1.0, |simulator| simulator.clock),
    )
}

/// Prepares a session and announces it: its first event, whatever comes of it.
pub fn announce(context: &Context, plan: &SessionPlan) -> Result<Prepared, Box<BootFailed>> {
    let prepared = prepare(&context.place, plan);
    context.journal.append(Event::SessionStarted(session_started(
        plan,
        prepared.as_ref().ok(),
    )));
    prepared
}

/// Prepares a session.
pub fn prepare(place: &Place, plan: &SessionPlan) -> Result<Prepared, Box<BootFailed>> {
    let template = template_place(plan);
    let settings =
        target::settings(&plan.model, &plan.stack, template.as_deref(), plan.dtype()).map_err(|error| {
            failed(
                plan,
                "arguments",
                error.to_string(),
                "correct the `serve` section of the manifest or the stack",
            )
        })?;
    let port = target::free_port().map_err(|error| {
        let text = format!("no free port on 127.0.0.1: {error}");
        failed(plan, "launch", text, "see what holds the ports (`ss -ltn`)")
    })?;
    let mut prepared = Prepared {
        settings,
        port,
        cards: cards(plan),
        command_line: String::new(),
        portable_command: String::new(),
    };
    prepared.portable_command = target::portable_command(&prepared.launch(place, plan));
    prepared.command_line =
        target::command_line(&prepared.launch(place, plan)).map_err(|error| launch_failed(plan, &error))?;
    Ok(prepared)
}

/// A failure that no server's log tells of.
pub fn failed(plan: &SessionPlan, class: &str, message: String, advice: &str) -> Box<BootFailed> {
    Box::new(BootFailed {
        session: plan.name.clone(),
        class: class.to_owned(),
        message,
        evidence: Vec::new(),
        advice: advice.to_owned(),
        exit: None,
        last_lines: Vec::new(),
    })
}

/// A server that could not even be started.
pub fn launch_failed(plan: &SessionPlan, error: &LaunchError) -> Box<BootFailed> {
    let message = error.to_string();
    let known = failure::classify(&[], &ExitState::NeverStarted(message));
    if known.rule.is_some() {
        let record = known.into_record(&plan.name, &ExitState::Gone);
        return Box::new(BootFailed { exit: None, ..record });
    }
    failed(
        plan,
        error.class(),
        error.to_string(),
        "no server was started; the message says what is missing",
    )
}

/// Where the server finds the chat template: mounted in a container, beside the manifest elsewhere.
fn template_place(plan: &SessionPlan) -> Option<String> {
    let template: &Path = plan.model.chat_template.as_deref()?;
    let mounted = plan.stack.stack.docker.is_some();
    Some(if mounted {
        target::CONTAINER_TEMPLATE.to_owned()
    } else {
        template.to_string_lossy().into_owned()
    })
}

fn session_started(plan: &SessionPlan, prepared: Option<&Prepared>) -> SessionStarted {
    let stack = &plan.stack.stack;
    SessionStarted {
        session: plan.name.clone(),
        model: plan.model.name.clone(),
        stack: plan.stack.name.clone(),
        about: stack.about.clone(),
        target: stack.target().map_or("none", Target::kind).to_owned(),
        simulated: stack.simulator.is_some(),
        clock: clock(plan).speedup(),
        accelerator: stack.accelerator.as_str().to_owned(),
        manifest_digest: plan.model.digest.clone(),
        settings: shown_settings(plan),
        command_line: prepared
            .map(|prepared| prepared.command_line.clone())
            .unwrap_or_default(),
        notes: notes(plan, prepared),
    }
}

fn shown_settings(plan: &SessionPlan) -> BTreeMap<String, String> {
    let (manifest, stack) = (&plan.model.manifest, &plan.stack.stack);
    let serve = &manifest.serve;
    let mut shown = vec![
        ("model_id", manifest.model.id.clone()),
        ("revision", manifest.model.revision.clone()),
        ("expected_vllm", stack.vllm.clone()),
        ("dtype", plan.dtype().as_str().to_owned()),
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
    shown.extend(known_figures(plan));
    let expect = &stack.expect;
    let expected = [
        ("expected_smi", &expect.smi),
        ("expected_driver", &expect.driver),
        ("expected_maca", &expect.maca),
        ("expected_bios", &expect.bios),
        ("expected_torch", &expect.torch),
    ];
    shown.extend(
        expected
            .into_iter()
            .filter_map(|(name, version)| Some((name, version.clone()?))),
    );
    shown
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What follows from model and card, for the audit of the reports: they are then complete in themselves.
fn known_figures(plan: &SessionPlan) -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    let predicted = plan.served().and_then(|served| served.predict(Known::default()));
    if let Ok(prediction) = predicted {
        shown.push(("kv_bytes_per_token", prediction.kv_bytes_per_token.to_string()));
        if plan.model.manifest.serve.block_size != u32::try_from(prediction.block_size).ok() {
            shown.push(("block_size", prediction.block_size.to_string()));
        }
    }
    let bytes = Shape::of_manifest(&plan.model.manifest.model.architecture)
        .parameters()
        .ok()
        .map(|parameters| parameters.read.saturating_mul(plan.dtype().bytes()));
    shown.extend(bytes.map(|bytes| ("bytes_read_per_token", bytes.to_string())));
    if let Some(card) = &plan.stack.card {
        shown.push(("card_memory_gib", card.memory_gib.value.to_string()));
        shown.push((
            "card_bandwidth_gb_per_s",
            card.bandwidth_gb_per_s.value.to_string(),
        ));
    }
    shown
}

/// What a reader of the report must know besides.
pub fn notes(plan: &SessionPlan, prepared: Option<&Prepared>) -> Vec<String> {
    let (manifest, stack) = (&plan.model.manifest, &plan.stack.stack);
    let mut notes = prepared
        .map(|prepared| prepared.settings.changes.clone())
        .unwrap_or_default();
    if stack.docker.as_ref().is_some_and(|docker| docker.privileged) {
        notes.push("the container is privileged, as its stack asks".to_owned());
    }
    if matches!(stack.target(), Some(Target::Endpoint(_))) {
        let text = "the server ran before: nothing of the manifest's `serve` section was applied to it";
        notes.push(text.to_owned());
    }
    let (before, after) = (manifest.serve.dtype, plan.dtype());
    if before != after {
        let by = if plan.asked_dtype.is_some() {
            "the command line"
        } else {
            "the stack"
        };
        notes.push(format!(
            "{by} replaces dtype {} by {}",
            before.as_str(),
            after.as_str()
        ));
    }
    if let Some(simulator) = stack
        .simulator
        .as_ref()
        .filter(|simulator| !simulator.faults.is_empty())
    {
        notes.push(format!("faults injected: {}", simulator.faults.join(" ")));
    }
    notes
}
