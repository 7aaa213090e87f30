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
        let own_id = || folder.id.clone().unwrap_or_else(|| folder.name.clone());
        let id = id.map_or_else(own_id, str::to_owned);
        let asked = Asked::of(known, folder, &id);
        let is_chat = asked.endpoint == Endpoint::Chat;
        let advice = of_checkpoint(known, folder, is_chat);
        let template = folder.template.as_deref();
        let parser = advice.iter().find_map(|one| one.reasoning.clone());
        let tool_parser = template.and_then(|text| known.tool_parser(text));
        Ok(Self {
            id,
            revision: "main".to_owned(),
            folder: folder.name.clone(),
            architecture: architecture(&shape, &parameters)?,
            dtype: match folder.config.dtype {
                None | Some(Dtype::Float32) => Dtype::Bfloat16,
                Some(dtype) => dtype,
            },
            quantization: folder.config.quantization,
            license: License {
                name: folder.card.license.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
                gated: folder.card.gated,
            },
            endpoint: asked.endpoint,
            chat_template: asked.chat_template,
            modalities: asked.modalities,
            reasoning: parser.map(|parser| Reasoning {
                enabled: false,
                parser,
            }),
            tool_parser: tool_parser.map(str::to_owned),
            trust_remote_code: advice.iter().any(|one| one.trust_remote_code),
            shape,
            advice,
            notes: asked.notes,
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

/// How a checkpoint is asked.
struct Asked {
    endpoint: Endpoint,
    chat_template: Option<String>,
    modalities: Vec<Modality>,
    notes: Vec<String>,
}

impl Asked {
    /// By its chat template, or by one of `models.d` for its name.
    fn of(known: &Known, folder: &Folder, id: &str) -> Self {
        let ours = match &folder.template {
            Some(_) => None,
            None => known.template(id).or_else(|| known.template(&folder.name)),
        };
        let is_chat = folder.template.is_some() || ours.is_some();
        let has_tower = folder.config.shape.vision.is_some();
        let is_single = folder.config.dtype == Some(Dtype::Float32);
        let notes = [
            (
                has_tower && !is_chat,
                "Pictures are shown in chats alone, and there is no chat template: only text is asked.",
            ),
            (
                ours.is_some(),
                "The model brings no chat template; the one of `chat_template` frames its turns.",
            ),
            (
                !is_chat,
                "No chat template lies beside config.json: it is taken for a base model and asked through \
                 /v1/completions.",
            ),
            (
                is_single,
                "The checkpoint is stored in float32; it is served in bfloat16, half of that.",
            ),
        ];
        let applying = notes.into_iter().filter(|(applies, _)| *applies);
        Self {
            endpoint: if is_chat {
                Endpoint::Chat
            } else {
                Endpoint::Completions
            },
            chat_template: ours.map(str::to_owned),
            modalities: if has_tower && is_chat {
                vec![Modality::Text, Modality::Image]
            } else {
                vec![Modality::Text]
            },
            notes: applying.map(|(_, note)| note.to_owned()).collect(),
        }
    }
}

/// Advice that applies to a checkpoint: on its family, its own code, its quantization.
fn of_checkpoint(known: &'static Known, folder: &Folder, is_chat: bool) -> Vec<&'static Advice> {
    let template = folder.template.as_deref();
    let mut advice = advice(known, &folder.config.shape, |caveat, advice| {
        let marker = advice.marker.as_ref();
        match caveat {
            Caveat::NoTemplate => !is_chat,
            _ => marker.is_none_or(|marker| template.is_some_and(|text| text.contains(marker))),
        }
    });
    if folder.config.remote_code && !advice.iter().any(|one| one.trust_remote_code) {
        advice.push(known.caveat(Caveat::RemoteCode));
    }
    let method = folder.config.quantization.map(|quantization| quantization.method);
    advice.extend(method.and_then(|method| known.quantization(method.as_str())));
    advice
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
