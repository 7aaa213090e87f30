//! The result file of `vllm bench serve --save-result`, key by key (vLLM 0.12.0, vllm/benchmarks/serve.py), so that what
//! reads those files reads ours. Durations are milliseconds, except in the lists, which are seconds as vLLM writes them.
//! Texts of answers are not kept and left out.

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, macros::format_description};

use super::{
    LoadFigures, Shape, Spread,
    schedule::{Rate, Scatter},
    summary::{gaps_s, ttft_s},
};
use crate::record::RequestSample;

/// What the file says of the run beside its figures.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// When the run began.
    pub at: OffsetDateTime,
    /// Whether the chat endpoint was asked.
    pub chat: bool,
    /// Name of the model.
    pub model: &'a str,
    /// Shape of the load.
    pub shape: &'a Shape,
    /// Requests in flight, where the shape says.
    pub in_flight: Option<u32>,
}

/// The file.
pub fn render(about: &About<'_>, figures: &LoadFigures, samples: &[RequestSample]) -> Value {
    let mut file = settings(about, figures);
    let goodput = figures.goodput.as_ref().map(|goodput| goodput.requests_per_s);
    file.extend(object(json!({
        "duration": figures.wall_s,
        "completed": figures.succeeded,
        "failed": figures.failed(),
        "total_input_tokens": figures.prompt_tokens,
        "total_output_tokens": figures.output_tokens,
        "request_throughput": figures.requests_per_s,
        "request_goodput": goodput,
        "output_throughput": figures.output_tokens_per_s,
        "total_token_throughput": figures.total_tokens_per_s,
        "max_output_tokens_per_s": figures.peak_output_tokens_per_s,
        "max_concurrent_requests": figures.peak_in_flight,
        "input_lens": list(samples, |sample| sample.prompt_tokens.unwrap_or_default().into()),
        "output_lens": list(samples, |sample| sample.output_tokens.unwrap_or_default().into()),
        "ttfts": list(samples, |sample| ttft_s(sample).unwrap_or_default().into()),
        "itls": list(samples, |sample| gaps_s(sample).collect::<Vec<_>>().into()),
        "errors": list(samples, |sample| sample.error.clone().unwrap_or_default().into()),
    })));
    let spreads = [
        ("ttft", &figures.ttft),
        ("tpot", &figures.tpot),
        ("itl", &figures.itl),
        ("e2el", &figures.e2e),
    ];
    for (name, spread) in spreads {
        file.extend(spread.iter().flat_map(|spread| statistics(name, spread)));
    }
    Value::Object(file)
}

fn settings(about: &About<'_>, figures: &LoadFigures) -> Map<String, Value> {
    // A format without offset cannot fail for a moment of this age.
    let date = about
        .at
        .format(format_description!("[year][month][day]-[hour][minute][second]"))
        .unwrap_or_default();
    let backend = if about.chat { "openai-chat" } else { "vllm" };
    let (rate, burstiness) = match about.shape {
        Shape::Open(schedule) => {
            let rate = match schedule.rate {
                Rate::Constant(rate) => Value::from(rate),
                Rate::Linear { .. } | Rate::Exponential { .. } => Value::from("inf"),
            };
            let burstiness = match schedule.scatter {
                Scatter::Gamma { burstiness } => Value::from(burstiness),
                Scatter::Even => Value::from("inf"),
            };
            (rate, burstiness)
        }
        _ => (Value::from("inf"), Value::from(1.0)),
    };
    object(json!({
        "date": date,
        "endpoint_type": backend,
        "backend": backend,
        "label": format!("harness {}", about.shape),
        "model_id": about.model,
        "tokenizer_id": about.model,
        "num_prompts": figures.sent,
        "request_rate": rate,
        "burstiness": burstiness,
        "max_concurrency": about.in_flight,
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn list(samples: &[RequestSample], of: impl Fn(&RequestSample) -> Value) -> Value {
    samples.iter().map(of).collect()
}

fn statistics(name: &str, spread: &Spread) -> Vec<(String, Value)> {
    let ms = |seconds: f64| Value::from(seconds * 1e3);
    let mut found = vec![
        (format!("mean_{name}_ms"), ms(spread.mean_s)),
        (format!("std_{name}_ms"), ms(spread.deviation_s)),
    ];
    for percentile in &spread.percentiles {
        // 99 and not 99.0, but 99.9.
        found.push((format!("p{}_{name}_ms", percentile.p), ms(percentile.value_s)));
        if percentile.p == 50.0 {
            found.push((format!("median_{name}_ms"), ms(percentile.value_s)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::load::figures::tests::{asked, failed, sample};

    #[test]
    fn the_file_has_the_keys_of_vllm() {
        let samples = [sample(0, 0.0, 0.5, 0.25, 3), failed(1, "cut: after 3 events")];
        let figures = LoadFigures::of(&samples, &asked());
        let shape: Shape = "gamma:rate=2,burstiness=0.5".parse().unwrap();
        let about = About {
            at: datetime!(2026-11-24 10:11:12 UTC),
            chat: false,
            model: "m",
            shape: &shape,
            in_flight: None,
        };
        insta::assert_json_snapshot!(render(&about, &figures, &samples));
    }
}
