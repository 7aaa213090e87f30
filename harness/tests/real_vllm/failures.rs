//! Failures made on purpose: the class and the evidence that `harness validate` finds, its exit code, the log that it
//! keeps, and that no container is left. Most die while they start, on the fastest of the three versions where the
//! version does not matter.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::Command,
    time::Duration,
};

use serde_json::json;

use crate::bench::{Bench, MODEL, STACK, case, containers, edit_config};

// ---- the model

#[test]
fn an_architecture_that_a_version_dropped() {
    if let Some(bench) = Bench::new("0.32.0", "baichuan2") {
        bench.does_not_boot(
            "unsupported_architecture",
            "BaichuanForCausalLM was supported in vLLM until v0.23.0",
        );
    }
}

#[test]
fn an_architecture_that_nobody_knows() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    edit_config(&bench.own_weights(), |config| {
        config["architectures"] = json!(["NewForCausalLM"]);
        config["model_type"] = "new".into();
    });
    bench.does_not_boot(
        "unsupported_architecture",
        "has model type `new` but Transformers does not recognize this architecture",
    );
}

#[test]
fn an_attention_that_the_platform_does_not_compute() {
    let Some(mut bench) = Bench::new("0.12.0", "deepseek_v2") else {
        return;
    };
    bench.manifest["serve"]["trust_remote_code"] = true.into();
    bench.does_not_boot(
        "unsupported_attention",
        "NotImplementedError: MLA is not supported on CPU.",
    );
}

#[test]
fn a_package_that_the_image_lacks() {
    let Some(mut bench) = Bench::new("0.8.5", "deepseek_v2") else {
        return;
    };
    bench.manifest["serve"]["trust_remote_code"] = true.into();
    bench.does_not_boot(
        "missing_module",
        "ModuleNotFoundError: No module named 'intel_extension_for_pytorch'",
    );
}

#[test]
fn code_of_the_model_that_may_not_run() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let weights = bench.own_weights();
    edit_config(&weights, |config| {
        config["model_type"] = "own".into();
        config.insert(
            "auto_map".to_owned(),
            json!({"AutoConfig": "configuration_own.OwnConfig"}),
        );
    });
    let code =
        "from transformers import Qwen3Config\n\n\nclass OwnConfig(Qwen3Config):\n    model_type = \"own\"\n";
    fs::write(weights.join("configuration_own.py"), code).unwrap();
    bench.does_not_boot(
        "remote_code_refused",
        "Please pass the argument `trust_remote_code=True` to allow custom code to be run",
    );
}

#[test]
fn sequences_longer_than_the_model() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    bench.manifest["model"]["architecture"]["max_position"] = 4096.into();
    bench.manifest["serve"]["max_model_len"] = 4096.into();
    bench.does_not_boot(
        "context_exceeds_model",
        "User-specified max_model_len (4096) is greater than the derived max_model_len",
    );
}

#[test]
fn a_folder_without_weights() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    fs::remove_file(bench.own_weights().join("model.safetensors")).unwrap();
    bench.does_not_boot("missing_weights", "Cannot find any model weights with `/model`");
}

#[test]
fn weights_that_are_cut_off() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let weights = File::options()
        .write(true)
        .open(bench.own_weights().join("model.safetensors"))
        .unwrap();
    weights.set_len(weights.metadata().unwrap().len() / 2).unwrap();
    bench.does_not_boot(
        "corrupt_weights",
        "SafetensorError: Error while deserializing header: incomplete metadata",
    );
}

// ---- the host and the container

#[test]
fn a_container_over_its_memory_limit() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    // Enough for the API server, not for the engine beside it.
    bench.stack["docker"]["memory_gib"] = 1.into();
    let seen = bench.validate(|_| ());
    seen.failed(
        "killed_by_memory_limit",
        "Failed core proc(s): {'EngineCore_DP0': -9}",
    );
    assert_eq!(seen.trials("error"), ["boot"]);
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_its_streams() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    bench.manifest["cases"]["own"] = json!([case("first"), case("second")]);
    bench.manifest["workload"]["throughput"] =
        json!([{"concurrency": 4, "requests": 24, "prompt_tokens": 64, "output_tokens": [800]}]);
    let mut cut = 0;
    let seen = bench.validate(|event| match event["event"].as_str() {
        Some("trial_started") if event["trial"].as_str().unwrap().contains("throughput") => {
            // Long enough for the streams to flow, too short for their ends.
            std::thread::sleep(Duration::from_secs(1));
            let container = containers("session", &format!("{MODEL}@{STACK}"));
            assert_eq!(container.len(), 1);
            let killed = Command::new("docker")
                .args(["kill", &container[0]])
                .output()
                .unwrap();
            assert!(killed.status.success());
        }
        Some("request") => cut += usize::from(event["error"].to_string().contains("the answer was cut off")),
        _ => {}
    });
    seen.failed("killed", "POST /v1/completions HTTP/1.1");
    assert_eq!(seen.report["models"][0]["failure"]["exit"], "signal 9 (SIGKILL)");
    assert_eq!(seen.trials("error"), ["throughput::concurrency_4"]);
    assert_eq!(cut, 4, "what came of each stream is in the record");
    assert!(seen.log.contains("Application startup complete"), "{}", seen.log);
}

#[test]
fn a_request_that_kills_the_engine() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let mut enforced = case("enforced");
    enforced["structured"] = json!({"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}});
    bench.manifest["cases"]["own"] = json!([case("before"), enforced, case("after")]);
    let seen = bench.validate(|_| ());
    seen.failed(
        "structured_output_unsupported",
        "ValueError: logits must be of type float32",
    );
    assert_eq!(
        seen.trials("error"),
        ["correctness::enforced"],
        "the trial that asked is named, not the next one: {}",
        seen.stderr
    );
    assert_eq!(
        seen.trials("skipped"),
        [
            "memory::prediction",
            "correctness::after",
            "correctness::drift",
            "latency::single_stream"
        ]
    );
}

#[test]
fn a_port_that_another_process_takes() {
    let Some(bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    let mut taken = None;
    let seen = bench.validate(|event| {
        // The harness chose it a moment ago; vLLM binds it only when Python has loaded.
        let line = event["command_line"].as_str().unwrap_or_default();
        let mut words = line.split(' ').skip_while(|&word| word != "--port");
        if let Some(port) = words.nth(1) {
            taken = Some(TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap());
        }
    });
    assert!(taken.is_some());
    seen.failed("port_taken", "OSError: [Errno 98] Address already in use");
    assert_eq!(seen.trials("error"), ["boot"]);
}

#[test]
fn a_disk_that_another_process_filled() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    // Temporary files and caches go to a file system of 64 MiB of which one page is free: Python's own trial fits, a
    // module of torch does not.
    bench.stack["docker"]["shm_gib"] = 0.0625.into();
    bench.stack["env"] = json!({"TMPDIR": "/dev/shm", "VLLM_CACHE_ROOT": "/dev/shm/vllm"});
    let code = "import os, sys\n\
                open('/dev/shm/of_another', 'wb').write(bytes((64 << 20) - os.sysconf('SC_PAGE_SIZE')))\n\
                os.execv(sys.executable, [sys.executable, '-m', 'vllm.entrypoints.openai.api_server'] + sys.argv[1:])";
    bench.stack["docker"]["entrypoint"] = json!(["/opt/vllm/bin/python", "-c", code]);
    bench.does_not_boot("disk_full", "OSError: [Errno 28] No space left on device");
}

#[test]
fn shared_memory_that_is_too_small_for_two_workers() {
    let Some(mut bench) = Bench::new("0.32.0", "qwen3") else {
        return;
    };
    bench.manifest["serve"]["tensor_parallel"] = 2.into();
    bench.stack["docker"]["shm_gib"] = 0.0625.into();
    bench.does_not_boot(
        "shared_memory_too_small",
        "Insufficient space in /dev/shm for shared-memory allocation",
    );
}

#[test]
fn an_argument_that_this_version_does_not_know() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    bench.stack["args"] = json!(["--enforce-eager", "--no-such-argument"]);
    bench.does_not_boot(
        "invalid_argument",
        "error: unrecognized arguments: --no-such-argument",
    );
}

#[test]
fn an_image_that_nobody_has() {
    let Some(mut bench) = Bench::new("0.12.0", "qwen3") else {
        return;
    };
    // A name that no registry resolves.
    bench.stack["docker"]["image"] = "registry.invalid/vllm:0.12.0".into();
    let seen = bench.validate(|_| ());
    seen.failed(
        "image_missing",
        "registry.invalid/vllm:0.12.0 is not on this host and cannot be pulled",
    );
    assert_eq!(seen.trials("error"), ["boot"]);
    assert!(
        seen.log.contains("harness: pulling registry.invalid/vllm:0.12.0"),
        "{}",
        seen.log
    );
}
