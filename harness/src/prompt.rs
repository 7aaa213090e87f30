//! From a case to the prompt that a model gets, by the endpoint it is asked through.
//!
//! A base model gets a case as a question to be continued; a chat model gets turns. A case that needs what a model
//! lacks is not asked, and the reason is said.

use crate::{
    manifest::{Case, Endpoint, Haystack, Manifest, Modality},
    vllm::{Message, Prompt, Role},
};

/// Filler sentences of a haystack; numbered, so that none repeats.
const FILLER: [&str; 6] = [
    "The gardener of house {n} waters the roses before breakfast.",
    "Train {n} left the station two minutes late and arrived on time.",
    "In room {n} the clock is wound on the first day of each month.",
    "Ship {n} carried oranges, timber and letters along the coast.",
    "The baker in street {n} sells bread with caraway on market days.",
    "Page {n} of the almanac describes the weather of a mild winter.",
];

/// The question as the user's message ends with it.
pub fn question(case: &Case) -> String {
    case.prompt.trim().to_owned()
}

/// The question as a base model's prompt ends with it.
pub fn completion(case: &Case) -> String {
    match &case.completion {
        Some(text) => text.clone(),
        None => format!("Question: {}\nAnswer:", case.prompt.trim()),
    }
}

/// Texts that end the answer: the case's own, and for a base model the beginning of a further question.
pub fn stops(case: &Case, endpoint: Endpoint) -> Vec<String> {
    let mut stops = case.stop.clone();
    if endpoint == Endpoint::Completions && case.completion.is_none() {
        stops.push("\nQuestion:".to_owned());
    }
    stops
}

/// The prompt of a case. `haystack` is the filler text, `images` the bytes of the case's pictures.
pub fn build(case: &Case, endpoint: Endpoint, haystack: Option<&str>, images: Vec<Vec<u8>>) -> Prompt {
    let behind = |question: String| match haystack {
        Some(text) => format!("{text}\n\n{question}"),
        None => question,
    };
    if endpoint == Endpoint::Completions {
        return Prompt::Text(behind(completion(case)));
    }
    let turn = |role, text: &str| Message {
        role,
        text: text.to_owned(),
        images: Vec::new(),
    };
    let mut turns: Vec<Message> = case.system.iter().map(|text| turn(Role::System, text)).collect();
    let speakers = [Role::User, Role::Assistant].into_iter().cycle();
    turns.extend(
        case.history
            .iter()
            .zip(speakers)
            .map(|(text, role)| turn(role, text)),
    );
    turns.push(Message {
        role: Role::User,
        text: behind(question(case)),
        images,
    });
    Prompt::Chat(turns)
}

/// Why this model cannot be asked this case, if so.
pub fn cannot_ask(case: &Case, manifest: &Manifest) -> Option<String> {
    let model = &manifest.model;
    if !case.images.is_empty() && !model.modalities.contains(&Modality::Image) {
        return Some("the model sees no images".to_owned());
    }
    if !case.tools.is_empty() && model.tool_parser.is_none() {
        return Some("the model calls no tools".to_owned());
    }
    if model.endpoint == Endpoint::Completions && (case.system.is_some() || !case.history.is_empty()) {
        return Some("a base model has no chat turns".to_owned());
    }
    let room = manifest.serve.max_model_len.saturating_sub(case.max_tokens);
    match &case.haystack {
        // The question itself and the template need room too.
        Some(haystack) if haystack.tokens.saturating_add(256) > room => Some(format!(
            "a haystack of {} tokens does not fit into max_model_len {}",
            haystack.tokens, manifest.serve.max_model_len
        )),
        _ => None,
    }
}

/// Filler of `sentences` sentences with the needle at its depth.
pub fn haystack(wanted: &Haystack, sentences: usize) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "depth lies within 0 and 1"
    )]
    let place = (wanted.depth.clamp(0.0, 1.0) * sentences as f64).round() as usize;
    let filler = |n: usize| FILLER[n % FILLER.len()].replace("{n}", &(100 + n).to_string());
    let before = (0..place.min(sentences)).map(filler);
    let behind = (place..sentences).map(filler);
    before
        .chain([wanted.needle.trim().to_owned()])
        .chain(behind)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        serde_json::from_value(serde_json::json!({
            "id": "sum", "prompt": " What is 2 + 2? ", "max_tokens": 8, "stop": ["."],
            "system": "Be brief.", "history": ["Hello.", "Hello!"], "grade": {"number": {"value": 4}}
        }))
        .unwrap()
    }

    #[test]
    fn a_chat_has_turns_and_the_picture_comes_last() {
        let Prompt::Chat(turns) = build(&case(), Endpoint::Chat, None, vec![vec![1, 2]]) else {
            panic!()
        };
        let said: Vec<(Role, &str)> = turns.iter().map(|turn| (turn.role, turn.text.as_str())).collect();
        assert_eq!(
            said,
            [
                (Role::System, "Be brief."),
                (Role::User, "Hello."),
                (Role::Assistant, "Hello!"),
                (Role::User, "What is 2 + 2?"),
            ]
        );
        assert_eq!(turns[3].images, [[1, 2]]);
        assert_eq!(stops(&case(), Endpoint::Chat), ["."]);
    }

    #[test]
    fn a_base_model_continues() {
        let prompt = build(&case(), Endpoint::Completions, Some("Filler."), Vec::new());
        assert_eq!(
            prompt,
            Prompt::Text("Filler.\n\nQuestion: What is 2 + 2?\nAnswer:".into())
        );
        assert_eq!(stops(&case(), Endpoint::Completions), [".", "\nQuestion:"]);
        let own = Case {
            completion: Some("def f(".into()),
            ..case()
        };
        assert_eq!(completion(&own), "def f(");
        assert_eq!(stops(&own, Endpoint::Completions), ["."]);
    }

    #[test]
    fn the_needle_lies_at_its_depth() {
        let at = |depth| {
            let text = haystack(
                &Haystack {
                    tokens: 64,
                    needle: "NEEDLE".into(),
                    depth,
                },
                10,
            );
            (
                text.find("NEEDLE").unwrap() as f64 / (text.len() - 6) as f64,
                text,
            )
        };
        assert_eq!(at(0.0).0, 0.0);
        assert_eq!(at(1.0).0, 1.0);
        let (place, text) = at(0.5);
        assert!((0.4..0.6).contains(&place), "{place}");
        assert_eq!(text.matches('.').count(), 10);
    }
}
