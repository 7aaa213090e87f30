//! Conditions on what was answered: lengths, counts, and whether a cache knew the prompts.

use super::{Condition, Evidence, State, condition, held};
use crate::{
    load::{Spread, probe::Audit},
    record::RequestSample,
};

/// Lengths may be this far from what was asked (InferenceX #356 lost a tenth of its tokens unnoticed).
const LENGTH_TOLERANCE: f64 = 0.02;
/// Prompt tokens that a prefix cache may hold unasked (vllm #52884 was 2.3 times too fast).
const PREFIX_HITS: f64 = 0.01;
/// The clients' and the server's mean may be this far apart, seconds or as a share, whichever is more: the network and
/// the API server are between them.
const SERVER_APART: (f64, f64) = (0.05, 0.2);

/// Requests that were answered, as the server counted their tokens.
fn counted(samples: &[RequestSample]) -> impl Iterator<Item = (&RequestSample, u32)> {
    let good = samples.iter().filter(|sample| sample.error.is_none());
    good.filter_map(|sample| Some((sample, sample.output_tokens?)))
}

fn off(given: u32, asked: u32) -> bool {
    (f64::from(given) / f64::from(asked.max(1)) - 1.0).abs() > LENGTH_TOLERANCE
}

/// Lengths that were asked and given, pair by pair.
fn lengths(name: &str, what: &str, pairs: &[(u32, u32)]) -> Condition {
    if pairs.is_empty() {
        return condition(
            name,
            State::Unknown,
            format!("no {what} has both an asked and a counted length"),
        );
    }
    let wrong = pairs.iter().filter(|(given, asked)| off(*given, *asked)).count();
    let example = pairs.iter().find(|(given, asked)| off(*given, *asked));
    let text = match example {
        None => format!("{} {what}s, each within 2 % of what was asked", pairs.len()),
        Some((given, asked)) => format!(
            "{wrong} of {} {what}s are more than 2 % off: {given} tokens instead of {asked}",
            pairs.len()
        ),
    };
    held(name, wrong == 0, text)
}

/// Whether answers have the lengths that were asked.
pub fn output_lengths(evidence: &Evidence<'_>) -> Condition {
    let pairs: Vec<_> = counted(evidence.samples)
        .map(|(sample, given)| (given, sample.asked_tokens))
        .collect();
    lengths("output_length", "answer", &pairs)
}

/// Whether prompts have the lengths that were meant.
pub fn prompt_lengths(evidence: &Evidence<'_>) -> Condition {
    let good = evidence.samples.iter().filter(|sample| sample.error.is_none());
    let pairs: Vec<_> = good
        .filter_map(|sample| sample.prompt_tokens.zip(sample.asked_prompt_tokens))
        .collect();
    lengths("prompt_length", "prompt", &pairs)
}

/// More tokens than were allowed, or fewer than chunks came, cannot be.
pub fn usage(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "usage";
    let figures = evidence.figures;
    if figures.uncounted > 0 {
        let text = format!(
            "{} of {} answers came without `usage`: no figure that rests on tokens means anything",
            figures.uncounted, figures.succeeded
        );
        return held(NAME, false, text);
    }
    if let Some(Audit { ids, usage }) = evidence.audit.filter(|audit| audit.ids != audit.usage) {
        let text = format!(
            "an answer of {ids} token ids was counted as {usage} tokens: the server's `usage` is wrong"
        );
        return held(NAME, false, text);
    }
    let lie = counted(evidence.samples).find_map(|(sample, given)| {
        let (index, asked, chunks) = (sample.index, sample.asked_tokens, sample.chunks_s.len());
        if given > asked {
            Some(format!(
                "request {index}: the server counts {given} tokens where {asked} were allowed"
            ))
        } else if (given as usize) < chunks {
            Some(format!(
                "request {index}: the server counts {given} tokens in {chunks} chunks of tokens"
            ))
        } else {
            None
        }
    });
    match lie {
        Some(lie) => held(NAME, false, lie + ": its `usage` is wrong"),
        None => held(
            NAME,
            true,
            format!("{} answers, none with an impossible count", figures.succeeded),
        ),
    }
}

/// Whether the server counted the tokens that the answers tell.
pub fn server_counts(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "server_counts";
    let server = match evidence.server {
        Ok(server) => server,
        Err(why) => return condition(NAME, State::Unknown, why),
    };
    let Some(generated) = server.generation_tokens else {
        return condition(NAME, State::Unknown, "the server counts no generated tokens");
    };
    let figures = evidence.figures;
    if figures.failed() > 0 {
        let text =
            "requests failed, so that the server's count of tokens need not be the sum of the answers'";
        return condition(NAME, State::Unknown, text);
    }
    let told = figures.output_tokens;
    let text = if generated == told {
        format!("{told} output tokens, by `usage` and by /metrics")
    } else {
        format!(
            "answers count {told} output tokens, /metrics {generated}: either `usage` is wrong or others use this server"
        )
    };
    held(NAME, generated == told, text)
}

/// Whether the server's own times are near those here.
pub fn server_times(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "server_times";
    let server = match evidence.server {
        Ok(server) => server,
        Err(why) => return condition(NAME, State::Unknown, why),
    };
    let mean = |spread: &Option<Spread>| spread.as_ref().map(|spread| spread.mean_s);
    let pairs = [
        ("TTFT", mean(&evidence.figures.ttft), server.ttft_mean_s),
        ("E2EL", mean(&evidence.figures.e2e), server.e2e_mean_s),
    ];
    let known: Vec<(&str, f64, f64)> = pairs
        .into_iter()
        .filter_map(|(name, ours, theirs)| Some((name, ours?, theirs? * evidence.clock.speedup())))
        .collect();
    if known.is_empty() {
        return condition(NAME, State::Unknown, "the server tells no times of its own");
    }
    let apart = |(_, ours, theirs): &(&str, f64, f64)| {
        (ours - theirs).abs() > SERVER_APART.0.max(SERVER_APART.1 * ours.max(*theirs))
    };
    let words: Vec<String> = known
        .iter()
        .map(|(name, ours, theirs)| format!("mean {name} {ours:.3} s here, {theirs:.3} s by /metrics"))
        .collect();
    let state = if known.iter().any(apart) {
        State::Doubtful
    } else {
        State::Held
    };
    condition(NAME, state, words.join("; "))
}

/// Whether a cache knew the prompts.
pub fn prefix_hits(evidence: &Evidence<'_>) -> Condition {
    const NAME: &str = "prefix_hits";
    let rate = match evidence.server.map(|server| server.prefix_hit_rate) {
        Err(why) => return condition(NAME, State::Unknown, why),
        Ok(None) => {
            return condition(
                NAME,
                State::Unknown,
                "the server counts no hits of a prefix cache",
            );
        }
        Ok(Some(rate)) => rate,
    };
    let percent = 100.0 * rate;
    if evidence.shares_prefixes {
        return held(
            NAME,
            true,
            format!("{percent:.1} % of the prompt tokens were cached, as the shape wants"),
        );
    }
    held(
        NAME,
        rate < PREFIX_HITS,
        format!("{percent:.2} % of the prompt tokens were cached (limit 1 %)"),
    )
}
