//! How the terminal is written to: whether in colour and how wide. Output without colour says as much as with.

use std::{borrow::Cow, env, str::FromStr};

use console::Term;

use crate::record::Verdict;

/// Columns where the terminal does not tell: CI logs, pipes.
const DEFAULT_WIDTH: usize = 100;
/// Least columns that a table is laid out for.
const MIN_WIDTH: usize = 40;

/// The user's choice of colour (`--color`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColourChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl FromStr for ColourChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("`{text}` is not one of auto, always, never")),
        }
    }
}

/// Colour and width of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are written.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

/// A part's role, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Headings.
    Strong,
    /// What may be passed over.
    Faint,
    /// What is in order.
    Good,
    /// What needs a look.
    Warning,
    /// What is wrong.
    Bad,
}

impl Style {
    /// The style of standard error under the user's choice, `NO_COLOR` and `TERM`.
    pub fn of_stderr(choice: ColourChoice) -> Self {
        let term = Term::stderr();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = match choice {
            ColourChoice::Auto => term.is_term() && !plain,
            ColourChoice::Always => true,
            ColourChoice::Never => false,
        };
        let width = term
            .size_checked()
            .map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns));
        Self {
            colour,
            width: width.max(MIN_WIDTH),
        }
    }

    /// `text` in the colour of its role.
    pub(crate) fn paint(self, role: Role, text: &str) -> Cow<'_, str> {
        if !self.colour {
            return Cow::Borrowed(text);
        }
        let code = match role {
            Role::Strong => "1",
            Role::Faint => "2",
            Role::Good => "32",
            Role::Warning => "33",
            Role::Bad => "1;31",
        };
        Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m"))
    }
}

impl Role {
    /// The role of a verdict's word.
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Good,
            Verdict::Skipped => Self::Faint,
            Verdict::Waived | Verdict::Unrecorded | Verdict::Inconclusive => Self::Warning,
            Verdict::Invalid | Verdict::Failed | Verdict::Error => Self::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_it_was_asked_for() {
        let plain = Style {
            colour: false,
            width: 80,
        };
        assert_eq!(plain.paint(Role::Bad, "failed"), "failed");
        let coloured = Style {
            colour: true,
            ..plain
        };
        assert_eq!(coloured.paint(Role::Bad, "failed"), "\u{1b}[1;31mfailed\u{1b}[0m");
        assert!(Style::of_stderr(ColourChoice::Always).colour);
        assert!(!Style::of_stderr(ColourChoice::Never).colour);
    }

    #[test]
    fn choices_are_spelt_as_elsewhere() {
        assert_eq!("never".parse(), Ok(ColourChoice::Never));
        assert!("Yes".parse::<ColourChoice>().is_err());
    }
}
