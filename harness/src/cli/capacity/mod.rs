//! `capacity`: can a model fit, on how many cards, and how fast can it be at best? Nothing is loaded.

mod answer;
mod arguments;
mod picture;
mod table;

use std::path::Path;

use self::answer::Answer;
pub use self::arguments::Arguments;
use super::{CliError, device::json, print, say};
use crate::{report::Style, run::Exit};

/// Computes; exit 1 where the layout that was asked for does not fit.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let question = arguments.question(root)?;
    let answer = Answer::of(&question).map_err(|error| CliError::Usage(error.to_string()))?;
    if let Some(file) = &arguments.svg {
        let text = picture::render(&answer);
        std::fs::write(file, text)
            .map_err(|error| CliError::Usage(format!("{} cannot be written: {error}", file.display())))?;
    }
    if arguments.json {
        print(&json(&answer)?)?;
    } else {
        say(&table::render(&answer, style))?;
    }
    Ok(if answer.fits { Exit::Passed } else { Exit::Failed })
}

#[cfg(test)]
mod tests;
