//! What a metric's name says of it: its unit, and which way is better.

use crate::manifest::{LatencyMetric, MemoryMetric, ThroughputMetric, Unit};

/// Which way a figure gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither is known to be.
    Unknown,
}

/// What is known of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricKind {
    /// Its unit; `None` for shares and nats, and for figures of a later harness.
    pub unit: Option<Unit>,
    /// Which way is better.
    pub better: Better,
    /// Whether it is among the few that are shown unasked.
    pub headline: bool,
}

/// What is known of the metric of this name (`memory.kv_cache`, `throughput.concurrency_8.output`).
pub fn kind(name: &str) -> MetricKind {
    let (area, _) = name.split_once('.').unwrap_or((name, ""));
    let last = name.rsplit('.').next().unwrap_or(name);
    let unknown = MetricKind {
        unit: None,
        better: Better::Unknown,
        headline: false,
    };
    match area {
        "boot" => MetricKind {
            unit: Some(Unit::Seconds),
            better: Better::Lower,
            headline: true,
        },
        "memory" => memory(last).unwrap_or(unknown),
        "latency" => {
            let found = LatencyMetric::ALL.iter().find(|metric| metric.name() == last);
            let headline = ["mean_generation", "ttft_p50"].contains(&last);
            found.map_or(unknown, |metric| speed(metric.unit(), headline))
        }
        "throughput" => {
            let found = ThroughputMetric::ALL.iter().find(|metric| metric.name() == last);
            found.map_or(unknown, |metric| speed(metric.unit(), last == "output"))
        }
        "drift" if last == "top1" => MetricKind {
            better: Better::Higher,
            ..unknown
        },
        "drift" => MetricKind {
            better: Better::Lower,
            headline: last == "mean_kld_nat",
            ..unknown
        },
        "correctness" => MetricKind {
            better: Better::Higher,
            headline: true,
            ..unknown
        },
        _ => unknown,
    }
}

fn memory(last: &str) -> Option<MetricKind> {
    let metric = *MemoryMetric::ALL.iter().find(|metric| metric.name() == last)?;
    let better = match metric {
        MemoryMetric::Weights | MemoryMetric::NonTorch | MemoryMetric::Activation | MemoryMetric::Graph => {
            Better::Lower
        }
        MemoryMetric::KvCache
        | MemoryMetric::NumBlocks
        | MemoryMetric::KvTokens
        | MemoryMetric::MaxConcurrency => Better::Higher,
    };
    let headline = metric == MemoryMetric::KvCache;
    Some(MetricKind {
        unit: Some(metric.unit()),
        better,
        headline,
    })
}

/// Times get better downwards, rates upwards.
fn speed(unit: Unit, headline: bool) -> MetricKind {
    let better = if unit == Unit::Seconds {
        Better::Lower
    } else {
        Better::Higher
    };
    MetricKind {
        unit: Some(unit),
        better,
        headline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_unit_and_direction() {
        let told = |name| {
            let kind = kind(name);
            (kind.unit, kind.better)
        };
        assert_eq!(told("boot"), (Some(Unit::Seconds), Better::Lower));
        assert_eq!(told("memory.weights"), (Some(Unit::GiB), Better::Lower));
        assert_eq!(told("memory.num_blocks"), (Some(Unit::Blocks), Better::Higher));
        assert_eq!(
            told("latency.single_stream.mean_generation"),
            (Some(Unit::TokensPerSecond), Better::Higher)
        );
        assert_eq!(
            told("latency.single_stream.itl_p99"),
            (Some(Unit::Seconds), Better::Lower)
        );
        assert_eq!(
            told("throughput.concurrency_8.requests"),
            (Some(Unit::RequestsPerSecond), Better::Higher)
        );
        assert_eq!(told("drift.top1"), (None, Better::Higher));
        assert_eq!(told("of.a.later.harness"), (None, Better::Unknown));
        assert_eq!(told("memory.of_a_later_harness"), (None, Better::Unknown));
    }
}
