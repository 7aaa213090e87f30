//! Names of figures in Chinese and English reports, and what they mean.

use crate::audit::{Fact, sheet::Word};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A figure.
    Fact(Fact),
    /// Words.
    Word(Word),
}

use Fact as F;

/// Names without spaces and punctuation, in lower case. The first report's, this project's, and the usual ones.
const FACTS: &[(&str, Fact)] = &[
    ("模型权重", F::Weights),
    ("modelweights", F::Weights),
    ("weights", F::Weights),
    ("非torch内存", F::NonTorch),
    ("nontorchmemory", F::NonTorch),
    ("nontorch", F::NonTorch),
    ("pytorch激活内存", F::Activation),
    ("激活内存", F::Activation),
    ("pytorchactivationmemory", F::Activation),
    ("pytorchactivationpeakmemory", F::Activation),
    ("activationmemory", F::Activation),
    ("activationpeak", F::Activation),
    ("activations", F::Activation),
    ("activation", F::Activation),
    ("cuda图内存", F::Graph),
    ("capturedgraphs", F::Graph),
    ("cudagraphs", F::Graph),
    ("graphs", F::Graph),
    ("kv缓存预留内存", F::KvCache),
    ("kv缓存内存", F::KvCache),
    ("kv缓存", F::KvCache),
    ("kvcachereservedmemory", F::KvCache),
    ("kvcachememory", F::KvCache),
    ("kvcache", F::KvCache),
    ("gpu内存使用率", F::Utilization),
    ("显存使用率", F::Utilization),
    ("gpumemoryutilization", F::Utilization),
    ("memoryutilization", F::Utilization),
    ("cuda块数", F::Blocks),
    ("kv缓存块数", F::Blocks),
    ("cudablocks", F::Blocks),
    ("gpublocks", F::Blocks),
    ("kvcacheblocks", F::Blocks),
    ("blocks", F::Blocks),
    ("numblocks", F::Blocks),
    ("块大小", F::BlockSize),
    ("blocksize", F::BlockSize),
    ("kvcacheblocksize", F::BlockSize),
    ("kv缓存token数", F::KvTokens),
    ("kvcachetokens", F::KvTokens),
    ("kvtokens", F::KvTokens),
    ("最大并发序列", F::MaxConcurrency),
    ("最大并发", F::MaxConcurrency),
    ("maximumconcurrency", F::MaxConcurrency),
    ("maximumconcurrentsequences", F::MaxConcurrency),
    ("maxconcurrentsequences", F::MaxConcurrency),
    ("最大序列长度", F::MaxModelLen),
    ("maximumsequencelength", F::MaxModelLen),
    ("maxsequencelength", F::MaxModelLen),
    ("maxmodellen", F::MaxModelLen),
    ("张量并行大小", F::TensorParallel),
    ("tensorparallelsize", F::TensorParallel),
    ("tensorparallel", F::TensorParallel),
    ("流水线并行大小", F::PipelineParallel),
    ("pipelineparallelsize", F::PipelineParallel),
    ("pipelineparallel", F::PipelineParallel),
    ("平均延迟", F::LatencyMean),
    ("meanlatency", F::LatencyMean),
    ("averagelatency", F::LatencyMean),
    ("latencymean", F::LatencyMean),
    ("最小延迟", F::LatencyMin),
    ("minimumlatency", F::LatencyMin),
    ("minlatency", F::LatencyMin),
    ("latencyleast", F::LatencyMin),
    ("最大延迟", F::LatencyMax),
    ("maximumlatency", F::LatencyMax),
    ("maxlatency", F::LatencyMax),
    ("latencygreatest", F::LatencyMax),
    ("p50延迟", F::LatencyP50),
    ("p50latency", F::LatencyP50),
    ("medianlatency", F::LatencyP50),
    ("latencyp50", F::LatencyP50),
    ("p90延迟", F::LatencyP90),
    ("p90latency", F::LatencyP90),
    ("latencyp90", F::LatencyP90),
    ("p95延迟", F::LatencyP95),
    ("p95latency", F::LatencyP95),
    ("latencyp95", F::LatencyP95),
    ("p99延迟", F::LatencyP99),
    ("p99latency", F::LatencyP99),
    ("latencyp99", F::LatencyP99),
    ("平均生成速度", F::GenerationMean),
    ("averagegenerationspeed", F::GenerationMean),
    ("meangenerationspeed", F::GenerationMean),
    ("generationspeedmean", F::GenerationMean),
    ("generationspeed", F::GenerationMean),
    ("timetofirsttokenmean", F::TtftMean),
    ("timetofirsttokenp50", F::TtftP50),
    ("timetofirsttokenp95", F::TtftP95),
    ("timetofirsttokengreatest", F::TtftMax),
    ("timeperoutputtokenmean", F::TpotMean),
    ("timeperoutputtokenp50", F::TpotP50),
    ("intertokenlatencyp50", F::ItlP50),
    ("intertokenlatencyp99", F::ItlP99),
    ("并发请求数", F::Concurrency),
    ("并发数", F::Concurrency),
    ("concurrentrequests", F::Concurrency),
    ("concurrency", F::Concurrency),
    ("总请求数", F::Requests),
    ("totalrequests", F::Requests),
    ("requests", F::Requests),
    ("成功请求数", F::Succeeded),
    ("successfulrequests", F::Succeeded),
    ("requeststhatsucceeded", F::Succeeded),
    ("失败请求数", F::Failed),
    ("failedrequests", F::Failed),
    ("requeststhatfailed", F::Failed),
    ("总耗时", F::Wall),
    ("totaltime", F::Wall),
    ("walltime", F::Wall),
    ("totalduration", F::Wall),
    ("benchmarkduration", F::Wall),
    ("总生成tokens", F::OutputTokens),
    ("总生成token数", F::OutputTokens),
    ("totalgeneratedtokens", F::OutputTokens),
    ("outputtokens", F::OutputTokens),
    ("整体吞吐量", F::OutputThroughput),
    ("总吞吐量", F::OutputThroughput),
    ("overallthroughput", F::OutputThroughput),
    ("outputthroughput", F::OutputThroughput),
    ("平均个体tps", F::IndividualMean),
    ("meanindividualtps", F::IndividualMean),
    ("averageindividualtps", F::IndividualMean),
    ("speedofonerequestmean", F::IndividualMean),
    ("请求处理速率", F::RequestRate),
    ("requestrate", F::RequestRate),
    ("requestthroughput", F::RequestRate),
    ("requestprocessingrate", F::RequestRate),
];

const WORDS: &[(&str, Word)] = &[
    ("硬件平台", Word::Hardware),
    ("hardware", Word::Hardware),
    ("hardwareplatform", Word::Hardware),
    ("accelerator", Word::Hardware),
    ("容器镜像", Word::Image),
    ("containerimage", Word::Image),
    ("image", Word::Image),
    ("vllm版本", Word::Vllm),
    ("vllmversion", Word::Vllm),
    ("vllm", Word::Vllm),
    ("pytorch版本", Word::Torch),
    ("pytorchversion", Word::Torch),
    ("pytorch", Word::Torch),
    ("torch", Word::Torch),
    ("macaofcontainer", Word::Maca),
    ("dtype", Word::Dtype),
    ("numbertype", Word::Dtype),
];

/// What a name means; whatever stands in brackets (a unit) is left out.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    let name = name.split(['(', '（']).next().unwrap_or(name);
    let plain: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    let fact = FACTS.iter().find(|(known, _)| *known == plain);
    let word = || WORDS.iter().find(|(known, _)| *known == plain);
    fact.map(|(_, fact)| Meaning::Fact(*fact))
        .or_else(|| word().map(|(_, word)| Meaning::Word(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_both_languages() {
        assert_eq!(meaning("**KV缓存预留内存**"), Some(Meaning::Fact(Fact::KvCache)));
        assert_eq!(
            meaning("KV-cache block size (tokens)"),
            Some(Meaning::Fact(Fact::BlockSize))
        );
        assert_eq!(meaning("Latency, p95"), Some(Meaning::Fact(Fact::LatencyP95)));
        assert_eq!(meaning("vLLM版本"), Some(Meaning::Word(Word::Vllm)));
        assert_eq!(meaning("意见"), None);
        for (name, _) in FACTS {
            assert_eq!(
                FACTS.iter().filter(|(other, _)| other == name).count(),
                1,
                "{name}"
            );
            assert!(meaning(name).is_some(), "{name}");
        }
    }
}
