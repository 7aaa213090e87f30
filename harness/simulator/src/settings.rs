//! What the server runs with: the command line, the environment and the release's defaults, resolved as vLLM
//! resolves them, with the memory that follows.

use crate::args::ServeArgs;
use crate::config::ModelSpec;
use crate::faults::{Fault, StartFailure};
use crate::memory::{Capacity, Placement};
use crate::profile::{Platform, Profile};
use crate::version::{Generation, Version};

/// Flags of the environment that change what a server does or prints.
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `VLLM_USE_V1`.
    pub use_v1: Option<bool>,
    /// `VLLM_LOGGING_LEVEL=DEBUG`.
    pub debug: bool,
    /// `NO_COLOR` is set.
    pub no_color: bool,
    /// `VLLM_DISABLE_LOG_LOGO=1`.
    pub no_logo: bool,
    /// `VLLM_SERVER_DEV_MODE=1`.
    pub dev_mode: bool,
}

impl Environment {
    /// Reads the process's environment.
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let is_on = |name: &str| text(name).is_some_and(|value| value == "1");
        Self {
            use_v1: text("VLLM_USE_V1").map(|value| value == "1"),
            debug: text("VLLM_LOGGING_LEVEL").is_some_and(|value| value.eq_ignore_ascii_case("debug")),
            no_color: text("NO_COLOR").is_some_and(|value| !value.is_empty()),
            no_logo: is_on("VLLM_DISABLE_LOG_LOGO"),
            dev_mode: is_on("VLLM_SERVER_DEV_MODE"),
        }
    }
}

/// Everything that is fixed once a server has started.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of a command line"
)]
#[derive(Debug, Clone)]
pub struct Settings {
    /// Release.
    pub version: Version,
    /// Engine.
    pub generation: Generation,
    /// Environment.
    pub environment: Environment,
    /// Architecture.
    pub model: ModelSpec,
    /// Card.
    pub profile: Profile,
    /// The positional argument.
    pub model_path: String,
    /// Names by which requests ask for it; the first is answered.
    pub served_names: Vec<String>,
    /// Address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Parallelism, lengths and limits.
    pub placement: Placement,
    /// `torch.bfloat16` and the like.
    pub dtype: &'static str,
    /// As given.
    pub kv_cache_dtype: String,
    /// `--seed`.
    pub seed: Option<i64>,
    /// `--trust-remote-code`.
    pub trust_remote_code: bool,
    /// `--quantization`.
    pub quantization: Option<String>,
    /// No graphs.
    pub enforce_eager: bool,
    /// Blocks of equal prefixes are shared.
    pub prefix_caching: bool,
    /// Prompts may be split over steps.
    pub chunked_prefill: bool,
    /// A chat template is there.
    pub chat_template: bool,
    /// `--reasoning-parser` in effect.
    pub splits_reasoning: bool,
    /// `--enable-auto-tool-choice` with a parser.
    pub parses_tools: bool,
    /// Most logprobs of a position; `None` is no limit.
    pub max_logprobs: Option<usize>,
    /// Requests are logged.
    pub log_requests: bool,
    /// Access is logged.
    pub log_access: bool,
    /// Statistics are logged and counted.
    pub log_stats: bool,
    /// `usage.prompt_tokens_details` is filled.
    pub prompt_tokens_details: bool,
    /// Memory of a rank.
    pub capacity: Capacity,
}

/// Settings that vLLM refuses at once, with its words.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `ValueError` with that text.
    #[error("{0}")]
    Value(String),
    /// The simulator's configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}

fn count(args: &ServeArgs, name: &str, default: u64) -> Result<u64, SettingsError> {
    match args.int(name) {
        None => Ok(default),
        Some(value) => u64::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| SettingsError::Value(format!("{name} must be greater than 0, got {value}"))),
    }
}

impl Settings {
    /// Resolves a command line.
    pub fn resolve(args: &ServeArgs, environment: Environment) -> Result<Self, SettingsError> {
        let version = args.config.vllm_version.clone();
        let generation = match environment.use_v1 {
            Some(true) => Generation::V1,
            Some(false) if !version.at_least(11, 0) => Generation::V0,
            _ => version.default_generation(),
        };
        let model = args.config.model.clone();
        let profile = args.config.card()?;
        let placement = placement(args, &model, &profile, generation)?;
        let leaked_mib: f64 = args.faults.iter().map(leaked_mib).sum();
        let mut capacity = Capacity::compute(&model, &profile, &placement, leaked_mib / 1024.0);
        if let Some(blocks) = args
            .int("num_gpu_blocks_override")
            .and_then(|value| u64::try_from(value).ok())
        {
            capacity.blocks = blocks;
        }
        let parser = args.text("reasoning_parser").is_some();
        let needs_switch = !version.at_least(9, 0);
        let port = u16::try_from(args.int("port").unwrap_or(8000))
            .map_err(|_| SettingsError::Value("port must be 0-65535.".to_owned()))?;
        let switch = |name: &str| args.switch(name).unwrap_or(false);
        Ok(Self {
            served_names: args
                .list("served_model_name")
                .map_or_else(|| vec![args.model.clone()], <[String]>::to_vec),
            host: args.text("host").unwrap_or("0.0.0.0").to_owned(),
            port,
            dtype: dtype(args.text("dtype").unwrap_or("auto")),
            kv_cache_dtype: args.text("kv_cache_dtype").unwrap_or("auto").to_owned(),
            seed: args.int("seed").or_else(|| version.at_least(12, 0).then_some(0)),
            trust_remote_code: switch("trust_remote_code"),
            quantization: args.text("quantization").map(str::to_owned),
            enforce_eager: switch("enforce_eager"),
            prefix_caching: args
                .switch("enable_prefix_caching")
                .unwrap_or(generation == Generation::V1),
            chunked_prefill: chunked(args, &placement, generation),
            chat_template: args.text("chat_template").is_some()
                || (model.chat_template && !args.faults.contains(&Fault::NoChatTemplate)),
            splits_reasoning: parser && (!needs_switch || switch("enable_reasoning")),
            parses_tools: switch("enable_auto_tool_choice") && args.text("tool_call_parser").is_some(),
            max_logprobs: usize::try_from(args.int("max_logprobs").unwrap_or(20)).ok(),
            log_requests: if version.logs_requests_by_default() {
                !switch("disable_log_requests")
            } else {
                switch("enable_log_requests")
            },
            log_access: !switch("disable_uvicorn_access_log"),
            log_stats: !switch("disable_log_stats"),
            prompt_tokens_details: switch("enable_prompt_tokens_details"),
            model_path: args.model.clone(),
            version,
            generation,
            environment,
            model,
            profile,
            placement,
            capacity,
        })
    }

    /// Ranks of the server.
    pub fn world(&self) -> u64 {
        self.placement.tensor_parallel * self.placement.pipeline_parallel
    }

    /// The name answers carry.
    pub fn served_name(&self) -> &str {
        self.served_names.first().map_or(&self.model_path, |name| name)
    }

    /// The failure that these figures lead to while the engine starts, if any.
    pub fn natural_failure(&self) -> Option<Doom> {
        if self.placement.max_model_len > self.model.max_position {
            return Some(Doom::Failure(StartFailure::LengthAboveConfig));
        }
        let capacity = &self.capacity;
        let needed = capacity.weights_gib + capacity.non_torch_gib;
        if needed > capacity.total_gib {
            Some(Doom::OomLoad)
        } else if needed + capacity.activation_gib > capacity.total_gib {
            Some(Doom::OomProfiling)
        } else if capacity.blocks == 0 {
            Some(Doom::Failure(StartFailure::NoKvRoom))
        } else if capacity.tokens() < capacity.max_model_len {
            Some(Doom::Failure(StartFailure::LengthTooLarge))
        } else {
            None
        }
    }
}

/// How a start ends badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doom {
    /// Out of memory while weights are loaded.
    OomLoad,
    /// Out of memory while memory is profiled.
    OomProfiling,
    /// Another failure.
    Failure(StartFailure),
}

fn leaked_mib(fault: &Fault) -> f64 {
    match fault {
        Fault::Leak { mib, runs } => mib * (*runs as f64),
        _ => 0.0,
    }
}

fn dtype(name: &str) -> &'static str {
    match name {
        "half" | "float16" => "torch.float16",
        "float" | "float32" => "torch.float32",
        _ => "torch.bfloat16",
    }
}

fn placement(
    args: &ServeArgs,
    model: &ModelSpec,
    profile: &Profile,
    generation: Generation,
) -> Result<Placement, SettingsError> {
    let version = &args.config.vllm_version;
    let tensor_parallel = count(args, "tensor_parallel_size", 1)?;
    if !model.heads.is_multiple_of(tensor_parallel) {
        return Err(SettingsError::Value(format!(
            "Total number of attention heads ({}) must be divisible by tensor parallel size ({tensor_parallel}).",
            model.heads
        )));
    }
    let utilization = args
        .float("gpu_memory_utilization")
        .or_else(|| args.float("device_memory_utilization"))
        .unwrap_or_else(|| version.default_gpu_memory_utilization());
    if !(utilization > 0.0 && utilization <= 1.0) {
        let message = format!("GPU memory utilization must be less than 1.0. Got {utilization}.");
        return Err(SettingsError::Value(message));
    }
    let max_model_len = match args.int("max_model_len") {
        Some(-1) if version.at_least(14, 0) => model.max_position,
        _ => count(args, "max_model_len", model.max_position)?,
    };
    // FlashMLA works on blocks of 64 only.
    let block_size = if model.mla.is_some() && profile.platform == Platform::Metax {
        64
    } else {
        count(args, "block_size", 16)?
    };
    let mut placement = Placement {
        tensor_parallel,
        pipeline_parallel: count(args, "pipeline_parallel_size", 1)?,
        utilization,
        max_model_len,
        block_size,
        max_num_seqs: count(args, "max_num_seqs", 256)?,
        max_num_batched_tokens: 0,
        kv_bytes: kv_bytes(args, model),
        graphs_in_budget: version.profiles_graphs() && args.switch("enforce_eager") != Some(true),
    };
    let whole_prompts = !chunked(args, &placement, generation);
    let default_budget = if whole_prompts {
        max_model_len.max(2048)
    } else {
        2048
    };
    placement.max_num_batched_tokens = count(args, "max_num_batched_tokens", default_budget)?;
    Ok(placement)
}

/// Bytes of a key or value element.
fn kv_bytes(args: &ServeArgs, model: &ModelSpec) -> u64 {
    let least = if dtype(args.text("dtype").unwrap_or("auto")) == "torch.float32" {
        4
    } else {
        2
    };
    match args.text("kv_cache_dtype") {
        Some(name) if name.starts_with("fp8") => 1,
        _ => model.bytes_per_parameter.max(least),
    }
}

/// V1 always splits prompts; V0 by itself only above 32K.
fn chunked(args: &ServeArgs, placement: &Placement, generation: Generation) -> bool {
    let by_default = generation == Generation::V1 || placement.max_model_len > 32_768;
    args.switch("enable_chunked_prefill").unwrap_or(by_default) || generation == Generation::V1
}
