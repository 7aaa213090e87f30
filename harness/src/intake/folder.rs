//! What lies beside a model's `config.json`: its chat template and the licence of its model card.
//!
//! A template is looked for where transformers looks: `chat_template.jinja`, `chat_template.json`, then
//! `tokenizer_config.json`, whose template is a text or a list of named ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    capacity::ModelConfig,
    manifest::{Diagnostics, JsonDocument, read_text},
};

/// Largest template and model card that are read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Longest name of a licence.
const LICENSE_CHARS: usize = 60;

/// The folder of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Its `config.json`.
    pub config: ModelConfig,
    /// The folder's name, which downloads take from the repository's.
    pub name: String,
    /// Id as the configuration states it, where it belongs to this folder.
    pub id: Option<String>,
    /// Text of the chat template.
    pub template: Option<String>,
    /// What the model card says of the licence.
    pub card: Card,
}

/// What a model card (`README.md`) says in its front matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// The licence.
    pub license: Option<String>,
    /// Whether its owner must be asked first.
    pub gated: bool,
}

impl Folder {
    /// Reads a folder by its `config.json`.
    pub fn of_config(file: &Path) -> Result<Self, Diagnostics> {
        let shown = file.display().to_string();
        let config = ModelConfig::read(file, shown.clone())?;
        let document = JsonDocument::read(file, shown)?;
        let absolute = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let folder = absolute.parent().unwrap_or(Path::new(""));
        let name = folder
            .file_name()
            .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        let id = document
            .get("/_name_or_path")
            .and_then(Value::as_str)
            .filter(|id| {
                is_id(id)
                    && id
                        .rsplit('/')
                        .next()
                        .is_some_and(|last| last.eq_ignore_ascii_case(&name))
            })
            .map(str::to_owned);
        Ok(Self {
            config,
            id,
            template: template(file.parent().unwrap_or(Path::new("")))?,
            card: card(&folder.join("README.md")),
            name,
        })
    }
}

/// Whether a text is an id of the hub: owner and name, of its letters.
pub(super) fn is_id(text: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(allowed)
    };
    text.split_once('/')
        .is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

/// The chat template of a folder.
fn template(folder: &Path) -> Result<Option<String>, Diagnostics> {
    let there = |name: &str| -> Option<PathBuf> {
        let path = folder.join(name);
        path.is_file().then_some(path)
    };
    if let Some(path) = there("chat_template.jinja") {
        let shown = path.display().to_string();
        let text = read_text(&path, shown, MAX_BYTES)?.text.clone();
        return Ok(Some(text).filter(|text| !text.trim().is_empty()));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        if let Some(path) = there(name) {
            let document = JsonDocument::read(&path, path.display().to_string())?;
            if let Some(text) = of_json(&document)? {
                return Ok(Some(text));
            }
        }
    }
    Ok(None)
}

/// The template of a JSON file: a text, or the one named `default` of a list, or its first.
fn of_json(document: &JsonDocument) -> Result<Option<String>, Diagnostics> {
    let place = "/chat_template";
    let wrong = |place: &str, message: &str| {
        let problem = document.wrong(place, message);
        Diagnostics::from(problem.help("copy the file as it was downloaded"))
    };
    match document.get(place) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.trim().is_empty())),
        Some(Value::Array(named)) => {
            let is_default = |one: &&Value| one.get("name").and_then(Value::as_str) == Some("default");
            let Some(chosen) = named.iter().find(is_default).or_else(|| named.first()) else {
                return Ok(None);
            };
            let text = chosen.get("template").and_then(Value::as_str);
            text.map(|text| Some(text.to_owned()))
                .ok_or_else(|| wrong("/chat_template/0", "a named chat template has no text `template`"))
        }
        Some(_) => Err(wrong(
            place,
            "`chat_template` is neither a text nor a list of named ones",
        )),
    }
}

/// The licence by the front matter of a model card; nothing where there is none.
fn card(file: &Path) -> Card {
    let within = fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_BYTES);
    let text = if within {
        fs::read(file).unwrap_or_default()
    } else {
        Vec::new()
    };
    front_matter(&String::from_utf8_lossy(&text))
}

fn front_matter(text: &str) -> Card {
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some("---") {
        return Card::default();
    }
    let mut card = Card::default();
    let mut named = None;
    for line in lines.take_while(|line| *line != "---") {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        let is_name = !value.is_empty()
            && value.chars().count() <= LICENSE_CHARS
            && value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        match key {
            "license" if is_name => card.license = Some(value.to_owned()),
            "license_name" if is_name => named = Some(value.to_owned()),
            key if key.starts_with("extra_gated") => card.gated = true,
            _ => {}
        }
    }
    // The hub's word for a licence of its own is `other`; its name then stands apart.
    card.license = named.or(card.license);
    card
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_model_card_tells_the_licence() {
        let card = front_matter("---\nlicense: other\nlicense_name: \"deepseek\"\n---\nlicense: mit\n");
        assert_eq!(
            card,
            Card {
                license: Some("deepseek".to_owned()),
                gated: false
            }
        );
        assert!(front_matter("---\nextra_gated_prompt: please\n---\n").gated);
        assert_eq!(front_matter("# A model\nlicense: mit\n"), Card::default());
    }

    #[test]
    fn ids_have_an_owner_and_a_name() {
        assert!(is_id("Qwen/Qwen3-32B"));
        for text in ["Qwen3-32B", "/data/models", "a/b/c", "../x", "a/", "Qwen/ü"] {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn templates_are_found_where_transformers_looks() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(template(folder.path()).unwrap(), None);
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("tokenizer_config.json", r#"{"chat_template": null}"#);
        assert_eq!(template(folder.path()).unwrap(), None);
        write(
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#,
        );
        assert_eq!(template(folder.path()).unwrap().as_deref(), Some("d"));
        write("chat_template.json", r#"{"chat_template": "j"}"#);
        assert_eq!(template(folder.path()).unwrap().as_deref(), Some("j"));
        write("chat_template.jinja", "{{ x }}");
        assert_eq!(template(folder.path()).unwrap().as_deref(), Some("{{ x }}"));
    }

    #[test]
    fn a_template_of_another_type_is_shown() {
        let document = JsonDocument::parse("tokenizer_config.json", "{\n  \"chat_template\": 7\n}").unwrap();
        insta::assert_snapshot!(of_json(&document).unwrap_err());
    }

    proptest! {
        #[test]
        fn no_card_makes_it_panic(text in "(---\n)?([a-z_]{0,12}[: ü]{0,3}\\PC{0,8}\n){0,5}(---)?") {
            let card = front_matter(&text);
            prop_assert!(card.license.is_none_or(|name| name.is_ascii()));
        }
    }
}
