//! Answers of both generation endpoints, in the harness's words.
//!
//! Nothing is guessed: what was asked for and is not there is an error, what this version does not tell is absent.
//! Maps of logprobs are read in the order in which they stand: in a prompt's position the token itself comes first.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use reqwest::Url;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::error::ClientError;
use crate::{
    manifest::ToolCall,
    vllm::{Answer, FinishReason, Position, Prompt, Request, TokenLogprob, Usage},
};

/// What `return_tokens_as_token_ids` puts before an id.
const ID_PREFIX: &str = "token_id:";

/// Body of an answer, of either endpoint.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// On the chat endpoint; the other has it in the choice.
    prompt_logprobs: Option<PromptLogprobs>,
    prompt_token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    text: Option<String>,
    message: Option<Said>,
    logprobs: Option<OutputTokens>,
    finish_reason: Option<FinishReason>,
    prompt_logprobs: Option<PromptLogprobs>,
    prompt_token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Deserialize)]
struct Said {
    content: Option<String>,
    /// From 0.11.2 on.
    reasoning: Option<String>,
    /// Up to 0.15.
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
struct Call {
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

/// Logprobs of the output, in the shape of either endpoint.
#[derive(Debug, Deserialize)]
struct OutputTokens {
    content: Option<Vec<ChatToken>>,
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f64>>>,
    top_logprobs: Option<Vec<Option<Ordered<Logprob>>>>,
}

#[derive(Debug, Deserialize)]
struct ChatToken {
    token: String,
    logprob: Logprob,
    #[serde(default)]
    top_logprobs: Vec<ChatAlternative>,
}

#[derive(Debug, Deserialize)]
struct ChatAlternative {
    token: String,
    logprob: Logprob,
}

type PromptLogprobs = Vec<Option<Ordered<PromptToken>>>;

#[derive(Debug, Deserialize)]
struct PromptToken {
    logprob: Logprob,
    rank: Option<u64>,
}

/// A logprob. JSON has no NaN: servers write `null` in its place, and it is read as NaN, so that whoever compares it
/// finds it and says where.
#[derive(Debug, Clone, Copy)]
struct Logprob(f64);

impl<'de> Deserialize<'de> for Logprob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(deserializer)?.unwrap_or(f64::NAN)))
    }
}

/// A JSON object in the order of its text.
#[derive(Debug)]
struct Ordered<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Reads the answer to `request` out of its body.
pub(super) fn read(body: Body, request: &Request, url: &Url) -> Result<Answer, ClientError> {
    let missing = |field: &str| ClientError::missing(url, field);
    let mut choices = body.choices.into_iter();
    let choice = choices.next().ok_or_else(|| missing("choices[0]"))?;
    let finish = choice
        .finish_reason
        .ok_or_else(|| missing("choices[0].finish_reason"))?;
    let (mut positions, mut echoed) = (Vec::new(), None);
    match (request.prompt_logprobs, request.top_logprobs, choice.logprobs) {
        (Some(top), _, Some(logprobs)) if request.echo => {
            echoed = Some(listed_positions(logprobs, top, url)?);
        }
        (_, Some(top), Some(logprobs)) => {
            positions = output_positions(logprobs, top, url)?;
        }
        (_, Some(_), None) => return Err(missing("choices[0].logprobs")),
        (Some(_), _, None) if request.echo => return Err(missing("choices[0].logprobs")),
        _ => {}
    }
    let prompt_ids = match &request.prompt {
        Prompt::TokenIds(ids) => Some(ids.clone()),
        _ => body.prompt_token_ids.or(choice.prompt_token_ids),
    };
    let found = body.prompt_logprobs.or(choice.prompt_logprobs);
    let prompt_positions = match (request.prompt_logprobs, echoed, found) {
        (None, ..) => Vec::new(),
        (Some(_), Some(echoed), _) => echoed,
        (Some(top), None, Some(found)) => prompt_positions(found, prompt_ids.as_deref(), top, url)?,
        (Some(_), None, None) => return Err(missing("prompt_logprobs")),
    };
    let (text, reasoning, tool_calls) = match (choice.text, choice.message) {
        (Some(text), _) => (text, None, Vec::new()),
        (None, Some(said)) => spoken(said),
        (None, None) => return Err(missing("choices[0].message")),
    };
    Ok(Answer {
        text,
        reasoning,
        tool_calls,
        finish,
        usage: body.usage,
        positions,
        prompt_positions,
        prompt_ids,
    })
}

/// Text, thought and calls of a message. A call whose arguments are not a JSON object is no call: it stays in the
/// text as the model wrote it, for the graders to refuse.
fn spoken(said: Said) -> (String, Option<String>, Vec<ToolCall>) {
    let mut text = said.content.unwrap_or_default();
    let mut calls = Vec::new();
    for Call {
        function: Function { name, arguments },
    } in said.tool_calls.unwrap_or_default()
    {
        match serde_json::from_str::<BTreeMap<String, Value>>(&arguments) {
            Ok(arguments) => calls.push(ToolCall { name, arguments }),
            Err(_) => text.extend([&name, "(", &arguments, ")"]),
        }
    }
    (text, said.reasoning.or(said.reasoning_content), calls)
}

fn output_positions(logprobs: OutputTokens, top: u8, url: &Url) -> Result<Vec<Position>, ClientError> {
    if let Some(content) = logprobs.content {
        return content
            .into_iter()
            .map(|token| chat_position(&token, url))
            .collect();
    }
    listed_positions(logprobs, top, url)?
        .into_iter()
        .map(|position| {
            position.ok_or_else(|| ClientError::missing(url, "choices[0].logprobs.token_logprobs[]"))
        })
        .collect()
}

/// The parallel lists of a completion; a token without a logprob (the first of an echoed prompt) has no position.
fn listed_positions(
    logprobs: OutputTokens,
    top: u8,
    url: &Url,
) -> Result<Vec<Option<Position>>, ClientError> {
    let field = |name: &str| ClientError::missing(url, &format!("choices[0].logprobs.{name}"));
    let tokens = logprobs.tokens.ok_or_else(|| field("tokens"))?;
    let values = logprobs.token_logprobs.ok_or_else(|| field("token_logprobs"))?;
    let tops = logprobs.top_logprobs.ok_or_else(|| field("top_logprobs"))?;
    if tokens.len() != values.len() || tokens.len() != tops.len() {
        let counts = format!("{} / {} / {} entries", tokens.len(), values.len(), tops.len());
        let expected = "tokens, token_logprobs and top_logprobs of one length";
        return Err(ClientError::bad_value(
            url,
            "choices[0].logprobs",
            &counts,
            expected,
        ));
    }
    let mut positions = Vec::with_capacity(tokens.len());
    for ((token, value), alternatives) in tokens.iter().zip(values).zip(tops) {
        let Some(logprob) = value else {
            positions.push(None);
            continue;
        };
        let token = TokenLogprob {
            id: token_id(token, url)?,
            logprob,
        };
        let mut likeliest = Vec::new();
        for (text, Logprob(logprob)) in alternatives.map(|map| map.0).unwrap_or_default() {
            likeliest.push(TokenLogprob {
                id: token_id(&text, url)?,
                logprob,
            });
        }
        // vLLM adds the chosen token to the likeliest where it is not among them.
        likeliest.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
        likeliest.truncate(usize::from(top));
        positions.push(Some(Position {
            token,
            top: likeliest,
        }));
    }
    Ok(positions)
}

fn chat_position(token: &ChatToken, url: &Url) -> Result<Position, ClientError> {
    let mut top = Vec::with_capacity(token.top_logprobs.len());
    for alternative in &token.top_logprobs {
        top.push(TokenLogprob {
            id: token_id(&alternative.token, url)?,
            logprob: alternative.logprob.0,
        });
    }
    top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
    let token = TokenLogprob {
        id: token_id(&token.token, url)?,
        logprob: token.logprob.0,
    };
    Ok(Position { token, top })
}

fn token_id(token: &str, url: &Url) -> Result<u32, ClientError> {
    token
        .strip_prefix(ID_PREFIX)
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| ClientError::bad_value(url, "choices[0].logprobs", token, "`token_id:` and a number"))
}

/// Positions of the prompt. Each map holds the prompt's own token first, then the likeliest by rank.
fn prompt_positions(
    found: PromptLogprobs,
    ids: Option<&[u32]>,
    top: u8,
    url: &Url,
) -> Result<Vec<Option<Position>>, ClientError> {
    let mut positions = Vec::with_capacity(found.len());
    for (index, entry) in found.into_iter().enumerate() {
        let Some(Ordered(entries)) = entry else {
            positions.push(None);
            continue;
        };
        let mut tokens = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            let id = key
                .parse()
                .map_err(|_| ClientError::bad_value(url, "prompt_logprobs", &key, "a token id"))?;
            tokens.push((
                TokenLogprob {
                    id,
                    logprob: entry.logprob.0,
                },
                entry.rank,
            ));
        }
        let own = ids.and_then(|ids| ids.get(index));
        let token = tokens
            .iter()
            .map(|(token, _)| *token)
            .find(|token| own.is_none_or(|own| token.id == *own));
        let token = token.ok_or_else(|| ClientError::missing(url, &format!("prompt_logprobs[{index}]")))?;
        tokens.retain(|(_, rank)| rank.is_none_or(|rank| rank <= u64::from(top)));
        tokens.sort_by(|(a, _), (b, _)| b.logprob.total_cmp(&a.logprob));
        let top = tokens
            .into_iter()
            .map(|(token, _)| token)
            .take(usize::from(top))
            .collect();
        positions.push(Some(Position { token, top }));
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("http://127.0.0.1:1/").unwrap()
    }

    fn answer(request: &Request, body: &str) -> Result<Answer, ClientError> {
        read(serde_json::from_str(body).unwrap(), request, &url())
    }

    fn asked(top: Option<u8>, prompt: Option<u8>) -> Request {
        let mut request = Request::greedy(Prompt::Text("x".into()), 4);
        request.top_logprobs = top;
        request.prompt_logprobs = prompt;
        request
    }

    #[test]
    fn completion_logprobs_become_positions_with_the_likeliest_first() {
        let body = r#"{"choices":[{"text":" Paris.","finish_reason":"length","logprobs":{
            "tokens":["token_id:7","token_id:3"],"token_logprobs":[-2.0,-0.5],
            "top_logprobs":[{"token_id:7":-2.0,"token_id:9":-0.25,"token_id:8":-1.0},{"token_id:3":-0.5,"token_id:4":-0.5}]}}],
            "usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}"#;
        let answer = answer(&asked(Some(2), None), body).unwrap();
        let ids = |position: &Position| position.top.iter().map(|token| token.id).collect::<Vec<_>>();
        assert_eq!(answer.positions[0].token, TokenLogprob { id: 7, logprob: -2.0 });
        assert_eq!(ids(&answer.positions[0]), [9, 8]);
        assert_eq!(
            ids(&answer.positions[1]),
            [3, 4],
            "ties stay in the server's order"
        );
        assert_eq!(answer.usage.unwrap().completion_tokens, 2);
        assert_eq!(answer.finish, FinishReason::Length);
    }

    #[test]
    fn a_prompts_token_comes_first_and_may_be_unlikely() {
        let body = r#"{"choices":[{"text":"","finish_reason":"length","prompt_logprobs":[null,
            {"3575":{"logprob":-10.6,"rank":3774},"29":{"logprob":-2.0,"rank":1},"79":{"logprob":-3.1,"rank":2}},
            {"282":{"logprob":-0.4,"rank":1},"2240":{"logprob":-2.0,"rank":2}}]}]}"#;
        let positions = answer(&asked(None, Some(2)), body).unwrap().prompt_positions;
        assert_eq!(positions[0], None);
        let second = positions[1].as_ref().unwrap();
        assert_eq!((second.token.id, second.token.logprob), (3575, -10.6));
        assert_eq!(
            second.top.iter().map(|token| token.id).collect::<Vec<_>>(),
            [29, 79]
        );
        assert_eq!(positions[2].as_ref().unwrap().token.id, 282);
    }

    #[test]
    fn an_echoed_prompt_has_positions_from_its_second_token_on() {
        let body = r#"{"choices":[{"text":"x","finish_reason":"length","logprobs":{
            "tokens":["token_id:7","token_id:3"],"token_logprobs":[null,-2.5],
            "top_logprobs":[null,{"token_id:3":-2.5,"token_id:4":-0.5,"token_id:5":-1.5}]}}]}"#;
        let answer = answer(&Request::scoring(vec![7, 3], 2, true), body).unwrap();
        assert!(answer.positions.is_empty());
        assert_eq!(answer.prompt_positions[0], None);
        let second = answer.prompt_positions[1].as_ref().unwrap();
        assert_eq!((second.token.id, second.top[0].id, second.top.len()), (3, 4, 2));
    }

    #[test]
    fn a_null_logprob_is_not_a_number() {
        let body = r#"{"choices":[{"text":"x","finish_reason":"length","prompt_logprobs":[null,
            {"3":{"logprob":null,"rank":1},"4":{"logprob":-0.5,"rank":2}}]}]}"#;
        let answer = answer(&Request::scoring(vec![7, 3], 2, false), body).unwrap();
        assert!(
            answer.prompt_positions[1]
                .as_ref()
                .unwrap()
                .token
                .logprob
                .is_nan()
        );
    }

    #[test]
    fn thought_is_read_under_both_names() {
        let body = |fields: &str| {
            format!(
                r#"{{"choices":[{{"message":{{"role":"assistant","content":"4",{fields}}},"finish_reason":"stop"}}]}}"#
            )
        };
        for fields in [
            r#""reasoning_content":"2+2""#,
            r#""reasoning":"2+2""#,
            r#""reasoning":"2+2","reasoning_content":"2+2""#,
        ] {
            let answer = answer(&asked(None, None), &body(fields)).unwrap();
            assert_eq!(
                (answer.text.as_str(), answer.reasoning.as_deref()),
                ("4", Some("2+2"))
            );
        }
    }

    #[test]
    fn calls_are_read_and_broken_ones_stay_text() {
        let body = r#"{"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[
            {"id":"a","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Paris\"}"}},
            {"id":"b","type":"function","function":{"name":"weather","arguments":"{\"city\": "}}]}}]}"#;
        let answer = answer(&asked(None, None), body).unwrap();
        assert_eq!(answer.tool_calls.len(), 1);
        assert_eq!(answer.tool_calls[0].arguments["city"], "Paris");
        assert_eq!(answer.text, "weather({\"city\": )");
        assert_eq!(answer.finish, FinishReason::ToolCalls);
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            (asked(None, None), r#"{"choices":[]}"#),
            (
                asked(None, None),
                r#"{"choices":[{"text":"x","finish_reason":null}]}"#,
            ),
            (asked(None, None), r#"{"choices":[{"finish_reason":"stop"}]}"#),
            (
                asked(Some(1), None),
                r#"{"choices":[{"text":"x","finish_reason":"stop","logprobs":null}]}"#,
            ),
            (
                asked(None, Some(1)),
                r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#,
            ),
            (
                asked(Some(1), None),
                r#"{"choices":[{"text":"x","finish_reason":"stop","logprobs":{"tokens":["x"],"token_logprobs":[-1],"top_logprobs":[{}]}}]}"#,
            ),
            (
                asked(Some(1), None),
                r#"{"choices":[{"text":"x","finish_reason":"stop","logprobs":{"tokens":[],"token_logprobs":[-1],"top_logprobs":[{}]}}]}"#,
            ),
            (
                asked(None, Some(1)),
                r#"{"choices":[{"text":"x","finish_reason":"stop","prompt_logprobs":[{"x":{"logprob":-1}}]}]}"#,
            ),
        ];
        let told: Vec<String> = cases
            .iter()
            .map(|(request, body)| answer(request, body).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
