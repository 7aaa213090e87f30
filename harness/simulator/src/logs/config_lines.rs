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
    let later = settings.version.at_least(12, 0);
    let custom_all_reduce = settings.profile.platform == Platform::Metax;
    let fields = [
        ("model", format!("'{}'", settings.model_path)),
        ("speculative_config", "None".to_owned()),
        ("tokenizer", format!("'{}'", settings.model_path)),
        ("skip_tokenizer_init", "False".to_owned()),
        ("tokenizer_mode", "auto".to_owned()),
        ("revision", "None".to_owned()),
        ("tokenizer_revision", "None".to_owned()),
        (
            "trust_remote_code",
            python_bool(settings.trust_remote_code).to_owned(),
        ),
        ("dtype", settings.dtype.to_owned()),
        ("max_seq_len", settings.placement.max_model_len.to_string()),
        ("download_dir", "None".to_owned()),
        (
            "load_format",
            if later { "auto" } else { "LoadFormat.AUTO" }.to_owned(),
        ),
        (
            "tensor_parallel_size",
            settings.placement.tensor_parallel.to_string(),
        ),
        (
            "pipeline_parallel_size",
            settings.placement.pipeline_parallel.to_string(),
        ),
        ("data_parallel_size", "1".to_owned()),
        (
            "disable_custom_all_reduce",
            python_bool(custom_all_reduce).to_owned(),
        ),
        (
            "quantization",
            settings.quantization.clone().unwrap_or("None".to_owned()),
        ),
        ("enforce_eager", python_bool(settings.enforce_eager).to_owned()),
        ("kv_cache_dtype", settings.kv_cache_dtype.clone()),
        ("device_config", "cuda".to_owned()),
        (
            "seed",
            settings.seed.map_or("None".to_owned(), |seed| seed.to_string()),
        ),
        ("served_model_name", settings.served_name().to_owned()),
        ("enable_prefix_caching", caching(settings).to_owned()),
        (
            if later {
                "enable_chunked_prefill"
            } else {
                "chunked_prefill_enabled"
            },
            python_bool(settings.chunked_prefill).to_owned(),
        ),
        ("pooler_config", "None".to_owned()),
        ("compilation_config", compilation(settings).to_owned()),
    ];
    let shown = fields
        .iter()
        .filter(|(name, _)| later || *name != "data_parallel_size");
    let joined: Vec<_> = shown.map(|(name, value)| format!("{name}={value}")).collect();
    let tail = if settings.generation == Generation::V0 {
        ", use_cached_outputs=True, "
    } else {
        ""
    };
    format!("{}{tail}", joined.join(", "))
}

/// V0 shows what was asked for, which is nothing by default.
fn caching(settings: &Settings) -> &'static str {
    if settings.generation == Generation::V0 && !settings.prefix_caching {
        "None"
    } else {
        python_bool(settings.prefix_caching)
    }
}

fn compilation(settings: &Settings) -> &'static str {
    match (settings.version.at_least(12, 0), settings.enforce_eager) {
        (true, true) => {
            "{'level': None, 'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.NONE: 0>}"
        }
        (true, false) => {
            "{'level': None, 'mode': <CompilationMode.VLLM_COMPILE: 3>, 'cudagraph_mode': <CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>}"
        }
        (false, _) => {
            "{\"splitting_ops\":[],\"compile_sizes\":[],\"cudagraph_capture_sizes\":[256,128,64,32,16,8,4,2,1],\"max_capture_size\":256}"
        }
    }
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
