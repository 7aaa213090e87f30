//! `check`: are manifests, cases and stacks right, and does each server's command suit the versions of its stacks?

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, say};
use crate::{
    manifest::{self, Catalogue, Diagnostics},
    report::Style,
    run::Exit,
    target,
};

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
    let unfit = unfit(root, &checked.files);
    if !unfit.is_empty() {
        return Err(unfit.into());
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

/// What the stacks' versions of vLLM refuse of the manifests among `files`. Files of other kinds load as no model.
pub(super) fn unfit(root: &Path, files: &[PathBuf]) -> Diagnostics {
    let catalogue = Catalogue::open(root);
    let models = files
        .iter()
        .filter_map(|file| catalogue.model(&file.to_string_lossy()).ok());
    models
        .flat_map(|model| {
            target::fit(&catalogue, &model)
                .iter()
                .cloned()
                .collect::<Vec<_>>()
        })
        .collect()
}
