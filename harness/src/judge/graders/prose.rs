//! Graders of running text: `no_repetition`, `language`; and what a refusal looks like.

use std::collections::HashSet;

use super::Said;
use crate::manifest::{Language, NoRepetition};

/// A word longer than this is no word but a loop without blanks (`!!!!!!…`): it is taken by characters.
const LONGEST_WORD: usize = 40;

/// Characters at the begin of an answer in which a refusal shows.
const REFUSAL_WITHIN: usize = 160;

/// Share of words in Japanese or Korean script above which a text is not Chinese, though Han characters abound.
const FOREIGN_SHARE: f64 = 0.1;

pub fn no_repetition(bound: &NoRepetition, text: &str) -> Said {
    let share = repeated_share(text);
    let figures = format!("{:.1} % of the word triples occurred before", 100.0 * share);
    if share <= bound.max_share {
        Said::Right(figures)
    } else {
        Said::Wrong(format!(
            "wanted at most {:.1} %, but {figures}",
            100.0 * bound.max_share
        ))
    }
}

/// Share of word triples that occurred before; Chinese, Japanese and Korean by characters.
fn repeated_share(text: &str) -> f64 {
    let lower = text.to_lowercase();
    let words = words(&lower);
    let triples = words.windows(3);
    let count = triples.len();
    if count == 0 {
        return 0.0;
    }
    let distinct: HashSet<_> = triples.collect();
    (count - distinct.len()) as f64 / count as f64
}

fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for chunk in text.split_whitespace() {
        let mut begin = 0;
        let by_characters = chunk.chars().count() > LONGEST_WORD;
        for (at, character) in chunk.char_indices() {
            if by_characters || Script::of(character).is_some_and(Script::lacks_blanks) {
                let end = at + character.len_utf8();
                if begin < at {
                    words.push(&chunk[begin..at]);
                }
                words.push(&chunk[at..end]);
                begin = end;
            }
        }
        if begin < chunk.len() {
            words.push(&chunk[begin..]);
        }
    }
    words
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Han,
    KanaOrHangul,
    Other,
}

impl Script {
    /// Script of a letter; `None` for digits, punctuation and blanks, which all scripts share.
    fn of(character: char) -> Option<Self> {
        match character {
            'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Some(Self::Latin),
            '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{323af}' => Some(Self::Han),
            '\u{3040}'..='\u{30ff}' | '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => {
                Some(Self::KanaOrHangul)
            }
            _ if character.is_alphabetic() => Some(Self::Other),
            _ => None,
        }
    }

    fn lacks_blanks(self) -> bool {
        matches!(self, Self::Han | Self::KanaOrHangul)
    }
}

pub fn language(wanted: Language, text: &str) -> Said {
    let (name, script) = match wanted {
        Language::English => ("English", Script::Latin),
        Language::Chinese => ("Chinese", Script::Han),
    };
    let share = |script| script_share(text, script);
    let figures = format!("{:.0} % of its words are in that script", 100.0 * share(script));
    if share(script) <= 0.5 {
        Said::Wrong(format!("wanted {name}, but {figures}"))
    } else if wanted == Language::Chinese && share(Script::KanaOrHangul) > FOREIGN_SHARE {
        Said::Wrong("wanted Chinese, but the text is Japanese or Korean".to_owned())
    } else {
        Said::Right(format!("is {name}: {figures}"))
    }
}

/// Share of the words in one script. A Han character, kana or syllable counts as a word, a run of other letters as
/// one: else a single English term would outweigh a Chinese clause.
fn script_share(text: &str, script: Script) -> f64 {
    let (mut all, mut counted) = (0_u32, 0_u32);
    let mut before = None;
    for character in text.chars() {
        let current = Script::of(character);
        if let Some(current) = current
            && (current.lacks_blanks() || before != Some(current))
        {
            all += 1;
            counted += u32::from(current == script);
        }
        before = current;
    }
    if all == 0 {
        0.0
    } else {
        f64::from(counted) / f64::from(all)
    }
}

/// Whether the answer begins with a refusal: the model says of itself that it cannot, or regrets and says so soon.
/// Regret alone (`Unfortunately, the train had left`) and things that cannot be are none.
pub fn is_refusal(text: &str) -> bool {
    const INABILITY: [&str; 9] = [
        "i can't ",
        "i cannot ",
        "i can not ",
        "i am unable ",
        "i'm unable ",
        "i am not able ",
        "i'm not able ",
        "i won't ",
        "i will not ",
    ];
    const INABILITY_CHINESE: [&str; 9] = [
        "我无法",
        "我不能",
        "我没有办法",
        "无法提供",
        "无法回答",
        "无法协助",
        "无法帮助",
        "不能提供",
        "不能回答",
    ];
    const REGRET: [&str; 9] = [
        "i'm sorry",
        "i am sorry",
        "sorry",
        "i apologize",
        "unfortunately",
        "as an ai",
        "抱歉",
        "很抱歉",
        "对不起",
    ];
    let begin: String = text.trim_start().chars().take(REFUSAL_WITHIN).collect();
    let begin = begin.to_lowercase().replace('’', "'");
    let inability = || INABILITY.iter().chain(&INABILITY_CHINESE);
    inability().any(|words| begin.starts_with(words))
        || begin.starts_with("作为一个人工智能")
        || (REGRET.iter().any(|words| begin.starts_with(words))
            && inability().any(|words| begin.contains(words)))
}
