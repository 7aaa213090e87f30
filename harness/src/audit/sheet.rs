//! A report as the rules see it: columns (a stack, a card, a run) of sections (memory, one workload) of cells.

use std::collections::BTreeMap;

use super::Interval;

/// A report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sheet {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its running text, in which claims and names of models are looked for.
    pub text: String,
}

/// What was measured in one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The model, where the column names one.
    pub model: Option<String>,
    /// What ran: versions, images, the card. Name and text as written.
    pub words: BTreeMap<Word, String>,
    /// Its sections.
    pub sections: Vec<Section>,
}

/// What a cell of words tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// The card.
    Hardware,
    /// Container image.
    Image,
    /// vLLM.
    Vllm,
    /// PyTorch.
    Torch,
    /// MACA of the container.
    Maca,
    /// Number type.
    Dtype,
}

/// Figures that belong together: one table, one workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// Its name, such as the heading of a table.
    pub name: String,
    /// Its figures.
    pub cells: BTreeMap<Fact, Cell>,
    /// Whether percentiles come with the number of their samples, so that nobody takes them for more than they are.
    pub tells_samples: bool,
}

/// A figure as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its name in the report.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What it can be, in the fact's unit.
    pub value: Interval,
}

impl Cell {
    /// The cell in findings.
    pub fn shown(&self) -> String {
        format!("{} = {}", self.name, self.text)
    }
}

/// What a figure means. Memory in GiB of one card, times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is a figure of vLLM's start-up or of a benchmark, by its usual name"
)]
pub enum Fact {
    Weights,
    NonTorch,
    Activation,
    Graph,
    KvCache,
    Utilization,
    CardMemory,
    Blocks,
    BlockSize,
    KvTokens,
    MaxConcurrency,
    MaxModelLen,
    TensorParallel,
    PipelineParallel,
    /// Bytes of KV cache for one token on one card.
    TokenBytes,
    /// Bytes of weights that one token reads, over all cards.
    ReadBytes,
    /// Bandwidth of one card, 10^9 bytes a second.
    Bandwidth,
    LatencyMean,
    LatencyMin,
    LatencyMax,
    LatencyP50,
    LatencyP90,
    LatencyP95,
    LatencyP99,
    TtftMean,
    TtftP50,
    TtftP90,
    TtftP95,
    TtftP99,
    TtftMax,
    TpotMean,
    TpotP50,
    TpotP90,
    TpotP95,
    TpotP99,
    ItlP50,
    ItlP90,
    ItlP95,
    ItlP99,
    /// Mean over requests of output tokens / latency.
    GenerationMean,
    Concurrency,
    Requests,
    Succeeded,
    Failed,
    Wall,
    InputTokens,
    OutputTokens,
    OutputThroughput,
    TotalThroughput,
    IndividualMean,
    RequestRate,
    /// Share of right answers.
    CorrectRatio,
}

impl Column {
    /// The first cell of a fact.
    pub fn cell(&self, fact: Fact) -> Option<&Cell> {
        self.sections.iter().find_map(|section| section.cells.get(&fact))
    }

    /// What a fact can be.
    pub fn value(&self, fact: Fact) -> Option<Interval> {
        Some(self.cell(fact)?.value)
    }
}
