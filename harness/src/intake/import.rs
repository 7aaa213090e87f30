//! What the importers share: where the shape of a model is found, what was left out, and values with their mistakes.

use std::{
    fmt::Display,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use semver::Version;

use crate::manifest::{Accelerator, Catalogue, Diagnostic, Diagnostics, SourceFile};

use super::{
    draft::{Draft, Wishes, draft},
    folder::Folder,
    subject::Subject,
    yaml::{self, Entry, Node},
};

/// What a list became.
#[derive(Debug)]
pub struct Import {
    /// Manifests, in the order of the list, each name once.
    pub drafts: Vec<Draft>,
    /// What is in no manifest, in the order of lines.
    pub left: Vec<LeftOut>,
}

/// Something of a list that no manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The model and the key.
    pub what: String,
    /// Why, and what to do.
    pub why: String,
}

/// Where the shapes of models are found: lists name models, but not their figures.
#[derive(Debug)]
pub struct Library<'a> {
    catalogue: &'a Catalogue,
    configs: Option<PathBuf>,
}

impl<'a> Library<'a> {
    /// The manifests of a catalogue, and folders of checkpoints below `configs`.
    pub const fn new(catalogue: &'a Catalogue, configs: Option<PathBuf>) -> Self {
        Self { catalogue, configs }
    }

    /// The catalogue.
    pub(super) const fn catalogue(&self) -> &'a Catalogue {
        self.catalogue
    }

    /// The model of a path or an id: by `config.json` below the given folder or in the path itself, else by a manifest
    /// of the same folder or id. `None`: nothing tells its shape.
    pub(super) fn find(&self, path_or_id: &str, id: Option<&str>) -> Result<Option<Subject>, Diagnostics> {
        let name = last_part(path_or_id);
        let given = self.configs.as_ref().map(|configs| configs.join(name));
        let itself = Path::new(path_or_id);
        let own = itself.is_absolute().then(|| itself.to_owned());
        for folder in given.into_iter().chain(own) {
            let config = folder.join("config.json");
            if !name.is_empty() && config.is_file() {
                return Subject::of_folder(&Folder::of_config(&config)?, id).map(Some);
            }
        }
        for known in self.catalogue.model_names() {
            let model = self.catalogue.model(&known)?;
            let paths = [&model.manifest.model.path, &model.manifest.model.id];
            if paths
                .iter()
                .any(|path| last_part(path).eq_ignore_ascii_case(name))
            {
                return Subject::of_manifest(&model).map(Some);
            }
        }
        Ok(None)
    }

    /// Versions of the C500's stacks, each once.
    pub(super) fn versions(&self) -> Result<Vec<Version>, Diagnostics> {
        let mut versions = Vec::new();
        for name in self.catalogue.stack_names() {
            let stack = self.catalogue.stack(&name)?.stack;
            if stack.accelerator == Accelerator::C500
                && let Ok(version) = Version::parse(&stack.vllm)
            {
                versions.push(version);
            }
        }
        versions.sort();
        versions.dedup();
        Ok(versions)
    }
}

/// The name of a folder or of a repository.
pub(super) fn last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// What an import says of a model whose shape nothing tells.
pub(super) const NO_SHAPE: &str = "no manifest: nothing tells its shape. Give --configs DIR with DIR/<folder of the model>/config.json, or run new-model on its config.json";

/// A list while it is read.
pub(super) struct Reader {
    source: Arc<SourceFile>,
    /// Mistakes.
    pub(super) problems: Vec<Diagnostic>,
    left: Vec<LeftOut>,
}

impl Reader {
    pub(super) fn new(source: Arc<SourceFile>) -> Self {
        Self {
            source,
            problems: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Tells a mistake.
    pub(super) fn wrong(
        &mut self,
        range: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = yaml::wrong(&self.source, range.clone(), message);
        self.problems.push(problem.help(help));
    }

    /// Tells what is left out. The same thing of one line is told once, also where an alias repeats it.
    pub(super) fn leave(&mut self, range: &Range<usize>, what: impl Into<String>, why: impl Into<String>) {
        let left = LeftOut {
            file: self.source.path.clone(),
            line: yaml::line(&self.source, range.start),
            what: what.into(),
            why: why.into(),
        };
        if !self.left.contains(&left) {
            self.left.push(left);
        }
    }

    /// The text of a key that must be there.
    pub(super) fn required(&mut self, map: &Node, key: &str) -> Option<String> {
        let Some(value) = map.get(key) else {
            let first = map
                .entries()
                .first()
                .map_or_else(|| map.range.clone(), |entry| entry.at.clone());
            self.wrong(
                &first,
                format!("the key `{key}` is missing"),
                format!("add `{key}`"),
            );
            return None;
        };
        let text = value.text().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            let message = format!("`{key}`: expected a text, found {}", value.described());
            self.wrong(&value.range, message, format!("write `{key}: …`"));
        }
        text.map(str::to_owned)
    }

    /// A figure within its bounds; nothing where nothing is written, or a mistake was told.
    pub(super) fn figure<T>(&mut self, key: &str, node: &Node, least: T, most: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        if node.is_nothing() {
            return None;
        }
        self.parsed(key, node.text().unwrap_or_default(), &node.range, least, most)
    }

    /// As [`Self::figure`], of a text.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        text: &str,
        range: &Range<usize>,
        least: T,
        most: T,
    ) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let figure = text.trim().parse::<T>().ok();
        let figure = figure.filter(|figure| *figure >= least && *figure <= most);
        if figure.is_none() {
            let short: String = text.chars().take(40).collect();
            self.wrong(
                range,
                format!(
                    "`{key}` is `{}`, which is no figure from {least} to {most}",
                    short.replace(char::is_control, " ")
                ),
                format!("write a figure from {least} to {most}"),
            );
        }
        figure
    }

    /// Leaves out every key of `map` that is not in `known`.
    pub(super) fn leave_others(&mut self, model: &str, map: &Node, known: &[&str], why: &str) {
        let others = map
            .entries()
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()));
        let others: Vec<Entry> = others.cloned().collect();
        for entry in others {
            self.leave(&entry.at, format!("{model}: {}", entry.key), why);
        }
    }

    /// Drafts one model. What differs from the list, or why there is no manifest, is left out at `range`.
    pub(super) fn draft(
        &mut self,
        library: &Library<'_>,
        subject: &Subject,
        wishes: &Wishes,
        (range, model): (&Range<usize>, &str),
    ) -> Option<Draft> {
        match draft(library.catalogue(), subject, wishes) {
            Ok(draft) => {
                for remark in &draft.remarks {
                    self.leave(range, model, remark.as_str());
                }
                Some(draft)
            }
            Err(errors) => {
                let reasons: Vec<&str> = errors.iter().map(|one| one.message.as_str()).collect();
                self.leave(range, model, format!("no manifest: {}", reasons.join("; ")));
                None
            }
        }
    }

    /// Takes over what another file of the same import leaves out, and its mistakes.
    pub(super) fn join(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.left.extend(other.left);
    }

    /// What came of it, or every mistake.
    pub(super) fn finish(mut self, drafts: Vec<Draft>) -> Result<Import, Diagnostics> {
        if !self.problems.is_empty() {
            return Err(self.problems.into_iter().collect());
        }
        self.left
            .sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Ok(Import {
            drafts,
            left: self.left,
        })
    }
}
