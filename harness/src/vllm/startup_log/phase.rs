//! Phases of a boot, and the lines that show them to have begun.

use std::fmt;

use serde::Serialize;

/// Steps of a boot. Their order differs between versions and backends, and some are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "&'static str")]
pub enum Phase {
    /// The process runs and reads its configuration.
    Starting,
    /// Weights are read into memory.
    LoadingWeights,
    /// A forward pass of the largest batch shows what memory is needed beside the weights.
    Profiling,
    /// torch.compile works.
    Compiling,
    /// The KV cache is made.
    KvCache,
    /// Graphs are captured.
    CapturingGraphs,
    /// Requests are answered.
    Serving,
}

impl Phase {
    /// Words in progress lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::LoadingWeights => "loading weights",
            Self::Profiling => "profiling",
            Self::Compiling => "compiling",
            Self::KvCache => "KV cache",
            Self::CapturingGraphs => "capturing graphs",
            Self::Serving => "serving",
        }
    }

    /// The phase that a line shows to have begun.
    pub(super) fn begun_by(text: &str) -> Option<Self> {
        SIGNS
            .iter()
            .find(|(sign, _)| text.contains(sign))
            .map(|&(_, phase)| phase)
    }
}

impl From<Phase> for &'static str {
    fn from(phase: Phase) -> Self {
        phase.as_str()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a line holds when a phase begins (or, where nothing tells its beginning, while it lasts).
const SIGNS: &[(&str, Phase)] = &[
    ("Starting to load model", Phase::LoadingWeights),
    ("Loading model from scratch", Phase::LoadingWeights),
    ("checkpoint shards:", Phase::LoadingWeights),
    ("Loading weights took", Phase::LoadingWeights),
    ("Model loading took", Phase::Profiling),
    ("Memory profiling takes", Phase::Profiling),
    ("for vLLM's torch.compile", Phase::Compiling),
    ("Dynamo bytecode transform time", Phase::Compiling),
    ("Warming up model for the compilation", Phase::Compiling),
    ("Available KV cache memory", Phase::KvCache),
    ("GiB memory for KV Cache as specified by", Phase::KvCache),
    ("KV cache size:", Phase::KvCache),
    (", # CPU blocks: ", Phase::KvCache),
    ("Capturing CUDA graph", Phase::CapturingGraphs),
    ("Capturing cudagraphs", Phase::CapturingGraphs),
    ("Capturing the model for CUDA graphs", Phase::CapturingGraphs),
    ("Graph capturing finished", Phase::CapturingGraphs),
    ("Application startup complete", Phase::Serving),
    ("Avg prompt throughput", Phase::Serving),
    (" HTTP/1.1\" 200", Phase::Serving),
];
