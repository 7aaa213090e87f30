//! Graders: whether each can work, and whether it can fail. A grader that accepts every answer tests nothing.

use jsonschema::{ValidationError, error::ValidationErrorKind as Fault};
use serde_json::Value;

use super::{Document, pattern, repeated, texts};
use crate::manifest::{
    diagnostics::Diagnostic,
    wording::{quoted, suggestion},
};

/// Checks the graders of the case at `case`.
pub(super) fn graders(document: &Document, case: &str, problems: &mut Vec<Diagnostic>) {
    let grade = format!("{case}/grade");
    texts_of(document, &grade, problems);
    contains(document, &grade, problems);
    regex(document, &grade, problems);
    choice(document, &grade, problems);
    tool_call(document, case, problems);
    image_words(document, case, problems);
    bounds(document, &grade, problems);
    for place in [
        format!("{grade}/json/schema"),
        format!("{grade}/tool_call/arguments"),
        format!("{case}/structured"),
    ] {
        json_schema(document, &place, problems);
    }
}

/// Empty texts, which every answer or none holds.
fn texts_of(document: &Document, grade: &str, problems: &mut Vec<Diagnostic>) {
    for list in ["exact/any", "contains/all", "contains/any", "contains/none"] {
        for (text, place) in texts(document, &format!("{grade}/{list}")) {
            if text.trim().is_empty() {
                let empty = document.wrong(&place, "an empty text grades nothing");
                problems.push(empty.help("write the text that a right answer has"));
            }
        }
    }
    let tests = format!("{grade}/code/tests");
    if document
        .read::<String>(&tests)
        .is_some_and(|tests| tests.trim().is_empty())
    {
        let empty = document.wrong(&tests, "an empty test program accepts any code");
        problems.push(empty.help("write assertions on the functions that the prompt asks for"));
    }
}

fn contains(document: &Document, grade: &str, problems: &mut Vec<Diagnostic>) {
    let place = format!("{grade}/contains");
    if document.is_empty_map(&place) {
        let empty = document.wrong_part(&place, "`contains` looks for nothing");
        problems.push(empty.help("give `all`, `any` or `none` a text"));
    }
}

fn regex(document: &Document, grade: &str, problems: &mut Vec<Diagnostic>) {
    let place = format!("{grade}/regex/pattern");
    let Some(pattern) = document.read::<String>(&place) else {
        return;
    };
    if let Err(error) = pattern::check(&pattern) {
        let message = format!("{} {error}", quoted(&pattern));
        problems.push(document.wrong(&place, message).help(error.help()));
    }
}

fn choice(document: &Document, grade: &str, problems: &mut Vec<Diagnostic>) {
    let [answer_place, among_place] = ["answer", "among"].map(|key| format!("{grade}/choice/{key}"));
    let (Some(answer), Some(among)) = (
        document.read::<String>(&answer_place),
        document.read::<String>(&among_place),
    ) else {
        return;
    };
    if answer.chars().count() == 1 && !among.contains(&answer) {
        let message = format!("the answer {} is not among {}", quoted(&answer), quoted(&among));
        let absent = document
            .wrong(&answer_place, message)
            .see(document.place(&among_place), "");
        problems.push(absent.help("write one of the letters offered, or offer this one"));
    }
    let letters = among.chars().map(|letter| (letter, among_place.clone()));
    repeated(document, letters, "the letter", problems);
}

fn tool_call(document: &Document, case: &str, problems: &mut Vec<Diagnostic>) {
    let tools: Vec<(String, String)> = document
        .items(&format!("{case}/tools"))
        .map(|tool| format!("{tool}/name"))
        .filter_map(|place| Some((document.read(&place)?, place)))
        .collect();
    for tool in document.items(&format!("{case}/tools")) {
        json_schema(document, &format!("{tool}/parameters"), problems);
    }
    let names: Vec<&String> = tools.iter().map(|(name, _)| name).collect();
    for call in ["grade/tool_call/name", "reference_call/name"] {
        let place = format!("{case}/{call}");
        let Some(name) = document.read::<String>(&place) else {
            continue;
        };
        if !names.contains(&&name) {
            let unknown = document.wrong(&place, format!("the case offers no tool {}", quoted(&name)));
            problems.push(match names.as_slice() {
                [] => unknown.help("offer it in `tools`"),
                names => unknown.help(suggestion(&name, names)),
            });
        }
    }
    repeated(document, tools, "the tool", problems);
}

fn image_words(document: &Document, case: &str, problems: &mut Vec<Diagnostic>) {
    let place = format!("{case}/grade/image_words");
    if document.has(&place) && document.items(&format!("{case}/images")).next().is_none() {
        let blind = document.wrong_part(
            &place,
            "`image_words` grades what an image shows, but the case shows none",
        );
        problems.push(blind.help("add `images`, or use `contains`"));
    }
    for group in document.items(&format!("{place}/all")) {
        let words: Option<Vec<String>> = document.read(&group);
        if words.is_some_and(|words| words.iter().all(|word| word.trim().is_empty())) {
            problems.push(
                document
                    .wrong(&group, "no word can name this thing")
                    .help("list the words that do"),
            );
        }
    }
}

fn bounds(document: &Document, grade: &str, problems: &mut Vec<Diagnostic>) {
    let place = format!("{grade}/no_repetition/max_share");
    if document.read::<f64>(&place) == Some(1.0) {
        let free = document.wrong(&place, "a share of 1 allows an answer that only repeats itself");
        problems.push(free.help("a share below 1, such as 0.3, can be exceeded"));
    }
}

fn json_schema(document: &Document, place: &str, problems: &mut Vec<Diagnostic>) {
    let Some(schema) = document.read::<Value>(place) else {
        return;
    };
    if let Err(error) = jsonschema::validator_for(&schema) {
        let error = innermost(&error);
        // The mistake is inside the schema: point there.
        let inside = format!("{place}{}", error.instance_path().as_str());
        let message = format!("this is not a JSON schema: {}", error.masked_with("this value"));
        problems.push(
            document
                .wrong(&inside, message)
                .help("see https://json-schema.org/draft/2020-12"),
        );
    }
}

/// Of an error about alternatives, the one about the alternative that has at least the right type.
fn innermost<'a, 'b>(error: &'b ValidationError<'a>) -> &'b ValidationError<'a> {
    let (Fault::AnyOf { context } | Fault::OneOfNotValid { context }) = error.kind() else {
        return error;
    };
    let fitting = context
        .iter()
        .flatten()
        .find(|inner| !matches!(inner.kind(), Fault::Type { .. }));
    fitting.map_or(error, innermost)
}
