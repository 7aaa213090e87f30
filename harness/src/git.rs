//! History as the `git` program tells it: commits, changed files, and files as they were. Reads only.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// Why history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git`.
    #[error("git cannot be started: {0}; install it")]
    Start(#[source] std::io::Error),
    /// `git` failed.
    #[error("git {command} failed: {message}")]
    Refused {
        /// Its command.
        command: String,
        /// What it said.
        message: String,
    },
    /// No such revision.
    #[error(
        "{0} is no revision of this repository; a shallow clone has few: fetch more with `git fetch --unshallow`"
    )]
    Revision(String),
    /// A file of a commit cannot be read.
    #[error("{file} cannot be read from history: {source}")]
    Read {
        /// Commit and path.
        file: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Largest file that is read: a golden or a manifest is far smaller.
const LARGEST_FILE: usize = 16 << 20;

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Full hash.
    pub hash: String,
    /// Hashes of its parents.
    pub parents: Vec<String>,
    /// Day of the commit, `YYYY-MM-DD`.
    pub date: String,
    /// First line of its message.
    pub subject: String,
}

/// A file that a commit changed against a parent; one that it only added is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its path in the parent.
    pub before: String,
    /// Its path in the commit; `None` where it was removed.
    pub after: Option<String>,
}

/// A repository.
#[derive(Debug, Clone)]
pub struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The repository that holds `root`; paths count from `root`.
    pub fn at(root: &Path) -> Result<Self, GitError> {
        let repository = Self {
            root: root.to_owned(),
        };
        repository.run(&["rev-parse", "--is-inside-work-tree"])?;
        Ok(repository)
    }

    /// Whether older history was not fetched.
    pub fn is_shallow(&self) -> Result<bool, GitError> {
        Ok(self.run(&["rev-parse", "--is-shallow-repository"])?.trim() == "true")
    }

    /// The hash of a revision.
    pub fn resolve(&self, revision: &str) -> Result<String, GitError> {
        let commit = format!("{revision}^{{commit}}");
        self.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])
            .map(|hash| hash.trim().to_owned())
            .map_err(|error| match error {
                GitError::Refused { .. } => GitError::Revision(revision.to_owned()),
                other => other,
            })
    }

    /// Commits up to `tip` that touch one of `paths`, the oldest first; without those that `since` has.
    pub fn commits(&self, tip: &str, since: Option<&str>, paths: &[&str]) -> Result<Vec<Commit>, GitError> {
        let range = since.map_or_else(|| tip.to_owned(), |since| format!("{since}..{tip}"));
        let format = "--format=%H%x00%P%x00%cs%x00%s";
        let log = ["log", "--reverse", "--topo-order", format, &range, "--"];
        let listed = self.run(&[&log[..], paths].concat())?;
        Ok(listed.lines().filter_map(commit).collect())
    }

    /// The files below `paths` that differ between two commits, renames followed.
    pub fn changed(&self, parent: &str, commit: &str, paths: &[&str]) -> Result<Vec<ChangedFile>, GitError> {
        let diff = ["diff-tree", "-r", "-z", "-M", "--name-status", "--relative"];
        let listed = self.run(&[&diff[..], &[parent, commit, "--"], paths].concat())?;
        let mut fields = listed.split('\0').map(str::to_owned);
        let mut files = Vec::new();
        while let Some(status) = fields.next().filter(|status| !status.is_empty()) {
            let Some(path) = fields.next() else { break };
            let after = match status.as_bytes().first() {
                Some(b'A') => continue,
                Some(b'D') => None,
                Some(b'R' | b'C') => fields.next(),
                _ => Some(path.clone()),
            };
            files.push(ChangedFile { before: path, after });
        }
        Ok(files)
    }

    /// The commit from which two revisions part, or `None` where they have none in common.
    pub fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>, GitError> {
        let output = self
            .git(&["merge-base", one, other])
            .output()
            .map_err(GitError::Start)?;
        match output.status.code() {
            Some(0) => Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())),
            // git's own word for "none", which it says without a message.
            Some(1) if output.stderr.is_empty() => Ok(None),
            _ => Err(refused("merge-base", &output)),
        }
    }

    /// Files that differ between a commit and what lies in the work tree now, uncommitted and new ones among them; a
    /// renamed file counts under both names. Sorted; what `.gitignore` names is left out.
    pub fn differing(&self, commit: &str) -> Result<Vec<String>, GitError> {
        let tracked = self.run(&[
            "diff",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--relative",
            commit,
            "--",
        ])?;
        let untracked = self.run(&["ls-files", "--others", "--exclude-standard", "-z"])?;
        let names = tracked.split('\0').chain(untracked.split('\0'));
        let mut files: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }

    /// A reader of files as they were.
    pub fn files(&self) -> Result<Files, GitError> {
        let mut child = self
            .git(&["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(GitError::Start)?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitError::Start(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Files {
            child,
            asks: Some(asks),
            answers: BufReader::new(answers),
        })
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.root)
            .args(arguments)
            .env("LC_ALL", "C");
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        let output = self.git(arguments).output().map_err(GitError::Start)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(refused(arguments.first().copied().unwrap_or_default(), &output))
    }
}

fn refused(command: &str, output: &Output) -> GitError {
    GitError::Refused {
        command: command.to_owned(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

fn commit(line: &str) -> Option<Commit> {
    let mut fields = line.splitn(4, '\0');
    Some(Commit {
        hash: fields.next()?.to_owned(),
        parents: fields.next()?.split_whitespace().map(str::to_owned).collect(),
        date: fields.next()?.to_owned(),
        subject: fields.next()?.to_owned(),
    })
}

/// Reads files of any commit through one `git cat-file`.
#[derive(Debug)]
pub struct Files {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Files {
    /// The text of a file in a commit; `None` where the commit has no such file.
    pub fn read(&mut self, commit: &str, path: &str) -> Result<Option<String>, GitError> {
        if path.contains('\n') {
            return Ok(None);
        }
        let file = format!("{commit}:{path}");
        let failed = |source| GitError::Read {
            file: file.clone(),
            source,
        };
        if let Some(asks) = &mut self.asks {
            asks.write_all(format!("{commit}:./{path}\n").as_bytes())
                .map_err(failed)?;
        }
        let mut head = String::new();
        self.answers.read_line(&mut head).map_err(failed)?;
        // `<hash> blob <size>`, or `<name> missing`.
        let Some(size) = head.trim_end().rsplit_once(" blob ").map(|(_, size)| size) else {
            return if head.trim_end().ends_with(" missing") {
                Ok(None)
            } else {
                Err(failed(std::io::Error::other(format!(
                    "git answers {:?}",
                    head.trim_end()
                ))))
            };
        };
        let size: usize = size
            .parse()
            .map_err(|_| failed(std::io::ErrorKind::InvalidData.into()))?;
        if size > LARGEST_FILE {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        let mut content = vec![0; size + 1];
        self.answers.read_exact(&mut content).map_err(failed)?;
        content.truncate(size);
        Ok(Some(String::from_utf8_lossy(&content).into_owned()))
    }
}

impl Drop for Files {
    /// Ends the process that reads: it stops when its input does.
    fn drop(&mut self) {
        self.asks = None;
        drop(self.child.wait());
    }
}
