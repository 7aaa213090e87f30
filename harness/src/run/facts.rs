//! What is known of a server that has just booted: versions, settings as they were resolved, memory.

use std::collections::BTreeMap;

use super::SessionPlan;
use crate::{
    record::{Booted, Finding},
    target::Server,
    vllm::{Client, startup_log::StartupFacts},
};

/// Keys of vLLM's resolved configuration that reports show.
const SHOWN: [&str; 9] = [
    "dtype",
    "max_seq_len",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "quantization",
    "enforce_eager",
    "kv_cache_dtype",
    "seed",
    "enable_prefix_caching",
];

/// Gathers what the log, the server and the target tell.
pub async fn booted(plan: &SessionPlan, server: &Server, client: &Client, boot_s: f64) -> Booted {
    let facts = server.log.facts();
    let mut findings = Vec::new();
    let mut environment: BTreeMap<String, String> = server.environment().into_iter().collect();
    environment.insert("accelerator".to_owned(), plan.stack.stack.accelerator.as_str().to_owned());
    match client.version().await {
        Ok(version) => {
            findings.extend(other_version(&version, &plan.stack.stack.vllm));
            environment.insert("vllm".to_owned(), version);
        }
        Err(error) => findings.push(Finding::warning(format!("the server does not tell its version: {error}"))),
    }
    environment.extend(from_log(&facts));
    if let Some(overridden) = &facts.sampling_overridden {
        let text = "the model's generation config replaces vLLM's sampling defaults; the harness pins every one of \
                    them in each request, yet other clients of this server get these";
        findings.push(Finding::warning(text).with_evidence([overridden.clone()]));
    }
    let mut memory = facts.memory;
    if memory.num_blocks.is_none()
        && let Ok(metrics) = client.metrics().await
    {
        memory.num_blocks = metrics.cache_config().and_then(|config| config.num_blocks);
        if memory.num_blocks.is_some() {
            memory.why.remove("num_blocks");
        }
    }
    Booted { session: plan.name.clone(), boot_s, environment, memory, findings }
}

/// A build suffix (`0.12.0.post2`, `0.8.5+metax`) is the same release.
fn other_version(found: &str, expected: &str) -> Option<Finding> {
    let same = found.strip_prefix(expected).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+', '-']));
    (!same).then(|| {
        Finding::failure(format!("the server is vLLM {found}, the stack promises {expected}: correct one of them"))
    })
}

fn from_log(facts: &StartupFacts) -> BTreeMap<String, String> {
    let mut shown: BTreeMap<String, String> = SHOWN
        .iter()
        .filter_map(|&key| Some((format!("resolved_{key}"), facts.config.get(key)?.clone())))
        .collect();
    let backend = facts.attention_backend.clone();
    shown.extend(backend.map(|backend| ("attention_backend".to_owned(), backend)));
    shown.extend(facts.engine.map(|engine| ("engine".to_owned(), engine.to_string())));
    shown.extend(facts.plugin.iter().map(|(name, value)| (format!("plugin_{name}"), value.clone())));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_suffix_is_the_same_release() {
        for found in ["0.12.0", "0.12.0.post2", "0.12.0+cpu", "0.12.0-rc1"] {
            assert_eq!(other_version(found, "0.12.0"), None, "{found}");
        }
        for found in ["0.12.1", "0.12.01", "0.8.5", ""] {
            assert!(other_version(found, "0.12.0").is_some(), "{found}");
        }
    }
}
