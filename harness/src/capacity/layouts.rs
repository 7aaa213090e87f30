//! Which layouts are looked at, which is the smallest that fits, and what would make one fit that does not.

use super::{
    predict::{Demand, Prediction},
    settings::{Layout, Settings},
};

/// Most pipeline stages that are looked at.
const MOST_STAGES: u64 = 8;
/// The share that a squeeze takes: beyond it nothing is left for graphs and the driver.
pub const SQUEEZED_UTILIZATION: f64 = 0.95;
/// Shortest sequence that is still called serving.
const SHORTEST_LEN: u64 = 2048;

/// What would make a layout fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Squeeze {
    /// Share of the card.
    pub utilization: f64,
    /// Longest sequence.
    pub max_model_len: u64,
    /// Sequences of that length at once.
    pub max_concurrency: f64,
}

impl Demand<'_> {
    /// The layouts that are usual: powers of two; the cards that share a layer in one host, whose links are the only
    /// ones fast enough. Fewest cards first, of as many the least stages.
    pub fn layouts(&self) -> Vec<Layout> {
        let host = self.card.map_or(1, |card| u64::from(card.cards_per_host));
        let powers = |most: u64| {
            (0..u64::BITS)
                .map(|power| 1 << power)
                .take_while(move |cards| *cards <= most)
        };
        let stages = if self.card.is_some() { MOST_STAGES } else { 1 };
        let mut layouts: Vec<Layout> = powers(host)
            .flat_map(|tensor_parallel| {
                powers(stages).map(move |pipeline_parallel| Layout {
                    tensor_parallel,
                    pipeline_parallel,
                })
            })
            .collect();
        layouts.sort_by_key(|layout| (layout.cards(), layout.pipeline_parallel));
        layouts
    }

    /// The smallest usual layout that fits.
    pub fn smallest(&self) -> Option<Prediction> {
        self.layouts()
            .into_iter()
            .map(|layout| self.predict(layout))
            .find(Prediction::fits)
    }

    /// What would make a layout fit that does not: 95 % of the card, and the longest half, quarter, … of the length
    /// that then fits.
    pub fn squeeze(&self, layout: Layout) -> Option<Squeeze> {
        let asked = self
            .settings
            .utilization
            .unwrap_or_else(|| self.rules().utilization);
        let mut settings: Settings = self.settings.clone();
        settings.utilization = Some(asked.max(SQUEEZED_UTILIZATION));
        settings.max_model_len = self.settings.max_model_len.min(self.shape.max_position);
        while settings.max_model_len >= SHORTEST_LEN.min(self.settings.max_model_len) {
            let squeezed = Demand {
                settings: &settings,
                ..self.clone()
            };
            let prediction = squeezed.predict(layout);
            if prediction.fits() {
                return Some(Squeeze {
                    utilization: asked.max(SQUEEZED_UTILIZATION),
                    max_model_len: settings.max_model_len,
                    max_concurrency: prediction.max_concurrency,
                });
            }
            if settings.max_model_len <= 1 {
                return None;
            }
            settings.max_model_len /= 2;
        }
        None
    }
}
