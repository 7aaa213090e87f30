//! The bytes that the stream server sends, made once.

/// Head, and a token event as often as one write carries it.
pub(super) struct Events {
    head: Vec<u8>,
    role: Vec<u8>,
    token: [Vec<u8>; 2],
    last: [Vec<u8>; 2],
    per_write: u32,
}

/// Which endpoint was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Completion,
    Chat,
}

const CHAT: &str = r#"{"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","object":"chat.completion.chunk","created":1763979000,"model":"stream","choices":[{"index":0,"delta":{"#;
const COMPLETION: &str = r#"{"id":"cmpl-8f14e45fceea167a5a36dedd4bea2543","object":"text_completion","created":1763979000,"model":"stream","choices":[{"index":0,"#;

/// One event as its own HTTP chunk, as uvicorn sends it.
fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8).into_bytes()
}

fn token(kind: Kind, finish: &str) -> Vec<u8> {
    chunk(&match kind {
        Kind::Chat => {
            format!(
                r#"{CHAT}"content":" river"}},"logprobs":null,"finish_reason":{finish},"token_ids":null}}]}}"#
            )
        }
        Kind::Completion => {
            format!(
                r#"{COMPLETION}"text":" river","logprobs":null,"finish_reason":{finish},"stop_reason":null}}]}}"#
            )
        }
    })
}

impl Events {
    pub fn new(per_write: u32) -> Self {
        let kinds = [Kind::Completion, Kind::Chat];
        let role =
            format!(r#"{CHAT}"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]}}"#);
        Self {
            head: b"HTTP/1.1 200 OK\r\ndate: Mon, 24 Nov 2025 10:10:00 GMT\r\nserver: uvicorn\r\n\
                content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec(),
            role: chunk(&role),
            token: kinds.map(|kind| token(kind, "null").repeat(per_write as usize)),
            last: kinds.map(|kind| token(kind, "\"length\"")),
            per_write,
        }
    }

    /// Head of a streamed answer.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The chunk that only names the role.
    pub fn role(&self) -> &[u8] {
        &self.role
    }

    /// The next tokens of an answer that lacks `left`, and how many they are; the very last says that it is the last.
    pub fn tokens(&self, kind: Kind, left: u32) -> (&[u8], u32) {
        if left == 1 {
            return (&self.last[kind as usize], 1);
        }
        let all = &self.token[kind as usize];
        let count = (left - 1).min(self.per_write);
        (
            &all[..all.len() / self.per_write as usize * count as usize],
            count,
        )
    }

    /// Usage, end mark and the last HTTP chunk.
    pub fn end(kind: Kind, prompt_tokens: u32, tokens: u32) -> Vec<u8> {
        let object = match kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        let total = prompt_tokens + tokens;
        let usage = format!(
            r#"{{"id":"end","object":"{object}","created":1763979000,"model":"stream","choices":[],"usage":{{"prompt_tokens":{prompt_tokens},"total_tokens":{total},"completion_tokens":{tokens}}}}}"#
        );
        [chunk(&usage), chunk("[DONE]"), b"0\r\n\r\n".to_vec()].concat()
    }

    /// An answer in one piece.
    pub fn plain(kind: &str, body: &str) -> Vec<u8> {
        response("200 OK", kind, body)
    }

    /// Everything but generation: enough for clients that look before they ask.
    pub fn other(path: &str) -> Vec<u8> {
        match path {
            "/health" => response("200 OK", "text/plain", ""),
            "/version" => response("200 OK", "application/json", r#"{"version":"0.12.0"}"#),
            "/v1/models" => response(
                "200 OK",
                "application/json",
                r#"{"object":"list","data":[{"id":"stream","object":"model","root":"stream","max_model_len":131072}]}"#,
            ),
            _ => response(
                "404 Not Found",
                "application/json",
                r#"{"error":{"message":"Not Found","type":"NotFoundError","param":null,"code":404}}"#,
            ),
        }
    }
}

fn response(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}
