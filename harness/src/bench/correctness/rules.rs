//! The rules that are tried: the harness's two, vLLM's own, and plain equality of texts. A rule judges a suite: the case
//! rules raise an alarm where any case does, as a test suite fails by one test.

use std::collections::HashSet;

use serde::Serialize;

use crate::{
    golden::{self, Comparison, Golden, GoldenDrift, Incomparable},
    judge::drift::{self, Judged, Refusal, Scored, Suite},
    record::Verdict,
    vllm::{Answer, Position},
};

/// Alternatives that `check_logprobs_close` looks at, as vLLM's tests ask for (`num_logprobs=5`).
const CLOSE_RANKS: usize = 5;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The golden's tokens are scored, figures with intervals against the floor.
    TeacherForced,
    /// Free generation against the golden: a near tie passes, anything else that parts does not.
    NearTies,
    /// vLLM's `check_logprobs_close`: where both first part, each token is among the other's five likeliest.
    CheckLogprobsClose,
    /// The same text.
    TextEquality,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 4] = [
        Self::TeacherForced,
        Self::NearTies,
        Self::CheckLogprobsClose,
        Self::TextEquality,
    ];

    /// Name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TeacherForced => "teacher_forced",
            Self::NearTies => "near_ties",
            Self::CheckLogprobsClose => "check_logprobs_close",
            Self::TextEquality => "text_equality",
        }
    }
}

/// What a rule says of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The model changed.
    Alarm,
    /// Nothing did.
    Silence,
    /// It cannot tell.
    Undecided,
}

/// A golden and what another server says.
#[derive(Debug, Clone)]
pub struct Trialed<'a> {
    /// The golden.
    pub golden: &'a Golden,
    /// How far it strays over the golden's own tokens.
    pub drift: Result<GoldenDrift, Refusal>,
    /// Its own answer, where it gave one.
    pub own: Option<Answer>,
}

/// The harness's judgement over the golden's own tokens.
pub fn judged(suite: &[Trialed<'_>]) -> Judged {
    let mut judged = Suite::default();
    for one in suite {
        match &one.drift {
            Ok(drift) => judged.scored.push(Scored {
                golden: one.golden,
                drift,
            }),
            Err(why) => judged.refused.push((one.golden.header.case.clone(), why.clone())),
        }
    }
    drift::judge(&judged)
}

/// What a verdict says.
pub const fn said(verdict: Verdict) -> Said {
    match verdict {
        Verdict::Failed => Said::Alarm,
        Verdict::Passed => Said::Silence,
        _ => Said::Undecided,
    }
}

/// What a rule on free answers says of a suite: an alarm where any case raises one.
pub fn on_answers(rule: Rule, suite: &[Trialed<'_>]) -> Said {
    let mut seen = false;
    for one in suite {
        let Some(own) = &one.own else { continue };
        seen = true;
        let alarm = match rule {
            Rule::NearTies => parts_beyond_near_ties(one.golden, own),
            Rule::CheckLogprobsClose => !logprobs_close(&one.golden.positions, &own.positions),
            Rule::TextEquality | Rule::TeacherForced => one.golden.answer != own.text,
        };
        if alarm {
            return Said::Alarm;
        }
    }
    if seen { Said::Silence } else { Said::Undecided }
}

fn parts_beyond_near_ties(golden: &Golden, own: &Answer) -> bool {
    match golden::compare(golden, own) {
        Comparison::Identical | Comparison::NearTie(_) => false,
        Comparison::Divergent(_) => true,
        Comparison::Incomparable(why) => !matches!(
            why,
            Incomparable::Limit { .. }
                | Incomparable::NoTokenIds { .. }
                | Incomparable::TooFewAlternatives { .. }
        ),
    }
}

/// vLLM's rule (tests/models/utils.py): both lists in step up to the shorter one's end; at the first difference each
/// token must be among the other's likeliest, and nothing behind it counts.
fn logprobs_close(ours: &[Position], theirs: &[Position]) -> bool {
    let differs = |pair: &(&Position, &Position)| pair.0.token.id != pair.1.token.id;
    let Some((ours, theirs)) = ours.iter().zip(theirs).find(differs) else {
        return true;
    };
    let likeliest = |position: &Position| -> HashSet<u32> {
        position
            .top
            .iter()
            .take(CLOSE_RANKS)
            .map(|token| token.id)
            .collect()
    };
    likeliest(theirs).contains(&ours.token.id) && likeliest(ours).contains(&theirs.token.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::sample;

    fn suite(golden: &Golden, own: Answer) -> Vec<Trialed<'_>> {
        vec![Trialed {
            golden,
            drift: golden::drift(golden, &golden.positions).map_err(Refusal::from),
            own: Some(own),
        }]
    }

    #[test]
    fn vllms_rule_looks_at_ranks_and_not_at_margins() {
        let mut golden = sample::golden();
        let top =
            |first: (u32, f64), second: (u32, f64)| [first, second, (902, -4.0), (903, -5.25), (904, -6.0)];
        golden.positions[2] = sample::position(282, &top((282, -0.01), (8000, -3.9)));
        let mut own = sample::answer();
        own.positions[2] = sample::position(8000, &top((8000, -0.01), (282, -3.9)));
        own.text = "The capital town".to_owned();
        let suite = suite(&golden, own);
        // A token 3.9 nat behind takes over: nothing to vLLM's rule, a divergence to ours.
        assert_eq!(on_answers(Rule::CheckLogprobsClose, &suite), Said::Silence);
        assert_eq!(on_answers(Rule::NearTies, &suite), Said::Alarm);
        assert_eq!(on_answers(Rule::TextEquality, &suite), Said::Alarm);
    }

    #[test]
    fn the_same_answer_is_silence_to_all() {
        let golden = sample::golden();
        let suite = suite(&golden, sample::answer());
        for rule in [Rule::NearTies, Rule::CheckLogprobsClose, Rule::TextEquality] {
            assert_eq!(on_answers(rule, &suite), Said::Silence, "{rule:?}");
        }
        let unanswered = vec![Trialed {
            own: None,
            ..suite[0].clone()
        }];
        assert_eq!(on_answers(Rule::NearTies, &unanswered), Said::Undecided);
    }
}
