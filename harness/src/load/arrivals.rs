//! When the chunks of one answer came, kept small: the first moment whole, then the gaps in seven-bit groups, so that a
//! gap below 2 ms takes three bytes and one below 268 ms four.

/// Moments in ascending order, nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    first_ns: u64,
    last_ns: u64,
    count: u32,
    gaps: Vec<u8>,
}

impl Arrivals {
    /// Room for so many moments.
    pub fn with_capacity(moments: usize) -> Self {
        Self {
            gaps: Vec::with_capacity(moments.min(1 << 14) * 4),
            ..Self::default()
        }
    }

    /// Adds a moment; one before the last (somebody set the clock) counts as the last.
    pub fn push(&mut self, at_ns: u64) {
        if self.count == 0 {
            (self.first_ns, self.last_ns) = (at_ns, at_ns);
        } else {
            let mut gap = at_ns.saturating_sub(self.last_ns);
            self.last_ns += gap;
            while gap >= 0x80 {
                self.gaps.push(low_bits(gap) | 0x80);
                gap >>= 7;
            }
            self.gaps.push(low_bits(gap));
        }
        self.count = self.count.saturating_add(1);
    }

    /// How many came.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The first moment.
    pub fn first_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.first_ns)
    }

    /// The last moment.
    pub fn last_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.last_ns)
    }

    /// Gaps between neighbours, nanoseconds.
    pub fn gaps_ns(&self) -> impl Iterator<Item = u64> + '_ {
        let mut bytes = self.gaps.iter();
        std::iter::from_fn(move || {
            let (mut gap, mut shift) = (0, 0);
            loop {
                let byte = *bytes.next()?;
                gap |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    return Some(gap);
                }
                shift += 7;
            }
        })
    }

    /// Every moment.
    pub fn iter_ns(&self) -> impl Iterator<Item = u64> + '_ {
        let mut at = self.first_ns;
        let later = self.gaps_ns().map(move |gap| {
            at += gap;
            at
        });
        self.first_ns().into_iter().chain(later)
    }

    /// Gives room back that no moment will take.
    pub fn shrink(&mut self) {
        self.gaps.shrink_to_fit();
    }
}

fn low_bits(gap: u64) -> u8 {
    u8::try_from(gap & 0x7f).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_before_the_last_counts_as_the_last() {
        let mut arrivals = Arrivals::default();
        for at in [10, 7, 12] {
            arrivals.push(at);
        }
        assert_eq!(arrivals.iter_ns().collect::<Vec<_>>(), [10, 10, 12]);
        assert_eq!((arrivals.first_ns(), arrivals.last_ns()), (Some(10), Some(12)));
        assert_eq!(Arrivals::default().last_ns(), None);
    }

    #[test]
    fn gaps_are_kept_small() {
        let mut arrivals = Arrivals::default();
        (0..1001_u64).for_each(|index| arrivals.push(index * 20_000_000));
        assert_eq!(arrivals.gaps.len(), 4000);
    }

    proptest! {
        #[test]
        fn what_was_pushed_comes_back(mut moments in prop::collection::vec(any::<u64>(), 0..40)) {
            moments.sort_unstable();
            let mut arrivals = Arrivals::with_capacity(4);
            for &at in &moments {
                arrivals.push(at);
            }
            prop_assert_eq!(arrivals.count() as usize, moments.len());
            prop_assert_eq!(arrivals.iter_ns().collect::<Vec<_>>(), moments);
        }
    }
}
