//! Lines that say where a card's memory went, with figures as each release prints them.

use crate::memory::GIB;
use crate::settings::Settings;

/// `round(x, 2)` as Python prints it: "14.25", "0.5", "14.0".
pub(super) fn python_rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.strip_suffix('0').unwrap_or(&text);
    text.to_owned()
}

/// A whole number with thousands separators.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn v0_breakdown(settings: &Settings, seconds: f64) -> String {
    let capacity = &settings.capacity;
    format!(
        "Memory profiling takes {seconds:.2} seconds\n\
         the current vLLM instance can use total_gpu_memory ({:.2}GiB) x gpu_memory_utilization ({:.2}) = {:.2}GiB\n\
         model weights take {:.2}GiB; non_torch_memory takes {:.2}GiB; PyTorch activation peak memory takes \
         {:.2}GiB; the rest of the memory reserved for KV Cache is {:.2}GiB.",
        capacity.total_gib,
        settings.placement.utilization,
        capacity.budget_gib,
        capacity.weights_gib,
        capacity.non_torch_gib,
        capacity.activation_gib,
        capacity.kv_gib
    )
}

pub(super) fn v1_profile(settings: &Settings, seconds: f64) -> String {
    let capacity = &settings.capacity;
    let non_kv = capacity.weights_gib + capacity.non_torch_gib + capacity.activation_gib;
    let (second, figure) = if settings.version.consumed_memory_merged() {
        (
            "total consumed (from mem_get_info)",
            capacity.weights_gib + capacity.non_torch_gib,
        )
    } else {
        ("non-torch forward increase memory", capacity.non_torch_gib)
    };
    format!(
        "Memory profiling takes {seconds:.2} seconds. Total non KV cache memory: {non_kv:.2}GiB; torch peak \
         memory increase: {:.2}GiB; {second}: {figure:.2}GiB; weights memory: {:.2}GiB.",
        capacity.activation_gib, capacity.weights_gib
    )
}

/// The long line after warm-up that says where memory went.
pub(super) fn usage_line(settings: &Settings) -> String {
    let (version, capacity) = (&settings.version, &settings.capacity);
    let used = if version.consumed_memory_merged() {
        format!(
            "{:.2} GiB for consumed memory (weights + non-torch), {:.2} GiB for peak activation, and {:.2} GiB for CUDAGraph memory",
            capacity.weights_gib + capacity.non_torch_gib,
            capacity.activation_gib,
            capacity.graph_gib
        )
    } else {
        format!(
            "{:.2} GiB for weight, {:.2} GiB for peak activation, {:.2} GiB for non-torch memory, and {:.2} GiB for CUDAGraph memory",
            capacity.weights_gib, capacity.activation_gib, capacity.non_torch_gib, capacity.graph_gib
        )
    };
    let fit_gib = capacity.kv_gib - capacity.graph_gib;
    let full_gib = capacity.total_gib - capacity.budget_gib + fit_gib;
    let sized = |gib: f64| {
        let bytes = format!("`--kv-cache-memory={:.0}`", (gib * GIB).floor());
        if version.at_least(11, 0) {
            format!("{bytes} ({gib:.2} GiB)")
        } else {
            bytes
        }
    };
    let current = if version.at_least(11, 0) {
        format!("{:.2} GiB", capacity.kv_gib)
    } else {
        format!("{:.0} bytes", (capacity.kv_gib * GIB).floor())
    };
    format!(
        "Free memory on device ({:.2}/{:.2} GiB) on startup. Desired GPU memory utilization is ({}, {:.2} GiB). \
         Actual usage is {used}. Replace gpu_memory_utilization config with {} to fit into requested memory, or \
         {} to fully utilize gpu memory. Current kv cache memory in use is {current}.",
        capacity.total_gib - 0.4,
        capacity.total_gib,
        settings.placement.utilization,
        capacity.budget_gib,
        sized(fit_gib),
        sized(full_gib),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_python_prints_them() {
        assert_eq!(python_rounded(14.249), "14.25");
        assert_eq!(python_rounded(14.0), "14.0");
        assert_eq!(python_rounded(0.5), "0.5");
        assert_eq!(thousands(299_056), "299,056");
        assert_eq!(thousands(256), "256");
    }
}
