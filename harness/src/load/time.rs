//! The clocks of this host. All times of a run are nanoseconds of the monotonic clock; the kernel stamps what it
//! receives on the real-time clock, and [`Timebase`] turns the one into the other.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long an offset between the clocks is trusted, nanoseconds.
const TRUST_NS: u64 = 10_000_000;
/// Two looks at the monotonic clock with one at the other between them: further apart, and the thread was not running.
const APART_NS: u64 = 5_000;
/// A jump of the real-time clock beyond this was set by somebody; slewing stays far below.
const STEP_NS: i64 = 500_000;

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds that this thread has computed.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: ClockId) -> u64 {
    // None of these clocks can fail or be before its epoch on Linux.
    let now = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// How far the real-time clock is ahead of the monotonic one.
#[derive(Debug, Clone)]
pub struct Timebase {
    ahead_ns: i64,
    looked_ns: u64,
    steps: u32,
}

impl Timebase {
    /// Looks at both clocks.
    pub fn new() -> Self {
        let (ahead_ns, looked_ns) = loop {
            if let Some(found) = look() {
                break found;
            }
        };
        Self {
            ahead_ns,
            looked_ns,
            steps: 0,
        }
    }

    /// Looks again where the last look is old; a look that was interrupted is left for the next time.
    pub fn refresh(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.looked_ns) < TRUST_NS {
            return;
        }
        if let Some((ahead_ns, looked_ns)) = look() {
            self.steps += u32::from((ahead_ns - self.ahead_ns).abs() > STEP_NS);
            (self.ahead_ns, self.looked_ns) = (ahead_ns, looked_ns);
        }
    }

    /// The moment of the monotonic clock at which the real-time clock showed `real_ns`.
    pub fn monotonic(&self, real_ns: u64) -> u64 {
        real_ns.saturating_add_signed(-self.ahead_ns)
    }

    /// How often somebody set the real-time clock while this was looking.
    pub const fn steps(&self) -> u32 {
        self.steps
    }
}

/// The offset and the moment of the look; `None` where the thread was interrupted in between.
fn look() -> Option<(i64, u64)> {
    let before = monotonic_ns();
    let real = clock_ns(ClockId::CLOCK_REALTIME);
    let after = monotonic_ns();
    let middle = before.midpoint(after);
    let ahead = i64::try_from(real).ok()?.checked_sub_unsigned(middle)?;
    (after - before <= APART_NS).then_some((ahead, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_are_turned_into_each_other() {
        let mut base = Timebase::new();
        let before = monotonic_ns();
        let stamp = clock_ns(ClockId::CLOCK_REALTIME);
        let after = monotonic_ns();
        let found = base.monotonic(stamp);
        assert!(
            found + APART_NS >= before && found <= after + APART_NS,
            "{before} {found} {after}"
        );
        base.refresh(after + 2 * TRUST_NS);
        assert_eq!(base.steps(), 0);
        base.ahead_ns += 2 * STEP_NS;
        base.looked_ns = 0;
        while base.looked_ns == 0 {
            base.refresh(monotonic_ns());
        }
        assert_eq!(base.steps(), 1, "somebody set the clock");
    }
}
