//! Imports the model list of MetaX's `batched_test` (vLLM-metax, `tools/batched_test`), with its cluster file.
//!
//! A list of `name`, `model_path`, `timeout` (600), `serve_config` {`tp`, `pp`, `dp`, `distributed_executor_backend`,
//! `gpu_memory_utilization` (0.8), `max_model_len` (4096), `swap_space`, `extra_args`}, `infer_type`, `benchmark`,
//! `extra_env`, `tag`. Its defaults differ from vLLM's and from ours, so they are written out. It always passes
//! `--trust-remote-code`; manifests say it where a checkpoint brings code.

use std::{collections::BTreeSet, path::Path, rc::Rc, sync::Arc};

use semver::Version;

use crate::manifest::{Diagnostics, Modality, SourceFile};

use super::{
    arguments::{self, Word},
    cluster::{self, Cluster},
    draft::{Draft, Wishes},
    import::{Import, Library, NO_SHAPE, Reader},
    subject::{Subject, slug, untaken},
    yaml::{self, Content, Entry, Node},
};

/// Defaults of the other system.
const TIMEOUT_S: u32 = 600;
const UTILIZATION: f64 = 0.8;
const LEN: u32 = 4096;
/// Longest time-out that is believed, s.
const MOST_TIMEOUT_S: u32 = 86_400;
/// Keys of a model.
const KEYS: [&str; 8] = [
    "name",
    "model_path",
    "timeout",
    "serve_config",
    "infer_type",
    "benchmark",
    "extra_env",
    "tag",
];
/// Cards of a C500 host.
const CARDS_PER_HOST: u64 = 8;

/// Turns a list into manifests.
pub fn batched_test(
    library: &Library<'_>,
    list: &Path,
    cluster: Option<&Path>,
) -> Result<Import, Diagnostics> {
    let (source, root) = yaml::read(list, list.display().to_string())?;
    let cluster = cluster.map(cluster::read).transpose()?;
    models(library, source, &root, cluster)
}

/// As [`batched_test`], of what was read.
pub(super) fn models(
    library: &Library<'_>,
    source: Arc<SourceFile>,
    root: &Rc<Node>,
    cluster: Option<(Cluster, Reader)>,
) -> Result<Import, Diagnostics> {
    let mut reader = Reader::new(source);
    if !matches!(root.content, Content::List(_)) {
        reader.wrong(
            &root.range,
            format!("a list of models is expected, found {}", root.described()),
            "begin each model with `- name:`",
        );
    }
    let (cluster, hosts) = cluster.unzip();
    let mut list = List {
        library,
        versions: library.versions()?,
        cluster,
        names: BTreeSet::new(),
        reader,
    };
    let mut drafts = Vec::new();
    for model in root.items() {
        drafts.extend(list.model(model)?);
    }
    let mut reader = list.reader;
    if let Some(hosts) = hosts {
        reader.join(hosts);
    }
    reader.finish(drafts)
}

struct List<'a> {
    library: &'a Library<'a>,
    versions: Vec<Version>,
    cluster: Option<Cluster>,
    names: BTreeSet<String>,
    reader: Reader,
}

impl List<'_> {
    fn model(&mut self, model: &Node) -> Result<Option<Draft>, Diagnostics> {
        if !matches!(model.content, Content::Map(_)) {
            let message = format!("a model is a map of settings, found {}", model.described());
            self.reader.wrong(
                &model.range,
                message,
                "write `name:`, `model_path:` and `serve_config:`",
            );
            return Ok(None);
        }
        let name = self.reader.required(model, "name");
        let path = self.reader.required(model, "model_path");
        let (Some(name), Some(path)) = (name, path) else {
            return Ok(None);
        };
        let at = model
            .get("name")
            .map_or_else(|| model.range.clone(), |node| node.range.clone());
        let mut wishes = self.wishes(&name, model);
        let Some(subject) = self.library.find(&path, None)? else {
            self.reader.leave(&at, name, NO_SHAPE);
            return Ok(None);
        };
        wishes.name = Some(self.name(&name, &wishes));
        wishes.path = Some(path);
        wishes.origin = Some(format!(
            "Imported from the list of batched_test, where it is called {name}."
        ));
        self.inputs(&name, model, &subject, &mut wishes);
        self.hosts(&name, model, &mut wishes);
        Ok(self.reader.draft(self.library, &subject, &wishes, (&at, &name)))
    }

    /// The name of the manifest: a model that is listed again, over other cards, says so.
    fn name(&mut self, name: &str, wishes: &Wishes) -> String {
        let plain = slug(name);
        let wide = wishes.layout.map_or_else(
            || plain.clone(),
            |layout| match layout.pipeline_parallel {
                1 => format!("{plain}_tp{}", layout.tensor_parallel),
                stages => format!("{plain}_tp{}_pp{stages}", layout.tensor_parallel),
            },
        );
        let wanted = if self.names.contains(&plain) { wide } else { plain };
        untaken(&wanted, &mut self.names)
    }

    /// What the list prescribes, whatever the model is.
    fn wishes(&mut self, name: &str, model: &Node) -> Wishes {
        let mut wishes = Wishes {
            max_model_len: Some(LEN),
            utilization: Some(UTILIZATION),
            ..Wishes::default()
        };
        let timeout = model.get("timeout");
        let timeout = timeout.and_then(|node| self.reader.figure("timeout", node, 1_u32, MOST_TIMEOUT_S));
        wishes.boot_timeout_s = Some(timeout.unwrap_or(TIMEOUT_S));
        let mut words = Vec::new();
        for (key, flag) in [
            ("tp", "-tp"),
            ("pp", "-pp"),
            ("gpu_memory_utilization", "--gpu-memory-utilization"),
            ("max_model_len", "--max-model-len"),
            ("swap_space", "--swap-space"),
            ("distributed_executor_backend", "--distributed-executor-backend"),
        ] {
            let value = model.get("serve_config").and_then(|serve| serve.get(key));
            if let Some(value) = value.filter(|value| !value.is_nothing()) {
                self.words(flag, value, &mut words);
            }
        }
        self.serve(name, model, &mut words);
        arguments::take(&mut self.reader, name, &words, &self.versions, &mut wishes);
        for entry in self.map(model, "extra_env") {
            let value = entry.value.text().unwrap_or_default().to_owned();
            let word = Word {
                text: entry.key.clone(),
                range: entry.at.clone(),
            };
            arguments::variable(&mut self.reader, name, &word, &value, &mut wishes);
        }
        self.aside(name, model);
        wishes
    }

    /// What no manifest has a place for.
    fn aside(&mut self, name: &str, model: &Node) {
        for entry in self.map(model, "benchmark") {
            // Lengths of answers are forced here too.
            if entry.key != "ignore_eos" {
                let what = format!("{name}: benchmark.{}", entry.key);
                let why = "the manifest's `workload` says what is measured: edit it there";
                self.reader.leave(&entry.at, what, why);
            }
        }
        let is_tag = |entry: &&Entry| entry.key == "tag" && !entry.value.is_nothing();
        if let Some(entry) = model.entries().iter().find(is_tag) {
            let why = "manifests have no tags: models are chosen by name";
            self.reader.leave(&entry.at, format!("{name}: tag"), why);
        }
        self.reader
            .leave_others(name, model, &KEYS, "manifests have no such key");
    }

    /// The keys of `serve_config` that are no plain figures.
    fn serve(&mut self, name: &str, model: &Node, words: &mut Vec<Word>) {
        for entry in self.map(model, "serve_config") {
            let place = format!("{name}: serve_config.{}", entry.key);
            match entry.key.as_str() {
                "tp"
                | "pp"
                | "gpu_memory_utilization"
                | "max_model_len"
                | "swap_space"
                | "distributed_executor_backend" => {}
                "dp" => {
                    let replicas = self.reader.figure("dp", &entry.value, 1_u32, 1024);
                    if replicas.is_some_and(|replicas| replicas > 1) {
                        let why = "a session is one engine: the manifest serves one of the replicas";
                        self.reader.leave(&entry.at, place, why);
                    }
                }
                "extra_args" => {
                    let serve = model.get("serve_config").map(Rc::clone);
                    let arguments = serve.map(|serve| self.map(&serve, "extra_args"));
                    for argument in arguments.into_iter().flatten() {
                        self.words(&argument.key, &argument.value, words);
                    }
                }
                _ => self.reader.leave(&entry.at, place, "manifests have no such key"),
            }
        }
    }

    /// A flag and its value as words.
    fn words(&mut self, flag: &str, value: &Node, words: &mut Vec<Word>) {
        let word = |text: &str| Word {
            text: text.to_owned(),
            range: value.range.clone(),
        };
        if value.is_nothing() {
            words.push(word(flag));
        } else if let Some(text) = value.text() {
            words.extend([word(flag), word(text)]);
        } else {
            let message = format!("`{flag}`: expected a text, found {}", value.described());
            self.reader.wrong(&value.range, message, "write JSON in quotes");
        }
    }

    /// The entries of a map below a key; nothing where nothing is written.
    fn map(&mut self, parent: &Node, key: &str) -> Vec<Entry> {
        let Some(node) = parent.get(key).filter(|node| !node.is_nothing()) else {
            return Vec::new();
        };
        if !matches!(node.content, Content::Map(_)) {
            let message = format!("`{key}`: expected a map, found {}", node.described());
            self.reader
                .wrong(&node.range, message, format!("write `{key}:` with a key a line"));
        }
        node.entries().to_vec()
    }

    /// What the model is shown.
    fn inputs(&mut self, name: &str, model: &Node, subject: &Subject, wishes: &mut Wishes) {
        let Some(node) = model.get("infer_type").filter(|node| !node.is_nothing()) else {
            return;
        };
        let alone = [Rc::clone(node)];
        let kinds = if node.text().is_some() {
            &alone
        } else {
            node.items()
        };
        let sees = subject.modalities.contains(&Modality::Image);
        wishes.text_only = kinds.iter().all(|kind| kind.text() == Some("text-only"));
        for kind in kinds {
            let place = format!("{name}: infer_type");
            match kind.text() {
                Some("text-only") => {}
                Some("single-image") if sees => {}
                Some("single-image") => {
                    self.reader.leave(
                        &kind.range,
                        place,
                        "no vision tower or no chat template of the model is known here: only text is asked",
                    );
                }
                Some(other) => {
                    let why = format!(
                        "cases hold text and pictures, not `{}`",
                        other.replace(char::is_control, " ")
                    );
                    self.reader.leave(&kind.range, place, why);
                }
                None => {
                    let message = format!("`infer_type`: expected a text, found {}", kind.described());
                    self.reader
                        .wrong(&kind.range, message, "write `text-only` or `single-image`");
                }
            }
        }
    }

    /// What a model over several hosts needs of the cluster.
    fn hosts(&mut self, name: &str, model: &Node, wishes: &mut Wishes) {
        let cards = wishes.layout.map_or(1, crate::capacity::Layout::cards);
        let Some(cluster) = self.cluster.as_ref().filter(|_| cards > CARDS_PER_HOST) else {
            return;
        };
        let needed = cards.div_ceil(CARDS_PER_HOST);
        if let Some(interface) = &cluster.interface {
            for variable in ["GLOO_SOCKET_IFNAME", "MCCL_SOCKET_IFNAME"] {
                wishes
                    .env
                    .entry(variable.to_owned())
                    .or_insert_with(|| interface.clone());
            }
        }
        if cluster.hosts < needed {
            let why = format!(
                "{cards} cards need {needed} hosts, and the cluster has {}",
                cluster.hosts
            );
            self.reader.leave(&model.range, name, why);
        }
    }
}
