//! Words for where an answer parts from its golden: position, both tokens, both margins, the text around, a diff.

use super::diff;
use crate::golden::{Divergence, Golden, GoldenDrift, Margin, Side};
use crate::judge::drift::nat;
use crate::record::{Finding, Severity};
use crate::vllm::Answer;

pub fn near_tie(divergence: &Divergence, tau_nat: f64) -> Finding {
    let text = format!(
        "near tie (margins up to {tau_nat:.2} nat are rounding): {}",
        place(divergence)
    );
    Finding::note(text).with_evidence(around(divergence))
}

pub fn divergent(divergence: &Divergence, golden: &Golden, answer: &Answer) -> Finding {
    let text = format!("parts from the golden: {}", place(divergence));
    let changed = diff::words(&golden.answer, &answer.text);
    Finding::failure(text)
        .with_evidence(around(divergence))
        .with_evidence(changed.lines().map(|line| format!("diff    | {line}")))
}

/// A divergence beside clean scores.
pub fn excused(parted: Finding, drift: &GoldenDrift) -> Finding {
    let text = format!(
        "{}; yet over the golden's own {} tokens the server stays within the floor (mean KLD {} nat, no other token leads \
         by more than {} nat): generation parted, the model did not",
        parted.text,
        drift.positions.len(),
        nat(drift.mean(|position| position.kld_nat)),
        nat(drift.greatest(|position| position.margin_nat))
    );
    Finding {
        severity: Severity::Warning,
        text,
        ..parted
    }
}

fn place(divergence: &Divergence) -> String {
    format!(
        "at position {} the golden has {} and the answer {}",
        divergence.position,
        side(&divergence.golden),
        side(&divergence.answer)
    )
}

fn side(side: &Side) -> String {
    let token = match (side.token, &side.piece) {
        (None, _) => return "ended".to_owned(),
        (Some(id), Some(piece)) => format!("{piece:?} (token {id}"),
        (Some(id), None) => format!("token {id} ("),
    };
    let separator = if side.piece.is_some() { ", " } else { "" };
    match side.margin {
        Margin::Exactly(nat) => format!("{token}{separator}{nat:.3} nat ahead of the other)"),
        Margin::AtLeast(nat) => format!(
            "{token}{separator}at least {nat:.3} nat ahead of the other, which is not among its alternatives)"
        ),
        Margin::Unknown => format!("{token}{separator}margin unknown)"),
    }
}

/// The text on both sides; line breaks shown, so that each side is one line.
fn around(divergence: &Divergence) -> [String; 3] {
    let line = |text: &str| {
        text.escape_debug()
            .to_string()
            .replace("\\'", "'")
            .replace("\\\"", "\"")
    };
    [
        format!("shared  | {}", line(&divergence.shared)),
        format!("golden  | {}", line(&divergence.golden.after)),
        format!("answer  | {}", line(&divergence.answer.after)),
    ]
}
