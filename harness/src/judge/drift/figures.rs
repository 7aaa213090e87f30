//! Figures over a suite with their intervals: prompts are drawn again, never single positions.

use rayon::prelude::*;

use super::Scored;
use crate::{
    record::Estimate,
    stats::{Bootstrap, cluster_bootstrap, wilson_lower, wilson_upper},
};

/// Confidence of each one-sided bound.
pub const LEVEL: f64 = 0.95;

/// How many positions carry as much as one independent one. Where no prompt disagrees the bootstrap sees no spread at
/// all; Wilson's bound on so many fewer positions keeps the share of agreement from looking certain.
pub const DESIGN_EFFECT: f64 = 2.0;

/// Share of positions that the tail figure leaves above itself.
const TAIL: f64 = 0.001;

/// Sums of one golden.
struct Cluster {
    positions: f64,
    agreeing: f64,
    kld_nat: f64,
    delta_nat: f64,
}

/// Sums of all goldens, and every divergence with the golden it belongs to, the largest first.
pub struct Summed {
    clusters: Vec<Cluster>,
    tail: Vec<(f64, usize)>,
}

impl Summed {
    /// `None` where nothing was scored.
    pub fn of(scored: &[Scored<'_>]) -> Option<Self> {
        if scored.is_empty() {
            return None;
        }
        let cluster = |scored: &Scored<'_>| {
            let positions = &scored.drift.positions;
            Cluster {
                positions: positions.len() as f64,
                agreeing: scored.drift.agreeing() as f64,
                kld_nat: positions.iter().map(|position| position.kld_nat).sum(),
                delta_nat: positions.iter().map(|position| position.delta_nat).sum(),
            }
        };
        let mut tail: Vec<_> = scored
            .par_iter()
            .enumerate()
            .flat_map_iter(|(golden, scored)| {
                scored
                    .drift
                    .positions
                    .iter()
                    .map(move |position| (position.kld_nat, golden))
            })
            .collect();
        tail.par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Some(Self {
            clusters: scored.par_iter().map(cluster).collect(),
            tail,
        })
    }

    pub fn positions(&self) -> u64 {
        self.tail.len() as u64
    }

    /// Share of agreement, mean divergence, divergence of one in a thousand, mean delta.
    pub fn estimates(&self) -> [Estimate; 4] {
        let values = self.figures(&vec![1; self.clusters.len()]);
        let intervals = cluster_bootstrap(self.clusters.len(), Bootstrap::default(), |times| {
            self.figures(times)
        });
        let mut estimates = values.map(|value| Estimate {
            value,
            low: None,
            high: None,
        });
        for (estimate, interval) in estimates.iter_mut().zip(intervals.into_iter().flatten()) {
            (estimate.low, estimate.high) = (Some(interval.low), Some(interval.high));
        }
        let effective = self.positions() as f64 / DESIGN_EFFECT;
        let [top1, ..] = &mut estimates;
        let agreeing = top1.value * effective;
        top1.low = lesser(top1.low, wilson_lower(agreeing, effective, LEVEL));
        top1.high = lesser(
            top1.high.map(|high| -high),
            wilson_upper(agreeing, effective, LEVEL).map(|high| -high),
        )
        .map(|high| -high);
        estimates
    }

    /// The figures where each golden counts so many times.
    fn figures(&self, times: &[u32]) -> [f64; 4] {
        let mut sums = [0.0; 4];
        for (cluster, &times) in self.clusters.iter().zip(times) {
            let times = f64::from(times);
            let parts = [
                cluster.agreeing,
                cluster.kld_nat,
                cluster.positions,
                cluster.delta_nat,
            ];
            sums.iter_mut()
                .zip(parts)
                .for_each(|(sum, part)| *sum += times * part);
        }
        let [agreeing, kld_nat, positions, delta_nat] = sums;
        let tail = self.tail(times, TAIL * positions);
        [
            agreeing / positions,
            kld_nat / positions,
            tail,
            delta_nat / positions,
        ]
    }

    /// The divergence that no more than `above` positions exceed.
    fn tail(&self, times: &[u32], above: f64) -> f64 {
        let mut counted = 0.0;
        for &(kld_nat, golden) in &self.tail {
            counted += f64::from(times[golden]);
            if counted > above {
                return kld_nat;
            }
        }
        0.0
    }
}

/// The lesser of two bounds, where both are known.
fn lesser(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one?.min(other?))
}
