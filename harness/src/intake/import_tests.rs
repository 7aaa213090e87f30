//! Lists in the layout of their publishers, as manifests; and lists that are wrong.

use std::{path::PathBuf, sync::Arc};

use proptest::prelude::*;

use super::{
    batched_test::models,
    tests::{fixture, root},
    vllm_ascend::tests,
    *,
};
use crate::manifest::{Catalogue, Diagnostics, Modality, SourceFile};

/// Checkpoints: those of the fixtures.
fn configs() -> PathBuf {
    fixture("Qwen3-32B").ancestors().nth(2).unwrap().to_owned()
}

fn source(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile {
        path: "list.yaml".to_owned(),
        text: text.to_owned(),
    })
}

fn batched(text: &str) -> Result<Import, Diagnostics> {
    let catalogue = Catalogue::open(root());
    let source = source(text);
    let read = yaml::parse(&source)?;
    models(&Library::new(&catalogue, Some(configs())), source, &read, None)
}

fn nightly(text: &str) -> Result<Import, Diagnostics> {
    let catalogue = Catalogue::open(root());
    let source = source(text);
    let read = yaml::parse(&source)?;
    tests(&Library::new(&catalogue, Some(configs())), source, &read)
}

fn left(import: &Import) -> String {
    let lines = import
        .left
        .iter()
        .map(|left| format!("{}:{}: {}: {}\n", left.file, left.line, left.what, left.why));
    lines.collect()
}

/// In the layout of vLLM-metax, tools/batched_test/configs.
const MODELS: &str = r#"- name: "Qwen3-32B"
  model_path: "/data/models/llm/Qwen/Qwen3-32B"
  serve_config:
    tp: 2
    dp: 1
    pp: 1
    extra_args:
  infer_type:
    - text-only
  benchmark:
    bench_param: "configs/bench_params/bench_default.json"
    sweep_num_runs: 1
  extra_env:

- name: "Qwen3-32B"
  model_path: "/data/models/llm/Qwen/Qwen3-32B"
  serve_config:
    tp: 4
    dp: 2
    pp: 1
    swap_space: 16
    extra_args:
      --enforce-eager:
      --chat-template: chat_template/other.jinja
      --async-scheduling:
  infer_type: text-only
  tag:
    - dense

- name: "DeepSeek-V2"
  model_path: "/data/models/llm/DeepSeek/DeepSeek-V2"
  timeout: 1800
  serve_config:
    tp: 8
    pp: 2
    distributed_executor_backend: "ray"
    gpu_memory_utilization: 0.9
  infer_type:
    - text-only
  extra_env:
    VLLM_DISABLE_SHARED_EXPERTS_STREAM: 1

- name: "Qwen2-VL-72B-Instruct"
  model_path: "/data/models/llm/Qwen/Qwen2-VL-72B-Instruct"
  serve_config:
    tp: 1
    is_multimodal: true
  infer_type:
    - single-image
    - video

- name: "ChatGLM3-6B"
  model_path: "/data/models/llm/ChatGLM/chatglm3-6b"
  serve_config:
    tp: 1
"#;

/// In the layout of vllm-ascend, tests/e2e/nightly/single_node; the anchor as its older files have it.
const NIGHTLY: &str = r#"_envs: &envs
  HCCL_OP_EXPANSION_MODE: "AIV"
  OMP_NUM_THREADS: "1"
  SERVER_PORT: "DEFAULT_PORT"

test_cases:
  - name: "Qwen3-32B-TP4"
    model: "Qwen/Qwen3-32B"
    envs:
      <<: *envs
      OMP_NUM_THREADS: "4"
    server_cmd:
      - "--async-scheduling"
      - "--no-enable-prefix-caching"
      - "--tensor-parallel-size"
      - "4"
      - "--port"
      - "$SERVER_PORT"
      - "--max-model-len"
      - "36864"
      - "--max-num-batched-tokens"
      - "8192"
      - "--block_size"
      - "128"
      - "--trust-remote-code"
      - "--gpu-memory-utilization"
      - "0.9"
      - "--additional-config"
      - '{"enable_weight_nz_layout":true}'
    benchmarks:
      acc:
        dataset_path: vllm-ascend/gsm8k-lite
        baseline: 95
        threshold: 5
  - name: "split"
    model: "Qwen/Qwen2-VL-72B-Instruct"
    service_mode: "epd"
    epd_server_cmds: []
"#;

#[test]
fn a_list_of_batched_test_becomes_manifests() {
    let import = batched(MODELS).unwrap();
    let names: Vec<&str> = import.drafts.iter().map(|draft| draft.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "qwen3_32b",
            "qwen3_32b_tp4",
            "deepseek_v2",
            "qwen2_vl_72b_instruct"
        ]
    );
    let [plain, wide, deepseek, pictures] = &import.drafts[..] else {
        panic!("four manifests")
    };
    assert_eq!(plain.manifest.model.path, "/data/models/llm/Qwen/Qwen3-32B");
    assert_eq!(plain.manifest.serve.gpu_memory_utilization, 0.8);
    assert_eq!(plain.manifest.serve.max_model_len, 4096);
    assert_eq!(plain.manifest.serve.boot_timeout.to_string(), "600 s");
    assert_eq!(wide.manifest.serve.tensor_parallel, 4);
    assert_eq!(
        (
            deepseek.manifest.serve.cards(),
            deepseek.manifest.serve.block_size
        ),
        (16, Some(64))
    );
    assert_eq!(deepseek.manifest.serve.boot_timeout.to_string(), "1800 s");
    assert_eq!(
        pictures.manifest.serve.tensor_parallel, 4,
        "one card does not hold it"
    );
    assert_eq!(
        pictures.manifest.model.modalities,
        [Modality::Text, Modality::Image]
    );
    insta::assert_snapshot!("left_of_batched_test", left(&import));
    insta::assert_snapshot!("imported_over_two_hosts", deepseek.text());
}

#[test]
fn a_nightly_test_becomes_a_manifest() {
    let import = nightly(NIGHTLY).unwrap();
    assert_eq!(import.drafts.len(), 1);
    let serve = &import.drafts[0].manifest.serve;
    assert_eq!(
        (serve.tensor_parallel, serve.max_model_len, serve.block_size),
        (4, 36_864, Some(128))
    );
    assert_eq!(serve.env[0].set["OMP_NUM_THREADS"], "4");
    let ranges: Vec<(&str, &str)> = serve
        .args
        .iter()
        .map(|set| (set.vllm.as_str(), set.add[0].as_str()))
        .collect();
    assert_eq!(
        ranges,
        [
            ("=0.12.0", "--async-scheduling"),
            ("*", "--max-num-batched-tokens")
        ]
    );
    insta::assert_snapshot!("left_of_a_nightly_test", left(&import));
}

#[test]
fn a_deployment_speaks_by_its_first_host() {
    let import = nightly(
        "test_name: \"test dp\"\nmodel: \"Qwen/Qwen3-32B\"\nnum_nodes: 2\nenv_common:\n  HCCL_BUFFSIZE: 1024\n  OMP_NUM_THREADS: 1\ndeployment:\n  -\n    server_cmd: >\n        vllm serve \"Qwen/Qwen3-32B\"\n        --port $SERVER_PORT\n        --data-parallel-size 4\n        --tensor-parallel-size 8\n        --seed 1024\n        --max-model-len 8192\n  -\n    server_cmd: >\n        vllm serve \"Qwen/Qwen3-32B\" --headless\n",
    )
    .unwrap();
    let serve = &import.drafts[0].manifest.serve;
    assert_eq!((serve.tensor_parallel, serve.seed), (8, 1024));
    insta::assert_snapshot!("left_of_a_deployment", left(&import));
}

#[test]
fn a_cluster_gives_its_interface_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let list = write("model.yaml", MODELS);
    let host =
        "- ssh:\n    hostname: host1\n    user: root\n    ssh_password: \"hunter2\"\n  ray:\n    nic: eth7\n";
    let cluster = write("cluster.yaml", &format!("{host}{host}"));
    let catalogue = Catalogue::open(root());
    let library = Library::new(&catalogue, Some(configs()));
    let import = batched_test(&library, &list, Some(&cluster)).unwrap();
    let set = &import.drafts[2].manifest.serve.env[0].set;
    assert_eq!(
        (
            set["GLOO_SOCKET_IFNAME"].as_str(),
            set["MCCL_SOCKET_IFNAME"].as_str()
        ),
        ("eth7", "eth7")
    );
    assert!(
        !import.drafts[0].text().contains("eth7"),
        "one host needs no interface"
    );
    let told = left(&import) + &import.drafts[2].text();
    assert!(
        told.contains("cluster.yaml:1: host: ssh") && !told.contains("hunter2") && !told.contains("host1")
    );
}

#[test]
fn mistakes_of_a_list_are_all_shown_where_they_stand() {
    let error = batched(
        "- name: a\n  serve_config: 7\n- model_path: /x\n  name:\n- Qwen\n- name: b\n  model_path: /data/Qwen3-32B\n  timeout: soon\n  serve_config:\n    tp: 0\n    max_model_len: 1e18\n    extra_args:\n      --dtype: int3\n      --hf-overrides: { a: 1 }\n  infer_type: [[x]]\n",
    )
    .unwrap_err();
    insta::assert_snapshot!("mistakes_of_a_list", error);
    insta::assert_snapshot!("no_list", batched("models: []\n").unwrap_err());
    insta::assert_snapshot!("no_nightly_test", nightly("- a\n").unwrap_err());
}

/// Texts that a spoilt list may hold in place of a line's value.
const ODD: &str = "[-a-z0-9{}\\[\\]:&*'\"$ü.]{0,10}|1e18|-1|~|18446744073709551616|--[a-z-]{0,12}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a list says: manifests that pass, or mistakes; never a panic.
    #[test]
    fn a_spoilt_list_gives_manifests_that_pass_or_errors(
        is_nightly: bool,
        spoils in prop::collection::vec((any::<prop::sample::Index>(), ODD), 1..4),
    ) {
        let mut lines: Vec<String> = (if is_nightly { NIGHTLY } else { MODELS }).lines().map(str::to_owned).collect();
        for (index, odd) in spoils {
            let line = index.get(&lines).clone();
            let at = index.index(lines.len());
            let end = line.find(": ").map_or(line.len(), |colon| colon + 2);
            lines[at] = format!("{}{odd}", &line[..end]);
        }
        let text = lines.join("\n");
        let import = if is_nightly { nightly(&text) } else { batched(&text) };
        if let Ok(import) = import {
            for draft in import.drafts {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("x.yaml");
                std::fs::write(&path, draft.text()).unwrap();
                let errors = crate::manifest::check(root(), &[path]).errors;
                prop_assert!(errors.is_empty(), "{}\n{}", errors, draft.text());
            }
        }
    }
}
