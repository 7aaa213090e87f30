//! What is left of a search: one [`AdaptReport`], which `adapt.json` holds and `render.rs` lays out.

use serde::{Deserialize, Serialize};

use super::{Remedy, Search, table};
use crate::{
    manifest::{LoadedModel, LoadedStack},
    record::BootFailed,
};

/// Version of `adapt.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// A server works.
    Works,
    /// The failure is in no row.
    Unknown,
    /// The failure is known, and no setting helps against it.
    NoRemedy,
    /// Every remedy was tried.
    Exhausted,
    /// As many servers were booted as were allowed.
    AttemptsUsed,
    /// The user stopped it.
    Interrupted,
}

/// A remedy that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The remedy.
    pub remedy: Remedy,
    /// What it would have written, where it came that far.
    pub change: Option<String>,
    /// Why not.
    pub why: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum AttemptEnd {
    /// The server booted and answered a prompt.
    Works {
        /// Seconds until it answered; simulated ones on a simulator.
        boot_s: f64,
        /// Its answer.
        answer: String,
    },
    /// It did not.
    Failed {
        /// Last phase of the boot that its log shows.
        phase: Option<String>,
        /// Why.
        failure: BootFailed,
    },
    /// The user stopped it.
    Interrupted,
}

/// A server that was booted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number, from 1; its folder is `attempt_NN`.
    pub number: usize,
    /// What was changed against the attempt before.
    pub tried: String,
    /// Why.
    pub because: String,
    /// Remedies that were passed over for this one.
    pub passed_over: Vec<Refused>,
    /// How it ended.
    #[serde(flatten)]
    pub end: AttemptEnd,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptChange {
    /// The remedy.
    pub remedy: Remedy,
    /// The change in words.
    pub change: String,
    /// Why it was made.
    pub because: String,
    /// Whether the failure moved on, or the server worked, because of it.
    pub proven: bool,
}

/// A search that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdaptReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the run.
    pub run: String,
    /// How it ended.
    pub conclusion: Conclusion,
    /// Exit code.
    pub exit_code: u8,
    /// Whether a simulator played the servers: what worked then says nothing of hardware.
    pub simulated: bool,
    /// Name of the model.
    pub model: String,
    /// The manifest's file.
    pub manifest: String,
    /// Name of the stack.
    pub stack: String,
    /// Its version of vLLM.
    pub vllm: String,
    /// The servers, in order.
    pub attempts: Vec<Attempt>,
    /// Changes that are needed, as far as is known.
    pub kept: Vec<KeptChange>,
    /// Changes that were made and are not needed.
    pub unneeded: Vec<KeptChange>,
    /// Remedies that were passed over at the end.
    pub passed_over: Vec<Refused>,
    /// The changes as a unified diff of the manifest; empty where nothing has to change or nothing worked.
    pub diff: String,
    /// What else the reader must know.
    pub notes: Vec<String>,
    /// What to do next.
    pub next: String,
}

impl AdaptReport {
    /// The report of a search from `base`, whose file holds `text` and is shown as `manifest`.
    pub fn of(
        search: &Search<'_>,
        (run, manifest): (&str, &str),
        (base, text): (&LoadedModel, &str),
        stack: &LoadedStack,
        (conclusion, exit_code): (Conclusion, u8),
    ) -> Self {
        let works = conclusion == Conclusion::Works;
        let after = search.text().ok().filter(|_| works);
        let diff = after.map_or_else(String::new, |after| unified(manifest, text, &after));
        let kept = if works { search.kept() } else { Vec::new() };
        Self {
            schema_version: SCHEMA_VERSION,
            run: run.to_owned(),
            conclusion,
            exit_code,
            simulated: stack.stack.simulator.is_some(),
            model: base.name.clone(),
            manifest: manifest.to_owned(),
            stack: stack.name.clone(),
            vllm: stack.stack.vllm.clone(),
            attempts: search.attempts().to_vec(),
            notes: notes(&kept, base, stack),
            kept,
            unneeded: search.unneeded(),
            passed_over: search.passed_over().to_vec(),
            diff,
            next: next(search, conclusion, base, stack),
        }
    }

    pub(super) fn title(&self) -> String {
        let attempts = match self.attempts.len() {
            1 => "1 attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        let end = match self.conclusion {
            Conclusion::Works if self.diff.is_empty() => "boots as it is".to_owned(),
            Conclusion::Works => format!("boots with these changes ({attempts})"),
            Conclusion::Unknown => {
                format!("does not boot, for a reason that no remedy is known for ({attempts})")
            }
            Conclusion::NoRemedy => format!("does not boot, and no setting helps against it ({attempts})"),
            Conclusion::Exhausted => format!("does not boot; every known remedy was tried ({attempts})"),
            Conclusion::AttemptsUsed => format!("does not boot yet; {attempts} were allowed"),
            Conclusion::Interrupted => format!("was stopped ({attempts})"),
        };
        format!("{} on {}: {end}", self.model, self.stack)
    }

    pub(super) fn notice(&self) -> Option<&'static str> {
        self.simulated
            .then_some("SIMULATED: a simulator played the servers; what boots here says nothing of hardware")
    }
}

/// A unified diff that `patch -p1` and `git apply` take.
fn unified(file: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{file}"), &format!("b/{file}"))
        .to_string()
}

fn notes(kept: &[KeptChange], base: &LoadedModel, stack: &LoadedStack) -> Vec<String> {
    let mut notes = Vec::new();
    if kept.iter().any(|kept| kept.remedy == Remedy::TrustRemoteCode) {
        notes.push(
            "the model's own Python code runs in the server now: read it before this is merged".to_owned(),
        );
    }
    let others: Vec<&str> = base
        .manifest
        .stacks
        .iter()
        .map(String::as_str)
        .filter(|name| *name != stack.name)
        .collect();
    let versioned = |kept: &KeptChange| {
        matches!(
            kept.remedy,
            Remedy::EnforceEager | Remedy::AttentionBackend | Remedy::MacaPath
        )
    };
    if !others.is_empty() && !kept.iter().all(versioned) {
        notes.push(format!(
            "keys without a version hold on the manifest's other stacks too; validate them as well: {}",
            others.join(", ")
        ));
    }
    if let Some(doubted) = kept.iter().find(|kept| !kept.proven) {
        notes.push(format!(
            "attempts were used up before it was seen whether `{}` is needed: allow more (--attempts)",
            doubted.change
        ));
    }
    notes
}

fn next(search: &Search<'_>, conclusion: Conclusion, base: &LoadedModel, stack: &LoadedStack) -> String {
    let validate = || {
        let model = if is_in_models(base) {
            base.name.clone()
        } else {
            base.path.display().to_string()
        };
        format!("cargo xtask validate --model {model} --stack {}", stack.name)
    };
    let failure = search.failure();
    let otherwise = failure
        .and_then(|(failure, phase)| table::row(&failure.class, phase))
        .map(|row| row.otherwise.clone());
    match conclusion {
        Conclusion::Works => validate(),
        Conclusion::Interrupted => "run it again; nothing was changed".to_owned(),
        Conclusion::AttemptsUsed => format!(
            "allow more attempts (--attempts); otherwise {}",
            otherwise.unwrap_or_else(|| "read the logs of the attempts".to_owned())
        ),
        Conclusion::Unknown | Conclusion::NoRemedy | Conclusion::Exhausted => otherwise
            .or_else(|| failure.map(|(failure, _)| failure.advice.clone()))
            .unwrap_or_else(|| "read the logs of the attempts".to_owned()),
    }
}

fn is_in_models(base: &LoadedModel) -> bool {
    base.path
        .parent()
        .is_some_and(|folder| folder.ends_with("models.d"))
}
