//! Lengths in tokens: fixed, drawn from a distribution, or from a list.

use std::{fmt, str::FromStr};

use crate::stats::Random;

/// Longest length that is asked for; more is a typing error.
const LONGEST: u32 = 10_000_000;

/// A distribution of lengths.
#[derive(Debug, Clone, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed(u32),
    /// Each from `low` to `high` as likely as any other.
    Uniform {
        /// Least.
        low: u32,
        /// Greatest.
        high: u32,
    },
    /// Normal, rounded, at least 1.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        deviation: f64,
    },
    /// One after another, again from the first after the last.
    Listed(Vec<u32>),
}

/// A text that is no distribution of lengths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no length: write a number (`128`), `uniform:64..256`, `normal:MEAN,DEVIATION`, or numbers with commas between"
)]
pub struct LengthsError(String);

impl Lengths {
    /// The length of a request, at least 1. Of a list, its number decides; of a distribution, the random numbers.
    pub fn draw(&self, index: u64, random: &mut Random) -> u32 {
        let length = match self {
            Self::Fixed(length) => *length,
            Self::Uniform { low, high } => {
                let width = high.saturating_sub(*low) as usize + 1;
                low.saturating_add(u32::try_from(random.below(width)).unwrap_or_default())
            }
            Self::Normal { mean, deviation } => rounded(mean + deviation * random.gaussian()),
            Self::Listed(lengths) => {
                let at = index.checked_rem(lengths.len() as u64).unwrap_or_default();
                usize::try_from(at)
                    .ok()
                    .and_then(|at| lengths.get(at))
                    .copied()
                    .unwrap_or_default()
            }
        };
        length.max(1)
    }

    /// The greatest length that can reasonably come.
    pub fn greatest(&self) -> u32 {
        match self {
            Self::Fixed(length) => *length,
            Self::Uniform { high, .. } => *high,
            Self::Normal { mean, deviation } => rounded(mean + 4.0 * deviation),
            Self::Listed(lengths) => lengths.iter().copied().max().unwrap_or_default(),
        }
        .max(1)
    }

    /// The mean length.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(length) => f64::from(*length),
            Self::Uniform { low, high } => f64::midpoint(f64::from(*low), f64::from(*high)),
            Self::Normal { mean, .. } => *mean,
            Self::Listed(lengths) => {
                lengths.iter().copied().map(f64::from).sum::<f64>() / lengths.len().max(1) as f64
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what the type holds"
)]
fn rounded(length: f64) -> u32 {
    length.round().clamp(0.0, f64::from(LONGEST)) as u32
}

impl FromStr for Lengths {
    type Err = LengthsError;

    fn from_str(text: &str) -> Result<Self, LengthsError> {
        let wrong = || LengthsError(text.to_owned());
        let whole = |word: &str| {
            let number = word.trim().parse::<u32>().ok();
            number
                .filter(|number| (1..=LONGEST).contains(number))
                .ok_or_else(wrong)
        };
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        match kind {
            "" if rest.contains(',') => Ok(Self::Listed(
                rest.split(',').map(whole).collect::<Result<_, _>>()?,
            )),
            "" => Ok(Self::Fixed(whole(rest)?)),
            "uniform" => {
                let (low, high) = rest.split_once("..").ok_or_else(wrong)?;
                let (low, high) = (whole(low)?, whole(high)?);
                (low <= high)
                    .then_some(Self::Uniform { low, high })
                    .ok_or_else(wrong)
            }
            "normal" => {
                let (mean, deviation) = rest.split_once(',').ok_or_else(wrong)?;
                let number = |word: &str| {
                    let number = word.trim().parse::<f64>().ok();
                    number.filter(|number| (0.0..=f64::from(LONGEST)).contains(number))
                };
                let (mean, deviation) = number(mean).zip(number(deviation)).ok_or_else(wrong)?;
                (mean >= 1.0)
                    .then_some(Self::Normal { mean, deviation })
                    .ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Uniform { low, high } => write!(f, "uniform:{low}..{high}"),
            Self::Normal { mean, deviation } => write!(f, "normal:{mean},{deviation}"),
            Self::Listed(lengths) => {
                let words: Vec<String> = lengths.iter().map(u32::to_string).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, count: u64) -> Vec<u32> {
        let lengths: Lengths = text.parse().unwrap();
        (0..count)
            .map(|index| lengths.draw(index, &mut Random::stream(7, index)))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for text in ["128", "uniform:64..256", "normal:100,20.5", "160,221,246"] {
            assert_eq!(text.parse::<Lengths>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "0",
            "x",
            "uniform:9..3",
            "uniform:5",
            "normal:1",
            "normal:0,1",
            "normal:-5,1",
            "gamma:3",
            "1,,2",
        ];
        for text in wrong {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_goes_round() {
        assert_eq!(drawn("5,6,7", 5), [5, 6, 7, 5, 6]);
        assert_eq!(drawn("9", 2), [9, 9]);
    }

    /// Bounds are five standard errors of the mean, √(σ²/n): 255²/12 and 20² over 20,000.
    #[test]
    fn distributions_have_their_mean_and_bounds() {
        let uniform = drawn("uniform:1..256", 20_000);
        assert_eq!(
            (uniform.iter().min(), uniform.iter().max()),
            (Some(&1), Some(&256))
        );
        let mean = |drawn: &[u32]| drawn.iter().copied().map(f64::from).sum::<f64>() / drawn.len() as f64;
        assert!((mean(&uniform) - 128.5).abs() < 2.61, "{}", mean(&uniform));
        let normal = drawn("normal:100,20", 20_000);
        assert!((mean(&normal) - 100.0).abs() < 0.71, "{}", mean(&normal));
        let variance = normal
            .iter()
            .map(|n| (f64::from(*n) - 100.0).powi(2))
            .sum::<f64>()
            / 20_000.0;
        // Of a normal variance σ²·√(2/n) is one standard error; rounding adds 1/12.
        assert!((variance - 400.083).abs() < 20.0, "{variance}");
        assert!(drawn("normal:1,50", 1000).iter().all(|&length| length >= 1));
    }
}
