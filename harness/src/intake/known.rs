//! Known trouble of families and what a drafted manifest does about it, read from `known.yaml`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use crate::{
    capacity::Caveat,
    manifest::{Diagnostic, Diagnostics, VersionedArgs, VersionedEnv},
};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    caveats: Caveats,
    quantizations: BTreeMap<String, Advice>,
    /// More cards than one host has.
    pub(super) several_hosts: Advice,
    templates: Vec<Template>,
    tool_parsers: Vec<ToolParser>,
    /// Shared cases in the order of manifests.
    pub(super) cases: Vec<SharedFile>,
}

/// One field for each caveat, so that none lacks its advice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Caveats {
    remote_code: Advice,
    old_tokenizer: Advice,
    no_template: Advice,
    thinks: Advice,
    latent_blocks: Advice,
    shared_expert_stream: Advice,
    picture_memory: Advice,
}

/// What is said and done.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Advice {
    /// A paragraph for the head of the manifest.
    pub(super) note: String,
    /// Text that the chat template must contain.
    pub(super) marker: Option<String>,
    pub(super) trust_remote_code: bool,
    pub(super) block_size: Option<u32>,
    pub(super) args: Vec<VersionedArgs>,
    pub(super) env: Vec<VersionedEnv>,
    /// Parser of thoughts.
    pub(super) reasoning: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    words: Vec<String>,
    file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolParser {
    marker: String,
    lacks: Option<String>,
    parser: String,
}

/// A file of shared cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedFile {
    /// Relative to `models.d`.
    pub(super) file: String,
    /// Whether it is for chat models alone.
    #[serde(default)]
    pub(super) chat: bool,
}

impl Known {
    /// The file's content. `Err` cannot happen with a file that passed the tests.
    pub(super) fn get() -> Result<&'static Self, Diagnostics> {
        static KNOWN: LazyLock<Result<Known, String>> = LazyLock::new(|| {
            serde_yaml::from_str(include_str!("known.yaml")).map_err(|error| error.to_string())
        });
        KNOWN.as_ref().map_err(|error| {
            Diagnostic::error(format!("the table of known trouble cannot be read: {error}")).into()
        })
    }

    /// Advice on one caveat.
    pub(super) const fn caveat(&self, caveat: Caveat) -> &Advice {
        match caveat {
            Caveat::RemoteCode => &self.caveats.remote_code,
            Caveat::OldTokenizer => &self.caveats.old_tokenizer,
            Caveat::NoTemplate => &self.caveats.no_template,
            Caveat::Thinks => &self.caveats.thinks,
            Caveat::LatentBlocks => &self.caveats.latent_blocks,
            Caveat::SharedExpertStream => &self.caveats.shared_expert_stream,
            Caveat::PictureMemory => &self.caveats.picture_memory,
        }
    }

    /// Advice on a method of quantization.
    pub(super) fn quantization(&self, method: &str) -> Option<&Advice> {
        self.quantizations.get(method)
    }

    /// The template of `models.d` for a model of this name.
    pub(super) fn template(&self, name: &str) -> Option<&str> {
        let name = name.to_lowercase();
        let fits = |template: &&Template| template.words.iter().all(|word| name.contains(word.as_str()));
        self.templates
            .iter()
            .find(fits)
            .map(|template| template.file.as_str())
    }

    /// The parser of the tool calls that a chat template writes.
    pub(super) fn tool_parser(&self, template: &str) -> Option<&str> {
        let fits = |row: &&ToolParser| {
            let lacks = row.lacks.as_ref().is_none_or(|text| !template.contains(text));
            template.contains(&row.marker) && lacks
        };
        self.tool_parsers.iter().find(fits).map(|row| row.parser.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::capacity::Method;

    #[test]
    fn the_table_can_be_read_and_names_what_is_there() {
        let known = Known::get().unwrap();
        for method in known.quantizations.keys() {
            assert_eq!(&method.parse::<Method>().unwrap().as_str(), method);
        }
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models.d"));
        for template in &known.templates {
            assert!(models.join(&template.file).is_file(), "{}", template.file);
        }
        let listed: BTreeSet<String> = known.cases.iter().map(|shared| shared.file.clone()).collect();
        let there = fs::read_dir(models.join("cases")).unwrap();
        let there: BTreeSet<String> = there
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "yaml"))
            .map(|name| format!("cases/{name}"))
            .collect();
        assert_eq!(
            listed, there,
            "every file of shared cases is offered to new models"
        );
    }

    #[test]
    fn names_and_templates_are_recognized() {
        let known = Known::get().unwrap();
        assert_eq!(
            known.template("Baichuan2-13B-Chat"),
            Some("templates/baichuan2.jinja")
        );
        assert_eq!(known.template("Baichuan2-13B-Base"), None);
        assert_eq!(known.tool_parser("{{ '<tool_call>' }}"), Some("hermes"));
        assert_eq!(known.tool_parser("<tool_call><function=f>"), None);
        assert_eq!(known.tool_parser("{{ message }}"), None);
    }
}
