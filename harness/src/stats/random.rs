//! Seeded random numbers: the same on every machine, so that an interval or a benchmark can be computed again.

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of many sequences of a seed, each unlike the others.
    pub fn stream(seed: u64, number: u64) -> Self {
        Self::new(Self::new(seed ^ number.wrapping_mul(0xD134_2543_DE82_EF95)).next_u64())
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An index below `choices`; 0 where there is none. Multiply-shift: the bias is below `choices` / 2⁶⁴.
    pub fn below(&mut self, choices: usize) -> usize {
        let index = (u128::from(self.next_u64()) * choices as u128) >> 64;
        usize::try_from(index).unwrap_or_default()
    }

    /// A number in [0, 1), in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller, 1958).
    pub fn gaussian(&mut self) -> f64 {
        // 1 − u is never 0, so that its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn draws_are_even_and_gaussian() {
        let mut random = Random::new(7);
        let mut seen = [0_u32; 5];
        (0..50_000).for_each(|_| seen[random.below(5)] += 1);
        // Five standard deviations of a binomial of 50,000 draws at 1/5 are 447.
        assert!(seen.iter().all(|&count| count.abs_diff(10_000) < 447), "{seen:?}");
        assert_eq!(random.below(0), 0);
        let draws: Vec<f64> = (0..50_000).map(|_| random.gaussian()).collect();
        let mean = draws.iter().sum::<f64>() / 50_000.0;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / 50_000.0;
        assert!(
            mean.abs() < 0.022 && (variance - 1.0).abs() < 0.032,
            "{mean} {variance}"
        );
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Random::stream(1, 0).next_u64(), Random::stream(1, 1).next_u64());
    }
}
