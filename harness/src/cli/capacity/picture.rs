//! The answer as a picture: a stacked bar for one card of each layout, up to the card's memory. SVG 1.1 without
//! scripts, fonts or links, so that it can stand in a report.

use std::fmt::Write as _;

use super::answer::Answer;
use crate::{capacity::Prediction, report::figure::count};

const WIDTH: f64 = 960.0;
/// Where bars begin, and how wide the card's memory is.
const LEFT: f64 = 150.0;
const SPAN: f64 = 560.0;
const ROW: f64 = 36.0;
const BAR: f64 = 22.0;
const TOP: f64 = 76.0;
/// Widest bar that is drawn whole, in cards.
const MOST_CARDS: f64 = 1.8;
/// Narrowest part that holds its figure.
const LABELLED: f64 = 34.0;

/// Parts of a bar: name and colour (Okabe and Ito's palette, told apart by colour-blind readers too).
const PARTS: [(&str, &str); 5] = [
    ("weights", "#0072B2"),
    ("non-torch", "#999999"),
    ("activations", "#E69F00"),
    ("graphs", "#CC79A7"),
    ("KV cache", "#009E73"),
];

/// The picture.
pub fn render(answer: &Answer) -> String {
    let height = TOP + ROW * answer.bars.len() as f64 + 58.0;
    let fullest = answer
        .bars
        .iter()
        .map(|bar| parts(bar).iter().sum::<f64>())
        .fold(0.0, f64::max);
    // A bar far beyond the card is cut, so that the others can still be told apart.
    let whole = match answer.memory.card_gib {
        Some(card) => card.max(fullest.min(card * MOST_CARDS)),
        None => fullest,
    };
    let whole = whole.max(f64::MIN_POSITIVE);
    let scale = SPAN / whole;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        title = escaped(&title(answer))
    );
    out += &text(
        16.0,
        24.0,
        "start",
        "font-size=\"15\" font-weight=\"bold\"",
        &title(answer),
    );
    out += &legend();
    for (index, bar) in answer.bars.iter().enumerate() {
        out += &row(answer, bar, TOP + ROW * index as f64, scale, index == 0);
    }
    let bottom = TOP + ROW * answer.bars.len() as f64;
    out += &limits(answer, bottom, scale);
    let note = match answer.memory.activation_error_gib.filter(|error| *error > 0.0) {
        Some(error) => format!(
            "Activations are estimated, ± {error:.1} GiB for the first bar; weights and bytes a token are exact."
        ),
        None => "Weights and bytes a token are exact; the rest is given.".to_owned(),
    };
    out += &text(16.0, bottom + 42.0, "start", "fill=\"#444444\"", &note);
    out + "</svg>\n"
}

/// The card's memory and what vLLM may take of it, as lines over all bars.
fn limits(answer: &Answer, bottom: f64, scale: f64) -> String {
    let mut out = String::new();
    for (gib, name, dash) in [
        (
            answer.memory.usable_gib,
            "vLLM's share",
            " stroke-dasharray=\"4 3\"",
        ),
        (answer.memory.card_gib, "card", ""),
    ] {
        let Some(gib) = gib else { continue };
        let x = LEFT + gib * scale;
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#000000\"{dash}/>",
            TOP - 6.0,
            bottom + 4.0
        );
        // The two lines lie close together: one caption leads to the left, one to the right.
        let (anchor, shift) = if dash.is_empty() {
            ("start", 3.0)
        } else {
            ("end", -3.0)
        };
        out += &text(
            x + shift,
            bottom + 16.0,
            anchor,
            "fill=\"#444444\"",
            &format!("{name} {gib:.2} GiB"),
        );
    }
    out
}

fn title(answer: &Answer) -> String {
    format!(
        "{} on {}, vLLM {}: memory of one card, GiB",
        answer.model, answer.card_name, answer.vllm
    )
}

/// Amounts of the parts, in their order; what is negative takes no room.
fn parts(bar: &Prediction) -> [f64; 5] {
    let gib = |estimate: Option<crate::capacity::Estimate>| estimate.map_or(0.0, |estimate| estimate.gib);
    [
        bar.weights_gib,
        gib(bar.non_torch),
        gib(bar.activation),
        gib(bar.graph),
        bar.kv_cache_gib,
    ]
    .map(|part| part.max(0.0))
}

fn legend() -> String {
    let mut out = String::new();
    for (index, (name, colour)) in PARTS.iter().enumerate() {
        let x = LEFT + 104.0 * index as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
        );
        out += &text(x + 17.0, 52.0, "start", "", name);
    }
    out
}

fn row(answer: &Answer, bar: &Prediction, y: f64, scale: f64, is_chosen: bool) -> String {
    let layout = bar.layout;
    let cards = layout.cards();
    let name = format!(
        "{cards} card{} (TP{} PP{})",
        if cards == 1 { "" } else { "s" },
        layout.tensor_parallel,
        layout.pipeline_parallel
    );
    let weight = if is_chosen { "font-weight=\"bold\"" } else { "" };
    let middle = y + BAR / 2.0 + 4.0;
    let mut out = text(LEFT - 8.0, middle, "end", weight, &name);
    let mut x = LEFT;
    for (part, (name, colour)) in parts(bar).into_iter().zip(PARTS) {
        let wide = (part * scale).min(LEFT + SPAN - x);
        if wide <= 0.0 {
            continue;
        }
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{BAR}\" fill=\"{colour}\"><title>{name} {part:.2} GiB</title></rect>"
        );
        if wide >= LABELLED {
            out += &text(
                x + wide / 2.0,
                middle,
                "middle",
                "fill=\"#ffffff\"",
                &format!("{part:.1}"),
            );
        }
        x += wide;
    }
    let (verdict, colour) = match &bar.obstacle {
        None => (
            format!(
                "{:.1} × {} tokens",
                bar.max_concurrency,
                count(answer.max_model_len)
            ),
            "#006644",
        ),
        Some(obstacle) => (format!("no: {}", obstacle.short()), "#B00020"),
    };
    let place = LEFT + SPAN + 14.0;
    out + &text(
        place,
        middle,
        "start",
        &format!("fill=\"{colour}\" {weight}"),
        &verdict,
    )
}

fn text(x: f64, y: f64, anchor: &str, attributes: &str, words: &str) -> String {
    let space = if attributes.is_empty() { "" } else { " " };
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{space}{attributes}>{}</text>\n",
        escaped(words)
    )
}

/// Text inside an element; control characters, which XML forbids, become spaces.
fn escaped(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
