//! How far a session strays from its goldens when it scores their own tokens. Shares lie within 0 and 1; divergences,
//! differences and margins are in nat (natural logarithms).

use serde::{Deserialize, Serialize};

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure itself.
    pub value: f64,
    /// Its one-sided lower bound of 95 %; `null` where too few prompts tell of none.
    pub low: Option<f64>,
    /// Its one-sided upper bound of 95 %.
    pub high: Option<f64>,
}

/// Drift over all goldens of a model. Intervals are drawn again over prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftFigures {
    /// Goldens that were scored.
    pub prompts: u32,
    /// Positions that were scored.
    pub positions: u64,
    /// Share of positions at which the golden's token is the likeliest.
    pub top1: Estimate,
    /// Mean Kullback-Leibler divergence from the golden.
    pub mean_kld_nat: Estimate,
    /// Divergence that one position in a thousand exceeds.
    pub p999_kld_nat: Estimate,
    /// Mean absolute difference of the golden tokens' logprobs.
    pub mean_delta_nat: Estimate,
    /// Greatest such difference.
    pub max_delta_nat: f64,
    /// Greatest lead of another token over the golden's.
    pub max_margin_nat: f64,
    /// What the figures are held against.
    pub threshold: DriftThreshold,
    /// How far the recording stack strays from itself, where the goldens say so.
    pub floor: Option<DriftFloor>,
    /// Each golden, the one that strays farthest first.
    pub cases: Vec<CaseDrift>,
    /// Goldens that were not scored.
    pub unscored: Vec<Unscored>,
}

/// What drift is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DriftThreshold {
    /// Where it comes from.
    pub source: ThresholdSource,
    /// Least share of agreement.
    pub min_top1: f64,
    /// Greatest mean divergence.
    pub max_mean_kld_nat: f64,
    /// Greatest divergence of one position in a thousand.
    pub max_p999_kld_nat: f64,
}

/// Where a threshold comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdSource {
    /// A multiple of the recorded floor.
    Floor,
    /// The harness's general proposal, since no floor is recorded.
    Proposal,
}

/// How far the recording stack strays from itself, over all goldens that say so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DriftFloor {
    /// Share of agreement.
    pub top1: f64,
    /// Mean divergence.
    pub mean_kld_nat: f64,
    /// Greatest divergence of a position.
    pub max_kld_nat: f64,
    /// Mean absolute difference of the golden tokens' logprobs.
    pub mean_delta_nat: f64,
}

/// Drift over one golden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseDrift {
    /// Name of the case.
    pub case: String,
    /// Positions.
    pub positions: u32,
    /// Share of positions at which the golden's token is the likeliest.
    pub top1: f64,
    /// Mean divergence.
    pub mean_kld_nat: f64,
    /// Greatest divergence.
    pub max_kld_nat: f64,
    /// Mean absolute difference of the golden tokens' logprobs.
    pub mean_delta_nat: f64,
    /// Greatest such difference.
    pub max_delta_nat: f64,
    /// Greatest lead of another token over the golden's.
    pub max_margin_nat: f64,
    /// The position that strays farthest.
    pub worst: WorstPosition,
}

/// A position with the text around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstPosition {
    /// Position within the golden's output, from 0.
    pub position: u32,
    /// Divergence there.
    pub kld_nat: f64,
    /// Lead of the candidate's likeliest token over the golden's; 0 where it is the golden's.
    pub margin_nat: f64,
    /// End of the golden's text before the position.
    pub before: String,
    /// The golden's token, as text where it is known.
    pub golden: String,
    /// The candidate's likeliest token, as text where it is known.
    pub candidate: String,
}

/// A golden that was not scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unscored {
    /// Name of the case.
    pub case: String,
    /// Why not.
    pub why: String,
}
