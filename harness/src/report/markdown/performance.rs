//! The lines of the performance tables: which figures, in which order, and the budget that each is held against.

use self::Statistic::{Greatest, Least, Mean, P50, P95, P99};
use super::tables::{beside_limit, number_of};
use crate::{
    manifest::{LatencyMetric as L, ThroughputMetric as T, Unit},
    record::{Check, Distribution, LatencyFigures, ThroughputFigures},
    report::figure,
};

/// A line of a table.
pub struct Line<'a> {
    /// The figure's name.
    pub name: &'static str,
    /// Name of its budget in manifests, where it can have one.
    pub metric: Option<&'static str>,
    value: Value<'a>,
}

enum Value<'a> {
    Count(u64),
    Figure(Option<f64>, Unit),
    Statistic(Option<&'a Distribution>, Statistic),
}

#[derive(Clone, Copy)]
enum Statistic {
    Mean,
    Least,
    Greatest,
    P50,
    P95,
    P99,
}

/// Requests one after another.
pub fn latency(figures: &LatencyFigures) -> Vec<Line<'_>> {
    let LatencyFigures {
        e2e, ttft, tpot, itl, ..
    } = figures;
    let [e2e, ttft, tpot, itl] = [e2e, ttft, tpot, itl].map(Option::as_ref);
    vec![
        time("Latency, mean", Some(L::Mean.name()), e2e, Mean),
        time("Latency, least", Some(L::Min.name()), e2e, Least),
        time("Latency, greatest", Some(L::Max.name()), e2e, Greatest),
        time("Latency, p50", Some(L::P50.name()), e2e, P50),
        time("Latency, p95", Some(L::P95.name()), e2e, P95),
        Line {
            name: "Generation speed, mean",
            metric: Some(L::MeanGeneration.name()),
            value: Value::Figure(figures.mean_generation_tokens_per_s, Unit::TokensPerSecond),
        },
        time("Time to first token, mean", None, ttft, Mean),
        time("Time to first token, p50", Some(L::TtftP50.name()), ttft, P50),
        time("Time to first token, p95", None, ttft, P95),
        time(
            "Time to first token, greatest",
            Some(L::TtftMax.name()),
            ttft,
            Greatest,
        ),
        time(
            "Time per output token, mean",
            Some(L::TpotMean.name()),
            tpot,
            Mean,
        ),
        time("Time per output token, p50", None, tpot, P50),
        time("Inter-token latency, mean", None, itl, Mean),
        time("Inter-token latency, p50", None, itl, P50),
        time("Inter-token latency, p99", Some(L::ItlP99.name()), itl, P99),
        count("Requests that succeeded", figures.succeeded.into()),
        count("Requests that failed", figures.failed.into()),
        count("Output tokens", figures.output_tokens),
    ]
}

/// Requests at once; the same lines for every concurrency.
pub fn throughput(figures: &ThroughputFigures) -> Vec<Line<'_>> {
    let ThroughputFigures {
        e2e, ttft, tpot, itl, ..
    } = figures;
    let [e2e, ttft, tpot, itl] = [e2e, ttft, tpot, itl].map(Option::as_ref);
    let figure = |name, metric: T, value| Line {
        name,
        metric: Some(metric.name()),
        value: Value::Figure(value, metric.unit()),
    };
    vec![
        count("Requests", figures.requests.into()),
        count("Requests that succeeded", figures.succeeded.into()),
        count("Requests that failed", figures.failed.into()),
        figure("Wall time", T::Wall, Some(figures.wall_s)),
        count("Output tokens", figures.output_tokens),
        figure("Overall throughput", T::Output, Some(figures.output_tokens_per_s)),
        figure(
            "Speed of one request, mean",
            T::MeanIndividual,
            figures.mean_individual_tokens_per_s,
        ),
        figure("Request rate", T::Requests, Some(figures.requests_per_s)),
        time("Latency, mean", None, e2e, Mean),
        time("Latency, greatest", None, e2e, Greatest),
        time("Time to first token, p50", Some(T::TtftP50.name()), ttft, P50),
        time("Time to first token, p95", None, ttft, P95),
        time(
            "Time per output token, mean",
            Some(T::TpotMean.name()),
            tpot,
            Mean,
        ),
        time("Inter-token latency, p99", None, itl, P99),
    ]
}

fn time<'a>(
    name: &'static str,
    metric: Option<&'static str>,
    distribution: Option<&'a Distribution>,
    statistic: Statistic,
) -> Line<'a> {
    Line {
        name,
        metric,
        value: Value::Statistic(distribution, statistic),
    }
}

fn count(name: &'static str, count: u64) -> Line<'static> {
    Line {
        name,
        metric: None,
        value: Value::Count(count),
    }
}

impl Line<'_> {
    /// The figure as a cell. A percentile of too few samples gets a note; `wherein` tells the note's place.
    pub fn shown(&self, check: Option<&Check>, wherein: &str, notes: &mut Vec<String>) -> String {
        let missing = || "not measured".to_owned();
        match self.value {
            Value::Count(count) => figure::count(count),
            Value::Figure(value, unit) => value.map_or_else(missing, |value| {
                beside_limit(check).unwrap_or_else(|| figure::with_unit(value, unit))
            }),
            Value::Statistic(None, _) => missing(),
            Value::Statistic(Some(distribution), statistic) => {
                let plain = figure::time(statistic.of(distribution));
                let shown = beside_limit(check).unwrap_or_else(|| plain.clone());
                match statistic.caution(distribution, &plain) {
                    Some(caution) => {
                        let family = self.name.split_once(',').map_or(self.name, |(family, _)| family);
                        let note = format!("{family}{wherein}: {caution}");
                        format!("{shown} ({})", number_of(note, notes))
                    }
                    None => shown,
                }
            }
        }
    }
}

impl Statistic {
    const fn of(self, distribution: &Distribution) -> f64 {
        match self {
            Self::Mean => distribution.mean_s,
            Self::Least => distribution.min_s,
            Self::Greatest => distribution.max_s,
            Self::P50 => distribution.p50_s,
            Self::P95 => distribution.p95_s,
            Self::P99 => distribution.p99_s,
        }
    }

    /// What to say of a percentile that its samples cannot tell from their maximum.
    fn caution(self, distribution: &Distribution, shown: &str) -> Option<String> {
        let (name, needed) = match self {
            Self::P95 => ("p95", 20),
            Self::P99 => ("p99", 100),
            Self::Mean | Self::Least | Self::Greatest | Self::P50 => return None,
        };
        let samples = distribution.samples;
        let greatest = figure::time(distribution.max_s);
        if samples >= needed {
            None
        } else if shown == greatest {
            Some(format!("{name} of {samples} = maximum."))
        } else {
            Some(format!(
                "{name} of {samples} leans on the maximum, {greatest}; {needed} samples would not."
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_of_few_samples_is_said() {
        let distribution = |samples, p95_s| Distribution {
            samples,
            max_s: 3.797,
            p95_s,
            ..Distribution::default()
        };
        let caution = |samples, p95_s: f64| P95.caution(&distribution(samples, p95_s), &figure::time(p95_s));
        assert_eq!(caution(4, 3.797).unwrap(), "p95 of 4 = maximum.");
        assert_eq!(
            caution(4, 3.775).unwrap(),
            "p95 of 4 leans on the maximum, 3.797 s; 20 samples would not."
        );
        assert_eq!(caution(20, 3.775), None);
        assert_eq!(Mean.caution(&distribution(1, 3.797), "3.797 s"), None);
    }
}
