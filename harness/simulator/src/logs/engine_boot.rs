//! The engine's part of a boot: configuration, weights, memory, blocks.

use super::boot::{Step, Writer};
use super::config_lines::engine_config;
use super::memory_lines::{python_rounded, thousands, v0_breakdown, v1_profile};
use super::record::{Level, Process};
use crate::memory::GIB;
use crate::profile::Platform;

impl Writer<'_> {
    /// From the engine's first line to its loaded weights.
    pub(super) fn loading(&mut self) {
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

    /// From loaded weights to counted blocks.
    pub(super) fn profiling(&mut self) {
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
            self.graph_estimate(process);
            let line = format!("Available KV cache memory: {} GiB", gib(capacity.kv_gib));
            self.info(process, "gpu_worker.py:255", line);
        }
    }

    /// From 0.20.2 graphs count, and a line says what that means for the utilization.
    fn graph_estimate(&mut self, process: Process) {
        let settings = self.settings;
        if !settings.placement.graphs_in_budget {
            return;
        }
        let utilization = settings.placement.utilization;
        let share = settings.capacity.graph_gib / settings.capacity.total_gib;
        let line = format!(
            "CUDA graph memory profiling is enabled (default since v0.21.0). The current \
             --gpu-memory-utilization={utilization:.4} is equivalent to --gpu-memory-utilization={:.4} without CUDA \
             graph memory profiling. To maintain the same effective KV cache size as before, increase \
             --gpu-memory-utilization to {:.4}.",
            utilization - share,
            utilization + share
        );
        self.info(process, "gpu_worker.py:420", line);
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
}
