//! Whether a worker sleeps for a moment between two looks at its sockets.
//!
//! At real speeds a load client's cost is its wakings: one for each token. The kernel stamps what it receives, so a
//! worker that expects several tokens in the next moment sleeps through it and then reads them all. It never sleeps
//! past a request that is due, and not at all where little is going on.

use std::time::Duration;

/// So many reads must be expected in a lull for it to pay for its own system call.
const WORTH_READS: f64 = 3.0;
/// Weight of the newest look in the mean rate.
const NEWEST: f64 = 0.2;

/// The rate of reads, and the length of a lull.
#[derive(Debug)]
pub struct Lull {
    length: Duration,
    reads_per_ns: f64,
    looked_ns: u64,
}

impl Lull {
    /// Lulls of that length; zero for none.
    pub const fn new(length: Duration) -> Self {
        Self {
            length,
            reads_per_ns: 0.0,
            looked_ns: 0,
        }
    }

    /// A look found so many sockets ready.
    pub fn looked(&mut self, now_ns: u64, reads: u32) {
        if self.looked_ns > 0 && now_ns > self.looked_ns {
            let rate = f64::from(reads) / (now_ns - self.looked_ns) as f64;
            self.reads_per_ns += NEWEST * (rate - self.reads_per_ns);
        }
        self.looked_ns = now_ns;
    }

    /// How long to sleep before the next look. `due_ns`: when the next request is to be sent.
    pub fn before_next_look(&self, now_ns: u64, due_ns: Option<u64>) -> Option<Duration> {
        let length_ns = self.length.as_nanos() as f64;
        if self.reads_per_ns * length_ns < WORTH_READS {
            return None;
        }
        let left = due_ns.map_or(self.length, |due| {
            Duration::from_nanos(due.saturating_sub(now_ns))
        });
        // A sleep ends late by some 60 µs; a request must not.
        (left >= self.length + self.length / 4 || due_ns.is_none()).then_some(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_micros(500);

    fn after(looks: u64, reads: u32, every_ns: u64) -> Lull {
        let mut lull = Lull::new(LENGTH);
        (1..=looks).for_each(|look| lull.looked(look * every_ns, reads));
        lull
    }

    #[test]
    fn a_busy_worker_sleeps_and_a_quiet_one_does_not() {
        assert_eq!(after(100, 2, 150_000).before_next_look(0, None), Some(LENGTH));
        assert_eq!(after(100, 1, 15_000_000).before_next_look(0, None), None);
        assert_eq!(Lull::new(Duration::ZERO).before_next_look(0, None), None);
    }

    #[test]
    fn no_request_is_slept_past() {
        let lull = after(100, 2, 150_000);
        assert_eq!(
            lull.before_next_look(1_000, Some(1_000 + 2_000_000)),
            Some(LENGTH)
        );
        assert_eq!(lull.before_next_look(1_000, Some(1_000 + 550_000)), None);
        assert_eq!(lull.before_next_look(1_000, Some(500)), None);
    }
}
