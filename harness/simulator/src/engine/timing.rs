//! How long a step takes.
//!
//! A decode step reads every active weight once, so it takes bytes / (bandwidth × share reached), plus a cost
//! for each sequence, plus arithmetic for the prompt tokens it computes, plus the all-reduces of tensor
//! parallelism. Pipeline stages follow one another, so they do not shorten a step.

use crate::settings::Settings;

/// Step times of a model on a card, in simulated seconds.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_field_names, reason = "the postfix is the unit")]
pub struct Timing {
    weights_s: f64,
    sequence_s: f64,
    prefill_token_s: f64,
    collective_s: f64,
}

impl Timing {
    /// The step times of these settings.
    pub fn new(settings: &Settings) -> Self {
        let (model, speed) = (&settings.model, &settings.profile.speed);
        let cards = settings.placement.tensor_parallel as f64;
        let active = model.active_parameters.unwrap_or(model.parameters);
        let bytes = (active * model.bytes_per_parameter) as f64 / cards;
        let collective_us = speed.tensor_parallel_us_per_layer * model.layers as f64;
        Self {
            weights_s: bytes / (speed.bandwidth_gb_per_s * 1e9 * speed.decode_share),
            sequence_s: speed.sequence_cost_us * 1e-6,
            prefill_token_s: 2.0 * active as f64 / (speed.prefill_tflops * 1e12 * cards),
            collective_s: if cards > 1.0 { collective_us * 1e-6 } else { 0.0 },
        }
    }

    /// Seconds of a step that decodes or finishes `sequences` and computes `prefill_tokens` of prompts.
    pub fn step_s(&self, sequences: usize, prefill_tokens: u64) -> f64 {
        self.weights_s
            + self.collective_s
            + self.sequence_s * sequences as f64
            + self.prefill_token_s * prefill_tokens as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ServeArgs;
    use crate::config::ProfileChoice;
    use crate::config::tests::mistral;
    use crate::settings::Environment;

    fn timing(profile: &str) -> Timing {
        let mut config = mistral();
        config.profile = ProfileChoice::Named(profile.to_owned());
        let args = ServeArgs {
            config,
            faults: vec![],
            truth: None,
            exit_with_stdin: false,
            model: "m".to_owned(),
            given: std::collections::BTreeMap::new(),
        };
        Timing::new(&Settings::resolve(&args, Environment::default()).unwrap())
    }

    /// Seconds of one request alone, with a prompt of 16 tokens.
    fn latency_s(timing: &Timing, tokens: f64) -> f64 {
        timing.step_s(1, 16) + (tokens - 1.0) * timing.step_s(1, 0)
    }

    #[test]
    fn the_measured_latencies_come_out() {
        let c500 = timing("c500");
        for (tokens, seconds) in [(160.0, 2.37), (221.0, 3.27), (246.0, 3.65), (256.0, 3.79)] {
            let latency_s = latency_s(&c500, tokens);
            assert!((latency_s - seconds).abs() < 0.006, "{tokens}: {latency_s}");
        }
        let all: f64 = [160.0, 221.0, 246.0, 256.0]
            .map(|tokens| latency_s(&c500, tokens))
            .iter()
            .sum();
        assert_eq!(format!("{:.2}", 883.0 / all), "67.48");
        let pair = 368.0 * c500.step_s(2, 0) + 144.0 * c500.step_s(1, 0);
        assert!((pair - 7.655).abs() < 0.01, "{pair}");
        assert_eq!(
            format!("{:.2}", 220.0 / latency_s(&timing("a100_40gb"), 220.0)),
            "73.20"
        );
    }

    #[test]
    fn a_short_prompt_costs_a_part_of_a_step() {
        let c500 = timing("c500");
        let share = c500.step_s(1, 24) / c500.step_s(1, 0) - 1.0;
        assert!((0.05..0.25).contains(&share), "{share}");
    }
}
