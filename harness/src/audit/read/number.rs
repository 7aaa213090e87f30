//! Figures as people and programs write them: `13.50 GiB`, `18,691`, `36.51x`, `90%`, `3.271s`, `14.8 ms`.

use crate::audit::{Fact, Interval};

/// What a written figure can be, in the fact's unit; `None` where the text does not begin with one.
pub(super) fn written(text: &str, fact: Fact) -> Option<Interval> {
    let text = text.trim().trim_start_matches(['*', '~', '≈', '`']);
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(text.len());
    let number = text[..end].trim_end_matches(['.', ',']).replace(',', "");
    let value: f64 = number.parse().ok().filter(|value: &f64| value.is_finite())?;
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let factor = unit_factor(text[end..].trim_start(), fact)?;
    let half = if is_count(fact) {
        0.0
    } else {
        0.5 * 10f64.powi(-i32::try_from(decimals.min(18)).unwrap_or(18))
    };
    Some(Interval::around(value * factor, half * factor))
}

/// A figure out of JSON: its text tells its digits; one of many digits was not rounded.
pub(super) fn of_json(number: &serde_json::Number, fact: Fact, factor: f64) -> Option<Interval> {
    let value = number.as_f64().filter(|value| value.is_finite())?;
    let text = number.to_string();
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let half = if is_count(fact) || decimals > 6 || text.contains('e') {
        value.abs() * 1e-9
    } else {
        0.5 * 10f64.powi(-i32::try_from(decimals).unwrap_or(6))
    };
    Some(Interval::around(value * factor, half * factor))
}

/// Whether a fact is counted, and therefore never rounded.
const fn is_count(fact: Fact) -> bool {
    matches!(
        fact,
        Fact::Blocks
            | Fact::BlockSize
            | Fact::KvTokens
            | Fact::MaxModelLen
            | Fact::TensorParallel
            | Fact::PipelineParallel
            | Fact::TokenBytes
            | Fact::Concurrency
            | Fact::Requests
            | Fact::Succeeded
            | Fact::Failed
            | Fact::InputTokens
            | Fact::OutputTokens
    )
}

/// Whether a fact is a time, in seconds.
const fn is_time(fact: Fact) -> bool {
    matches!(
        fact,
        Fact::Wall
            | Fact::LatencyMean
            | Fact::LatencyMin
            | Fact::LatencyMax
            | Fact::LatencyP50
            | Fact::LatencyP90
            | Fact::LatencyP95
            | Fact::LatencyP99
            | Fact::TtftMean
            | Fact::TtftP50
            | Fact::TtftP90
            | Fact::TtftP95
            | Fact::TtftP99
            | Fact::TtftMax
            | Fact::TpotMean
            | Fact::TpotP50
            | Fact::TpotP90
            | Fact::TpotP95
            | Fact::TpotP99
            | Fact::ItlP50
            | Fact::ItlP90
            | Fact::ItlP95
            | Fact::ItlP99
    )
}

/// How many of the fact's unit one of the written unit is; `None` for a unit of something else.
fn unit_factor(rest: &str, fact: Fact) -> Option<f64> {
    let unit: String = rest
        .chars()
        .take_while(|c| !c.is_whitespace() && !"(（*".contains(*c))
        .collect();
    let unit = unit.trim_end_matches([',', ';', '.']).to_lowercase();
    if is_time(fact) {
        return match unit.as_str() {
            "s" | "sec" | "秒" | "seconds" | "" => Some(1.0),
            "ms" | "毫秒" => Some(1e-3),
            "min" => Some(60.0),
            _ => None,
        };
    }
    match fact {
        Fact::Weights
        | Fact::NonTorch
        | Fact::Activation
        | Fact::Graph
        | Fact::KvCache
        | Fact::CardMemory => match unit.as_str() {
            "gib" | "g" | "" => Some(1.0),
            "mib" => Some(1.0 / 1024.0),
            "gb" => Some(1e9 / 1_073_741_824.0),
            _ => None,
        },
        Fact::Utilization | Fact::CorrectRatio => match unit.as_str() {
            "%" => Some(0.01),
            "" => Some(1.0),
            _ => None,
        },
        _ => Some(1.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn figures_are_as_wide_as_their_last_digit() {
        let read = |text, fact| written(text, fact).map(|interval| (interval.least, interval.most));
        assert_eq!(read("18,691", Fact::Blocks), Some((18_691.0, 18_691.0)));
        assert_eq!(read("36.5x", Fact::MaxConcurrency), Some((36.45, 36.55)));
        assert_eq!(read("**90%**", Fact::Utilization), Some((0.895, 0.905)));
        assert_eq!(read("250 ms", Fact::LatencyMean), Some((0.2495, 0.2505)));
        assert_eq!(read("2 GiB (estimated)", Fact::KvCache), Some((1.5, 2.5)));
        assert_eq!(
            read("512 MiB", Fact::NonTorch).map(|range| range.1 > 0.5),
            Some(true)
        );
        assert_eq!(read("not printed", Fact::KvCache), None);
        assert_eq!(read("3 tokens", Fact::KvCache), None);
        assert_eq!(read("", Fact::Blocks), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}|[0-9.,]{0,30}[a-zA-Z%]{0,4}") {
            let _ = (written(&text, Fact::Wall), written(&text, Fact::Weights), written(&text, Fact::Utilization));
        }
    }
}
