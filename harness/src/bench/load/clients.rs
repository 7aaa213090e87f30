//! Who takes part: ours, with the kernel's clock and with its own, the raw client, and `vllm bench serve`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::{
    Case, LeftOut, Plan,
    process::BenchError,
    targets::{OURS, RAW},
    truth::Reported,
};
use crate::load::{self, recording};

/// The image that holds vLLM for the CPU.
const VLLM_IMAGE: &str = "harness-vllm-cpu:0.12.0";
/// The model whose tokenizer vLLM is given.
const VLLM_MODEL: &str = "SmolLM2-135M-Instruct-bfloat16";
/// Runs a command and tells what it cost: a container's processes are no children of ours.
const WRAPPER: &str = "import json, resource, subprocess, sys, time
begun = time.time()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({'begun_s': begun, 'cpu_s': used.ru_utime + used.ru_stime, 'rss_kb': used.ru_maxrss, 'status': status}))";

/// One who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contender {
    /// `harness load`.
    Harness {
        /// Whether times are those at which it wakes.
        user_clock: bool,
    },
    /// The raw client.
    Raw(PathBuf),
    /// `vllm bench serve` of a program on PATH.
    Vllm(PathBuf),
    /// `vllm bench serve` out of a container image.
    VllmImage(PathBuf),
}

/// What a wrapped command cost.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Cost {
    /// When it began, seconds of the real-time clock.
    pub begun_s: f64,
    /// Processor time, seconds.
    pub cpu_s: f64,
    /// Greatest memory, KiB.
    pub rss_kb: f64,
    /// How it ended.
    pub status: i32,
}

/// Everybody who can take part, and who cannot.
pub fn contenders(peers: bool) -> (Vec<Contender>, Vec<LeftOut>) {
    let mut all = vec![
        Contender::Harness { user_clock: false },
        Contender::Harness { user_clock: true },
    ];
    let mut left_out = Vec::new();
    let mut leave = |client: &str, why: &str| {
        left_out.push(LeftOut {
            client: client.to_owned(),
            why: why.to_owned(),
        });
    };
    match beside("raw_client") {
        Some(path) => all.push(Contender::Raw(path)),
        None => leave(
            RAW,
            "no raw_client beside this program: build it with `cargo build --release -p harness`",
        ),
    }
    if peers {
        match vllm() {
            Ok(contender) => all.push(contender),
            Err(why) => leave("vllm bench serve", &why),
        }
        for (client, program) in [
            ("guidellm", "guidellm"),
            ("aiperf", "aiperf"),
            ("evalscope", "evalscope"),
        ] {
            let why = if on_path(program).is_some() {
                "installed, but this bench does not read its results"
            } else {
                "not on PATH"
            };
            leave(client, why);
        }
    } else {
        leave("peers", "--no-peers");
    }
    (all, left_out)
}

/// A program of this build.
fn beside(name: &str) -> Option<PathBuf> {
    let path = env::current_exe().ok()?.with_file_name(name);
    path.is_file().then_some(path)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn vllm() -> Result<Contender, String> {
    let cache = env::var_os("HARNESS_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/model-harness")))
        .ok_or("neither HARNESS_CACHE nor HOME is set")?;
    let model = cache.join("models").join(VLLM_MODEL);
    if !model.is_dir() {
        return Err(format!(
            "no {VLLM_MODEL} for its tokenizer: make it with `ci/images/build --model-only`"
        ));
    }
    if on_path("vllm").is_some() {
        return Ok(Contender::Vllm(model));
    }
    let inspected = Command::new("docker")
        .args(["image", "inspect", VLLM_IMAGE])
        .output();
    if inspected.is_ok_and(|output| output.status.success()) {
        Ok(Contender::VllmImage(model))
    } else {
        Err(format!(
            "no vllm on PATH and no image {VLLM_IMAGE}: make it with `ci/images/build 0.12.0`"
        ))
    }
}

impl Contender {
    /// Whether it is somebody else's.
    pub const fn is_peer(&self) -> bool {
        matches!(self, Self::Vllm(_) | Self::VllmImage(_))
    }

    /// Name in rows.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Harness { user_clock: false } => OURS,
            Self::Harness { user_clock: true } => "harness (user clock)",
            Self::Raw(_) => RAW,
            Self::Vllm(_) | Self::VllmImage(_) => "vllm bench serve",
        }
    }

    /// Whether its cost is told by [`WRAPPER`].
    pub const fn is_wrapped(&self) -> bool {
        matches!(self, Self::VllmImage(_))
    }

    /// The command that puts a case on the server at `port`; `processor` is the one to run on.
    pub fn command(
        &self,
        plan: &Plan,
        case: &Case,
        port: u16,
        processor: Option<usize>,
    ) -> Result<Command, BenchError> {
        let url = format!("http://127.0.0.1:{port}");
        match self {
            Self::Harness { user_clock } => {
                let mut command = Command::new(env::current_exe()?);
                command
                    .args([
                        "load",
                        "--quiet",
                        "--endpoint",
                        "chat",
                        "--warmup",
                        "0",
                        "--url",
                        &url,
                    ])
                    .args(["--shape", &format!("concurrency:n={}", case.streams)])
                    .args(["--output-len", &case.tokens.to_string()])
                    .arg("--prompts")
                    .arg(plan.prompts(case, "txt"))
                    .arg("--record")
                    .arg(self.result(plan));
                if *user_clock {
                    command.arg("--user-clock");
                }
                Ok(command)
            }
            Self::Raw(program) => {
                let mut command = Command::new(program);
                command
                    .arg(format!("127.0.0.1:{port}"))
                    .args([case.streams.to_string(), case.tokens.to_string()])
                    .arg(plan.prompts(case, "txt"));
                Ok(command)
            }
            Self::Vllm(model) => {
                let mut command = Command::new("vllm");
                Self::vllm_arguments(&mut command, plan, case, &url, &model.to_string_lossy());
                Ok(command)
            }
            Self::VllmImage(model) => {
                let folder = plan.folder.to_string_lossy();
                let mut command = Command::new("docker");
                command.args(["run", "--rm", "--network", "host", "--entrypoint", "python"]);
                if let Some(processor) = processor {
                    command.args(["--cpuset-cpus", &processor.to_string()]);
                }
                command
                    .args(["-v", &format!("{folder}:{folder}")])
                    .args(["-v", &format!("{}:/model:ro", model.display())])
                    .args([VLLM_IMAGE, "-c", WRAPPER, "vllm"]);
                Self::vllm_arguments(&mut command, plan, case, &url, "/model");
                Ok(command)
            }
        }
    }

    fn vllm_arguments(command: &mut Command, plan: &Plan, case: &Case, url: &str, tokenizer: &str) {
        command
            .args([
                "bench",
                "serve",
                "--backend",
                "openai-chat",
                "--endpoint",
                "/v1/chat/completions",
            ])
            .args(["--base-url", url, "--model", "stream", "--tokenizer", tokenizer])
            .args([
                "--dataset-name",
                "custom",
                "--skip-chat-template",
                "--disable-shuffle",
                "--dataset-path",
            ])
            .arg(plan.prompts(case, "jsonl"))
            .args(["--custom-output-len", &case.tokens.to_string()])
            .args(["--num-prompts", &case.requests.to_string()])
            .args(["--max-concurrency", &case.streams.to_string()])
            .args(["--ignore-eos", "--disable-tqdm", "--ready-check-timeout-sec", "0"])
            .args(["--save-result", "--save-detailed", "--result-dir"])
            .arg(&plan.folder)
            .args(["--result-filename", "vllm.json"]);
    }

    fn result(&self, plan: &Plan) -> PathBuf {
        plan.folder.join(match self {
            Self::Harness { .. } => "harness.jsonl",
            Self::Raw(_) => "raw.jsonl",
            Self::Vllm(_) | Self::VllmImage(_) => "vllm.json",
        })
    }

    /// What it reports, and how late it sent (median, milliseconds), where it tells. `out` is its standard output.
    pub fn reports(&self, plan: &Plan, out: &[u8]) -> Result<(Vec<Reported>, Option<f64>), BenchError> {
        let file = self.result(plan);
        match self {
            Self::Harness { .. } => harness_reports(&file),
            Self::Raw(_) => raw_reports(out).map(|reports| (reports, None)),
            Self::Vllm(_) | Self::VllmImage(_) => vllm_reports(&file).map(|reports| (reports, None)),
        }
    }
}

fn unreadable(file: &Path, why: &dyn std::fmt::Display) -> BenchError {
    BenchError::Result(format!("{}: {why}", file.display()))
}

fn harness_reports(file: &Path) -> Result<(Vec<Reported>, Option<f64>), BenchError> {
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let (_, phases) = recording::read(bytes.as_slice()).map_err(|error| unreadable(file, &error))?;
    let samples = phases.iter().flat_map(|phase| &phase.samples);
    let good = samples.clone().filter(|sample| sample.error.is_none());
    let reports = good.filter_map(|sample| {
        Some(Reported {
            id: sample.index.into(),
            ttft_ms: load::ttft_s(sample)? * 1e3,
            gaps_ms: load::gaps_s(sample).map(|gap| gap * 1e3).collect(),
        })
    });
    let mut delays: Vec<f64> = samples
        .clone()
        .map(|sample| (sample.sent_s - sample.scheduled_s) * 1e3)
        .collect();
    delays.sort_by(f64::total_cmp);
    Ok((reports.collect(), crate::stats::percentile(&delays, 50.0)))
}

fn raw_reports(out: &[u8]) -> Result<Vec<Reported>, BenchError> {
    #[derive(Deserialize)]
    struct Line {
        id: u64,
        ttft_ns: f64,
        gaps_ns: Vec<f64>,
    }
    let lines = serde_json::Deserializer::from_slice(out).into_iter::<Line>();
    let report = |line: Result<Line, serde_json::Error>| {
        let line = line.map_err(|error| BenchError::Result(format!("the raw client's output: {error}")))?;
        Ok(Reported {
            id: line.id,
            ttft_ms: line.ttft_ns / 1e6,
            gaps_ms: line.gaps_ns.iter().map(|gap| gap / 1e6).collect(),
        })
    };
    lines.map(report).collect()
}

fn vllm_reports(file: &Path) -> Result<Vec<Reported>, BenchError> {
    #[derive(Deserialize)]
    struct File {
        ttfts: Vec<f64>,
        itls: Vec<Vec<f64>>,
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let read: File = serde_json::from_slice(&bytes).map_err(|error| unreadable(file, &error))?;
    let reports = read.ttfts.iter().zip(&read.itls).zip(0..);
    Ok(reports
        .map(|((ttft, gaps), id)| Reported {
            id,
            ttft_ms: ttft * 1e3,
            gaps_ms: gaps.iter().map(|gap| gap * 1e3).collect(),
        })
        .collect())
}
