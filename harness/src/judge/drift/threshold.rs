//! What drift is held against: a multiple of the recorded floor, or a general proposal where none is recorded.

use crate::{
    golden::Golden,
    record::{DriftFloor, DriftThreshold, ThresholdSource},
};

/// How many times the floor is allowed. On a small model healthy and wrong rounding lie more than ten times apart
/// (SmolLM2-135M: 6e-4 and 1e-2 nat), so three times the floor is far from both.
pub const FLOOR_MULTIPLE: f64 = 3.0;

/// Without a floor: between llama.cpp's figures for BF16 against FP16 (mean KLD 2.5e-5, p99.9 8.0e-4, 99.74 % of top
/// tokens alike) and for q8_0 (1.4e-3, 97.7 %).
const PROPOSAL: DriftThreshold = DriftThreshold {
    source: ThresholdSource::Proposal,
    min_top1: 0.992,
    max_mean_kld_nat: 5e-4,
    max_p999_kld_nat: 5e-3,
};

/// Least thresholds beside a floor: BF16 against FP16 in llama.cpp's tables. A stack that repeats itself to the bit has
/// a floor of zero, and even a healthy kernel of another version would break three times nothing.
const LEAST_MEAN_KLD_NAT: f64 = 2.5e-5;
const LEAST_P999_KLD_NAT: f64 = 8.0e-4;

/// The floor over several goldens, weighted by their positions; `None` unless each one has a floor.
pub fn floor<'a>(goldens: impl IntoIterator<Item = &'a Golden>) -> Option<DriftFloor> {
    let mut positions = 0.0;
    let mut sum = DriftFloor {
        top1: 0.0,
        mean_kld_nat: 0.0,
        max_kld_nat: 0.0,
        mean_delta_nat: 0.0,
    };
    for golden in goldens {
        let floor = golden.header.floor?;
        let weight = golden.positions.len() as f64;
        positions += weight;
        sum.top1 += weight * floor.top1_share;
        sum.mean_kld_nat += weight * floor.mean_kld_nat;
        sum.mean_delta_nat += weight * floor.mean_delta_nat;
        sum.max_kld_nat = sum.max_kld_nat.max(floor.max_kld_nat);
    }
    (positions > 0.0).then(|| DriftFloor {
        top1: sum.top1 / positions,
        mean_kld_nat: sum.mean_kld_nat / positions,
        mean_delta_nat: sum.mean_delta_nat / positions,
        max_kld_nat: sum.max_kld_nat,
    })
}

/// What is allowed. The share of agreement may fall to the proposal even where the floor is better: agreement is
/// decided by near ties, and a handful of them more is no regression that the divergence would not show.
pub fn threshold(floor: Option<DriftFloor>) -> DriftThreshold {
    let Some(floor) = floor else { return PROPOSAL };
    DriftThreshold {
        source: ThresholdSource::Floor,
        min_top1: PROPOSAL
            .min_top1
            .min(1.0 - FLOOR_MULTIPLE * (1.0 - floor.top1))
            .max(0.0),
        max_mean_kld_nat: LEAST_MEAN_KLD_NAT.max(FLOOR_MULTIPLE * floor.mean_kld_nat),
        max_p999_kld_nat: LEAST_P999_KLD_NAT.max(FLOOR_MULTIPLE * floor.max_kld_nat),
    }
}
