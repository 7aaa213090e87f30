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
