//! The clock that figures are stated on.

use std::time::{Duration, Instant};

/// Converts real time to the server's: a simulator may live `speedup` times faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    speedup: f64,
}

impl Clock {
    /// Real time.
    pub const REAL: Self = Self { speedup: 1.0 };

    /// `speedup` simulated seconds pass in one real second. Anything but a finite figure above 0 is real time.
    pub fn new(speedup: f64) -> Self {
        if speedup.is_finite() && speedup > 0.0 {
            Self { speedup }
        } else {
            Self::REAL
        }
    }

    /// Simulated seconds for each real one.
    pub const fn speedup(self) -> f64 {
        self.speedup
    }

    /// Seconds on the server's clock from `start` to `end`; 0 where `end` is earlier.
    pub fn seconds(self, start: Instant, end: Instant) -> f64 {
        self.from_real(end.saturating_duration_since(start))
    }

    /// Real nanoseconds in seconds of the server's clock.
    pub fn from_ns(self, real_ns: u64) -> f64 {
        self.from_real(Duration::from_nanos(real_ns))
    }

    /// A real duration in seconds of the server's clock.
    pub fn from_real(self, real: Duration) -> f64 {
        real.as_secs_f64() * self.speedup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_clock_lengthens() {
        let start = Instant::now();
        let end = start + Duration::from_millis(500);
        assert_eq!(Clock::REAL.seconds(start, end), 0.5);
        assert_eq!(Clock::new(10.0).seconds(start, end), 5.0);
        assert_eq!(Clock::new(f64::NAN).seconds(start, end), 0.5);
        assert_eq!(Clock::REAL.seconds(end, start), 0.0);
    }
}
