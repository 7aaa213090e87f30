//! Which models on which stacks a change concerns, so that CI boots servers for nothing else.
//!
//! A model is paired with the stacks that its manifest names. What a file decides is told by its place in the
//! repository ([`concern`]): a manifest, cases, pictures, a chat template and goldens concern their models; a stack
//! and the recipe of its image concern the models that name it; the harness and the workspace concern everything.
//! Nothing is guessed from what a file holds, and a file that decides no verdict (documents, tests, pipelines)
//! concerns nothing.

mod concern;
pub mod render;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    git::{GitError, Repository},
    manifest::{Accelerator, Catalogue, Diagnostic, Diagnostics, LoadedModel, LoadedStack, Target},
};

/// A model on a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Name of the manifest.
    pub model: String,
    /// Name of the stack.
    pub stack: String,
    /// What computes.
    pub accelerator: Accelerator,
    /// Where the server runs.
    pub target: TargetKind,
    /// Whether a simulator plays the server.
    pub simulated: bool,
    /// Cards that the host must have; 0 where none are needed.
    pub cards: u32,
    /// What changed; empty where everything is concerned.
    pub because: Vec<Reason>,
}

/// Kind of a target, as stacks call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A container.
    Docker,
    /// A command.
    Process,
    /// A server that runs already.
    Endpoint,
    /// The simulator.
    Simulator,
}

impl TargetKind {
    const fn of(target: Target<'_>) -> Self {
        match target {
            Target::Docker(_) => Self::Docker,
            Target::Process(_) => Self::Process,
            Target::Endpoint(_) => Self::Endpoint,
            Target::Simulator(_) => Self::Simulator,
        }
    }

    /// Whether the server runs on this host and on its cards.
    const fn takes_cards(self) -> bool {
        matches!(self, Self::Docker | Self::Process)
    }
}

/// Why a pair, or everything, is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The file that changed; `None` where no file is at the bottom of it.
    pub file: Option<String>,
    /// What the file is.
    pub why: Why,
}

/// What a file that changed is to a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No revision was named.
    NoRevision,
    /// The revision is all zeros, as CI systems name the one before a branch's first.
    NewBranch,
    /// The harness itself.
    Harness,
    /// How the harness is built.
    Workspace,
    /// The model's manifest.
    Manifest,
    /// A file of its cases.
    Cases,
    /// A picture that its cases show.
    Picture,
    /// Its chat template.
    ChatTemplate,
    /// One of its goldens.
    Golden,
    /// The stack.
    Stack,
    /// What the stack's image is made with.
    ImageRecipe,
    /// The stack's command.
    Command,
    /// What is known of the stack's card.
    Card,
    /// The simulator.
    Simulator,
}

impl Why {
    /// In words, behind a file's name.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoRevision => "no --changed-since was given",
            Self::NewBranch => "there is no revision to compare with: the branch is new",
            Self::Harness => "the harness itself",
            Self::Workspace => "how the harness is built",
            Self::Manifest => "its manifest",
            Self::Cases => "its cases",
            Self::Picture => "a picture of its cases",
            Self::ChatTemplate => "its chat template",
            Self::Golden => "its golden",
            Self::Stack => "the stack",
            Self::ImageRecipe => "the recipe of the stack's image",
            Self::Command => "the stack's command",
            Self::Card => "the stack's card",
            Self::Simulator => "the simulator",
        }
    }
}

/// Files that changed since a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The revision as it was named.
    pub revision: String,
    /// Hash of the commit that the work tree was compared with; `None` where the revision is all zeros.
    pub base: Option<String>,
    /// The files, relative to the root.
    pub files: Vec<String>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// What is wanted of the pairs that a change concerns. What is empty restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Models, by name.
    pub models: Vec<String>,
    /// Accelerators.
    pub accelerators: Vec<Accelerator>,
    /// Targets.
    pub targets: Vec<TargetKind>,
    /// Whether only pairs that need cards on the host are wanted, or only those that need none.
    pub cards: Option<bool>,
}

impl Wanted {
    fn admits(&self, pair: &Pair) -> bool {
        (self.accelerators.is_empty() || self.accelerators.contains(&pair.accelerator))
            && (self.targets.is_empty() || self.targets.contains(&pair.target))
            && self.cards.is_none_or(|cards| cards == (pair.cards > 0))
    }
}

/// The pairs that a change concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matrix {
    /// Why every pair is concerned, where it is.
    pub everything: Vec<Reason>,
    /// The pairs, by model in the order of names, then in the order of the manifest's stacks.
    pub pairs: Vec<Pair>,
    /// Pairs that are concerned and not wanted.
    pub left_out: usize,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// What changed between the point at which the work tree's commit left `revision` and the work tree as it is.
///
/// # Errors
/// [`GitError`], among them [`GitError::Revision`] where there is no such revision.
pub fn changes(root: &Path, revision: &str) -> Result<Changes, GitError> {
    let mut changes = Changes {
        revision: revision.to_owned(),
        ..Changes::default()
    };
    // GitHub's `event.before` and GitLab's CI_COMMIT_BEFORE_SHA of a new branch.
    if revision.len() >= 40 && revision.bytes().all(|byte| byte == b'0') {
        return Ok(changes);
    }
    let repository = Repository::at(root)?;
    let commit = repository.resolve(revision)?;
    let common = repository.merge_base(&commit, "HEAD")?;
    if common.is_none() {
        changes.notes.push(format!(
            "{revision} and HEAD have no commit in common (a shallow clone?): compared with {revision} itself"
        ));
    }
    let base = common.unwrap_or(commit);
    changes.files = repository.differing(&base)?;
    changes.base = Some(base);
    Ok(changes)
}

/// The wanted pairs that `changes` concern; all that are wanted where there are no changes to go by.
///
/// # Errors
/// The mistakes of all manifests and stacks.
pub fn select(
    catalogue: &Catalogue,
    changes: Option<&Changes>,
    wanted: &Wanted,
) -> Result<Matrix, Diagnostics> {
    let candidates = candidates(catalogue, &wanted.models)?;
    let everything = match changes {
        None => vec![Reason {
            file: None,
            why: Why::NoRevision,
        }],
        Some(changes) if changes.base.is_none() => vec![Reason {
            file: None,
            why: Why::NewBranch,
        }],
        Some(changes) => reasons(&changes.files, concern::everything),
    };
    let files = changes.map_or(&[][..], |changes| &changes.files);
    let mut matrix = Matrix {
        notes: changes.map_or_else(Vec::new, |changes| changes.notes.clone()),
        ..Matrix::default()
    };
    for candidate in &candidates {
        let because = reasons(files, |file| concern::of(candidate, catalogue.root(), file));
        let pair = candidate.pair(because);
        if everything.is_empty() && pair.because.is_empty() {
            continue;
        }
        if wanted.admits(&pair) {
            matrix.pairs.push(pair);
        } else {
            matrix.left_out += 1;
        }
    }
    if wanted.models.is_empty() {
        matrix.notes.extend(unused(catalogue, &candidates, files));
    }
    matrix.everything = everything;
    Ok(matrix)
}

/// A model on a stack, with all that they refer to.
struct Candidate {
    model: Arc<LoadedModel>,
    stack: Arc<LoadedStack>,
    target: TargetKind,
}

impl Candidate {
    fn pair(&self, because: Vec<Reason>) -> Pair {
        let accelerator = self.stack.stack.accelerator;
        let takes_cards = self.target.takes_cards() && accelerator != Accelerator::Cpu;
        Pair {
            model: self.model.name.clone(),
            stack: self.stack.name.clone(),
            accelerator,
            target: self.target,
            simulated: self.target == TargetKind::Simulator,
            cards: if takes_cards {
                self.model.manifest.serve.cards()
            } else {
                0
            },
            because,
        }
    }
}

/// Every model with every stack that its manifest names.
fn candidates(catalogue: &Catalogue, models: &[String]) -> Result<Vec<Candidate>, Diagnostics> {
    let names = if models.is_empty() {
        catalogue.model_names()
    } else {
        models.to_vec()
    };
    let mut mistakes: Vec<Diagnostic> = Vec::new();
    let mut stacks: BTreeMap<String, Option<Arc<LoadedStack>>> = BTreeMap::new();
    let mut candidates = Vec::new();
    for name in names {
        let model = match catalogue.model(&name) {
            Ok(model) => Arc::new(model),
            Err(found) => {
                mistakes.extend(found);
                continue;
            }
        };
        for name in &model.manifest.stacks {
            let stack = stacks
                .entry(name.clone())
                .or_insert_with(|| match catalogue.stack(name) {
                    Ok(stack) => Some(Arc::new(stack)),
                    Err(found) => {
                        mistakes.extend(found);
                        None
                    }
                });
            let Some(stack) = stack else { continue };
            // A stack without a target does not load.
            let Some(target) = stack.stack.target().map(TargetKind::of) else {
                continue;
            };
            candidates.push(Candidate {
                model: Arc::clone(&model),
                stack: Arc::clone(stack),
                target,
            });
        }
    }
    if mistakes.is_empty() {
        Ok(candidates)
    } else {
        Err(mistakes.into_iter().collect())
    }
}

fn reasons(files: &[String], why: impl Fn(&str) -> Option<Why>) -> Vec<Reason> {
    let reason = |file: &String| {
        let why = why(file)?;
        Some(Reason {
            file: Some(file.clone()),
            why,
        })
    };
    files.iter().filter_map(reason).collect()
}

/// Files that were written to be used and that nothing uses.
fn unused(catalogue: &Catalogue, candidates: &[Candidate], files: &[String]) -> Vec<String> {
    let used: BTreeSet<&String> = files
        .iter()
        .filter(|file| {
            candidates
                .iter()
                .any(|candidate| concern::of(candidate, catalogue.root(), file).is_some())
        })
        .collect();
    let unused = |file: &String| {
        let written = concern::is_written_by_users(file) && !used.contains(file);
        let there = catalogue.root().join(file).exists();
        match (written, there) {
            (false, _) => None,
            (true, false) => Some(format!("{file} is gone")),
            (true, true) if file.starts_with("ci/stacks/") => Some(format!(
                "{file} changed, but no manifest names this stack: add it to `stacks` of the models it is meant for"
            )),
            (true, true) => Some(format!("{file} changed, but no manifest refers to it")),
        }
    };
    files.iter().filter_map(unused).collect()
}
