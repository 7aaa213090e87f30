//! Percentiles: their order, and whether there are samples enough for them; results of inference tests.

use super::{Contradiction, plain};
use crate::audit::{Cell, Column, Fact, Finding, Rule, Section};

/// Statistics of one quantity from the least to the greatest; a mean lies anywhere between least and greatest.
const ORDERS: [&[Fact]; 4] = [
    &[
        Fact::LatencyMin,
        Fact::LatencyP50,
        Fact::LatencyP90,
        Fact::LatencyP95,
        Fact::LatencyP99,
        Fact::LatencyMax,
    ],
    &[
        Fact::TtftP50,
        Fact::TtftP90,
        Fact::TtftP95,
        Fact::TtftP99,
        Fact::TtftMax,
    ],
    &[Fact::TpotP50, Fact::TpotP90, Fact::TpotP95, Fact::TpotP99],
    &[Fact::ItlP50, Fact::ItlP90, Fact::ItlP95, Fact::ItlP99],
];

/// Percentiles of requests and the samples below which they are only their maximum: 1 / (1 − p).
const SAMPLES: [(Fact, f64); 9] = [
    (Fact::LatencyP90, 10.0),
    (Fact::LatencyP95, 20.0),
    (Fact::LatencyP99, 100.0),
    (Fact::TtftP90, 10.0),
    (Fact::TtftP95, 20.0),
    (Fact::TtftP99, 100.0),
    (Fact::TpotP90, 10.0),
    (Fact::TpotP95, 20.0),
    (Fact::TpotP99, 100.0),
];

/// Stages of an inference test in which nothing was answered yet.
const BEFORE_ANSWERS: [&str; 2] = ["INIT", "STARTING_SERVER"];

pub(super) fn order(column: &Column, findings: &mut Vec<Finding>) {
    for section in &column.sections {
        for order in ORDERS {
            let cells: Vec<&Cell> = order.iter().filter_map(|fact| section.cells.get(fact)).collect();
            findings.extend(
                cells
                    .windows(2)
                    .filter_map(|pair| ordered(column, pair[0], pair[1])),
            );
        }
        let get = |fact: Fact| section.cells.get(&fact);
        let (least, mean, greatest) = (
            get(Fact::LatencyMin),
            get(Fact::LatencyMean),
            get(Fact::LatencyMax),
        );
        findings.extend(
            least
                .zip(mean)
                .and_then(|(least, mean)| ordered(column, least, mean)),
        );
        findings.extend(
            mean.zip(greatest)
                .and_then(|(mean, greatest)| ordered(column, mean, greatest)),
        );
        few_samples(column, section, findings);
        findings.extend(stage(column, section));
    }
}

fn ordered(column: &Column, lower: &Cell, higher: &Cell) -> Option<Finding> {
    if !lower.value.is_above(higher.value) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::PercentileOrder,
        cells: &[lower, higher],
        expected: format!("at least {}", lower.text),
        arithmetic: format!(
            "{} {} lies above {} {}",
            lower.name, lower.text, higher.name, higher.text
        ),
    };
    Some(contradiction.in_column(column))
}

fn few_samples(column: &Column, section: &Section, findings: &mut Vec<Finding>) {
    let count = section
        .cells
        .get(&Fact::Succeeded)
        .or_else(|| section.cells.get(&Fact::Requests));
    let Some(count) = count.filter(|_| !section.tells_samples) else {
        return;
    };
    for (fact, needed) in SAMPLES {
        let Some(cell) = section.cells.get(&fact).filter(|_| count.value.most < needed) else {
            continue;
        };
        let contradiction = Contradiction {
            rule: Rule::FewSamples,
            cells: &[count, cell],
            expected: format!("at least {needed} requests"),
            arithmetic: format!(
                "{} comes from {} requests, of which it is the maximum or leans on it; it needs {needed}",
                cell.name,
                plain(count.value.middle())
            ),
        };
        findings.push(Finding {
            found: format!("{} from {} requests", cell.name, count.text),
            ..contradiction.in_column(column)
        });
    }
}

/// An answer cannot be right before the server answers, nor all of a test be wrong that ended well.
fn stage(column: &Column, section: &Section) -> Option<Finding> {
    let ratio = section.cells.get(&Fact::CorrectRatio)?;
    let is_early = BEFORE_ANSWERS.contains(&section.name.as_str()) && ratio.value.least > 0.0;
    let is_beyond = ratio.value.least > 1.0;
    if !is_early && !is_beyond {
        return None;
    }
    let expected = if is_beyond { "at most 100%" } else { "0%" };
    let contradiction = Contradiction {
        rule: Rule::Stage,
        cells: &[ratio],
        expected: expected.to_owned(),
        arithmetic: format!(
            "{} of the answers were right in the stage {}",
            ratio.text, section.name
        ),
    };
    Some(contradiction.in_column(column))
}
