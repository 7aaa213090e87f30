//! A recording: all goldens below a folder, read at once on all cores. It may be a folder of goldens, the folder of a
//! `record` run (`goldens/`), or that of a `validate` run, which holds the goldens as they were scored (`scored/`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{Golden, GoldenError};

/// Folder of a run with what it recorded.
pub const RECORDED: &str = "goldens";
/// Folder of a run with goldens as it scored them.
pub const SCORED: &str = "scored";
/// Folders of a run that hold goldens.
const OF_RUNS: [&str; 2] = [RECORDED, SCORED];

/// Goldens by model and case.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The folder that was named.
    pub path: PathBuf,
    /// Whether the tokens are another recording's, and only their figures are this one's.
    pub scored: bool,
    /// Its goldens.
    pub goldens: BTreeMap<(String, String), Golden>,
}

impl Recording {
    /// Reads a recording. A golden that cannot be read is an error: nothing is left out unseen.
    pub fn read(path: &Path) -> Result<Self, GoldenError> {
        let of_run = OF_RUNS.into_iter().find(|folder| path.join(folder).is_dir());
        let folder = of_run.map_or_else(|| path.to_owned(), |folder| path.join(folder));
        let mut files = Vec::new();
        collect(&folder, &mut files)?;
        files.sort();
        let read = |file: &PathBuf| {
            let text = fs::read_to_string(file).map_err(|source| unreadable(file, source))?;
            Golden::parse(&text, file)
        };
        let read: Vec<Golden> = files.par_iter().map(read).collect::<Result<_, GoldenError>>()?;
        let recording = |what: String| GoldenError::Recording {
            path: path.to_owned(),
            what,
        };
        if read.is_empty() {
            return Err(recording(
                "there is no golden (`.snap`) in or below it".to_owned(),
            ));
        }
        let mut goldens = BTreeMap::new();
        for (file, golden) in files.iter().zip(read) {
            let key = (golden.header.model.clone(), golden.header.case.clone());
            let name = format!("{}/{}", key.0, key.1);
            if goldens.insert(key, golden).is_some() {
                let file = file.strip_prefix(path).unwrap_or(file).display();
                return Err(recording(format!(
                    "it holds {name} twice (again as {file}): name a folder of one session"
                )));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            scored: folder.components().any(|part| part.as_os_str() == SCORED),
            goldens,
        })
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> GoldenError {
    GoldenError::Io {
        action: "reading",
        path: path.to_owned(),
        source,
    }
}

/// All goldens in and below `path`, which may be one itself. Folders of the simulator are left out unless they are
/// named: they never answer for a real stack.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), GoldenError> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
        let entry = entry.map_err(|source| unreadable(path, source))?;
        let found = entry.path();
        if found.is_dir() {
            if entry.file_name() != "simulated" {
                collect(&found, files)?;
            }
        } else if found.extension().is_some_and(|extension| extension == "snap") {
            files.push(found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::sample;

    fn write(folder: &Path, place: &str) {
        let path = folder.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, sample::golden().to_snapshot().unwrap()).unwrap();
    }

    #[test]
    fn goldens_are_found_wherever_they_lie() {
        for place in ["a.snap", "m/a.snap", "goldens/m/a.snap", "scored/m@s/a.snap"] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), place);
            write(folder.path(), "simulated/m/a.snap");
            fs::write(folder.path().join("b.snap.new"), "not yet").unwrap();
            let recording = Recording::read(folder.path()).unwrap();
            assert_eq!(recording.goldens.len(), 1, "{place}");
        }
    }

    #[test]
    fn what_is_no_recording_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let said = |folder: &Path| {
            let said = Recording::read(folder).unwrap_err().to_string();
            said.replace(&folder.display().to_string(), "DIR")
        };
        let mut all = vec![said(folder.path()), said(&folder.path().join("none"))];
        write(folder.path(), "one/a.snap");
        write(folder.path(), "two/a.snap");
        all.push(said(folder.path()));
        fs::write(folder.path().join("cut.snap"), "---\nsource: x\n").unwrap();
        all.push(said(folder.path()));
        insta::assert_snapshot!(all.join("\n"));
    }
}
