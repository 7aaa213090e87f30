//! `metrics.txt` for GitLab's metrics report: OpenMetrics text, which a merge request compares with its target branch.
//!
//! One gauge a figure, named with its unit and labelled by model, stack and concurrency, so that two runs compare;
//! nothing that differs in every run is a label. Figures that were not measured are left out: OpenMetrics has no
//! absent value. Source of the format: the OpenMetrics 1.0 specification.

use std::{collections::BTreeMap, fmt::Write};

use super::{Session, Summary, text::one_line};
use crate::record::{Distribution, LatencyFigures, MemoryFigures, ThroughputFigures, Verdict};

/// Samples by figure, each with its labels.
#[derive(Default)]
struct Metrics(BTreeMap<&'static str, Vec<(String, f64)>>);

/// The file's text.
pub fn render(summary: &Summary) -> String {
    let mut metrics = Metrics::default();
    for session in &summary.sessions {
        metrics.session(session);
    }
    let mut out = String::new();
    // The first line of every output of a simulated run says so; OpenMetrics has no free comments but has HELP.
    if let Some(notice) = summary.simulated_notice() {
        let help = one_line(&notice).replace('\\', "\\\\");
        let _ = writeln!(
            out,
            "# HELP harness_simulated {help}\n# TYPE harness_simulated gauge\nharness_simulated 1"
        );
    }
    for (name, samples) in metrics.0 {
        let _ = writeln!(out, "# TYPE harness_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(out, "harness_{name}{{{labels}}} {value}");
        }
    }
    out + "# EOF\n"
}

impl Metrics {
    fn session(&mut self, session: &Session) {
        let labels = format!(
            "model={},stack={}",
            label(&session.started.model),
            label(&session.started.stack)
        );
        let counts = session.counts();
        self.add("trials", &labels, Some(counts.total() as f64));
        self.add(
            "trials_passed",
            &labels,
            Some(counts.with(Verdict::Passed) as f64),
        );
        if let Some(booted) = &session.booted {
            self.add("boot_seconds", &labels, Some(booted.boot_s));
            self.memory(&labels, &booted.memory);
        }
        if let Some(measured) = &session.latency {
            self.latency(&labels, &measured.figures);
        }
        for measured in &session.throughput {
            let labels = format!("{labels},concurrency=\"{}\"", measured.figures.concurrency);
            self.throughput(&labels, &measured.figures);
        }
    }

    fn memory(&mut self, labels: &str, figures: &MemoryFigures) {
        self.add("memory_weights_gib", labels, figures.weights_gib);
        self.add("memory_non_torch_gib", labels, figures.non_torch_gib);
        self.add("memory_activation_gib", labels, figures.activation_gib);
        self.add("memory_graph_gib", labels, figures.graph_gib);
        self.add("memory_kv_cache_gib", labels, figures.kv_cache_gib);
        self.add(
            "memory_kv_cache_blocks",
            labels,
            figures.num_blocks.map(|blocks| blocks as f64),
        );
        self.add("memory_max_concurrency", labels, figures.max_concurrency);
    }

    fn latency(&mut self, labels: &str, figures: &LatencyFigures) {
        self.add("latency_mean_seconds", labels, mean(figures.e2e.as_ref()));
        self.add("latency_ttft_mean_seconds", labels, mean(figures.ttft.as_ref()));
        self.add("latency_tpot_mean_seconds", labels, mean(figures.tpot.as_ref()));
        self.add("latency_itl_mean_seconds", labels, mean(figures.itl.as_ref()));
        self.add(
            "latency_generation_tokens_per_second",
            labels,
            figures.mean_generation_tokens_per_s,
        );
        self.add("latency_failed_requests", labels, Some(figures.failed.into()));
    }

    fn throughput(&mut self, labels: &str, figures: &ThroughputFigures) {
        self.add(
            "throughput_output_tokens_per_second",
            labels,
            Some(figures.output_tokens_per_s),
        );
        self.add(
            "throughput_individual_tokens_per_second",
            labels,
            figures.mean_individual_tokens_per_s,
        );
        self.add(
            "throughput_requests_per_second",
            labels,
            Some(figures.requests_per_s),
        );
        self.add(
            "throughput_ttft_mean_seconds",
            labels,
            mean(figures.ttft.as_ref()),
        );
        self.add(
            "throughput_tpot_mean_seconds",
            labels,
            mean(figures.tpot.as_ref()),
        );
        self.add("throughput_failed_requests", labels, Some(figures.failed.into()));
    }

    fn add(&mut self, name: &'static str, labels: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.0.entry(name).or_default().push((labels.to_owned(), value));
        }
    }
}

fn mean(distribution: Option<&Distribution>) -> Option<f64> {
    distribution.map(|distribution| distribution.mean_s)
}

/// A label's value, quoted.
fn label(value: &str) -> String {
    format!(
        "\"{}\"",
        one_line(value).replace('\\', "\\\\").replace('"', "\\\"")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn lays_out_each_record() {
        for (name, record) in fixture::all() {
            insta::assert_snapshot!(name, render(&fixture::summary(&record)));
        }
    }

    #[test]
    fn every_line_is_openmetrics() {
        let sample = r#"^harness_[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? -?[0-9.e-]+$"#;
        let line =
            regex::Regex::new(&format!("{sample}|^# (HELP|TYPE) harness_[a-z_]+ .+$|^# EOF$")).unwrap();
        let mut summary = fixture::summary(&fixture::mixed());
        summary.sessions[0].started.model = fixture::HOSTILE.replace('x', "\"\\");
        let text = render(&summary);
        assert!(text.lines().all(|text| line.is_match(text)), "{text}");
        assert!(text.starts_with("# HELP harness_simulated SIMULATED: ") && text.ends_with("# EOF\n"));
    }
}
