//! Capacity against what is known: published parameter counts, the first report's figures, real logs.

use std::{fs, path::Path, sync::LazyLock};

use proptest::prelude::*;
use semver::Version;
use serde_json::Value;

use super::*;
use crate::{
    manifest::{Card, Catalogue, Diagnostics, Dtype, LoadedModel},
    vllm::{Reader, fixtures},
};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn settings(version: &str) -> Settings {
    Settings {
        version: Version::parse(version).unwrap(),
        dtype: Dtype::Bfloat16,
        quantization: None,
        kv_type: KvType::Auto,
        max_model_len: 8192,
        utilization: Some(0.9),
        block_size: None,
        max_num_seqs: None,
        max_num_batched_tokens: None,
        enforce_eager: false,
        kv_cache_gib: None,
        known: Known::default(),
    }
}

fn model(name: &str) -> (Shape, Settings) {
    let LoadedModel { manifest, .. } = Catalogue::open(root()).model(name).unwrap();
    let settings = Settings {
        max_model_len: u64::from(manifest.serve.max_model_len),
        utilization: Some(manifest.serve.gpu_memory_utilization),
        block_size: manifest.serve.block_size.map(u64::from),
        ..settings("0.8.5")
    };
    (Shape::of_manifest(&manifest.model.architecture), settings)
}

fn c500() -> &'static Card {
    static C500: LazyLock<Card> = LazyLock::new(|| Catalogue::open(root()).card("c500").unwrap().card);
    &C500
}

fn config(text: &str) -> Result<ModelConfig, Diagnostics> {
    ModelConfig::parse("config.json", text)
}

/// Parameters as the makers publish them, or as their safetensors files add up.
#[test]
fn parameters_are_those_of_the_seeds_models() {
    for (name, parameters) in [
        ("qwen3_32b", 32_762_123_264),
        ("baichuan2_13b_chat", 13_896_668_160),
        ("deepseek_v2_236b", 235_741_434_880),
        ("codellama_13b", 13_016_028_160),
        ("mistral_7b_v0_1", 7_241_732_096),
        ("qwen2_vl_72b", 73_405_560_320),
        ("smollm2_135m", 134_515_008),
    ] {
        let (shape, _) = model(name);
        let counted = Shape {
            stated_parameters: None,
            ..shape.clone()
        }
        .parameters()
        .unwrap();
        assert_eq!(counted.total, parameters, "{name}");
        assert_eq!(
            shape.parameters().unwrap().counted,
            None,
            "{name}: the manifest states the same"
        );
    }
    let (deepseek, _) = model("deepseek_v2_236b");
    assert_eq!(
        Some(deepseek.parameters().unwrap().active),
        deepseek.stated_active
    );
}

/// Names, configurations and parameters, as their makers publish them.
const PUBLISHED: &[(&str, &str, u64)] = &[
    (
        "Llama-3.1-8B",
        r#""num_key_value_heads": 8, "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 14336, "vocab_size": 128256"#,
        8_030_261_248,
    ),
    (
        "Mixtral-8x7B",
        r#""num_key_value_heads": 8, "architectures": ["MixtralForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 14336, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2"#,
        46_702_792_704,
    ),
    (
        "Qwen3-0.6B",
        r#""num_key_value_heads": 8, "architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936, "tie_word_embeddings": true"#,
        596_049_920,
    ),
    (
        "Gemma-2-9B",
        r#""num_key_value_heads": 8, "architectures": ["Gemma2ForCausalLM"], "num_hidden_layers": 42, "hidden_size": 3584, "num_attention_heads": 16, "head_dim": 256, "intermediate_size": 14336, "vocab_size": 256000"#,
        9_241_705_984,
    ),
    (
        "Qwen2.5-7B",
        r#""architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064"#,
        7_615_616_512,
    ),
    (
        "Qwen3-30B-A3B",
        r#""architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [], "vocab_size": 151936"#,
        30_532_122_624,
    ),
    (
        "Qwen1.5-MoE-A2.7B",
        r#""architectures": ["Qwen2MoeForCausalLM"], "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 5632, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts": 60, "num_experts_per_tok": 4, "vocab_size": 151936"#,
        14_315_784_192,
    ),
    (
        "DeepSeek-V2-Lite",
        r#""architectures": ["DeepseekV2ForCausalLM"], "num_hidden_layers": 27, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 102400"#,
        15_706_484_224,
    ),
    (
        "Qwen2-VL-7B",
        r#""architectures": ["Qwen2VLForConditionalGeneration"], "num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "max_position_embeddings": 32768, "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "hidden_size": 3584}"#,
        8_291_375_616,
    ),
    (
        "Qwen2.5-VL-7B, nested",
        r#""architectures": ["Qwen2_5_VLForConditionalGeneration"], "text_config": {"num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "max_position_embeddings": 128000, "tie_word_embeddings": false}, "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}"#,
        8_292_166_656,
    ),
];

#[test]
fn parameters_are_those_of_other_published_models() {
    for (name, text, parameters) in PUBLISHED {
        let found = config(&format!("{{{text}, \"max_position_embeddings\": 32768}}")).unwrap();
        assert_eq!(found.shape.parameters().unwrap().total, *parameters, "{name}");
    }
}

/// Elements of all tensors of a safetensors file: 8 bytes of length, then JSON (huggingface/safetensors).
fn elements(file: &Path) -> u64 {
    use std::io::Read as _;
    let mut file = fs::File::open(file).unwrap();
    let mut length = [0; 8];
    file.read_exact(&mut length).unwrap();
    let mut header = vec![0; usize::try_from(u64::from_le_bytes(length)).unwrap()];
    file.read_exact(&mut header).unwrap();
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&header).unwrap();
    let shapes = header
        .values()
        .filter_map(|tensor| tensor.get("shape")?.as_array());
    shapes
        .map(|shape| shape.iter().filter_map(Value::as_u64).product::<u64>())
        .sum()
}

#[test]
fn parameters_are_those_of_the_models_on_this_machine() {
    let cache = std::env::var_os("HARNESS_CACHE").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/model-harness"),
        Into::into,
    );
    let Ok(models) = fs::read_dir(cache.join("models")) else {
        println!(
            "skipped: no models at {} (ci/images/build makes them)",
            cache.display()
        );
        return;
    };
    for folder in models.map(|entry| entry.unwrap().path()) {
        let (file, config) = (folder.join("model.safetensors"), folder.join("config.json"));
        if !file.is_file() {
            continue;
        }
        let found = ModelConfig::read(&config, config.display().to_string()).unwrap();
        let counted = found.shape.parameters().unwrap().total;
        assert_eq!(counted, elements(&file), "{}", folder.display());
    }
}

fn predict(name: &str, change: impl FnOnce(&mut Settings), layout: (u64, u64)) -> Prediction {
    let (shape, mut settings) = model(name);
    change(&mut settings);
    let card = c500();
    let layout = Layout {
        tensor_parallel: layout.0,
        pipeline_parallel: layout.1,
    };
    Demand::new(&shape, Some(card), &settings)
        .unwrap()
        .predict(layout)
}

#[test]
fn the_first_reports_figures_come_out() {
    let computed = predict("mistral_7b_v0_1", |_| {}, (1, 1));
    assert_eq!(format!("{:.2}", computed.weights_gib), "13.49");
    let known = Known {
        weights_gib: Some(13.5),
        non_torch_gib: Some(0.48),
        activation_gib: Some(6.78),
        ..Known::default()
    };
    let reported = predict("mistral_7b_v0_1", |settings| settings.known = known, (1, 1));
    assert_eq!(format!("{:.2}", reported.kv_cache_gib), "36.51");
    assert_eq!(reported.num_blocks, 18_691);
    assert_eq!(reported.kv_tokens, 299_056);
    assert_eq!(format!("{:.2}x", reported.max_concurrency), "36.51x");
    assert_eq!(reported.kv_error_gib, 0.0);
    assert_eq!(reported.obstacle, None);
    // The estimate of the activations alone comes as near.
    assert!((computed.activation.unwrap().gib - 6.78).abs() < 0.01);
    assert!((computed.kv_cache_gib - 36.51).abs() < 0.02);
}

#[test]
fn the_seeds_models_need_as_many_cards_as_is_known() {
    let card = c500();
    for (name, cards) in [
        ("qwen3_32b", 2),
        ("qwen2_vl_72b", 4),
        ("deepseek_v2_236b", 16),
        ("mistral_7b_v0_1", 1),
        ("baichuan2_13b_chat", 1),
        ("codellama_13b", 1),
    ] {
        for version in ["0.8.5", "0.12.0"] {
            let (shape, settings) = model(name);
            let settings = Settings {
                version: Version::parse(version).unwrap(),
                ..settings
            };
            let demand = Demand::new(&shape, Some(card), &settings).unwrap();
            let smallest = demand.smallest().unwrap();
            assert_eq!(
                smallest.layout.cards(),
                cards,
                "{name} on {version}: {smallest:?}"
            );
        }
    }
}

#[test]
fn deepseek_fits_eight_cards_only_when_squeezed() {
    let eight = Layout {
        tensor_parallel: 8,
        pipeline_parallel: 1,
    };
    let plain = predict("deepseek_v2_236b", |_| {}, (8, 1));
    assert_eq!(plain.kv_bytes_per_token, 69_120);
    assert_eq!(plain.block_size, 64);
    insta::assert_snapshot!(plain.obstacle.unwrap());
    let (shape, settings) = model("deepseek_v2_236b");
    let card = c500();
    let demand = Demand::new(&shape, Some(card), &settings).unwrap();
    let squeeze = demand.squeeze(eight).unwrap();
    assert_eq!((squeeze.utilization, squeeze.max_model_len), (0.95, 4096));
    let sixteen = predict("deepseek_v2_236b", |_| {}, (8, 2));
    assert_eq!(sixteen.kv_bytes_per_token, 34_560);
    assert!(sixteen.fits());
}

#[test]
fn grouped_heads_are_shared_and_latent_ones_repeated() {
    assert_eq!(predict("qwen3_32b", |_| {}, (1, 1)).kv_bytes_per_token, 262_144);
    assert_eq!(predict("qwen3_32b", |_| {}, (2, 1)).kv_bytes_per_token, 131_072);
    assert_eq!(predict("qwen3_32b", |_| {}, (16, 1)).kv_bytes_per_token, 32_768);
    assert_eq!(predict("qwen3_32b", |_| {}, (1, 2)).kv_bytes_per_token, 131_072);
    assert_eq!(
        predict("deepseek_v2_236b", |_| {}, (4, 1)).kv_bytes_per_token,
        69_120
    );
    let fp8 = predict("qwen3_32b", |settings| settings.kv_type = KvType::Fp8, (2, 1));
    assert_eq!(fp8.kv_bytes_per_token, 65_536);
}

#[test]
fn what_does_not_fit_says_why() {
    let obstacle =
        |name, layout, change: fn(&mut Settings)| predict(name, change, layout).obstacle.unwrap().to_string();
    let told = [
        obstacle("qwen3_32b", (1, 1), |_| {}),
        obstacle("qwen3_32b", (3, 1), |_| {}),
        obstacle("smollm2_135m", (9, 1), |_| {}),
        obstacle("qwen3_32b", (1, 65), |_| {}),
        obstacle("baichuan2_13b_chat", (40, 1), |_| {}),
        obstacle("mistral_7b_v0_1", (1, 1), |settings| {
            settings.max_model_len = 40_000;
        }),
        obstacle("mistral_7b_v0_1", (1, 1), |settings| {
            settings.quantization = Some(Method::Fp8.with(None, None));
        }),
        obstacle("codellama_13b", (1, 1), |settings| {
            settings.max_model_len = 16_384;
            settings.utilization = Some(0.75);
        }),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_same_manifest_gives_other_figures_on_other_versions() {
    let on = |version: &str| {
        predict(
            "qwen3_32b",
            |settings| {
                settings.version = Version::parse(version).unwrap();
                settings.utilization = None;
            },
            (2, 1),
        )
    };
    let (old, middle, new) = (on("0.8.5"), on("0.12.0"), on("0.22.0"));
    assert!((old.share_gib.unwrap() / 63.63 - 0.9).abs() < 1e-9);
    assert!((new.share_gib.unwrap() / 63.63 - 0.92).abs() < 1e-9);
    // 2 % more of the card, less the graphs.
    let gained = new.kv_cache_gib - middle.kv_cache_gib;
    assert!((gained - (0.02 * 63.63 - 0.12)).abs() < 1e-9, "{gained}");
    // A step of 2,048 tokens in place of a prompt of 8,192.
    assert!(old.activation.unwrap().gib > 3.0 * middle.activation.unwrap().gib);
}

#[test]
fn a_sliding_window_serves_more_sequences_where_blocks_are_counted() {
    let on = |version: &str| {
        predict(
            "mistral_7b_v0_1",
            |settings| settings.version = Version::parse(version).unwrap(),
            (1, 1),
        )
    };
    let (old, new) = (on("0.8.5"), on("0.12.0"));
    assert_eq!(old.max_concurrency, old.kv_tokens as f64 / 8192.0);
    // 4,095 + 2,048 tokens in blocks of 16, and one more.
    assert_eq!(new.max_concurrency, new.num_blocks as f64 / 385.0);
    assert_eq!(new.kv_tokens, new.num_blocks * 16);
}

#[test]
fn roofs_follow_from_bandwidth_and_operations() {
    let (shape, settings) = model("mistral_7b_v0_1");
    let card = c500();
    let one = Layout {
        tensor_parallel: 1,
        pipeline_parallel: 1,
    };
    let roof = Demand::new(&shape, Some(card), &settings)
        .unwrap()
        .roof(one)
        .unwrap();
    // All but the input embedding: (7,241,732,096 − 131,072,000) × 2 B.
    assert_eq!(roof.bytes_per_token, 14_221_320_192.0);
    assert!((roof.decode_tokens_per_s - 126.57).abs() < 0.01);
    assert!(
        (roof.prefill_tokens_per_s - 17_193.0).abs() < 1.0,
        "{}",
        roof.prefill_tokens_per_s
    );
}

/// Real logs: where vLLM prints what it gives the KV cache, tokens follow to 1 %.
#[test]
fn kv_tokens_of_real_logs_are_predicted() {
    let Some(folder) = fixtures::shared("vllm-c500") else {
        return;
    };
    let log = fs::read_to_string(folder.join("0.17.0-qwen3-0.6b-slice.log")).unwrap();
    let mut reader = Reader::new();
    for line in log.lines() {
        reader.feed(line);
    }
    let facts = reader.facts();
    let found = config(
        r#"{"architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": true}"#,
    )
    .unwrap();
    let card = c500();
    let mut settings = Settings {
        max_model_len: 2048,
        kv_cache_gib: facts.memory.kv_cache_gib,
        dtype: Dtype::Float16,
        ..settings("0.17.0")
    };
    let one = Layout {
        tensor_parallel: 1,
        pipeline_parallel: 1,
    };
    let predicted = Demand::new(&found.shape, Some(card), &settings)
        .unwrap()
        .predict(one);
    let measured = facts.memory.kv_tokens.unwrap() as f64;
    assert!(
        (predicted.kv_tokens as f64 / measured - 1.0).abs() < 0.01,
        "{predicted:?}"
    );
    assert!((predicted.weights_gib - facts.memory.weights_gib.unwrap()).abs() < 0.02);
    // Without the log's own figure, from the slice alone, within the stated error.
    settings.kv_cache_gib = None;
    settings.utilization = Some(0.7);
    settings.known.card_gib = Some(15.625);
    let estimated = Demand::new(&found.shape, Some(card), &settings)
        .unwrap()
        .predict(one);
    let off = (estimated.kv_cache_gib - facts.memory.kv_cache_gib.unwrap()).abs();
    assert!(
        off <= estimated.kv_error_gib,
        "{off} of {}",
        estimated.kv_error_gib
    );
}

#[test]
fn kv_tokens_of_the_cpu_backend_are_predicted() {
    let (shape, base) = model("smollm2_135m");
    let one = Layout {
        tensor_parallel: 1,
        pipeline_parallel: 1,
    };
    for (version, folder) in [("0.8.5", "0.8.5"), ("0.12.0", "0.12.0"), ("0.32.0", "")] {
        let settings = Settings {
            version: Version::parse(version).unwrap(),
            kv_cache_gib: Some(1.0),
            ..base.clone()
        };
        let predicted = Demand::new(&shape, None, &settings).unwrap().predict(one);
        assert_eq!(predicted.kv_tokens, 46_592, "{version}");
        assert_eq!(predicted.max_concurrency, 22.75, "{version}");
        let Some(log) = fixtures::shared("vllm-cpu").map(|root| root.join(folder).join("startup.log")) else {
            continue;
        };
        let Ok(log) = fs::read_to_string(log) else {
            continue;
        };
        let mut reader = Reader::new();
        for line in log.lines() {
            reader.feed(line);
        }
        let memory = reader.facts().memory;
        assert_eq!(memory.kv_tokens, Some(predicted.kv_tokens), "{version}");
        assert_eq!(
            memory.max_concurrency,
            Some(predicted.max_concurrency),
            "{version}"
        );
    }
}

const TEMPLATE: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"],
  "num_hidden_layers": 28,
  "hidden_size": 1024,
  "num_attention_heads": 16,
  "num_key_value_heads": 8,
  "head_dim": 128,
  "intermediate_size": 3072,
  "vocab_size": 151936,
  "max_position_embeddings": 40960
}"#;

#[test]
fn bad_configurations_are_refused_with_their_place() {
    let told: Vec<String> = [
        TEMPLATE.replace("28", "0"),
        TEMPLATE.replace("1024", "1e18"),
        TEMPLATE.replace("1024", "1000000000000000000"),
        TEMPLATE.replace("151936", "\"many\"").replace("3072", "-1"),
        TEMPLATE.replace("\"num_hidden_layers\": 28,\n", ""),
        TEMPLATE.replace("Qwen3For", "Qwen4For"),
        TEMPLATE.replace("[\"Qwen3ForCausalLM\"]", "[]"),
        TEMPLATE.replace(": 8,", ": 7,"),
        TEMPLATE.replace("3072,", "3072, \"dtype\": \"float8\", \"tie_word_embeddings\": 1, \"quantization_config\": {\"quant_method\": \"fp4\"},"),
        TEMPLATE.replace("Qwen3ForCausalLM", "DeepseekV2ForCausalLM"),
        TEMPLATE.replace("Qwen3ForCausalLM", "Qwen2VLForConditionalGeneration"),
        "[]".to_owned(),
        "{".to_owned(),
        "{}".to_owned(),
    ]
    .iter()
    .map(|text| config(text).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(told.join("\n\n----\n"));
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..5000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9]{0,6}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_configuration_makes_it_panic(
        class in 0..FAMILIES.len(),
        keys in prop::collection::btree_map(prop::sample::select(vec![
            "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
            "vocab_size", "max_position_embeddings", "n_routed_experts", "num_experts", "num_local_experts", "moe_intermediate_size",
            "num_experts_per_tok", "first_k_dense_replace", "moe_layer_freq", "decoder_sparse_step", "n_shared_experts",
            "shared_expert_intermediate_size", "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
            "sliding_window", "torch_dtype", "tie_word_embeddings", "text_config", "vision_config", "architectures", "mlp_only_layers",
        ]), anything(), 0..8),
        tensor_parallel: u64, pipeline_parallel: u64, gib in any::<f64>(),
    ) {
        let mut text: Value = serde_json::from_str(TEMPLATE).unwrap();
        let extra = r#"{"n_routed_experts": 8, "num_experts": 8, "num_local_experts": 8, "moe_intermediate_size": 64, "num_experts_per_tok": 2,
            "shared_expert_intermediate_size": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 64, "qk_rope_head_dim": 64, "v_head_dim": 64,
            "vision_config": {"depth": 2, "embed_dim": 64, "hidden_size": 64, "intermediate_size": 64}}"#;
        let extra: serde_json::Map<String, Value> = serde_json::from_str(extra).unwrap();
        let object = text.as_object_mut().unwrap();
        object.extend(extra);
        object["architectures"] = serde_json::json!([FAMILIES[class].class]);
        object.extend(keys.into_iter().map(|(key, value)| (key.to_owned(), value)));
        let Ok(found) = config(&text.to_string()) else { return Ok(()) };
        let card = c500();
        let settings = Settings { kv_cache_gib: Some(gib), max_model_len: tensor_parallel, ..settings("0.20.2") };
        if let Ok(demand) = Demand::new(&found.shape, Some(card), &settings) {
            let layout = Layout { tensor_parallel, pipeline_parallel };
            let _ = demand.predict(layout);
            let _ = (demand.smallest(), demand.squeeze(layout), demand.roof(layout));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = config(&text);
    }
}
