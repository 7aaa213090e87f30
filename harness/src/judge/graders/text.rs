//! Graders of plain text: `exact`, `contains`, `regex`, `image_words`.

use super::{Said, brief};
use crate::manifest::{Contains, Exact, ImageWords, Regex};

pub fn exact(wanted: &Exact, text: &str) -> Said {
    let text = text.trim();
    let same = |one: &String| {
        let one = one.trim();
        one == text || (!wanted.case_sensitive && one.to_lowercase() == text.to_lowercase())
    };
    if wanted.any.iter().any(same) {
        Said::Right(format!("is {}", brief(text)))
    } else {
        Said::Wrong(format!("wanted {}, is {}", either(&wanted.any), brief(text)))
    }
}

pub fn contains(wanted: &Contains, text: &str) -> Said {
    let lower = text.to_lowercase();
    let holds = |one: &&String| lower.contains(&one.to_lowercase());
    let missing: Vec<_> = wanted
        .all
        .iter()
        .filter(|one| !holds(one))
        .map(|one| brief(one))
        .collect();
    if !missing.is_empty() {
        return Said::Wrong(format!("wanted {}, not found", missing.join(" and ")));
    }
    if !wanted.any.is_empty() && !wanted.any.iter().any(|one| holds(&one)) {
        return Said::Wrong(format!("wanted {}, not found", either(&wanted.any)));
    }
    match wanted.none.iter().find(holds) {
        Some(unwanted) => Said::Wrong(format!("{} is not wanted, yet found", brief(unwanted))),
        None => Said::Right("holds what is wanted".to_owned()),
    }
}

pub fn regex(wanted: &Regex, text: &str) -> Said {
    match regex::Regex::new(&wanted.pattern) {
        Err(error) => Said::NotRun(format!("the case's pattern is broken: {error}")),
        Ok(pattern) => match pattern.find(text) {
            Some(found) => Said::Right(format!("matches at {}", brief(found.as_str()))),
            None => Said::Wrong(format!("wanted a match of `{}`, found none", wanted.pattern)),
        },
    }
}

pub fn image_words(wanted: &ImageWords, text: &str) -> Said {
    let lower = text.to_lowercase();
    let missing: Vec<_> = wanted
        .all
        .iter()
        .filter(|names| !names.iter().any(|name| holds_word(&lower, &name.to_lowercase())))
        .map(|names| either(names))
        .collect();
    if missing.is_empty() {
        Said::Right("names what the image shows".to_owned())
    } else {
        Said::Wrong(format!(
            "the image shows {}, which the answer does not name",
            missing.join(" and ")
        ))
    }
}

/// Whether the word stands in the text as a word of its own, in the singular or with an `s`; a word that is not
/// ASCII (Chinese has no blanks) may stand anywhere.
fn holds_word(text: &str, word: &str) -> bool {
    if word.is_empty() || !word.is_ascii() {
        return !word.is_empty() && text.contains(word);
    }
    let joins = |c: char| c.is_ascii_alphanumeric();
    text.match_indices(word).any(|(at, _)| {
        let after = &text[at + word.len()..];
        let after = after
            .strip_prefix("es")
            .or(after.strip_prefix('s'))
            .filter(|rest| !rest.starts_with(joins))
            .unwrap_or(after);
        !text[..at].ends_with(joins) && !after.starts_with(joins)
    })
}

fn either(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| brief(text)).collect();
    quoted.join(" or ")
}
