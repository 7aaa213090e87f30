//! `new-model`: a complete manifest from a model's `config.json`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{CliError, check::unfit, print, say};
use crate::{
    intake::{Draft, Folder, Subject, Wishes, draft, slug},
    manifest::{self, Catalogue},
    report::{Style, style::Role},
    run::Exit,
};

/// Which model. The manifest goes to standard output, or with `--write` to models.d.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The model's config.json; chat template and model card are looked for beside it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name of the manifest [default: from the folder's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Id on the hub, such as Qwen/Qwen3-32B [default: what config.json says, else the folder's name]
    #[arg(long, value_name = "OWNER/NAME")]
    id: Option<String>,
    /// Write models.d/NAME.yaml; a file that is there already stays as it is
    #[arg(long)]
    write: bool,
}

/// Drafts the manifest.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let name = arguments.name.as_deref().map(plain).transpose()?;
    let folder = Folder::of_config(&arguments.config)?;
    let subject = Subject::of_folder(&folder, arguments.id.as_deref())?;
    let wishes = Wishes {
        name,
        ..Wishes::default()
    };
    let draft = draft(&Catalogue::open(root), &subject, &wishes)?;
    let text = draft.text();
    checked(root, &draft.name, &text)?;
    for remark in &draft.remarks {
        say(&format!("note: {remark}\n"))?;
    }
    if arguments.write {
        let path = root.join("models.d").join(format!("{}.yaml", draft.name));
        write_new(&path, &text)?;
        say(&next_steps(&draft, style))?;
    } else {
        print(&text)?;
    }
    Ok(Exit::Passed)
}

/// A name that files and trials can have.
fn plain(name: &str) -> Result<String, CliError> {
    if slug(name) == name {
        return Ok(name.to_owned());
    }
    Err(CliError::Usage(format!(
        "`{name}` cannot name a manifest: write `{}`",
        slug(name)
    )))
}

/// Refuses a text that `check` would refuse: what is handed out can be used.
pub(super) fn checked(root: &Path, name: &str, text: &str) -> Result<(), CliError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(format!("{name}.yaml"));
    fs::write(&path, text)?;
    let checked = manifest::check(root, &[path]);
    let wrong = if checked.errors.is_empty() {
        unfit(root, &checked.files)
    } else {
        checked.errors
    };
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

/// Writes a file that is not there yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            CliError::Usage(format!(
                "{} is there already and stays as it is: remove it, or choose another name",
                path.display()
            ))
        } else {
            CliError::Usage(format!("cannot write {}: {error}", path.display()))
        }
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

fn next_steps(draft: &Draft, style: Style) -> String {
    let name = &draft.name;
    let path = format!("models.d/{name}.yaml");
    let file = style.paint(Role::Strong, &path);
    format!(
        "{file} written; next:\n  read its comments, copy the licence from the model card\n  cargo xtask validate --model {name}\n  write the measured figures as budgets, then cargo xtask review for the goldens\n"
    )
}
