//! What is said, and how likely it was.

use serde_json::{Value, json};

use crate::server::{Server, plan};

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

async fn server() -> Server {
    plan("0.12.0").serve().await
}

#[tokio::test]
async fn known_questions_get_their_answers_everywhere() {
    let server = server().await;
    let answer = server
        .complete(json!({"prompt": "The capital of France is", "max_tokens": 64}))
        .await;
    assert_eq!(text(&answer), " Paris, the city on the river Seine.");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let answer = server.chat("What is 2+2?", json!({"max_tokens": 64})).await;
    assert_eq!(content(&answer), "It is 4.");
    let chunks = server
        .stream(
            "/v1/completions",
            json!({"prompt": "The capital of France is", "max_tokens": 64}),
        )
        .await;
    assert_eq!(
        chunks.iter().map(text).collect::<String>(),
        " Paris, the city on the river Seine."
    );
}

#[tokio::test]
async fn the_same_request_gives_the_same_text_and_ignore_eos_fills_its_length() {
    let server = server().await;
    let body = json!({"prompt": "Once", "max_tokens": 700, "ignore_eos": true});
    let first = server.complete(body.clone()).await;
    let second = server.complete(body).await;
    assert_eq!(text(&first), text(&second));
    assert_eq!(first["usage"]["completion_tokens"], 700);
    assert_eq!(first["choices"][0]["finish_reason"], "length");
    let sampled = json!({"prompt": "Once", "max_tokens": 40, "temperature": 1.0, "seed": 5, "n": 2});
    let first = server.complete(sampled.clone()).await;
    assert_eq!(first["choices"], server.complete(sampled).await["choices"]);
    assert_ne!(first["choices"][0]["text"], first["choices"][1]["text"]);
    assert_ne!(text(&first), text(&second));
}

#[tokio::test]
async fn forced_scoring_sees_the_figures_of_generation() {
    let server = server().await;
    for prompt in ["The capital of France is", "Once upon a time"] {
        let body = json!({"prompt": prompt, "max_tokens": 12, "logprobs": 3, "return_token_ids": true});
        let generated = server.complete(body).await;
        let choice = &generated["choices"][0];
        let mut tokens = choice["prompt_token_ids"].as_array().unwrap().clone();
        let prompt_length = tokens.len();
        tokens.extend(choice["token_ids"].as_array().unwrap().clone());
        let body = json!({"prompt": tokens, "max_tokens": 1, "prompt_logprobs": 3});
        let scored = server.complete(body).await;
        let figures = scored["choices"][0]["prompt_logprobs"].as_array().unwrap();
        assert!(figures[0].is_null());
        for (at, logprob) in choice["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let token = tokens[prompt_length + at].to_string();
            let figure = &figures[prompt_length + at][&token];
            assert_eq!(&figure["logprob"], logprob, "{prompt} {at}");
            assert_eq!(figure["rank"], 1);
        }
    }
}

#[tokio::test]
async fn echo_gives_the_prompt_back_with_its_figures() {
    let server = server().await;
    let body = json!({"prompt": "The capital of France is", "max_tokens": 0, "echo": true, "logprobs": 5});
    let answer = server.complete(body).await;
    assert_eq!(text(&answer), "The capital of France is");
    assert_eq!(answer["usage"]["completion_tokens"], 1);
    let logprobs = &answer["choices"][0]["logprobs"];
    assert!(logprobs["token_logprobs"][0].is_null() && logprobs["token_logprobs"][1].is_number());
    assert_eq!(
        logprobs["tokens"].as_array().unwrap().len(),
        6,
        "beginning token and five words"
    );
    assert_eq!(logprobs["top_logprobs"][1].as_object().unwrap().len(), 6);
}

#[tokio::test]
async fn stops_end_a_text_and_min_tokens_delay_its_end() {
    let server = server().await;
    let body = json!({"prompt": "The capital of France is", "max_tokens": 64, "stop": ["river"]});
    let answer = server.complete(body).await;
    assert_eq!(text(&answer), " Paris, the city on the ");
    assert_eq!(answer["choices"][0]["stop_reason"], "river");
    let body = json!({"prompt": "The capital of France is", "max_tokens": 64, "min_tokens": 40});
    let answer = server.complete(body).await;
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() >= 40);
    let (_, tokens) = server
        .post(
            "/tokenize",
            json!({"prompt": " city", "add_special_tokens": false}),
        )
        .await;
    let body =
        json!({"prompt": "The capital of France is", "max_tokens": 64, "stop_token_ids": tokens["tokens"]});
    let answer = server.complete(body).await;
    assert_eq!(answer["choices"][0]["stop_reason"], tokens["tokens"][0]);
}

#[tokio::test]
async fn batches_keep_their_order() {
    let server = server().await;
    let body = json!({"prompt": ["The capital of France is", "Once"], "max_tokens": 4, "n": 2, "temperature": 0.9, "seed": 1});
    let answer = server.complete(body).await;
    let indexes: Vec<_> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| &choice["index"])
        .collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    assert_eq!(answer["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn constraints_make_json() {
    let server = server().await;
    let schema =
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let answer = server
        .chat("Anything", json!({"response_format": format, "max_tokens": 64}))
        .await;
    assert_eq!(content(&answer), "{\"n\":3}");
    let answer = server
        .chat(
            "Name a city as JSON.",
            json!({"response_format": {"type": "json_object"}}),
        )
        .await;
    assert_eq!(content(&answer), "{\"city\": \"Paris\"}");
    let guided = json!({"guided_json": schema, "max_tokens": 64});
    assert_ne!(
        content(&server.chat("Anything", guided.clone()).await),
        "{\"n\":3}",
        "0.12 ignores it"
    );
    let earlier = plan("0.8.5").serve().await;
    assert_eq!(content(&earlier.chat("Anything", guided).await), "{\"n\":3}");
}

#[tokio::test]
async fn tools_are_called_whole_and_streamed() {
    let server = plan("0.12.0")
        .args(&["--enable-auto-tool-choice", "--tool-call-parser", "hermes"])
        .serve()
        .await;
    let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {}}}]);
    let answer = server
        .chat("What is 2+2?", json!({"tools": tools, "max_tokens": 99}))
        .await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert!(choice["message"]["content"].is_null());
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "add");
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"]["arguments"],
        "{\"a\":2,\"b\":2}"
    );
    let messages = json!([{"role": "user", "content": "What is 2+2?"}]);
    let chunks = server
        .stream(
            "/v1/chat/completions",
            json!({"messages": messages, "tools": tools}),
        )
        .await;
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!(last["delta"]["tool_calls"][0]["function"]["name"], "add");
    assert_eq!(last["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn thinking_is_split_off_and_can_be_switched_off() {
    let server = plan("0.12.0")
        .with("/model/reasoning", json!(true))
        .args(&["--reasoning-parser", "qwen3"])
        .serve()
        .await;
    let answer = server.chat("What is 2+2?", json!({"max_tokens": 99})).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["reasoning"], "\nTwo and two.\n");
    assert_eq!(message["reasoning_content"], message["reasoning"]);
    assert_eq!(message["content"], "\n\nIt is 4.");
    let quiet = json!({"chat_template_kwargs": {"enable_thinking": false}});
    let answer = server.chat("What is 2+2?", quiet).await;
    assert_eq!(content(&answer), "It is 4.");
    assert!(answer["choices"][0]["message"]["reasoning"].is_null());
}

#[tokio::test]
async fn images_take_tokens_and_are_answered() {
    let server = plan("0.12.0").with("/model/images", json!(true)).serve().await;
    let url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADkAAAAcCAIAAAA=";
    let image = json!({"type": "image_url", "image_url": {"url": url}});
    let parts = json!([image, {"type": "text", "text": "What do you see?"}]);
    let body = json!({"temperature": 0, "messages": [{"role": "user", "content": parts}]});
    let (_, with_image) = server.post("/v1/chat/completions", body).await;
    assert_eq!(content(&with_image), "A red square.");
    let without = server.chat("What do you see?", json!({})).await;
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(tokens(&with_image), tokens(&without) + 3);
}

#[tokio::test]
async fn tokens_go_there_and_back() {
    let server = server().await;
    let (_, tokens) = server
        .post(
            "/tokenize",
            json!({"prompt": "Hello 2024 wörld 中文", "return_token_strs": true}),
        )
        .await;
    assert_eq!(tokens["count"], tokens["tokens"].as_array().unwrap().len());
    assert_eq!(tokens["tokens"][0], 1, "beginning token");
    let (_, back) = server
        .post("/detokenize", json!({"tokens": tokens["tokens"]}))
        .await;
    assert_eq!(back["prompt"], "<s>Hello 2024 wörld 中文");
    let (_, chat) = server
        .post(
            "/tokenize",
            json!({"messages": [{"role": "user", "content": "Hi"}]}),
        )
        .await;
    let answer = server.chat("Hi", json!({"max_tokens": 1})).await;
    assert_eq!(chat["count"], answer["usage"]["prompt_tokens"]);
}

#[tokio::test]
async fn a_base_model_has_no_chat() {
    let server = plan("0.8.5")
        .with("/model/chat_template", json!(false))
        .serve()
        .await;
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let (status, answer) = server.post("/v1/chat/completions", body).await;
    assert_eq!(status, 400);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .starts_with("As of transformers v4.44")
    );
}
