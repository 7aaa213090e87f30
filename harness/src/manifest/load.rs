//! Reading manifests, cases and stacks: from a name or a path to data that can be trusted.
//!
//! What is loaded has passed every check; what has not, says every mistake of every file involved at once. A file of
//! shared cases is read once, however many manifests share it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use serde::de::DeserializeOwned;
use time::{Date, OffsetDateTime};

use super::{
    Accelerator, Card, Case, CaseFile, Manifest, Stack,
    check::{self, Sharing},
    diagnostics::{Diagnostic, Diagnostics, Severity, SourceFile},
    document::{Document, read_text},
    schema::Kind,
    wording::{nearest, quoted, suggestion},
};

/// A manifest with its cases.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedModel {
    /// The file's stem.
    pub name: String,
    /// The manifest's file.
    pub path: PathBuf,
    /// What it says.
    pub manifest: Manifest,
    /// Its cases, shared ones first, in the order of the files.
    pub cases: Vec<LoadedCase>,
    /// The chat template that the manifest names.
    pub chat_template: Option<PathBuf>,
    /// SHA-256 of the manifest and its files of cases, in hexadecimal.
    pub digest: String,
    /// What will soon be wrong.
    pub warnings: Diagnostics,
}

/// A case and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedCase {
    /// The case.
    pub case: Case,
    /// The folder that its images are relative to.
    pub folder: PathBuf,
    /// The file that holds it.
    pub file: PathBuf,
}

/// A stack.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedStack {
    /// The file's stem.
    pub name: String,
    /// The stack's file.
    pub path: PathBuf,
    /// What it says.
    pub stack: Stack,
    /// The card that it computes on (`ci/cards/<accelerator>.yaml`); none for the CPU, or where there is no file.
    pub card: Option<Card>,
}

/// A card.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedCard {
    /// The file's stem.
    pub name: String,
    /// The card's file.
    pub path: PathBuf,
    /// What it says.
    pub card: Card,
}

/// A folder with `models.d` and `ci/stacks`, such as the repository.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) root: PathBuf,
    /// The day that waivers are held against.
    pub(super) today: Date,
    stacks: OnceLock<BTreeMap<String, Option<Accelerator>>>,
    case_files: Mutex<HashMap<PathBuf, Arc<ReadCases>>>,
}

/// A file that has been read and checked alone.
pub(super) struct ReadFile<T> {
    pub(super) path: PathBuf,
    pub(super) document: Option<Document>,
    pub(super) problems: Vec<Diagnostic>,
    /// Present if there is no error.
    pub(super) content: Option<T>,
}

pub(super) type ReadCases = ReadFile<CaseFile>;

impl std::fmt::Debug for ReadCases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadCases")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The catalogue of `root`, with waivers held against today's date (UTC). Reads nothing yet.
    pub fn open(root: &Path) -> Self {
        Self::on(root, OffsetDateTime::now_utc().date())
    }

    /// The catalogue as it is on a given day.
    pub fn on(root: &Path, today: Date) -> Self {
        Self {
            root: root.to_owned(),
            today,
            stacks: OnceLock::new(),
            case_files: Mutex::new(HashMap::new()),
        }
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of all manifests, sorted.
    pub fn model_names(&self) -> Vec<String> {
        self.names(Kind::Manifest)
    }

    /// Names of all cards, sorted.
    pub fn card_names(&self) -> Vec<String> {
        self.names(Kind::Card)
    }

    /// Names of all stacks, sorted.
    pub fn stack_names(&self) -> Vec<String> {
        self.names(Kind::Stack)
    }

    /// Reads a manifest of `models.d` by its name, or any manifest by its path. Paths inside a manifest are relative to
    /// its file; shared cases that are not there are looked for in this catalogue's `models.d`.
    pub fn model(&self, name_or_path: &str) -> Result<LoadedModel, Diagnostics> {
        let path = self.find(Kind::Manifest, name_or_path)?;
        let (model, problems) = self.read_model(&path);
        finished(model, problems).map(|(model, warnings)| LoadedModel { warnings, ..model })
    }

    /// The model that would be read from `path` if the file held `text`: an edit is judged before it is written.
    pub fn model_as(&self, path: &Path, text: &str) -> Result<LoadedModel, Diagnostics> {
        let source = SourceFile {
            path: self.shown(path),
            text: text.to_owned(),
        };
        let (model, problems) = self.compose(path, Ok(Arc::new(source)));
        finished(model, problems).map(|(model, warnings)| LoadedModel { warnings, ..model })
    }

    /// Reads a stack of `ci/stacks` by its name, or any stack by its path.
    pub fn stack(&self, name_or_path: &str) -> Result<LoadedStack, Diagnostics> {
        let path = self.find(Kind::Stack, name_or_path)?;
        let read = self.read::<Stack>(&path, Kind::Stack, check::stack);
        let stack = read.content.map(|stack| LoadedStack {
            name: stem(&path),
            path,
            stack,
            card: None,
        });
        let (mut stack, _) = finished(stack, read.problems)?;
        let card = stack.stack.accelerator.as_str();
        if self.card_names().iter().any(|name| name == card) {
            stack.card = Some(self.card(card)?.card);
        }
        Ok(stack)
    }

    /// Reads a card of `ci/cards` by its name, or any card by its path.
    pub fn card(&self, name_or_path: &str) -> Result<LoadedCard, Diagnostics> {
        let path = self.find(Kind::Card, name_or_path)?;
        let read = self.read::<Card>(&path, Kind::Card, check::card);
        let card = read.content.map(|card| LoadedCard {
            name: stem(&path),
            path,
            card,
        });
        finished(card, read.problems).map(|(card, _)| card)
    }

    /// Everything in the folder of `kind`.
    pub(super) fn entries(&self, kind: Kind) -> impl Iterator<Item = PathBuf> + use<> {
        let entries = std::fs::read_dir(self.root.join(kind.folder()));
        entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
    }

    /// The files of `kind`, sorted.
    pub(super) fn files(&self, kind: Kind) -> Vec<PathBuf> {
        let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
        let mut files: Vec<PathBuf> = self.entries(kind).filter(is_yaml).collect();
        files.sort();
        files
    }

    pub(super) fn names(&self, kind: Kind) -> Vec<String> {
        self.files(kind).iter().map(|file| stem(file)).collect()
    }

    fn find(&self, kind: Kind, name_or_path: &str) -> Result<PathBuf, Diagnostics> {
        let path = Path::new(name_or_path);
        let is_path = path.components().count() > 1
            || path
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_path {
            return Ok(path.to_owned());
        }
        let names = self.names(kind);
        if names.iter().any(|name| name == name_or_path) {
            let file = format!("{name_or_path}.yaml");
            return Ok(self.root.join(kind.folder()).join(file));
        }
        let noun = match kind {
            Kind::Stack | Kind::Card => kind.noun(),
            Kind::Manifest | Kind::Cases => "model",
        };
        let message = format!("no {noun} {} in {}", quoted(name_or_path), kind.folder());
        let unknown = match nearest(name_or_path, &names) {
            Some(name) => Diagnostic::error(format!("{message}: did you mean {}?", quoted(name))),
            None if names.is_empty() => Diagnostic::error(message).help(format!(
                "there are no files in {}: name another root",
                self.root.join(kind.folder()).display()
            )),
            None => Diagnostic::error(message).help(suggestion(name_or_path, &names)),
        };
        Err(unknown.into())
    }

    /// A path as messages show it: relative to the root where it lies below.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// Reads one file and checks what can be checked of it alone.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        path: &Path,
        kind: Kind,
        meaning: impl FnOnce(&Document, &mut Vec<Diagnostic>),
    ) -> ReadFile<T> {
        let source = read_text(path, self.shown(path), kind.max_bytes());
        Self::checked(path, source, kind, meaning)
    }

    /// Checks what can be checked of one file alone.
    pub(super) fn checked<T: DeserializeOwned>(
        path: &Path,
        source: Result<Arc<SourceFile>, Box<Diagnostic>>,
        kind: Kind,
        meaning: impl FnOnce(&Document, &mut Vec<Diagnostic>),
    ) -> ReadFile<T> {
        let (document, mut problems) = match source {
            Ok(source) => Document::parse(&source, kind),
            Err(unreadable) => (None, vec![*unreadable]),
        };
        let mut content = None;
        if let Some(document) = &document {
            problems.extend(bad_name(path, document));
            meaning(document, &mut problems);
            if !has_errors(&problems) {
                match document.content() {
                    Ok(typed) => content = Some(typed),
                    Err(untyped) => problems.push(*untyped),
                }
            }
        }
        ReadFile {
            path: path.to_owned(),
            document,
            problems,
            content,
        }
    }

    /// Reads and checks a file of cases, once.
    pub(super) fn read_cases(&self, path: &Path) -> Arc<ReadCases> {
        let key = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut files = self.case_files.lock().unwrap_or_else(PoisonError::into_inner);
        let read = files.entry(key).or_insert_with(|| {
            let folder = path.parent().unwrap_or(Path::new(""));
            Arc::new(self.read(path, Kind::Cases, |document, problems| {
                check::case_list(document, "/cases", folder, Sharing::Shared, problems);
                check::without_judgement(document, "/cases", problems);
            }))
        });
        Arc::clone(read)
    }

    /// Every stack with its accelerator, if its file says one.
    pub(super) fn accelerators(&self) -> &BTreeMap<String, Option<Accelerator>> {
        self.stacks.get_or_init(|| {
            let accelerator = |path: &PathBuf| {
                let source = read_text(path, String::new(), Kind::Stack.max_bytes()).ok()?;
                Document::parse(&source, Kind::Stack).0?.read("/accelerator")
            };
            self.files(Kind::Stack)
                .iter()
                .map(|path| (stem(path), accelerator(path)))
                .collect()
        })
    }
}

/// A file's stem is part of names of trials, folders and reports.
fn bad_name(path: &Path, document: &Document) -> Option<Diagnostic> {
    let name = stem(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (name.is_empty() || !name.chars().all(plain)).then(|| {
        Diagnostic::error(format!(
            "the file name {} cannot be part of other names",
            quoted(&name)
        ))
        .at(document.key(""), "")
        .help("rename the file: use letters, digits, `_`, `-` and `.`")
    })
}

fn has_errors(problems: &[Diagnostic]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// What was loaded with its warnings, or else every mistake.
fn finished<T>(loaded: Option<T>, problems: Vec<Diagnostic>) -> Result<(T, Diagnostics), Diagnostics> {
    let failed = has_errors(&problems);
    let diagnostics: Diagnostics = problems.into_iter().collect();
    match loaded {
        Some(loaded) if !failed => Ok((loaded, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// The name of a manifest or a stack.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
