//! A command on this host as a target: what is run, where, and the equal command line.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{
    Launch, LaunchError, Log, PathError, arguments::server_words, env_words, expand, process::Process,
    shell_line,
};
use crate::manifest::ProcessTarget;

/// A command that can be run.
struct Prepared {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
}

/// Starts the command. It ends with the harness, even with one that was killed.
pub fn start(launch: &Launch<'_>, target: &ProcessTarget, log: &Log) -> Result<Process, LaunchError> {
    let prepared = prepare(launch, target)?;
    if target.model.is_none() {
        let weights = expand(&launch.model.manifest.model.path)?;
        if !weights.is_dir() {
            return Err(LaunchError::NoModel(weights));
        }
    }
    let mut command = Command::new(&prepared.program);
    command
        .args(&prepared.arguments)
        .envs(launch.env())
        .current_dir(&prepared.folder);
    Process::spawn_guarded(command, log).map_err(|source| LaunchError::Io {
        action: "start",
        path: prepared.program,
        source,
    })
}

/// The equal command line.
pub fn command_line(launch: &Launch<'_>, target: &ProcessTarget) -> Result<String, LaunchError> {
    let prepared = prepare(launch, target)?;
    let mut words = env_words(&launch.env());
    words.push(prepared.program.to_string_lossy().into_owned());
    words.extend(prepared.arguments);
    let folder = prepared.folder.to_string_lossy();
    let enter = shell_line(["cd", &folder]);
    Ok(format!(
        "{enter} && {}",
        shell_line(words.iter().map(String::as_str))
    ))
}

fn prepare(launch: &Launch<'_>, target: &ProcessTarget) -> Result<Prepared, LaunchError> {
    let folder = match &target.cwd {
        Some(folder) => launch.root.join(expand(folder)?),
        None => launch.root.to_owned(),
    };
    let words = target.command.iter().map(|word| text(expand(word)));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    let model = match &target.model {
        Some(model) => model.clone(),
        None => text(expand(&launch.model.manifest.model.path))?,
    };
    let mut words = server_words(&words, &model, launch.port, launch.settings);
    // The schema asks for one word at least; a stack made otherwise has the model in its place, which cannot be run.
    let program = words.remove(0);
    Ok(Prepared {
        program: resolve(program, &folder),
        arguments: words,
        folder,
    })
}

fn text(path: Result<PathBuf, PathError>) -> Result<String, PathError> {
    Ok(path?.to_string_lossy().into_owned())
}

/// A program with a folder in its name is looked for below `folder`, one without on the PATH.
fn resolve(program: String, folder: &Path) -> PathBuf {
    if program.contains('/') {
        folder.join(program)
    } else {
        program.into()
    }
}
