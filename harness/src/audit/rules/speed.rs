//! Speed: what follows from tokens, requests and time, what tables must agree on, and the roof of the card.

use super::{Contradiction, off, plain};
use crate::audit::{Cell, Column, Fact, Finding, Interval, Rule, Section};

/// How far the tokens of a mean request may lie from those that mean latency × mean speed give: long requests are not
/// quite as fast as short ones.
const MEANS_APART: f64 = 0.05;
/// The same where both come from the same requests, which may differ more in length.
const SAME_REQUESTS_APART: f64 = 0.15;
/// Requests are counted as in flight from send to last token; a client needs a moment between two.
const FLIGHT_SLACK: f64 = 0.02;

pub(super) fn speed(column: &Column, findings: &mut Vec<Finding>) {
    for section in &column.sections {
        findings.extend(quotient(column, section, &THROUGHPUT));
        findings.extend(quotient(column, section, &REQUEST_RATE));
        findings.extend(total_throughput(column, section));
        findings.extend(requests(column, section));
        findings.extend(in_flight(column, section));
        findings.extend(own_tokens(column, section));
        findings.extend(roof(column, section));
    }
    findings.extend(tokens_per_request(column));
}

/// A rate that is a count over the time of its section.
struct Quotient {
    rule: Rule,
    counts: &'static [Fact],
    rate: Fact,
    unit: &'static str,
}

const THROUGHPUT: Quotient = Quotient {
    rule: Rule::Throughput,
    counts: &[Fact::OutputTokens],
    rate: Fact::OutputThroughput,
    unit: "tokens/s",
};

const REQUEST_RATE: Quotient = Quotient {
    rule: Rule::RequestRate,
    counts: &[Fact::Succeeded, Fact::Requests],
    rate: Fact::RequestRate,
    unit: "requests/s",
};

fn quotient(column: &Column, section: &Section, of: &Quotient) -> Option<Finding> {
    let get = |fact: Fact| section.cells.get(&fact);
    let count = of.counts.iter().find_map(|fact| get(*fact))?;
    let (wall, rate) = (get(Fact::Wall)?, get(of.rate)?);
    if wall.value.least <= 0.0 {
        return None;
    }
    let expected = count.value / wall.value;
    if expected.meets(rate.value) {
        return None;
    }
    // The middle of a quotient is not the quotient of the middles.
    let expected = Interval::exact(count.value.middle() / wall.value.middle());
    let contradiction = Contradiction {
        rule: of.rule,
        cells: &[count, wall, rate],
        expected: format!("{} {}", plain(expected.middle()), of.unit),
        arithmetic: format!(
            "{} / {} = {} {}; {} is {}",
            count.text,
            wall.text,
            plain(expected.middle()),
            of.unit,
            rate.text,
            off(expected, rate.value)
        ),
    };
    Some(contradiction.in_column(column))
}

/// Input and output tokens over the time of the section.
fn total_throughput(column: &Column, section: &Section) -> Option<Finding> {
    let get = |fact: Fact| section.cells.get(&fact);
    let (input, output) = (get(Fact::InputTokens)?, get(Fact::OutputTokens)?);
    let (wall, rate) = (get(Fact::Wall)?, get(Fact::TotalThroughput)?);
    if wall.value.least <= 0.0 {
        return None;
    }
    let expected = (input.value + output.value) / wall.value;
    if expected.meets(rate.value) {
        return None;
    }
    let expected = Interval::exact((input.value + output.value).middle() / wall.value.middle());
    let contradiction = Contradiction {
        rule: Rule::Throughput,
        cells: &[input, output, wall, rate],
        expected: format!("{} tokens/s", plain(expected.middle())),
        arithmetic: format!(
            "({} + {}) / {} = {} tokens/s; {} is {}",
            input.text,
            output.text,
            wall.text,
            plain(expected.middle()),
            rate.text,
            off(expected, rate.value)
        ),
    };
    Some(contradiction.in_column(column))
}

fn requests(column: &Column, section: &Section) -> Option<Finding> {
    let get = |fact: Fact| section.cells.get(&fact);
    let (all, succeeded, failed) = (get(Fact::Requests)?, get(Fact::Succeeded)?, get(Fact::Failed)?);
    let expected = succeeded.value + failed.value;
    if expected.meets(all.value) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::Requests,
        cells: &[succeeded, failed, all],
        expected: plain(expected.middle()),
        arithmetic: format!(
            "{} succeeded + {} failed = {}, not {}",
            succeeded.text,
            failed.text,
            plain(expected.middle()),
            all.text
        ),
    };
    Some(contradiction.in_column(column))
}

/// Little's law: requests × mean latency / time are in flight on average, at most as many as were allowed.
fn in_flight(column: &Column, section: &Section) -> Option<Finding> {
    let get = |fact: Fact| section.cells.get(&fact);
    let (count, latency) = (get(Fact::Succeeded)?, get(Fact::LatencyMean)?);
    let (wall, concurrency) = (get(Fact::Wall)?, get(Fact::Concurrency)?);
    if wall.value.least <= 0.0 {
        return None;
    }
    let flying = count.value * latency.value / wall.value;
    let allowed = concurrency.value.allowing(FLIGHT_SLACK);
    if !flying.is_above(allowed) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::RequestsInFlight,
        cells: &[count, latency, wall, concurrency],
        expected: format!("at least {}", plain(flying.least)),
        arithmetic: format!(
            "{} requests × {} / {} = {} in flight on average, but at most {} were allowed",
            count.text,
            latency.text,
            wall.text,
            plain(flying.middle()),
            concurrency.text
        ),
    };
    Some(contradiction.in_column(column))
}

/// Mean latency × mean speed is a mean request's tokens; both from the same requests.
fn own_tokens(column: &Column, section: &Section) -> Option<Finding> {
    let get = |fact: Fact| section.cells.get(&fact);
    let tokens = get(Fact::OutputTokens)?;
    let requests = get(Fact::Succeeded).or_else(|| get(Fact::Requests))?;
    let (latency, speed) = (get(Fact::LatencyMean)?, get(Fact::GenerationMean)?);
    compare(column, (latency, speed), (tokens, requests), SAME_REQUESTS_APART)
}

/// The same across tables, where single requests and those at once are of one workload, as in the first report.
fn tokens_per_request(column: &Column) -> Option<Finding> {
    let single = column
        .sections
        .iter()
        .find(|section| section.cells.contains_key(&Fact::GenerationMean))?;
    if single.cells.contains_key(&Fact::OutputTokens) {
        return None;
    }
    let mut totals = column
        .sections
        .iter()
        .filter(|section| section.cells.contains_key(&Fact::OutputTokens));
    // Of several workloads nobody says which one it was.
    let (total, None) = (totals.next()?, totals.next()) else {
        return None;
    };
    let get = |fact: Fact| single.cells.get(&fact);
    let tokens = total.cells.get(&Fact::OutputTokens)?;
    let requests = total
        .cells
        .get(&Fact::Succeeded)
        .or_else(|| total.cells.get(&Fact::Requests))?;
    compare(
        column,
        (get(Fact::LatencyMean)?, get(Fact::GenerationMean)?),
        (tokens, requests),
        MEANS_APART,
    )
}

fn compare(
    column: &Column,
    (latency, speed): (&Cell, &Cell),
    (tokens, requests): (&Cell, &Cell),
    apart: f64,
) -> Option<Finding> {
    if requests.value.least <= 0.0 {
        return None;
    }
    let each = tokens.value / requests.value;
    let found = latency.value * speed.value;
    if each.allowing(apart).meets(found) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::TokensPerRequest,
        cells: &[tokens, requests, latency, speed],
        expected: format!("{} tokens a request", plain(each.middle())),
        arithmetic: format!(
            "{} × {} = {} tokens a request, but {} / {} = {}; {}",
            speed.text,
            latency.text,
            plain(found.middle().round()),
            tokens.text,
            requests.text,
            plain(each.middle()),
            off(each, found)
        ),
    };
    Some(Finding {
        found: format!("{} tokens a request", plain(found.middle().round())),
        ..contradiction.in_column(column)
    })
}

/// One stream reads every weight for each token.
fn roof(column: &Column, section: &Section) -> Option<Finding> {
    let speed = section.cells.get(&Fact::GenerationMean)?;
    let (read, bandwidth) = (column.cell(Fact::ReadBytes)?, column.cell(Fact::Bandwidth)?);
    let cards = column.value(Fact::TensorParallel).unwrap_or(Interval::exact(1.0));
    if read.value.least <= 0.0 {
        return None;
    }
    let roof = bandwidth.value * Interval::exact(1e9) * cards / read.value;
    if !speed.value.is_above(roof) {
        return None;
    }
    let contradiction = Contradiction {
        rule: Rule::BandwidthRoof,
        cells: &[read, bandwidth, speed],
        expected: format!("at most {} tokens/s", plain(roof.most)),
        arithmetic: format!(
            "{} × {:.2} GB a token = {:.0} GB/s, but the card reads {} GB/s",
            speed.text,
            read.value.middle() / 1e9,
            speed.value.middle() * read.value.middle() / 1e9 / cards.middle(),
            plain(bandwidth.value.middle())
        ),
    };
    Some(contradiction.in_column(column))
}
