//! Cases, one by one and as a manifest selects them.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    path::{Component, Path},
};

use super::{Document, graders, repeated, texts};
use crate::manifest::{
    diagnostics::{Diagnostic, Label},
    wording::{counted, io_cause, quoted, suggestion},
};

/// The eight bytes that every PNG file begins with (PNG specification, third edition, 5.2).
const PNG_SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Names of trials over all cases.
const TAKEN: [&str; 2] = ["drift", "grades"];

/// Whether cases belong to one manifest or are shared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::manifest) enum Sharing {
    /// Cases of one manifest: they must suit its model.
    Own,
    /// Shared cases: what a model lacks for them is a reason to skip them there.
    Shared,
}

/// Checks the cases of the list at `list`, whose images lie relative to `folder`.
pub(in crate::manifest) fn case_list(
    document: &Document,
    list: &str,
    folder: &Path,
    sharing: Sharing,
    problems: &mut Vec<Diagnostic>,
) {
    for case in document.items(list) {
        asked(document, &case, problems);
        scored_alone(document, &case, problems);
        images(document, &case, folder, problems);
        graders::graders(document, &case, problems);
        if sharing == Sharing::Own {
            suits_the_model(document, &case, problems);
        }
    }
    repeated(document, ids(document, list), "the case", problems);
}

/// The id of each case of the list at `list`, with its place.
fn ids(document: &Document, list: &str) -> Vec<(String, String)> {
    document
        .items(list)
        .map(|case| format!("{case}/id"))
        .filter_map(|place| Some((document.read(&place)?, place)))
        .collect()
}

/// Checks what the model is asked.
fn asked(document: &Document, case: &str, problems: &mut Vec<Diagnostic>) {
    for key in ["prompt", "completion", "haystack/needle"] {
        let place = format!("{case}/{key}");
        if document
            .read::<String>(&place)
            .is_some_and(|text| text.trim().is_empty())
        {
            problems.push(
                document
                    .wrong(&place, "this text is empty")
                    .help("write what the model is asked"),
            );
        }
    }
    let history = format!("{case}/history");
    let turns = document.items(&history).count();
    if turns % 2 == 1 {
        let message = format!(
            "after {} the assistant is to speak, but `prompt` is the user's",
            counted(turns, "earlier turn")
        );
        let odd = document.wrong_part(&history, message);
        problems.push(odd.help("user and assistant speak by turns: end the history with the assistant"));
    }
}

/// A case that is only scored has an answer to score and nothing that judges it; and no case takes the name of a trial
/// over all cases.
fn scored_alone(document: &Document, case: &str, problems: &mut Vec<Diagnostic>) {
    let id = format!("{case}/id");
    if let Some(name) = document.read::<String>(&id)
        && TAKEN.contains(&name.as_str())
    {
        let taken = document.wrong(&id, format!("{} is a trial over all cases", quoted(&name)));
        problems.push(taken.help("choose another name"));
    }
    let alone = format!("{case}/scoring_only");
    if document.read(&alone) != Some(true) {
        return;
    }
    for (key, why) in [
        ("grade", "is not asked in a run, so nothing grades its answer"),
        ("images", "is sent as token ids, which hold no images"),
        ("tools", "is not asked in a run, so it calls no tools"),
        (
            "structured",
            "is scored over all tokens, not over those that a schema allows",
        ),
    ] {
        let place = format!("{case}/{key}");
        if document.has(&place) {
            let message = format!("a case that is only scored {why}");
            let idle = document
                .wrong_part(&place, message)
                .see(document.place(&alone), "");
            problems.push(idle.help(format!("remove `{key}`, or `scoring_only`")));
        }
    }
}

fn images(document: &Document, case: &str, folder: &Path, problems: &mut Vec<Diagnostic>) {
    for (name, place) in texts(document, &format!("{case}/images")) {
        let path = Path::new(&name);
        let relative = path.components().all(|part| {
            matches!(
                part,
                Component::Normal(_) | Component::CurDir | Component::ParentDir
            )
        });
        let problem = if relative && !name.is_empty() {
            is_png(&folder.join(path)).err()
        } else {
            Some("is not a path relative to this file".to_owned())
        };
        if let Some(problem) = problem {
            let wrong = document.wrong(&place, format!("the image {} {problem}", quoted(&name)));
            problems.push(wrong.help("name a PNG file, relative to the file that holds the case"));
        }
    }
}

/// `Err` says what is wrong, as the end of a sentence about the file.
fn is_png(path: &Path) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {}", io_cause(&error));
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(PNG_SIGNATURE.len() as u64)
        .read_to_end(&mut start)
        .map_err(cannot)?;
    if start == PNG_SIGNATURE {
        Ok(())
    } else {
        Err("is not a PNG file".to_owned())
    }
}

/// A manifest's own case must be one that its model can be asked.
fn suits_the_model(document: &Document, case: &str, problems: &mut Vec<Diagnostic>) {
    let modalities: Option<Vec<String>> = document.read("/model/modalities");
    let images = format!("{case}/images");
    if document.has(&images)
        && modalities.is_some_and(|list| !list.iter().any(|modality| modality == "image"))
    {
        let blind = document
            .wrong_part(&images, "this model reads no images")
            .see(document.key("/model/modalities"), "its modalities");
        problems.push(blind.help("remove the images, or add the modality `image`"));
    }
    let tools = format!("{case}/tools");
    if document.has(&tools) && document.lacks("/model", &["tool_parser"]) {
        let mute = document.wrong_part(&tools, "this model calls no tools: it has no `tool_parser`");
        problems.push(mute.help("remove the tools, or name vLLM's parser in `model.tool_parser`"));
    }
    if document.read::<String>("/model/endpoint").as_deref() == Some("completions") {
        for key in ["system", "history"] {
            let place = format!("{case}/{key}");
            if document.has(&place) {
                let chat = document
                    .wrong_part(
                        &place,
                        format!("`{key}` is part of a chat, and this model is no chat model"),
                    )
                    .see(document.place("/model/endpoint"), "");
                problems.push(chat.help("write all that the model reads into `completion`"));
            }
        }
    }
    let limit = document.read::<u64>("/serve/max_model_len");
    let haystack = document
        .read::<u64>(&format!("{case}/haystack/tokens"))
        .unwrap_or(0);
    let answer_place = format!("{case}/max_tokens");
    if let (Some(limit), Some(answer)) = (limit, document.read::<u64>(&answer_place))
        && haystack.saturating_add(answer) > limit
    {
        let message = format!(
            "{haystack} tokens of haystack and {answer} of answer are longer than max_model_len {limit}"
        );
        let long = document
            .wrong(&answer_place, message)
            .see(document.place("/serve/max_model_len"), "");
        problems.push(long.help("ask for less"));
    }
}

/// Reports each case of the list at `list` that nothing judges.
pub(in crate::manifest) fn without_judgement(
    document: &Document,
    list: &str,
    problems: &mut Vec<Diagnostic>,
) {
    for case in document.items(list) {
        let grade = format!("{case}/grade");
        let golden = format!("{case}/golden");
        let graded = !document.is_empty_map(&grade) && !document.lacks(&case, &["grade"]);
        // What is there in the wrong shape has its own error.
        let compared = [golden, format!("{case}/scoring_only")]
            .iter()
            .any(|key| document.has(key) && document.read(key) != Some(false));
        if graded || compared {
            continue;
        }
        let id: String = document.read(&format!("{case}/id")).unwrap_or_default();
        let place = if document.has(&grade) {
            document.key(&grade)
        } else {
            document.place(&format!("{case}/id"))
        };
        let unjudged = Diagnostic::error(format!("nothing judges the case {}", quoted(&id))).at(place, "");
        problems.push(
            unjudged.help("give it a grader in `grade`, or `golden: true` to hold it against a golden"),
        );
    }
}

/// A case that a manifest asks.
#[derive(Clone)]
pub(in crate::manifest) struct Selected {
    /// Its id.
    pub(in crate::manifest) id: String,
    /// Where its id stands.
    pub(in crate::manifest) place: Label,
}

/// The cases of `file` that the entry `entry` of `cases.shared` selects by `only` and `except`.
pub(in crate::manifest) fn selection(
    document: &Document,
    entry: &str,
    file: &Document,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Selected> {
    let available = ids(file, "/cases");
    let mut names: Vec<&String> = available.iter().map(|(id, _)| id).collect();
    names.dedup();
    let [only, except] = ["only", "except"].map(|key| format!("{entry}/{key}"));
    if document.has(&only) && document.has(&except) {
        let both = document.wrong_part(&except, "`except` beside `only` has nothing to exclude");
        problems.push(both.see(document.key(&only), "").help("keep one of them"));
    }
    for list in [&only, &except] {
        let listed = texts(document, list);
        for (id, place) in &listed {
            if !names.contains(&id) {
                let message = format!("{} has no case {}", quoted(&file.source.path), quoted(id));
                problems.push(document.wrong(place, message).help(suggestion(id, &names)));
            }
        }
        repeated(document, listed, "the case", problems);
    }
    let listed = |list: &str| -> Option<Vec<String>> { document.has(list).then(|| document.read(list))? };
    let (only, except) = (listed(&only), listed(&except).unwrap_or_default());
    let any = !available.is_empty();
    let selected: Vec<Selected> = available
        .into_iter()
        .filter(|(id, _)| only.as_ref().is_none_or(|only| only.contains(id)) && !except.contains(id))
        .map(|(id, pointer)| Selected {
            id,
            place: file.place(&pointer),
        })
        .collect();
    if any && selected.is_empty() {
        let none = document.wrong_part(
            entry,
            format!("this leaves no case of {}", quoted(&file.source.path)),
        );
        problems.push(none.help("leave out fewer of its cases, or remove the file"));
    }
    selected
}

/// Reports every case that has the id of an earlier one from another list of the same manifest.
pub(in crate::manifest) fn unique_ids(cases: &[Selected], problems: &mut Vec<Diagnostic>) {
    let mut first: HashMap<&str, &Selected> = HashMap::new();
    for case in cases {
        let Some(earlier) = first.get(case.id.as_str()) else {
            first.insert(&case.id, case);
            continue;
        };
        // Within one list it is reported by `case_list`.
        if earlier.place.source != case.place.source || earlier.place.range == case.place.range {
            let message = format!("this manifest asks two cases named {}", quoted(&case.id));
            let twice = Diagnostic::error(message)
                .at(case.place.clone(), "one here")
                .see(earlier.place.clone(), "another here");
            problems.push(twice.help("rename one of them, or leave it out by `except`"));
        }
    }
}

/// The manifest's own cases as a selection.
pub(in crate::manifest) fn own(document: &Document) -> Vec<Selected> {
    ids(document, "/cases/own")
        .into_iter()
        .map(|(id, pointer)| Selected {
            id,
            place: document.place(&pointer),
        })
        .collect()
}
