//! Load from the command line: every shape, files, bad servers, overloaded clients, and sweeps, against the simulator
//! process or a server that says exactly what a test wants.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

mod bad_input;
#[expect(dead_code, reason = "shared with tests that need more of it")]
#[path = "../real_parts/mod.rs"]
mod real_parts;
mod shapes;
mod sweep;
mod validity;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// One test at a time: their timing would suffer from each other.
fn turn() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A simulator that plays Mistral-7B on a C500; it ends with its owner.
struct Simulator {
    url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Simulator {
    fn start(version: &str, clock: f64, faults: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("simulator.json");
        let plays = json!({
            "vllm_version": version, "profile": "c500", "clock": clock, "faults": faults,
            "model": {
                "architecture": "MistralForCausalLM", "parameters": 7_241_732_096_u64, "layers": 32,
                "hidden_size": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn_size": 14336,
                "vocab_size": 32000, "max_position": 32768, "chat_template": true
            }
        });
        std::fs::write(&config, plays.to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(real_parts::simulator())
            .args([
                "serve",
                "/models/mistral",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .args([
                "--max-model-len",
                "8192",
                "--served-model-name",
                "mistral",
                "--sim-config",
            ])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        let simulator = Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
            _folder: folder,
        };
        let deadline = Instant::now() + Duration::from_mins(2);
        while !simulator.answers(port) {
            assert!(Instant::now() < deadline, "the simulator does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        simulator
    }

    fn answers(&self, port: u16) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else {
            return false;
        };
        let request = format!(
            "GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.url
        );
        let mut answer = String::new();
        socket.write_all(request.as_bytes()).is_ok()
            && socket.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn harness(command: &str) -> Command {
    let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
    harness
        .arg(command)
        .env("HARNESS_SIMULATOR", real_parts::simulator())
        .env_remove("OPENAI_API_KEY")
        .stdin(Stdio::null());
    harness
}

/// `harness load` on a server, quiet and as JSON.
fn load(url: &str, arguments: &[&str]) -> Command {
    let mut command = harness("load");
    command.args(["--url", url, "--json", "--quiet"]).args(arguments);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON of a run, and its exit code.
fn report(command: &mut Command) -> (Value, Option<i32>) {
    let output = command.output().expect("the harness starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {}", stderr(&output)));
    (report, output.status.code())
}

/// State of a condition of the first phase.
fn condition<'a>(report: &'a Value, name: &str) -> &'a str {
    let conditions = report["phases"][0]["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|condition| condition["name"] == name);
    found.unwrap_or_else(|| panic!("no condition {name}"))["state"]
        .as_str()
        .unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of this test")
}
