//! How far a stack strays from a golden when it scores the golden's own tokens (teacher forcing): no divergence
//! cascades, and one forward pass scores a whole golden.
//!
//! For each position, with p the golden's probabilities and q the candidate's:
//! - divergence (KLD): Σ p·ln(p/q) over the alternatives that both sides list, plus one bucket for everything else.
//!   Merging what one side does not list can only lower it, so a short list never raises an alarm by itself;
//! - delta: |Δ logprob| of the golden's token;
//! - margin: the candidate's greatest logprob less its logprob of the golden's token; 0 where they agree (token-DiFR at
//!   temperature 0, arXiv 2511.20621).
//!
//! Goldens keep logprobs in steps of 0.0001 nat. The candidate's are rounded to the same steps, and no bucket counts
//! less than one step, so that an equal stack has a divergence of exactly 0 and rounding adds none.

use super::{Golden, STEPS_PER_NAT, base85};
use crate::vllm::{Position, TokenLogprob};

/// Least probability of the bucket for everything else: what rounding leaves unknown.
const LEAST_BUCKET: f64 = 1.0 / STEPS_PER_NAT;

/// What a stack gives at one position of a golden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositionDrift {
    /// Kullback-Leibler divergence from the golden, in nat.
    pub kld_nat: f64,
    /// Absolute difference of the golden token's logprobs, in nat.
    pub delta_nat: f64,
    /// How much likelier the candidate holds another token than the golden's, in nat; 0 where it agrees.
    pub margin_nat: f64,
    /// The candidate's likeliest token.
    pub likeliest: u32,
}

/// What a stack gives over a golden.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenDrift {
    /// One entry a position of the golden.
    pub positions: Vec<PositionDrift>,
    /// Fewest alternatives that either side lists at a position: the divergence of shorter lists is smaller.
    pub alternatives: usize,
}

/// Why a golden cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unscorable {
    /// The golden was recorded without logprobs.
    #[error("the golden has no positions: its server gave no logprobs")]
    NoPositions,
    /// Another number of positions.
    #[error(
        "{scored} positions were scored, the golden has {golden}: the server cut the prompt or lost some of it"
    )]
    Length {
        /// Positions of the golden.
        golden: usize,
        /// Positions that were scored.
        scored: usize,
    },
    /// Not the golden's tokens.
    #[error(
        "position {position} was scored as token {scored}, the golden has {golden}: the server changed the prompt"
    )]
    OtherToken {
        /// Position, from 0.
        position: usize,
        /// Token of the golden.
        golden: u32,
        /// Token that was scored.
        scored: u32,
    },
    /// A logprob is not a number.
    #[error("the logprob of position {position} is not a number: the stack computes NaN")]
    NotANumber {
        /// Position, from 0.
        position: usize,
    },
    /// No alternatives at a position.
    #[error("position {position} lists no alternatives: raise max_logprobs")]
    NoAlternatives {
        /// Position, from 0.
        position: usize,
    },
}

/// Holds the candidate's positions, one for each of the golden's tokens, against the golden.
pub fn drift(golden: &Golden, scored: &[Position]) -> Result<GoldenDrift, Unscorable> {
    if golden.positions.is_empty() {
        return Err(Unscorable::NoPositions);
    }
    if golden.positions.len() != scored.len() {
        return Err(Unscorable::Length {
            golden: golden.positions.len(),
            scored: scored.len(),
        });
    }
    let mut found = GoldenDrift {
        positions: Vec::with_capacity(scored.len()),
        alternatives: usize::MAX,
    };
    let mut known = Vec::new();
    for (position, (ours, theirs)) in golden.positions.iter().zip(scored).enumerate() {
        check(position, ours, theirs)?;
        found.alternatives = found.alternatives.min(ours.top.len()).min(theirs.top.len());
        known.clear();
        known.extend(theirs.top.iter().chain([&theirs.token]).map(rounded));
        found.positions.push(position_drift(ours, theirs, &known));
    }
    Ok(found)
}

/// The same over two free answers, as far as they had the same context: up to and with the first position at which they
/// part. There the other side's logprob of the golden's token is the one listed, or at most the least one listed.
pub fn shared_drift(golden: &Golden, answer: &[Position]) -> Result<GoldenDrift, Unscorable> {
    let same = golden
        .positions
        .iter()
        .zip(answer)
        .take_while(|(ours, theirs)| ours.token.id == theirs.token.id)
        .count();
    let reached = (same + 1).min(golden.positions.len()).min(answer.len());
    let scored: Vec<Position> = golden
        .positions
        .iter()
        .zip(&answer[..reached])
        .map(|(ours, theirs)| as_scored(ours.token.id, theirs))
        .collect();
    let shared = Golden {
        positions: golden.positions[..reached].to_vec(),
        ..golden.clone()
    };
    drift(&shared, &scored)
}

/// A position as if the golden's token had been scored there.
fn as_scored(token: u32, theirs: &Position) -> Position {
    let listed = || theirs.top.iter().chain([&theirs.token]);
    let least = || listed().map(|token| token.logprob).fold(0.0, f64::min);
    let known = listed().find(|other| other.id == token);
    let logprob = known.map_or_else(least, |known| known.logprob);
    Position {
        token: TokenLogprob { id: token, logprob },
        top: theirs.top.clone(),
    }
}

fn check(position: usize, ours: &Position, theirs: &Position) -> Result<(), Unscorable> {
    if ours.token.id != theirs.token.id {
        return Err(Unscorable::OtherToken {
            position,
            golden: ours.token.id,
            scored: theirs.token.id,
        });
    }
    let mut logprobs = theirs.top.iter().chain([&theirs.token]);
    if logprobs.any(|token| token.logprob.is_nan()) {
        return Err(Unscorable::NotANumber { position });
    }
    if ours.top.is_empty() || theirs.top.is_empty() {
        return Err(Unscorable::NoAlternatives { position });
    }
    Ok(())
}

/// The token as a golden would keep it: in steps, and no less likely than its digits can say.
fn rounded(token: &TokenLogprob) -> TokenLogprob {
    TokenLogprob {
        id: token.id,
        logprob: base85::logprob_of(base85::steps_of(token.logprob)),
    }
}

fn position_drift(ours: &Position, theirs: &Position, known: &[TokenLogprob]) -> PositionDrift {
    let own = rounded(&theirs.token).logprob;
    let likeliest = theirs.top.iter().fold(theirs.token, |best, token| {
        if token.logprob > best.logprob {
            *token
        } else {
            best
        }
    });
    PositionDrift {
        kld_nat: divergence(ours, known),
        delta_nat: (ours.token.logprob - own).abs(),
        // Unrounded, so that a lead smaller than a step still counts as one; bounded, so that it stays a number.
        margin_nat: (likeliest.logprob - theirs.token.logprob).min(likeliest.logprob - base85::LEAST_LOGPROB),
        likeliest: likeliest.id,
    }
}

/// KLD over what both sides list and one bucket; see the module.
fn divergence(ours: &Position, known: &[TokenLogprob]) -> f64 {
    let (mut sum, mut listed, mut listed_theirs) = (0.0, 0.0, 0.0);
    let unlisted = (!ours.top.iter().any(|token| token.id == ours.token.id)).then_some(&ours.token);
    for (rank, token) in ours.top.iter().chain(unlisted).enumerate() {
        // Equal stacks list in equal order: look there first.
        let same = known.get(rank).filter(|other| other.id == token.id);
        if let Some(other) = same.or_else(|| known.iter().find(|other| other.id == token.id)) {
            let p = token.logprob.exp();
            sum += p * (token.logprob - other.logprob);
            listed += p;
            listed_theirs += other.logprob.exp();
        }
    }
    let (rest, rest_theirs) = (
        (1.0 - listed).max(LEAST_BUCKET),
        (1.0 - listed_theirs).max(LEAST_BUCKET),
    );
    // Rounded probabilities need not sum to one, so the sum may fall below zero by less than a step.
    (sum + rest * (rest / rest_theirs).ln()).max(0.0)
}

impl GoldenDrift {
    /// Positions at which the candidate's likeliest token is the golden's.
    pub fn agreeing(&self) -> usize {
        self.positions
            .iter()
            .filter(|position| position.margin_nat == 0.0)
            .count()
    }

    /// Mean of a figure over the positions.
    pub fn mean(&self, figure: impl Fn(&PositionDrift) -> f64) -> f64 {
        self.positions.iter().map(figure).sum::<f64>() / self.positions.len() as f64
    }

    /// Greatest of a figure over the positions.
    pub fn greatest(&self, figure: impl Fn(&PositionDrift) -> f64) -> f64 {
        self.positions.iter().map(figure).fold(0.0, f64::max)
    }
}
