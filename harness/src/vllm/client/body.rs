//! Requests as JSON bodies. What differs between versions is asked of the [`Dialect`]; everything that vLLM would
//! otherwise take from the model's `generation_config.json` is pinned.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::vllm::{Dialect, Message, Prompt, Request, Role, StructuredField};

/// Path and body of a request.
pub(super) fn generation(
    request: &Request,
    model: &str,
    dialect: Dialect,
    stream: bool,
) -> (&'static str, Value) {
    let mut body = pinned(request, model);
    if stream {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    if let Some(count) = request.prompt_logprobs {
        if request.echo {
            body.insert("echo".into(), true.into());
            body.insert("logprobs".into(), count.into());
        } else {
            body.insert("prompt_logprobs".into(), count.into());
        }
    }
    if request.top_logprobs.is_some() || request.echo {
        // Ids tell tokens apart that share a text, and every version gives them this way.
        body.insert("return_tokens_as_token_ids".into(), true.into());
    }
    if dialect.token_ids && (request.top_logprobs.is_some() || request.prompt_logprobs.is_some()) {
        body.insert("return_token_ids".into(), true.into());
    }
    let path = match &request.prompt {
        Prompt::Chat(messages) => {
            chat(&mut body, request, messages);
            "/v1/chat/completions"
        }
        Prompt::Text(text) => {
            completion(&mut body, request, dialect, text.as_str().into());
            "/v1/completions"
        }
        Prompt::TokenIds(ids) => {
            completion(&mut body, request, dialect, ids.as_slice().into());
            "/v1/completions"
        }
    };
    (path, Value::Object(body))
}

fn pinned(request: &Request, model: &str) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert("max_tokens".into(), request.max_tokens.into());
    body.insert("n".into(), 1.into());
    body.insert("seed".into(), request.seed.into());
    body.insert("temperature".into(), 0.into());
    body.insert("top_p".into(), 1.into());
    body.insert("top_k".into(), (-1).into());
    body.insert("min_p".into(), 0.into());
    body.insert("repetition_penalty".into(), 1.into());
    body.insert("presence_penalty".into(), 0.into());
    body.insert("frequency_penalty".into(), 0.into());
    if request.ignore_eos {
        body.insert("ignore_eos".into(), true.into());
    }
    if !request.stop.is_empty() {
        body.insert("stop".into(), request.stop.as_slice().into());
    }
    body
}

fn chat(body: &mut Map<String, Value>, request: &Request, said: &[Message]) {
    body.insert("messages".into(), messages(said));
    if let Some(count) = request.top_logprobs {
        body.insert("logprobs".into(), true.into());
        body.insert("top_logprobs".into(), count.into());
    }
    if !request.tools.is_empty() {
        let tools = request
            .tools
            .iter()
            .map(|tool| json!({ "type": "function", "function": tool }));
        body.insert("tools".into(), tools.collect());
        body.insert("tool_choice".into(), "auto".into());
    }
    if let Some(schema) = &request.structured {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
        body.insert("response_format".into(), format);
    }
    if let Some(thinking) = request.thinking {
        body.insert("chat_template_kwargs".into(), thinking_switch(thinking));
    }
}

fn completion(body: &mut Map<String, Value>, request: &Request, dialect: Dialect, prompt: Value) {
    body.insert("prompt".into(), prompt);
    if let Some(count) = request.top_logprobs {
        body.insert("logprobs".into(), count.into());
    }
    if let Some(schema) = &request.structured {
        // Early versions take no json_schema as `response_format` on this endpoint.
        let (field, value) = match dialect.structured {
            StructuredField::GuidedJson => ("guided_json", schema.clone()),
            StructuredField::StructuredOutputs => ("structured_outputs", json!({ "json": schema })),
        };
        body.insert(field.into(), value);
    }
}

/// Turns as the chat endpoints take them. Text alone stays a string: some templates know nothing else.
pub(super) fn messages(messages: &[Message]) -> Value {
    messages.iter().map(message).collect()
}

/// The `chat_template_kwargs` that switch a model's thinking on or off.
pub(super) fn thinking_switch(thinking: bool) -> Value {
    json!({ "enable_thinking": thinking })
}

/// JSON as Python's encoder may write it, without what JSON has not: NaN becomes `null`, an infinity the largest number.
/// `None` where there is nothing of it outside of strings.
pub(super) fn without_nan(text: &str) -> Option<String> {
    let words = [("-Infinity", "-1e308"), ("Infinity", "1e308"), ("NaN", "null")];
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut inside, mut found) = (text, false, false);
    while let Some(next) = rest.chars().next() {
        let word = words.iter().find(|(word, _)| !inside && rest.starts_with(word));
        if let Some((word, number)) = word {
            out.push_str(number);
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        let escaped = rest.chars().nth(1).filter(|_| inside && next == '\\');
        inside ^= next == '"';
        let taken = next.len_utf8() + escaped.map_or(0, char::len_utf8);
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    found.then_some(out)
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    if message.images.is_empty() {
        return json!({ "role": role, "content": message.text });
    }
    let images = message.images.iter().map(|png| {
        let url = format!("data:image/png;base64,{}", STANDARD.encode(png));
        json!({ "type": "image_url", "image_url": { "url": url } })
    });
    let text = json!({ "type": "text", "text": message.text });
    let content: Vec<Value> = images.chain([text]).collect();
    json!({ "role": role, "content": content })
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::manifest::Tool;

    fn body(request: &Request, version: &str, stream: bool) -> String {
        let dialect = Dialect::of(&Version::parse(version).unwrap());
        let (path, body) = generation(request, "m", dialect, stream);
        format!("POST {path}\n{}", serde_json::to_string_pretty(&body).unwrap())
    }

    fn said(role: Role, text: &str, images: Vec<Vec<u8>>) -> Message {
        Message {
            role,
            text: text.into(),
            images,
        }
    }

    #[test]
    fn a_full_chat_request() {
        let messages = vec![
            said(Role::System, "Be brief.", Vec::new()),
            said(Role::User, "What is this?", vec![vec![0x89, b'P', b'N', b'G']]),
        ];
        let mut request = Request::greedy(Prompt::Chat(messages), 64);
        request.stop = vec!["\n\n".into()];
        request.top_logprobs = Some(5);
        request.prompt_logprobs = Some(1);
        request.thinking = Some(false);
        request.structured = Some(json!({ "type": "object" }));
        request.tools = vec![Tool {
            name: "weather".into(),
            description: "Weather of a city.".into(),
            parameters: json!({ "type": "object" }),
        }];
        insta::assert_snapshot!(body(&request, "0.12.0", false));
    }

    #[test]
    fn numbers_that_json_has_not_are_replaced_outside_of_strings() {
        let python = r#"{"a": NaN, "NaN \" NaN": [-Infinity, Infinity], "b": "长 \\"}"#;
        let json = r#"{"a": null, "NaN \" NaN": [-1e308, 1e308], "b": "长 \\"}"#;
        assert_eq!(without_nan(python).as_deref(), Some(json));
        assert_eq!(without_nan(r#"{"a": "NaN"}"#), None);
        assert_eq!(without_nan(r#"{"a": "cut \"#), None);
    }

    #[test]
    fn a_stream_to_fixed_length() {
        let mut request = Request::greedy(Prompt::TokenIds(vec![1, 2]), 8);
        request.ignore_eos = true;
        request.seed = 7;
        insta::assert_snapshot!(body(&request, "0.12.0", true));
    }

    #[test]
    fn the_schema_goes_where_the_version_looks_for_it() {
        let mut request = Request::greedy(Prompt::Text("x".into()), 8);
        request.structured = Some(json!({ "type": "object" }));
        let old = body(&request, "0.10.2", false);
        assert!(
            old.contains("\"guided_json\": {\n") && !old.contains("structured_outputs"),
            "{old}"
        );
        let new = body(&request, "0.12.0", false);
        assert!(
            new.contains("\"structured_outputs\": {\n") && !new.contains("guided_json"),
            "{new}"
        );
    }

    #[test]
    fn a_sequence_is_scored_in_either_way() {
        let both = [false, true].map(|echo| body(&Request::scoring(vec![1, 2], 20, echo), "0.8.5", false));
        insta::assert_snapshot!(both.join("\n\n"));
    }

    #[test]
    fn token_ids_are_asked_for_only_where_they_are_known() {
        let mut request = Request::greedy(Prompt::Text("x".into()), 8);
        assert!(!body(&request, "0.12.0", false).contains("token_ids"));
        request.top_logprobs = Some(1);
        assert!(body(&request, "0.12.0", false).contains("return_token_ids"));
        let old = body(&request, "0.8.5", false);
        assert!(old.contains("return_tokens_as_token_ids") && !old.contains("return_token_ids"));
    }
}
