//! The answer for people: the model, one card of the layout, the usual layouts, other versions.

use super::answer::{Answer, LayoutAnswer};
use crate::{
    manifest::Unit,
    report::{
        Style,
        columns::{Align, columns},
        figure::{count, grouped, with_unit},
        style::Role,
        text::wrap,
    },
};

/// The whole text.
pub fn render(answer: &Answer, style: Style) -> String {
    let mut out = heading(answer, style);
    out += &columns(&[Align::Left, Align::Right, Align::Left], &card(answer));
    let chosen = &answer.chosen;
    if let Some(reason) = &chosen.reason {
        out += &sentence(&format!("it does not fit: {reason}"), style, Role::Bad);
    }
    if let Some(squeeze) = &chosen.squeeze {
        let text = format!(
            "it would fit with gpu_memory_utilization {} and max_model_len {}",
            squeeze.gpu_memory_utilization,
            count(squeeze.max_model_len)
        );
        out += &sentence(&text, style, Role::Warning);
    }
    out += &needed(answer, style);
    out.push('\n');
    out += &columns(&LAYOUT_COLUMNS, &layouts(answer));
    out.push('\n');
    out += &columns(&VERSION_COLUMNS, &versions(answer));
    out.push('\n');
    for text in answer.rules.iter().chain(&answer.notes) {
        out += &sentence(&format!("note: {text}"), style, Role::Faint);
    }
    out
}

fn sentence(text: &str, style: Style, role: Role) -> String {
    let lines = wrap(text, style.width).into_iter();
    lines
        .map(|line| style.paint(role, &line).into_owned() + "\n")
        .collect()
}

fn heading(answer: &Answer, style: Style) -> String {
    let layout = &answer.chosen;
    let cards = if layout.cards == 1 { "card" } else { "cards" };
    let title = format!(
        "{} on {} {} {cards} (tensor parallel {}, pipeline parallel {}), vLLM {}",
        answer.model,
        layout.cards,
        answer.card_name,
        layout.tensor_parallel,
        layout.pipeline_parallel,
        answer.vllm
    );
    let active = if answer.active_parameters == answer.parameters {
        String::new()
    } else {
        format!(", {} of them for one token", count(answer.active_parameters))
    };
    let quantized = answer
        .quantization
        .map_or_else(String::new, |method| format!(" with {method}"));
    style.paint(Role::Strong, &title).into_owned()
        + &format!(
            "\n{}: {} parameters{active}; {:.2} GiB in {}{quantized}\n\n",
            answer.class,
            count(answer.parameters),
            answer.weights_gib,
            answer.dtype
        )
}

fn gib(figure: f64) -> String {
    with_unit(figure, Unit::GiB)
}

/// Rows of one card's memory: figure, amount, how sure it is.
fn card(answer: &Answer) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, figure: Option<f64>, remark: String| {
        if let Some(figure) = figure {
            rows.push(vec![name.to_owned(), gib(figure), remark]);
        }
    };
    let sure = |error: Option<f64>| match error {
        Some(error) if error > 0.0 => format!("± {error:.2} GiB, estimated"),
        _ => "given".to_owned(),
    };
    row("card", answer.memory.card_gib, "as torch sees it".to_owned());
    let share = format!("gpu_memory_utilization {}", answer.gpu_memory_utilization);
    row("usable", answer.memory.usable_gib, share);
    row(
        "weights",
        Some(answer.chosen.weights_gib_per_card),
        "of the fullest card".to_owned(),
    );
    row(
        "non-torch",
        answer.memory.non_torch_gib,
        sure(answer.memory.non_torch_error_gib),
    );
    row(
        "activations",
        answer.memory.activation_gib,
        sure(answer.memory.activation_error_gib),
    );
    row(
        "graphs",
        answer.memory.graph_gib,
        sure(answer.memory.graph_error_gib),
    );
    let kv = if answer.memory.kv_cache_error_gib > 0.0 {
        format!("± {:.2} GiB", answer.memory.kv_cache_error_gib)
    } else {
        "exact for the figures above".to_owned()
    };
    row("KV cache", Some(answer.chosen.kv_cache_gib), kv);
    row(
        "left",
        answer.memory.left_gib,
        "outside of vLLM's share".to_owned(),
    );
    rows.extend(cache(answer));
    rows.extend(roofs(answer));
    rows
}

/// Rows of the KV cache.
fn cache(answer: &Answer) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let chosen = &answer.chosen;
    let token = format!(
        "{} B a token on each card",
        count(chosen.kv_bytes_per_token_per_card)
    );
    rows.push(vec!["KV tokens".to_owned(), count(chosen.kv_tokens), token]);
    let blocks = format!("of {} tokens", answer.memory.block_size);
    rows.push(vec!["blocks".to_owned(), count(chosen.num_blocks), blocks]);
    let sequences = format!("sequences of {} tokens", count(answer.max_model_len));
    rows.push(vec![
        "concurrency".to_owned(),
        with_unit(chosen.max_concurrency, Unit::Times),
        sequences,
    ]);
    rows
}

/// Rows of the roofs of speed.
fn roofs(answer: &Answer) -> Vec<Vec<String>> {
    let chosen = &answer.chosen;
    let mut rows = Vec::new();
    for (name, roof, places, remark) in [
        (
            "decode",
            chosen.decode_roof_tokens_per_s,
            1,
            "tokens/s at most, one sequence (bandwidth)",
        ),
        (
            "prefill",
            chosen.prefill_roof_tokens_per_s,
            0,
            "prompt tokens/s at most (arithmetic)",
        ),
    ] {
        if let Some(roof) = roof {
            rows.push(vec![
                name.to_owned(),
                grouped(&format!("{roof:.places$}")),
                remark.to_owned(),
            ]);
        }
    }
    rows
}

fn needed(answer: &Answer, style: Style) -> String {
    let (text, role) = match answer.cards_needed {
        Some(1) => ("one card suffices".to_owned(), Role::Good),
        Some(cards) => (format!("{cards} cards are needed"), Role::Good),
        None => ("no usual layout fits".to_owned(), Role::Bad),
    };
    sentence(&text, style, role)
}

const LAYOUT_COLUMNS: [Align; 8] = [
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Left,
];

fn layouts(answer: &Answer) -> Vec<Vec<String>> {
    let head = [
        "cards",
        "TP",
        "PP",
        "weights",
        "KV cache",
        "sequences",
        "decode ≤",
        "fits",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let most = 16.max(answer.chosen.cards).max(answer.cards_needed.unwrap_or(0));
    rows.extend(
        answer
            .layouts
            .iter()
            .filter(|layout| layout.cards <= most)
            .map(|layout| {
                vec![
                    layout.cards.to_string(),
                    layout.tensor_parallel.to_string(),
                    layout.pipeline_parallel.to_string(),
                    gib(layout.weights_gib_per_card),
                    gib(layout.kv_cache_gib),
                    with_unit(layout.max_concurrency, Unit::Times),
                    layout.decode_roof_tokens_per_s.map_or_else(String::new, |roof| {
                        format!("{}/s", grouped(&format!("{roof:.0}")))
                    }),
                    verdict(layout),
                ]
            }),
    );
    rows
}

/// Whether a layout fits, or why not in a few words.
fn verdict(layout: &LayoutAnswer) -> String {
    match (&layout.short, &layout.squeeze) {
        (None, _) => "yes".to_owned(),
        (Some(_), Some(squeeze)) => format!(
            "only at {} and {} tokens",
            squeeze.gpu_memory_utilization,
            count(squeeze.max_model_len)
        ),
        (Some(short), None) => format!("no: {short}"),
    }
}

const VERSION_COLUMNS: [Align; 6] = [
    Align::Left,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
];

fn versions(answer: &Answer) -> Vec<Vec<String>> {
    let head = [
        "vLLM",
        "utilization",
        "activations",
        "KV cache",
        "KV tokens",
        "concurrency",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(answer.versions.iter().map(|version| {
        vec![
            version.vllm.clone(),
            version.gpu_memory_utilization.to_string(),
            version.activation_gib.map_or_else(String::new, gib),
            gib(version.kv_cache_gib),
            count(version.kv_tokens),
            with_unit(version.max_concurrency, Unit::Times),
        ]
    }));
    rows
}
