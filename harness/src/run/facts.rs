//! What is known of a server that has just booted: versions, settings as they were resolved, memory.

use std::collections::BTreeMap;

use super::{SessionPlan, fingerprint::Fingerprint};
use crate::{
    capacity::Known,
    device::is_release,
    record::{Booted, Finding, MemoryFigures},
    target::{NO_LOG, Server},
    vllm::{
        Client,
        startup_log::{StartupFacts, complete_from_metrics},
    },
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
pub async fn booted(
    plan: &SessionPlan,
    server: &Server,
    client: &Client,
    found: Fingerprint,
    boot_s: f64,
) -> Booted {
    let facts = server.log.facts();
    let Fingerprint {
        mut environment,
        mut findings,
    } = found;
    environment.extend(server.environment());
    environment.insert(
        "accelerator".to_owned(),
        plan.stack.stack.accelerator.as_str().to_owned(),
    );
    match client.version().await {
        Ok(version) => {
            findings.extend(other_version(&version, &plan.stack.stack.vllm));
            environment.insert("vllm".to_owned(), version);
        }
        Err(error) => findings.push(Finding::warning(format!(
            "the server does not tell its version: {error}"
        ))),
    }
    environment.extend(from_log(&facts));
    if let Some(overridden) = &facts.sampling_overridden {
        let text = "the model's generation config replaces vLLM's sampling defaults; the harness pins every one of \
                    them in each request, yet other clients of this server get these";
        findings.push(Finding::warning(text).with_evidence([overridden.clone()]));
    }
    findings.extend(facts.notes.iter().map(Finding::note));
    let mut memory = facts.memory;
    if !server.has_log() {
        memory.why.values_mut().for_each(|why| NO_LOG.clone_into(why));
    }
    // Metrics only confirm or complete the log; a server without them is no less a server.
    if let Some(cache) = client
        .metrics()
        .await
        .ok()
        .and_then(|metrics| metrics.cache_config())
    {
        findings.extend(
            complete_from_metrics(&mut memory, &cache)
                .into_iter()
                .map(Finding::warning),
        );
    }
    Booted {
        session: plan.name.clone(),
        boot_s,
        environment,
        memory,
        predicted: predicted(plan),
        findings,
    }
}

/// Memory as it was predicted; why nothing was is the skipped trial's to say.
fn predicted(plan: &SessionPlan) -> Option<MemoryFigures> {
    let served = plan.served().ok()?;
    Some(served.predict(Known::default()).ok()?.figures())
}

fn other_version(found: &str, expected: &str) -> Option<Finding> {
    (!is_release(found, expected)).then(|| {
        Finding::failure(format!(
            "the server is vLLM {found}, the stack promises {expected}: correct one of them"
        ))
    })
}

fn from_log(facts: &StartupFacts) -> BTreeMap<String, String> {
    let mut shown: BTreeMap<String, String> = SHOWN
        .iter()
        .filter_map(|&key| Some((format!("resolved_{key}"), facts.config.get(key)?.clone())))
        .collect();
    let printed = [
        ("architecture", facts.architecture.clone()),
        ("attention_backend", facts.attention_backend.clone()),
        ("engine", facts.engine.map(|engine| format!("{engine:?}"))),
        ("model_runner", facts.model_runner.clone()),
        ("platform_plugin", facts.platform_plugin.clone()),
        ("maca_of_container", facts.maca_version.clone()),
        ("mcoplib", facts.mcoplib_version.clone()),
        (
            "async_scheduling",
            facts
                .async_scheduling
                .map(|on| if on { "on" } else { "off" }.to_owned()),
        ),
    ];
    shown.extend(
        printed
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    shown
}
