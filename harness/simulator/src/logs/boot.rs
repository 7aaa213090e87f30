//! The boot as a list of steps: what is printed, and how much simulated time passes before it.
//!
//! The list is built from the settings before anything is printed, so it can be tested as data; templates
//! follow the release (`Version`), figures follow the capacity.

use crate::args::ServeArgs;
use crate::logs::config_lines::{namespace, non_default};
use crate::logs::memory_lines::usage_line;
use crate::logs::record::{Level, Process};
use crate::logs::routes;
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

/// Writes steps down.
pub(super) struct Writer<'a> {
    pub(super) settings: &'a Settings,
    pub(super) steps: Vec<Step>,
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
    pub(super) fn say(&mut self, process: Process, level: Level, source: &str, message: impl Into<String>) {
        self.steps
            .push(Step::Record(process, level, source.to_owned(), message.into()));
    }

    pub(super) fn info(&mut self, process: Process, source: &str, message: impl Into<String>) {
        self.say(process, Level::Info, source, message);
    }

    pub(super) fn wait(&mut self, seconds: f64) {
        self.steps.push(Step::Wait(seconds));
    }

    pub(super) fn is_v0(&self) -> bool {
        self.settings.generation == Generation::V0
    }

    /// The processes that print a rank's lines; `once` lines come from the node's first rank only.
    pub(super) fn ranks(&self, once: bool) -> Vec<(u64, Process)> {
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

    pub(super) fn platform(&mut self, process: Process) {
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
        self.plugin_library(process);
        if settings.version.at_least(17, 0) {
            let reason = "Plugin sets VLLM_USE_FLASHINFER_SAMPLER to False. Reason: flashinfer sampler are not supported on maca";
            self.info(process, "envs.py:104", reason);
        } else if settings.version.at_least(12, 0) {
            let reason = "Note!: set VLLM_USE_FLASHINFER_SAMPLER to False. Reason: flashinfer sampler are not supported on maca";
            self.info(process, "envs.py:104", reason);
        }
    }

    /// Versions of the plugin's operators, as the library itself prints them.
    fn plugin_library(&mut self, process: Process) {
        let version = &self.settings.version;
        if !version.at_least(12, 0) {
            return;
        }
        let maca = match version {
            version if version.at_least(20, 0) => "3.7.0.15",
            version if version.at_least(14, 0) => "3.5.3.20",
            _ => "3.3.0.15",
        };
        let text = format!("\nVersion info:Mcoplib_Version = '0.4.2'\nBuild_Maca_Version = '{maca}'\n");
        self.steps.push(Step::Raw(process, text));
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
                let v1 = !self.is_v0();
                let source = if v1 {
                    "gpu_model_runner.py:3600"
                } else {
                    "model_runner.py:1592"
                };
                self.info(process, source, line);
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
