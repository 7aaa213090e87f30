//! Figures of a phase for people who look at load: every latency with percentiles and how sure they are, throughputs,
//! goodput, peaks and the steady part. All are made from the samples alone, so that a record gives them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::summary::{e2e_s, gaps_s, generation_speed, tpot_s, ttft_s};
use crate::{
    record::RequestSample,
    stats::{self, Cluster, Interval},
};

/// Percentiles that are shown unless others are asked for.
pub const PERCENTILES: [f64; 4] = [50.0, 90.0, 95.0, 99.0];
/// Confidence of intervals.
const LEVEL: f64 = 0.95;
/// Share of the greatest number in flight that counts as full.
const FULL: f64 = 0.95;

/// A distribution of durations, seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many samples.
    pub samples: u64,
    /// Mean.
    pub mean_s: f64,
    /// Standard deviation (of the population, as numpy gives it).
    pub deviation_s: f64,
    /// Least.
    pub min_s: f64,
    /// Greatest.
    pub max_s: f64,
    /// Percentiles, ascending.
    pub percentiles: Vec<Percentile>,
}

/// A percentile, by linear interpolation (numpy's default).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// Which, 0 to 100.
    pub p: f64,
    /// Its value.
    pub value_s: f64,
    /// Whether there are samples enough for it to be more than the greatest of them.
    pub enough: bool,
    /// Lower and upper end of its 95 % interval.
    pub interval_s: Option<[f64; 2]>,
}

/// Limits that a request must keep to be good; `None` sets none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Promises {
    /// Time to first token, seconds.
    pub ttft_s: Option<f64>,
    /// Time per output token after the first, seconds.
    pub tpot_s: Option<f64>,
    /// Latency, seconds.
    pub e2e_s: Option<f64>,
}

/// Requests that kept every promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goodput {
    /// The promises.
    pub promises: Promises,
    /// Requests that kept them.
    pub good: u64,
    /// Their share of all that were sent.
    pub share: f64,
    /// Of them a second.
    pub requests_per_s: f64,
}

/// The part of a phase in which as many requests were in flight as ever.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// From, seconds after the start.
    pub from_s: f64,
    /// To.
    pub to_s: f64,
    /// Requests that ended within.
    pub ended: u64,
    /// Output tokens a second.
    pub output_tokens_per_s: f64,
    /// Those of its first and second half.
    pub halves_tokens_per_s: [f64; 2],
}

/// Failures of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// The first of them, in words.
    pub example: String,
}

/// Figures of a phase. Failed requests are counted and never averaged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadFigures {
    /// Requests that were sent.
    pub sent: u64,
    /// Of those, the ones that were answered.
    pub succeeded: u64,
    /// Of those, the ones that were not, by class.
    pub failures: BTreeMap<String, Failures>,
    /// From the first scheduled instant to the last token, seconds.
    pub wall_s: f64,
    /// Prompt tokens of the successful requests.
    pub prompt_tokens: u64,
    /// Output tokens of them.
    pub output_tokens: u64,
    /// Requests whose answer came without a count of tokens.
    pub uncounted: u64,
    /// Output tokens / wall time.
    pub output_tokens_per_s: f64,
    /// Prompt and output tokens / wall time.
    pub total_tokens_per_s: f64,
    /// Successful requests / wall time.
    pub requests_per_s: f64,
    /// Requests that kept the promises, where some were made.
    pub goodput: Option<Goodput>,
    /// Mean over requests of output tokens / latency.
    pub mean_generation_tokens_per_s: Option<f64>,
    /// Most output tokens in one second.
    pub peak_output_tokens_per_s: f64,
    /// Most requests in flight.
    pub peak_in_flight: u64,
    /// Output tokens for each streamed chunk.
    pub tokens_per_chunk: Option<f64>,
    /// From scheduled to first token.
    pub ttft: Option<Spread>,
    /// Time per output token after the first, one sample a request.
    pub tpot: Option<Spread>,
    /// Gaps between streamed chunks, pooled.
    pub itl: Option<Spread>,
    /// From scheduled to last token.
    pub e2e: Option<Spread>,
    /// From scheduled to sent.
    pub schedule_delay: Option<Spread>,
    /// The part with as many in flight as ever.
    pub steady: Option<Steady>,
}

/// What figures are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Percentiles, 0 to 100, ascending.
    pub percentiles: Vec<f64>,
    /// Promises.
    pub promises: Option<Promises>,
}

impl LoadFigures {
    /// Figures of a phase.
    pub fn of(samples: &[RequestSample], asked: &Asked) -> Self {
        let good: Vec<&RequestSample> = samples.iter().filter(|sample| e2e_s(sample).is_some()).collect();
        let wall_s = wall_s(samples);
        let rate = |n: f64| if wall_s > 0.0 { n / wall_s } else { 0.0 };
        let sum = |of: fn(&RequestSample) -> Option<u32>| -> u64 {
            good.iter().filter_map(|sample| of(sample)).map(u64::from).sum()
        };
        let (prompt_tokens, output_tokens) = (
            sum(|sample| sample.prompt_tokens),
            sum(|sample| sample.output_tokens),
        );
        let chunks: usize = good.iter().map(|sample| sample.chunks_s.len()).sum();
        let spread = |of: fn(&RequestSample) -> Option<f64>| {
            let figures = good.iter().filter_map(|sample| of(sample)).collect();
            Spread::of(figures, &asked.percentiles)
        };
        let speeds: Vec<f64> = good
            .iter()
            .filter_map(|sample| generation_speed(sample))
            .collect();
        let flight = Flight::of(samples);
        Self {
            sent: samples.len() as u64,
            succeeded: good.len() as u64,
            failures: failures(samples),
            wall_s,
            prompt_tokens,
            output_tokens,
            uncounted: good
                .iter()
                .filter(|sample| sample.output_tokens.is_none())
                .count() as u64,
            output_tokens_per_s: rate(output_tokens as f64),
            total_tokens_per_s: rate((prompt_tokens + output_tokens) as f64),
            requests_per_s: rate(good.len() as f64),
            goodput: asked.promises.map(|promises| goodput(samples, promises, wall_s)),
            mean_generation_tokens_per_s: stats::mean(&speeds),
            peak_output_tokens_per_s: peak_tokens(&good),
            peak_in_flight: flight.peak,
            tokens_per_chunk: (chunks > 0 && output_tokens > 0).then(|| output_tokens as f64 / chunks as f64),
            ttft: spread(ttft_s),
            tpot: spread(tpot_s),
            itl: Spread::of_gaps(&good, &asked.percentiles),
            e2e: spread(e2e_s),
            schedule_delay: Spread::of(
                samples
                    .iter()
                    .map(|sample| sample.sent_s - sample.scheduled_s)
                    .collect(),
                &asked.percentiles,
            ),
            steady: flight.steady(&good),
        }
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.sent - self.succeeded
    }
}

impl Spread {
    /// Of independent samples; `None` of none.
    fn of(mut samples: Vec<f64>, percentiles: &[f64]) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        Self::sorted(&samples, percentiles, |p, _| {
            stats::percentile_interval(&samples, p, LEVEL)
        })
    }

    /// Of the gaps of requests: those of one request are alike, so the interval is that of clusters.
    fn of_gaps(requests: &[&RequestSample], percentiles: &[f64]) -> Option<Self> {
        let mut gaps: Vec<f64> = requests.iter().flat_map(|sample| gaps_s(sample)).collect();
        gaps.sort_by(f64::total_cmp);
        Self::sorted(&gaps, percentiles, |p, value| {
            let cluster = |sample: &&RequestSample| -> Cluster {
                let below = gaps_s(sample).filter(|gap| *gap <= value).count();
                (below as f64, sample.chunks_s.len().saturating_sub(1) as f64)
            };
            let clusters: Vec<Cluster> = requests.iter().map(cluster).collect();
            stats::clustered_percentile_interval(&gaps, p, LEVEL, &clusters)
        })
    }

    fn sorted(
        ascending: &[f64],
        percentiles: &[f64],
        interval: impl Fn(f64, f64) -> Option<Interval>,
    ) -> Option<Self> {
        let mean_s = stats::mean(ascending)?;
        let squares: f64 = ascending.iter().map(|sample| (sample - mean_s).powi(2)).sum();
        let samples = ascending.len() as u64;
        let percentile = |&p: &f64| {
            let value_s = stats::percentile(ascending, p)?;
            Some(Percentile {
                p,
                value_s,
                enough: samples >= stats::samples_needed(p),
                interval_s: interval(p, value_s).map(|interval| [interval.low, interval.high]),
            })
        };
        Some(Self {
            samples,
            mean_s,
            deviation_s: (squares / samples as f64).sqrt(),
            min_s: *ascending.first()?,
            max_s: *ascending.last()?,
            percentiles: percentiles.iter().filter_map(percentile).collect(),
        })
    }

    /// The value of a percentile that was asked for.
    pub fn percentile_s(&self, p: f64) -> Option<f64> {
        let found = self.percentiles.iter().find(|percentile| percentile.p == p);
        found.map(|percentile| percentile.value_s)
    }
}

fn wall_s(samples: &[RequestSample]) -> f64 {
    let begin = samples
        .iter()
        .map(|sample| sample.scheduled_s)
        .fold(f64::INFINITY, f64::min);
    let ends = samples
        .iter()
        .filter_map(|sample| Some(sample.sent_s + sample.latency_s?));
    let end = ends.fold(f64::NEG_INFINITY, f64::max);
    if end > begin { end - begin } else { 0.0 }
}

fn failures(samples: &[RequestSample]) -> BTreeMap<String, Failures> {
    let mut failures = BTreeMap::<String, Failures>::new();
    for error in samples.iter().filter_map(|sample| sample.error.as_ref()) {
        let (class, text) = error.split_once(": ").unwrap_or(("unknown", error));
        failures
            .entry(class.to_owned())
            .or_insert_with(|| Failures {
                count: 0,
                example: text.to_owned(),
            })
            .count += 1;
    }
    failures
}

/// A failed request is no good one; one token or none has no time per further token to break a promise with.
fn goodput(samples: &[RequestSample], promises: Promises, wall_s: f64) -> Goodput {
    let keeps = |figure: Option<f64>, promise: Option<f64>| match (figure, promise) {
        (Some(figure), Some(promise)) => figure <= promise,
        _ => true,
    };
    let is_good = |sample: &&RequestSample| {
        e2e_s(sample).is_some()
            && keeps(ttft_s(sample), promises.ttft_s)
            && keeps(tpot_s(sample), promises.tpot_s)
            && keeps(e2e_s(sample), promises.e2e_s)
    };
    let good = samples.iter().filter(is_good).count();
    Goodput {
        promises,
        good: good as u64,
        share: good as f64 / samples.len().max(1) as f64,
        requests_per_s: if wall_s > 0.0 { good as f64 / wall_s } else { 0.0 },
    }
}

/// Tokens of each chunk: chunks of one answer share its tokens evenly, for the stream does not tell.
fn tokens_at<'a>(samples: &'a [&RequestSample]) -> impl Iterator<Item = (f64, f64)> + 'a {
    samples.iter().flat_map(|sample| {
        let chunks = sample.chunks_s.len().max(1) as f64;
        let each = f64::from(sample.output_tokens.unwrap_or_default()) / chunks;
        sample
            .chunks_s
            .iter()
            .map(move |chunk| (sample.sent_s + chunk, each))
    })
}

/// Most tokens in one second of the clock, counted from the first send.
fn peak_tokens(samples: &[&RequestSample]) -> f64 {
    let mut seconds = BTreeMap::<u64, f64>::new();
    for (at_s, tokens) in tokens_at(samples) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since the start"
        )]
        let second = at_s.max(0.0) as u64;
        *seconds.entry(second).or_default() += tokens;
    }
    seconds.into_values().fold(0.0, f64::max)
}

/// How many requests are in flight, over time.
struct Flight {
    peak: u64,
    /// When the number was first and last as good as the peak.
    full_s: Option<[f64; 2]>,
}

impl Flight {
    fn of(samples: &[RequestSample]) -> Self {
        let mut changes: Vec<(f64, i64)> = Vec::with_capacity(2 * samples.len());
        for sample in samples {
            let last = sample.latency_s.or(sample.chunks_s.last().copied());
            changes.push((sample.sent_s, 1));
            changes.push((sample.sent_s + last.unwrap_or_default(), -1));
        }
        // At one moment, what ends makes room before what begins.
        changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut flying = 0;
        let numbers: Vec<(f64, i64)> = changes
            .into_iter()
            .map(|(at, change)| {
                flying += change;
                (at, flying)
            })
            .collect();
        let peak = numbers
            .iter()
            .map(|(_, number)| *number)
            .max()
            .unwrap_or_default();
        let full = |(_, number): &&(f64, i64)| *number as f64 >= FULL * peak as f64;
        let first = numbers.iter().find(full).map(|(at, _)| *at);
        // The last full number holds until the change after it.
        let last = numbers
            .iter()
            .rposition(|number| full(&number))
            .and_then(|at| numbers.get(at + 1));
        Self {
            peak: u64::try_from(peak).unwrap_or_default(),
            full_s: first.zip(last.map(|(at, _)| *at)).map(<[f64; 2]>::from),
        }
    }

    fn steady(&self, samples: &[&RequestSample]) -> Option<Steady> {
        let [from_s, to_s] = self.full_s.filter(|[from, to]| to > from)?;
        let middle = f64::midpoint(from_s, to_s);
        let mut halves = [0.0; 2];
        for (at_s, tokens) in tokens_at(samples) {
            if (from_s..to_s).contains(&at_s) {
                halves[usize::from(at_s >= middle)] += tokens;
            }
        }
        let ended = samples
            .iter()
            .filter(|sample| {
                let end = sample.latency_s.map(|latency| sample.sent_s + latency);
                end.is_some_and(|end| (from_s..=to_s).contains(&end))
            })
            .count();
        let half_s = (to_s - from_s) / 2.0;
        Some(Steady {
            from_s,
            to_s,
            ended: ended as u64,
            output_tokens_per_s: (halves[0] + halves[1]) / (to_s - from_s),
            halves_tokens_per_s: halves.map(|tokens| tokens / half_s),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request of evenly spaced tokens, the first after `ttft_s`.
    pub fn sample(index: u32, scheduled_s: f64, ttft_s: f64, gap_s: f64, tokens: u32) -> RequestSample {
        let chunks_s: Vec<f64> = (0..tokens)
            .map(|token| ttft_s + gap_s * f64::from(token))
            .collect();
        RequestSample {
            session: "s".into(),
            trial: "t".into(),
            index,
            scheduled_s,
            sent_s: scheduled_s,
            latency_s: chunks_s.last().copied(),
            chunks_s,
            prompt_tokens: Some(10),
            output_tokens: Some(tokens),
            asked_tokens: tokens,
            asked_prompt_tokens: Some(10),
            error: None,
        }
    }

    pub fn failed(index: u32, error: &str) -> RequestSample {
        RequestSample {
            latency_s: None,
            output_tokens: None,
            prompt_tokens: None,
            error: Some(error.into()),
            ..sample(index, 0.0, 0.1, 0.1, 0)
        }
    }

    pub fn asked() -> Asked {
        Asked {
            percentiles: PERCENTILES.to_vec(),
            promises: None,
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn figures_of_two_streams_one_after_another() {
        let samples = [sample(0, 0.0, 0.5, 0.1, 11), sample(1, 1.5, 0.3, 0.1, 11)];
        let figures = LoadFigures::of(&samples, &asked());
        assert!(close(figures.wall_s, 2.8), "{}", figures.wall_s);
        assert_eq!((figures.prompt_tokens, figures.output_tokens), (20, 22));
        assert!(close(figures.output_tokens_per_s, 22.0 / 2.8));
        assert!(close(figures.total_tokens_per_s, 42.0 / 2.8));
        assert!(close(figures.requests_per_s, 2.0 / 2.8));
        let ttft = figures.ttft.unwrap();
        assert!(close(ttft.mean_s, 0.4) && close(ttft.deviation_s, 0.1));
        assert!(close(figures.tpot.unwrap().mean_s, 0.1));
        assert_eq!(figures.itl.unwrap().samples, 20);
        assert!(close(
            figures.mean_generation_tokens_per_s.unwrap(),
            f64::midpoint(11.0 / 1.5, 11.0 / 1.3)
        ));
        assert_eq!((figures.peak_in_flight, figures.tokens_per_chunk), (1, Some(1.0)));
    }

    #[test]
    fn failures_are_counted_by_class() {
        let samples = [
            sample(0, 0.0, 0.5, 0.1, 3),
            failed(1, "http: the server answered 429"),
            failed(2, "http: the server answered 500"),
            failed(3, "cut: after 3 events"),
        ];
        let figures = LoadFigures::of(&samples, &asked());
        assert_eq!((figures.sent, figures.succeeded, figures.failed()), (4, 1, 3));
        assert_eq!(figures.failures["http"].count, 2);
        assert_eq!(figures.failures["http"].example, "the server answered 429");
        assert_eq!(figures.ttft.unwrap().samples, 1);
    }

    #[test]
    fn few_samples_have_no_high_percentiles() {
        let samples: Vec<_> = (0..30)
            .map(|n| sample(n, 0.0, 0.1 + f64::from(n), 0.1, 3))
            .collect();
        let ttft = LoadFigures::of(&samples, &asked()).ttft.unwrap();
        let enough: Vec<bool> = ttft
            .percentiles
            .iter()
            .map(|percentile| percentile.enough)
            .collect();
        assert_eq!(enough, [true, true, true, false]);
        let median = &ttft.percentiles[0];
        let [low, high] = median.interval_s.unwrap();
        assert!(low < median.value_s && median.value_s < high, "{median:?}");
    }

    #[test]
    fn good_requests_keep_every_promise() {
        let samples = [
            sample(0, 0.0, 0.1, 0.1, 11),
            sample(1, 0.0, 0.3, 0.1, 11),
            sample(2, 0.0, 0.1, 0.3, 11),
            sample(3, 0.0, 0.1, 0.1, 1),
            failed(4, "cut: x"),
        ];
        let promises = Promises {
            ttft_s: Some(0.2),
            tpot_s: Some(0.2),
            e2e_s: None,
        };
        let asked = Asked {
            promises: Some(promises),
            ..asked()
        };
        let goodput = LoadFigures::of(&samples, &asked).goodput.unwrap();
        assert_eq!((goodput.good, goodput.share), (2, 0.4));
        assert!(close(goodput.requests_per_s, 2.0 / 3.1));
    }

    #[test]
    fn the_steady_part_leaves_out_both_ends() {
        // Two workers, four requests each of 1 s; one begins half a second late and ends half a second later.
        let samples: Vec<_> = (0..8)
            .map(|n| sample(n, f64::from(n / 2) + 0.5 * f64::from(n % 2), 0.1, 0.1, 10))
            .collect();
        let figures = LoadFigures::of(&samples, &asked());
        let steady = figures.steady.unwrap();
        assert_eq!(figures.peak_in_flight, 2);
        assert!(close(steady.from_s, 0.5) && close(steady.to_s, 4.0), "{steady:?}");
        assert!((steady.output_tokens_per_s - 20.0).abs() < 0.5, "{steady:?}");
        let [first, second] = steady.halves_tokens_per_s;
        assert!((first / second - 1.0).abs() < 0.05, "{steady:?}");
    }

    #[test]
    fn nothing_has_no_figures() {
        let figures = LoadFigures::of(&[], &asked());
        assert_eq!(
            (figures.sent, figures.wall_s, figures.peak_in_flight),
            (0, 0.0, 0)
        );
        assert_eq!((figures.ttft, figures.steady), (None, None));
    }
}
