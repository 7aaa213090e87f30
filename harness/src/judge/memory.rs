//! Memory figures against their budgets. Memory is exact, so this is a plain comparison.

use super::{check, explain};
use crate::{
    manifest::{Limit, MemoryMetric},
    record::{Check, Finding, MemoryFigures, Verdict},
};

impl MemoryFigures {
    /// One figure, in the metric's unit.
    pub fn figure(&self, metric: MemoryMetric) -> Option<f64> {
        match metric {
            MemoryMetric::Weights => self.weights_gib,
            MemoryMetric::NonTorch => self.non_torch_gib,
            MemoryMetric::Activation => self.activation_gib,
            MemoryMetric::Graph => self.graph_gib,
            MemoryMetric::KvCache => self.kv_cache_gib,
            MemoryMetric::NumBlocks => self.num_blocks.map(|blocks| blocks as f64),
            MemoryMetric::KvTokens => self.kv_tokens.map(|tokens| tokens as f64),
            MemoryMetric::MaxConcurrency => self.max_concurrency,
        }
    }
}

/// Judges one figure of memory.
pub fn memory(metric: MemoryMetric, figures: &MemoryFigures, limit: &Limit) -> (Check, Vec<Finding>) {
    let check = check(metric.name(), figures.figure(metric), metric.unit(), Some(limit));
    let findings = match check.verdict {
        Verdict::Passed => Vec::new(),
        Verdict::Failed => vec![Finding::failure(explain(&check))],
        _ => {
            let why = figures
                .why
                .iter()
                .find(|(name, _)| name.starts_with(metric.name()));
            let why = why.map_or("the server's log does not tell it", |(_, why)| why);
            vec![Finding::failure(format!(
                "{} was not measured: {why}",
                metric.name()
            ))]
        }
    };
    (check, findings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::judge::tests::limit;

    #[test]
    fn an_absent_figure_says_why() {
        let figures = MemoryFigures {
            kv_cache_gib: Some(36.51),
            why: BTreeMap::from([(
                "weights_gib".to_owned(),
                "not printed by the CPU backend".to_owned(),
            )]),
            ..MemoryFigures::default()
        };
        let (check, findings) = memory(MemoryMetric::KvCache, &figures, &limit(Some("36 GiB"), None));
        assert_eq!((check.verdict, findings.len()), (Verdict::Passed, 0));
        let (check, findings) = memory(MemoryMetric::Weights, &figures, &limit(None, Some("14 GiB")));
        assert_eq!(check.verdict, Verdict::Inconclusive);
        assert_eq!(
            findings[0].text,
            "weights was not measured: not printed by the CPU backend"
        );
    }
}
