//! Numbers in start-up lines: vLLM's sentences, what their numbers mean, and which of several counts.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::template;
use crate::vllm::{log_line::LogLine, metrics::whole};

/// What a number in a start-up line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    Weights,
    NonTorch,
    Activation,
    Graph,
    KvCache,
    KvCacheBytes,
    Blocks,
    BlockSize,
    KvTokens,
    Concurrency,
    /// Weights and non-torch memory together.
    Consumed,
    /// `max_model_len` as the concurrency line repeats it.
    FullLength,
    WeightsReadSeconds,
    LoadSeconds,
    CompileSeconds,
    GraphSeconds,
    InitSeconds,
    /// A number that is of no use here.
    Other,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "weights_gib",
            Self::NonTorch => "non_torch_gib",
            Self::Activation => "activation_gib",
            Self::Graph => "graph_gib",
            Self::KvCache => "kv_cache_gib",
            Self::KvCacheBytes => "kv_cache_bytes",
            Self::Blocks => "num_blocks",
            Self::BlockSize => "block_size_tokens",
            Self::KvTokens => "kv_tokens",
            Self::Concurrency => "max_concurrency",
            Self::Consumed => "consumed_gib",
            Self::FullLength => "max_model_len",
            Self::WeightsReadSeconds => "weights_read_s",
            Self::LoadSeconds => "load_s",
            Self::CompileSeconds => "compile_s",
            Self::GraphSeconds => "graph_s",
            Self::InitSeconds => "init_s",
            Self::Other => "other",
        })
    }
}

use Figure::{
    Activation, BlockSize, Blocks, CompileSeconds, Concurrency, Consumed, FullLength, Graph, GraphSeconds,
    InitSeconds, KvCache, KvCacheBytes, KvTokens, LoadSeconds, NonTorch, Other, Weights, WeightsReadSeconds,
};

/// vLLM's sentences and what their numbers mean. A figure that several give is taken from the first.
const ROWS: &[(&str, &[Figure])] = &[
    // V0, all versions that have it.
    (
        "model weights take {}GiB; non_torch_memory takes {}GiB; PyTorch activation peak memory takes {}GiB; the rest of the memory reserved for KV Cache is {}GiB",
        &[Weights, NonTorch, Activation, KvCache],
    ),
    // V1 when a model is warm: INFO in 0.10.2 and from 0.26 on, DEBUG between.
    (
        "Actual usage is {} GiB for weight, {} GiB for peak activation, {} GiB for non-torch memory, and {} GiB for CUDAGraph memory",
        &[Weights, Activation, NonTorch, Graph],
    ),
    (
        "Actual usage is {} GiB for consumed memory (weights + non-torch), {} GiB for peak activation, and {} GiB for CUDAGraph memory",
        &[Consumed, Activation, Graph],
    ),
    // V1 after profiling, DEBUG.
    (
        "torch peak memory increase: {}GiB; non-torch forward increase memory: {}GiB; weights memory: {}GiB",
        &[Activation, NonTorch, Weights],
    ),
    (
        "torch peak memory increase: {}GiB; total consumed (from mem_get_info): {}GiB; weights memory: {}GiB",
        &[Activation, Consumed, Weights],
    ),
    (
        "Model loading took {} GiB memory and {} seconds",
        &[Weights, LoadSeconds],
    ),
    (
        "Model loading took {} GiB and {} seconds",
        &[Weights, LoadSeconds],
    ),
    ("Loading model weights took {} GiB", &[Weights]),
    ("Loading weights took {} seconds", &[WeightsReadSeconds]),
    ("Available KV cache memory: {} GiB", &[KvCache]),
    ("reserved {} GiB memory for KV Cache as specified by", &[KvCache]),
    ("Explicitly set ({}/{}) GiB for KV cache", &[KvCache, Other]),
    ("Auto set ({}/{}) GiB for KV cache", &[KvCache, Other]),
    ("Current kv cache memory in use is {} GiB", &[KvCache]),
    ("Current kv cache memory in use is {} bytes", &[KvCacheBytes]),
    (
        "Overriding num_gpu_blocks={} with num_gpu_blocks_override={}",
        &[Other, Blocks],
    ),
    (" blocks: {}, # CPU blocks: {}", &[Blocks, Other]),
    (
        "cache_config_info with initialization after num_gpu_blocks is: {}",
        &[Blocks],
    ),
    ("Forcing kv cache block size to {} for", &[BlockSize]),
    ("KV cache size: {} tokens", &[KvTokens]),
    (
        "Maximum concurrency for {} tokens per request: {}x",
        &[FullLength, Concurrency],
    ),
    (
        "Graph capturing finished in {} secs, took {} GiB",
        &[GraphSeconds, Graph],
    ),
    ("CUDA graph pool memory: {} GiB (actual)", &[Graph]),
    ("torch.compile takes {} s in total", &[CompileSeconds]),
    ("torch.compile took {} s in total", &[CompileSeconds]),
    (
        "init engine (profile, create kv cache, warmup model) took {} s",
        &[InitSeconds],
    ),
];

/// A number that a line gave.
#[derive(Debug, Clone)]
struct Sighting {
    row: usize,
    figure: Figure,
    value: f64,
    process: Option<Arc<str>>,
    first_rank: bool,
}

/// Every number that start-up lines gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings(Vec<Sighting>);

impl Sightings {
    /// Takes what a line tells.
    pub(super) fn read(&mut self, line: &LogLine) {
        for (row, (template, figures)) in ROWS.iter().enumerate() {
            let Some(found) = template::captures(template, &line.text) else {
                continue;
            };
            for (figure, text) in figures.iter().zip(found) {
                let Some(value) = template::number(text) else {
                    continue;
                };
                self.0.push(Sighting {
                    row,
                    figure: *figure,
                    value,
                    process: line.process.clone(),
                    first_rank: line.is_first_rank(),
                });
            }
        }
    }

    /// The figure from the preferred sentence: the first rank's, except that the scheduler uses the smallest of the
    /// ranks' KV caches.
    pub(super) fn get(&self, figure: Figure) -> Option<f64> {
        let row = self.of(figure).map(|sighting| sighting.row).min()?;
        let of_row = self.of(figure).filter(|sighting| sighting.row == row);
        if matches!(figure, Blocks | KvTokens | Concurrency) {
            return of_row.map(|sighting| sighting.value).reduce(f64::min);
        }
        of_row
            .min_by_key(|sighting| !sighting.first_rank)
            .map(|sighting| sighting.value)
    }

    fn of(&self, figure: Figure) -> impl Iterator<Item = &Sighting> {
        self.0.iter().filter(move |sighting| sighting.figure == figure)
    }

    pub(super) fn count(&self, figure: Figure) -> Option<u64> {
        self.get(figure).and_then(whole)
    }

    /// By process, what each one printed; empty unless several spoke.
    pub(super) fn per_rank(&self) -> BTreeMap<String, BTreeMap<String, f64>> {
        let mut ranks: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for sighting in self.0.iter().filter(|sighting| sighting.figure != Other) {
            let process = sighting.process.as_deref().unwrap_or("(no prefix)");
            let figures = ranks.entry(process.to_owned()).or_default();
            figures
                .entry(sighting.figure.to_string())
                .or_insert(sighting.value);
        }
        if ranks.len() < 2 { BTreeMap::new() } else { ranks }
    }

    /// One sentence for each figure on which ranks differ.
    pub(super) fn spreads(&self) -> Vec<String> {
        let mut spreads = Vec::new();
        for figure in [Weights, NonTorch, Activation, Graph, KvCache, Blocks, KvTokens] {
            let Some(row) = self.of(figure).map(|seen| seen.row).min() else {
                continue;
            };
            let of_row = || {
                self.of(figure)
                    .filter(|seen| seen.row == row)
                    .map(|seen| seen.value)
            };
            let (least, most) = (
                of_row().fold(f64::INFINITY, f64::min),
                of_row().fold(f64::NEG_INFINITY, f64::max),
            );
            if least < most {
                spreads.push(format!(
                    "{figure} differs between ranks: {least} to {most} in {} lines",
                    of_row().count()
                ));
            }
        }
        spreads
    }
}
