//! Does the candidate need more memory? The figures are exact, so they are compared as printed.

use serde::{Deserialize, Serialize};

use crate::record::{MemoryFigures, Verdict};

/// Both sides print two decimals: less than this is the same figure.
const PRINTED_GIB: f64 = 0.0101;

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryGate {
    /// Name, as in the manifest.
    pub figure: String,
    /// The baseline's; GiB, blocks, tokens or sequences.
    pub baseline: Option<f64>,
    /// The candidate's.
    pub candidate: Option<f64>,
    /// Growth of what is used, or loss of what is left, as a share of the baseline's; positive is worse.
    pub worse_by: Option<f64>,
    /// Its verdict.
    pub verdict: Verdict,
}

/// Compares all figures that either side has. `tolerance` is a share.
pub fn judge(baseline: &MemoryFigures, candidate: &MemoryFigures, tolerance: f64) -> Vec<MemoryGate> {
    let count = |count: Option<u64>| count.map(|count| count as f64);
    // Blocks are left out: versions cut the same cache into blocks of other sizes.
    let used = [
        ("weights", baseline.weights_gib, candidate.weights_gib),
        ("non_torch", baseline.non_torch_gib, candidate.non_torch_gib),
        ("activation", baseline.activation_gib, candidate.activation_gib),
        ("graph", baseline.graph_gib, candidate.graph_gib),
    ];
    let left = [
        ("kv_cache", baseline.kv_cache_gib, candidate.kv_cache_gib),
        ("kv_tokens", count(baseline.kv_tokens), count(candidate.kv_tokens)),
        (
            "max_concurrency",
            baseline.max_concurrency,
            candidate.max_concurrency,
        ),
    ];
    let used = used.into_iter().map(|figure| (figure, 1.0));
    let left = left.into_iter().map(|figure| (figure, -1.0));
    used.chain(left)
        .filter(|((_, b, c), _)| b.is_some() || c.is_some())
        .map(|((figure, baseline, candidate), sign)| {
            let both = baseline.zip(candidate);
            let worse_by = both.map(|(b, c)| if b == c { 0.0 } else { sign * (c - b) / b });
            let same = both.is_some_and(|(b, c)| (b - c).abs() < PRINTED_GIB);
            let verdict = match worse_by {
                // What one side does not print cannot be compared; the KV cache tells what is left in the end.
                None => Verdict::Skipped,
                // Growth from nothing is infinite.
                Some(worse) if !same && worse > tolerance => Verdict::Failed,
                Some(_) => Verdict::Passed,
            };
            MemoryGate {
                figure: figure.to_owned(),
                baseline,
                candidate,
                worse_by: worse_by.filter(|worse| worse.is_finite()),
                verdict,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(weights: f64, tokens: u64) -> MemoryFigures {
        MemoryFigures {
            weights_gib: Some(weights),
            kv_tokens: Some(tokens),
            ..MemoryFigures::default()
        }
    }

    fn verdicts(gates: &[MemoryGate]) -> Vec<(&str, Verdict)> {
        gates
            .iter()
            .map(|gate| (gate.figure.as_str(), gate.verdict))
            .collect()
    }

    #[test]
    fn growth_beyond_the_tolerance_fails_and_less_does_not() {
        let gates = judge(&figures(13.50, 299_056), &figures(13.51, 298_000), 0.01);
        assert_eq!(
            verdicts(&gates),
            [("weights", Verdict::Passed), ("kv_tokens", Verdict::Passed)]
        );
        let gates = judge(&figures(13.50, 299_056), &figures(14.00, 280_000), 0.01);
        assert_eq!(
            verdicts(&gates),
            [("weights", Verdict::Failed), ("kv_tokens", Verdict::Failed)]
        );
        assert!((gates[0].worse_by.unwrap() - 0.5 / 13.5).abs() < 1e-12);
        let gates = judge(&figures(13.50, 299_056), &figures(12.00, 320_000), 0.01);
        assert!(
            gates
                .iter()
                .all(|gate| gate.verdict == Verdict::Passed && gate.worse_by < Some(0.0))
        );
    }

    #[test]
    fn what_one_side_does_not_print_is_not_compared() {
        let gates = judge(&figures(13.50, 1), &MemoryFigures::default(), 0.01);
        assert!(gates.iter().all(|gate| gate.verdict == Verdict::Skipped));
    }

    #[test]
    fn growth_from_nothing_fails() {
        let gates = judge(&figures(0.0, 1), &figures(1.0, 1), 0.01);
        assert_eq!((gates[0].verdict, gates[0].worse_by), (Verdict::Failed, None));
    }
}
