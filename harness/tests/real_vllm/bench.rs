//! A repository of its own with one model and one stack, and what `harness validate` makes of it.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::real_parts;

/// Name of the model of each bench, and of its stack.
pub const MODEL: &str = "specimen";
pub const STACK: &str = "under_test";

/// What a failure leaves.
pub struct Seen {
    status: ExitStatus,
    pub stderr: String,
    pub report: Value,
    pub log: String,
}

/// A repository of its own with a miniature as its one model and a real vLLM as its one stack.
pub struct Bench {
    folder: tempfile::TempDir,
    pub manifest: Value,
    pub stack: Value,
}

impl Bench {
    /// `None` where this machine lacks a part, which was then said.
    pub fn new(version: &str, family: &str) -> Option<Self> {
        if !real_parts::docker() || !real_parts::vllm_cpu(version) {
            return None;
        }
        let weights = miniature(family)?;
        let folder = tempfile::tempdir().unwrap();
        for path in ["models.d", "ci/stacks", "golden"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        // Eager mode costs nothing at this size; 0.8.5 has no graphs on the CPU.
        let args = if version == "0.8.5" {
            json!([])
        } else {
            json!(["--enforce-eager"])
        };
        Some(Self {
            folder,
            manifest: manifest(&weights),
            stack: json!({
                "schema": 1,
                "about": "a server that fails",
                "accelerator": "cpu",
                "vllm": version,
                "args": args,
                "docker": {"image": format!("harness-vllm-cpu:{version}"), "shm_gib": 1, "memory_gib": 6},
            }),
        })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The weights as a copy that may be damaged.
    pub fn own_weights(&mut self) -> PathBuf {
        let copy = self.path("weights");
        fs::create_dir(&copy).unwrap();
        let weights = self.manifest["model"]["path"].as_str().unwrap();
        for file in fs::read_dir(weights).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        self.manifest["model"]["path"] = copy.to_string_lossy().into();
        copy
    }

    /// Validates; `meanwhile` is shown every event of the record as it is written.
    pub fn validate(&self, mut meanwhile: impl FnMut(&Value)) -> Seen {
        let _turn = turn();
        // JSON is YAML.
        let model = self.path("models.d").join(format!("{MODEL}.yaml"));
        fs::write(model, self.manifest.to_string()).unwrap();
        let stack = self.path("ci/stacks").join(format!("{STACK}.yaml"));
        fs::write(stack, self.stack.to_string()).unwrap();
        let [out, stderr] = ["out", "stderr"].map(|path| self.path(path));
        let mut child = Command::new(env!("CARGO_BIN_EXE_harness"))
            .args(["validate", "--model", MODEL, "--stack", STACK, "--root"])
            .arg(self.folder.path())
            .arg("--out")
            .arg(&out)
            .env("INSTA_UPDATE", "no")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut record = Follower::of(out.join("record.jsonl"));
        let status = loop {
            record.events().iter().for_each(&mut meanwhile);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let stderr = fs::read_to_string(stderr).unwrap();
        assert!(out.join("report.json").is_file(), "{stderr}");
        let report = fs::read_to_string(out.join("report.json")).unwrap();
        let log = out.join(format!("{MODEL}@{STACK}.server.log"));
        Seen {
            status,
            stderr,
            report: serde_json::from_str(&report).unwrap(),
            log: fs::read_to_string(log).unwrap(),
        }
    }

    /// Validates and expects a server that does not boot for this reason, which its log holds.
    pub fn does_not_boot(&self, class: &str, evidence: &str) -> Seen {
        let seen = self.validate(|_| ());
        seen.failed(class, evidence);
        assert_eq!(seen.trials("error"), ["boot"]);
        assert_eq!(seen.trials("passed"), [""; 0]);
        assert!(seen.log.contains(evidence), "{}", seen.log);
        seen
    }
}

impl Seen {
    /// Expects a failure of this class, told in every way it can be, and nothing left of its container.
    pub fn failed(&self, class: &str, evidence: &str) {
        let model = &self.report["models"][0];
        let failure = &model["failure"];
        assert_eq!(failure["class"], class, "{}", self.stderr);
        let lines = failure["evidence"].to_string();
        assert!(lines.contains(evidence), "{evidence} in {lines}");
        let advice = failure["advice"].as_str().unwrap();
        assert!(
            self.stderr.contains(class) && !advice.is_empty(),
            "{}",
            self.stderr
        );
        assert_eq!(self.status.code(), Some(3), "{}", self.stderr);
        assert_eq!(
            (&self.report["exit_code"], &self.report["verdict"]),
            (&3.into(), &"error".into())
        );
        assert!(
            model["log"]
                .as_str()
                .is_some_and(|log| log.ends_with(".server.log")),
            "{model}"
        );
        assert_eq!(
            containers("run", self.report["run_id"].as_str().unwrap()),
            [""; 0]
        );
    }

    /// Names of the trials with this verdict, behind the model's.
    pub fn trials(&self, verdict: &str) -> Vec<String> {
        let trials = self.report["models"][0]["trials"].as_array().unwrap();
        let names = trials.iter().filter(|trial| trial["verdict"] == verdict);
        names
            .map(|trial| {
                trial["name"]
                    .as_str()
                    .unwrap()
                    .split_once("::")
                    .unwrap()
                    .1
                    .to_owned()
            })
            .collect()
    }
}

/// A file that grows, read line by line.
struct Follower {
    path: PathBuf,
    file: Option<File>,
    rest: String,
}

impl Follower {
    fn of(path: PathBuf) -> Self {
        let (file, rest) = (None, String::new());
        Self { path, file, rest }
    }

    /// The events that came since the last look.
    fn events(&mut self) -> Vec<Value> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            file.read_to_string(&mut self.rest).unwrap();
        }
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..whole).collect();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Containers that are there, running or not, whose label `model-harness.NAME` has this value.
pub fn containers(name: &str, value: &str) -> Vec<String> {
    let filter = format!("label=model-harness.{name}={value}");
    let output = Command::new("docker")
        .args(["ps", "-aq", "--filter", &filter])
        .output()
        .unwrap();
    let ids = String::from_utf8(output.stdout).unwrap();
    ids.lines().map(str::to_owned).collect()
}

/// One server at a time: boots fight for cores.
pub fn turn() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of a miniature, part of what `vllm_cpu` asks for.
pub fn miniature(family: &str) -> Option<PathBuf> {
    let folder = harness::target::expand("${HARNESS_CACHE}/models").unwrap();
    let folder = folder.join(format!("miniature-{family}"));
    let why_not = format!("no {}: make it with `ci/images/miniatures`", folder.display());
    real_parts::available("vllm_cpu", &why_not, || folder.join("config.json").is_file()).then_some(folder)
}

/// The figures of the architecture matter to budgets alone, of which there are none.
fn manifest(weights: &Path) -> Value {
    json!({
        "schema": 1,
        "model": {
            "id": "specimens/specimen",
            "revision": "main",
            "path": weights.to_string_lossy(),
            "license": {"name": "Apache-2.0", "gated": false},
            "architecture": {
                "class": "Qwen3ForCausalLM", "parameters": 12_976_128, "layers": 2, "hidden_size": 128, "heads": 4,
                "kv_heads": 2, "head_dim": 64, "ffn_size": 256, "vocab_size": 49152, "max_position": 2048,
            },
            "endpoint": "chat",
            "modalities": ["text"],
        },
        "serve": {
            "tensor_parallel": 1,
            "max_model_len": 1024,
            "gpu_memory_utilization": 0.9,
            "dtype": "bfloat16",
            "max_num_seqs": 8,
            "boot_timeout": "600 s",
        },
        "stacks": [STACK],
        "cases": {"own": [case("first")]},
        "workload": {"latency": {"prompt_tokens": 16, "output_tokens": [8]}, "throughput": []},
        "budgets": {"cpu": {}},
    })
}

pub fn case(id: &str) -> Value {
    json!({"id": id, "prompt": "Say one word.", "max_tokens": 4, "golden": true})
}

/// Changes `config.json` of a model folder.
pub fn edit_config(weights: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let path = weights.join("config.json");
    let mut config = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, Value::from(config).to_string()).unwrap();
}
