//! From the summary's types to those of `report.json`: distributions become flat keys, bounds take the unit of their
//! figure.

use super::{Boot, Budget, Failure, Latency, Memory, Model, Phase, Report, Throughput, Trial, TrialCheck};
use crate::{
    manifest::{Limit, Unit},
    record::{
        Check, Distribution, LatencyFigures, MemoryFigures, Outcome, SCHEMA_VERSION, ThroughputFigures,
    },
    report::{self, Session, Summary, figure},
};

impl From<&Summary> for Report {
    fn from(summary: &Summary) -> Self {
        let mut report = Self::unaudited(summary);
        report.audit = report::audited::of_report(&report);
        report
    }
}

impl Report {
    /// The report before its own audit.
    pub(in crate::report) fn unaudited(summary: &Summary) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: summary.run.run_id.clone(),
            simulated: summary.simulated(),
            verdict: summary.verdict(),
            exit_code: summary.exit_code(),
            interrupted: summary.interrupted(),
            cut_off: summary.cut_off(),
            harness_version: summary.run.harness_version.clone(),
            command: summary.run.command.clone(),
            host: summary.run.host.clone(),
            started_at: summary.started_at,
            duration_s: summary.wall_s(),
            pending_goldens: summary.pending_goldens(),
            counts: summary.counts().iter().collect(),
            audit: Vec::new(),
            models: summary.sessions.iter().map(Model::from).collect(),
        }
    }
}

impl From<&Session> for Model {
    fn from(session: &Session) -> Self {
        let started = session.started.clone();
        let booted = session.booted.as_deref();
        let phases = session.phases.iter();
        Self {
            name: started.model,
            stack: started.stack,
            about: started.about,
            target: started.target,
            simulated: started.simulated,
            clock: started.clock,
            accelerator: started.accelerator,
            verdict: session.verdict(),
            manifest_digest: started.manifest_digest,
            environment: booted
                .map(|booted| booted.environment.clone())
                .unwrap_or_default(),
            settings: started.settings,
            command_line: started.command_line,
            notes: started.notes,
            findings: booted.map(|booted| booted.findings.clone()).unwrap_or_default(),
            memory: booted.map(|booted| Memory::from(&booted.memory)),
            predicted: booted
                .and_then(|booted| booted.predicted.as_ref())
                .map(Memory::from),
            cards: session.cards.peaks().copied().collect(),
            drift: session.drift.clone(),
            grades: session.grades.clone(),
            latency: session
                .latency
                .as_ref()
                .map(|measured| Latency::from(&measured.figures)),
            throughput: session
                .throughput
                .iter()
                .map(|measured| Throughput::from(&measured.figures))
                .collect(),
            boot: Boot {
                boot_s: booted.map(|booted| booted.boot_s),
                phases: phases
                    .map(|p| Phase {
                        phase: p.phase.clone(),
                        after_s: p.after_s,
                    })
                    .collect(),
            },
            failure: session.failure.as_ref().map(Failure::from),
            log: session.ended.as_ref().map(|ended| ended.log.clone()),
            trials: session.trials.iter().map(Trial::from).collect(),
            unfinished: session.unfinished.clone(),
        }
    }
}

impl From<&MemoryFigures> for Memory {
    fn from(figures: &MemoryFigures) -> Self {
        Self {
            weights_gib: figures.weights_gib,
            non_torch_gib: figures.non_torch_gib,
            activation_gib: figures.activation_gib,
            graph_gib: figures.graph_gib,
            kv_cache_gib: figures.kv_cache_gib,
            num_blocks: figures.num_blocks,
            kv_tokens: figures.kv_tokens,
            max_concurrency: figures.max_concurrency,
            why: figures.why.clone(),
        }
    }
}

/// One statistic of a distribution that may not have been measured.
fn of(distribution: Option<&Distribution>, statistic: impl Fn(&Distribution) -> f64) -> Option<f64> {
    distribution.map(statistic)
}

impl From<&LatencyFigures> for Latency {
    fn from(figures: &LatencyFigures) -> Self {
        let LatencyFigures {
            e2e, ttft, tpot, itl, ..
        } = figures;
        let [e2e, ttft, tpot, itl] = [e2e, ttft, tpot, itl].map(Option::as_ref);
        Self {
            mean_s: of(e2e, |d| d.mean_s),
            min_s: of(e2e, |d| d.min_s),
            max_s: of(e2e, |d| d.max_s),
            p50_s: of(e2e, |d| d.p50_s),
            p95_s: of(e2e, |d| d.p95_s),
            mean_generation_tokens_per_s: figures.mean_generation_tokens_per_s,
            ttft_mean_s: of(ttft, |d| d.mean_s),
            ttft_p50_s: of(ttft, |d| d.p50_s),
            ttft_p95_s: of(ttft, |d| d.p95_s),
            ttft_max_s: of(ttft, |d| d.max_s),
            tpot_mean_s: of(tpot, |d| d.mean_s),
            tpot_p50_s: of(tpot, |d| d.p50_s),
            itl_mean_s: of(itl, |d| d.mean_s),
            itl_p50_s: of(itl, |d| d.p50_s),
            itl_p99_s: of(itl, |d| d.p99_s),
            requests: figures.succeeded.saturating_add(figures.failed),
            failed: figures.failed,
            output_tokens: figures.output_tokens,
            samples: e2e.map_or(0, |d| d.samples),
        }
    }
}

impl From<&ThroughputFigures> for Throughput {
    fn from(figures: &ThroughputFigures) -> Self {
        let ThroughputFigures {
            e2e, ttft, tpot, itl, ..
        } = figures;
        let [e2e, ttft, tpot, itl] = [e2e, ttft, tpot, itl].map(Option::as_ref);
        Self {
            concurrency: figures.concurrency,
            requests: figures.requests,
            succeeded: figures.succeeded,
            failed: figures.failed,
            wall_s: figures.wall_s,
            output_tokens: figures.output_tokens,
            output_tokens_per_s: figures.output_tokens_per_s,
            mean_individual_tokens_per_s: figures.mean_individual_tokens_per_s,
            requests_per_s: figures.requests_per_s,
            latency_mean_s: of(e2e, |d| d.mean_s),
            latency_p50_s: of(e2e, |d| d.p50_s),
            latency_max_s: of(e2e, |d| d.max_s),
            ttft_mean_s: of(ttft, |d| d.mean_s),
            ttft_p50_s: of(ttft, |d| d.p50_s),
            ttft_p95_s: of(ttft, |d| d.p95_s),
            ttft_max_s: of(ttft, |d| d.max_s),
            tpot_mean_s: of(tpot, |d| d.mean_s),
            tpot_p50_s: of(tpot, |d| d.p50_s),
            itl_mean_s: of(itl, |d| d.mean_s),
            itl_p50_s: of(itl, |d| d.p50_s),
            itl_p99_s: of(itl, |d| d.p99_s),
        }
    }
}

impl From<&report::Failure> for Failure {
    fn from(failure: &report::Failure) -> Self {
        let report = failure.report.clone();
        Self {
            class: report.class,
            lost: failure.lost,
            message: report.message,
            evidence: report.evidence,
            advice: report.advice,
            exit: report.exit,
            last_lines: report.last_lines,
        }
    }
}

impl From<&Outcome> for Trial {
    fn from(outcome: &Outcome) -> Self {
        let decisive = outcome.decisive_check().map(TrialCheck::from);
        Self {
            name: outcome.trial.clone(),
            kind: outcome.kind,
            verdict: outcome.verdict,
            measured: decisive.as_ref().and_then(|check| check.measured),
            unit: decisive.as_ref().map(|check| check.unit),
            budget: decisive.and_then(|check| check.budget),
            checks: outcome.checks.iter().map(TrialCheck::from).collect(),
            findings: outcome.findings.clone(),
            answer: outcome.answer.clone(),
            duration_s: outcome.duration_s,
        }
    }
}

impl From<&Check> for TrialCheck {
    fn from(check: &Check) -> Self {
        Self {
            metric: check.metric.clone(),
            measured: check.measured,
            budget: check.budget.as_ref().map(|limit| Budget::of(limit, check.unit)),
            unit: check.unit,
            verdict: check.verdict,
        }
    }
}

impl Budget {
    fn of(limit: &Limit, unit: Unit) -> Self {
        Self {
            min: limit.min.map(|bound| figure::in_unit(bound, unit)),
            max: limit.max.map(|bound| figure::in_unit(bound, unit)),
            source: limit.source,
            because: limit.because.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    #[test]
    fn bounds_speak_the_unit_of_the_figure() {
        let limit = Limit {
            min: None,
            max: Some("500 ms".parse().unwrap()),
            source: Source::Promised,
            because: String::new(),
        };
        assert_eq!(Budget::of(&limit, Unit::Seconds).max, Some(0.5));
    }
}
