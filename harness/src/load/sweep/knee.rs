//! The knee of throughput against latency: the level of the greatest power, throughput / mean latency (Kleinrock, Power
//! and deterministic rules of thumb for probabilistic problems in computer communications, ICC 1979). Below it more load
//! buys more throughput than it costs in latency, above it the other way round. It needs no threshold, and no unit.
//!
//! Of a decode step that takes w + s·n for n sequences, it lies where both terms are equal, n = w / s.

/// A valid level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Requests in flight, or requests a second.
    pub level: f64,
    /// Output tokens a second.
    pub tokens_per_s: f64,
    /// Mean latency, seconds.
    pub latency_s: f64,
}

impl Point {
    /// Throughput / latency.
    pub fn power(&self) -> f64 {
        self.tokens_per_s / self.latency_s
    }
}

/// The level of the greatest power; `None` where the highest level has it, for power may climb further.
pub fn knee(points: &[Point]) -> Option<f64> {
    let highest = points.iter().max_by(|a, b| a.level.total_cmp(&b.level))?;
    let knee = points.iter().max_by(|a, b| a.power().total_cmp(&b.power()))?;
    (knee.level < highest.level).then_some(knee.level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(weights: f64, each: f64, levels: &[f64]) -> Vec<Point> {
        let point = |&level: &f64| Point {
            level,
            tokens_per_s: level / (weights + each * level),
            latency_s: 100.0 * (weights + each * level),
        };
        levels.iter().map(point).collect()
    }

    #[test]
    fn the_knee_is_where_sequences_cost_as_much_as_weights() {
        let levels = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
        for expected in [2.0, 16.0, 64.0] {
            assert_eq!(knee(&points(expected, 1.0, &levels)), Some(expected));
            assert_eq!(knee(&points(0.015 * expected, 0.015, &levels)), Some(expected));
        }
    }

    #[test]
    fn a_curve_that_only_climbs_has_none() {
        assert_eq!(knee(&points(1000.0, 1.0, &[1.0, 2.0, 4.0])), None);
        assert_eq!(knee(&points(1.0, 1.0, &[1.0])), None);
        assert_eq!(knee(&[]), None);
    }
}
