//! Where each figure stands to its threshold, and the verdict that follows.

use super::figures::{DESIGN_EFFECT, LEVEL};
use crate::{
    record::{DriftFigures, Estimate, Verdict},
    stats::wilson_lower,
};

/// Prompts below which an interval over prompts means little.
pub const LEAST_PROMPTS: u32 = 10;
/// Positions below which one in a thousand is just the maximum.
const LEAST_TAIL_POSITIONS: u64 = 1_000;

/// A figure by its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Within its threshold.
    Within,
    /// Beyond it.
    Beyond,
    /// The interval holds the threshold: about so many positions in all would decide.
    Undecided {
        /// Positions.
        needed: u64,
    },
    /// Even a perfect result could not decide with fewer positions than these: the figure is shown and not judged.
    TooFew {
        /// Positions.
        needed: u64,
    },
}

/// The three figures that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stands {
    /// Mean divergence.
    pub kld: Stand,
    /// Share of agreement.
    pub top1: Stand,
    /// Divergence of one position in a thousand.
    pub tail: Stand,
}

impl Stands {
    pub const fn each(&self) -> [(&'static str, Stand); 3] {
        [
            ("the mean divergence", self.kld),
            ("the share of agreement", self.top1),
            ("the divergence of one position in a thousand", self.tail),
        ]
    }
}

pub fn stands(figures: &DriftFigures) -> Stands {
    let threshold = &figures.threshold;
    Stands {
        kld: kld(figures),
        top1: top1(figures.top1, threshold.min_top1, figures.positions),
        tail: tail(
            figures.p999_kld_nat,
            threshold.max_p999_kld_nat,
            figures.positions,
        ),
    }
}

/// Failed where any figure lies beyond, passed where all that can be judged lie within.
pub fn verdict(stands: &Stands) -> Verdict {
    let each = stands.each().map(|(_, stand)| stand);
    if each.contains(&Stand::Beyond) {
        Verdict::Failed
    } else if each.iter().any(|stand| matches!(stand, Stand::Undecided { .. })) {
        Verdict::Inconclusive
    } else if stands.kld == Stand::Within {
        Verdict::Passed
    } else {
        Verdict::Inconclusive
    }
}

fn kld(figures: &DriftFigures) -> Stand {
    let (found, most) = (figures.mean_kld_nat, figures.threshold.max_mean_kld_nat);
    let a_prompt = figures.positions / u64::from(figures.prompts.max(1));
    if figures.prompts < LEAST_PROMPTS {
        return Stand::Undecided {
            needed: u64::from(LEAST_PROMPTS) * a_prompt.max(1),
        };
    }
    match (found.low, found.high) {
        (Some(low), _) if low > most => Stand::Beyond,
        (_, Some(high)) if high <= most => Stand::Within,
        _ => Stand::Undecided {
            needed: needed(found, most, figures.positions),
        },
    }
}

fn top1(found: Estimate, least: f64, positions: u64) -> Stand {
    if found.high.is_some_and(|high| high < least) {
        return Stand::Beyond;
    }
    let decidable = perfect_positions(least);
    if positions < decidable {
        return Stand::TooFew { needed: decidable };
    }
    match found.low {
        Some(low) if low >= least => Stand::Within,
        _ => Stand::Undecided {
            needed: needed(found, least, positions),
        },
    }
}

/// The tail is a guard beside the mean: it fails by its interval, and passes by its value, since the upper end of its
/// interval is little else than the maximum.
fn tail(found: Estimate, most: f64, positions: u64) -> Stand {
    if positions < LEAST_TAIL_POSITIONS {
        return Stand::TooFew {
            needed: LEAST_TAIL_POSITIONS,
        };
    }
    if found.low.is_some_and(|low| low > most) {
        Stand::Beyond
    } else if found.value <= most {
        Stand::Within
    } else {
        Stand::Undecided {
            needed: needed(found, most, positions),
        }
    }
}

/// Positions at which the end of the interval that faces the threshold would no longer reach it: an interval's width
/// falls with the root of the positions.
fn needed(found: Estimate, threshold: f64, positions: u64) -> u64 {
    let reach = if found.value <= threshold {
        found.high.map(|high| high - found.value)
    } else {
        found.low.map(|low| found.value - low)
    };
    let gap = (found.value - threshold).abs();
    let factor = reach.map_or(2.0, |reach| (reach / gap).powi(2));
    // Beyond this the figure sits on its threshold, and no suite decides.
    rounded_up(positions as f64 * factor.clamp(1.0, 1_000.0))
}

/// Fewest positions in which full agreement shows that the true share is not below `least`.
fn perfect_positions(least: f64) -> u64 {
    let shows = |positions: u64| {
        let effective = positions as f64 / DESIGN_EFFECT;
        wilson_lower(effective, effective, LEVEL).is_some_and(|low| low >= least)
    };
    let (mut too_few, mut enough) = (0, 1_u64 << 32);
    while enough - too_few > 1 {
        let middle = u64::midpoint(too_few, enough);
        if shows(middle) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    enough
}

/// To two digits: the rule gives no more.
pub fn rounded_up(positions: f64) -> u64 {
    let step = 10_f64.powf((positions.max(1.0).log10().floor() - 1.0).max(0.0));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and as casts saturate bounded"
    )]
    let whole = ((positions / step).ceil() * step) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wilson's lower bound of n successes in n trials is 1 / (1 + z²/n): 99.2 % needs n = 2.7055 · 0.992 / 0.008 =
    /// 335.5 effective positions.
    #[test]
    fn the_share_is_judged_from_671_positions_on() {
        assert_eq!(perfect_positions(0.992), 671);
        let perfect = Estimate {
            value: 1.0,
            low: Some(0.992),
            high: Some(1.0),
        };
        assert_eq!(top1(perfect, 0.992, 670), Stand::TooFew { needed: 671 });
        assert_eq!(top1(perfect, 0.992, 671), Stand::Within);
        let poor = Estimate {
            value: 0.5,
            low: Some(0.3),
            high: Some(0.7),
        };
        assert_eq!(top1(poor, 0.992, 20), Stand::Beyond);
    }

    #[test]
    fn four_times_the_positions_halve_the_interval() {
        let found = Estimate {
            value: 4e-4,
            low: Some(2e-4),
            high: Some(6e-4),
        };
        assert_eq!(needed(found, 5e-4, 1_000), 4_000);
        assert_eq!(needed(found, 4e-4, 1_000), 1_000_000);
        assert_eq!(rounded_up(1_234.0), 1_300);
    }
}
