//! Keys of answers and words of errors, by release, as real servers gave them.

use serde_json::{Value, json};

use crate::server::{Server, plan};

/// Keys in the order of the text.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<_> = names.split_whitespace().collect();
    names.sort_unstable();
    names
}

struct Shapes {
    completion: &'static str,
    completion_choice: &'static str,
    completion_chunk: &'static str,
    completion_chunk_choice: &'static str,
    chat: &'static str,
    chat_choice: &'static str,
    message: &'static str,
    role_chunk: &'static str,
    delta: &'static str,
    chunk_choice: &'static str,
    tokenize: &'static str,
}

const FIRST: Shapes = Shapes {
    completion: "id object created model choices usage",
    completion_choice: "index text logprobs finish_reason stop_reason prompt_logprobs",
    completion_chunk: "id object created model choices usage",
    completion_chunk_choice: "index text logprobs finish_reason stop_reason",
    chat: "id object created model choices usage prompt_logprobs",
    chat_choice: "index message logprobs finish_reason stop_reason",
    message: "role reasoning_content content tool_calls",
    role_chunk: "id object created model choices",
    delta: "content",
    chunk_choice: "index delta logprobs finish_reason",
    tokenize: "count max_model_len tokens",
};

const LATER: Shapes = Shapes {
    completion: "id object created model choices service_tier system_fingerprint usage kv_transfer_params",
    completion_choice: "index text logprobs finish_reason stop_reason token_ids prompt_logprobs prompt_token_ids",
    completion_chunk: "id object created model choices usage",
    completion_chunk_choice: "index text logprobs finish_reason stop_reason prompt_token_ids token_ids",
    chat: "id object created model choices service_tier system_fingerprint usage prompt_logprobs prompt_token_ids kv_transfer_params",
    chat_choice: "index message logprobs finish_reason stop_reason token_ids",
    message: "role content refusal annotations audio function_call tool_calls reasoning reasoning_content",
    role_chunk: "id object created model choices prompt_token_ids",
    delta: "content reasoning_content",
    chunk_choice: "index delta logprobs finish_reason token_ids",
    tokenize: "count max_model_len tokens token_strs",
};

async fn check(server: &Server, shapes: &Shapes) {
    let answer = server
        .complete(json!({"model": "mistral", "prompt": "Hi", "max_tokens": 3}))
        .await;
    assert_eq!(keys(&answer), sorted(shapes.completion));
    assert_eq!(keys(&answer["choices"][0]), sorted(shapes.completion_choice));
    assert_eq!(
        keys(&answer["usage"]),
        sorted("prompt_tokens total_tokens completion_tokens prompt_tokens_details")
    );
    let answer = server
        .chat("Hi", json!({"model": "mistral", "max_tokens": 3}))
        .await;
    assert_eq!(keys(&answer), sorted(shapes.chat));
    assert_eq!(keys(&answer["choices"][0]), sorted(shapes.chat_choice));
    assert_eq!(keys(&answer["choices"][0]["message"]), sorted(shapes.message));
    let (_, answer) = server
        .post("/tokenize", json!({"model": "mistral", "prompt": "Hi"}))
        .await;
    assert_eq!(keys(&answer), sorted(shapes.tokenize));
}

async fn check_streams(server: &Server, shapes: &Shapes) {
    let usage = json!({"include_usage": true});
    let body = json!({"model": "mistral", "prompt": "Hi", "max_tokens": 3, "stream_options": usage});
    let chunks = server.stream("/v1/completions", body).await;
    assert_eq!(keys(&chunks[0]), sorted(shapes.completion_chunk));
    assert_eq!(
        keys(&chunks[0]["choices"][0]),
        sorted(shapes.completion_chunk_choice)
    );
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        keys(&last["usage"]),
        sorted("prompt_tokens total_tokens completion_tokens")
    );
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"model": "mistral", "messages": messages, "max_tokens": 3, "stream_options": usage});
    let chunks = server.stream("/v1/chat/completions", body).await;
    assert_eq!(chunks.len(), 5, "role, three tokens, usage");
    assert_eq!(keys(&chunks[0]), sorted(shapes.role_chunk));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(keys(&chunks[1]["choices"][0]), sorted(shapes.chunk_choice));
    assert_eq!(keys(&chunks[1]["choices"][0]["delta"]), sorted(shapes.delta));
    let end = &chunks[3]["choices"][0];
    assert_eq!(
        (end["finish_reason"].as_str(), end["stop_reason"].is_null()),
        (Some("length"), true)
    );
    assert!(end.as_object().unwrap().contains_key("stop_reason"));
}

#[tokio::test]
async fn shapes_of_0_8_5() {
    let server = plan("0.8.5").serve().await;
    check(&server, &FIRST).await;
    check_streams(&server, &FIRST).await;
    assert_eq!(server.get("/version").await, "{\"version\":\"0.8.5\"}");
}

#[tokio::test]
async fn shapes_of_0_12_0() {
    let server = plan("0.12.0").serve().await;
    check(&server, &LATER).await;
    check_streams(&server, &LATER).await;
}

#[tokio::test]
async fn errors_of_both() {
    let long = "word ".repeat(9_000);
    let requests = [
        json!({"model": "nope", "prompt": "Hi"}),
        json!({"model": "mistral", "prompt": "Hi", "temperature": -1}),
        json!({"model": "mistral", "prompt": "Hi", "logprobs": 21}),
        json!({"model": "mistral", "prompt": [9_999_999]}),
        json!({"model": "mistral", "prompt": "Hi", "max_tokens": 0}),
        json!({"model": "mistral", "prompt": "Hi", "max_tokens": 9000}),
        json!({"model": "mistral", "prompt": long, "max_tokens": 8}),
        json!({"model": "mistral", "max_tokens": 4}),
        json!({"model": "mistral", "prompt": "Hi", "max_tokens": "four"}),
        json!({"model": "mistral", "prompt": "Hi", "stream": true, "prompt_logprobs": 1}),
        json!({"model": "mistral", "prompt": "Hi", "stream_options": {"include_usage": true}}),
    ];
    let chats = [
        json!({"model": "mistral"}),
        json!({"model": "mistral", "messages": [{"role": "user", "content": long}], "max_tokens": 8}),
        json!({"model": "mistral", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9000}),
        json!({"model": "mistral", "messages": [{"role": "user", "content": "Hi"}], "top_logprobs": 2}),
        json!({"model": "mistral", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}),
        json!({"model": "mistral", "messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function"}]}),
    ];
    let mut lines = Vec::new();
    for version in ["0.8.5", "0.12.0"] {
        let server = plan(version).serve().await;
        for (path, body) in requests
            .iter()
            .map(|body| ("/v1/completions", body))
            .chain(chats.iter().map(|body| ("/v1/chat/completions", body)))
        {
            let (status, answer) = server.post(path, body.clone()).await;
            lines.push(format!("{version} {status} {answer}").replace(&long, "(long)"));
        }
        let (status, answer) = server
            .post("/v1/embeddings", json!({"model": "mistral", "input": "hi"}))
            .await;
        lines.push(format!("{version} {status} {answer}"));
        let broken = server
            .try_post("/v1/completions", "{\"model\": \"mistral\", ".to_owned())
            .await
            .unwrap();
        lines.push(format!(
            "{version} {} {}",
            broken.status(),
            broken.text().await.unwrap()
        ));
        lines.push(format!("{version} {}", server.get("/v1/nothing").await));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn metrics_have_the_names_of_their_release() {
    let names = async |version: &str| -> Vec<String> {
        let server = plan(version).serve().await;
        server
            .complete(json!({"model": "mistral", "prompt": "Hi", "max_tokens": 3}))
            .await;
        let text = server.get("/metrics").await;
        text.lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect()
    };
    let mut lines = Vec::new();
    for version in ["0.8.5", "0.12.0"] {
        lines.extend(
            names(version)
                .await
                .into_iter()
                .map(|name| format!("{version} {name}")),
        );
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn no_body_breaks_the_server() {
    let server = plan("0.12.0")
        .with("/model/architecture", json!("Qwen3ForCausalLM"))
        .serve()
        .await;
    let deep = "[".repeat(5_000);
    let bodies = [
        "",
        "[]",
        "null",
        "{}",
        "{\"prompt\": \"\"}",
        "{\"prompt\": []}",
        "{\"prompt\": [[]]}",
        "{\"prompt\": [1, \"a\"]}",
        "{\"prompt\": [-1]}",
        "{\"prompt\": {\"a\": 1}}",
        "{\"prompt\": \"a\", \"n\": 0}",
        "{\"prompt\": \"a\", \"n\": 99999999}",
        "{\"prompt\": \"a\", \"max_tokens\": 9223372036854775807}",
        "{\"prompt\": \"a\", \"max_tokens\": -1}",
        "{\"prompt\": \"a\", \"stop\": [\"\"]}",
        "{\"prompt\": \"a\", \"stop\": 3}",
        "{\"prompt\": \"a\", \"temperature\": \"hot\"}",
        "{\"prompt\": \"a\", \"logprobs\": -1}",
        "{\"prompt\": \"a\", \"response_format\": {\"type\": \"x\"}}",
        "{\"messages\": \"hi\"}",
        "{\"messages\": [3]}",
        "{\"messages\": [{\"role\": 3}]}",
        &deep,
    ];
    for body in bodies {
        for path in [
            "/v1/completions",
            "/v1/chat/completions",
            "/tokenize",
            "/detokenize",
        ] {
            let status = server.try_post(path, body.to_owned()).await.unwrap().status();
            let fits = path == "/tokenize" && body.contains("\"prompt\": \"");
            assert!(status == 400 || (fits && status == 200), "{path} {body} {status}");
        }
    }
    assert_eq!(server.status("/health").await, Some(200));
}
