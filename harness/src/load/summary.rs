//! From the samples of a phase to its figures. Failed requests are counted and never averaged in.

use crate::{
    record::{Distribution, LatencyFigures, RequestSample, ThroughputFigures},
    stats,
};

/// What the successful samples of a phase have in common.
struct Pooled {
    succeeded: u32,
    failed: u32,
    output_tokens: u64,
    e2e: Option<Distribution>,
    ttft: Option<Distribution>,
    tpot: Option<Distribution>,
    itl: Option<Distribution>,
    mean_generation: Option<f64>,
}

/// Time to first token, counted from the scheduled instant: waiting in the client counts.
pub fn ttft_s(sample: &RequestSample) -> Option<f64> {
    let first = sample.chunks_s.first()?;
    Some(first + sample.sent_s - sample.scheduled_s)
}

/// Latency to the last token, likewise; `None` of a request that failed.
pub(super) fn e2e_s(sample: &RequestSample) -> Option<f64> {
    let latency = sample.latency_s.filter(|_| sample.error.is_none())?;
    Some(latency + sample.sent_s - sample.scheduled_s)
}

/// Time per output token after the first, of an answer with more than one.
pub(super) fn tpot_s(sample: &RequestSample) -> Option<f64> {
    let tokens = sample.output_tokens.filter(|tokens| *tokens > 1)?;
    Some((e2e_s(sample)? - ttft_s(sample)?) / f64::from(tokens - 1))
}

/// Output tokens / latency.
pub(super) fn generation_speed(sample: &RequestSample) -> Option<f64> {
    let latency = e2e_s(sample).filter(|latency| *latency > 0.0)?;
    Some(f64::from(sample.output_tokens?) / latency)
}

/// Gaps between streamed chunks.
pub fn gaps_s(sample: &RequestSample) -> impl Iterator<Item = f64> {
    sample.chunks_s.windows(2).map(|pair| pair[1] - pair[0])
}

fn pool(samples: &[RequestSample]) -> Pooled {
    let succeeded: Vec<&RequestSample> = samples.iter().filter(|sample| e2e_s(sample).is_some()).collect();
    let figures = |of: fn(&RequestSample) -> Option<f64>| -> Vec<f64> {
        succeeded.iter().filter_map(|sample| of(sample)).collect()
    };
    let gaps = succeeded.iter().flat_map(|sample| gaps_s(sample)).collect();
    Pooled {
        succeeded: count(succeeded.len()),
        failed: count(samples.len() - succeeded.len()),
        output_tokens: succeeded
            .iter()
            .map(|sample| u64::from(sample.output_tokens.unwrap_or_default()))
            .sum(),
        e2e: stats::describe(figures(e2e_s)),
        ttft: stats::describe(figures(ttft_s)),
        tpot: stats::describe(figures(tpot_s)),
        itl: stats::describe(gaps),
        mean_generation: stats::mean(&figures(generation_speed)),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Figures of requests one after another.
pub fn latency(samples: &[RequestSample]) -> LatencyFigures {
    let pooled = pool(samples);
    LatencyFigures {
        succeeded: pooled.succeeded,
        failed: pooled.failed,
        e2e: pooled.e2e,
        ttft: pooled.ttft,
        tpot: pooled.tpot,
        itl: pooled.itl,
        mean_generation_tokens_per_s: pooled.mean_generation,
        output_tokens: pooled.output_tokens,
    }
}

/// Figures of a phase at `concurrency`. Its wall time runs from the first send to the last token of a request that
/// succeeded.
pub fn throughput(concurrency: u32, samples: &[RequestSample]) -> ThroughputFigures {
    let pooled = pool(samples);
    let begin = samples
        .iter()
        .map(|sample| sample.scheduled_s)
        .fold(f64::INFINITY, f64::min);
    let end = samples
        .iter()
        .filter_map(|sample| Some(sample.sent_s + sample.latency_s?))
        .fold(0.0, f64::max);
    let wall_s = if begin.is_finite() {
        (end - begin).max(0.0)
    } else {
        0.0
    };
    let rate = |n: f64| if wall_s > 0.0 { n / wall_s } else { 0.0 };
    ThroughputFigures {
        concurrency,
        requests: count(samples.len()),
        succeeded: pooled.succeeded,
        failed: pooled.failed,
        wall_s,
        output_tokens: pooled.output_tokens,
        output_tokens_per_s: rate(pooled.output_tokens as f64),
        mean_individual_tokens_per_s: pooled.mean_generation,
        requests_per_s: rate(f64::from(pooled.succeeded)),
        ttft: pooled.ttft,
        tpot: pooled.tpot,
        itl: pooled.itl,
        e2e: pooled.e2e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(scheduled_s: f64, latency_s: Option<f64>, tokens: u32) -> RequestSample {
        let chunks_s = latency_s.map_or(Vec::new(), |latency| {
            (1..=tokens)
                .map(|k| latency * f64::from(k) / f64::from(tokens))
                .collect()
        });
        RequestSample {
            session: "m@s".into(),
            trial: "m::latency::single_stream".into(),
            index: 0,
            scheduled_s,
            sent_s: scheduled_s,
            chunks_s,
            latency_s,
            prompt_tokens: Some(64),
            output_tokens: latency_s.map(|_| tokens),
            asked_tokens: tokens,
            asked_prompt_tokens: None,
            error: latency_s.is_none().then(|| "refused".into()),
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn failures_are_counted_and_left_out() {
        let figures = latency(&[
            sample(0.0, Some(2.0), 100),
            sample(2.0, None, 100),
            sample(2.0, Some(4.0), 100),
        ]);
        assert_eq!(
            (figures.succeeded, figures.failed, figures.output_tokens),
            (2, 1, 200)
        );
        assert!(close(figures.e2e.unwrap().mean_s, 3.0));
        assert!(close(figures.mean_generation_tokens_per_s.unwrap(), 37.5));
        assert!(close(figures.tpot.unwrap().mean_s, 0.03));
        assert_eq!(figures.itl.unwrap().samples, 198);
    }

    #[test]
    fn waiting_in_the_client_counts() {
        let mut late = sample(0.0, Some(1.0), 10);
        late.sent_s = 0.5;
        let figures = latency(&[late]);
        assert!(close(figures.e2e.unwrap().mean_s, 1.5));
        assert!(close(figures.ttft.unwrap().mean_s, 0.6));
    }

    #[test]
    fn the_seeds_concurrency_table() {
        // 184, 256, 184, 256 tokens by two workers in 7.664 s: 880 tokens, 114.82 tokens/s, 0.52 requests/s.
        let figures = throughput(
            2,
            &[
                sample(0.0, Some(2.76), 184),
                sample(0.0, Some(3.84), 256),
                sample(2.76, Some(2.76), 184),
                sample(3.84, Some(3.824), 256),
            ],
        );
        assert_eq!(
            (figures.requests, figures.succeeded, figures.output_tokens),
            (4, 4, 880)
        );
        assert!(close(figures.wall_s, 7.664));
        assert!((figures.output_tokens_per_s - 114.82).abs() < 0.01);
        assert!((figures.requests_per_s - 0.52).abs() < 0.005);
    }

    #[test]
    fn nothing_that_succeeded_has_no_figures() {
        let figures = throughput(1, &[sample(0.0, None, 5)]);
        assert_eq!((figures.succeeded, figures.failed), (0, 1));
        assert_eq!(figures.output_tokens_per_s, 0.0);
        assert_eq!(figures.mean_individual_tokens_per_s, None);
        assert_eq!(throughput(1, &[]).wall_s, 0.0);
    }
}
