//! Remedies for memory: length, share, batch and cards.

use std::sync::LazyLock;

use regex::Regex;

use super::{Change, remedy::Situation};
use crate::{
    capacity::{Known, Served},
    manifest::Accelerator,
};

/// Sequences in a batch where nobody says how many (vLLM's default on most cards).
const DEFAULT_SEQUENCES: u32 = 256;
/// Shortest length that is still proposed.
const SHORTEST: u32 = 256;
/// Least share of a card that is still proposed.
const LEAST_SHARE: f64 = 0.3;

/// What the server says that it could hold, then halves.
pub(super) fn shorter_context(situation: &Situation<'_>) -> Vec<Change> {
    static SAID: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let patterns = [
            r"estimated maximum model length is (\d+)",
            r"stored in KV cache \((\d+)\)",
            r"max_position_embeddings=(\d+)",
        ];
        patterns
            .into_iter()
            .filter_map(|pattern| Regex::new(pattern).ok())
            .collect()
    });
    let current = situation.model.manifest.serve.max_model_len;
    let said = SAID.iter().find_map(|pattern| situation.said(pattern));
    let halves =
        std::iter::successors(Some(current / 2), |len| Some(len / 2)).take_while(|len| *len >= SHORTEST);
    said.map(round_tokens)
        .into_iter()
        .chain(halves)
        .filter(|len| *len < current && *len > 0)
        .map(|len| Situation::set("max_model_len", &current.to_string(), &len.to_string()))
        .collect()
}

/// Whole blocks, and nothing odd where there is enough.
const fn round_tokens(tokens: u32) -> u32 {
    let unit = match tokens {
        0..256 => 1,
        256..2048 => 16,
        _ => 256,
    };
    tokens - tokens % unit
}

/// What is free by the server's words, then steps of a tenth.
pub(super) fn lower_utilization(situation: &Situation<'_>) -> Vec<Change> {
    static FREE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"Free memory on device[^(]*\(([0-9.]+)/([0-9.]+) GiB\)").ok());
    let lines = || {
        situation
            .failure
            .evidence
            .iter()
            .chain([&situation.failure.message])
    };
    let free = FREE
        .as_ref()
        .and_then(|pattern| lines().find_map(|line| pattern.captures(line)));
    let free = free.and_then(|found| {
        let [free, total] =
            [found.get(1)?, found.get(2)?].map(|number| number.as_str().parse::<f64>().unwrap_or(0.0));
        // A hundredth for what else happens on the card.
        (total > 0.0).then(|| ((free / total - 0.01) * 100.0).floor() / 100.0)
    });
    let current = situation.model.manifest.serve.gpu_memory_utilization;
    let steps = (1..10).map(|step| ((current - 0.1 * f64::from(step)) * 100.0).round() / 100.0);
    free.into_iter()
        .chain(steps)
        .filter(|share| *share < current && *share >= LEAST_SHARE)
        .map(|share| utilization(current, share))
        .collect()
}

pub(super) fn raise_utilization(situation: &Situation<'_>) -> Vec<Change> {
    let current = situation.model.manifest.serve.gpu_memory_utilization;
    let larger = [0.9, 0.95, 0.97].into_iter().filter(|share| *share > current);
    larger.map(|share| utilization(current, share)).collect()
}

fn utilization(before: f64, after: f64) -> Change {
    Situation::set("gpu_memory_utilization", &before.to_string(), &after.to_string())
}

/// Quarters: halves would cost a boot each.
pub(super) fn fewer_sequences(situation: &Situation<'_>) -> Vec<Change> {
    let written = situation.model.manifest.serve.max_num_seqs;
    let current = written.unwrap_or(DEFAULT_SEQUENCES);
    let before = written.map_or_else(|| "of vLLM's choice".to_owned(), |count| count.to_string());
    let fewer =
        std::iter::successors(Some(current / 4), |count| Some(count / 4)).take_while(|count| *count >= 1);
    fewer
        .map(|count| Situation::set("max_num_seqs", &before, &count.to_string()))
        .collect()
}

/// Those layouts first that are predicted to fit.
pub(super) fn more_cards(situation: &Situation<'_>) -> Result<Vec<Change>, String> {
    if situation.stack.stack.accelerator == Accelerator::Cpu {
        return Err("the CPU has no cards".to_owned());
    }
    let manifest = &situation.model.manifest;
    let (current, stages) = (manifest.serve.tensor_parallel, manifest.serve.pipeline_parallel);
    let heads = manifest.model.architecture.heads;
    let mut larger: Vec<(bool, u32)> = (current + 1..=situation.most_cards / stages.max(1))
        .filter(|cards| heads.is_multiple_of(*cards))
        .map(|cards| (!is_predicted_to_fit(situation, cards), cards))
        .collect();
    if larger.is_empty() {
        return Err(format!(
            "no more than {} cards may be used (--max-cards), and {heads} heads must be shared evenly",
            situation.most_cards
        ));
    }
    larger.sort_unstable();
    let change =
        |(_, cards): (bool, u32)| Situation::set("tensor_parallel", &current.to_string(), &cards.to_string());
    Ok(larger.into_iter().map(change).collect())
}

fn is_predicted_to_fit(situation: &Situation<'_>, cards: u32) -> bool {
    let mut manifest = situation.model.manifest.clone();
    manifest.serve.tensor_parallel = cards;
    let stack = situation.stack;
    let dtype = stack.stack.dtype.unwrap_or(manifest.serve.dtype);
    let served = Served::of(&manifest, &stack.stack, stack.card.as_ref(), dtype);
    served
        .and_then(|served| served.predict(Known::default()))
        .is_ok_and(|prediction| prediction.fits())
}

/// Fewer cards rather than more: they are there for certain. The server knows the heads better than the manifest.
pub(super) fn even_cards(situation: &Situation<'_>) -> Vec<Change> {
    static HEADS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"attention heads \((\d+)\)").ok());
    let manifest = &situation.model.manifest;
    let said = HEADS.as_ref().and_then(|pattern| situation.said(pattern));
    let heads = said.unwrap_or(manifest.model.architecture.heads);
    let current = manifest.serve.tensor_parallel;
    let even = (1..current).rev().filter(|cards| heads.is_multiple_of(*cards));
    even.map(|cards| Situation::set("tensor_parallel", &current.to_string(), &cards.to_string()))
        .collect()
}
