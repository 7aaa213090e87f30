//! Checking many files at once: all of a catalogue, or those that are named.

use std::path::{Path, PathBuf};

use super::{
    Card, Stack,
    check::{card, stack},
    diagnostics::{Diagnostic, Diagnostics, Label, SourceFile},
    document::read_text,
    load::Catalogue,
    schema::Kind,
    tree,
};

/// What a check of files found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// The files that were checked.
    pub files: Vec<PathBuf>,
    /// What makes them useless.
    pub errors: Diagnostics,
    /// What will soon.
    pub warnings: Diagnostics,
}

/// Checks `files`, or every manifest, file of cases, stack and card of `root` if none is named. A manifest is checked
/// together with the files that it refers to.
pub fn check(root: &Path, files: &[PathBuf]) -> Checked {
    Catalogue::open(root).check(files)
}

impl Catalogue {
    /// As [`check`], with this catalogue's files and day.
    pub fn check(&self, files: &[PathBuf]) -> Checked {
        let mut problems = Vec::new();
        let checked: Vec<PathBuf> = if files.is_empty() {
            let mut checked = Vec::new();
            for kind in Kind::ALL {
                problems.extend(self.misnamed(kind));
                for path in self.files(kind) {
                    problems.extend(self.check_one(&path, kind));
                    checked.push(path);
                }
            }
            if checked.is_empty() && problems.is_empty() {
                let message = format!("there is nothing to check in {}", self.root().display());
                problems.push(Diagnostic::error(message).help("run it in the repository, or name the files"));
            }
            checked
        } else {
            for path in files {
                match self.kind_of(path) {
                    Ok(kind) => problems.extend(self.check_one(path, kind)),
                    Err(unknown) => problems.extend(unknown),
                }
            }
            files.to_vec()
        };
        let all: Diagnostics = problems.into_iter().collect();
        let (errors, warnings) = all.by_severity();
        Checked {
            files: checked,
            errors,
            warnings,
        }
    }

    fn check_one(&self, path: &Path, kind: Kind) -> Vec<Diagnostic> {
        match kind {
            Kind::Manifest => self.read_model(path).1,
            Kind::Cases => self.read_cases(path).problems.clone(),
            Kind::Stack => self.read::<Stack>(path, kind, stack).problems,
            Kind::Card => self.read::<Card>(path, kind, card).problems,
        }
    }

    /// Files that look like YAML but would never be read.
    fn misnamed(&self, kind: Kind) -> Vec<Diagnostic> {
        let misnamed = |path: &PathBuf| {
            let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
            extension == "yml" || (extension == "yaml" && path.extension() != Some("yaml".as_ref()))
        };
        let unread = |path: PathBuf| {
            let source = SourceFile {
                path: self.shown(&path),
                text: String::new(),
            };
            Diagnostic::error("this file is never read: its name does not end in `.yaml`")
                .at(Label::whole(&source.into()), "")
                .help("rename it")
        };
        self.entries(kind).filter(misnamed).map(unread).collect()
    }

    /// The kind of a file by the folder it lies in, otherwise by the keys that only one kind has.
    fn kind_of(&self, path: &Path) -> Result<Kind, Diagnostics> {
        let folder = path.parent().map(|folder| {
            if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            }
        });
        let folder = folder.and_then(|folder| folder.canonicalize().ok());
        let lies_in = |kind: &Kind| {
            let own = self.root().join(kind.folder()).canonicalize().ok();
            own.is_some() && own == folder
        };
        if let Some(kind) = Kind::ALL.into_iter().find(lies_in) {
            return Ok(kind);
        }
        let source = read_text(path, self.shown(path), Kind::Cases.max_bytes())?;
        let (root, _) = tree::parse(&source).map_err(Diagnostics::from_iter)?;
        let has = |names: &[&str]| root.keys().any(|key| names.contains(&key));
        if has(&["model", "serve", "budgets", "workload"]) {
            Ok(Kind::Manifest)
        } else if has(&["accelerator", "docker", "simulator"]) {
            Ok(Kind::Stack)
        } else if has(&["cases"]) {
            Ok(Kind::Cases)
        } else if has(&["memory_gib", "bandwidth_gb_per_s", "overhead"]) {
            Ok(Kind::Card)
        } else {
            Err(
                Diagnostic::error("this is neither a model manifest nor a file of cases nor a stack nor a card")
                    .at(Label::whole(&source), "")
                    .help("a manifest has `model:`, a file of cases `cases:`, a stack `accelerator:`, a card `memory_gib:`")
                    .into(),
            )
        }
    }
}
