//! Roofs of speed that no kernel breaks. Decoding one sequence reads every weight that a token passes, so
//! tokens/s ≤ bandwidth / bytes, where cards that share a layer read at once and stages one after another. Prefill
//! multiplies each token with every such weight, so tokens/s ≤ cards × operations/s / (2 × weights).

use super::{predict::Demand, settings::Layout};

/// Roofs of one layout on one card; tokens a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roof {
    /// One sequence.
    pub decode_tokens_per_s: f64,
    /// Prompts.
    pub prefill_tokens_per_s: f64,
    /// Bytes that one token reads on all cards that share a layer, summed over stages.
    pub bytes_per_token: f64,
}

impl Demand<'_> {
    /// The roofs of a layout; `None` on the CPU, where no card says its figures.
    pub fn roof(&self, layout: Layout) -> Option<Roof> {
        let card = self.card?;
        let matrix_bytes = self.settings.quantization.map_or_else(
            || self.settings.dtype.bytes() as f64,
            |quantization| quantization.bits / 8.0,
        );
        // All weights count as matrices: with quantization the roof is then rather too high than too low.
        let bytes_per_token = self.parameters.read as f64 * matrix_bytes;
        let (bandwidth, operations) = (
            card.bandwidth_gb_per_s.value * 1e9,
            card.tflops_16bit.value * 1e12,
        );
        Some(Roof {
            decode_tokens_per_s: bandwidth * layout.tensor_parallel as f64 / bytes_per_token,
            prefill_tokens_per_s: operations * layout.cards() as f64
                / (2.0 * self.parameters.multiplied as f64),
            bytes_per_token,
        })
    }
}
