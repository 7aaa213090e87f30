//! `import`: the model lists of other test systems as manifests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{
    CliError,
    new_model::{checked, write_new},
    print, say,
};
use crate::{
    intake::{Import, Library, batched_test, vllm_ascend},
    manifest::Catalogue,
    report::text::one_line,
    run::Exit,
};

/// Which list. Manifests go to standard output, or into a folder; what no manifest says is listed line by line on
/// standard error. Exit 4: the list became no manifest.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum List {
    /// The model list of MetaX's batched_test (vLLM-metax, tools/batched_test)
    BatchedTest {
        /// The list, such as configs/model.yaml
        file: PathBuf,
        /// Its cluster file, for models over several hosts
        #[arg(long, value_name = "FILE")]
        cluster: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// A nightly test of vllm-ascend (tests/e2e/nightly)
    VllmAscend {
        /// The test
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Folder of checkpoints' folders, each with its config.json [default: the paths of the list, and models.d]
    #[arg(long, value_name = "DIR")]
    configs: Option<PathBuf>,
    /// Folder for the manifests; a file that is there already stays as it is
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Imports a list.
pub fn run(root: &Path, arguments: &Arguments) -> Result<Exit, CliError> {
    let catalogue = Catalogue::open(root);
    let library = |common: &Common| Library::new(&catalogue, common.configs.clone());
    let (import, common) = match &arguments.list {
        List::BatchedTest {
            file,
            cluster,
            common,
        } => (batched_test(&library(common), file, cluster.as_deref())?, common),
        List::VllmAscend { file, common } => (vllm_ascend(&library(common), file)?, common),
    };
    hand_over(root, &import, common.out.as_deref())?;
    say(&left_out(&import))?;
    let count = import.drafts.len();
    let noun = if count == 1 { "manifest" } else { "manifests" };
    let left = import.left.len();
    let things = if left == 1 { "thing" } else { "things" };
    say(&format!("{count} {noun}, {left} {things} left out\n"))?;
    Ok(if count == 0 { Exit::Nothing } else { Exit::Passed })
}

/// Writes the manifests. All are checked before the first is written.
fn hand_over(root: &Path, import: &Import, out: Option<&Path>) -> Result<(), CliError> {
    let texts: Vec<(&str, String)> = import
        .drafts
        .iter()
        .map(|draft| (draft.name.as_str(), draft.text()))
        .collect();
    for (name, text) in &texts {
        checked(root, name, text)?;
    }
    let Some(out) = out else {
        for (index, (name, text)) in texts.iter().enumerate() {
            let seam = if index == 0 { "" } else { "---\n" };
            print(&format!("{seam}# {name}.yaml\n{text}"))?;
        }
        return Ok(());
    };
    fs::create_dir_all(out)?;
    for (name, text) in &texts {
        let path = out.join(format!("{name}.yaml"));
        write_new(&path, text)?;
        say(&format!("{} written\n", path.display()))?;
    }
    Ok(())
}

/// A line for each thing that no manifest says: its place, what it is, why.
fn left_out(import: &Import) -> String {
    let lines = import.left.iter().map(|left| {
        let what = one_line(&left.what);
        format!("{}:{}: {what}: {}\n", left.file, left.line, one_line(&left.why))
    });
    lines.collect()
}
