//! Grader `number`: the last number of an answer.
//!
//! Understood: thousands separators (`,` `_` `'`, thin and fixed blanks, LaTeX `{,}`), decimals, exponents (`1.2e3`,
//! `1.2 × 10^3`, `10⁶`), signs, fractions (`3/4`, `1 1/2`, `\frac{3}{4}`), per cent (which may mean 25 or 0.25),
//! `thousand` to `trillion`, 万 and 亿, and full-width digits. Not numbers: digits behind a letter (`H2O`), exponents of
//! units (`m^2`), the rest of a version (`1.2.3`).

use super::{Said, brief};
use crate::manifest::Number;

/// Rounding that decimal text and binary numbers bring, relative to the value.
const REPRESENTATION: f64 = 1e-9;

pub fn number(wanted: &Number, text: &str) -> Said {
    let goal = if wanted.tolerance > 0.0 {
        format!("{} ± {}", wanted.value, wanted.tolerance)
    } else {
        wanted.value.to_string()
    };
    let Some(found) = last_number(text) else {
        return Said::Wrong(format!("wanted {goal}, found no number"));
    };
    let slack = wanted.tolerance + REPRESENTATION * wanted.value.abs();
    let near = |value: f64| (value - wanted.value).abs() <= slack;
    if near(found.value) || (found.per_cent && near(found.value / 100.0)) {
        Said::Right(format!("{} is {goal}", brief(&found.text)))
    } else {
        Said::Wrong(format!(
            "wanted {goal}, the last number is {}",
            brief(&found.text)
        ))
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Found {
    value: f64,
    per_cent: bool,
    text: String,
}

fn last_number(text: &str) -> Option<Found> {
    let characters = normalized(text);
    let mut scanner = Scanner {
        characters: &characters,
        at: 0,
    };
    let mut last = None;
    while scanner.at < characters.len() {
        if scanner.begins_number() {
            last = scanner.number().or(last);
        } else if scanner.peek().is_some_and(|c| c.is_ascii_digit()) {
            scanner.digits();
        } else {
            scanner.at += 1;
        }
    }
    last
}

/// The text with one spelling of digits, signs, powers and LaTeX.
fn normalized(text: &str) -> Vec<char> {
    let text = fractions(text)
        .replace("{,}", ",")
        .replace("\\,", ",")
        .replace("\\times", "×")
        .replace("\\%", "%");
    let mut characters: Vec<char> = Vec::with_capacity(text.len());
    let mut raised = false;
    for character in text.chars() {
        let (spelled, stands_raised) = plain(character);
        if stands_raised && !raised {
            characters.push('^');
        }
        raised = stands_raised;
        characters.push(spelled);
    }
    python_powers(&mut characters);
    characters
}

/// The plain spelling of a character, and whether it stands raised.
fn plain(character: char) -> (char, bool) {
    const FULL_WIDTH: [char; 10] = ['０', '１', '２', '３', '４', '５', '６', '７', '８', '９'];
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    for (value, digit) in ('0'..='9').enumerate() {
        if character == FULL_WIDTH[value] || character == RAISED[value] {
            return (digit, character == RAISED[value]);
        }
    }
    match character {
        '⁻' => ('-', true),
        '\u{2212}' | '－' | '\u{2010}'..='\u{2012}' => ('-', false),
        '＋' => ('+', false),
        '．' => ('.', false),
        '％' => ('%', false),
        '／' => ('/', false),
        _ => (character, false),
    }
}

/// `2**10` as `2^10`; the stars of Markdown's bold type become blanks.
fn python_powers(characters: &mut Vec<char>) {
    let mut at = 0;
    while at + 1 < characters.len() {
        if characters[at] == '*' && characters[at + 1] == '*' {
            let between = at > 0
                && characters[at - 1].is_ascii_digit()
                && characters.get(at + 2).is_some_and(char::is_ascii_digit);
            characters[at] = if between { '^' } else { ' ' };
            characters[at + 1] = if between { '\0' } else { ' ' };
        }
        at += 1;
    }
    characters.retain(|&character| character != '\0');
}

/// `\frac{3}{4}` and its kin as `3/4`.
fn fractions(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once("frac{") {
        let parsed = after.split_once("}{").and_then(|(above, tail)| {
            let (below, tail) = tail.split_once('}')?;
            (!above.contains(['{', '}', '\n']) && !below.contains(['{', '\n']))
                .then_some((above, below, tail))
        });
        let before = before.trim_end_matches(['d', 't']);
        out.push_str(before.strip_suffix('\\').unwrap_or(before));
        let Some((above, below, tail)) = parsed else {
            out.push_str("frac{");
            rest = after;
            continue;
        };
        out.push_str(above);
        out.push('/');
        out.push_str(below);
        rest = tail;
    }
    out.push_str(rest);
    out
}

struct Scanner<'a> {
    characters: &'a [char],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.characters.get(self.at + by).copied()
    }

    fn behind(&self, by: usize) -> Option<char> {
        self.at.checked_sub(by).map(|at| self.characters[at])
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn take_words(&mut self, word: &str) -> bool {
        let mut at = self.at;
        for wanted in word.chars() {
            if self.characters.get(at).map(char::to_ascii_lowercase) != Some(wanted) {
                return false;
            }
            at += 1;
        }
        self.at = at;
        true
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\u{a0}' | '\u{202f}')) {
            self.at += 1;
        }
    }

    /// Tries a part; where it is not there, nothing is consumed.
    fn part<T>(&mut self, parse: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let begin = self.at;
        let parsed = parse(self);
        if parsed.is_none() {
            self.at = begin;
        }
        parsed
    }

    fn begins_number(&self) -> bool {
        let digit = |character: Option<char>| character.is_some_and(|c| c.is_ascii_digit());
        if self.peek() == Some('.') {
            return digit(self.ahead(1)) && !digit(self.behind(1));
        }
        let before = self.behind(1);
        let glued = before.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_'))
            || (before == Some('^') && self.behind(2).is_some_and(|c| c.is_alphanumeric() || c == ')'))
            || (before == Some('.') && digit(self.behind(2)));
        digit(self.peek()) && !glued
    }

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        digits
    }

    fn number(&mut self) -> Option<Found> {
        let (sign, begin) = self.sign();
        let mut value = self.decimal()?;
        if let Some(fraction) = self.part(Self::mixed) {
            value += fraction;
        } else if let Some(scale) = self.part(Self::power_of_ten) {
            value *= scale;
        } else if let Some(exponent) = self.part(Self::power) {
            value = value.powi(exponent);
        } else if let Some(below) = self.part(Self::denominator) {
            value /= below;
        }
        value *= self.part(Self::magnitude).unwrap_or(1.0);
        let per_cent = self.part(Self::per_cent).is_some();
        let text = self.characters[begin..self.at].iter().collect();
        value.is_finite().then_some(Found {
            value: sign * value,
            per_cent,
            text,
        })
    }

    /// Sign in front of the number or of its currency, and where the number's text begins. A minus between two
    /// numbers or words (`3-4`, `GPT-4`) or before a blank is none.
    fn sign(&self) -> (f64, usize) {
        let currency = matches!(self.behind(1), Some('$' | '€' | '£' | '¥' | '￥'));
        let place = if currency { 2 } else { 1 };
        let joins = self
            .behind(place + 1)
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, ')' | '%'));
        match self.behind(place) {
            Some('-') if !joins => (-1.0, self.at - place),
            _ => (1.0, self.at - usize::from(currency)),
        }
    }

    /// Digits with separators and decimals.
    fn decimal(&mut self) -> Option<f64> {
        let mut digits = self.digits();
        if (1..=3).contains(&digits.len()) {
            while let Some(group) = self.part(Self::group) {
                digits.push_str(&group);
            }
        }
        if self.peek() == Some('.') && self.ahead(1).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            digits.push('.');
            digits.push_str(&self.digits());
        }
        digits.parse().ok()
    }

    /// A separator and just three digits.
    fn group(&mut self) -> Option<String> {
        let separator = self.peek()?;
        if !matches!(
            separator,
            ',' | '_' | '\'' | '’' | '\u{a0}' | '\u{202f}' | '\u{2009}'
        ) {
            return None;
        }
        self.at += 1;
        let digits = self.digits();
        (digits.len() == 3).then_some(digits)
    }

    /// ` 1/2` behind a whole number.
    fn mixed(&mut self) -> Option<f64> {
        self.take(' ').then_some(())?;
        let above: f64 = self.digits().parse().ok()?;
        let below = self.denominator()?;
        (above < below).then_some(above / below)
    }

    /// `e3` or ` × 10^3`.
    fn power_of_ten(&mut self) -> Option<f64> {
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            return Some(10_f64.powi(self.exponent()?));
        }
        self.blanks();
        let times = self.peek()?;
        if !matches!(times, '×' | 'x' | 'X' | '*' | '·') {
            return None;
        }
        self.at += 1;
        self.blanks();
        self.take_words("10").then_some(())?;
        Some(10_f64.powi(self.power()?))
    }

    /// `^3` or `^{-3}`.
    fn power(&mut self) -> Option<i32> {
        self.take('^').then_some(())?;
        let braced = self.take('{');
        let exponent = self.exponent()?;
        (!braced || self.take('}')).then_some(exponent)
    }

    fn exponent(&mut self) -> Option<i32> {
        let negative = self.take('-');
        if !negative {
            self.take('+');
        }
        let exponent: i32 = self.digits().parse().ok()?;
        Some(if negative { -exponent } else { exponent })
    }

    /// `/4`, but not `/05/06`, which is a date.
    fn denominator(&mut self) -> Option<f64> {
        self.blanks();
        self.take('/').then_some(())?;
        self.blanks();
        let below = self.decimal()?;
        (below != 0.0 && self.peek() != Some('/')).then_some(below)
    }

    fn magnitude(&mut self) -> Option<f64> {
        const WORDS: [(&str, f64); 7] = [
            ("thousand", 1e3),
            ("million", 1e6),
            ("billion", 1e9),
            ("trillion", 1e12),
            ("万亿", 1e12),
            ("万", 1e4),
            ("亿", 1e8),
        ];
        self.blanks();
        WORDS
            .iter()
            .find(|(word, _)| self.take_words(word))
            .map(|(_, scale)| *scale)
    }

    fn per_cent(&mut self) -> Option<()> {
        self.blanks();
        (self.take('%') || self.take_words("percent") || self.take_words("per cent")).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_number_is_found_as_people_write_it() {
        for (text, value) in [
            ("42", 42.0),
            ("The answer is **42**.", 42.0),
            ("答案是**42**。", 42.0),
            ("12 + 30 = 42.", 42.0),
            ("$1,234,567.89", 1_234_567.89),
            ("1_000_000", 1e6),
            ("$1{,}000$", 1_000.0),
            ("1\u{202f}000", 1_000.0),
            ("1,2", 2.0),
            ("-5", -5.0),
            ("x = \u{2212}5", -5.0),
            ("It lost -$3.50", -3.5),
            ("- 5 apples", 5.0),
            ("pages 3-4", 4.0),
            ("1.2e3", 1_200.0),
            ("6.02 × 10^23", 6.02e23),
            ("$3 \\times 10^{-4}$", 3e-4),
            ("10⁶", 1e6),
            ("10⁻³", 1e-3),
            ("2**10", 1_024.0),
            ("area: 5 m^2", 5.0),
            ("5 m²", 5.0),
            ("3/4", 0.75),
            ("\\dfrac{3}{4}", 0.75),
            ("1 1/2", 1.5),
            (".5", 0.5),
            ("约为３．５。", 3.5),
            ("答案是42，谢谢", 42.0),
            ("1.5 million people", 1.5e6),
            ("14亿", 1.4e9),
            ("3万亿", 3e12),
            ("water is H2O, 18 g/mol in C6H12O6", 18.0),
            ("v1 is 7", 7.0),
            ("\\boxed{42}", 42.0),
        ] {
            let found = last_number(text).map(|found| found.value);
            assert!(
                found.is_some_and(|found| (found - value).abs() <= 1e-12 * value.abs()),
                "{text}: {found:?}"
            );
        }
        for text in ["", "no number", "H2O", "forty-two", "10^", "..."] {
            let found = last_number(text);
            assert!(found.is_none() || text == "10^", "{text}: {found:?}");
        }
    }

    #[test]
    fn per_cent_may_be_meant_either_way() {
        let right = |value, text| {
            let wanted = Number {
                value,
                tolerance: 0.0,
            };
            matches!(number(&wanted, text), Said::Right(_))
        };
        assert!(right(25.0, "25%") && right(0.25, "25 %") && right(0.25, "25 percent"));
        assert!(!right(0.25, "25") && !right(2500.0, "25%"));
    }

    proptest! {
        #[test]
        fn numbers_return(value in -1e9_f64..1e9, text in "[a-z ]{0,12}") {
            let found = last_number(&format!("{text}: {value} units")).unwrap();
            prop_assert!((found.value - value).abs() <= 1e-9 * value.abs(), "{:?}", found);
        }

        #[test]
        fn no_text_panics(text in "[-0-9.,/^e×%{}$ 万a-c²⁻]{0,40}") {
            if let Some(found) = last_number(&text) {
                prop_assert!(found.value.is_finite());
            }
        }
    }
}
