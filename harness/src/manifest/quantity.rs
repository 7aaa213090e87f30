//! Figures with their unit, as manifests write them (`13.8 GiB`, `60 tokens/s`, `900 s`).
//!
//! A quantity keeps the unit it was written with; comparisons go through its base unit, so that `500 ms` and
//! `0.5 s` are the same limit. A unit that does not fit the measured figure is refused when the manifest is read.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What a figure counts. Two units compare only within one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Bytes of memory; base unit GiB.
    Memory,
    /// Elapsed time; base unit s.
    Time,
    /// Tokens for each second.
    TokenRate,
    /// Requests for each second.
    RequestRate,
    /// KV-cache blocks.
    Blocks,
    /// Tokens.
    Tokens,
    /// A multiple, such as vLLM's maximum concurrency.
    Multiple,
    /// A share of a whole.
    Share,
    /// A difference of log-probabilities, or a divergence.
    Divergence,
}

/// A unit that manifests, records and reports use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// 2^30 bytes.
    GiB,
    /// 2^20 bytes.
    MiB,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Minutes.
    Minutes,
    /// Tokens for each second.
    TokensPerSecond,
    /// Requests for each second.
    RequestsPerSecond,
    /// KV-cache blocks.
    Blocks,
    /// Tokens.
    Tokens,
    /// A multiple (`36.51x`).
    Times,
    /// Hundredths of a whole.
    Percent,
    /// Natural units of information: differences of natural logarithms.
    Nat,
}

impl Unit {
    /// Every unit, in the order in which messages list them.
    pub const ALL: [Self; 12] = [
        Self::GiB,
        Self::MiB,
        Self::Seconds,
        Self::Milliseconds,
        Self::Minutes,
        Self::TokensPerSecond,
        Self::RequestsPerSecond,
        Self::Blocks,
        Self::Tokens,
        Self::Times,
        Self::Percent,
        Self::Nat,
    ];

    /// The unit as it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::GiB => "GiB",
            Self::MiB => "MiB",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Minutes => "min",
            Self::TokensPerSecond => "tokens/s",
            Self::RequestsPerSecond => "requests/s",
            Self::Blocks => "blocks",
            Self::Tokens => "tokens",
            Self::Times => "x",
            Self::Percent => "%",
            Self::Nat => "nat",
        }
    }

    /// What the unit counts.
    pub const fn dimension(self) -> Dimension {
        match self {
            Self::GiB | Self::MiB => Dimension::Memory,
            Self::Seconds | Self::Milliseconds | Self::Minutes => Dimension::Time,
            Self::TokensPerSecond => Dimension::TokenRate,
            Self::RequestsPerSecond => Dimension::RequestRate,
            Self::Blocks => Dimension::Blocks,
            Self::Tokens => Dimension::Tokens,
            Self::Times => Dimension::Multiple,
            Self::Percent => Dimension::Share,
            Self::Nat => Dimension::Divergence,
        }
    }

    /// How many base units of the dimension one of this unit is.
    const fn in_base(self) -> f64 {
        match self {
            Self::MiB => 1.0 / 1024.0,
            Self::Milliseconds => 1e-3,
            Self::Minutes => 60.0,
            _ => 1.0,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.symbol())
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::ALL
            .into_iter()
            .find(|unit| unit.symbol() == text)
            .ok_or_else(|| D::Error::custom(format!("unknown unit `{text}`")))
    }
}

/// A finite figure ≥ 0 with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    value: f64,
    unit: Unit,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No number in front.
    #[error("`{0}` is not a figure with a unit: write for example `13.5 GiB`, `60 tokens/s` or `900 s`")]
    NoNumber(String),
    /// A number, but no unit or one that is not known.
    #[error(
        "`{text}` has {found}: known units are GiB, MiB, s, ms, min, tokens/s, requests/s, blocks, tokens, x, %, nat"
    )]
    Unit {
        /// The whole text.
        text: String,
        /// What stands where the unit should.
        found: String,
    },
}

impl Quantity {
    /// The pattern that the JSON schema gives to editors; [`FromStr`] accepts the same texts.
    pub const PATTERN: &'static str =
        r"^\d+(\.\d+)? ?(GiB|MiB|s|ms|min|tokens/s|requests/s|blocks|tokens|x|%|nat)$";

    /// A figure in `unit`.
    pub const fn new(value: f64, unit: Unit) -> Self {
        Self { value, unit }
    }

    /// The figure in the base unit of its dimension (GiB, s, tokens/s, …).
    pub fn in_base_unit(self) -> f64 {
        self.value * self.unit.in_base()
    }

    /// The unit as written.
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// The figure in the unit as written.
    pub const fn value(self) -> f64 {
        self.value
    }

    /// The quantity as a duration, where it is a time.
    pub fn duration(self) -> Option<Duration> {
        (self.unit.dimension() == Dimension::Time)
            .then(|| Duration::try_from_secs_f64(self.in_base_unit()).ok())
            .flatten()
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let symbol = rest.strip_prefix(' ').unwrap_or(rest);
        let value: f64 = number
            .parse()
            .map_err(|_| QuantityError::NoNumber(text.to_owned()))?;
        let plain = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
        if !value.is_finite() || !plain {
            return Err(QuantityError::NoNumber(text.to_owned()));
        }
        let unit = Unit::ALL
            .into_iter()
            .find(|unit| unit.symbol() == symbol)
            .ok_or_else(|| {
                let found = if symbol.is_empty() {
                    "no unit".to_owned()
                } else {
                    format!("the unknown unit `{symbol}`")
                };
                QuantityError::Unit {
                    text: text.to_owned(),
                    found,
                }
            })?;
        Ok(Self { value, unit })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Times => write!(f, "{}x", self.value),
            unit => write!(f, "{} {unit}", self.value),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A figure with its unit, such as `13.5 GiB`, `60 tokens/s` or `900 s`.",
            "pattern": Self::PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compares_by_base_unit() {
        let half: Quantity = "500 ms".parse().unwrap();
        assert_eq!(half.in_base_unit(), 0.5);
        assert_eq!(half.duration(), Some(Duration::from_millis(500)));
        assert_eq!("512 MiB".parse::<Quantity>().unwrap().in_base_unit(), 0.5);
        assert_eq!("36.51x".parse::<Quantity>().unwrap().unit(), Unit::Times);
    }

    #[test]
    fn refuses_what_has_no_meaning() {
        for text in [
            "", "GiB", "12", "12 GB", "-3 s", "1e400 s", ".5 s", "5. s", "5  s", "NaN s",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(value in 0.0f64..1e12, unit in prop::sample::select(Unit::ALL.to_vec())) {
            let quantity = Quantity::new(value, unit);
            prop_assert_eq!(quantity.to_string().parse::<Quantity>().unwrap(), quantity);
        }

        #[test]
        fn accepts_exactly_the_schema_pattern(text in r"[0-9]{0,3}\.?[0-9]{0,2} ?(GiB|s|x|%|kB|tokens/s)?") {
            let pattern = regex::Regex::new(Quantity::PATTERN).unwrap();
            prop_assert_eq!(pattern.is_match(&text), text.parse::<Quantity>().is_ok());
        }
    }
}
