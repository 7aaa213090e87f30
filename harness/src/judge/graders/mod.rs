//! Graders hold an answer against a truth that needs no golden. Pure: code is run elsewhere and its result handed in.
//!
//! Every grader that a case names is asked, and each gives one result. An empty answer satisfies none, and a refusal
//! none but `exact`, whose truth may be one. In doubt an answer is wrong: a grader that is generous hides a fault.

mod choice;
mod code;
mod json;
mod number;
mod prose;
mod text;

pub use code::program;

use crate::manifest::{Grade, ToolCall};
use crate::record::Finding;
use crate::sandbox::CodeRun;

/// Characters of an answer that a finding quotes.
const QUOTED: usize = 400;

/// What is graded.
#[derive(Debug, Clone, Copy)]
pub struct GradedAnswer<'a> {
    /// The text, without the thought before it.
    pub text: &'a str,
    /// Calls of tools, as the server's parser found them.
    pub tool_calls: &'a [ToolCall],
    /// How [`program`] ended, or why it was not run.
    pub code_run: Result<&'a CodeRun, &'a str>,
}

impl<'a> GradedAnswer<'a> {
    /// An answer whose code was not run, for cases that have none.
    pub const fn of_text(text: &'a str) -> Self {
        Self {
            text,
            tool_calls: &[],
            code_run: Err("the case has no code to run"),
        }
    }
}

/// One grader's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraderResult {
    /// Key of the grader in the case.
    pub grader: &'static str,
    /// What it says.
    pub judgement: Judgement,
    /// The same in a sentence, with the answer quoted.
    pub finding: Finding,
}

/// What a grader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The answer is right.
    Satisfied,
    /// The answer is wrong.
    Unsatisfied,
    /// The grader could not run; the finding says why.
    NotRun,
}

/// A grader's own words. `Err` is a wrong answer: what was wanted and what was found.
enum Said {
    Right(String),
    Wrong(String),
    NotRun(String),
}

/// Asks each grader of the case, in the order of the manifest's documentation.
pub fn grade(grade: &Grade, answer: &GradedAnswer<'_>) -> Vec<GraderResult> {
    let text = answer.text;
    // Named without `..`, so that a new grader cannot be forgotten here.
    let Grade {
        exact,
        contains,
        regex,
        number,
        json,
        choice,
        tool_call,
        code,
        image_words,
        no_repetition,
        language,
    } = grade;
    let on_text = |grader, said: Option<Said>| Some((grader, of_answered(text, grader, said?)));
    [
        on_text("exact", exact.as_ref().map(|exact| text::exact(exact, text))),
        on_text(
            "contains",
            contains.as_ref().map(|contains| text::contains(contains, text)),
        ),
        on_text("regex", regex.as_ref().map(|regex| text::regex(regex, text))),
        on_text(
            "number",
            number.as_ref().map(|number| number::number(number, text)),
        ),
        on_text("json", json.as_ref().map(|json| json::json(json, text))),
        on_text(
            "choice",
            choice.as_ref().map(|choice| choice::choice(choice, text)),
        ),
        tool_call
            .as_ref()
            .map(|wanted| ("tool_call", json::tool_call(wanted, answer.tool_calls, text))),
        on_text(
            "code",
            code.as_ref().map(|code| code::code(code, text, answer.code_run)),
        ),
        on_text(
            "image_words",
            image_words.as_ref().map(|words| text::image_words(words, text)),
        ),
        on_text(
            "no_repetition",
            no_repetition
                .as_ref()
                .map(|bound| prose::no_repetition(bound, text)),
        ),
        on_text(
            "language",
            language.map(|language| prose::language(language, text)),
        ),
    ]
    .into_iter()
    .flatten()
    .map(|(grader, said)| result(grader, said, text))
    .collect()
}

/// What is said of an answer that may be none.
fn of_answered(text: &str, grader: &str, said: Said) -> Said {
    if text.trim().is_empty() {
        Said::Wrong("the answer is empty".to_owned())
    } else if grader != "exact" && prose::is_refusal(text) {
        Said::Wrong("the model refuses to answer".to_owned())
    } else {
        said
    }
}

fn result(grader: &'static str, said: Said, text: &str) -> GraderResult {
    let (judgement, finding) = match said {
        Said::Right(found) => (Judgement::Satisfied, Finding::note(format!("{grader}: {found}"))),
        Said::Wrong(wrong) => (
            Judgement::Unsatisfied,
            Finding::failure(format!("{grader}: {wrong}")).with_evidence(quoted(text)),
        ),
        Said::NotRun(reason) => (
            Judgement::NotRun,
            Finding::warning(format!("{grader}: not run: {reason}")),
        ),
    };
    GraderResult {
        grader,
        judgement,
        finding,
    }
}

/// The answer's lines, long ones shortened in the middle: begin and end tell most.
fn quoted(text: &str) -> Vec<String> {
    let length = text.chars().count();
    let shown = if length <= QUOTED {
        text.to_owned()
    } else {
        let begin: String = text.chars().take(QUOTED / 2).collect();
        let end: String = text.chars().skip(length - QUOTED / 2).collect();
        format!(
            "{begin}\n[…{} characters left out…]\n{end}",
            length - QUOTED / 2 * 2
        )
    };
    shown.lines().map(|line| format!("answer | {line}")).collect()
}

/// A text in quotes, shortened for a sentence.
fn brief(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut characters = text.chars();
    let head: String = characters.by_ref().take(SHOWN).collect();
    let more = if characters.next().is_some() { "…" } else { "" };
    format!("{:?}", format!("{head}{more}"))
}

#[cfg(test)]
mod tests;
