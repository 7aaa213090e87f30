//! Memory figures out of a start-up log: what was printed, what follows from it, and why the rest is absent.
//!
//! With several ranks the first rank's figure counts (of KV caches the smallest). Nothing is estimated: a figure is
//! printed, or it follows from printed ones by an identity and is said to, or it is absent with the reason.
//! Identities: KV tokens = blocks × block size (not for the token count that 0.20.2 and newer print); maximum
//! concurrency = KV tokens / max_model_len; non-torch = consumed − weights.

use std::collections::BTreeMap;

use semver::Version;

use super::{
    EngineKind,
    sightings::{
        Figure::{
            self, Activation, BlockSize, Blocks, Concurrency, Consumed, FullLength, Graph, KvCache,
            KvCacheBytes, KvTokens, NonTorch, Weights,
        },
        Sightings,
    },
};
use crate::{
    record::MemoryFigures,
    vllm::{CacheConfig, metrics::whole, version::at_least},
};

/// Bytes of a GiB.
const GIB_BYTES: f64 = 1_073_741_824.0;

/// What else is known of the server, to say why a figure is absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// As printed.
    pub(super) version_text: Option<&'a str>,
    pub(super) version: Option<&'a Version>,
    pub(super) engine: Option<EngineKind>,
    pub(super) is_cpu: bool,
    pub(super) is_eager: bool,
    /// Whether the log goes beyond the making of the KV cache.
    pub(super) has_kv_cache: bool,
    pub(super) block_size: Option<u64>,
}

impl Sightings {
    /// The figures of one card.
    pub(super) fn memory(&self, context: Context<'_>) -> MemoryFigures {
        let mut memory = MemoryFigures {
            weights_gib: self.get(Weights),
            non_torch_gib: self.get(NonTorch),
            activation_gib: self.get(Activation),
            graph_gib: self.get(Graph),
            kv_cache_gib: self.get(KvCache),
            num_blocks: self.count(Blocks),
            kv_tokens: self.count(KvTokens),
            max_concurrency: self.get(Concurrency),
            why: BTreeMap::new(),
        };
        self.derive(&mut memory, context);
        explain(&mut memory, context);
        memory
    }

    fn derive(&self, memory: &mut MemoryFigures, context: Context<'_>) {
        if let (None, Some(consumed), Some(weights)) =
            (memory.non_torch_gib, self.get(Consumed), memory.weights_gib)
        {
            // Both are printed to a few digits; more would be noise of the subtraction.
            memory.non_torch_gib = Some(((consumed - weights) * 1e4).round() / 1e4);
            note(
                memory,
                NonTorch,
                format!("derived: {consumed} GiB consumed − {weights} GiB of weights"),
            );
        }
        if let (None, Some(bytes)) = (memory.kv_cache_gib, self.get(KvCacheBytes)) {
            memory.kv_cache_gib = Some(bytes / GIB_BYTES);
            note(memory, KvCache, format!("derived: {bytes} bytes"));
        }
        let counts_blocks = context
            .version
            .is_none_or(|version| !at_least(version, (0, 20, 2)));
        match (
            memory.num_blocks,
            memory.kv_tokens,
            self.block_size(memory, context),
        ) {
            (Some(blocks), None, Some(size)) => {
                memory.kv_tokens = Some(blocks * size);
                note(
                    memory,
                    KvTokens,
                    format!("derived: {blocks} blocks × {size} tokens"),
                );
            }
            (None, Some(tokens), Some(size)) if counts_blocks && tokens % size == 0 => {
                memory.num_blocks = Some(tokens / size);
                note(
                    memory,
                    Blocks,
                    format!("derived: {tokens} tokens / {size} tokens a block"),
                );
            }
            _ => {}
        }
        let length = self.get(FullLength).filter(|length| *length > 0.0);
        if let (None, Some(tokens), Some(length)) = (memory.max_concurrency, memory.kv_tokens, length) {
            memory.max_concurrency = Some(tokens as f64 / length);
            note(
                memory,
                Concurrency,
                format!("derived: {tokens} tokens / {length}"),
            );
        }
    }

    /// Block size, as told; or as it follows from V0's two lines, where concurrency is blocks × block size /
    /// length, printed to two digits.
    fn block_size(&self, memory: &MemoryFigures, context: Context<'_>) -> Option<u64> {
        if let Some(size) = self
            .count(BlockSize)
            .or(context.block_size)
            .filter(|size| *size > 0)
        {
            return Some(size);
        }
        let (blocks, concurrency, length) = (
            memory.num_blocks? as f64,
            memory.max_concurrency?,
            self.get(FullLength)?,
        );
        let size = (concurrency * length / blocks).round();
        let is_consistent = (size * blocks / length - concurrency).abs() <= 0.005 + 1e-9;
        whole(size).filter(|size| *size > 0 && is_consistent)
    }
}

/// Fills in what the server's metrics know, and tells where they contradict the log.
pub fn complete_from_metrics(memory: &mut MemoryFigures, cache: &CacheConfig) -> Vec<String> {
    let mut contradictions = Vec::new();
    let mut compare = |name: &str, log: Option<u64>, metrics: Option<u64>| {
        if let (Some(log), Some(metrics)) = (log, metrics)
            && log != metrics
        {
            contradictions.push(format!(
                "{name} is {log} in the start-up log and {metrics} in /metrics"
            ));
        }
    };
    // Blocks are added up over engines; one engine is what the log's first rank speaks of.
    let blocks = cache
        .num_blocks
        .map(|blocks| blocks / cache.engines.max(1) as u64);
    compare("num_blocks", memory.num_blocks, blocks);
    compare("kv_tokens", memory.kv_tokens, cache.kv_tokens);
    if memory.num_blocks.is_none() && blocks.is_some() {
        memory.num_blocks = blocks;
        note(memory, Blocks, "from /metrics: num_gpu_blocks".to_owned());
    }
    if memory.kv_tokens.is_none() && cache.kv_tokens.is_some() {
        memory.kv_tokens = cache.kv_tokens;
        note(memory, KvTokens, "from /metrics: kv_cache_size_tokens".to_owned());
    }
    if memory.max_concurrency.is_none() && cache.max_concurrency.is_some() {
        memory.max_concurrency = cache.max_concurrency;
        note(
            memory,
            Concurrency,
            "from /metrics: kv_cache_max_concurrency".to_owned(),
        );
    }
    if memory.kv_cache_gib.is_none()
        && let Some(bytes) = cache.kv_cache_bytes
    {
        memory.kv_cache_gib = Some(bytes as f64 / GIB_BYTES);
        note(memory, KvCache, format!("from /metrics: {bytes} bytes set aside"));
    }
    contradictions
}

fn note(memory: &mut MemoryFigures, figure: Figure, why: String) {
    memory.why.insert(figure.to_string(), why);
}

/// Says of each absent figure why it is absent.
fn explain(memory: &mut MemoryFigures, context: Context<'_>) {
    let absent = [
        (Weights, memory.weights_gib.is_none()),
        (NonTorch, memory.non_torch_gib.is_none()),
        (Activation, memory.activation_gib.is_none()),
        (Graph, memory.graph_gib.is_none()),
        (KvCache, memory.kv_cache_gib.is_none()),
        (Blocks, memory.num_blocks.is_none()),
        (KvTokens, memory.kv_tokens.is_none()),
        (Concurrency, memory.max_concurrency.is_none()),
    ];
    for (figure, _) in absent.into_iter().filter(|(_, is_absent)| *is_absent) {
        note(memory, figure, reason(figure, context));
    }
}

fn reason(figure: Figure, context: Context<'_>) -> String {
    let name = context
        .version_text
        .map_or_else(|| "this vLLM".to_owned(), |text| format!("vLLM {text}"));
    let since = |release| context.version.is_some_and(|version| at_least(version, release));
    let is_v0 = context.engine == Some(EngineKind::V0);
    if !context.has_kv_cache {
        return "the log ends before the KV cache is made".to_owned();
    }
    match figure {
        Graph if context.is_eager => "no graphs are captured: enforce_eager".to_owned(),
        Weights | NonTorch | Activation | Graph | KvCache if context.is_cpu => {
            format!("not printed by {name} on the CPU backend")
        }
        Blocks if !is_v0 && !since((0, 9, 2)) => {
            format!("not printed by {name} (V1), nor filled in in its /metrics")
        }
        Blocks if !is_v0 => {
            format!("not printed by {name} at INFO: /metrics has it (num_gpu_blocks)")
        }
        NonTorch | Activation if !is_v0 && !since((0, 9, 2)) => {
            format!("not printed by {name} (V1) at any level")
        }
        NonTorch | Activation if !is_v0 && !since((0, 26, 0)) => {
            format!("not printed by {name} at INFO: set VLLM_LOGGING_LEVEL=DEBUG")
        }
        KvCache if !is_v0 && !since((0, 9, 2)) => format!("not printed by {name} (V1)"),
        _ => format!("{name} prints it, but not in this log"),
    }
}
