//! Regular expressions of graders: whether they can be compiled, quickly, and can fail.
//!
//! Compiling takes up to a quarter of a second where large Unicode classes are repeated (`(\w+\W+){60}`). So patterns
//! are parsed only, and their compiled size is bounded by what repetition multiplies: a pattern within the bound
//! compiles in milliseconds and far below the 10 MiB at which `regex` gives up.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most character ranges of a pattern, repetitions written out.
const MAX_RANGES: usize = 20_000;

/// Why a pattern is refused. The text continues a sentence that begins with the pattern.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatternError {
    #[error("is not a regular expression: {0}")]
    Syntax(String),
    #[error("can match without a single character")]
    Empty,
    #[error("is too large: its repetitions come to {0} character ranges, and {MAX_RANGES} are allowed")]
    Large(usize),
}

impl PatternError {
    /// What would be right.
    pub(super) const fn help(&self) -> &'static str {
        match self {
            Self::Syntax(_) => {
                "Rust's syntax has neither look-around nor back references; use single quotes in YAML"
            }
            Self::Empty => "let it match something that only a right answer has",
            Self::Large(_) => {
                r"repeat less, or a smaller class: `\S` and `\s` in place of `\w` and `\W`, or `[a-z]`"
            }
        }
    }
}

/// Checks a pattern.
pub(super) fn check(pattern: &str) -> Result<(), PatternError> {
    let hir = regex_syntax::parse(pattern).map_err(|error| {
        let text = error.to_string();
        let cause = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
        PatternError::Syntax(cause.unwrap_or(&text).to_owned())
    })?;
    if hir.properties().minimum_len() == Some(0) {
        return Err(PatternError::Empty);
    }
    match ranges(&hir) {
        large if large > MAX_RANGES => Err(PatternError::Large(large)),
        _ => Ok(()),
    }
}

/// Character ranges of the pattern with its repetitions written out, which is what the compiler does.
fn ranges(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| parts.iter().map(ranges).fold(0, usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Capture(capture) => ranges(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            ranges(&repetition.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_compiles() {
        for pattern in [
            r"\b8\b",
            r"(?i)^\W*yes\W*$",
            r"(\S+\s+){900}",
            r"\w{25}",
            r"(\p{Han}[^\p{Han}]*){200}",
        ] {
            check(pattern).unwrap();
            regex::Regex::new(pattern).unwrap();
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        assert!(matches!(check("(8"), Err(PatternError::Syntax(cause)) if cause == "unclosed group"));
        assert!(matches!(check("(?=8)"), Err(PatternError::Syntax(_))));
        assert!(matches!(check("8*"), Err(PatternError::Empty)));
        assert!(matches!(check(r"^\s*$"), Err(PatternError::Empty)));
        assert!(matches!(check(r"(\w+\W+){60}"), Err(PatternError::Large(_))));
        assert!(matches!(
            check(r"((a{1000}){1000}){1000}"),
            Err(PatternError::Large(_))
        ));
    }
}
