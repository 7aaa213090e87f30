//! Asks a vLLM server over its OpenAI-compatible API.
//!
//! One connection pool, no proxy, no redirect and no repetition: a failed request is a measurement, and repeating it
//! in silence would hide it. Every wait is bounded by [`Timeouts`]. Sampling is pinned in each request. The version
//! decides what is asked for; answers are read by their shape, so a wrong version never makes a right answer
//! unreadable.

mod answer;
mod body;
mod error;

use std::{
    fmt, str,
    time::{Duration, Instant},
};

use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
    redirect, retry,
};
use semver::Version;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Answer, Dialect, Message, Metrics, Request};

pub(super) use self::error::quote;
pub use self::error::{ClientError, Refusal};

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For small questions: health, version, models, metrics, tokenizer.
    pub probe: Duration,
    /// For a whole answer.
    pub answer: Duration,
}

impl Default for Timeouts {
    /// Generous: a first request with logprobs was seen to compile for 46 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            probe: Duration::from_secs(10),
            answer: Duration::from_mins(10),
        }
    }
}

/// What `/health` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// 200: the engine serves.
    Ready,
    /// Another status: still booting behind a proxy or a simulator (503), or a dead engine (500 or 503).
    NotReady {
        /// The status.
        status: u16,
    },
}

/// A model that the server lists.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelCard {
    /// Name under which it is asked.
    pub id: String,
    /// Where its weights came from.
    pub root: Option<String>,
    /// Longest sequence in tokens, as resolved by the server.
    pub max_model_len: Option<u64>,
}

/// A client of one model on one server. Clones share the connection pool.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    model: String,
    dialect: Dialect,
    timeouts: Timeouts,
    key: Option<Key>,
}

/// A key for the server, which is never printed.
#[derive(Clone)]
struct Key {
    header: HeaderValue,
    text: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Client {
    /// A client of `model` (its served name) at `base_url` (`http://HOST:PORT`), which speaks the API of `version`.
    pub fn new(base_url: &str, model: &str, version: &Version) -> Result<Self, ClientError> {
        let address = |why: &str| ClientError::Address {
            address: base_url.to_owned(),
            why: why.to_owned(),
        };
        let base = Url::parse(base_url).map_err(|error| address(&error.to_string()))?;
        if base.scheme() != "http" || base.host().is_none() {
            return Err(address("only http:// with a host is asked"));
        }
        Ok(Self {
            http: http_client(Timeouts::default().connect)?,
            base,
            model: model.to_owned(),
            dialect: Dialect::of(version),
            timeouts: Timeouts::default(),
            key: None,
        })
    }

    /// The same client with other time-outs.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Result<Self, ClientError> {
        self.http = http_client(timeouts.connect)?;
        self.timeouts = timeouts;
        Ok(self)
    }

    /// The same client, which shows a key with each request; one that cannot stand in a header is an error.
    pub fn with_key(mut self, key: Option<&str>) -> Result<Self, ClientError> {
        if let Some(key) = key {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {key}")).map_err(|error| ClientError::Setup {
                    cause: format!("the key for the server: {error}"),
                })?;
            value.set_sensitive(true);
            self.key = Some(Key {
                header: value,
                text: key.to_owned(),
            });
        }
        Ok(self)
    }

    /// The key that is shown with each request.
    pub fn key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.text.as_str())
    }

    /// Name under which the model is asked.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The server's address.
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// Path and body of a request whose answer is to be streamed, with the tokens counted at its end: for callers who
    /// send it themselves.
    pub fn streamed(&self, request: &Request) -> (&'static str, Value) {
        body::generation(request, &self.model, self.dialect, true)
    }

    /// Whether the engine serves. A server that does not listen is [`ClientError::Refused`].
    pub async fn health(&self) -> Result<Health, ClientError> {
        let url = self.url("/health")?;
        let response = self.send(Method::GET, &url, None, self.timeouts.probe).await?;
        Ok(match response.status() {
            StatusCode::OK => Health::Ready,
            status => Health::NotReady {
                status: status.as_u16(),
            },
        })
    }

    /// The version that the server tells (`0.8.5.post2`).
    pub async fn version(&self) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Body {
            version: String,
        }
        let body: Body = self.get("/version").await?;
        Ok(body.version)
    }

    /// Whether the harness's simulator plays this server. A real one, and one that does not answer, does not say so.
    pub async fn plays_a_server(&self) -> bool {
        self.get::<Value>("/simulator/info").await.is_ok()
    }

    /// The models that the server lists.
    pub async fn models(&self) -> Result<Vec<ModelCard>, ClientError> {
        #[derive(Deserialize)]
        struct Body {
            data: Vec<ModelCard>,
        }
        let body: Body = self.get("/v1/models").await?;
        Ok(body.data)
    }

    /// The server's metrics now.
    pub async fn metrics(&self) -> Result<Metrics, ClientError> {
        let url = self.url("/metrics")?;
        let response = self.send(Method::GET, &url, None, self.timeouts.probe).await?;
        let text = text(response, &url, self.timeouts.probe).await?;
        Metrics::parse(&text).map_err(|source| ClientError::Metrics {
            url: url.to_string(),
            source,
        })
    }

    /// Asks and waits for the whole answer.
    pub async fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        let (path, body) = body::generation(request, &self.model, self.dialect, false);
        let url = self.url(path)?;
        let body = self
            .json(Method::POST, &url, Some(&body), self.timeouts.answer)
            .await?;
        answer::read(body, request, &url)
    }

    /// Token ids of a text; `add_special` adds what the tokenizer puts around a sequence (the begin token).
    pub async fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<u32>, ClientError> {
        let body = json!({ "model": self.model, "prompt": text, "add_special_tokens": add_special });
        self.tokens(&body).await
    }

    /// Token ids of a chat as its template writes it, with the beginning of the answer.
    pub async fn tokenize_chat(
        &self,
        messages: &[Message],
        thinking: Option<bool>,
    ) -> Result<Vec<u32>, ClientError> {
        let mut body = json!({
            "model": self.model,
            "messages": body::messages(messages),
            "add_generation_prompt": true,
        });
        if let Some(thinking) = thinking {
            body["chat_template_kwargs"] = body::thinking_switch(thinking);
        }
        self.tokens(&body).await
    }

    /// Text of token ids.
    pub async fn detokenize(&self, ids: &[u32]) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Body {
            prompt: String,
        }
        let url = self.url("/detokenize")?;
        let body = json!({ "model": self.model, "tokens": ids });
        let body: Body = self
            .json(Method::POST, &url, Some(&body), self.timeouts.probe)
            .await?;
        Ok(body.prompt)
    }

    async fn tokens(&self, body: &Value) -> Result<Vec<u32>, ClientError> {
        #[derive(Deserialize)]
        struct Body {
            tokens: Vec<u32>,
        }
        let url = self.url("/tokenize")?;
        let body: Body = self
            .json(Method::POST, &url, Some(body), self.timeouts.probe)
            .await?;
        Ok(body.tokens)
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.base.join(path).map_err(|error| ClientError::Address {
            address: self.base.to_string(),
            why: error.to_string(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let url = self.url(path)?;
        self.json(Method::GET, &url, None, self.timeouts.probe).await
    }

    /// One question whose answer is JSON.
    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        let response = self.send(method, url, body, limit).await?;
        let status = response.status().as_u16();
        let text = text(response, url, limit.saturating_sub(started.elapsed())).await?;
        // Some versions answer 200 with an error in the body.
        if let Some(refusal) = Refusal::hidden_in(&text, status) {
            return Err(refusal.at(url));
        }
        let read = serde_json::from_str(&text);
        // Python's own encoder writes NaN and infinities, which JSON has not.
        let read = read
            .or_else(|error| body::without_nan(&text).map_or(Err(error), |text| serde_json::from_str(&text)));
        read.map_err(|source| ClientError::BadJson {
            url: url.to_string(),
            place: "the body".to_owned(),
            source,
            quote: quote(&text),
        })
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Response, ClientError> {
        let mut request = self.http.request(method, url.clone());
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.header.clone());
        }
        timeout(limit, request.send())
            .await
            .map_err(|_| silent(url, "an answer", limit))?
            .map_err(|error| ClientError::from_send(url, self.timeouts.connect, &error))
    }
}

fn silent(url: &Url, what: &'static str, after: Duration) -> ClientError {
    ClientError::Timeout {
        url: url.to_string(),
        what,
        after,
    }
}

async fn refused(response: Response, url: &Url, limit: Duration) -> ClientError {
    let status = response.status().as_u16();
    match read(response, url, limit).await {
        Ok(body) => Refusal::read(status, &body).at(url),
        Err(error) => error,
    }
}

/// The whole body of an answer that is no error.
async fn text(response: Response, url: &Url, limit: Duration) -> Result<String, ClientError> {
    if !response.status().is_success() {
        return Err(refused(response, url, limit).await);
    }
    read(response, url, limit).await
}

async fn read(response: Response, url: &Url, limit: Duration) -> Result<String, ClientError> {
    let bytes = timeout(limit, response.bytes())
        .await
        .map_err(|_| silent(url, "the rest of the answer", limit))?
        .map_err(|error| ClientError::from_body(url, &error))?;
    str::from_utf8(&bytes)
        .map(str::to_owned)
        .map_err(|error| ClientError::InvalidUtf8 {
            url: url.to_string(),
            at_byte: error.valid_up_to(),
        })
}

fn http_client(connect: Duration) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(connect)
        .pool_max_idle_per_host(usize::MAX)
        .build()
        .map_err(|error| ClientError::Setup {
            cause: error.to_string(),
        })
}

#[cfg(test)]
mod tests;
