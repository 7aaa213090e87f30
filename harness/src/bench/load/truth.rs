//! The truth about each request, as the stream server keeps it, and the distance of what a client reports from it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ErrorMs, process::BenchError};
use crate::stats;

/// What the server knows of one request; nanoseconds of the real-time clock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Truth {
    /// Number in its prompt.
    pub id: Option<u64>,
    /// When it had arrived.
    pub arrived_ns: u64,
    /// When each token left.
    pub tokens_ns: Vec<u64>,
}

/// What a client reports of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// Number in its prompt.
    pub id: u64,
    /// Time to first token, milliseconds.
    pub ttft_ms: f64,
    /// Gaps between chunks, milliseconds.
    pub gaps_ms: Vec<f64>,
}

/// Reads what the server tells: one object a line. Of a number that was asked twice, the last counts.
pub fn read(text: &str) -> Result<BTreeMap<u64, Truth>, BenchError> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let truth: Truth =
            serde_json::from_str(line).map_err(|error| BenchError::Truth(error.to_string()))?;
        if let Some(id) = truth.id {
            all.insert(id, truth);
        }
    }
    Ok(all)
}

/// How far reports are from the truth: of times to first token, and of gaps, pooled. Requests that nothing is reported
/// of, or not all, are counted.
pub fn errors(
    truth: &BTreeMap<u64, Truth>,
    reported: &[Reported],
) -> (Option<ErrorMs>, Option<ErrorMs>, u64) {
    let (mut ttft, mut gaps) = (Vec::new(), Vec::new());
    let mut whole = 0;
    for report in reported {
        let Some(truth) = truth.get(&report.id) else {
            continue;
        };
        let Some(first) = truth.tokens_ns.first() else {
            continue;
        };
        let distance =
            |reported: f64, from: u64, to: u64| (reported - to.saturating_sub(from) as f64 / 1e6).abs();
        let mut reported_gaps = report.gaps_ms.as_slice();
        // A client that takes the role for a token has one gap more, in front.
        if reported_gaps.len() == truth.tokens_ns.len() {
            reported_gaps = &reported_gaps[1..];
        }
        if reported_gaps.len() + 1 != truth.tokens_ns.len() {
            continue;
        }
        whole += 1;
        ttft.push(distance(report.ttft_ms, truth.arrived_ns, *first));
        for (gap, pair) in reported_gaps.iter().zip(truth.tokens_ns.windows(2)) {
            gaps.push(distance(*gap, pair[0], pair[1]));
        }
    }
    let missing = (truth.len() as u64).saturating_sub(whole);
    (summary(ttft), summary(gaps), missing)
}

fn summary(mut distances: Vec<f64>) -> Option<ErrorMs> {
    distances.sort_by(f64::total_cmp);
    Some(ErrorMs {
        p50: stats::percentile(&distances, 50.0)?,
        p99: stats::percentile(&distances, 99.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "{\"id\":0,\"arrived_ns\":1000000,\"read_ns\":1,\"tokens_ns\":[2000000,4000000,6500000]}\n\
        {\"id\":null,\"arrived_ns\":1,\"read_ns\":1,\"tokens_ns\":[]}\n\
        {\"id\":7,\"arrived_ns\":1000000,\"read_ns\":1,\"tokens_ns\":[3000000]}\n";

    fn report(id: u64, ttft_ms: f64, gaps_ms: &[f64]) -> Reported {
        Reported {
            id,
            ttft_ms,
            gaps_ms: gaps_ms.to_vec(),
        }
    }

    #[test]
    fn reports_are_held_against_the_very_request() {
        let truth = read(TOLD).unwrap();
        assert_eq!(truth.len(), 2);
        let (ttft, itl, missing) = errors(&truth, &[report(0, 1.5, &[2.0, 2.5]), report(7, 2.1, &[])]);
        let ttft = ttft.unwrap();
        assert!(
            (ttft.p50 - 0.3).abs() < 1e-9 && (ttft.p99 - 0.496).abs() < 1e-9,
            "{ttft:?}"
        );
        assert_eq!((itl.unwrap(), missing), (ErrorMs { p50: 0.0, p99: 0.0 }, 0));
    }

    #[test]
    fn what_is_not_reported_whole_is_missing() {
        let truth = read(TOLD).unwrap();
        let (ttft, itl, missing) = errors(&truth, &[report(0, 1.5, &[2.0])]);
        assert_eq!((ttft, itl, missing), (None, None, 2));
        // The role in front taken for a token.
        let (_, itl, missing) = errors(&truth, &[report(0, 1.0, &[0.01, 2.0, 2.6])]);
        assert_eq!(missing, 1);
        assert!((itl.unwrap().p99 - 0.099).abs() < 1e-9);
        assert!(read("nonsense").is_err());
    }
}
