//! What the server says of the same phase: the difference between two looks at its `/metrics`.

use serde::{Deserialize, Serialize};

use crate::vllm::Metrics;

/// Mean durations and counts of a phase, by the server; absent where its version or engine does not count them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFigures {
    /// Tokens generated.
    pub generation_tokens: Option<u64>,
    /// Prompt tokens processed.
    pub prompt_tokens: Option<u64>,
    /// Requests that ended, for whatever reason.
    pub finished: Option<u64>,
    /// Requests thrown out of a batch for want of KV-cache blocks.
    pub preemptions: Option<u64>,
    /// Share of the prompt tokens that the prefix cache held, 0 to 1.
    pub prefix_hit_rate: Option<f64>,
    /// Mean time to first token, seconds.
    pub ttft_mean_s: Option<f64>,
    /// Mean gap between tokens, seconds.
    pub itl_mean_s: Option<f64>,
    /// Mean latency, seconds.
    pub e2e_mean_s: Option<f64>,
    /// Mean time in the queue, seconds.
    pub queue_mean_s: Option<f64>,
}

/// The server's figures, or why there are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSide {
    /// The figures.
    pub figures: Option<ServerFigures>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl From<Result<ServerFigures, String>> for ServerSide {
    fn from(found: Result<ServerFigures, String>) -> Self {
        match found {
            Ok(figures) => Self {
                figures: Some(figures),
                why: None,
            },
            Err(why) => Self {
                figures: None,
                why: Some(why),
            },
        }
    }
}

impl ServerSide {
    /// The figures, or why there are none.
    pub fn known(&self) -> Result<&ServerFigures, &str> {
        self.figures
            .as_ref()
            .ok_or(self.why.as_deref().unwrap_or("the server was not asked"))
    }
}

impl ServerFigures {
    /// The phase between two looks; `None` where the server was started again in between.
    pub fn between(before: &Metrics, after: &Metrics) -> Option<Self> {
        let counters = after.counters().since(&before.counters())?;
        let mean = |names: &[&str]| {
            let (sum, count) = after.histogram(names)?;
            let (sum_before, count_before) = before.histogram(names).unwrap_or_default();
            let (sum, count) = (sum - sum_before, count - count_before);
            (count > 0.0 && sum >= 0.0).then_some(sum / count)
        };
        Some(Self {
            generation_tokens: counters.generation_tokens,
            prompt_tokens: counters.prompt_tokens,
            finished: (!counters.finished.is_empty()).then(|| counters.finished.values().sum()),
            preemptions: counters.preemptions,
            prefix_hit_rate: counters.prefix_hit_rate(),
            ttft_mean_s: mean(&["vllm:time_to_first_token_seconds"]),
            itl_mean_s: mean(&[
                "vllm:inter_token_latency_seconds",
                "vllm:time_per_output_token_seconds",
            ]),
            e2e_mean_s: mean(&["vllm:e2e_request_latency_seconds"]),
            queue_mean_s: mean(&["vllm:request_queue_time_seconds"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(scale: f64) -> Metrics {
        let line = |name: &str, value: f64| format!("vllm:{name}{{engine=\"0\"}} {}\n", value * scale);
        let text = [
            line("generation_tokens_total", 100.0),
            line("prompt_tokens_total", 30.0),
            line("prefix_cache_queries_total", 30.0),
            line("prefix_cache_hits_total", 3.0),
            line("time_to_first_token_seconds_sum", 2.0),
            line("time_to_first_token_seconds_count", 10.0),
            line("time_per_output_token_seconds_sum", 1.0),
            line("time_per_output_token_seconds_count", 50.0),
            "vllm:request_success_total{finished_reason=\"length\"} 10\n".to_owned(),
        ];
        Metrics::parse(&text.concat()).unwrap()
    }

    #[test]
    fn a_phase_is_the_difference_of_two_looks() {
        let found = ServerFigures::between(&metrics(1.0), &metrics(3.0)).unwrap();
        assert_eq!(
            (found.generation_tokens, found.prompt_tokens),
            (Some(200), Some(60))
        );
        assert_eq!((found.ttft_mean_s, found.itl_mean_s), (Some(0.2), Some(0.02)));
        assert_eq!((found.prefix_hit_rate, found.e2e_mean_s), (Some(0.1), None));
        assert_eq!(found.finished, Some(0));
        assert_eq!(ServerFigures::between(&metrics(3.0), &metrics(1.0)), None);
    }
}
