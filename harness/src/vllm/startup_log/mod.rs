//! Reads a server's start-up log, line by line as it is written: which phase the boot is in, what was resolved, and
//! how memory was shared out. Knows the lines of vLLM 0.8.5 to 0.33, of its CPU backend and of MetaX's plugin.
//!
//! Once the server serves, lines are no longer read for figures: from then on the log repeats what clients sent. A
//! second start in the same log (a container that was started again) begins anew.

mod memory;
mod phase;
mod repr;
mod sightings;
mod template;

use std::collections::BTreeMap;

use serde::Serialize;

use self::{
    memory::Context,
    sightings::{Figure, Sightings},
    template::captures,
};
pub use self::{memory::complete_from_metrics, phase::Phase};
use super::{
    log_line::{self, LogLine},
    parse_version,
    version::at_least,
};
use crate::record::MemoryFigures;

/// The engine's generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum EngineKind {
    /// Up to 0.10.2, where V1 does not serve.
    V0,
    /// All others.
    V1,
}

/// A phase that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseSeen {
    /// Which.
    pub phase: Phase,
    /// The log's own time stamp (`MM-DD hh:mm:ss`, the server's local time), where the line has one.
    pub at: Option<String>,
}

/// What a start-up log tells.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StartupFacts {
    /// Version as printed (`0.8.5.post2`).
    pub vllm_version: Option<String>,
    /// The engine's generation.
    pub engine: Option<EngineKind>,
    /// `V2` where the second model runner says so.
    pub model_runner: Option<String>,
    /// Class of the model in vLLM.
    pub architecture: Option<String>,
    /// The resolved configuration, as printed (`dtype`, `max_seq_len`, `enable_prefix_caching`, …).
    pub config: BTreeMap<String, String>,
    /// The server's arguments: those that are not default, or all of them (0.8.5).
    pub arguments: BTreeMap<String, String>,
    /// Memory of one card; first rank.
    pub memory: MemoryFigures,
    /// What the figures need to be read rightly: differences between ranks, changed meanings.
    pub notes: Vec<String>,
    /// Figures by process, where several print theirs.
    pub per_rank: BTreeMap<String, BTreeMap<String, f64>>,
    /// Attention backend as printed.
    pub attention_backend: Option<String>,
    /// Platform plugin (`metax`).
    pub platform_plugin: Option<String>,
    /// MACA version that the plugin's kernels were built with.
    pub maca_version: Option<String>,
    /// Version of MetaX's kernel library.
    pub mcoplib_version: Option<String>,
    /// Settings that the plugin changes, with its reasons.
    pub plugin_settings: BTreeMap<String, String>,
    /// What the model's generation_config.json sets in place of vLLM's sampling defaults.
    pub sampling_overridden: Option<String>,
    /// Whether asynchronous scheduling is on (printed by 0.14 to 0.26; the first line counts).
    pub async_scheduling: Option<bool>,
    /// Seconds that reading the weights took.
    pub weights_read_s: Option<f64>,
    /// Seconds that loading the model took.
    pub load_s: Option<f64>,
    /// Seconds of torch.compile.
    pub compile_s: Option<f64>,
    /// Seconds that capturing graphs took.
    pub graph_s: Option<f64>,
    /// Seconds from the loaded model to the ready engine.
    pub init_s: Option<f64>,
    /// Phases in the order in which they began.
    pub phases: Vec<PhaseSeen>,
    /// Whether requests are answered.
    pub ready: bool,
}

/// Reads a log line by line.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    facts: StartupFacts,
    sightings: Sightings,
    is_cpu: bool,
    boots: u32,
}

impl Reader {
    /// A reader of a log's first line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next line of either stream. Gives the phase that it shows to have begun, once for each phase; where
    /// ranks are interleaved the first to reach a phase counts.
    pub fn feed(&mut self, line: &str) -> Option<Phase> {
        let mut begun = None;
        for line in log_line::read(line) {
            begun = self.take(&line).or(begun);
        }
        begun
    }

    /// How many starts of a server the log has shown.
    pub const fn boots(&self) -> u32 {
        self.boots
    }

    /// What is known so far.
    pub fn facts(&self) -> StartupFacts {
        let mut facts = self.facts.clone();
        let version = facts.vllm_version.as_deref().and_then(parse_version);
        let argument = |name: &str| facts.arguments.get(name).and_then(|value| value.parse().ok());
        let context = Context {
            version_text: facts.vllm_version.as_deref(),
            version: version.as_ref(),
            engine: facts.engine,
            is_cpu: self.is_cpu,
            is_eager: facts
                .config
                .get("enforce_eager")
                .is_some_and(|value| value == "True"),
            has_kv_cache: facts.phases.iter().any(|seen| seen.phase >= Phase::KvCache),
            block_size: argument("block_size"),
        };
        facts.memory = self.sightings.memory(context);
        facts.notes.extend(self.sightings.spreads());
        if facts.memory.activation_gib.is_some()
            && version.is_some_and(|version| at_least(&version, (0, 33, 0)))
        {
            facts
                .notes
                .push("activation_gib includes the estimate of the graphs in this version".to_owned());
        }
        facts.per_rank = self.sightings.per_rank();
        facts.weights_read_s = self.sightings.get(Figure::WeightsReadSeconds);
        facts.load_s = self.sightings.get(Figure::LoadSeconds);
        facts.compile_s = self.sightings.get(Figure::CompileSeconds);
        facts.graph_s = self.sightings.get(Figure::GraphSeconds);
        facts.init_s = self.sightings.get(Figure::InitSeconds);
        facts
    }

    fn take(&mut self, line: &LogLine) -> Option<Phase> {
        if line.text.trim().is_empty() {
            return None;
        }
        if let Some(version) = banner(&line.text) {
            self.begin(version);
        }
        if self.facts.ready {
            return None;
        }
        self.sightings.read(line);
        self.identity(&line.text);
        self.settings(&line.text);
        let phase = Phase::begun_by(&line.text)
            .or_else(|| self.facts.phases.is_empty().then_some(Phase::Starting))?;
        self.reach(phase, line)
    }

    /// A banner opens a boot; one that follows another's shows that the server was started again.
    fn begin(&mut self, version: &str) {
        if self.facts.vllm_version.is_some() {
            let boots = self.boots;
            let plugin = std::mem::take(self).facts;
            self.boots = boots;
            self.facts.platform_plugin = plugin.platform_plugin;
            self.facts.maca_version = plugin.maca_version;
            self.facts.mcoplib_version = plugin.mcoplib_version;
            self.facts.plugin_settings = plugin.plugin_settings;
        }
        self.boots += 1;
        self.facts.vllm_version = Some(version.to_owned());
    }

    fn reach(&mut self, phase: Phase, line: &LogLine) -> Option<Phase> {
        if self.facts.phases.iter().any(|seen| seen.phase == phase) {
            return None;
        }
        self.facts.ready = phase == Phase::Serving;
        let at = line.head.as_ref().map(|head| head.time.clone());
        self.facts.phases.push(PhaseSeen { phase, at });
        Some(phase)
    }

    /// What runs: version, engine, configuration, model, backend, plugin.
    fn identity(&mut self, text: &str) {
        let facts = &mut self.facts;
        if let Some((kind, version, config)) = engine_line(text) {
            facts.engine = Some(kind);
            facts.vllm_version.get_or_insert_with(|| version.to_owned());
            facts.config = repr::pairs(config);
            self.is_cpu |= facts
                .config
                .get("device_config")
                .is_some_and(|device| device == "cpu");
        } else if let Some(found) = captures("non-default args: {s}", text) {
            facts.arguments = repr::pairs(inside(found[0], '{', '}'));
        } else if let Some(found) = captures("args: Namespace{s}", text) {
            facts.arguments = repr::pairs(inside(found[0], '(', ')'));
        } else if let Some(found) = captures("Resolved architecture: {s}", text) {
            facts.architecture = Some(found[0].to_owned());
        } else if text.contains("Using V2 Model Runner") {
            facts.model_runner = Some("V2".to_owned());
        } else if let Some(name) = attention_backend(text) {
            facts.attention_backend.get_or_insert_with(|| name.to_owned());
        }
    }

    /// What was set by others than the one who started the server.
    fn settings(&mut self, text: &str) {
        let facts = &mut self.facts;
        if let Some(found) = captures("Platform plugin {s} is activated", text) {
            facts.platform_plugin = Some(found[0].to_owned());
        } else if let Some(found) = captures("Build_Maca_Version = '{s}'", text) {
            facts.maca_version = Some(found[0].to_owned());
        } else if let Some(found) = captures("Mcoplib_Version = '{s}'", text) {
            facts.mcoplib_version = Some(found[0].to_owned());
        } else if let Some(found) = captures("Plugin sets {s} to {s}. Reason: {s}", text)
            .or_else(|| captures("Note!: set {s} to {s}. Reason: {s}", text))
        {
            facts
                .plugin_settings
                .insert(found[0].to_owned(), format!("{} ({})", found[1], found[2]));
        } else if let Some(found) = captures("sampling parameters have been overridden by {s}: `{s}`", text) {
            facts.sampling_overridden = Some(found[1].to_owned());
        } else if let Some(found) = captures("sampling params from model: {s}", text) {
            facts.sampling_overridden = Some(found[0].to_owned());
        } else if text.contains("Default sampling parameters have been overridden by") {
            let unnamed = "generation_config.json; this version does not print what it sets";
            facts
                .sampling_overridden
                .get_or_insert_with(|| unnamed.to_owned());
        } else if let Some(found) = captures("Asynchronous scheduling is {s}.", text) {
            let is_on = found[0] == "enabled";
            if *facts.async_scheduling.get_or_insert(is_on) != is_on {
                // Seen in 0.17.1: the API server resolves one thing and the engine another.
                let note = "asynchronous scheduling is printed as enabled and as disabled".to_owned();
                if !facts.notes.contains(&note) {
                    facts.notes.push(note);
                }
            }
        }
    }
}

/// The version in a banner: a sentence, or the third line of the logo (0.15 and newer).
fn banner(text: &str) -> Option<&str> {
    // Only at the start: a request in the log may quote it.
    if let Some(version) = text.strip_prefix("vLLM API server version ") {
        return Some(version.trim());
    }
    if let Some(rest) = text.strip_prefix("vLLM server version ") {
        return rest.split_once(", serving model").map(|(version, _)| version);
    }
    let (logo, version) = text.split_once("  version ")?;
    let is_logo = logo.contains('█') && logo.chars().all(|c| " █▄▀".contains(c));
    is_logo.then(|| version.trim())
}

/// `Initializing a V1 LLM engine (v0.12.0) with config: …`
fn engine_line(text: &str) -> Option<(EngineKind, &str, &str)> {
    let found = captures("Initializing a {s} LLM engine (v{s}) with config: {s}", text)?;
    let kind = match found[0] {
        "V0" => EngineKind::V0,
        "V1" => EngineKind::V1,
        _ => return None,
    };
    Some((kind, found[1], found[2]))
}

/// The attention backend's name; other backends (collectives, experts, vision, sampling) print the same sentence.
fn attention_backend(text: &str) -> Option<&str> {
    const OTHERS: [&str; 7] = [
        "MoE",
        "all2all",
        "vit",
        "distributed",
        "sampl",
        "backend",
        "executor",
    ];
    let found = captures("Using {s} attention backend out of", text)
        .or_else(|| captures("Using {s} backend on V1 engine", text))
        .or_else(|| {
            text.ends_with("backend.")
                .then(|| captures("Using {s} backend.", text))
                .flatten()
        })?;
    let name = found[0].strip_prefix("AttentionBackendEnum.").unwrap_or(found[0]);
    let is_name = name.split(' ').count() <= 4 && !OTHERS.iter().any(|other| name.contains(other));
    is_name.then_some(name)
}

/// What stands between the outermost brackets.
fn inside(text: &str, open: char, close: char) -> &str {
    let text = text.trim();
    text.strip_prefix(open)
        .and_then(|text| text.strip_suffix(close))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests;
