//! From a client of a server to a run of load against it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{net::lookup_host, task::spawn_blocking};

use super::{
    Phase, PhaseRun, Vocabulary, WORDS, Watch,
    wire::{self, IDS_HOLE, Limits, Pool, TEXT_HOLE, Target, Template, WorkerError, tokens_hole},
};
use crate::vllm::{Client, ClientError, Keep, Message, Prompt, Request, Role};

/// How long a busy worker sleeps between two looks at its sockets; see the figures in ARCHITECTURE.md.
pub const LULL: Duration = Duration::from_micros(500);

/// Streams that one thread serves with ease.
const STREAMS_A_WORKER: usize = 1024;

/// Why load could not be put on a server.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server's name cannot be resolved.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// Host and port.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server serves several models, or none.
    #[error("the server serves several models or none: name one with --model ({0})")]
    WhichModel(String),
    /// A question before the load.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The workers.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The body of a request lost the places of prompt and length.
    #[error("cannot build requests: the body holds no place for prompt and length")]
    Template,
    /// The run was torn down from outside.
    #[error("the load was given up: {0}")]
    Joined(#[from] tokio::task::JoinError),
}

/// Which endpoint requests go to, and what prompts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Token ids to `/v1/completions`.
    Ids,
    /// Text to `/v1/completions`.
    Text,
    /// Text to `/v1/chat/completions`.
    Chat,
}

/// Puts load on one server, phase after phase over the same connections.
#[derive(Debug)]
pub struct Generator {
    target: Target,
    workers: usize,
    pool: Pool,
}

impl Generator {
    /// A generator of so many threads; nothing is connected yet.
    pub fn new(target: Target, workers: usize) -> Self {
        Self {
            target,
            workers: workers.max(1),
            pool: Pool::default(),
        }
    }

    /// Threads.
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// Runs a phase and waits for its end; `watch` has a count for each thread. Dropping the future stops the load.
    pub async fn run(&mut self, phase: Phase, watch: Arc<Watch>) -> Result<PhaseRun, LoadError> {
        let stop = StopOnDrop(Arc::clone(&watch));
        let (target, workers) = (self.target.clone(), self.workers);
        let mut pool = std::mem::take(&mut self.pool);
        let (run, pool) = spawn_blocking(move || {
            let run = wire::run(&target, &phase, workers, &mut pool, &watch);
            (run, pool)
        })
        .await?;
        self.pool = pool;
        drop(stop);
        Ok(run?)
    }
}

/// Threads for so many requests in flight: one serves a thousand, and more threads than processors serve nobody.
pub fn workers_for(in_flight: u32) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (in_flight as usize)
        .div_ceil(STREAMS_A_WORKER)
        .clamp(1, processors)
}

/// Whom to ask, in which form, and what is kept of answers.
pub async fn target(client: &Client, form: Form, keep: Keep) -> Result<Target, LoadError> {
    let prompt = match form {
        Form::Ids => Prompt::TokenIds(IDS_HOLE.to_vec()),
        Form::Text => Prompt::Text(TEXT_HOLE.to_owned()),
        Form::Chat => Prompt::Chat(vec![Message {
            role: Role::User,
            text: TEXT_HOLE.to_owned(),
            images: Vec::new(),
        }]),
    };
    let mut request = Request::greedy(prompt, tokens_hole());
    request.ignore_eos = true;
    let (path, mut body) = client.streamed(&request);
    if keep == Keep::TokenIds {
        body["return_token_ids"] = Value::from(true);
    }
    with_body(client, path, &body, keep).await
}

/// The same with what the OpenAI API itself knows and nothing else: for servers that refuse what they do not know.
pub async fn plain_target(client: &Client, form: Form, keep: Keep) -> Result<Target, LoadError> {
    let mut body = json!({
        "model": client.model(),
        "max_tokens": tokens_hole(),
        "temperature": 0,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let path = match form {
        Form::Ids => {
            body["prompt"] = json!(IDS_HOLE);
            "/v1/completions"
        }
        Form::Text => {
            body["prompt"] = json!(TEXT_HOLE);
            "/v1/completions"
        }
        Form::Chat => {
            body["messages"] = json!([{ "role": "user", "content": TEXT_HOLE }]);
            "/v1/chat/completions"
        }
    };
    with_body(client, path, &body, keep).await
}

async fn with_body(client: &Client, path: &str, body: &Value, keep: Keep) -> Result<Target, LoadError> {
    let (address, host) = address(client).await?;
    let key = client
        .key()
        .map(|key| ("authorization".to_owned(), format!("Bearer {key}")));
    let fields: Vec<(String, String)> = key.into_iter().collect();
    Ok(Target {
        address,
        template: Template::new(&host, path, &fields, body).ok_or(LoadError::Template)?,
        keep,
        limits: Limits::default(),
        lull: LULL,
        kernel_clock: true,
    })
}

async fn address(client: &Client) -> Result<(SocketAddr, String), LoadError> {
    let base = client.base();
    let name = base.host_str().unwrap_or_default();
    let port = base.port_or_known_default().unwrap_or(80);
    let host = format!("{name}:{port}");
    let failed = |source| LoadError::Resolve {
        host: host.clone(),
        source,
    };
    let found = lookup_host(&host).await.map_err(failed)?.next();
    let address = found.ok_or_else(|| failed(io::Error::other("no address")))?;
    Ok((address, host))
}

/// Token ids of plain words, by the server's own tokenizer.
pub async fn vocabulary(client: &Client) -> Result<Vocabulary, ClientError> {
    Ok(Vocabulary::ids(client.tokenize(WORDS, false).await?))
}

/// Tells the workers to stop when nobody waits for them any more.
struct StopOnDrop(Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
