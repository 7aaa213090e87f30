//! What a reviewer is shown of one pending golden, in words and figures: the terminal, the page and the JSON are made
//! from it. Texts are printable: no escape sequence and no control character but the line feed.

use serde::Serialize;
use time::macros::format_description;

use super::difference::margin_nat;
use super::{Change, Difference, Pending, ReasonNeeded, ReviewError, Standing, Stretch, TokenDiff, tokens};
use crate::golden::{Comparison, Divergence, Golden, GradeVerdict, Header, Side};
use crate::report::text::printable;

/// Alternatives that are listed where the two part.
const ALTERNATIVES: usize = 5;

/// Least range of the bars, in bounds of a near tie: below it, a near tie would look like a chasm.
const LEAST_RANGE: f64 = 4.0;

/// One pending golden as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// Model and case, `model/case`.
    pub name: String,
    /// Name of the case.
    pub case: String,
    /// Name of the model.
    pub model: String,
    /// Whether a simulator answered.
    pub simulated: bool,
    /// How it stands to the accepted golden; `None` where it cannot be read.
    pub standing: Option<Standing>,
    /// That in a sentence.
    pub verdict: String,
    /// What a reason has to explain before it is accepted.
    pub reason_needed: Option<ReasonNeeded>,
    /// Why the accepted golden was accepted, where its reviewer said so.
    pub last_reason: Option<String>,
    /// The graders' verdict before; `None` without an accepted golden.
    pub grade_before: Option<String>,
    /// The graders' verdict on what waits.
    pub grade_after: Option<String>,
    /// What changed around the answer.
    pub changed: Vec<Changed>,
    /// What the reviewer should know besides.
    pub notes: Vec<String>,
    /// The prompt, shortened.
    pub prompt: String,
    /// The answers; one stretch where there is only one.
    pub diff: TokenDiff,
    /// The margins where the two part.
    pub margins: Option<Margins>,
    /// The likeliest tokens where the two part.
    pub alternatives: Vec<Candidate>,
    /// How far the logprobs stray before the two part.
    pub drift: Option<String>,
}

/// Something that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What.
    pub what: &'static str,
    /// In the accepted golden.
    pub before: String,
    /// In the pending one.
    pub after: String,
}

/// How sure each side was of its token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Margins {
    /// Position of the token, from 0.
    pub position: usize,
    /// Largest margin that rounding explains, in nat.
    pub near_tie_nat: f64,
    /// Length of the longest bar, in nat.
    pub range_nat: f64,
    /// The accepted golden's side, then the pending one's.
    pub sides: [Bar; 2],
}

/// One side's margin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// `old` or `new`.
    pub side: &'static str,
    /// Its token.
    pub token: String,
    /// How much likelier its token was than the other side's, in nat; `None` where it is not known.
    pub nat: Option<f64>,
    /// Whether the figure is only a lower bound: the other token is not among the alternatives.
    pub at_least: bool,
}

/// A token that might have come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Its text, or its id.
    pub token: String,
    /// Its probability in the accepted golden, where listed.
    pub before: Option<f64>,
    /// Its probability in the pending one, where listed.
    pub after: Option<f64>,
}

impl View {
    /// What is shown of a pending golden.
    pub fn of(pending: &Pending, simulated: bool) -> Result<Self, ReviewError> {
        let mut view = Self::unread(pending, simulated);
        match &pending.difference {
            Err(error) => {
                view.verdict = printable(&format!("it can only be rejected: {error}"));
            }
            Ok(difference) => view.fill(difference)?,
        }
        Ok(view)
    }

    fn unread(pending: &Pending, simulated: bool) -> Self {
        Self {
            name: printable(&pending.name()),
            case: printable(&pending.case),
            model: printable(&pending.model),
            simulated,
            standing: None,
            verdict: String::new(),
            reason_needed: None,
            last_reason: None,
            grade_before: None,
            grade_after: None,
            changed: Vec::new(),
            notes: Vec::new(),
            prompt: String::new(),
            diff: TokenDiff {
                by_token: false,
                stretches: Vec::new(),
            },
            margins: None,
            alternatives: Vec::new(),
            drift: None,
        }
    }

    fn fill(&mut self, difference: &Difference) -> Result<(), ReviewError> {
        let Difference { old, new, .. } = difference;
        self.standing = Some(difference.standing());
        self.verdict = printable(&verdict(difference));
        self.reason_needed = difference.reason_needed();
        self.grade_after = Some(grade(new));
        self.notes = notes(difference)?;
        self.prompt = printable(&new.prompt);
        self.drift = drift(difference);
        self.margins = difference
            .divergence()
            .zip(old.as_ref())
            .map(|(divergence, old)| margins(divergence, old));
        self.alternatives = difference
            .alternatives(ALTERNATIVES)
            .into_iter()
            .map(|alternative| Candidate {
                token: token(Some(alternative.id), alternative.piece.as_deref()),
                before: alternative.old_nat.map(f64::exp),
                after: alternative.new_nat.map(f64::exp),
            })
            .collect();
        let Some(old) = old else {
            self.changed = origin(&new.header);
            self.diff.stretches = vec![Stretch {
                change: Change::Equal,
                text: printable(&tokens::output(new)),
            }];
            return Ok(());
        };
        self.grade_before = Some(grade(old));
        self.last_reason = old.header.reason.as_deref().map(printable);
        self.changed = changed(&old.header, &new.header);
        self.diff = tokens::changes(old, new);
        for stretch in &mut self.diff.stretches {
            stretch.text = printable(&stretch.text);
        }
        Ok(())
    }

    /// What the figure of a margin is called: `0.250 nat`, `at least 2.100 nat`.
    pub fn margin_words(bar: &Bar) -> String {
        match bar.nat {
            Some(nat) if bar.at_least => format!("at least {nat:.3} nat"),
            Some(nat) => format!("{nat:.3} nat"),
            None => "not known".to_owned(),
        }
    }
}

fn verdict(difference: &Difference) -> String {
    let at = difference
        .divergence()
        .map(|divergence| divergence.position)
        .unwrap_or_default();
    match &difference.comparison {
        None => "new: the case has no accepted golden yet".to_owned(),
        Some(Comparison::Identical) => "identical: text and token ids are those of the golden".to_owned(),
        Some(Comparison::NearTie(_)) if difference.same_text() => {
            format!("near tie: the same text from other token ids, from position {at} on")
        }
        Some(Comparison::NearTie(_)) => {
            format!("near tie: the answers part at position {at}, where rounding may decide")
        }
        Some(Comparison::Divergent(_)) if difference.same_text() => {
            format!("divergent: the same text from other token ids, from position {at} on, beyond rounding")
        }
        Some(Comparison::Divergent(_)) => {
            format!("divergent: the answers part at position {at}, and rounding does not explain it")
        }
        Some(Comparison::Incomparable(why)) => format!("cannot be compared: {why}"),
    }
}

fn grade(golden: &Golden) -> String {
    let grading = &golden.header.grade;
    let word = match grading.verdict {
        GradeVerdict::Right => "right",
        GradeVerdict::Wrong => "wrong",
        GradeVerdict::NotGraded => "not graded",
    };
    if grading.graders.is_empty() {
        word.to_owned()
    } else {
        printable(&format!("{word} ({})", grading.graders.join(", ")))
    }
}

fn notes(difference: &Difference) -> Result<Vec<String>, ReviewError> {
    let mut notes = Vec::new();
    if difference.is_stale()? {
        notes.push(
            "the accepted golden is not the one that this answer was recorded against: validate again"
                .to_owned(),
        );
    }
    let unexplained = |old: &Golden| old.header.replaces.is_some() && old.header.reason.is_none();
    if difference.old.as_ref().is_some_and(unexplained) {
        notes.push(
            "the accepted golden replaced another one without a reason (cargo insta keeps none)".to_owned(),
        );
    }
    Ok(notes)
}

fn drift(difference: &Difference) -> Option<String> {
    let drift = difference.shared_drift()?;
    let floor = difference
        .old
        .as_ref()
        .and_then(|old| old.header.floor)
        .map_or_else(
            || "no floor is recorded".to_owned(),
            |floor| format!("the floor's mean is {:.4}", floor.mean_delta_nat),
        );
    Some(format!(
        "over {} shared token{}: logprobs stray by {:.4} nat in the mean, {:.4} at most; {floor}",
        drift.positions,
        if drift.positions == 1 { "" } else { "s" },
        drift.mean_delta_nat,
        drift.max_delta_nat
    ))
}

fn margins(divergence: &Divergence, old: &Golden) -> Margins {
    let bar = |side: &'static str, of: &Side| {
        let figure = margin_nat(of.margin);
        Bar {
            side,
            token: token(of.token, of.piece.as_deref()),
            nat: figure.map(|(nat, _)| nat),
            at_least: figure.is_some_and(|(_, bound)| bound),
        }
    };
    let sides = [bar("old", &divergence.golden), bar("new", &divergence.answer)];
    let near_tie_nat = old.near_tie_nat();
    let longest = sides.iter().filter_map(|bar| bar.nat).fold(0.0, f64::max);
    Margins {
        position: divergence.position,
        near_tie_nat,
        range_nat: longest.max(LEAST_RANGE * near_tie_nat),
        sides,
    }
}

/// A token in one line: its text as a string literal, or its id.
fn token(id: Option<u32>, piece: Option<&str>) -> String {
    match (id, piece) {
        (None, _) => "(the end)".to_owned(),
        (Some(_), Some(piece)) => format!("{piece:?}"),
        (Some(id), None) => format!("token {id}"),
    }
}

/// Name of a fact and its value.
type Fact = (&'static str, String);

fn facts(header: &Header) -> Vec<Fact> {
    let recorded = &header.recorded;
    let at = recorded
        .at
        .format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
        .unwrap_or_else(|_| recorded.at.to_string());
    let floor = header.floor.map_or_else(
        || "none".to_owned(),
        |floor| {
            format!(
                "near tie {} nat, mean |Δ| {} nat",
                floor.near_tie_nat, floor.mean_delta_nat
            )
        },
    );
    let settings = &header.settings;
    let facts = [
        ("stack", recorded.stack.clone()),
        ("vLLM", recorded.vllm.clone()),
        ("accelerator", recorded.accelerator.clone()),
        ("weights", recorded.model_digest.clone()),
        ("recorded", at),
        ("max_tokens", settings.max_tokens.to_string()),
        ("seed", settings.seed.to_string()),
        ("top_logprobs", settings.top_logprobs.to_string()),
        ("endpoint", format!("{:?}", settings.endpoint).to_lowercase()),
        ("finish", finish(header)),
        ("floor", floor),
        ("command", recorded.command.clone()),
    ];
    facts.map(|(what, value)| (what, printable(&value))).into()
}

fn finish(header: &Header) -> String {
    // The word of the file: a string.
    serde_json::to_value(&header.finish)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{:?}", header.finish))
}

fn changed(old: &Header, new: &Header) -> Vec<Changed> {
    facts(old)
        .into_iter()
        .zip(facts(new))
        .filter(|((_, before), (_, after))| before != after)
        .map(|((what, before), (_, after))| Changed { what, before, after })
        .collect()
}

/// Where a golden comes from that has no predecessor.
fn origin(header: &Header) -> Vec<Changed> {
    let wanted = ["stack", "vLLM", "recorded", "command"];
    facts(header)
        .into_iter()
        .filter(|(what, _)| wanted.contains(what))
        .map(|(what, after)| Changed {
            what,
            before: String::new(),
            after,
        })
        .collect()
}
