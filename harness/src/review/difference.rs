//! What a reviewer decides on: a golden that waits beside the accepted one, how the two stand to each other, and
//! whether accepting it needs a reason. Pure.

use serde::Serialize;

use super::{ReviewError, tokens};
use crate::golden::{
    Comparison, DEFAULT_NEAR_TIE_NAT, Divergence, Floor, Golden, GradeVerdict, Margin, compare,
};
use crate::vllm::Position;

/// A pending golden and the accepted one of its case.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The accepted golden; `None` where the case has none yet.
    pub old: Option<Golden>,
    /// The one that waits.
    pub new: Golden,
    /// How the new one stands to the old one; `None` without an old one.
    pub comparison: Option<Comparison>,
}

/// How a pending golden stands to the accepted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The case has no accepted golden.
    New,
    /// The same ids and text; only the header differs.
    Identical,
    /// The same text from other ids that rounding explains.
    SameText,
    /// Other text that rounding explains.
    NearTie,
    /// Other ids that rounding does not explain.
    Divergent,
    /// The two cannot be compared: another prompt, another tokenizer, missing figures.
    Incomparable,
}

/// Why accepting needs a reviewer's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonNeeded {
    /// The grade fell.
    GradeFell,
    /// The answer strays further than rounding does.
    BeyondRounding,
    /// Nothing shows that only rounding changed it.
    NotComparable,
    /// Later differences would be forgiven that are not now.
    WiderFloor,
}

impl ReasonNeeded {
    /// In words that follow "needs a reason: ".
    pub const fn words(self) -> &'static str {
        match self {
            Self::GradeFell => "the grade fell",
            Self::BeyondRounding => "the difference is beyond rounding",
            Self::NotComparable => "nothing shows that only rounding changed it",
            Self::WiderFloor => "the bound of a near tie grows",
        }
    }
}

/// How far both sides' logprobs stray over the tokens that they share: the same context, so no cascade.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SharedDrift {
    /// Tokens before the two part.
    pub positions: usize,
    /// Mean absolute difference of the tokens' logprobs, in nat.
    pub mean_delta_nat: f64,
    /// Greatest absolute difference, in nat.
    pub max_delta_nat: f64,
}

impl Difference {
    /// Compares the two.
    pub fn of(old: Option<Golden>, new: Golden) -> Self {
        let comparison = old.as_ref().map(|old| {
            let mut comparison = compare(old, &new.as_answer());
            if let Comparison::NearTie(divergence) | Comparison::Divergent(divergence) = &mut comparison {
                name_pieces(divergence, old, &new);
            }
            comparison
        });
        Self { old, new, comparison }
    }

    /// How the new one stands to the old one.
    pub fn standing(&self) -> Standing {
        match &self.comparison {
            None => Standing::New,
            Some(Comparison::Identical) => Standing::Identical,
            Some(Comparison::NearTie(_)) if self.same_text() => Standing::SameText,
            Some(Comparison::NearTie(_)) => Standing::NearTie,
            Some(Comparison::Divergent(_)) => Standing::Divergent,
            Some(Comparison::Incomparable(_)) => Standing::Incomparable,
        }
    }

    /// Whether both sides say the same, whatever the ids.
    pub fn same_text(&self) -> bool {
        self.old.as_ref().is_some_and(|old| {
            (&old.answer, &old.reasoning, &old.tool_calls)
                == (&self.new.answer, &self.new.reasoning, &self.new.tool_calls)
        })
    }

    /// Where the two part, if they do and it is known.
    pub const fn divergence(&self) -> Option<&Divergence> {
        match &self.comparison {
            Some(Comparison::NearTie(divergence) | Comparison::Divergent(divergence)) => Some(divergence),
            _ => None,
        }
    }

    /// Whether the new answer is graded lower. No grade is lower than right and higher than wrong: what was known
    /// is lost.
    pub fn grade_fell(&self) -> bool {
        let rank = |golden: &Golden| match golden.header.grade.verdict {
            GradeVerdict::Wrong => 0,
            GradeVerdict::NotGraded => 1,
            GradeVerdict::Right => 2,
        };
        self.old.as_ref().is_some_and(|old| rank(&self.new) < rank(old))
    }

    /// Why accepting it needs a reason; `None` where none is needed.
    pub fn reason_needed(&self) -> Option<ReasonNeeded> {
        match self.standing() {
            _ if self.grade_fell() => Some(ReasonNeeded::GradeFell),
            Standing::Divergent => Some(ReasonNeeded::BeyondRounding),
            Standing::Incomparable => Some(ReasonNeeded::NotComparable),
            Standing::New | Standing::Identical | Standing::SameText | Standing::NearTie => {
                self.floor_widens().then_some(ReasonNeeded::WiderFloor)
            }
        }
    }

    /// The floor of the new golden once it is accepted. The floor is the stack's: an answer of the same server keeps
    /// that of its predecessor.
    pub fn accepted_floor(&self) -> Option<Floor> {
        let kept = self.old.as_ref().filter(|old| same_server(old, &self.new));
        self.new
            .header
            .floor
            .or_else(|| kept.and_then(|old| old.header.floor))
    }

    /// Whether more counts as a near tie once the new golden is accepted.
    fn floor_widens(&self) -> bool {
        let after = self
            .accepted_floor()
            .map_or(DEFAULT_NEAR_TIE_NAT, |floor| floor.near_tie_nat);
        self.old.as_ref().is_some_and(|old| after > old.near_tie_nat())
    }

    /// Whether the accepted golden is another one than the pending one was recorded against.
    pub fn is_stale(&self) -> Result<bool, ReviewError> {
        let replaced = self.old.as_ref().map(Golden::digest).transpose()?;
        Ok(self.new.header.replaces != replaced)
    }

    /// The strays over the tokens that both sides share; `None` where they share none or cannot be compared.
    pub fn shared_drift(&self) -> Option<SharedDrift> {
        let old = self.old.as_ref()?;
        if matches!(self.comparison, Some(Comparison::Incomparable(_))) {
            return None;
        }
        let deltas: Vec<f64> = old
            .positions
            .iter()
            .zip(&self.new.positions)
            .take_while(|(old, new)| old.token.id == new.token.id)
            .map(|(old, new)| (old.token.logprob - new.token.logprob).abs())
            .collect();
        (!deltas.is_empty()).then(|| SharedDrift {
            positions: deltas.len(),
            mean_delta_nat: deltas.iter().sum::<f64>() / deltas.len() as f64,
            max_delta_nat: deltas.iter().copied().fold(0.0, f64::max),
        })
    }

    /// Both sides' likeliest tokens where they part: text, and logprob on the old and on the new side where listed.
    /// The likeliest of either side comes first.
    pub fn alternatives(&self, most: usize) -> Vec<Alternative> {
        let (Some(divergence), Some(old)) = (self.divergence(), &self.old) else {
            return Vec::new();
        };
        let at = divergence.position;
        let (Some(before), Some(after)) = (old.positions.get(at), self.new.positions.get(at)) else {
            return Vec::new();
        };
        let mut ids: Vec<u32> = Vec::new();
        for token in before.top.iter().chain(&after.top) {
            if !ids.contains(&token.id) {
                ids.push(token.id);
            }
        }
        let mut alternatives: Vec<_> = ids
            .into_iter()
            .map(|id| Alternative {
                id,
                piece: tokens::piece(&[old, &self.new], id),
                old_nat: logprob(before, id),
                new_nat: logprob(after, id),
            })
            .collect();
        alternatives.sort_by(|one, other| other.likeliest().total_cmp(&one.likeliest()));
        alternatives.truncate(most);
        alternatives
    }
}

/// A token that might have come where the two part.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// Its id.
    pub id: u32,
    /// Its text, where either golden holds it.
    pub piece: Option<String>,
    /// Its logprob in the old golden, where listed.
    pub old_nat: Option<f64>,
    /// Its logprob in the new one, where listed.
    pub new_nat: Option<f64>,
}

impl Alternative {
    fn likeliest(&self) -> f64 {
        let or_least = |nat: Option<f64>| nat.unwrap_or(f64::NEG_INFINITY);
        or_least(self.old_nat).max(or_least(self.new_nat))
    }
}

fn logprob(position: &Position, id: u32) -> Option<f64> {
    position
        .top
        .iter()
        .chain([&position.token])
        .find(|token| token.id == id)
        .map(|token| token.logprob)
}

/// The margin's figure, and whether it is only a lower bound.
pub const fn margin_nat(margin: Margin) -> Option<(f64, bool)> {
    match margin {
        Margin::Exactly(nat) => Some((nat, false)),
        Margin::AtLeast(nat) => Some((nat, true)),
        Margin::Unknown => None,
    }
}

/// Whether stack, vLLM and weights are the same.
fn same_server(old: &Golden, new: &Golden) -> bool {
    let server = |golden: &Golden| {
        let recorded = golden.header.recorded.clone();
        (recorded.stack, recorded.vllm, recorded.model_digest)
    };
    server(old) == server(new)
}

/// Names the tokens where the two part by what either golden knows: an answer alone knows no texts.
fn name_pieces(divergence: &mut Divergence, old: &Golden, new: &Golden) {
    for side in [&mut divergence.golden, &mut divergence.answer] {
        if let (None, Some(id)) = (&side.piece, side.token) {
            side.piece = tokens::piece(&[new, old], id);
        }
    }
}
