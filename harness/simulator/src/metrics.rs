//! What the engine counts: the figures behind `/metrics`, independent of any release's names for them.
//!
//! Times are simulated seconds, as the played server would have measured them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A histogram with fixed upper bounds.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Upper bounds, rising; a bucket above them all is implied.
    pub bounds: &'static [f64],
    /// Observations in each bucket, not cumulated.
    pub counts: Vec<u64>,
    /// Sum of all observations.
    pub sum: f64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Adds an observation.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }

    /// All observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

const FIRST_TOKEN_S: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_S: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const REQUEST_S: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
const STEP_TOKENS: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
const REQUEST_TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0,
    50_000.0, 100_000.0, 200_000.0,
];
const SEQUENCES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

/// Everything counted.
#[derive(Debug)]
pub struct Counters {
    /// Sequences in the batch.
    pub running: u64,
    /// Sequences in the queue.
    pub waiting: u64,
    /// Share of blocks held, 0 to 1.
    pub kv_usage: f64,
    /// Sequences thrown out of the batch for want of blocks.
    pub preemptions: u64,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Tokens looked up in the prefix cache.
    pub cache_queries: u64,
    /// Tokens found there.
    pub cache_hits: u64,
    /// Sequences that ended by a stop.
    pub stopped: u64,
    /// Sequences that ended by their length.
    pub lengthy: u64,
    /// Sequences whose client went away.
    pub aborted: u64,
    /// Tokens of a step.
    pub step_tokens: Histogram,
    /// Arrival to first token.
    pub first_token_s: Histogram,
    /// Token to token.
    pub inter_token_s: Histogram,
    /// Mean time of a request's tokens after the first.
    pub request_token_s: Histogram,
    /// Arrival to last token.
    pub latency_s: Histogram,
    /// Arrival to first schedule.
    pub queue_s: Histogram,
    /// First schedule to last token.
    pub inference_s: Histogram,
    /// First schedule to first token.
    pub prefill_s: Histogram,
    /// First to last token.
    pub decode_s: Histogram,
    /// Prompt tokens of a request.
    pub request_prompt: Histogram,
    /// Generated tokens of a sequence.
    pub request_generation: Histogram,
    /// Most tokens a request's sequences generated.
    pub request_max_generation: Histogram,
    /// `n`.
    pub params_n: Histogram,
    /// `max_tokens`.
    pub params_max_tokens: Histogram,
    /// GiB that a leak has taken since the start.
    pub leaked_gib: f64,
}

/// Counters that engine and API share.
#[derive(Debug)]
pub struct Metrics(Mutex<Counters>);

/// Bounds of a token histogram end with the first 1, 2 or 5 times a power of ten above the longest sequence.
fn token_bounds(max_model_len: u64) -> &'static [f64] {
    let fitting = REQUEST_TOKENS.partition_point(|bound| *bound <= max_model_len as f64);
    &REQUEST_TOKENS[..fitting]
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(max_model_len: u64) -> Self {
        let tokens = token_bounds(max_model_len);
        Self(Mutex::new(Counters {
            running: 0,
            waiting: 0,
            kv_usage: 0.0,
            preemptions: 0,
            prompt_tokens: 0,
            generation_tokens: 0,
            cache_queries: 0,
            cache_hits: 0,
            stopped: 0,
            lengthy: 0,
            aborted: 0,
            step_tokens: Histogram::new(STEP_TOKENS),
            first_token_s: Histogram::new(FIRST_TOKEN_S),
            inter_token_s: Histogram::new(TOKEN_S),
            request_token_s: Histogram::new(TOKEN_S),
            latency_s: Histogram::new(REQUEST_S),
            queue_s: Histogram::new(REQUEST_S),
            inference_s: Histogram::new(REQUEST_S),
            prefill_s: Histogram::new(REQUEST_S),
            decode_s: Histogram::new(REQUEST_S),
            request_prompt: Histogram::new(tokens),
            request_generation: Histogram::new(tokens),
            request_max_generation: Histogram::new(tokens),
            params_n: Histogram::new(SEQUENCES),
            params_max_tokens: Histogram::new(tokens),
            leaked_gib: 0.0,
        }))
    }

    /// The counters, locked.
    pub fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_the_bucket_whose_bound_holds_them() {
        let mut histogram = Histogram::new(SEQUENCES);
        for value in [1.0, 1.5, 2.0, 30.0] {
            histogram.observe(value);
        }
        assert_eq!(histogram.counts, [1, 2, 0, 0, 0, 1]);
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum - 34.5).abs() < 1e-12);
    }

    #[test]
    fn token_bounds_end_below_the_longest_sequence() {
        assert_eq!(token_bounds(2048).last(), Some(&2000.0));
        assert_eq!(token_bounds(8192).last(), Some(&5000.0));
    }
}
