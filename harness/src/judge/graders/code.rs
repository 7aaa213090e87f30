//! Grader `code`, and what is run for it: the answer's code between the case's own lines.

use super::Said;
use crate::manifest::{Code, CodeLanguage};
use crate::sandbox::{CodeExit, CodeRun};

/// Lines of a failed program's output that a finding shows.
const OUTPUT_LINES: usize = 8;

/// A fenced block of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced<'a> {
    /// Word behind the opening fence, in the answer's own spelling.
    pub label: &'a str,
    /// Lines between the fences.
    pub text: &'a str,
}

/// The fenced blocks of a text. A fence that is not closed (the answer was cut) reaches to the end.
pub fn fenced_blocks(text: &str) -> Vec<Fenced<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        if let Some(label) = line.trim_start().strip_prefix("```") {
            open = match open {
                None => Some((label.trim(), next)),
                Some((label, begin)) => {
                    blocks.push(Fenced {
                        label,
                        text: &text[begin..at],
                    });
                    None
                }
            };
        }
        at = next;
    }
    if let Some((label, begin)) = open {
        blocks.push(Fenced {
            label,
            text: &text[begin..],
        });
    }
    blocks
}

/// The program that judges an answer: the case's begin, the answer's code, the case's tests. The code is every
/// fenced block of the language (or without one), or the whole answer where nothing is fenced. `None` where the
/// answer holds no code.
pub fn program(code: &Code, text: &str) -> Option<String> {
    let CodeLanguage::Python = code.language;
    let blocks = fenced_blocks(text);
    let answer = if blocks.is_empty() {
        text.to_owned()
    } else {
        let python = |block: &&Fenced<'_>| {
            let label = block.label.to_lowercase();
            label.is_empty() || label.starts_with("py")
        };
        let texts: Vec<_> = blocks.iter().filter(python).map(|block| block.text).collect();
        texts.join("\n")
    };
    (!answer.trim().is_empty()).then(|| format!("{}\n{answer}\n{}\n", code.before, code.tests))
}

pub fn code(code: &Code, text: &str, run: Result<&CodeRun, &str>) -> Said {
    if program(code, text).is_none() {
        return Said::Wrong("wanted Python code, found none".to_owned());
    }
    let run = match run {
        Ok(run) => run,
        Err(reason) => return Said::NotRun(reason.to_owned()),
    };
    match run.exit {
        CodeExit::Finished => Said::Right("the code passes the case's tests".to_owned()),
        CodeExit::LeftEarly => Said::Wrong(format!(
            "the code ends the program before the case's tests{}",
            shown(run)
        )),
        CodeExit::Code(code) => Said::Wrong(format!(
            "the code fails the case's tests (exit code {code}){}",
            shown(run)
        )),
        CodeExit::TimedOut { after_s } => {
            Said::Wrong(format!("the code ran for more than {after_s} s{}", shown(run)))
        }
        CodeExit::OutOfMemory => Said::Wrong(format!("the code took more memory than it may{}", shown(run))),
    }
}

/// The last lines of the output, where an error message ends.
fn shown(run: &CodeRun) -> String {
    let lines: Vec<_> = run
        .output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(OUTPUT_LINES)..];
    if last.is_empty() {
        String::new()
    } else {
        format!(": {}", last.join(" / "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(before: &str, tests: &str) -> Code {
        Code {
            language: CodeLanguage::Python,
            before: before.to_owned(),
            tests: tests.to_owned(),
        }
    }

    #[test]
    fn code_is_found_in_fences_or_bare() {
        let code = python("import math", "assert f(2) == 4");
        let whole = "import math\ndef f(x):\n    return x * x\n\nassert f(2) == 4\n";
        for answer in [
            "Sure:\n```python\ndef f(x):\n    return x * x\n```\nIt squares.\n```text\n4\n```",
            "```\ndef f(x):\n    return x * x\n```",
            "```py\ndef f(x):\n    return x * x\n",
        ] {
            assert_eq!(program(&code, answer).as_deref(), Some(whole), "{answer}");
        }
        assert!(
            program(&code, "def f(x): return x * x")
                .unwrap()
                .contains("\ndef f(x): return x * x\n")
        );
        assert_eq!(program(&code, "```rust\nfn f() {}\n```"), None);
        assert_eq!(program(&code, " \n"), None);
    }

    #[test]
    fn a_loop_of_fences_stays_cheap() {
        let text = "```\n".repeat(50_000);
        assert_eq!(fenced_blocks(&text).len(), 25_000);
    }
}
