//! A model that is to get a manifest: what its checkpoint, or an older manifest, says of it.

use std::collections::BTreeSet;

use crate::{
    capacity::{Caveat, Quantization, Shape},
    manifest::{
        Architecture, Diagnostic, Diagnostics, Dtype, Endpoint, License, LoadedModel, Modality, Reasoning,
    },
};

use super::{
    architecture::architecture,
    folder::Folder,
    known::{Advice, Known},
};

/// Word for what nobody has told.
const UNKNOWN: &str = "unknown";

/// What is known of a model.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Id of the hub, or the folder's name where no id is known.
    pub id: String,
    /// Revision.
    pub revision: String,
    /// Name of the weights' folder.
    pub folder: String,
    /// Its network.
    pub shape: Shape,
    /// The same for a manifest.
    pub architecture: Architecture,
    /// Type that it is served in.
    pub dtype: Dtype,
    /// How its matrices are stored.
    pub quantization: Option<Quantization>,
    /// Licence; its name may be `unknown`.
    pub license: License,
    /// How it is asked.
    pub endpoint: Endpoint,
    /// Template of `models.d`, where the model brings none.
    pub chat_template: Option<String>,
    /// What a prompt may hold.
    pub modalities: Vec<Modality>,
    /// Thinking.
    pub reasoning: Option<Reasoning>,
    /// Parser of tool calls.
    pub tool_parser: Option<String>,
    /// Whether the checkpoint's code must run.
    pub trust_remote_code: bool,
    /// Advice that applies.
    pub(super) advice: Vec<&'static Advice>,
    /// Sentences of their own.
    pub(super) notes: Vec<String>,
}

impl Subject {
    /// The model of a folder; `id` replaces what the folder says.
    pub fn of_folder(folder: &Folder, id: Option<&str>) -> Result<Self, Diagnostics> {
        let known = Known::get()?;
        let shape = folder.config.shape.clone();
        let parameters = shape
            .parameters()
            .map_err(|error| Diagnostics::from(Diagnostic::error(error.to_string())))?;
        let id = id.map_or_else(
            || folder.id.clone().unwrap_or_else(|| folder.name.clone()),
            str::to_owned,
        );
        let template = folder.template.as_deref();
        let ours = match template {
            Some(_) => None,
            None => known.template(&id).or_else(|| known.template(&folder.name)),
        };
        let is_chat = template.is_some() || ours.is_some();
        let mut notes = Vec::new();
        let mut modalities = vec![Modality::Text];
        if shape.vision.is_some() && is_chat {
            modalities.push(Modality::Image);
        } else if shape.vision.is_some() {
            notes.push("No chat template lies beside config.json, and pictures are shown in chats alone: only text is asked.".to_owned());
        }
        if ours.is_some() {
            notes.push(
                "The model brings no chat template; the one of `chat_template` frames its turns.".to_owned(),
            );
        } else if !is_chat {
            notes.push("No chat template lies beside config.json: it is taken for a base model and asked through /v1/completions.".to_owned());
        }
        if folder.config.dtype == Some(Dtype::Float32) {
            notes.push("The checkpoint is stored in float32; it is served in bfloat16, as vLLM itself would halve it.".to_owned());
        }
        let mut advice = advice(known, &shape, |caveat, advice| match caveat {
            Caveat::NoTemplate => !is_chat,
            _ => advice
                .marker
                .as_ref()
                .is_none_or(|marker| template.is_some_and(|text| text.contains(marker))),
        });
        let remote = known.caveat(Caveat::RemoteCode);
        let is_remote = folder.config.remote_code || advice.iter().any(|one| one.trust_remote_code);
        if is_remote && !advice.iter().any(|one| one.trust_remote_code) {
            advice.push(remote);
        }
        let quantized = folder.config.quantization;
        advice.extend(quantized.and_then(|one| known.quantization(one.method.as_str())));
        Ok(Self {
            revision: "main".to_owned(),
            folder: folder.name.clone(),
            architecture: architecture(&shape, &parameters)?,
            dtype: match folder.config.dtype {
                None | Some(Dtype::Float32) => Dtype::Bfloat16,
                Some(dtype) => dtype,
            },
            quantization: quantized,
            license: License {
                name: folder.card.license.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
                gated: folder.card.gated,
            },
            endpoint: if is_chat {
                Endpoint::Chat
            } else {
                Endpoint::Completions
            },
            chat_template: ours.map(str::to_owned),
            modalities,
            reasoning: advice
                .iter()
                .find_map(|one| one.reasoning.clone())
                .map(|parser| Reasoning {
                    enabled: false,
                    parser,
                }),
            tool_parser: template
                .and_then(|text| known.tool_parser(text))
                .map(str::to_owned),
            trust_remote_code: is_remote,
            shape,
            id,
            advice,
            notes,
        })
    }

    /// The model of a manifest that is there already: the same checkpoint, to be served otherwise.
    pub fn of_manifest(loaded: &LoadedModel) -> Result<Self, Diagnostics> {
        let known = Known::get()?;
        let model = loaded.manifest.model.clone();
        let shape = Shape::of_manifest(&model.architecture);
        let thinks = model.reasoning.is_some();
        let advice = advice(known, &shape, |caveat, _| match caveat {
            Caveat::NoTemplate => model.endpoint == Endpoint::Completions,
            Caveat::Thinks => thinks,
            _ => true,
        });
        Ok(Self {
            folder: model.path.rsplit('/').next().unwrap_or_default().to_owned(),
            id: model.id,
            revision: model.revision,
            dtype: loaded.manifest.serve.dtype,
            quantization: None,
            license: model.license,
            endpoint: model.endpoint,
            chat_template: model.chat_template,
            modalities: model.modalities,
            reasoning: model.reasoning,
            tool_parser: model.tool_parser,
            trust_remote_code: loaded.manifest.serve.trust_remote_code,
            notes: vec![format!(
                "Architecture, endpoint and licence are those of the manifest {}.",
                loaded.name
            )],
            architecture: model.architecture,
            shape,
            advice,
        })
    }

    /// Whether the licence is told.
    pub(super) fn knows_license(&self) -> bool {
        self.license.name != UNKNOWN
    }
}

/// Advice on the family's caveats that applies.
fn advice(
    known: &'static Known,
    shape: &Shape,
    applies: impl Fn(Caveat, &Advice) -> bool,
) -> Vec<&'static Advice> {
    let caveats = shape.family.map_or(&[] as &[Caveat], |family| family.caveats);
    caveats
        .iter()
        .filter(|caveat| **caveat != Caveat::SharedExpertStream || shape.experts.is_some())
        .map(|caveat| (*caveat, known.caveat(*caveat)))
        .filter(|(caveat, advice)| applies(*caveat, advice))
        .map(|(_, advice)| advice)
        .collect()
}

/// A name as manifests have it: `Mistral-7B-v0.1` becomes `mistral_7b_v0_1`.
pub fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('_') && !out.is_empty() {
            out.push('_');
        }
    }
    let out = out.trim_end_matches('_');
    if out.is_empty() {
        "model".to_owned()
    } else {
        out.to_owned()
    }
}

/// A name that `taken` does not have yet, which then has it.
pub(super) fn untaken(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
    let free = std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| name.to_owned());
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_manifests_that_are_there() {
        assert_eq!(slug("Mistral-7B-v0.1"), "mistral_7b_v0_1");
        assert_eq!(
            slug("Qwen3-Next-80B-A3B-Instruct.w8a8"),
            "qwen3_next_80b_a3b_instruct_w8a8"
        );
        assert_eq!(slug("模型"), "model");
    }

    #[test]
    fn names_are_given_once() {
        let mut taken = BTreeSet::new();
        let names: Vec<String> = (0..3).map(|_| untaken("a", &mut taken)).collect();
        assert_eq!(names, ["a", "a_2", "a_3"]);
    }

    proptest! {
        #[test]
        fn every_name_is_plain(name in any::<String>()) {
            let slug = slug(&name);
            prop_assert!(!slug.is_empty() && slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        }
    }
}
