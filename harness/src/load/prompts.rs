//! Prompts of an exact length in tokens, different for every request, the same for every run of one seed.
//!
//! Where the server takes token ids, prompts are ids drawn from a vocabulary that its own tokenizer made of plain words:
//! the length is exact whatever the tokenizer, and no special token slips in. Where only text will do, prompts are words
//! each of which the tokenizer counts as one token. Either way the first tokens spell the request's number, so that no
//! two prompts share a prefix, and a request is the same whichever worker draws it.

use std::sync::Arc;

use super::{
    Lengths,
    replay::escaped,
    spec::{PromptBody, Spec, Turn},
};
use crate::stats::Random;

/// Plain words for the vocabulary; the tokenizer splits them as it likes.
pub const WORDS: &str = "river stone cloud garden market window letter bridge winter summer paper silver \
    orange engine signal harbor island planet bottle basket copper forest meadow valley castle mirror ribbon candle \
    feather hammer ladder needle pocket rocket saddle tunnel violin wagon yellow zebra anchor butter cotton dinner \
    eleven fabric guitar helmet insect jacket kitten lemon magnet number oyster pepper quartz rabbit sailor temple";

/// So many prompts are told apart by their first tokens alone, whatever is random; of an endless run no more.
const MOST_NUMBERED: u64 = 1 << 32;

/// What prompts are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vocabulary {
    /// Token ids.
    Ids(Vec<u32>),
    /// Words that are one token each behind a space; a prompt has `overhead` tokens more than words.
    Words {
        /// The words, plain ASCII letters.
        words: Vec<String>,
        /// Tokens that the server adds: the begin of the sequence, the chat template.
        overhead: u32,
        /// Whether that is so, or only assumed because the server does not count.
        exact: bool,
    },
}

impl Vocabulary {
    /// Token ids, each once; one id where there is none.
    pub fn ids(mut ids: Vec<u32>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            ids.push(0);
        }
        Self::Ids(ids)
    }

    /// Whether a prompt has exactly the length that was asked for.
    pub const fn is_exact(&self) -> bool {
        match self {
            Self::Ids(_) => true,
            Self::Words { exact, .. } => *exact,
        }
    }

    /// Different entries.
    pub fn size(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Words { words, .. } => words.len(),
        }
    }

    /// A prompt of `tokens` tokens whose entries `entries` yields.
    pub fn prompt(&self, tokens: u32, entries: impl Iterator<Item = usize>) -> PromptBody {
        match self {
            Self::Ids(ids) => {
                let id = |entry: usize| ids.get(entry).copied().unwrap_or_default();
                PromptBody::TokenIds(entries.take(tokens as usize).map(id).collect())
            }
            Self::Words { words, overhead, .. } => {
                let count = tokens.saturating_sub(*overhead).max(1) as usize;
                let mut text = String::with_capacity(count * 7);
                for entry in entries.take(count) {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(words.get(entry).map_or("a", String::as_str));
                }
                PromptBody::Text(text)
            }
        }
    }
}

/// Prompts that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedPrefix {
    /// Length of the common beginning.
    pub tokens: u32,
    /// How many different beginnings there are; requests take them in turn.
    pub groups: u64,
}

/// How the turns of a conversation are written into one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// As turns of a chat.
    Chat,
    /// As text, a line a turn.
    Text,
}

/// Requests drawn from distributions.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// What prompts are made of.
    pub vocabulary: Arc<Vocabulary>,
    /// Seed of lengths and prompts.
    pub seed: u64,
    /// Requests, or conversations.
    pub count: u64,
    /// Lengths of prompts (of a conversation, of what each turn adds).
    pub prompt: Lengths,
    /// Lengths of answers.
    pub output: Lengths,
    /// Common beginnings.
    pub shared: Option<SharedPrefix>,
    /// Turns of a conversation, and how they are written.
    pub turns: Option<(u32, Joint)>,
}

impl Drawn {
    /// The request of that number.
    pub fn get(&self, index: u64) -> Option<Spec> {
        if index >= self.count {
            return None;
        }
        let turn = self.turns.map(|(of, _)| Turn {
            conversation: index,
            number: 0,
            of,
        });
        Some(self.spec(turn.map_or(index, Turn::index), turn))
    }

    /// The next turn of a conversation: what was said, the answer, and what is added.
    pub fn follow(&self, before: &Spec, answer: &str) -> Option<Spec> {
        let (of, joint) = self.turns?;
        let turn = before.turn.filter(|turn| turn.number + 1 < of)?;
        let turn = Turn {
            number: turn.number + 1,
            ..turn
        };
        let mut next = self.spec(turn.index(), Some(turn));
        if let (PromptBody::Text(said), PromptBody::Text(added)) = (&before.prompt, &next.prompt) {
            let answer = escaped(answer);
            let text = match joint {
                Joint::Chat => {
                    format!(
                        r#"{said}"}},{{"role":"assistant","content":"{answer}"}},{{"role":"user","content":"{added}"#
                    )
                }
                Joint::Text => format!("{said}{answer}\\n{added}"),
            };
            next.prompt = PromptBody::Text(text);
        }
        // The answer's tokens need not be counted alike once they are part of a prompt.
        next.prompt_tokens = None;
        Some(next)
    }

    fn spec(&self, index: u64, turn: Option<Turn>) -> Spec {
        let mut random = Random::stream(self.seed, index);
        let tokens = self.prompt.draw(index, &mut random);
        let output_tokens = self.output.draw(index, &mut random);
        let size = self.vocabulary.size();
        let own = entries(index, self.count, size, random);
        let prompt = match self.shared {
            None => self.vocabulary.prompt(tokens, own),
            Some(shared) => {
                let groups = shared.groups.max(1);
                let group = index % groups;
                // A seed of its own, so that no beginning is that of a request.
                let common = entries(group, groups, size, Random::stream(!self.seed, group));
                let common = common.take(shared.tokens.min(tokens.saturating_sub(1)) as usize);
                self.vocabulary.prompt(tokens, common.chain(own))
            }
        };
        Spec {
            prompt,
            prompt_tokens: self.vocabulary.is_exact().then_some(tokens),
            output_tokens,
            turn,
        }
    }
}

/// Entries of a vocabulary: the digits of a number, as many for each of `count` numbers, then random ones without end.
/// The last digit is the first entry, so that neighbours differ at once.
fn entries(number: u64, count: u64, size: usize, mut random: Random) -> impl Iterator<Item = usize> {
    let base = (size as u64).max(2);
    let mut digits = 0..digits(count.min(MOST_NUMBERED), base);
    let mut rest = number;
    std::iter::from_fn(move || {
        if digits.next().is_none() || size < 2 {
            return Some(random.below(size));
        }
        let digit = rest % base;
        rest /= base;
        usize::try_from(digit).ok()
    })
}

/// Digits that tell `count` numbers apart.
fn digits(count: u64, base: u64) -> u32 {
    count
        .saturating_sub(1)
        .checked_ilog(base)
        .map_or(1, |log| log + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn drawn(vocabulary: Vocabulary) -> Drawn {
        Drawn {
            vocabulary: Arc::new(vocabulary),
            seed: 7,
            count: 500,
            prompt: Lengths::Fixed(16),
            output: Lengths::Uniform { low: 1, high: 9 },
            shared: None,
            turns: None,
        }
    }

    fn words() -> Vocabulary {
        Vocabulary::Words {
            words: WORDS.split_whitespace().map(str::to_owned).collect(),
            overhead: 6,
            exact: true,
        }
    }

    fn ids(spec: &Spec) -> &[u32] {
        match &spec.prompt {
            PromptBody::TokenIds(ids) => ids,
            PromptBody::Text(text) => panic!("{text}"),
        }
    }

    fn text(spec: &Spec) -> &str {
        match &spec.prompt {
            PromptBody::TokenIds(ids) => panic!("{ids:?}"),
            PromptBody::Text(text) => text,
        }
    }

    #[test]
    fn a_request_is_the_same_whoever_draws_it() {
        let source = drawn(Vocabulary::ids((0..200).collect()));
        let mut backwards: Vec<Spec> = (0..500).rev().filter_map(|index| source.get(index)).collect();
        backwards.reverse();
        let forwards: Vec<Spec> = (0..500).filter_map(|index| source.get(index)).collect();
        assert_eq!(forwards, backwards);
        assert_eq!(source.get(500), None);
        let other = Drawn { seed: 8, ..source };
        assert_ne!(other.get(3).unwrap().prompt, forwards[3].prompt);
    }

    #[test]
    fn prompts_have_their_length_and_share_no_prefix() {
        for size in [2, 50, 300] {
            let source = drawn(Vocabulary::ids((0..size).collect()));
            let specs: Vec<Spec> = (0..500).filter_map(|index| source.get(index)).collect();
            assert!(
                specs
                    .iter()
                    .all(|spec| ids(spec).len() == 16 && spec.prompt_tokens == Some(16))
            );
            let distinct: HashSet<&[u32]> = specs.iter().map(ids).collect();
            assert_eq!(distinct.len(), 500, "{size} entries");
        }
        let source = drawn(Vocabulary::ids((0..200).collect()));
        let prefixes: HashSet<Vec<u32>> = (0..500)
            .filter_map(|index| source.get(index))
            .map(|spec| ids(&spec)[..3].to_vec())
            .collect();
        assert_eq!(prefixes.len(), 500);
    }

    #[test]
    fn words_leave_room_for_what_the_server_adds() {
        let source = drawn(words());
        let spec = source.get(3).unwrap();
        assert_eq!(text(&spec).split(' ').count(), 10);
        assert_eq!(spec.prompt_tokens, Some(16));
        let assumed = drawn(Vocabulary::Words {
            words: vec!["a".into(), "b".into()],
            overhead: 0,
            exact: false,
        });
        assert_eq!(assumed.get(3).unwrap().prompt_tokens, None);
    }

    #[test]
    fn an_empty_vocabulary_still_gives_the_length() {
        let source = drawn(Vocabulary::ids(Vec::new()));
        assert_eq!(ids(&source.get(0).unwrap()), [0; 16]);
    }

    #[test]
    fn shared_prefixes_are_shared_within_a_group_only() {
        let source = Drawn {
            shared: Some(SharedPrefix {
                tokens: 12,
                groups: 2,
            }),
            ..drawn(Vocabulary::ids((0..300).collect()))
        };
        let specs: Vec<Spec> = (0..4).filter_map(|index| source.get(index)).collect();
        assert_eq!(ids(&specs[0])[..12], ids(&specs[2])[..12]);
        assert_ne!(ids(&specs[0])[..12], ids(&specs[1])[..12]);
        assert_ne!(ids(&specs[0])[12..], ids(&specs[2])[12..]);
        assert!(specs.iter().all(|spec| ids(spec).len() == 16));
    }

    #[test]
    fn a_conversation_grows_by_answer_and_question() {
        let source = Drawn {
            turns: Some((2, Joint::Chat)),
            ..drawn(words())
        };
        let first = source.get(4).unwrap();
        assert_eq!(first.turn.unwrap().index(), 8);
        let second = source.follow(&first, "say \"yes\"").unwrap();
        let turns = format!("[{{\"role\":\"user\",\"content\":\"{}\"}}]", text(&second));
        let turns: serde_json::Value = serde_json::from_str(&turns).unwrap();
        assert_eq!(turns[0]["content"], text(&first));
        assert_eq!(
            turns[1],
            serde_json::json!({"role": "assistant", "content": "say \"yes\""})
        );
        assert_eq!(turns[2]["role"], "user");
        assert_eq!(second.prompt_tokens, None);
        assert_eq!(second.turn.unwrap().index(), 9);
        assert_eq!(source.follow(&second, "no"), None);
        let plain = Drawn {
            turns: Some((2, Joint::Text)),
            ..source
        };
        let second = plain.follow(&first, "no").unwrap();
        assert!(text(&second).starts_with(&format!("{}no\\n", text(&first))));
    }
}
