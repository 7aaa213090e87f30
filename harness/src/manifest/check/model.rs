//! The `model` section: whether the figures of the architecture and the ways to ask fit one another.

use super::{Document, repeated, texts};
use crate::manifest::{Endpoint, diagnostics::Diagnostic, wording::quoted};

const ARCHITECTURE: &str = "/model/architecture";

pub(super) fn model(document: &Document, problems: &mut Vec<Diagnostic>) {
    heads(document, problems);
    at_most(document, problems, "active_parameters", "parameters");
    at_most(document, problems, "moe/experts_per_token", "moe/routed_experts");
    modalities(document, problems);
    asked_how(document, problems);
}

fn heads(document: &Document, problems: &mut Vec<Diagnostic>) {
    let [heads, kv_heads] = ["heads", "kv_heads"].map(|name| format!("{ARCHITECTURE}/{name}"));
    let (Some(all), Some(shared)) = (document.read::<u32>(&heads), document.read::<u32>(&kv_heads)) else {
        return;
    };
    if shared > 0 && !all.is_multiple_of(shared) {
        let message = format!("{shared} key and value heads cannot serve {all} attention heads evenly");
        let uneven = document.wrong(&kv_heads, message).see(document.place(&heads), "");
        problems.push(
            uneven.help("copy `num_key_value_heads` and `num_attention_heads` from the model's config.json"),
        );
    }
}

/// `part` counts some of what `whole` counts.
fn at_most(document: &Document, problems: &mut Vec<Diagnostic>, part: &str, whole: &str) {
    let [part_place, whole_place] = [part, whole].map(|name| format!("{ARCHITECTURE}/{name}"));
    let (Some(few), Some(many)) = (
        document.read::<u64>(&part_place),
        document.read::<u64>(&whole_place),
    ) else {
        return;
    };
    if few > many {
        let [part, whole] = [part, whole].map(|name| name.replace("moe/", ""));
        let message = format!("`{part}` {few} is more than `{whole}` {many}");
        problems.push(
            document
                .wrong(&part_place, message)
                .see(document.place(&whole_place), ""),
        );
    }
}

fn modalities(document: &Document, problems: &mut Vec<Diagnostic>) {
    let list = texts(document, "/model/modalities");
    let has = |word: &str| list.iter().any(|(modality, _)| modality == word);
    if document.has("/model/modalities") && !has("text") {
        let message = "every model reads text, but `modalities` lacks `text`";
        problems.push(
            document
                .wrong_part("/model/modalities", message)
                .help("add `text`"),
        );
    }
    let seen = list.iter().find(|(modality, _)| modality == "image");
    if let Some((_, place)) = seen.filter(|_| document.lacks(ARCHITECTURE, &["vision"])) {
        let message = "a model that reads images has a vision tower, but `architecture` has no `vision`";
        problems.push(
            document
                .wrong(place, message)
                .help("add its `depth` and `width` from the model's config.json"),
        );
    }
    repeated(document, list, "the modality", problems);
}

/// What only a chat can use is useless for a base model, and likely means that `endpoint` is wrong.
fn asked_how(document: &Document, problems: &mut Vec<Diagnostic>) {
    if document.read("/model/endpoint") != Some(Endpoint::Completions) {
        return;
    }
    for (key, what) in [
        ("chat_template", "a chat template"),
        ("reasoning", "reasoning"),
        ("tool_parser", "a tool parser"),
    ] {
        let place = format!("/model/{key}");
        if document.has(&place) {
            let useless = document
                .wrong_part(
                    &place,
                    format!("{what} is of no use on the endpoint `completions`"),
                )
                .see(document.place("/model/endpoint"), "");
            problems.push(useless.help(format!("remove {}, or write `endpoint: chat`", quoted(key))));
        }
    }
    if let Some((_, place)) = texts(document, "/model/modalities")
        .iter()
        .find(|(word, _)| word == "image")
    {
        let message = "images are shown inside chat messages, but the endpoint is `completions`";
        let unseen = document
            .wrong(place, message)
            .see(document.place("/model/endpoint"), "");
        problems.push(unseen.help("remove `image`, or write `endpoint: chat`"));
    }
}
