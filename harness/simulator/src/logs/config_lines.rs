//! Lines that echo arguments and the resolved configuration, in Python's notation.

use crate::args::{ServeArgs, Value};
use crate::profile::Platform;
use crate::settings::Settings;
use crate::version::Generation;

fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The resolved configuration as `VllmConfig.__str__` joins it.
pub(super) fn engine_config(settings: &Settings) -> String {
    let version = &settings.version;
    let v0 = settings.generation == Generation::V0;
    let later = version.at_least(12, 0);
    let path = &settings.model_path;
    let seed = settings.seed.map_or("None".to_owned(), |seed| seed.to_string());
    let caching = if v0 && !settings.prefix_caching {
        "None"
    } else {
        python_bool(settings.prefix_caching)
    };
    let mut parts = vec![
        format!("model='{path}'"),
        "speculative_config=None".to_owned(),
        format!("tokenizer='{path}'"),
        "skip_tokenizer_init=False".to_owned(),
        "tokenizer_mode=auto".to_owned(),
        "revision=None".to_owned(),
        "tokenizer_revision=None".to_owned(),
        format!("trust_remote_code={}", python_bool(settings.trust_remote_code)),
        format!("dtype={}", settings.dtype),
        format!("max_seq_len={}", settings.placement.max_model_len),
        "download_dir=None".to_owned(),
        format!("load_format={}", if later { "auto" } else { "LoadFormat.AUTO" }),
        format!("tensor_parallel_size={}", settings.placement.tensor_parallel),
        format!("pipeline_parallel_size={}", settings.placement.pipeline_parallel),
    ];
    if later {
        parts.push("data_parallel_size=1".to_owned());
    }
    parts.extend([
        format!(
            "disable_custom_all_reduce={}",
            python_bool(settings.profile.platform == Platform::Metax)
        ),
        format!(
            "quantization={}",
            settings.quantization.as_deref().unwrap_or("None")
        ),
        format!("enforce_eager={}", python_bool(settings.enforce_eager)),
        format!("kv_cache_dtype={}", settings.kv_cache_dtype),
        "device_config=cuda".to_owned(),
        format!("seed={seed}"),
        format!("served_model_name={}", settings.served_name()),
        format!("enable_prefix_caching={caching}"),
        format!(
            "{}={}",
            if later {
                "enable_chunked_prefill"
            } else {
                "chunked_prefill_enabled"
            },
            python_bool(settings.chunked_prefill)
        ),
        "pooler_config=None".to_owned(),
    ]);
    let compilation = match (later, settings.enforce_eager) {
        (true, true) => {
            "compilation_config={'level': None, 'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.NONE: 0>}"
        }
        (true, false) => {
            "compilation_config={'level': None, 'mode': <CompilationMode.VLLM_COMPILE: 3>, 'cudagraph_mode': <CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>}"
        }
        (false, _) => {
            "compilation_config={\"splitting_ops\":[],\"compile_sizes\":[],\"cudagraph_capture_sizes\":[256,128,64,32,16,8,4,2,1],\"max_capture_size\":256}"
        }
    };
    parts.push(compilation.to_owned());
    let tail = if v0 { ", use_cached_outputs=True, " } else { "" };
    format!("{}{tail}", parts.join(", "))
}

fn python_value(value: &Value) -> String {
    match value {
        Value::Switch(on) => python_bool(*on).to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{text}'"),
        Value::List(texts) => {
            let quoted: Vec<_> = texts.iter().map(|text| format!("'{text}'")).collect();
            format!("[{}]", quoted.join(", "))
        }
    }
}

pub(super) fn non_default(args: &ServeArgs) -> String {
    let mut parts = vec![format!("'model': '{}'", args.model)];
    parts.extend(
        args.given
            .iter()
            .map(|(name, value)| format!("'{name}': {}", python_value(value))),
    );
    format!("{{{}}}", parts.join(", "))
}

/// Arguments of 0.8.5 with the defaults its namespace shows.
const NAMESPACE: [(&str, &str); 40] = [
    ("host", "None"),
    ("port", "8000"),
    ("uvicorn_log_level", "'info'"),
    ("disable_uvicorn_access_log", "False"),
    ("api_key", "None"),
    ("chat_template", "None"),
    ("chat_template_content_format", "'auto'"),
    ("response_role", "'assistant'"),
    ("return_tokens_as_token_ids", "False"),
    ("disable_frontend_multiprocessing", "False"),
    ("enable_auto_tool_choice", "False"),
    ("tool_call_parser", "None"),
    ("task", "'auto'"),
    ("tokenizer", "None"),
    ("revision", "None"),
    ("trust_remote_code", "False"),
    ("dtype", "'auto'"),
    ("max_model_len", "None"),
    ("guided_decoding_backend", "'auto'"),
    ("reasoning_parser", "None"),
    ("distributed_executor_backend", "None"),
    ("pipeline_parallel_size", "1"),
    ("tensor_parallel_size", "1"),
    ("data_parallel_size", "1"),
    ("disable_custom_all_reduce", "False"),
    ("block_size", "None"),
    ("gpu_memory_utilization", "0.9"),
    ("swap_space", "4"),
    ("kv_cache_dtype", "'auto'"),
    ("num_gpu_blocks_override", "None"),
    ("enable_prefix_caching", "None"),
    ("seed", "None"),
    ("max_logprobs", "20"),
    ("quantization", "None"),
    ("enforce_eager", "False"),
    ("served_model_name", "None"),
    ("max_num_batched_tokens", "None"),
    ("max_num_seqs", "None"),
    ("enable_chunked_prefill", "None"),
    ("generation_config", "'auto'"),
];

pub(super) fn namespace(args: &ServeArgs) -> String {
    let mut parts = vec![format!("model='{}'", args.model)];
    for (name, default) in NAMESPACE {
        let value = args.given.get(name).map_or(default.to_owned(), python_value);
        parts.push(format!("{name}={value}"));
    }
    let further = args
        .given
        .iter()
        .filter(|(name, _)| NAMESPACE.iter().all(|(known, _)| known != name));
    parts.extend(further.map(|(name, value)| format!("{name}={}", python_value(value))));
    format!("Namespace({})", parts.join(", "))
}
