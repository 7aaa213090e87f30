//! `GET /metrics`: the counters in Prometheus' text format, by the names and labels of the release.

use std::fmt::Write;

use crate::metrics::{Counters, Histogram};
use crate::settings::Settings;
use crate::version::{Generation, Version};

struct Page<'a> {
    text: String,
    engine_label: String,
    model_label: String,
    /// V1 publishes `_created` series.
    created: Option<f64>,
    settings: &'a Settings,
}

/// A number as Python prints a float.
fn number(value: f64) -> String {
    if value.abs() >= 1e16 {
        format!("{value:e}")
    } else {
        format!("{value:?}")
    }
}

/// The whole page. `started_s` is the process's start in seconds since 1970.
pub fn render(settings: &Settings, counters: &Counters, started_s: f64) -> String {
    let v0 = settings.generation == Generation::V0;
    let mut page = Page {
        text: String::new(),
        engine_label: if v0 {
            String::new()
        } else {
            "engine=\"0\"".to_owned()
        },
        model_label: format!("model_name=\"{}\"", settings.served_name()),
        created: (!v0).then_some(started_s),
        settings,
    };
    if !v0 {
        page.process(counters, started_s);
    }
    page.gauges(counters, v0);
    page.counters(counters, v0);
    page.cache_config(v0);
    page.histograms(counters, v0);
    page.text
}

impl Page<'_> {
    fn version(&self) -> &Version {
        &self.settings.version
    }

    /// A sample; labels stand in alphabetical order, as the Python client sorts them.
    fn line(&mut self, name: &str, extra: &str, value: f64) {
        let (engine, model) = (&self.engine_label, &self.model_label);
        let labels = [engine.as_str(), extra, model.as_str()];
        let labels: Vec<_> = labels.into_iter().filter(|label| !label.is_empty()).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name}{{{}}} {}", labels.join(","), number(value));
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn created(&mut self, name: &str, help: &str) {
        if let Some(started_s) = self.created {
            let name = format!("{}_created", name.strip_suffix("_total").unwrap_or(name));
            self.head(&name, "gauge", help);
            self.line(&name, "", started_s);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, "", value as f64);
        self.created(name, help);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            let bound = format!("le=\"{}\"", number(*bound));
            self.line(&format!("{name}_bucket"), &bound, below as f64);
        }
        let count = histogram.count() as f64;
        self.line(&format!("{name}_bucket"), "le=\"+Inf\"", count);
        self.line(&format!("{name}_count"), "", count);
        self.line(&format!("{name}_sum"), "", histogram.sum);
        if self.created.is_some() {
            // A histogram may itself be called …_total, and keeps that.
            let (created, started_s) = (format!("{name}_created"), self.created.unwrap_or_default());
            self.head(&created, "gauge", help);
            self.line(&created, "", started_s);
        }
    }

    fn process(&mut self, counters: &Counters, started_s: f64) {
        let resident = 600.0 * 1_048_576.0 + counters.leaked_gib * crate::memory::GIB;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                resident,
            ),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                started_s,
            ),
        ] {
            self.head(name, "gauge", help);
            let _ = writeln!(self.text, "{name} {}", number(value));
        }
    }

    fn gauges(&mut self, counters: &Counters, v0: bool) {
        let running = "Number of requests in model execution batches.";
        self.gauge("vllm:num_requests_running", running, counters.running as f64);
        let waiting = "Number of requests waiting to be processed.";
        self.gauge("vllm:num_requests_waiting", waiting, counters.waiting as f64);
        let version = self.version().clone();
        if !version.at_least(11, 0) {
            let help = "GPU KV-cache usage. 1 means 100 percent usage.";
            self.gauge("vllm:gpu_cache_usage_perc", help, counters.kv_usage);
        }
        if !v0 && version.at_least(9, 2) {
            let help = "KV-cache usage. 1 means 100 percent usage.";
            self.gauge("vllm:kv_cache_usage_perc", help, counters.kv_usage);
        }
        let help = "Running stats on lora requests.";
        self.head("vllm:lora_requests_info", "gauge", help);
        let started_s = self.created.unwrap_or_default();
        let lora =
            "vllm:lora_requests_info{max_lora=\"0\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"}";
        let _ = writeln!(self.text, "{lora} {}", number(started_s));
    }

    fn counters(&mut self, counters: &Counters, v0: bool) {
        let version = self.version().clone();
        if !v0 {
            let prefixes: &[&str] = match (version.at_least(9, 2), version.at_least(11, 0)) {
                (false, _) => &["vllm:gpu_prefix_cache"],
                (true, false) => &["vllm:gpu_prefix_cache", "vllm:prefix_cache"],
                (true, true) => &["vllm:prefix_cache"],
            };
            for prefix in prefixes {
                let help = "Prefix cache queries, in terms of number of queried tokens.";
                self.counter(&format!("{prefix}_queries_total"), help, counters.cache_queries);
                let help = "Prefix cache hits, in terms of number of cached tokens.";
                self.counter(&format!("{prefix}_hits_total"), help, counters.cache_hits);
            }
        }
        let help = "Cumulative number of preemption from the engine.";
        self.counter("vllm:num_preemptions_total", help, counters.preemptions);
        let help = "Number of prefill tokens processed.";
        self.counter("vllm:prompt_tokens_total", help, counters.prompt_tokens);
        let help = "Number of generation tokens processed.";
        self.counter("vllm:generation_tokens_total", help, counters.generation_tokens);
        let help = "Count of successfully processed requests.";
        self.head("vllm:request_success_total", "counter", help);
        let ends = [
            ("stop", counters.stopped),
            ("length", counters.lengthy),
            ("abort", counters.aborted),
        ];
        for (reason, count) in ends {
            // V0 only shows reasons that have occurred.
            if !v0 || count > 0 {
                let reason = format!("finished_reason=\"{reason}\"");
                self.line("vllm:request_success_total", &reason, count as f64);
            }
        }
    }

    fn cache_config(&mut self, v0: bool) {
        let settings = self.settings;
        let caching = match (settings.prefix_caching, v0) {
            (true, _) => "True",
            (false, true) => "None",
            (false, false) => "False",
        };
        // 0.8.5's V1 fills this metric before the engine has counted its blocks.
        let blocks = if v0 || settings.version.at_least(9, 0) {
            settings.capacity.blocks.to_string()
        } else {
            "None".to_owned()
        };
        let mut labels = vec![
            ("block_size", settings.placement.block_size.to_string()),
            ("cache_dtype", settings.kv_cache_dtype.clone()),
            ("enable_prefix_caching", caching.to_owned()),
            ("gpu_memory_utilization", number(settings.placement.utilization)),
            (
                "num_cpu_blocks",
                if v0 { "2048".to_owned() } else { "None".to_owned() },
            ),
            ("num_gpu_blocks", blocks),
            ("num_gpu_blocks_override", "None".to_owned()),
            ("sliding_window", "None".to_owned()),
        ];
        if !v0 {
            labels.push(("engine", "0".to_owned()));
        }
        if settings.version.at_least(24, 0) {
            labels.push(("kv_cache_size_tokens", settings.capacity.tokens().to_string()));
            labels.push((
                "kv_cache_max_concurrency",
                number(settings.capacity.max_concurrency()),
            ));
        }
        labels.sort();
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        self.head(
            "vllm:cache_config_info",
            "gauge",
            "Information of the LLMEngine CacheConfig",
        );
        let _ = writeln!(self.text, "vllm:cache_config_info{{{}}} 1.0", labels.join(","));
    }

    fn histograms(&mut self, counters: &Counters, v0: bool) {
        let version = self.version().clone();
        for (name, help, histogram) in timings(counters, &version, v0).into_iter().chain(sizes(counters)) {
            self.histogram(&format!("vllm:{name}"), help, histogram);
        }
    }
}

type Named<'a> = (&'static str, &'static str, &'a Histogram);

fn timings<'a>(counters: &'a Counters, version: &Version, v0: bool) -> Vec<Named<'a>> {
    let between = &counters.inter_token_s;
    let mut named: Vec<Named<'_>> = vec![
        (
            "iteration_tokens_total",
            "Histogram of number of tokens per engine_step.",
            &counters.step_tokens,
        ),
        (
            "time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            &counters.first_token_s,
        ),
    ];
    if !version.at_least(12, 0) {
        named.push((
            "time_per_output_token_seconds",
            "Histogram of time per output token in seconds.",
            between,
        ));
    }
    if !v0 && version.at_least(10, 2) {
        named.push((
            "inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            between,
        ));
    }
    if version.at_least(11, 0) {
        let help = "Histogram of time_per_output_token_seconds per request.";
        named.push((
            "request_time_per_output_token_seconds",
            help,
            &counters.request_token_s,
        ));
    }
    named.extend([
        (
            "e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
            &counters.latency_s,
        ),
        (
            "request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
            &counters.queue_s,
        ),
        (
            "request_inference_time_seconds",
            "Histogram of time spent in RUNNING phase for request.",
            &counters.inference_s,
        ),
        (
            "request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.",
            &counters.prefill_s,
        ),
        (
            "request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.",
            &counters.decode_s,
        ),
    ]);
    named
}

fn sizes(counters: &Counters) -> [Named<'_>; 5] {
    [
        (
            "request_prompt_tokens",
            "Number of prefill tokens processed.",
            &counters.request_prompt,
        ),
        (
            "request_generation_tokens",
            "Number of generation tokens processed.",
            &counters.request_generation,
        ),
        (
            "request_params_n",
            "Histogram of the n request parameter.",
            &counters.params_n,
        ),
        (
            "request_max_num_generation_tokens",
            "Histogram of maximum number of requested generation tokens.",
            &counters.request_max_generation,
        ),
        (
            "request_params_max_tokens",
            "Histogram of the max_tokens request parameter.",
            &counters.params_max_tokens,
        ),
    ]
}
