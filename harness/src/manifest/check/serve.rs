//! The `serve` section: whether vLLM would start with it.

use super::{Document, texts, version_ranges};
use crate::manifest::{
    Dimension, PhaseTimeouts, Quantity,
    diagnostics::Diagnostic,
    wording::{listed, quoted},
};

/// Arguments that a key of the manifest sets: written as an argument, they would override it unseen.
const OWNED_ARGS: [(&str, &str); 13] = [
    ("--tensor-parallel-size", "serve.tensor_parallel"),
    ("-tp", "serve.tensor_parallel"),
    ("--pipeline-parallel-size", "serve.pipeline_parallel"),
    ("-pp", "serve.pipeline_parallel"),
    ("--max-model-len", "serve.max_model_len"),
    ("--gpu-memory-utilization", "serve.gpu_memory_utilization"),
    ("--dtype", "serve.dtype"),
    ("--block-size", "serve.block_size"),
    ("--max-num-seqs", "serve.max_num_seqs"),
    ("--seed", "serve.seed"),
    ("--trust-remote-code", "serve.trust_remote_code"),
    ("--tool-call-parser", "model.tool_parser"),
    ("--reasoning-parser", "model.reasoning"),
];

pub(super) fn serve(document: &Document, problems: &mut Vec<Diagnostic>) {
    tensor_parallel(document, problems);
    pipeline_parallel(document, problems);
    model_len(document, problems);
    boot_timeout(document, problems);
    version_ranges(document, "/serve/args", problems);
    version_ranges(document, "/serve/env", problems);
    owned_args(document, problems);
}

/// Whether so many cards can share the heads: query heads are divided; key and value heads are divided too, or
/// repeated where there are fewer than cards. Latent attention keeps its one vector on every card.
fn shares_evenly(cards: u32, heads: u32, kv_heads: Option<u32>) -> bool {
    let kv_fits = |kv: u32| kv.is_multiple_of(cards) || cards.is_multiple_of(kv);
    cards > 0 && heads.is_multiple_of(cards) && kv_heads.is_none_or(kv_fits)
}

fn tensor_parallel(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/serve/tensor_parallel";
    let heads_place = "/model/architecture/heads";
    let kv_place = "/model/architecture/kv_heads";
    let (Some(cards), Some(heads)) = (document.read::<u32>(place), document.read::<u32>(heads_place)) else {
        return;
    };
    let kv_heads = document
        .read::<u32>(kv_place)
        .filter(|_| !document.has("/model/architecture/mla"));
    if cards == 0 || shares_evenly(cards, heads, kv_heads) {
        return;
    }
    let possible: Vec<String> = (1..=heads.min(64))
        .filter(|&cards| shares_evenly(cards, heads, kv_heads))
        .map(|cards| cards.to_string())
        .collect();
    let (message, reason) = if heads.is_multiple_of(cards) {
        let kv_heads = kv_heads.unwrap_or(0);
        (
            format!("{cards} cards can neither divide nor repeat {kv_heads} key and value heads"),
            kv_place,
        )
    } else {
        (
            format!("{cards} cards cannot share {heads} attention heads evenly"),
            heads_place,
        )
    };
    let uneven = document.wrong(place, message).see(document.place(reason), "");
    problems.push(uneven.help(format!("write {}", listed(&possible))));
}

fn pipeline_parallel(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/serve/pipeline_parallel";
    let layers_place = "/model/architecture/layers";
    let (Some(groups), Some(layers)) = (document.read::<u32>(place), document.read::<u32>(layers_place))
    else {
        return;
    };
    if groups > layers {
        let message = format!("{groups} pipeline groups, but the model has {layers} layers");
        problems.push(
            document
                .wrong(place, message)
                .see(document.place(layers_place), ""),
        );
    }
}

/// vLLM refuses a longer sequence than the model was made for, unless the positions are stretched.
fn model_len(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/serve/max_model_len";
    let position_place = "/model/architecture/max_position";
    let (Some(len), Some(positions)) = (document.read::<u32>(place), document.read::<u32>(position_place))
    else {
        return;
    };
    let stretched =
        arguments(document).any(|(arg, _)| arg.contains("rope") || arg.starts_with("--hf-overrides"));
    if len > positions && !stretched {
        let too_long = document
            .wrong(
                place,
                format!("max_model_len {len} is longer than the model's {positions} positions"),
            )
            .see(document.place(position_place), "");
        problems.push(too_long.help(format!(
            "write at most {positions}, or stretch the positions by `--rope-scaling` or `--hf-overrides` in `serve.args`"
        )));
    }
}

fn boot_timeout(document: &Document, problems: &mut Vec<Diagnostic>) {
    let place = "/serve/boot_timeout";
    let whole = time(document, place, "boot", problems);
    for name in PhaseTimeouts::NAMES {
        let phase_place = format!("/serve/phase_timeouts/{name}");
        let phase = time(document, &phase_place, "phase of a boot", problems);
        if let (Some(whole), Some(phase)) = (whole, phase)
            && phase > whole
        {
            let message = format!("the phase `{name}` may take longer than the whole boot");
            let longer = document
                .wrong(&phase_place, message)
                .see(document.place(place), "the whole boot");
            problems.push(longer.help("shorten the phase, or raise `boot_timeout`"));
        }
    }
}

/// The time at `place`; one that is no time, or none at all, is a problem.
fn time(
    document: &Document,
    place: &str,
    what: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<std::time::Duration> {
    let timeout = document.read::<Quantity>(place)?;
    if timeout.unit().dimension() != Dimension::Time {
        let message = format!("a {what} takes time, and `{timeout}` is not a time");
        let wrong = document.wrong(place, message);
        problems.push(wrong.help("write it in s, ms or min, such as `900 s`"));
        return None;
    }
    let duration = timeout.duration().filter(|timeout| !timeout.is_zero());
    if duration.is_none() {
        let message = format!("no {what} is done within `{timeout}`");
        let wrong = document.wrong(place, message);
        problems.push(wrong.help(format!("write how long a {what} may take, such as `900 s`")));
    }
    duration
}

/// Every argument of `serve.args` with its pointer.
fn arguments(document: &Document) -> impl Iterator<Item = (String, String)> {
    let sets = document.items("/serve/args");
    sets.flat_map(|set| texts(document, &format!("{set}/add")))
}

fn owned_args(document: &Document, problems: &mut Vec<Diagnostic>) {
    for (argument, place) in arguments(document) {
        let name = argument.split('=').next().unwrap_or_default().replace('_', "-");
        if let Some((_, key)) = OWNED_ARGS.iter().find(|(owned, _)| *owned == name) {
            let message = format!("the argument {} would override `{key}`", quoted(&name));
            problems.push(
                document
                    .wrong(&place, message)
                    .help(format!("remove it here and set `{key}`")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouped_heads_are_divided_or_repeated() {
        assert!(shares_evenly(4, 64, Some(8)));
        assert!(shares_evenly(16, 64, Some(8)));
        assert!(!shares_evenly(3, 64, Some(8)));
        assert!(!shares_evenly(2, 10, Some(5)));
        assert!(shares_evenly(2, 10, None));
    }
}
