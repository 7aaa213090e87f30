//! The distribution over the next token.
//!
//! A few candidates with hashed margins, and a tail over all other tokens: the token at place r of a hashed
//! permutation of the vocabulary has a weight that falls with a power of r. So every token has an exact
//! probability and an exact rank at constant cost, and margins look like a real model's: most places are
//! certain, some are near ties.

use super::{Context, Language, mix, unit};
use crate::tokenizer::Token;

/// Candidates of a place.
const CANDIDATES: usize = 24;
/// The tail falls as ((r + KNEE) / KNEE)^-POWER.
const TAIL_KNEE: f64 = 20.0;
const TAIL_POWER: f64 = 1.3;
/// Distance of the tail's first token from the last candidate, nat.
const TAIL_GAP: f64 = 0.2;

/// Gaussian noise on the candidates' logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Standard deviation, nat.
    pub size: f64,
    /// Seed.
    pub seed: u64,
}

/// A token with its log-probability (nat) and its rank (1 is the most likely).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The token.
    pub token: Token,
    /// Natural logarithm of its probability, in float32 as servers report it.
    pub logprob: f32,
    /// 1 plus the number of tokens that are more likely.
    pub rank: u32,
}

/// Probabilities of the whole vocabulary at one place.
#[derive(Debug)]
pub struct Distribution {
    /// Most likely first.
    candidates: Vec<(Token, f64)>,
    log_total: f64,
    tail_head: f64,
    order: Permutation,
}

/// A permutation of the vocabulary: r = (a·token + b) mod size.
#[derive(Debug, Clone, Copy)]
struct Permutation {
    factor: u64,
    inverse: u64,
    shift: u64,
    size: u64,
}

impl Permutation {
    fn new(word: u64, size: u64) -> Self {
        let mut factor = mix(word, 1) % size;
        let inverse = loop {
            match inverse_modulo(factor, size) {
                Some(inverse) => break inverse,
                None => factor = (factor + 1) % size,
            }
        };
        Self {
            factor,
            inverse,
            shift: mix(word, 2) % size,
            size,
        }
    }

    fn place(&self, token: Token) -> u64 {
        (self.factor * u64::from(token) + self.shift) % self.size
    }

    fn token(&self, place: u64) -> Token {
        let token = (place + self.size - self.shift) % self.size * self.inverse % self.size;
        u32::try_from(token).unwrap_or(0)
    }
}

/// The inverse of `value` modulo `size`, if they share no divisor (extended Euclid).
fn inverse_modulo(value: u64, size: u64) -> Option<u64> {
    let (mut old, mut rest) = (i128::from(value), i128::from(size));
    let (mut old_factor, mut factor) = (1_i128, 0_i128);
    while rest != 0 {
        let quotient = old / rest;
        (old, rest) = (rest, old - quotient * rest);
        (old_factor, factor) = (factor, old_factor - quotient * factor);
    }
    (old == 1).then(|| u64::try_from(old_factor.rem_euclid(i128::from(size))).unwrap_or(1))
}

fn tail_weight(place: u64) -> f64 {
    ((place as f64 + TAIL_KNEE) / TAIL_KNEE).powf(-TAIL_POWER)
}

/// Sum of all tail weights of a vocabulary.
pub(super) fn tail_total(vocab_size: u32) -> f64 {
    (0..u64::from(vocab_size)).map(tail_weight).sum()
}

/// A standard normal number from a hash (Box and Muller).
pub(crate) fn gaussian(word: u64) -> f64 {
    let radius = (-2.0 * (1.0 - unit(mix(word, 1))).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(mix(word, 2))).cos()
}

/// Distance of the second candidate from the first, nat.
fn margin(word: u64, planned: bool) -> f64 {
    let (certain, clear) = if planned { (0.9, 0.975) } else { (0.62, 0.93) };
    let (choice, within) = (unit(mix(word, 11)), unit(mix(word, 12)));
    if choice < certain {
        2.5 + 6.0 * within
    } else if choice < clear {
        0.3 + 2.2 * within
    } else {
        0.002 + 0.298 * within
    }
}

impl Language {
    /// The distribution at a context; `planned` is the next token of a known answer.
    pub fn distribution(
        &self,
        context: &Context,
        planned: Option<Token>,
        noise: Option<Noise>,
    ) -> Distribution {
        let mut candidates: Vec<(Token, f64)> = vec![(self.greedy(context, planned), 0.0)];
        let mut logit = -margin(context.hash, planned.is_some());
        for draw in 1_u64.. {
            let token = self.fitting(context, draw);
            // Words run out in a very small vocabulary: any token will do then.
            let spare = u32::try_from(draw % u64::from(self.tokenizer.vocab_size())).unwrap_or(0);
            let token = if draw > 400 { spare } else { token };
            if candidates.iter().any(|(known, _)| *known == token) {
                continue;
            }
            candidates.push((token, logit));
            if candidates.len() == CANDIDATES {
                break;
            }
            logit -= 0.1 + 0.6 * unit(mix(context.hash, 100 + draw));
        }
        let tail_head = logit - TAIL_GAP;
        if let Some(noise) = noise {
            let disturb = |token: Token| {
                noise.size * gaussian(mix(mix(context.hash, noise.seed ^ 0x0153), u64::from(token)))
            };
            for (token, logit) in &mut candidates {
                *logit += disturb(*token);
            }
            candidates.sort_by(|left, right| right.1.total_cmp(&left.1));
        }
        let order = Permutation::new(context.hash, u64::from(self.tokenizer.vocab_size()));
        let taken: f64 = candidates
            .iter()
            .map(|(token, _)| tail_weight(order.place(*token)))
            .sum();
        let head: f64 = candidates.iter().map(|(_, logit)| logit.exp()).sum();
        let log_total = (head + tail_head.exp() * (self.tail_total - taken)).ln();
        Distribution {
            candidates,
            log_total,
            tail_head,
            order,
        }
    }
}

impl Distribution {
    fn tail_logit(&self, place: u64) -> f64 {
        self.tail_head + tail_weight(place).ln()
    }

    #[expect(clippy::cast_possible_truncation, reason = "servers report float32")]
    fn scored(&self, token: Token, logit: f64) -> Scored {
        let above = self
            .candidates
            .iter()
            .filter(|(other, other_logit)| *other != token && *other_logit > logit);
        let is_candidate = self.candidates.iter().any(|(other, _)| *other == token);
        let before = if is_candidate {
            self.tail_above(logit)
        } else {
            self.tail_before(token)
        };
        let rank = 1 + above.count() as u64 + before;
        Scored {
            token,
            logprob: (logit - self.log_total) as f32,
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
        }
    }

    /// Tail tokens that precede a tail token.
    fn tail_before(&self, token: Token) -> u64 {
        let place = self.order.place(token);
        let candidates = self
            .candidates
            .iter()
            .filter(|(other, _)| self.order.place(*other) < place);
        place - candidates.count() as u64
    }

    /// Tail tokens that noise has left above a candidate.
    fn tail_above(&self, logit: f64) -> u64 {
        if logit > self.tail_head {
            return 0;
        }
        (0..self.order.size)
            .take_while(|place| self.tail_logit(*place) > logit)
            .filter(|place| !self.is_candidate(self.order.token(*place)))
            .count() as u64
    }

    fn is_candidate(&self, token: Token) -> bool {
        self.candidates.iter().any(|(other, _)| *other == token)
    }

    /// One token's figures.
    pub fn score(&self, token: Token) -> Scored {
        let known = self.candidates.iter().find(|(other, _)| *other == token);
        let logit = known.map_or_else(|| self.tail_logit(self.order.place(token)), |(_, logit)| *logit);
        self.scored(token, logit)
    }

    /// The `count` most likely tokens, most likely first.
    pub fn top(&self, count: usize) -> Vec<Scored> {
        let mut tail = (0..self.order.size)
            .map(|place| (self.order.token(place), self.tail_logit(place)))
            .filter(|(token, _)| !self.is_candidate(*token))
            .peekable();
        let mut candidates = self.candidates.iter().copied().peekable();
        let mut top = Vec::with_capacity(count);
        while top.len() < count {
            let from_tail = match (candidates.peek(), tail.peek()) {
                (Some(candidate), Some(other)) => other.1 > candidate.1,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => break,
            };
            let next = if from_tail { tail.next() } else { candidates.next() };
            if let Some((token, logit)) = next {
                let rank = u32::try_from(top.len() + 1).unwrap_or(u32::MAX);
                top.push(Scored {
                    rank,
                    ..self.scored_fast(token, logit)
                });
            }
        }
        top
    }

    #[expect(clippy::cast_possible_truncation, reason = "servers report float32")]
    fn scored_fast(&self, token: Token, logit: f64) -> Scored {
        Scored {
            token,
            logprob: (logit - self.log_total) as f32,
            rank: 0,
        }
    }

    /// The most likely token that is not forbidden.
    pub fn best(&self, forbidden: &[Token]) -> Option<Token> {
        let mut allowed = self
            .candidates
            .iter()
            .filter(|(token, _)| !forbidden.contains(token));
        allowed.next().map(|(token, _)| *token)
    }

    /// A sampled token: the candidates under temperature, top-k, top-p and min-p, chosen by `draw` in [0, 1).
    pub fn sample(&self, sampler: &Sampler, forbidden: &[Token], draw: f64) -> Option<Token> {
        let allowed = self
            .candidates
            .iter()
            .filter(|(token, _)| !forbidden.contains(token));
        let mut weights: Vec<(Token, f64)> = allowed
            .map(|(token, logit)| (*token, (logit / sampler.temperature).exp()))
            .collect();
        if sampler.top_k > 0 {
            weights.truncate(sampler.top_k);
        }
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let floor = weights.first()?.1 * sampler.min_p;
        let mut mass = 0.0;
        weights.retain(|(_, weight)| {
            let keep = mass < sampler.top_p * total && *weight >= floor;
            mass += weight;
            keep
        });
        let mut left = draw * weights.iter().map(|(_, weight)| weight).sum::<f64>();
        let chosen = weights.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        chosen.or(weights.first()).map(|(token, _)| *token)
    }
}

/// How tokens are sampled; a temperature of 0 never comes here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Divides logits, above 0.
    pub temperature: f64,
    /// Smallest set of this probability.
    pub top_p: f64,
    /// At most so many tokens; 0 for all.
    pub top_k: usize,
    /// Least share of the most likely token's probability.
    pub min_p: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::tests::model;
    use crate::tokenizer::Tokenizer;
    use proptest::prelude::*;
    use std::sync::{Arc, LazyLock};

    static SMALL: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| Arc::new(Tokenizer::new(2_000)));

    const NOISE: Noise = Noise { size: 0.2, seed: 3 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn probabilities_sum_to_one_and_ranks_are_a_permutation(
            prompt in "[a-z ]{0,20}", noisy in any::<bool>()
        ) {
            let model = Language::new(Arc::clone(&SMALL), 5);
            let context = model.read(&model.tokenizer().encode(&prompt));
            let distribution = model.distribution(&context, None, noisy.then_some(NOISE));
            let scores: Vec<_> = (0..2_000).map(|token| distribution.score(token)).collect();
            let sum: f64 = scores.iter().map(|scored| f64::from(scored.logprob).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
            let mut by_rank = scores.clone();
            by_rank.sort_by_key(|scored| scored.rank);
            prop_assert!(by_rank.iter().enumerate().all(|(at, scored)| scored.rank as usize == at + 1));
            prop_assert!(by_rank.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
            prop_assert_eq!(&distribution.top(40)[..], &by_rank[..40]);
        }

        #[test]
        fn the_greedy_token_has_rank_one(prompt in "\\PC{0,20}") {
            let model = model();
            let context = model.read(&model.tokenizer().encode(&prompt));
            let greedy = model.greedy(&context, None);
            prop_assert_eq!(model.distribution(&context, None, None).score(greedy).rank, 1);
        }
    }

    #[test]
    fn margins_look_like_a_real_models() {
        let model = model();
        let mut context = model.start();
        let (mut certain, mut ties) = (0, 0);
        for _ in 0..1_000 {
            let top = model.distribution(&context, None, None).top(2);
            let margin = top[0].logprob - top[1].logprob;
            certain += u32::from(margin > 2.0);
            ties += u32::from(margin < 0.1);
            model.push(&mut context, top[0].token);
        }
        assert!(certain > 500 && (10..80).contains(&ties), "{certain} {ties}");
    }

    #[test]
    fn noise_flips_near_ties_only() {
        let model = model();
        let mut context = model.start();
        let mut flips = 0;
        for _ in 0..1_000 {
            let quiet = model.distribution(&context, None, None).top(2);
            let noisy = model
                .distribution(&context, None, Some(Noise { size: 0.02, seed: 9 }))
                .top(1);
            if noisy[0].token != quiet[0].token {
                flips += 1;
                assert!(quiet[0].logprob - quiet[1].logprob < 0.2);
            }
            model.push(&mut context, quiet[0].token);
        }
        assert!((1..50).contains(&flips), "{flips}");
    }

    #[test]
    fn sampling_narrows_with_its_parameters() {
        let model = model();
        let distribution = model.distribution(&model.start(), None, None);
        let top = distribution.top(24);
        let sampler = Sampler {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
        };
        let sample = |sampler: &Sampler, draw| distribution.sample(sampler, &[], draw).unwrap();
        assert_eq!(sample(&sampler, 0.0), top[0].token);
        assert_eq!(sample(&sampler, 0.999_999_999), top[23].token);
        assert_eq!(sample(&Sampler { top_k: 1, ..sampler }, 0.99), top[0].token);
        assert_eq!(
            sample(
                &Sampler {
                    top_p: 0.01,
                    ..sampler
                },
                0.99
            ),
            top[0].token
        );
        assert_ne!(
            distribution.sample(&sampler, &[top[0].token], 0.0),
            Some(top[0].token)
        );
    }
}
