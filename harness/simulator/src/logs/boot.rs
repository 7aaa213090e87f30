//! The boot as a list of steps: what is printed, and how much simulated time passes before it.
//!
//! The list is built from the settings before anything is printed, so it can be tested as data; templates
//! follow the release (`Version`), figures follow the capacity.

use crate::args::ServeArgs;
use crate::logs::config_lines::{engine_config, namespace, non_default};
use crate::logs::memory_lines::{python_rounded, thousands, usage_line, v0_breakdown, v1_profile};
use crate::logs::record::{Level, Process};
use crate::logs::routes;
use crate::memory::GIB;
use crate::profile::Platform;
use crate::settings::Settings;
use crate::version::Generation;

/// One step of a boot.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Simulated seconds pass.
    Wait(f64),
    /// A log record: process, level, `file.py:line`, message.
    Record(Process, Level, String, String),
    /// Text without a record's head.
    Raw(Process, String),
    /// A step of a progress bar.
    Progress(Process, String),
    /// The socket is listened on from here.
    Listen,
}

/// Where a boot can be ended early by a failure.
#[derive(Debug, Default)]
pub struct BootScript {
    /// Until the engine's process starts.
    pub before_engine: Vec<Step>,
    /// Until weights are loaded.
    pub loading: Vec<Step>,
    /// Until memory is profiled and blocks are counted.
    pub profiling: Vec<Step>,
    /// Until the server answers.
    pub finishing: Vec<Step>,
}

struct Writer<'a> {
    settings: &'a Settings,
    steps: Vec<Step>,
}

/// The whole boot of these settings.
pub fn boot_script(settings: &Settings, args: &ServeArgs) -> BootScript {
    let phase = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut writer = Writer {
            settings,
            steps: Vec::new(),
        };
        write(&mut writer);
        writer.steps
    };
    BootScript {
        before_engine: phase(&|writer| writer.before_engine(args)),
        loading: phase(&|writer| writer.loading()),
        profiling: phase(&|writer| writer.profiling()),
        finishing: phase(&|writer| writer.finishing()),
    }
}

impl Writer<'_> {
    fn say(&mut self, process: Process, level: Level, source: &str, message: impl Into<String>) {
        self.steps
            .push(Step::Record(process, level, source.to_owned(), message.into()));
    }

    fn info(&mut self, process: Process, source: &str, message: impl Into<String>) {
        self.say(process, Level::Info, source, message);
    }

    fn wait(&mut self, seconds: f64) {
        self.steps.push(Step::Wait(seconds));
    }

    fn is_v0(&self) -> bool {
        self.settings.generation == Generation::V0
    }

    /// The processes that print a rank's lines; `once` lines come from the node's first rank only.
    fn ranks(&self, once: bool) -> Vec<(u64, Process)> {
        let world = self.settings.world();
        if world == 1 {
            return vec![(0, Process::Engine)];
        }
        let shown = if once && self.settings.version.once_per_node() {
            1
        } else {
            world
        };
        (0..shown).map(|rank| (rank, Process::Worker(rank))).collect()
    }

    fn platform(&mut self, process: Process) {
        if self.settings.profile.platform == Platform::Cuda {
            self.info(
                process,
                "__init__.py:239",
                "Automatically detected platform cuda.",
            );
            return;
        }
        self.info(
            process,
            "__init__.py:44",
            "Available plugins for group vllm.platform_plugins:",
        );
        self.info(process, "__init__.py:46", "- metax -> vllm_metax:register");
        self.info(
            process,
            "__init__.py:49",
            "All plugins in this group will be loaded. Set `VLLM_PLUGINS` to control which plugins to load.",
        );
        self.info(process, "__init__.py:212", "Platform plugin metax is activated");
        let settings = self.settings;
        if settings.version.at_least(17, 0) {
            let reason = "Plugin sets VLLM_USE_FLASHINFER_SAMPLER to False. Reason: flashinfer sampler are not supported on maca";
            self.info(process, "envs.py:104", reason);
        } else if settings.version.at_least(12, 0) {
            let reason = "Note!: set VLLM_USE_FLASHINFER_SAMPLER to False. Reason: flashinfer sampler are not supported on maca";
            self.info(process, "envs.py:104", reason);
        }
    }

    fn before_engine(&mut self, args: &ServeArgs) {
        let settings = self.settings;
        let version = &settings.version;
        self.wait(2.0);
        self.platform(Process::Unnamed);
        self.wait(3.0);
        if version.logo() && !settings.environment.no_logo {
            let logo = format!(
                "\n       █     █     █▄   ▄█\n ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}\n  █▄█▀ █     █     █     █  model   {}\n   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀\n",
                settings.model_path
            );
            self.info(Process::Api, "utils.py:302", logo);
        } else if version.logo() {
            let line = format!(
                "vLLM server version {version}, serving model {}",
                settings.model_path
            );
            self.info(Process::Api, "utils.py:302", line);
        } else {
            self.info(
                Process::Api,
                "api_server.py:1043",
                format!("vLLM API server version {version}"),
            );
        }
        if version.at_least(9, 0) {
            self.info(
                Process::Api,
                "utils.py:253",
                format!("non-default args: {}", non_default(args)),
            );
        } else {
            self.info(
                Process::Api,
                "api_server.py:1044",
                format!("args: {}", namespace(args)),
            );
        }
        self.wait(2.5);
        self.resolution();
    }

    fn resolution(&mut self) {
        let settings = self.settings;
        let version = &settings.version;
        if version.at_least(10, 2) {
            let line = format!("Resolved architecture: {}", settings.model.architecture);
            self.info(Process::Api, "model.py:637", line);
        } else {
            let line = "This model supports multiple tasks: {'generate', 'embed', 'score', 'classify', 'reward'}. Defaulting to 'generate'.";
            self.info(Process::Api, "config.py:717", line);
        }
        if version.at_least(9, 2) {
            let line = format!("Using max model len {}", settings.placement.max_model_len);
            self.info(Process::Api, "model.py:1750", line);
        }
        if settings.model.mla.is_some() && settings.profile.platform == Platform::Metax {
            let line = "Forcing kv cache block size to 64 for FlashMLA backend.";
            self.info(Process::Api, "platform.py:160", line);
        }
        if self.is_v0() {
            let line = format!("Started engine process with PID {}", std::process::id() + 1);
            self.info(Process::Api, "api_server.py:246", line);
        }
        if settings.chunked_prefill {
            let line = format!(
                "Chunked prefill is enabled with max_num_batched_tokens={}.",
                settings.placement.max_num_batched_tokens
            );
            self.info(Process::Api, "scheduler.py:228", line);
        }
    }

    fn loading(&mut self) {
        let settings = self.settings;
        let version = &settings.version;
        self.wait(2.0);
        self.platform(if self.is_v0() {
            Process::Unnamed
        } else {
            Process::Engine
        });
        self.wait(1.5);
        let (generation, source) = if self.is_v0() {
            ("V0", "llm_engine.py:240")
        } else {
            ("V1", "core.py:93")
        };
        let line = format!(
            "Initializing a {generation} LLM engine (v{version}) with config: {}",
            engine_config(settings)
        );
        self.info(Process::Engine, source, line);
        self.attention();
        self.assignments();
        let load_s = settings.capacity.weights_gib / settings.profile.boot.load_gib_per_s;
        if !(version.at_least(25, 0) || self.is_v0()) {
            for (_, process) in self.ranks(true) {
                let line = format!("Starting to load model {}...", settings.model_path);
                self.info(process, "gpu_model_runner.py:1329", line);
            }
        } else if self.is_v0() {
            for (_, process) in self.ranks(false) {
                let line = format!("Starting to load model {}...", settings.model_path);
                self.info(process, "model_runner.py:1108", line);
            }
        }
        self.shards(load_s);
        for (_, process) in self.ranks(true) {
            self.info(
                process,
                "loader.py:458",
                format!("Loading weights took {load_s:.2} seconds"),
            );
        }
        self.load_line(load_s + 0.31);
    }

    fn attention(&mut self) {
        let settings = self.settings;
        let version = &settings.version;
        let metax = settings.profile.platform == Platform::Metax;
        let lines: Vec<String> = if self.is_v0() {
            vec!["Using Flash Attention backend.".to_owned()]
        } else if !version.at_least(11, 2) {
            let name = if metax {
                "Metax Flash Attention"
            } else {
                "Flash Attention"
            };
            vec![format!("Using {name} backend on V1 engine.")]
        } else if !version.at_least(12, 0) {
            vec!["Using FLASH_ATTN backend.".to_owned()]
        } else {
            let (open, close) = match version {
                version if version.at_least(16, 0) => ("[", "]."),
                version if version.at_least(13, 0) => ("(", ")"),
                _ => ("[", "]"),
            };
            vec![format!(
                "Using FLASH_ATTN attention backend out of potential backends: {open}'FLASH_ATTN', 'FLASHINFER', 'TRITON_ATTN', 'FLEX_ATTENTION'{close}"
            )]
        };
        for line in lines {
            self.info(Process::Engine, "platform.py:484", line);
        }
        if metax && version.at_least(12, 0) {
            let line = "Using Maca version of flash attention, which only supports version 2.";
            self.info(Process::Engine, "fa_utils.py:21", line);
        }
    }

    fn assignments(&mut self) {
        let settings = self.settings;
        let (version, world) = (&settings.version, settings.world());
        for (rank, process) in self.ranks(false) {
            let tensor = rank % settings.placement.tensor_parallel;
            let pipeline = rank / settings.placement.tensor_parallel;
            let expert = if version.at_least(14, 0) {
                "N/A".to_owned()
            } else {
                tensor.to_string()
            };
            let tail = if version.at_least(30, 0) {
                format!("PCP rank 0, TP rank {tensor}, ETP rank {tensor}, EP rank {expert}, EPLB rank N/A")
            } else if version.at_least(17, 0) {
                format!("PCP rank 0, TP rank {tensor}, EP rank {expert}, EPLB rank N/A")
            } else if version.at_least(12, 0) {
                format!("PCP rank 0, TP rank {tensor}, EP rank {expert}")
            } else if version.at_least(9, 0) {
                format!("TP rank {tensor}, EP rank {expert}")
            } else {
                format!("TP rank {tensor}")
            };
            let line = format!(
                "rank {rank} in world size {world} is assigned as DP rank 0, PP rank {pipeline}, {tail}"
            );
            self.info(process, "parallel_state.py:1004", line);
        }
    }

    fn shards(&mut self, load_s: f64) {
        let count = self.settings.model.parameters.div_ceil(2_500_000_000).max(1);
        let process = self
            .ranks(true)
            .first()
            .map_or(Process::Engine, |(_, process)| *process);
        for shard in 0..=count {
            if shard > 0 {
                self.wait(load_s / count as f64);
            }
            let done = load_s * shard as f64 / count as f64;
            let rate = if shard == 0 {
                "?it/s".to_owned()
            } else {
                format!("{:5.2}s/it", load_s / count as f64)
            };
            self.steps.push(Step::Progress(
                process,
                format!(
                    "Loading safetensors checkpoint shards: {:3}% Completed | {shard}/{count} [00:{done:02.0}<00:00, {rate}]",
                    100 * shard / count
                ),
            ));
        }
        self.steps.push(Step::Raw(process, String::new()));
    }

    fn load_line(&mut self, seconds: f64) {
        let settings = self.settings;
        let version = &settings.version;
        let gib = settings.capacity.weights_gib;
        let figure = if version.rounded_gib() {
            python_rounded(gib)
        } else {
            format!("{gib:.4}")
        };
        let memory = if version.load_line_says_memory() {
            " memory"
        } else {
            ""
        };
        let source = if self.is_v0() {
            "model_runner.py:1140"
        } else {
            "gpu_model_runner.py:1347"
        };
        for (_, process) in self.ranks(true) {
            let line = format!("Model loading took {figure} GiB{memory} and {seconds:.6} seconds");
            self.info(process, source, line);
        }
    }

    fn profiling(&mut self) {
        let profile_s = self.settings.profile.boot.profile_s;
        if self.is_v0() {
            self.wait(profile_s);
            for (_, process) in self.ranks(false) {
                let line = v0_breakdown(self.settings, profile_s);
                self.info(process, "worker.py:287", line);
            }
            let blocks = self.settings.capacity.blocks;
            let swap = 4.0 * GIB / self.block_bytes();
            self.info(
                Process::Engine,
                "executor_base.py:112",
                format!(
                    "# cuda blocks: {blocks}, # CPU blocks: {swap:.0}",
                    swap = swap.floor()
                ),
            );
            let line = format!(
                "Maximum concurrency for {} tokens per request: {:.2}x",
                self.settings.capacity.max_model_len,
                self.settings.capacity.max_concurrency()
            );
            self.info(Process::Engine, "executor_base.py:117", line);
            return;
        }
        self.compilation();
        self.wait(profile_s);
        self.v1_memory(profile_s);
        self.v1_cache();
    }

    fn block_bytes(&self) -> f64 {
        (self.settings.capacity.kv_bytes_per_token * self.settings.capacity.block_size) as f64
    }

    fn compilation(&mut self) {
        let settings = self.settings;
        if settings.enforce_eager {
            return;
        }
        let version = &settings.version;
        let processes = self.ranks(true);
        self.wait(7.0);
        for (_, process) in &processes {
            self.info(
                *process,
                "backends.py:416",
                "Dynamo bytecode transform time: 7.02 s",
            );
        }
        self.wait(11.0);
        let verb = if version.at_least(18, 0) { "took" } else { "takes" };
        for (_, process) in &processes {
            self.info(
                *process,
                "monitor.py:33",
                format!("torch.compile {verb} 18.02 s in total"),
            );
        }
    }

    fn v1_memory(&mut self, profile_s: f64) {
        let settings = self.settings;
        let (version, capacity) = (&settings.version, &settings.capacity);
        let gib = |value: f64| {
            if version.rounded_gib() {
                python_rounded(value)
            } else {
                format!("{value:.2}")
            }
        };
        for (_, process) in self.ranks(true) {
            if !version.prints_available_kv() {
                continue;
            }
            let free = capacity.total_gib - 0.4;
            let requested = capacity.budget_gib;
            let first = if version.at_least(10, 2) {
                format!(
                    "Initial free memory: {} GiB; Requested memory: {:.2} (util), {} GiB",
                    gib(free),
                    settings.placement.utilization,
                    gib(requested)
                )
            } else {
                format!(
                    "Initial free memory: {free:.2} GiB, free memory: {free:.2} GiB, requested GPU memory: {requested:.2} GiB"
                )
            };
            self.say(process, Level::Debug, "gpu_worker.py:230", first);
            let line = v1_profile(settings, profile_s);
            self.say(process, Level::Debug, "gpu_worker.py:245", line);
            let line = format!("Available KV cache memory: {} GiB", gib(capacity.kv_gib));
            self.info(process, "gpu_worker.py:255", line);
        }
    }

    fn v1_cache(&mut self) {
        let settings = self.settings;
        let (version, capacity) = (&settings.version, &settings.capacity);
        let tokens = thousands(capacity.tokens());
        let length = thousands(capacity.max_model_len);
        let concurrency = capacity.max_concurrency();
        let concurrency = format!("Maximum concurrency for {length} tokens per request: {concurrency:.2}x");
        // Before 0.11.2 the pair is printed once for each rank.
        let times = if version.at_least(11, 2) {
            1
        } else {
            settings.world()
        };
        for _ in 0..times {
            if version.merged_kv_line() {
                let line = format!("GPU KV cache size: {tokens} tokens, {concurrency}");
                self.info(Process::Engine, "kv_cache_utils.py:1286", line);
            } else {
                let line = format!("GPU KV cache size: {tokens} tokens");
                self.info(Process::Engine, "kv_cache_utils.py:1286", line);
                self.info(Process::Engine, "kv_cache_utils.py:1291", concurrency.clone());
            }
        }
        if version.at_least(9, 2) {
            let level = if version.at_least(11, 2) {
                Level::Debug
            } else {
                Level::Info
            };
            let line = format!(
                "Engine 000: vllm cache_config_info with initialization after num_gpu_blocks is: {}",
                capacity.blocks
            );
            self.say(Process::Api, level, "loggers.py:141", line);
        }
    }

    fn finishing(&mut self) {
        let settings = self.settings;
        let version = &settings.version;
        let boot = &settings.profile.boot;
        let graphs_s = if settings.enforce_eager {
            0.0
        } else {
            boot.graphs_s
        };
        if !settings.enforce_eager {
            self.wait(graphs_s);
            for (_, process) in self.ranks(true) {
                let line = format!(
                    "Graph capturing finished in {graphs_s:.0} secs, took {:.2} GiB",
                    settings.capacity.graph_gib
                );
                self.info(process, "model_runner.py:1592", line);
            }
        }
        if let Some(at_info) = version.usage_line_at_info().filter(|_| !self.is_v0()) {
            let level = if at_info { Level::Info } else { Level::Debug };
            for (_, process) in self.ranks(false) {
                self.say(process, level, "gpu_worker.py:391", usage_line(settings));
            }
        }
        let init_s = boot.profile_s + graphs_s + if self.is_v0() { 0.4 } else { 18.4 };
        let unit = if version.at_least(20, 2) { "s" } else { "seconds" };
        let source = if self.is_v0() {
            "llm_engine.py:437"
        } else {
            "core.py:254"
        };
        let line = format!("init engine (profile, create kv cache, warmup model) took {init_s:.2} {unit}");
        self.info(Process::Engine, source, line);
        self.wait(1.0);
        self.serving();
    }

    fn serving(&mut self) {
        let settings = self.settings;
        let version = &settings.version;
        let address = format!("http://{}:{}", settings.host, settings.port);
        let line = if version.at_least(18, 0) {
            format!("Starting vLLM server on {address}")
        } else if version.at_least(9, 2) {
            format!("Starting vLLM API server 0 on {address}")
        } else {
            format!("Starting vLLM API server on {address}")
        };
        self.info(Process::Api, "api_server.py:1090", line);
        self.info(Process::Api, "launcher.py:28", "Available routes are:");
        for (path, methods) in routes::announced(version) {
            self.info(
                Process::Api,
                "launcher.py:36",
                format!("Route: {path}, Methods: {methods}"),
            );
        }
        let pid = std::process::id();
        for line in [
            format!("Started server process [{pid}]"),
            "Waiting for application startup.".to_owned(),
        ] {
            self.steps
                .push(Step::Raw(Process::Api, format!("INFO:     {line}")));
        }
        self.steps.push(Step::Listen);
        let line = "INFO:     Application startup complete.".to_owned();
        self.steps.push(Step::Raw(Process::Api, line));
    }
}
