//! The folder of goldens. Real and simulated goldens are two stores: one never answers for the other. A file is
//! written whole or not at all, and an accepted golden is replaced only by `accept`, or where `INSTA_UPDATE` asks
//! for just that.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::update::Mode;
use super::{Golden, GoldenError, Update};

/// The goldens of real stacks, or those of the simulator.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    simulated: bool,
    update: Update,
}

impl Store {
    /// The goldens under `root` (the workspace's `golden` folder), with what the environment says of updates.
    pub fn open(root: impl Into<PathBuf>, simulated: bool) -> Result<Self, GoldenError> {
        Ok(Self::with_update(root, simulated, Update::from_env()?))
    }

    /// The same, with updates as told.
    pub fn with_update(root: impl Into<PathBuf>, simulated: bool, update: Update) -> Self {
        Self {
            root: root.into(),
            simulated,
            update,
        }
    }

    /// The same store for a reviewer, whose decisions hold whatever `INSTA_UPDATE` and `CI` say of automatic updates.
    pub fn for_review(root: impl Into<PathBuf>, simulated: bool) -> Result<Self, GoldenError> {
        Ok(Self::open(root, simulated)?.asked_for())
    }

    /// The same store where a person asked for what is written: pending goldens are, whatever `INSTA_UPDATE` and `CI`
    /// say of automatic updates.
    #[must_use]
    pub fn asked_for(mut self) -> Self {
        self.update.mode = Mode::Pending;
        self
    }

    /// Model and case of each golden that waits for review, in the order of their names. They are what the files are
    /// called: whether a golden is in them shows when they are loaded.
    pub fn pending(&self) -> Result<Vec<(String, String)>, GoldenError> {
        let mut folder = match &self.update.pending_dir {
            Some(dir) => dir.join(self.root.file_name().unwrap_or_default()),
            None => self.root.clone(),
        };
        if self.simulated {
            folder.push("simulated");
        }
        let mut found = Vec::new();
        for model in names(&folder)? {
            if !self.simulated && model == "simulated" {
                continue;
            }
            for file in names(&folder.join(&model))? {
                if let Some(case) = file.strip_suffix(".snap.new") {
                    found.push((model.clone(), case.to_owned()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// File of a golden.
    pub fn path(&self, model: &str, case: &str) -> Result<PathBuf, GoldenError> {
        Ok(self.root.join(self.relative(model, case)?))
    }

    /// File of a pending golden: beside the accepted one, or at the same place under `INSTA_PENDING_DIR` (counted
    /// from the workspace, as insta counts).
    pub fn pending_path(&self, model: &str, case: &str) -> Result<PathBuf, GoldenError> {
        let relative = self.relative(model, case)?;
        let accepted = match &self.update.pending_dir {
            Some(dir) => dir.join(self.root.file_name().unwrap_or_default()).join(relative),
            None => self.root.join(relative),
        };
        Ok(accepted.with_extension("snap.new"))
    }

    /// The accepted golden of a case, if there is one.
    pub fn load(&self, model: &str, case: &str) -> Result<Option<Golden>, GoldenError> {
        self.read(model, case, self.path(model, case)?)
    }

    /// The golden of a case that waits for review, if there is one.
    pub fn load_pending(&self, model: &str, case: &str) -> Result<Option<Golden>, GoldenError> {
        self.read(model, case, self.pending_path(model, case)?)
    }

    fn read(&self, model: &str, case: &str, path: PathBuf) -> Result<Option<Golden>, GoldenError> {
        let file = match fs::read_to_string(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(GoldenError::Io {
                    action: "reading",
                    path,
                    source,
                });
            }
        };
        let golden = Golden::parse(&file, &path)?;
        self.belongs(&golden, model, case, path)?;
        Ok(Some(golden))
    }

    /// Hands a differing or new answer to the reviewer. The file that was written, or `None` where the environment
    /// wants nothing written.
    pub fn pend(&self, golden: &Golden) -> Result<Option<PathBuf>, GoldenError> {
        let (model, case) = (&golden.header.model, &golden.header.case);
        let accepted = self.path(model, case)?;
        let target = match self.update.mode {
            Mode::Nothing => return Ok(None),
            Mode::Accept => accepted,
            Mode::AcceptUnseen if !accepted.exists() => accepted,
            Mode::AcceptUnseen | Mode::Pending => self.pending_path(model, case)?,
        };
        self.write(golden, target).map(Some)
    }

    /// Makes this the golden of its case; a pending one is gone with that.
    pub fn accept(&self, golden: &Golden) -> Result<PathBuf, GoldenError> {
        let (model, case) = (&golden.header.model, &golden.header.case);
        let path = self.write(golden, self.path(model, case)?)?;
        self.clear_pending(model, case)?;
        Ok(path)
    }

    /// Removes a pending golden that no longer holds, since the case passes. Whether there was one. Where nothing
    /// may be written, nothing is removed.
    pub fn clear_pending(&self, model: &str, case: &str) -> Result<bool, GoldenError> {
        if self.update.mode == Mode::Nothing {
            return Ok(false);
        }
        let path = self.pending_path(model, case)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(GoldenError::Io {
                action: "removing",
                path,
                source,
            }),
        }
    }

    fn relative(&self, model: &str, case: &str) -> Result<PathBuf, GoldenError> {
        let base = if self.simulated {
            Path::new("simulated")
        } else {
            Path::new("")
        };
        if !self.simulated && model == "simulated" {
            return Err(GoldenError::Name(model.to_owned()));
        }
        Ok(base
            .join(checked(model)?)
            .join(format!("{}.snap", checked(case)?)))
    }

    fn belongs(&self, golden: &Golden, model: &str, case: &str, path: PathBuf) -> Result<(), GoldenError> {
        let describe = |model: &str, case: &str, simulated| {
            let kind = if simulated { "a simulated" } else { "a real" };
            format!("{kind} golden of {model}/{case}")
        };
        let header = &golden.header;
        let found = describe(&header.model, &header.case, header.simulated);
        let expected = describe(model, case, self.simulated);
        if found == expected {
            Ok(())
        } else {
            Err(GoldenError::Foreign {
                path,
                found,
                expected,
            })
        }
    }

    /// Writes beside the target and renames, so that a crash leaves the old file or the new one.
    fn write(&self, golden: &Golden, target: PathBuf) -> Result<PathBuf, GoldenError> {
        let header = &golden.header;
        self.belongs(golden, &header.model, &header.case, target.clone())?;
        let text = golden.to_snapshot()?;
        let folder = target.parent().unwrap_or(&self.root);
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::Builder::new().prefix(".golden-").tempfile_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.persist(&target)?;
            Ok(())
        });
        match written {
            Ok(()) => Ok(target),
            Err(source) => Err(GoldenError::Io {
                action: "writing",
                path: target,
                source,
            }),
        }
    }
}

/// Names in a folder; none where there is no folder of this name.
fn names(folder: &Path) -> Result<Vec<String>, GoldenError> {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    match listed {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        listed => listed.map_err(|source| GoldenError::Io {
            action: "listing",
            path: folder.to_owned(),
            source,
        }),
    }
}

/// A name that stays within its folder and that every file system takes.
fn checked(name: &str) -> Result<&str, GoldenError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        Ok(name)
    } else {
        Err(GoldenError::Name(name.to_owned()))
    }
}
