//! All that is known of one request, kept small, and its form in a record.

use super::{Arrivals, Clock, Failure};
use crate::{record::RequestSample, vllm::Usage};

/// One request. Moments are nanoseconds of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Number of the request.
    pub index: u64,
    /// When the schedule wanted it sent.
    pub scheduled_ns: u64,
    /// How long it waited for a connection of its own to be set up, which is no part of any figure.
    pub connect_ns: u64,
    /// When it was sent; of one that never was, when that was clear.
    pub sent_ns: u64,
    /// How long after that the socket took no more of it.
    pub blocked_ns: u64,
    /// When each chunk that carries tokens arrived.
    pub arrivals: Arrivals,
    /// Whether the kernel stamped every read of it; else some times are those at which the client woke.
    pub stamped: bool,
    /// Prompt tokens that were asked, where known.
    pub asked_prompt: Option<u32>,
    /// Output tokens that were asked for.
    pub asked_output: u32,
    /// Tokens as the server counted them.
    pub usage: Option<Usage>,
    /// Token ids that came, where the server was asked for them and tells them.
    pub ids: Option<u32>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl Trace {
    /// Its form in a record: seconds of the server's clock since `start_ns`. Set-up of a connection shifts the schedule,
    /// so that it is in no figure.
    pub fn sample(&self, session: &str, trial: &str, start_ns: u64, clock: Clock) -> RequestSample {
        let since = |from: u64, at: u64| microseconds(clock.from_ns(at.saturating_sub(from)));
        let chunks_s: Vec<f64> = self
            .arrivals
            .iter_ns()
            .map(|at| since(self.sent_ns, at))
            .collect();
        RequestSample {
            session: session.to_owned(),
            trial: trial.to_owned(),
            index: u32::try_from(self.index).unwrap_or(u32::MAX),
            scheduled_s: since(start_ns, self.scheduled_ns + self.connect_ns),
            sent_s: since(start_ns, self.sent_ns),
            latency_s: if self.failure.is_none() {
                chunks_s.last().copied()
            } else {
                None
            },
            chunks_s,
            prompt_tokens: self.usage.map(|usage| usage.prompt_tokens),
            output_tokens: self.usage.map(|usage| usage.completion_tokens),
            asked_tokens: self.asked_output,
            asked_prompt_tokens: self.asked_prompt,
            error: self.failure.as_ref().map(ToString::to_string),
        }
    }
}

/// To a millionth of a second: finer is noise, and longer to write.
fn microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FailureClass;

    fn trace() -> Trace {
        let mut arrivals = Arrivals::default();
        for at in [1_250_000_000, 1_270_000_400] {
            arrivals.push(at);
        }
        Trace {
            index: 3,
            scheduled_ns: 1_100_000_000,
            connect_ns: 50_000_000,
            sent_ns: 1_200_000_000,
            blocked_ns: 0,
            arrivals,
            stamped: true,
            asked_prompt: Some(4),
            asked_output: 2,
            usage: Some(Usage {
                prompt_tokens: 4,
                completion_tokens: 2,
            }),
            ids: None,
            failure: None,
        }
    }

    #[test]
    fn a_sample_counts_from_the_start_on_the_servers_clock() {
        let sample = trace().sample("s", "t", 1_000_000_000, Clock::new(10.0));
        assert_eq!((sample.scheduled_s, sample.sent_s), (1.5, 2.0));
        assert_eq!(sample.chunks_s, [0.5, 0.700_004]);
        assert_eq!(sample.latency_s, Some(0.700_004));
        assert_eq!((sample.output_tokens, sample.error), (Some(2), None));
    }

    #[test]
    fn a_failed_request_has_no_latency() {
        let failed = Trace {
            failure: Some(Failure::new(FailureClass::Cut, "after 2 events")),
            ..trace()
        };
        let sample = failed.sample("s", "t", 0, Clock::REAL);
        assert_eq!(sample.latency_s, None);
        assert_eq!(sample.error.as_deref(), Some("cut: after 2 events"));
        assert_eq!(sample.chunks_s.len(), 2);
    }
}
