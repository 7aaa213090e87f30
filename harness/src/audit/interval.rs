//! Intervals: what a figure can be that was printed with so many digits.

use std::ops::{Add, Div, Mul};

/// Share by which floating-point arithmetic may be off in a sum or product of a few figures.
const NOISE: f64 = 1e-9;

/// All values from `least` to `most`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Least value.
    pub least: f64,
    /// Greatest value.
    pub most: f64,
}

impl Interval {
    /// One value.
    pub const fn exact(value: f64) -> Self {
        Self {
            least: value,
            most: value,
        }
    }

    /// `value` and as much as `half` either way.
    pub fn around(value: f64, half: f64) -> Self {
        Self {
            least: value - half,
            most: value + half,
        }
    }

    /// The middle.
    pub fn middle(self) -> f64 {
        f64::midpoint(self.least, self.most)
    }

    /// Wider by a share either way.
    #[must_use]
    pub fn allowing(self, share: f64) -> Self {
        Self {
            least: self.least - self.least.abs() * share,
            most: self.most + self.most.abs() * share,
        }
    }

    /// Whether a value may be the same in both.
    pub fn meets(self, other: Self) -> bool {
        let noise = NOISE * (self.most.abs() + other.most.abs());
        self.least <= other.most + noise && other.least <= self.most + noise
    }

    /// Whether all of it lies above all of `other`.
    pub fn is_above(self, other: Self) -> bool {
        !self.meets(other) && self.least > other.most
    }
}

impl Add for Interval {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            least: self.least + other.least,
            most: self.most + other.most,
        }
    }
}

/// Of figures that are not negative.
impl Mul for Interval {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self {
            least: self.least * other.least,
            most: self.most * other.most,
        }
    }
}

/// Of figures that are not negative, by one that is positive.
impl Div for Interval {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        Self {
            least: self.least / other.most,
            most: self.most / other.least,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rounding_meets_and_errors_do_not() {
        let tokens = Interval::exact(880.0);
        let wall = Interval::around(7.664, 0.0005);
        assert!((tokens / wall).meets(Interval::around(114.82, 0.005)));
        let wall = Interval::around(7.23, 0.005);
        assert!(!(Interval::exact(920.0) / wall).meets(Interval::around(127.10, 0.005)));
    }

    proptest! {
        #[test]
        fn what_was_rounded_always_meets(a in 0.1f64..1e6, b in 0.1f64..1e6, places in 0usize..4) {
            let half = 0.5 * 10f64.powi(-i32::try_from(places).unwrap());
            let printed = |value: f64| format!("{value:.places$}").parse::<f64>().unwrap();
            let interval = |value: f64| Interval::around(printed(value), half);
            prop_assume!(printed(a) > half && printed(b) > half);
            prop_assert!((interval(a) * interval(b)).meets(interval(a * b)));
            prop_assert!((interval(a) / interval(b)).meets(interval(a / b)));
            prop_assert!((interval(a) + interval(b)).meets(interval(a + b)));
        }
    }
}
