//! Starting and asking a simulator process.

use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest real time that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is started.
pub struct Plan {
    config: Value,
    args: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

/// Mistral-7B-v0.1 on a C500, played by that release.
pub fn plan(version: &str) -> Plan {
    Plan {
        config: json!({
            "vllm_version": version, "profile": "c500", "clock": 200.0, "seed": 7,
            "model": {
                "architecture": "MistralForCausalLM", "parameters": 7_241_732_096_u64, "layers": 32,
                "hidden_size": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn_size": 14336,
                "vocab_size": 32000, "max_position": 32768, "chat_template": true
            },
            "answers": [
                {"prompt": "The capital of France is", "answer": " Paris, the city on the river Seine."},
                {"prompt": "What is 2+2?", "answer": "It is 4.", "reasoning": "Two and two.",
                 "tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 2}}]},
                {"prompt": "What do you see?", "answer": "A red square."},
                {"prompt": "Name a city as JSON.", "answer": "{\"city\": \"Paris\"}"}
            ]
        }),
        args: ["--max-model-len", "8192", "--served-model-name", "mistral"]
            .map(str::to_owned)
            .to_vec(),
        environment: Vec::new(),
    }
}

impl Plan {
    /// Changes the configuration.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        if let Some(place) = self.config.pointer_mut(pointer) {
            *place = value;
            return self;
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.insert(key.to_owned(), value);
        self
    }

    /// Adds flags.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Adds a fault.
    pub fn fault(self, fault: &str) -> Self {
        self.args(&["--sim-fault", fault])
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Starts the process without waiting.
    pub fn start(self) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("sim.json");
        std::fs::write(&config, self.config.to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_simulator"))
            .args([
                "serve",
                "/models/mistral",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .args(["--sim-config", config.to_str().unwrap()])
            .args(&self.args)
            .env_remove("NO_COLOR")
            .envs(self.environment.iter().copied())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Server {
            child,
            port,
            directory,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Starts the process and waits until it serves.
    pub async fn serve(self) -> Server {
        let server = self.start();
        server.wait_until_ready().await;
        server
    }

    /// Starts a process that ends by itself; its exit status and its log.
    pub async fn fail(self) -> (ExitStatus, String) {
        let mut server = self.start();
        let status = server.exit().await;
        (status, server.log())
    }
}

/// A running process.
pub struct Server {
    child: Child,
    /// Its port.
    pub port: u16,
    directory: TempDir,
    client: reqwest::Client,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub async fn wait_until_ready(&self) {
        let begin = Instant::now();
        while self.status("/health").await != Some(200) {
            assert!(begin.elapsed() < PATIENCE, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Status of a GET; `None` when nobody listens.
    pub async fn status(&self, path: &str) -> Option<u16> {
        self.client
            .get(self.url(path))
            .send()
            .await
            .ok()
            .map(|response| response.status().as_u16())
    }

    pub async fn get(&self, path: &str) -> String {
        self.client
            .get(self.url(path))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub async fn try_post(&self, path: &str, body: String) -> reqwest::Result<reqwest::Response> {
        self.client
            .post(self.url(path))
            .timeout(PATIENCE)
            .body(body)
            .send()
            .await
    }

    /// Status and JSON of a POST.
    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.try_post(path, body.to_string()).await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn complete(&self, mut body: Value) -> Value {
        body.as_object_mut()
            .unwrap()
            .entry("temperature")
            .or_insert(json!(0));
        let (status, answer) = self.post("/v1/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub async fn chat(&self, question: &str, mut body: Value) -> Value {
        let fields = body.as_object_mut().unwrap();
        fields.entry("temperature").or_insert(json!(0));
        fields.insert(
            "messages".to_owned(),
            json!([{"role": "user", "content": question}]),
        );
        let (status, answer) = self.post("/v1/chat/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Chunks of a stream; the last must be followed by `[DONE]`.
    pub async fn stream(&self, path: &str, mut body: Value) -> Vec<Value> {
        let fields = body.as_object_mut().unwrap();
        fields.entry("temperature").or_insert(json!(0));
        fields.insert("stream".to_owned(), json!(true));
        let text = self
            .try_post(path, body.to_string())
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let mut events: Vec<_> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{text}");
        events
            .into_iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    pub async fn set_faults(&self, faults: &[&str]) {
        let (status, answer) = self.post("/simulator/faults", json!({"faults": faults})).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .arg(&pid)
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end of the process.
    pub async fn exit(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("still running:\n{}", self.log()))
            .unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// A sample of `/metrics`, by the beginning of its line, as it is written.
    async fn sample(&self, name: &str) -> String {
        let text = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}:\n{text}"));
        line.rsplit(' ').next().unwrap().to_owned()
    }

    /// A sample that measures something.
    pub async fn metric(&self, name: &str) -> f64 {
        self.sample(name).await.parse().unwrap()
    }

    /// A sample that counts something.
    pub async fn count(&self, name: &str) -> u64 {
        self.sample(name)
            .await
            .strip_suffix(".0")
            .unwrap()
            .parse()
            .unwrap()
    }
}
