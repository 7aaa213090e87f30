//! How starts fail: the words of each failure, in the process that would say them, and the exit status.
//!
//! A failure of the configuration is raised in the API server itself; any other in the engine, whose traceback
//! is logged and followed by the API server's own. The texts are those of vLLM, torch or the MetaX driver.

use crate::faults::StartFailure;
use crate::logs::boot::Step;
use crate::logs::record::{Level, Process};
use crate::memory::GIB;
use crate::settings::{Doom, Settings};
use crate::version::Generation;

/// An exception: its class as a traceback names it, and its text.
struct Exception {
    class: &'static str,
    text: String,
}

fn value_error(text: impl Into<String>) -> Exception {
    Exception {
        class: "ValueError",
        text: text.into(),
    }
}

fn runtime_error(text: impl Into<String>) -> Exception {
    Exception {
        class: "RuntimeError",
        text: text.into(),
    }
}

/// True for failures of the configuration, before an engine is started.
pub fn fails_before_engine(failure: StartFailure) -> bool {
    use StartFailure as F;
    matches!(
        failure,
        F::LengthAboveConfig
            | F::UnsupportedArchitecture
            | F::RemovedArchitecture
            | F::RemoteCode
            | F::BadPath
            | F::Tokenizer
            | F::UnknownFlag
            | F::PortTaken
            | F::MissingModule
    )
}

/// A crash while weights are loaded rather than while memory is profiled.
pub fn loading_crash(failure: StartFailure) -> bool {
    use StartFailure as F;
    !matches!(
        failure,
        F::NoKvRoom
            | F::LengthTooLarge
            | F::OomWarmup
            | F::ProfilingDisturbed
            | F::RingBuffer
            | F::KernelFault
    )
}

/// What an API server prints that raises this exception.
pub fn api_failure(settings: &Settings, failure: StartFailure) -> Vec<Step> {
    let exception = exception(settings, Doom::Failure(failure));
    vec![Step::Raw(
        Process::Api,
        traceback(
            "entrypoints/openai/api_server.py\", line 1078, in run_server",
            &exception,
        ),
    )]
}

fn traceback(place: &str, exception: &Exception) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"/opt/conda/lib/python3.10/site-packages/vllm/{place}\n{}: {}",
        exception.class, exception.text
    )
}

/// What an engine that dies while it starts, and its API server, print.
pub fn engine_failure(settings: &Settings, doom: Doom) -> Vec<Step> {
    let exception = exception(settings, doom);
    let mut steps = Vec::new();
    if doom == Doom::Failure(StartFailure::RingBuffer) {
        let line =
            "[MXKW][E]queues.c                :925 : [mxkwAllocRingBuff]ioctl alloc ringbuffer failed -1";
        steps.resize(6, Step::Raw(Process::Engine, line.to_owned()));
    }
    match settings.generation {
        Generation::V0 => first_engine_failure(&exception, &mut steps),
        Generation::V1 => engine_core_failure(settings, doom, &exception, &mut steps),
    }
    steps
}

fn error(process: Process, source: &str, message: String) -> Step {
    Step::Record(process, Level::Error, source.to_owned(), message)
}

fn first_engine_failure(exception: &Exception, steps: &mut Vec<Step>) {
    let trace = traceback(
        "engine/multiprocessing/engine.py\", line 448, in run_mp_engine",
        exception,
    );
    steps.push(error(
        Process::Engine,
        "engine.py:448",
        format!("{}\n{trace}", exception.text),
    ));
    steps.push(Step::Raw(
        Process::Engine,
        format!("Process SpawnProcess-1:\n{trace}"),
    ));
    let end = runtime_error("Engine process failed to start. See stack trace for the root cause.");
    let place = "entrypoints/openai/api_server.py\", line 269, in build_async_engine_client_from_engine_args";
    steps.push(Step::Raw(Process::Api, traceback(place, &end)));
}

fn engine_core_failure(settings: &Settings, doom: Doom, exception: &Exception, steps: &mut Vec<Step>) {
    let version = &settings.version;
    let parallel = settings.world() > 1;
    let worker = if parallel {
        Process::Worker(0)
    } else {
        Process::Engine
    };
    if doom == Doom::OomLoad && version.at_least(13, 0) && !version.at_least(25, 0) {
        let hint = format!(
            "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization to free memory \
             for weights, increasing --tensor-parallel-size, or using --quantization. (original error: {})",
            exception.text
        );
        steps.push(error(worker, "gpu_model_runner.py:3100", hint));
    }
    let trace = traceback("v1/engine/core.py\", line 691, in run_engine_core", exception);
    if parallel {
        let message = format!("WorkerProc failed to start.\n{trace}");
        steps.push(error(worker, "multiproc_executor.py:396", message));
    }
    let message = format!("EngineCore failed to start.\n{trace}");
    steps.push(error(Process::Engine, "core.py:700", message));
    steps.push(Step::Raw(
        Process::Engine,
        format!("Process EngineCore_DP0:\n{trace}"),
    ));
    let end = if version.at_least(9, 0) {
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}"
    } else {
        "Engine core initialization failed. See root cause above."
    };
    let place = "v1/engine/utils.py\", line 960, in wait_for_engine_startup";
    steps.push(Step::Raw(Process::Api, traceback(place, &runtime_error(end))));
}

/// What a server prints whose engine dies while it serves.
pub fn death_script(settings: &Settings) -> Vec<Step> {
    let version = &settings.version;
    let cause = runtime_error("CUDA error: an illegal memory access was encountered");
    if settings.generation == Generation::V0 {
        let trace = traceback(
            "engine/multiprocessing/engine.py\", line 178, in run_engine_loop",
            &cause,
        );
        return vec![
            error(
                Process::Engine,
                "engine.py:160",
                format!("{}\n{trace}", cause.text),
            ),
            error(Process::Api, "client.py:305", format!("{}\n{trace}", cause.text)),
        ];
    }
    let trace = traceback("v1/engine/core.py\", line 701, in run_engine_core", &cause);
    let dead = Exception {
        class: "vllm.v1.engine.exceptions.EngineDeadError",
        text: ENGINE_DEAD.to_owned(),
    };
    let handler = traceback("v1/engine/async_llm.py\", line 411, in output_handler", &dead);
    let mut steps = Vec::new();
    if settings.world() > 1 {
        let message = format!("WorkerProc hit an exception.\n{trace}");
        steps.push(error(Process::Worker(0), "multiproc_executor.py:671", message));
    }
    steps.push(error(
        Process::Engine,
        "core.py:710",
        format!("EngineCore encountered a fatal error.\n{trace}"),
    ));
    steps.push(error(
        Process::Api,
        "async_llm.py:480",
        format!("AsyncLLM output_handler failed.\n{handler}"),
    ));
    if version.at_least(10, 2) && !version.at_least(20, 0) {
        let line = "Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.".to_owned();
        steps.push(error(Process::Api, "core_client.py:600", line));
    } else if version.at_least(23, 0) {
        let line = "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup".to_owned();
        steps.push(Step::Record(
            Process::Api,
            Level::Warning,
            "core_client.py:700".to_owned(),
            line,
        ));
    }
    steps
}

/// Text of V1's `EngineDeadError`, in logs and answers.
pub const ENGINE_DEAD: &str = "EngineCore encountered an issue. See stack trace (above) for the root cause.";

fn exception(settings: &Settings, doom: Doom) -> Exception {
    match doom {
        Doom::OomLoad | Doom::OomProfiling => out_of_memory(settings, doom),
        Doom::Failure(failure) => memory_exception(settings, failure)
            .or_else(|| model_exception(settings, failure))
            .unwrap_or_else(|| machine_exception(settings, failure)),
    }
}

fn out_of_memory(settings: &Settings, doom: Doom) -> Exception {
    let total = settings.capacity.total_gib;
    let tried = if doom == Doom::OomLoad {
        "250.00 MiB"
    } else {
        "1.75 GiB"
    };
    Exception {
        class: "torch.OutOfMemoryError",
        text: format!(
            "CUDA out of memory. Tried to allocate {tried}. GPU 0 has a total capacity of {total:.2} GiB of which \
             118.25 MiB is free. Including non-PyTorch memory, this process has {:.2} GiB memory in use. Of the \
             allocated memory {:.2} GiB is allocated by PyTorch, and 214.10 MiB is reserved by PyTorch but \
             unallocated. If reserved but unallocated memory is large try setting \
             PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.",
            total - 0.12,
            total - 0.8
        ),
    }
}

fn memory_exception(settings: &Settings, failure: StartFailure) -> Option<Exception> {
    let (version, capacity) = (&settings.version, &settings.capacity);
    Some(match failure {
        StartFailure::NotEnoughFree => {
            let device = if version.at_least(14, 0) { " cuda:0" } else { "" };
            value_error(format!(
                "Free memory on device{device} ({}/{} GiB) on startup is less than desired GPU memory utilization \
                 ({}, {} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
                capacity.total_gib / 5.0,
                capacity.total_gib,
                settings.placement.utilization,
                capacity.budget_gib
            ))
        }
        StartFailure::NoKvRoom => {
            let tail = if version.at_least(22, 0) {
                " (this flag also controls CPU memory reservation on the CPU backend, despite its name)"
            } else {
                ""
            };
            value_error(format!(
                "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when \
                 initializing the engine.{tail}"
            ))
        }
        StartFailure::LengthTooLarge => length_too_large(settings),
        StartFailure::OomWarmup => runtime_error(format!(
            "CUDA out of memory occurred when warming up sampler with {} dummy requests. Please try lowering \
             `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.",
            settings.placement.max_num_seqs
        )),
        StartFailure::ProfilingDisturbed => Exception {
            class: "AssertionError",
            text: format!(
                "Error in memory profiling. Initial free memory {:.2} GiB, current free memory {:.2} GiB. This \
                 happens when other processes sharing the same container release GPU memory while vLLM is \
                 profiling during initialization. To fix this, ensure consistent GPU memory allocation or isolate \
                 vLLM in its own container.",
                capacity.total_gib - 20.0,
                capacity.total_gib - 15.0
            ),
        },
        _ => return None,
    })
}

fn length_too_large(settings: &Settings) -> Exception {
    let (version, capacity) = (&settings.version, &settings.capacity);
    let length = capacity.max_model_len;
    if settings.generation == Generation::V0 {
        return value_error(format!(
            "The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in \
             KV cache ({}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing \
             the engine.",
            capacity.tokens()
        ));
    }
    let owner = if version.at_least(22, 0) {
        "model's"
    } else {
        "models's"
    };
    let need = (length * capacity.kv_bytes_per_token) as f64 / GIB;
    let estimate = if version.at_least(9, 2) {
        format!(" the estimated maximum model length is {}.", capacity.tokens())
    } else {
        String::new()
    };
    value_error(format!(
        "To serve at least one request with the {owner} max seq len ({length}), ({need:.2} GiB KV cache is needed, \
         which is larger than the available KV cache memory ({:.2} GiB). Based on the available memory,{estimate} \
         Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
        capacity.kv_gib
    ))
}

fn model_exception(settings: &Settings, failure: StartFailure) -> Option<Exception> {
    let (architecture, path) = (&settings.model.architecture, &settings.model_path);
    Some(match failure {
        StartFailure::LengthAboveConfig => value_error(format!(
            "User-specified max_model_len ({}) is greater than the derived max_model_len \
             (max_position_embeddings={positions} or model_max_length=None in model's config.json). This may lead to \
             incorrect model outputs or CUDA errors. To allow overriding this maximum, set the env var \
             VLLM_ALLOW_LONG_MAX_MODEL_LEN=1",
            settings
                .placement
                .max_model_len
                .max(settings.model.max_position + 1),
            positions = settings.model.max_position
        )),
        StartFailure::UnsupportedArchitecture => value_error(format!(
            "Model architectures ['{architecture}'] are not supported for now. Supported architectures: \
             dict_keys(['LlamaForCausalLM', 'MistralForCausalLM', 'Qwen2ForCausalLM'])"
        )),
        StartFailure::RemovedArchitecture => value_error(format!(
            "Model architecture {architecture} was supported in vLLM until v0.7.0, and is not supported anymore. \
             Please use an older version of vLLM if you want to use this model architecture."
        )),
        StartFailure::RemoteCode => runtime_error(
            "Failed to load the model config. If the model is a custom model not yet available in the HuggingFace \
             transformers library, consider setting `trust_remote_code=True` in LLM or using the \
             `--trust-remote-code` flag in the CLI.",
        ),
        StartFailure::BadPath => value_error(format!(
            "Invalid repository ID or local directory specified: '{path}'.\nPlease verify the following requirements:\n\
             1. Provide a valid Hugging Face repository ID.\n2. Specify a local directory that contains a recognized \
             configuration file."
        )),
        StartFailure::MissingWeights => runtime_error(format!("Cannot find any model weights with `{path}`")),
        StartFailure::UninitializedWeights => value_error(
            "Following weights were not initialized from checkpoint: {'model.layers.31.mlp.down_proj.weight', \
             'model.layers.31.mlp.gate_up_proj.weight'}",
        ),
        StartFailure::Tokenizer => Exception {
            class: "AttributeError",
            text: "'BaichuanTokenizer' object has no attribute 'sp_model'".to_owned(),
        },
        _ => return None,
    })
}

fn machine_exception(settings: &Settings, failure: StartFailure) -> Exception {
    match failure {
        StartFailure::Dtype => value_error(
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has \
             compute capability 7.5. You can use float16 instead by explicitly setting the `dtype` flag in CLI, for \
             example: --dtype=half.",
        ),
        StartFailure::Nccl => runtime_error("NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)"),
        StartFailure::WorkerDied => Exception {
            class: "Exception",
            text: "WorkerProc initialization failed due to an exception in a background process. See stack trace for \
                   root cause."
                .to_owned(),
        },
        StartFailure::SlowStart => Exception {
            class: "TimeoutError",
            text: "Timed out waiting for engine core processes to start. This is often caused by slow weight loading \
                   for large models. Waited 600s (configured by VLLM_ENGINE_READY_TIMEOUT_S). To increase the \
                   timeout, set the environment variable: VLLM_ENGINE_READY_TIMEOUT_S=<seconds>"
                .to_owned(),
        },
        StartFailure::MissingModule => Exception {
            class: "ModuleNotFoundError",
            text: "No module named 'intel_extension_for_pytorch'".to_owned(),
        },
        StartFailure::MacaPath => Exception {
            class: "TypeError",
            text: "expected str, bytes or os.PathLike object, not NoneType".to_owned(),
        },
        StartFailure::PortTaken => Exception {
            class: "OSError",
            text: "[Errno 98] Address already in use".to_owned(),
        },
        StartFailure::RingBuffer => runtime_error("CUDA error: out of memory"),
        StartFailure::KernelFault => runtime_error("CUDA error: an illegal memory access was encountered"),
        StartFailure::NoAttentionBackend => value_error(format!(
            "No valid attention backend found for cuda with head_size: {}, dtype: {}, kv_cache_dtype: auto, \
             block_size: {}.",
            settings.model.head_dim, settings.dtype, settings.placement.block_size
        )),
        _ => runtime_error(format!("{} could not be served", settings.model.architecture)),
    }
}
