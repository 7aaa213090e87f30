//! Imports a nightly test of vllm-ascend: `test_cases` of one host, or one `deployment` over several.
//!
//! A case has `name`, `model`, `envs`, `server_cmd` (words), `benchmarks`; a deployment has `test_name`, `model`,
//! `env_common`, and a `server_cmd` (one text) for each host, of which the first speaks for all. Cards are those of
//! another maker: a layout that the C500 does not hold gives way to the fewest cards that do.

use std::{collections::BTreeSet, path::Path, rc::Rc, sync::Arc};

use semver::Version;

use crate::manifest::{Diagnostics, SourceFile};

use super::{
    arguments::{self, Word},
    draft::{Draft, Wishes},
    import::{Import, Library, NO_SHAPE, Reader, last_part},
    subject::{slug, untaken},
    yaml::{self, Content, Node},
};

/// Keys that are read of a case and of a deployment.
const READ: [&str; 12] = [
    "name",
    "test_name",
    "model",
    "envs",
    "env_common",
    "server_cmd",
    "server_cmd_extra",
    "benchmarks",
    "deployment",
    "num_nodes",
    "npu_per_node",
    "test_cases",
];

/// Turns a test into manifests.
pub fn vllm_ascend(library: &Library<'_>, file: &Path) -> Result<Import, Diagnostics> {
    let (source, root) = yaml::read(file, file.display().to_string())?;
    tests(library, source, &root)
}

/// As [`vllm_ascend`], of what was read.
pub(super) fn tests(
    library: &Library<'_>,
    source: Arc<SourceFile>,
    root: &Rc<Node>,
) -> Result<Import, Diagnostics> {
    let mut file = File {
        library,
        versions: library.versions()?,
        names: BTreeSet::new(),
        reader: Reader::new(source),
    };
    let mut drafts = Vec::new();
    match root.get("test_cases") {
        Some(cases) => {
            if !matches!(cases.content, Content::List(_)) {
                let message = format!("`test_cases`: expected a list, found {}", cases.described());
                file.reader
                    .wrong(&cases.range, message, "begin each case with `- name:`");
            }
            for case in cases.items() {
                drafts.extend(file.case(case, "name")?);
            }
        }
        None if root.get("model").is_some() => drafts.extend(file.case(root, "test_name")?),
        None => file.reader.wrong(
            &root.range,
            "this is no nightly test: it has neither `test_cases` nor `model`",
            "name a YAML file of tests/e2e/nightly of vllm-ascend",
        ),
    }
    file.reader.finish(drafts)
}

struct File<'a> {
    library: &'a Library<'a>,
    versions: Vec<Version>,
    names: BTreeSet<String>,
    reader: Reader,
}

impl File<'_> {
    fn case(&mut self, case: &Node, name_key: &str) -> Result<Option<Draft>, Diagnostics> {
        if !matches!(case.content, Content::Map(_)) {
            let message = format!("a case is a map of settings, found {}", case.described());
            self.reader
                .wrong(&case.range, message, "write `name:`, `model:` and `server_cmd:`");
            return Ok(None);
        }
        let Some(id) = self.reader.required(case, "model") else {
            return Ok(None);
        };
        let name = match case.get(name_key).and_then(|node| node.text()) {
            Some(name) => name.to_owned(),
            None => last_part(&id).to_owned(),
        };
        let at = case
            .get("model")
            .map_or_else(|| case.range.clone(), |node| node.range.clone());
        let words = self.command(case, &name);
        let mut wishes = Wishes::default();
        arguments::take(&mut self.reader, &name, &words, &self.versions, &mut wishes);
        self.variables(case, &name, &mut wishes);
        self.benchmarks(case, &name);
        self.rest(case, &name);
        if words.is_empty() {
            self.reader
                .leave(&at, name, "no manifest: it has no `server_cmd` of one server");
            return Ok(None);
        }
        let Some(subject) = self.library.find(&id, Some(&id))? else {
            self.reader.leave(&at, name, NO_SHAPE);
            return Ok(None);
        };
        wishes.name = Some(untaken(&slug(&name), &mut self.names));
        wishes.origin = Some(format!(
            "Imported from the nightly test of vllm-ascend that is called {name}."
        ));
        Ok(self.reader.draft(self.library, &subject, &wishes, (&at, &name)))
    }

    /// The words of the server's command.
    fn command(&mut self, case: &Node, name: &str) -> Vec<Word> {
        let mut words = Vec::new();
        for key in ["server_cmd", "server_cmd_extra"] {
            if let Some(node) = case.get(key) {
                self.words(key, node, &mut words);
            }
        }
        let Some(deployment) = case.get("deployment") else {
            return words;
        };
        for (index, host) in deployment.items().iter().enumerate() {
            match host.get("server_cmd") {
                Some(node) if index == 0 => self.words("server_cmd", node, &mut words),
                _ => {
                    let what = format!("{name}: deployment {}", index + 1);
                    let why = "a session is one engine: the first host's command speaks for all";
                    self.reader.leave(&host.range, what, why);
                }
            }
        }
        words
    }

    /// Words of a list (also of lists inside it, which aliases make), or of one text.
    fn words(&mut self, key: &str, node: &Node, words: &mut Vec<Word>) {
        if let Some(text) = node.text() {
            let range = node.range.clone();
            words.extend(shell_words(text).into_iter().map(|text| Word {
                text,
                range: range.clone(),
            }));
            return;
        }
        let nested = node.items().iter().flat_map(|item| match item.items() {
            [] => vec![Rc::clone(item)],
            inner => inner.to_vec(),
        });
        for item in nested.collect::<Vec<_>>() {
            if let Some(text) = item.text() {
                words.push(Word {
                    text: text.to_owned(),
                    range: item.range.clone(),
                });
            } else {
                let message = format!("`{key}`: expected a word, found {}", item.described());
                self.reader
                    .wrong(&item.range, message, "write each word as a text");
            }
        }
    }

    fn variables(&mut self, case: &Node, name: &str, wishes: &mut Wishes) {
        for key in ["env_common", "envs"] {
            let Some(map) = case.get(key).filter(|map| !map.is_nothing()) else {
                continue;
            };
            if !matches!(map.content, Content::Map(_)) {
                let message = format!("`{key}`: expected a map, found {}", map.described());
                self.reader.wrong(&map.range, message, "write a variable a line");
            }
            for entry in map.entries() {
                let value = entry.value.text().unwrap_or_default();
                let word = Word {
                    text: entry.key.clone(),
                    range: entry.at.clone(),
                };
                arguments::variable(&mut self.reader, name, &word, value, wishes);
            }
        }
    }

    /// Their measurements, with what they were held against: a baseline of other cards is no budget here.
    fn benchmarks(&mut self, case: &Node, name: &str) {
        let Some(benchmarks) = case.get("benchmarks") else {
            return;
        };
        for entry in benchmarks.entries() {
            let said = |key: &str| {
                let text = entry.value.get(key).and_then(|node| node.text());
                text.map(|text| format!(", {key} {}", text.replace(char::is_control, " ")))
                    .unwrap_or_default()
            };
            let why = format!(
                "measured on other cards, by another suite{}{}{}: measure here and write budgets",
                said("dataset_path"),
                said("baseline"),
                said("threshold")
            );
            self.reader
                .leave(&entry.at, format!("{name}: benchmarks.{}", entry.key), why);
        }
    }

    fn rest(&mut self, case: &Node, name: &str) {
        for key in ["num_nodes", "npu_per_node"] {
            if let Some(entry) = case.entries().iter().find(|entry| entry.key == key) {
                let why = "the layout is checked against the C500's own cards and hosts";
                self.reader.leave(&entry.at, format!("{name}: {key}"), why);
            }
        }
        self.reader
            .leave_others(name, case, &READ, "manifests have no such key");
    }
}

/// Words of a shell command: quotes are taken off, backslashes before line ends too; the program and the model before
/// the first flag are not arguments.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None) => match characters.next() {
                None | Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
            },
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let first = words.iter().position(|word| word.starts_with('-'));
    words.split_off(first.unwrap_or(words.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::shell_words;

    #[test]
    fn commands_are_split_as_a_shell_splits_them() {
        let command = "vllm serve \"Qwen/Qwen3\" \\\n  --port $PORT --config '{\"a\": 1}' --name \"x y\"";
        assert_eq!(
            shell_words(command),
            ["--port", "$PORT", "--config", "{\"a\": 1}", "--name", "x y"]
        );
        assert!(shell_words("vllm serve x").is_empty());
    }

    proptest! {
        #[test]
        fn no_command_makes_it_panic(text in any::<String>()) {
            for word in shell_words(&text).iter().take(1) {
                prop_assert!(word.starts_with('-'));
            }
        }
    }
}
