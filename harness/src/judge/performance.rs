//! Latency and throughput against their budgets, after the checks without which the figures mean nothing.

use super::{check, explain};
use crate::{
    load::validity::{Condition, State},
    manifest::{LatencyBudgets, LatencyMetric, ThroughputBudgets, ThroughputMetric},
    record::{Check, Finding, LatencyFigures, RequestSample, ThroughputFigures, Verdict},
};

/// Verdict of a performance trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Each figure, with its limit where there is one.
    pub checks: Vec<Check>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl LatencyFigures {
    /// One figure, in the metric's unit.
    pub fn figure(&self, metric: LatencyMetric) -> Option<f64> {
        let e2e = self.e2e.as_ref();
        match metric {
            LatencyMetric::Mean => e2e.map(|d| d.mean_s),
            LatencyMetric::Min => e2e.map(|d| d.min_s),
            LatencyMetric::Max => e2e.map(|d| d.max_s),
            LatencyMetric::P50 => e2e.map(|d| d.p50_s),
            LatencyMetric::P95 => e2e.map(|d| d.p95_s),
            LatencyMetric::MeanGeneration => self.mean_generation_tokens_per_s,
            LatencyMetric::TtftP50 => self.ttft.as_ref().map(|d| d.p50_s),
            LatencyMetric::TtftMax => self.ttft.as_ref().map(|d| d.max_s),
            LatencyMetric::TpotMean => self.tpot.as_ref().map(|d| d.mean_s),
            LatencyMetric::ItlP99 => self.itl.as_ref().map(|d| d.p99_s),
        }
    }
}

impl ThroughputFigures {
    /// One figure, in the metric's unit; rates of a phase in which nothing succeeded are absent.
    pub fn figure(&self, metric: ThroughputMetric) -> Option<f64> {
        let measured = |figure| (self.succeeded > 0).then_some(figure);
        match metric {
            ThroughputMetric::Output => measured(self.output_tokens_per_s),
            ThroughputMetric::MeanIndividual => self.mean_individual_tokens_per_s,
            ThroughputMetric::Requests => measured(self.requests_per_s),
            ThroughputMetric::Wall => measured(self.wall_s),
            ThroughputMetric::TtftP50 => self.ttft.as_ref().map(|d| d.p50_s),
            ThroughputMetric::TpotMean => self.tpot.as_ref().map(|d| d.mean_s),
        }
    }
}

/// Judges requests one after another.
pub fn latency(
    figures: &LatencyFigures,
    samples: &[RequestSample],
    conditions: &[Condition],
    budgets: Option<&LatencyBudgets>,
) -> Judgement {
    let limit = |metric| budgets.and_then(|budgets| budgets.limit(metric));
    let checks = LatencyMetric::ALL
        .iter()
        .map(|&metric| {
            check(
                metric.name(),
                figures.figure(metric),
                metric.unit(),
                limit(metric),
            )
        })
        .collect();
    judge(checks, samples, conditions)
}

/// Judges requests at once.
pub fn throughput(
    figures: &ThroughputFigures,
    samples: &[RequestSample],
    conditions: &[Condition],
    budgets: Option<&ThroughputBudgets>,
) -> Judgement {
    let limit = |metric| budgets.and_then(|budgets| budgets.limit(metric));
    let checks = ThroughputMetric::ALL
        .iter()
        .map(|&metric| {
            check(
                metric.name(),
                figures.figure(metric),
                metric.unit(),
                limit(metric),
            )
        })
        .collect();
    judge(checks, samples, conditions)
}

/// Failed requests fail the trial, a broken condition of the measurement makes it invalid, and only then do budgets
/// count. Where no figure has a budget, the figures are shown and nothing is judged.
fn judge(checks: Vec<Check>, samples: &[RequestSample], conditions: &[Condition]) -> Judgement {
    let mut findings = failed_requests(samples);
    if !findings.is_empty() {
        return Judgement {
            verdict: Verdict::Failed,
            checks,
            findings,
        };
    }
    findings = conditions_in(State::Broken, conditions)
        .map(|why| Finding::failure(format!("the figures mean nothing: {why}")))
        .collect();
    if !findings.is_empty() {
        return Judgement {
            verdict: Verdict::Invalid,
            checks,
            findings,
        };
    }
    findings.extend(conditions_in(State::Doubtful, conditions).map(Finding::note));
    let limited = || checks.iter().filter(|check| check.budget.is_some());
    findings.extend(
        limited()
            .filter(|check| check.verdict != Verdict::Passed)
            .map(|check| Finding::failure(explain(check))),
    );
    let verdict = limited().map(|check| check.verdict).max();
    if verdict.is_none() {
        findings.push(Finding::note(
            "measured only: the manifest has no budget for these figures on this accelerator; add one under `budgets`",
        ));
    }
    Judgement {
        verdict: verdict.unwrap_or(Verdict::Unrecorded),
        checks,
        findings,
    }
}

fn failed_requests(samples: &[RequestSample]) -> Vec<Finding> {
    let errors: Vec<String> = samples
        .iter()
        .filter_map(|sample| Some(format!("request {}: {}", sample.index, sample.error.as_ref()?)))
        .collect();
    if samples.is_empty() {
        return vec![Finding::failure("no request was sent")];
    }
    if errors.is_empty() {
        return Vec::new();
    }
    let text = format!("{} of {} requests failed", errors.len(), samples.len());
    vec![Finding::failure(text).with_evidence(errors)]
}

/// Conditions that are broken decide; those that are doubtful are worth a look.
fn conditions_in(state: State, conditions: &[Condition]) -> impl Iterator<Item = String> {
    let in_state = conditions
        .iter()
        .filter(move |condition| condition.state == state);
    in_state.map(|condition| format!("{}: {}", condition.name, condition.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::tests::limit,
        load::{self, Asked, ClientFigures, Clock, LoadFigures, validity},
    };

    fn sample(asked: u32, given: Option<u32>, error: Option<&str>) -> RequestSample {
        RequestSample {
            session: "m@s".into(),
            trial: "m::latency::single_stream".into(),
            index: 0,
            scheduled_s: 0.0,
            sent_s: 0.0,
            chunks_s: vec![0.5, 1.0],
            latency_s: Some(1.0),
            prompt_tokens: Some(8),
            output_tokens: given,
            asked_tokens: asked,
            asked_prompt_tokens: None,
            error: error.map(str::to_owned),
        }
    }

    fn verdict(samples: &[RequestSample], budgets: Option<&LatencyBudgets>) -> Judgement {
        let figures = LoadFigures::of(samples, &Asked::default());
        let conditions = validity::conditions(&validity::Evidence {
            samples,
            figures: &figures,
            client: &ClientFigures::default(),
            server: Err("the server has no /metrics"),
            shares_prefixes: false,
            warmup: 1,
            audit: None,
            cards: None,
            clock: Clock::REAL,
        });
        latency(&load::latency(samples), samples, &conditions, budgets)
    }

    fn budgets(least: &str) -> LatencyBudgets {
        LatencyBudgets {
            mean_generation: Some(limit(Some(least), None)),
            ..LatencyBudgets::default()
        }
    }

    #[test]
    fn budgets_decide() {
        let samples = [sample(100, Some(100), None)];
        assert_eq!(
            verdict(&samples, Some(&budgets("90 tokens/s"))).verdict,
            Verdict::Passed
        );
        let failed = verdict(&samples, Some(&budgets("110 tokens/s")));
        assert_eq!(failed.verdict, Verdict::Failed);
        assert_eq!(
            failed.findings[0].text,
            "mean_generation is 100.000 tokens/s, below the least allowed 110 tokens/s (measured once)"
        );
    }

    #[test]
    fn without_budget_nothing_passes() {
        assert_eq!(
            verdict(&[sample(100, Some(100), None)], None).verdict,
            Verdict::Unrecorded
        );
        assert_eq!(
            verdict(&[], Some(&budgets("1 tokens/s"))).verdict,
            Verdict::Failed
        );
    }

    #[test]
    fn preconditions_come_first() {
        let good = budgets("1 tokens/s");
        assert_eq!(
            verdict(&[sample(100, Some(97), None)], Some(&good)).verdict,
            Verdict::Invalid
        );
        assert_eq!(
            verdict(&[sample(100, None, None)], Some(&good)).verdict,
            Verdict::Invalid
        );
        assert_eq!(
            verdict(&[sample(100, Some(99), None)], Some(&good)).verdict,
            Verdict::Passed
        );
        let invalid = verdict(&[sample(100, None, None)], Some(&good));
        assert!(
            invalid.findings[0]
                .text
                .starts_with("the figures mean nothing: usage: 1 of 1"),
            "{invalid:?}"
        );
        let failed = verdict(
            &[sample(100, Some(100), None), sample(9, None, Some("refused"))],
            Some(&good),
        );
        assert_eq!(failed.verdict, Verdict::Failed);
        assert_eq!(failed.findings[0].evidence, ["request 0: refused"]);
    }
}
