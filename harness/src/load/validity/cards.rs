//! Conditions on the cards: nobody else computes on them, and they run at their full speed.

use serde::{Deserialize, Serialize};

use super::{Condition, Evidence, State, condition, held};

/// Temperature of the hottest spot at which cards slow down, °C: the limit from which operators refuse one.
const HOT_C: f64 = 85.0;
/// Share of the power limit at which a card is held back by it.
const CAPPED: f64 = 0.99;

/// The cards of a server around a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CardsSeen {
    /// Cards that were in use before the server was started.
    pub in_use_before: Vec<u32>,
    /// Processes that came to the cards since the server was ready, in words.
    pub strangers: Vec<String>,
    /// The cards as the phase ended.
    pub cards: Vec<CardSeen>,
}

/// A card as a phase ended. What the tool does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CardSeen {
    /// Index.
    pub index: u32,
    /// Hottest spot, °C.
    pub temperature_c: Option<f64>,
    /// Power of the board, W.
    pub power_w: Option<f64>,
    /// Its limit, W.
    pub power_cap_w: Option<f64>,
}

const UNSEEN: &str = "no tool tells of the server's cards";

/// Whether the server has its cards to itself.
pub fn alone(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "card_alone";
    let Some(seen) = evidence.cards else {
        return condition(NAME, State::Unknown, UNSEEN);
    };
    if let Some(card) = seen.in_use_before.first() {
        let text =
            format!("card {card} was in use before the server was started: the figures are those of two");
        return held(NAME, false, text);
    }
    match seen.strangers.as_slice() {
        [] => held(NAME, true, "nobody else came to the server's cards"),
        strangers => held(
            NAME,
            false,
            format!("others came to the server's cards: {}", strangers.join(", ")),
        ),
    }
}

/// Whether heat or a limit of power held the cards back.
pub fn throttling(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "card_throttling";
    let cards = evidence
        .cards
        .map(|seen| seen.cards.as_slice())
        .unwrap_or_default();
    let hottest = cards
        .iter()
        .filter_map(|card| Some((card.index, card.temperature_c?)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((index, temperature)) = hottest else {
        return condition(NAME, State::Unknown, UNSEEN);
    };
    let text = format!("card {index} was at {temperature} °C (limit {HOT_C} °C)");
    if temperature >= HOT_C {
        return held(NAME, false, text);
    }
    let capped = |card: &&CardSeen| {
        let share = card.power_w.zip(card.power_cap_w).map(|(power, cap)| power / cap);
        share.is_some_and(|share| share >= CAPPED)
    };
    match cards.iter().find(capped) {
        // Cards that compute with all they have are at their limit too: no reason to throw the figures away.
        Some(card) => condition(
            NAME,
            State::Doubtful,
            format!("card {} was at its limit of power", card.index),
        ),
        None => held(NAME, true, text),
    }
}
