//! vLLM's server flags: names, kinds and the releases that have them.
//!
//! A flag that the simulator does not act on is still read and echoed, because a harness passes it. Sources:
//! the argument tables of the wheels of vLLM 0.8.5 to 0.33.

use crate::version::Version;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing; `--no-…` switches off.
    Switch,
    /// A whole number, with units.
    Int,
    /// A number.
    Float,
    /// Any text, JSON too.
    Text,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// One or more texts.
    List,
}

use Kind::{Choice, Float, Int, List, Switch, Text};

/// Release bounds, `(minor, patch)`.
type Release = (u32, u32);
/// Present in every release.
const ALWAYS: Release = (0, 0);
/// Still present in the last release.
const STILL: Release = (99, 0);

const DTYPES: Kind = Choice(&["auto", "half", "float16", "bfloat16", "float", "float32"]);
const KV_DTYPES: Kind = Choice(&[
    "auto",
    "bfloat16",
    "fp8",
    "fp8_e4m3",
    "fp8_e5m2",
    "fp8_inc",
    "fp8_ds_mla",
]);
const EXECUTORS: Kind = Choice(&["ray", "mp", "uni", "external_launcher"]);

/// Flags of every release.
const COMMON: &[(&str, Kind)] = &[
    ("additional-config", Text),
    ("allow-credentials", Switch),
    ("allowed-headers", Text),
    ("allowed-local-media-path", Text),
    ("allowed-methods", Text),
    ("allowed-origins", Text),
    ("api-key", List),
    ("block-size", Int),
    ("chat-template", Text),
    (
        "chat-template-content-format",
        Choice(&["auto", "string", "openai"]),
    ),
    ("code-revision", Text),
    ("compilation-config", Text),
    ("config", Text),
    ("config-format", Text),
    ("cpu-offload-gb", Float),
    ("data-parallel-size", Int),
    ("disable-cascade-attn", Switch),
    ("disable-custom-all-reduce", Switch),
    ("disable-fastapi-docs", Switch),
    ("disable-log-stats", Switch),
    ("disable-sliding-window", Switch),
    ("disable-uvicorn-access-log", Switch),
    ("distributed-executor-backend", EXECUTORS),
    ("download-dir", Text),
    ("dtype", DTYPES),
    ("enable-auto-tool-choice", Switch),
    ("enable-chunked-prefill", Switch),
    ("enable-expert-parallel", Switch),
    ("enable-lora", Switch),
    ("enable-prefix-caching", Switch),
    ("enable-prompt-tokens-details", Switch),
    ("enable-request-id-headers", Switch),
    ("enable-server-load-tracking", Switch),
    ("enable-sleep-mode", Switch),
    ("enforce-eager", Switch),
    ("generation-config", Text),
    ("gpu-memory-utilization", Float),
    ("hf-config-path", Text),
    ("hf-overrides", Text),
    ("hf-token", Text),
    ("host", Text),
    ("ignore-patterns", Text),
    ("kv-cache-dtype", KV_DTYPES),
    ("kv-transfer-config", Text),
    ("limit-mm-per-prompt", Text),
    ("load-format", Text),
    ("long-prefill-token-threshold", Int),
    ("lora-modules", List),
    ("max-cpu-loras", Int),
    ("max-log-len", Int),
    ("max-logprobs", Int),
    ("max-lora-rank", Int),
    ("max-loras", Int),
    ("max-model-len", Int),
    ("max-num-batched-tokens", Int),
    ("max-num-seqs", Int),
    ("max-parallel-loading-workers", Int),
    ("middleware", Text),
    ("mm-processor-kwargs", Text),
    ("model", Text),
    ("model-impl", Choice(&["auto", "vllm", "transformers"])),
    ("model-loader-extra-config", Text),
    ("num-gpu-blocks-override", Int),
    ("otlp-traces-endpoint", Text),
    ("override-generation-config", Text),
    ("pipeline-parallel-size", Int),
    ("port", Int),
    ("prefix-caching-hash-algo", Text),
    ("quantization", Text),
    ("reasoning-parser", Text),
    ("response-role", Text),
    ("return-tokens-as-token-ids", Switch),
    ("revision", Text),
    ("root-path", Text),
    ("scheduler-cls", Text),
    ("scheduling-policy", Choice(&["fcfs", "priority"])),
    ("seed", Int),
    ("served-model-name", List),
    ("show-hidden-metrics-for-version", Text),
    ("skip-tokenizer-init", Switch),
    ("speculative-config", Text),
    ("ssl-ca-certs", Text),
    ("ssl-certfile", Text),
    ("ssl-keyfile", Text),
    ("tensor-parallel-size", Int),
    ("tokenizer", Text),
    ("tokenizer-mode", Text),
    ("tokenizer-revision", Text),
    ("tool-call-parser", Text),
    ("tool-parser-plugin", Text),
    ("trust-remote-code", Switch),
    ("use-tqdm-on-load", Switch),
    ("uvicorn-log-level", Text),
    ("worker-cls", Text),
    ("worker-extension-cls", Text),
];

/// Flags that came or went: first release that has it, first that has not.
const DATED: &[(&str, Kind, Release, Release)] = &[
    ("attention-backend", Text, (13, 0), STILL),
    ("async-scheduling", Switch, (10, 0), STILL),
    ("calculate-kv-scales", Switch, ALWAYS, (28, 0)),
    ("convert", Text, (10, 2), STILL),
    ("cuda-graph-sizes", List, (9, 0), (13, 0)),
    ("cudagraph-capture-sizes", List, (11, 2), STILL),
    ("default-chat-template-kwargs", Text, (14, 0), STILL),
    ("device", Text, ALWAYS, (10, 0)),
    ("device-memory-utilization", Float, (31, 0), STILL),
    ("disable-async-output-proc", Switch, ALWAYS, (11, 0)),
    ("disable-frontend-multiprocessing", Switch, ALWAYS, (19, 0)),
    ("disable-log-requests", Switch, ALWAYS, (17, 0)),
    ("disable-mm-preprocessor-cache", Switch, ALWAYS, (13, 0)),
    ("enable-force-include-usage", Switch, (9, 2), STILL),
    ("enable-log-requests", Switch, (10, 2), STILL),
    ("enable-per-request-metrics", Switch, (25, 0), STILL),
    ("enable-reasoning", Switch, ALWAYS, (10, 0)),
    ("enable-tokenizer-info-endpoint", Switch, (10, 0), STILL),
    ("exclude-tools-when-tool-choice-none", Switch, (10, 2), STILL),
    ("expand-tools-even-if-tool-choice-none", Switch, ALWAYS, (10, 2)),
    ("guided-decoding-backend", Text, ALWAYS, (12, 0)),
    ("kv-cache-memory-bytes", Int, (10, 2), STILL),
    ("kv-offloading-size", Float, (11, 2), STILL),
    ("log-level", Text, (31, 0), STILL),
    ("logging-config", Text, (31, 0), STILL),
    ("logits-processor-pattern", Text, ALWAYS, (17, 0)),
    ("logprobs-mode", Text, (10, 0), STILL),
    ("max-cudagraph-capture-size", Int, (11, 2), STILL),
    ("max-long-partial-prefills", Int, ALWAYS, (27, 0)),
    ("max-num-partial-prefills", Int, ALWAYS, (27, 0)),
    ("max-seq-len-to-capture", Int, ALWAYS, (11, 0)),
    ("mm-encoder-tp-mode", Text, (10, 2), STILL),
    ("mm-processor-cache-gb", Float, (10, 2), STILL),
    ("moe-backend", Text, (17, 0), STILL),
    ("multi-step-stream-outputs", Switch, ALWAYS, (10, 2)),
    ("num-lookahead-slots", Int, ALWAYS, (12, 0)),
    ("num-scheduler-steps", Int, ALWAYS, (10, 2)),
    ("optimization-level", Int, (12, 0), STILL),
    ("override-attention-dtype", Text, (10, 0), (28, 0)),
    ("override-pooler-config", Text, ALWAYS, (12, 0)),
    ("preemption-mode", Text, ALWAYS, (11, 0)),
    ("rope-scaling", Text, ALWAYS, (11, 2)),
    ("rope-theta", Float, ALWAYS, (11, 2)),
    ("runner", Text, (10, 2), STILL),
    ("scheduler-delay-factor", Float, ALWAYS, (11, 0)),
    ("shutdown-timeout", Int, (18, 0), STILL),
    ("structured-outputs-config", Text, (11, 0), STILL),
    ("swap-space", Float, ALWAYS, (18, 0)),
    ("task", Text, ALWAYS, (13, 0)),
    ("use-v2-block-manager", Switch, ALWAYS, (10, 0)),
];

/// One-letter-like aliases of vLLM's parser.
const ALIASES: &[(&str, &str)] = &[
    ("tp", "tensor-parallel-size"),
    ("pp", "pipeline-parallel-size"),
    ("dp", "data-parallel-size"),
];

/// The flag of that name (dashes, no leading `--`) in that release: its full name, its kind, and whether it
/// was negated by `no-`. JSON flags also answer to `name.key`.
pub fn find(name: &str, version: &Version) -> Option<(&'static str, Kind, bool)> {
    if let Some((full, kind)) = lookup(name, version) {
        return Some((full, kind, false));
    }
    if let Some((full, Switch)) = name.strip_prefix("no-").and_then(|rest| lookup(rest, version)) {
        return Some((full, Switch, true));
    }
    let (parent, _) = name.split_once('.')?;
    let (full, kind) = lookup(parent, version)?;
    (kind == Text).then_some((full, kind, false))
}

fn lookup(name: &str, version: &Version) -> Option<(&'static str, Kind)> {
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, full)| *full);
    if let Some((full, kind)) = COMMON.iter().find(|(known, _)| *known == name) {
        return Some((full, *kind));
    }
    let (full, kind, since, until) = DATED.iter().find(|(known, ..)| *known == name)?;
    let present = version.at_least(since.0, since.1) && !version.at_least(until.0, until.1);
    present.then_some((full, *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, version: &str) -> bool {
        find(name, &version.parse().unwrap()).is_some()
    }

    #[test]
    fn flags_come_and_go_with_releases() {
        assert!(known("enable-reasoning", "0.8.5") && !known("enable-reasoning", "0.12.0"));
        assert!(!known("kv-cache-memory-bytes", "0.8.5") && known("kv-cache-memory-bytes", "0.12.0"));
        assert!(known("swap-space", "0.17.0") && !known("swap-space", "0.18.0"));
    }

    #[test]
    fn names_are_unique() {
        let names = COMMON
            .iter()
            .map(|(name, _)| *name)
            .chain(DATED.iter().map(|(name, ..)| *name));
        let mut seen = std::collections::HashSet::new();
        assert!(names.into_iter().all(|name| seen.insert(name)));
    }

    #[test]
    fn only_switches_are_negated() {
        let version = "0.12.0".parse().unwrap();
        assert_eq!(
            find("no-enable-prefix-caching", &version),
            Some(("enable-prefix-caching", Switch, true))
        );
        assert_eq!(find("no-port", &version), None);
        assert_eq!(find("tp", &version), Some(("tensor-parallel-size", Int, false)));
    }
}
