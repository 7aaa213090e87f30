//! What a server reports of its memory, held against what was predicted from its architecture: a leak, a wrong load
//! (another type, a second copy, other weights) or memory that somebody else took shows without any golden.
//!
//! Weights and bytes a token are exact, so little is allowed; what is only estimated is allowed its stated error. The
//! KV cache is predicted from the activations that the server measured, where it prints them, since they are what the
//! estimate knows least.

use super::Judgement;
use crate::{
    capacity::{Estimate, GIB, Prediction},
    manifest::{Limit, PredictionBudgets, Quantity, Source, Unit},
    record::{Check, Finding, MemoryFigures, Verdict},
};

/// Least that is allowed beside weights: buffers that come with them (rotary tables, padding), GiB.
const WEIGHT_BUFFERS_GIB: f64 = 0.05;
/// Least error of an activation estimate: allocators work in large pieces, GiB.
const ACTIVATION_PIECES_GIB: f64 = 0.5;

/// Holds measured figures against predicted ones.
pub fn prediction(
    predicted: &Prediction,
    measured: &MemoryFigures,
    budgets: Option<&PredictionBudgets>,
) -> Judgement {
    let allowed = budgets.cloned().unwrap_or_default();
    let weights = Band {
        metric: "weights",
        unit: Unit::GiB,
        predicted: predicted.weights_gib,
        share: allowed.weights_share(),
        beside: WEIGHT_BUFFERS_GIB,
    };
    let token = predicted.kv_bytes_per_token as f64;
    let tokens = Band {
        metric: "kv_tokens",
        unit: Unit::Tokens,
        predicted: predicted.kv_tokens as f64,
        share: allowed.kv_tokens_share(),
        beside: predicted.kv_error_gib * GIB / token,
    };
    let mut checks = vec![
        tokens.check(measured.kv_tokens.map(|tokens| tokens as f64)),
        weights.check(measured.weights_gib),
    ];
    if let Some(estimate) = predicted.non_torch {
        checks.push(
            of_estimate("non_torch", estimate, allowed.non_torch_tolerance).check(measured.non_torch_gib),
        );
    }
    // What this version does not print decides nothing, unless it prints nothing at all.
    checks.retain(|check| check.measured.is_some());
    let findings = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Failed)
        .map(|check| Finding::failure(sentence(check)));
    let mut judgement = Judgement {
        verdict: Verdict::over(checks.iter().map(|check| check.verdict)),
        findings: findings.collect(),
        checks,
    };
    if judgement.checks.is_empty() {
        judgement.verdict = Verdict::Inconclusive;
        let text =
            "the server reports neither weights nor KV cache: nothing can be held against the prediction";
        judgement.findings.push(Finding::failure(text));
    }
    judgement
}

/// Warns where activations lie outside of what their estimate allows: the estimate, or the server.
pub fn activation(estimate: Option<Estimate>, measured: &MemoryFigures) -> Option<Finding> {
    let (estimate, measured) = (estimate?, measured.activation_gib?);
    let error = estimate.error_gib.max(ACTIVATION_PIECES_GIB);
    ((measured - estimate.gib).abs() > error).then(|| {
        Finding::warning(format!(
            "activations peak at {measured:.2} GiB, estimated were {:.2} ± {error:.2} GiB: an unusual kernel, or an \
             estimate to correct in ci/cards",
            estimate.gib
        ))
    })
}

fn of_estimate(metric: &'static str, estimate: Estimate, allowed: Option<Quantity>) -> Band {
    Band {
        metric,
        unit: Unit::GiB,
        predicted: estimate.gib,
        share: 0.0,
        beside: allowed.map_or(estimate.error_gib, Quantity::in_base_unit),
    }
}

/// A figure that was predicted, and how far the measured one may lie from it.
struct Band {
    metric: &'static str,
    unit: Unit,
    predicted: f64,
    /// Share of the predicted figure.
    share: f64,
    /// And further, in `unit`.
    beside: f64,
}

impl Band {
    fn check(&self, measured: Option<f64>) -> Check {
        let off = self.predicted.abs() * self.share + self.beside;
        let places = if self.unit == Unit::Tokens { 1.0 } else { 100.0 };
        // Rounded outwards, so that what is shown is what decides.
        let least = ((self.predicted - off).max(0.0) * places).floor() / places;
        let most = ((self.predicted + off).max(0.0) * places).ceil() / places;
        let limit = Limit {
            min: Some(Quantity::new(least, self.unit)),
            max: Some(Quantity::new(most, self.unit)),
            source: Source::Derived,
            because: self.because(),
        };
        super::check(self.metric, measured, self.unit, Some(&limit))
    }

    fn because(&self) -> String {
        let places = if self.unit == Unit::Tokens { 0 } else { 2 };
        let unit = self.unit;
        let share = if self.share > 0.0 {
            format!("{:.0} % and ", self.share * 100.0)
        } else {
            String::new()
        };
        format!(
            "predicted {:.places$} {unit}, {share}{:.places$} {unit} allowed",
            self.predicted, self.beside
        )
    }
}

/// A failed figure, and what its direction means.
fn sentence(check: &Check) -> String {
    let is_above = check
        .budget
        .as_ref()
        .and_then(|limit| limit.max)
        .zip(check.measured)
        .is_some_and(|(max, measured)| measured > max.in_base_unit());
    let meaning = match (check.metric.as_str(), is_above) {
        ("weights", true) => "another type, a second copy, or more than the checkpoint",
        ("weights", false) => "not all weights were loaded, or they are quantized",
        ("non_torch", true) => "a leak, or another process on the card",
        ("kv_tokens", false) => "memory is missing: a leak, another process, or a larger graph or activation",
        ("kv_tokens", true) => "the cache is of another type, or the card is larger than its file says",
        _ => "the card's file expects more",
    };
    format!("{}: {meaning}", super::explain(check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Layout;

    fn predicted() -> Prediction {
        let estimate = |gib, error_gib| Some(Estimate { gib, error_gib });
        Prediction {
            layout: Layout {
                tensor_parallel: 1,
                pipeline_parallel: 1,
            },
            card_gib: Some(63.63),
            share_gib: Some(57.267),
            weights_gib: 13.489,
            non_torch: estimate(0.48, 0.5),
            activation: estimate(6.78, 0.0),
            graph: estimate(0.12, 0.12),
            kv_cache_gib: 36.518,
            kv_error_gib: 0.5,
            kv_bytes_per_token: 131_072,
            block_size: 16,
            num_blocks: 18_697,
            kv_tokens: 299_152,
            max_concurrency: 36.52,
            obstacle: None,
        }
    }

    fn measured() -> MemoryFigures {
        MemoryFigures {
            weights_gib: Some(13.5),
            non_torch_gib: Some(0.48),
            activation_gib: Some(6.78),
            kv_tokens: Some(299_056),
            ..MemoryFigures::default()
        }
    }

    #[test]
    fn the_first_report_is_as_predicted() {
        let judged = prediction(&predicted(), &measured(), None);
        assert_eq!(judged.verdict, Verdict::Passed);
        assert_eq!(judged.findings, []);
        let verdicts: Vec<_> = judged.checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Passed; 3]);
    }

    #[test]
    fn leaks_and_wrong_loads_are_named() {
        let leaked = MemoryFigures {
            non_torch_gib: Some(1.48),
            kv_tokens: Some(290_864),
            ..measured()
        };
        let double = MemoryFigures {
            weights_gib: Some(27.0),
            kv_tokens: Some(188_000),
            ..measured()
        };
        let half = MemoryFigures {
            weights_gib: Some(4.2),
            kv_tokens: Some(598_000),
            ..measured()
        };
        let told: Vec<String> = [leaked, double, half]
            .iter()
            .map(|measured| {
                let judged = prediction(&predicted(), measured, None);
                assert_eq!(judged.verdict, Verdict::Failed);
                let texts: Vec<&str> = judged
                    .findings
                    .iter()
                    .map(|finding| finding.text.as_str())
                    .collect();
                texts.join("\n")
            })
            .collect();
        insta::assert_snapshot!(told.join("\n\n"));
    }

    #[test]
    fn the_manifest_allows_more_or_less() {
        let strict = PredictionBudgets {
            weights_tolerance: Some(0.0),
            kv_tokens_tolerance: Some(0.0),
            non_torch_tolerance: Some(Quantity::new(0.0, Unit::GiB)),
            because: None,
        };
        let judged = prediction(&predicted(), &measured(), Some(&strict));
        assert_eq!(judged.verdict, Verdict::Passed, "{:?}", judged.findings);
        let far = MemoryFigures {
            weights_gib: Some(16.0),
            ..measured()
        };
        let loose = PredictionBudgets {
            weights_tolerance: Some(0.2),
            ..PredictionBudgets::default()
        };
        assert_eq!(
            prediction(&predicted(), &far, Some(&loose)).verdict,
            Verdict::Passed
        );
        assert_eq!(prediction(&predicted(), &far, None).verdict, Verdict::Failed);
    }

    #[test]
    fn what_is_not_printed_decides_nothing() {
        let only_tokens = MemoryFigures {
            kv_tokens: Some(299_000),
            ..MemoryFigures::default()
        };
        assert_eq!(
            prediction(&predicted(), &only_tokens, None).verdict,
            Verdict::Passed
        );
        let nothing = prediction(&predicted(), &MemoryFigures::default(), None);
        assert_eq!(nothing.verdict, Verdict::Inconclusive);
        assert_eq!(nothing.findings.len(), 1);
    }

    #[test]
    fn unusual_activations_are_a_warning() {
        let estimate = Some(Estimate {
            gib: 3.0,
            error_gib: 1.5,
        });
        let found = activation(estimate, &measured()).unwrap();
        assert_eq!(found.severity, crate::record::Severity::Warning);
        let near = MemoryFigures {
            activation_gib: Some(4.0),
            ..measured()
        };
        assert_eq!(activation(estimate, &near), None);
    }
}
