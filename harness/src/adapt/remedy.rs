//! What each remedy writes into a manifest. Pure: a situation gives proposals, nearest first; whether a proposal makes
//! a manifest, and whether it was tried before, is the search's to ask.

use regex::Regex;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Change, memory, table};
use crate::{
    manifest::{Dtype, Edit, Endpoint, LoadedModel, LoadedStack, Quantity},
    record::BootFailed,
    vllm::version::at_least,
};

/// Longest boot that is still proposed, in seconds.
const LONGEST_BOOT_S: u64 = 2 * 3600;

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// No compiled graphs.
    EnforceEager,
    /// The model's own Python code may run.
    TrustRemoteCode,
    /// The template of the model's family.
    ChatTemplate,
    /// The model is asked to continue texts.
    CompletionsEndpoint,
    /// A smaller `max_model_len`.
    ShorterContext,
    /// A smaller `gpu_memory_utilization`.
    LowerUtilization,
    /// A larger `gpu_memory_utilization`.
    RaiseUtilization,
    /// A smaller `max_num_seqs`.
    FewerSequences,
    /// A larger `tensor_parallel`.
    MoreCards,
    /// A `tensor_parallel` that divides the heads.
    EvenCards,
    /// Another attention backend.
    AttentionBackend,
    /// Another number type.
    OtherDtype,
    /// The folder of MACA in the environment.
    MacaPath,
    /// More time to boot.
    LongerBoot,
}

/// What a remedy knows.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The manifest as it was booted.
    pub model: &'a LoadedModel,
    /// The stack.
    pub stack: &'a LoadedStack,
    /// How it failed.
    pub failure: &'a BootFailed,
    /// Most cards that a server may take.
    pub most_cards: u32,
}

impl Remedy {
    /// Changes to try, nearest first; `Err` says why there is none.
    pub fn proposals(self, situation: &Situation<'_>) -> Result<Vec<Change>, String> {
        let changes = match self {
            Self::EnforceEager => enforce_eager(situation)?,
            Self::TrustRemoteCode => trust_remote_code(situation)?,
            Self::ChatTemplate => chat_template(situation)?,
            Self::CompletionsEndpoint => completions_endpoint(situation)?,
            Self::ShorterContext => memory::shorter_context(situation),
            Self::LowerUtilization => memory::lower_utilization(situation),
            Self::RaiseUtilization => memory::raise_utilization(situation),
            Self::FewerSequences => memory::fewer_sequences(situation),
            Self::MoreCards => memory::more_cards(situation)?,
            Self::EvenCards => memory::even_cards(situation),
            Self::AttentionBackend => attention_backend(situation)?,
            Self::OtherDtype => other_dtype(situation)?,
            Self::MacaPath => maca_path(situation)?,
            Self::LongerBoot => longer_boot(situation),
        };
        if changes.is_empty() {
            return Err("it is at its end".to_owned());
        }
        Ok(changes)
    }
}

impl Situation<'_> {
    fn version(&self) -> Result<Version, String> {
        Version::parse(&self.stack.stack.vllm).map_err(|error| error.to_string())
    }

    /// A number in what the server said, behind `pattern`.
    pub(super) fn said(&self, pattern: &Regex) -> Option<u32> {
        let lines = self.failure.evidence.iter().chain([&self.failure.message]);
        lines
            .into_iter()
            .find_map(|line| pattern.captures(line)?.get(1)?.as_str().parse().ok())
    }

    /// A change of one scalar of the `serve` section.
    pub(super) fn set(key: &'static str, before: &str, after: &str) -> Change {
        Change {
            topic: key,
            words: format!("{key} {before} → {after}"),
            edits: vec![Edit::Set {
                pointer: format!("/serve/{key}"),
                value: after.to_owned(),
            }],
        }
    }

    /// An argument for this version alone: nothing is known of others.
    fn argument(&self, topic: &'static str, words: &[&str]) -> Change {
        let vllm = &self.stack.stack.vllm;
        Change {
            topic,
            words: format!("argument {} on vLLM {vllm}", words.join(" ")),
            edits: vec![Edit::Append {
                pointer: "/serve/args".to_owned(),
                item: format!("{{ vllm: \"={vllm}\", add: [{}] }}", words.join(", ")),
            }],
        }
    }

    /// A variable for this version alone.
    fn variable(&self, topic: &'static str, name: &str, value: &str) -> Change {
        let vllm = &self.stack.stack.vllm;
        Change {
            topic,
            words: format!("variable {name}={value} on vLLM {vllm}"),
            edits: vec![Edit::Append {
                pointer: "/serve/env".to_owned(),
                item: format!("{{ vllm: \"={vllm}\", set: {{ {name}: {value} }} }}"),
            }],
        }
    }

    fn settings(&self) -> Result<crate::target::ServerSettings, String> {
        let dtype = self.stack.stack.dtype.unwrap_or(self.model.manifest.serve.dtype);
        crate::target::settings(self.model, self.stack, None, dtype).map_err(|error| error.to_string())
    }
}

fn enforce_eager(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    if situation
        .settings()?
        .args
        .iter()
        .any(|arg| arg == "--enforce-eager")
    {
        return Err("it is in force already".to_owned());
    }
    Ok(vec![situation.argument("enforce_eager", &["--enforce-eager"])])
}

fn trust_remote_code(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    if situation.model.manifest.serve.trust_remote_code {
        return Err("it is trusted already".to_owned());
    }
    Ok(vec![Situation::set("trust_remote_code", "false", "true")])
}

fn chat_template(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    let model = &situation.model.manifest.model;
    if let Some(template) = &model.chat_template {
        return Err(format!("the manifest names one already ({template})"));
    }
    let class = &model.architecture.class;
    let changes: Vec<Change> = table::templates(class)
        .map(|file| Change {
            topic: "chat_template",
            words: format!("chat_template {file}"),
            edits: vec![Edit::Set {
                pointer: "/model/chat_template".to_owned(),
                value: file.to_owned(),
            }],
        })
        .collect();
    if changes.is_empty() {
        return Err(format!("no template for {class} is known"));
    }
    Ok(changes)
}

fn completions_endpoint(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    if situation.model.manifest.model.endpoint == Endpoint::Completions {
        return Err("it is asked through that endpoint already".to_owned());
    }
    Ok(vec![Change {
        topic: "endpoint",
        words: "endpoint chat → completions".to_owned(),
        edits: vec![Edit::Set {
            pointer: "/model/endpoint".to_owned(),
            value: "completions".to_owned(),
        }],
    }])
}

fn attention_backend(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    let version = situation.version()?;
    let latent = situation.model.manifest.model.architecture.mla.is_some();
    let changes = table::backends(&version, latent).map(|name| {
        if at_least(&version, (0, 13, 0)) {
            situation.argument("attention_backend", &["--attention-backend", name])
        } else {
            situation.variable("attention_backend", "VLLM_ATTENTION_BACKEND", name)
        }
    });
    Ok(changes.collect())
}

fn other_dtype(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    if let Some(dtype) = situation.stack.stack.dtype {
        return Err(format!("the stack fixes the number type to {}", dtype.as_str()));
    }
    let current = situation.model.manifest.serve.dtype;
    // Half first: it keeps the size of weights and KV cache.
    let others = [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32]
        .into_iter()
        .filter(|dtype| *dtype != current);
    Ok(others
        .map(|dtype| Situation::set("dtype", current.as_str(), dtype.as_str()))
        .collect())
}

fn maca_path(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    if let Some(path) = situation.settings()?.env.get("MACA_PATH") {
        return Err(format!("it is set already ({path})"));
    }
    Ok(vec![situation.variable("maca_path", "MACA_PATH", "/opt/maca")])
}

/// Twice the time, of the whole boot and of the phase that took too long.
fn longer_boot(situation: &Situation<'_>) -> Vec<Change> {
    let serve = &situation.model.manifest.serve;
    let Some(whole) = serve.boot_timeout.duration() else {
        return Vec::new();
    };
    let seconds = whole.as_secs_f64().mul_add(2.0, 0.5).floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of seconds, cut to the longest boot below"
    )]
    let seconds = (seconds as u64).max(1);
    if seconds > LONGEST_BOOT_S {
        return Vec::new();
    }
    let mut change = Situation::set(
        "boot_timeout",
        &serve.boot_timeout.to_string(),
        &format!("{seconds} s"),
    );
    let limits = &serve.phase_timeouts;
    let phases = [
        ("starting", "starting", limits.starting),
        ("loading weights", "loading_weights", limits.loading_weights),
        ("profiling", "profiling", limits.profiling),
        ("compiling", "compiling", limits.compiling),
        ("KV cache", "kv_cache", limits.kv_cache),
        ("capturing graphs", "capturing_graphs", limits.capturing_graphs),
    ];
    for (phase, key, limit) in phases {
        let named = situation
            .failure
            .message
            .contains(&format!("in its phase `{phase}`"));
        if let (true, Some(limit)) = (named, limit.and_then(Quantity::duration)) {
            let value = format!("{} s", limit.as_secs_f64() * 2.0);
            change.words = format!("{}, {key} → {value}", change.words);
            change.edits.push(Edit::Set {
                pointer: format!("/serve/phase_timeouts/{key}"),
                value,
            });
        }
    }
    vec![change]
}
