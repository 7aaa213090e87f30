//! A manifest together with all that it refers to: shared cases, chat template, stacks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    Case, GoldenPolicy, Manifest,
    check::{self, Known, Selected, Sharing},
    diagnostics::{Diagnostic, Diagnostics, SourceFile},
    document::{Document, read_text},
    load::{Catalogue, LoadedCase, LoadedModel, ReadCases, stem},
    schema::Kind,
    wording::{quoted, suggestion},
};

impl Catalogue {
    /// Reads a manifest and all that it refers to.
    pub(super) fn read_model(&self, path: &Path) -> (Option<LoadedModel>, Vec<Diagnostic>) {
        self.compose(
            path,
            read_text(path, self.shown(path), Kind::Manifest.max_bytes()),
        )
    }

    /// Puts a manifest that was read together with all that it refers to.
    pub(super) fn compose(
        &self,
        path: &Path,
        source: Result<Arc<SourceFile>, Box<Diagnostic>>,
    ) -> (Option<LoadedModel>, Vec<Diagnostic>) {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let (mut shared, mut chat_template) = (Vec::new(), None);
        let read = Self::checked::<Manifest>(path, source, Kind::Manifest, |document, problems| {
            check::sections(document, problems);
            check::case_list(document, "/cases/own", &folder, Sharing::Own, problems);
            if document.read("/correctness/goldens") != Some(GoldenPolicy::EveryCase) {
                check::without_judgement(document, "/cases/own", problems);
            }
            chat_template = self.chat_template(document, &folder, problems);
            shared = self.shared_cases(document, &folder, problems);
            let own = check::own(document);
            let selected: Vec<Selected> = shared
                .iter()
                .flat_map(|file| &file.selected)
                .chain(&own)
                .cloned()
                .collect();
            check::unique_ids(&selected, problems);
            let known = Known {
                stacks: self.accelerators(),
                cases: &selected.into_iter().map(|case| case.id).collect::<Vec<_>>(),
                all_cases: shared.len() == document.items("/cases/shared").count()
                    && shared.iter().all(|file| file.read.content.is_some()),
                today: self.today,
            };
            check::waivers(document, &known, problems);
        });
        let mut problems = read.problems;
        problems.extend(shared.iter().flat_map(|file| file.read.problems.iter().cloned()));
        let (Some(manifest), Some(document)) = (read.content, read.document) else {
            return (None, problems);
        };
        let model = LoadedModel {
            name: stem(path),
            path: path.to_owned(),
            cases: cases(&shared, &manifest, path),
            digest: digest(&document, &shared),
            chat_template,
            manifest,
            warnings: Diagnostics::default(),
        };
        (Some(model), problems)
    }

    fn chat_template(
        &self,
        document: &Document,
        folder: &Path,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<PathBuf> {
        let place = "/model/chat_template";
        let file: String = document.read(place)?;
        let found = self.beside_or_in_models(folder, &file);
        if found.is_none() {
            let missing = Diagnostic::error(format!("there is no chat template {}", quoted(&file)));
            problems.push(
                missing
                    .at(document.place(place), "")
                    .help("name a file, relative to this one"),
            );
        }
        found
    }

    /// The shared files that the manifest selects from, with what it selects.
    fn shared_cases(
        &self,
        document: &Document,
        folder: &Path,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<SharedFile> {
        let mut files = Vec::new();
        for entry in document.items("/cases/shared") {
            let place = format!("{entry}/file");
            let Some(name) = document.read::<String>(&place) else {
                continue;
            };
            let Some(path) = self.beside_or_in_models(folder, &name) else {
                let missing = Diagnostic::error(format!("there is no file of cases {}", quoted(&name)));
                let there: Vec<String> = self
                    .names(Kind::Cases)
                    .iter()
                    .map(|name| format!("cases/{name}.yaml"))
                    .collect();
                problems.push(
                    missing
                        .at(document.place(&place), "")
                        .help(suggestion(&name, &there)),
                );
                continue;
            };
            let read = self.read_cases(&path);
            let selected = match &read.document {
                Some(file) => check::selection(document, &entry, file, problems),
                None => Vec::new(),
            };
            files.push(SharedFile { read, selected });
        }
        files
    }

    fn beside_or_in_models(&self, folder: &Path, file: &str) -> Option<PathBuf> {
        let models = self.root.join(Kind::Manifest.folder());
        [folder.join(file), models.join(file)]
            .into_iter()
            .find(|path| path.is_file())
    }
}

/// A file of shared cases, and what a manifest selects from it.
struct SharedFile {
    read: Arc<ReadCases>,
    selected: Vec<Selected>,
}

/// The cases of a manifest: those selected from its shared files, then its own.
fn cases(shared: &[SharedFile], manifest: &Manifest, path: &Path) -> Vec<LoadedCase> {
    let loaded = |case: &Case, file: &Path| LoadedCase {
        case: case.clone(),
        folder: file.parent().unwrap_or(Path::new("")).to_owned(),
        file: file.to_owned(),
    };
    let selected = shared.iter().flat_map(|file| {
        let all = file.read.content.iter().flat_map(|content| &content.cases);
        let wanted = all.filter(|case| file.selected.iter().any(|selected| selected.id == case.id));
        wanted.map(|case| loaded(case, &file.read.path))
    });
    selected
        .chain(manifest.cases.own.iter().map(|case| loaded(case, path)))
        .collect()
}

/// SHA-256 over manifest and shared files, each preceded by its length, so that no text can move from one to another.
fn digest(manifest: &Document, shared: &[SharedFile]) -> String {
    let files = shared.iter().filter_map(|file| file.read.document.as_ref());
    let mut hash = Sha256::new();
    for document in std::iter::once(manifest).chain(files) {
        let text = &document.source.text;
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    format!("{:x}", hash.finalize())
}
