//! `matrix`: the models and stacks that a change concerns, for the jobs of a CI pipeline.

use std::path::Path;

use clap::Args;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};

use super::{CliError, print, say};
use crate::{
    manifest::{Accelerator, Catalogue},
    matrix::{self, TargetKind, Wanted, render},
    report::Style,
    run::Exit,
};

/// Since when, which pairs, and for whom.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Arguments {
    /// Only models and stacks whose files changed since the work tree's commit left this revision; uncommitted files
    /// count [default: all]
    #[arg(long, value_name = "REV")]
    changed_since: Option<String>,
    /// Only this model; may be given several times
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Only stacks on this accelerator: c500, a100_40gb, cpu; may be given several times
    #[arg(long = "accelerator", value_name = "NAME", value_parser = word::<Accelerator>)]
    accelerators: Vec<Accelerator>,
    /// Only stacks of this target: docker, process, endpoint, simulator; may be given several times
    #[arg(long = "target", value_name = "KIND", value_parser = word::<TargetKind>)]
    targets: Vec<TargetKind>,
    /// Only what a host without cards can run: simulators, the CPU, servers elsewhere
    #[arg(long, conflicts_with = "on_cards")]
    without_cards: bool,
    /// Only what needs cards on the host
    #[arg(long)]
    on_cards: bool,
    /// Print the pairs and their reasons as JSON
    #[arg(long, group = "format")]
    json: bool,
    /// Print one line for GitHub's `matrix: ${{ fromJSON(…) }}`
    #[arg(long, group = "format")]
    github: bool,
    /// Print a child pipeline for GitLab, whose jobs extend the templates in FILE
    #[arg(long, value_name = "FILE", group = "format")]
    gitlab: Option<String>,
}

/// Selects; exit 2 where the revision or a manifest is wrong. That nothing is concerned is no failure.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let revision = arguments.changed_since.as_deref();
    let changes = revision
        .map(|revision| matrix::changes(root, revision))
        .transpose()?;
    let wanted = Wanted {
        models: arguments.models.clone(),
        accelerators: arguments.accelerators.clone(),
        targets: arguments.targets.clone(),
        cards: (arguments.on_cards || arguments.without_cards).then_some(arguments.on_cards),
    };
    let selected = matrix::select(&Catalogue::open(root), changes.as_ref(), &wanted)?;
    say(&render::words(&selected, changes.as_ref(), style))?;
    let text = if arguments.json {
        render::json(&selected, changes.as_ref()).map_err(std::io::Error::from)?
    } else if arguments.github {
        if selected.pairs.len() > render::GITHUB_JOBS {
            let text = format!(
                "{} pairs, and GitHub makes at most {} jobs of a matrix: split them with --model, --accelerator or \
                 --target",
                selected.pairs.len(),
                render::GITHUB_JOBS
            );
            return Err(CliError::Usage(text));
        }
        render::github(&selected)
    } else if let Some(templates) = &arguments.gitlab {
        render::gitlab(&selected, templates).map_err(std::io::Error::from)?
    } else {
        render::plain(&selected)
    };
    print(&text)?;
    Ok(Exit::Passed)
}

/// A word as manifests spell it; the error lists those that there are.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    let reader: value::StrDeserializer<'_, value::Error> = text.into_deserializer();
    T::deserialize(reader).map_err(|error| error.to_string())
}
