//! `check`: are manifests, cases and stacks right?

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, say};
use crate::{manifest, report::Style, run::Exit};

/// What to check.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Files to check [default: all of models.d, its cases, and ci/stacks]
    files: Vec<PathBuf>,
    /// Write the JSON schemas that editors use, then check
    #[arg(long)]
    write_schemas: bool,
}

/// Checks; exit 2 on a mistake.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    if arguments.write_schemas {
        manifest::schema::write_schemas(root)?;
    }
    let checked = manifest::check(root, &arguments.files);
    if !checked.errors.is_empty() {
        return Err(checked.errors.into());
    }
    if !checked.warnings.is_empty() {
        say(&(checked.warnings.render(style.colour) + "\n"))?;
    }
    let count = checked.files.len();
    say(&format!(
        "{count} file{} checked, no mistakes\n",
        if count == 1 { "" } else { "s" }
    ))?;
    Ok(Exit::Passed)
}
