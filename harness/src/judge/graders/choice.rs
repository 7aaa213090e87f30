//! Grader `choice`: which letter an answer chooses, by the usual ways of saying so.
//!
//! Claims are an answer that is a letter and nothing else, a letter in front (`B) Paris`), and a letter behind a word
//! of choosing (`the answer is B`, `答案是 B`, `\boxed{B}`). All claims must agree. Without a claim, the only letter
//! that stands alone in the text counts. Letters that are denied (`not B`, `B is wrong`) do not count.

use super::Said;
use crate::manifest::Choice;

/// Words that a choice follows.
const CHOOSING: [&str; 15] = [
    "answer", "answers", "choose", "chose", "choice", "option", "select", "pick", "boxed", "correct", "案",
    "选", "项", "择", "go",
];

/// Words between a word of choosing and the letter.
const FILLING: [&str; 27] = [
    "is",
    "be",
    "would",
    "should",
    "must",
    "the",
    "option",
    "choice",
    "letter",
    "to",
    "this",
    "question",
    "here",
    "correct",
    "therefore",
    "text",
    "with",
    "one",
    "answer",
    "mathbf",
    "是",
    "为",
    "应",
    "该",
    "选",
    "项",
    "择",
];

/// Most filling words.
const MOST_FILLING: usize = 6;

pub fn choice(wanted: &Choice, text: &str) -> Said {
    match chosen(text, &wanted.among) {
        Ok(letter) if wanted.answer.starts_with(letter) => Said::Right(format!("chooses {letter}")),
        Ok(letter) => Said::Wrong(format!("wanted {}, chooses {letter}", wanted.answer)),
        Err(unclear) => Said::Wrong(format!("wanted {}, {unclear}", wanted.answer)),
    }
}

/// A word, a Han character, or a run of other characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    is_word: bool,
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut begin = 0;
    let mut kind = None;
    for (at, character) in text.char_indices() {
        let word = character.is_ascii_alphanumeric() || character == '\'' || character == '’';
        let now = if word {
            Some(true)
        } else if character.is_alphanumeric() {
            None
        } else {
            Some(false)
        };
        if at > begin && (now != kind || now.is_none()) {
            tokens.push(Token {
                text: &text[begin..at],
                is_word: kind != Some(false),
            });
            begin = at;
        }
        kind = now;
    }
    if begin < text.len() {
        tokens.push(Token {
            text: &text[begin..],
            is_word: kind != Some(false),
        });
    }
    tokens
}

fn chosen(text: &str, among: &str) -> Result<char, String> {
    let tokens = tokens(text);
    let words: Vec<_> = tokens.iter().filter(|token| token.is_word).collect();
    if let [only] = words.as_slice()
        && let Some(letter) = letter(&only.text.to_uppercase(), among)
    {
        return Ok(letter);
    }
    let mut claims = claims(&tokens, among);
    claims.extend(leading(&tokens, among));
    if claims.is_empty() {
        claims = standing_alone(&tokens, among);
    }
    claims.sort_unstable();
    claims.dedup();
    match claims.as_slice() {
        [letter] => Ok(*letter),
        [] => Err("chooses none".to_owned()),
        several => Err(format!(
            "names {}",
            several
                .iter()
                .map(char::to_string)
                .collect::<Vec<_>>()
                .join(" and ")
        )),
    }
}

/// The letter that a token is.
fn letter(word: &str, among: &str) -> Option<char> {
    let mut characters = word.chars();
    let letter = characters.next().filter(|letter| among.contains(*letter))?;
    characters.next().is_none().then_some(letter)
}

/// Letters behind words of choosing, with those that a following `or`, `and` or comma adds.
fn claims(tokens: &[Token<'_>], among: &str) -> Vec<char> {
    let mut claims = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !CHOOSING.contains(&token.text.to_lowercase().as_str()) {
            continue;
        }
        let mut filling = 0;
        for (behind, next) in tokens.iter().enumerate().skip(at + 1) {
            if !next.is_word {
                if next.text.contains('\n') && next.text.contains("\n\n") && filling > 0 {
                    break;
                }
                continue;
            }
            if let Some(letter) = letter(next.text, among) {
                if !denied(tokens, behind) && !is_article(tokens, behind) {
                    claims.push(letter);
                    claims.extend(joined(tokens, behind, among));
                }
                break;
            }
            filling += 1;
            if filling > MOST_FILLING || !FILLING.contains(&next.text.to_lowercase().as_str()) {
                break;
            }
        }
    }
    claims
}

/// The letter joined to the one at `at`: `B or C`, `A、B`.
fn joined(tokens: &[Token<'_>], at: usize, among: &str) -> Option<char> {
    let mut behind = tokens[at + 1..].iter();
    let first = behind.next()?;
    if matches!(
        first.text.trim_matches(['*', '(', ')', ' ']),
        "," | "/" | "&" | "、" | "，"
    ) {
        return letter(behind.next()?.text, among);
    }
    let mut words = tokens[at + 1..].iter().filter(|token| token.is_word);
    matches!(words.next()?.text, "or" | "and" | "和" | "或").then(|| letter(words.next()?.text, among))?
}

/// The letter that the text begins with, as in `B) Paris`; none where several letters stand so: then the text only
/// repeats what was offered.
fn leading(tokens: &[Token<'_>], among: &str) -> Option<char> {
    let listed = |at: usize| {
        let behind = tokens.get(at + 1).map_or("\n", |token| token.text);
        letter(tokens[at].text, among).filter(|_| {
            behind.starts_with([
                ')', '.', ':', ',', '*', '\n', '）', '．', '：', '，', '。', '、', ']',
            ]) || behind.starts_with(" -")
        })
    };
    let first = tokens.iter().position(|token| token.is_word)?;
    let leader = listed(first)?;
    let repeats = (0..tokens.len()).filter_map(|at| {
        let option = tokens
            .get(at + 1)
            .is_some_and(|token| token.text.starts_with([')', '.', ':', '）', '．', '：']));
        letter(tokens[at].text, among).filter(|_| option)
    });
    let others = repeats.filter(|letter| *letter != leader).count();
    (others == 0 && !denied(tokens, first)).then_some(leader)
}

fn standing_alone(tokens: &[Token<'_>], among: &str) -> Vec<char> {
    (0..tokens.len())
        .filter(|&at| !denied(tokens, at) && !is_article(tokens, at))
        .filter_map(|at| letter(tokens[at].text, among))
        .collect()
}

/// Whether a lone `A` is the English article (or `I` the pronoun): a lower-case word follows behind a blank.
fn is_article(tokens: &[Token<'_>], at: usize) -> bool {
    matches!(tokens[at].text, "A" | "I")
        && tokens.get(at + 1).is_some_and(|blank| blank.text == " ")
        && tokens.get(at + 2).is_some_and(|word| {
            word.text.starts_with(|c: char| c.is_ascii_lowercase())
                && !matches!(
                    word.text,
                    "is" | "because" | "since" | "as" | "and" | "or" | "was" | "would"
                )
        })
}

/// Whether the letter is denied: `not B`, `isn't B`, `不是B`, `B is wrong`, `B is not right`, `B 不对`.
fn denied(tokens: &[Token<'_>], at: usize) -> bool {
    let words_before: Vec<_> = tokens[..at]
        .iter()
        .rev()
        .filter(|token| token.is_word)
        .take(2)
        .collect();
    let before = |place: usize| words_before.get(place).map_or("", |token| token.text);
    let denied_before = ["not", "isn't", "isn’t", "except", "neither", "nor", "非"]
        .contains(&before(0).to_lowercase().as_str())
        || (matches!(before(0), "是" | "选") && before(1) == "不");
    let words_behind: Vec<_> = tokens[at + 1..]
        .iter()
        .filter(|token| token.is_word)
        .take(2)
        .collect();
    let behind = |place: usize| words_behind.get(place).map_or("", |token| token.text);
    let denied_behind = matches!(
        (behind(0), behind(1)),
        (
            "is" | "was" | "looks" | "seems",
            "wrong" | "incorrect" | "not" | "false"
        ) | ("isn't" | "isn’t" | "不", _)
            | ("是", "错")
    );
    denied_before || denied_behind
}
