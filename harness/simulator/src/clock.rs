//! Simulated time: it passes a given factor faster than real time, for boots and for steps alike.
//!
//! Deadlines are absolute. Whoever waits asks for "the moment at which simulated time is t", never for "so
//! much longer", so that late timers do not add up.

use std::time::{Duration, Instant};

/// Maps simulated seconds since the start of the process to real instants.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    factor: f64,
}

impl Clock {
    /// A clock that starts now and runs `factor` times as fast as real time.
    pub fn start(factor: f64) -> Self {
        Self {
            start: Instant::now(),
            factor,
        }
    }

    /// Simulated seconds a real second.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Simulated seconds since the start.
    pub fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * self.factor
    }

    /// The real instant at which `simulated_s` is reached. Times too far to name are a day away.
    pub fn instant(&self, simulated_s: f64) -> Instant {
        let day = Duration::from_hours(24);
        let real = Duration::try_from_secs_f64(simulated_s.max(0.0) / self.factor);
        let offset = real.unwrap_or(day).min(self.start.elapsed() + day);
        self.start + offset
    }

    /// Real nanoseconds since the start, monotonic.
    pub fn real_ns(&self) -> u128 {
        self.start.elapsed().as_nanos()
    }

    /// Waits until `simulated_s`.
    pub async fn sleep_until(&self, simulated_s: f64) {
        tokio::time::sleep_until(self.instant(simulated_s).into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_absolute_and_scaled() {
        let clock = Clock::start(10.0);
        let ten_seconds = clock.instant(10.0) - clock.instant(0.0);
        assert!((ten_seconds.as_secs_f64() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let clock = Clock::start(1e-9);
        assert!(clock.instant(f64::MAX) > Instant::now());
        assert!(clock.instant(f64::NAN) <= Instant::now());
    }
}
