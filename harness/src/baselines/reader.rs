//! What one commit lowers: its files against those of its parents.

use std::collections::BTreeMap;
use std::path::Path;

use super::limits::{self, Kind, Limit, Limits};
use super::{Audit, Explanation, Lowering, PATHS, Place, Unreasoned};
use crate::git::{ChangedFile, Commit, Files, GitError, Repository};
use crate::golden::Golden;
use crate::review::Difference;

/// Reads one commit after another.
pub struct Reader<'a> {
    repository: &'a Repository,
    files: Files,
    tip: String,
    /// Limits that stood in a file before it became unreadable.
    before_broken: BTreeMap<String, Limits>,
    notes: Vec<String>,
}

/// A file of limits in a commit.
enum Read {
    Limits(Limits),
    Broken,
    Absent,
}

/// What one commit does against one parent.
#[derive(Default)]
struct Found {
    lowerings: Vec<Lowering>,
    unreasoned: Vec<Unreasoned>,
}

impl<'a> Reader<'a> {
    /// Begins; what stands at `tip` decides whether a lowering is explained.
    pub fn new(repository: &'a Repository, tip: String) -> Result<Self, GitError> {
        Ok(Self {
            repository,
            files: repository.files()?,
            tip,
            before_broken: BTreeMap::new(),
            notes: Vec::new(),
        })
    }

    /// What could not be judged.
    pub fn into_notes(self) -> Vec<String> {
        self.notes
    }

    /// Adds what a commit lowers against each of its parents. Commits come the oldest first.
    pub fn examine(&mut self, commit: &Commit, audit: &mut Audit) -> Result<(), GitError> {
        let mut against_all: Option<Found> = None;
        for parent in &commit.parents {
            let mut found = Found::default();
            for changed in self.repository.changed(parent, &commit.hash, &PATHS)? {
                if is_manifest(&changed.before) {
                    self.limits(commit, parent, &changed, &mut found)?;
                } else if has_extension(&changed.before, "snap") {
                    self.golden(commit, parent, &changed, &mut found)?;
                }
            }
            against_all = Some(match against_all {
                None => found,
                Some(mut before) => {
                    let same = |one: &Lowering, other: &Lowering| {
                        (&one.place.file, &one.metric) == (&other.place.file, &other.metric)
                    };
                    before
                        .lowerings
                        .retain(|one| found.lowerings.iter().any(|other| same(one, other)));
                    before.unreasoned.retain(|one| found.unreasoned.contains(one));
                    before
                }
            });
        }
        let found = against_all.unwrap_or_default();
        audit.lowerings.extend(found.lowerings);
        audit.goldens_without_reason.extend(found.unreasoned);
        Ok(())
    }

    /// The limits of a file in a commit.
    fn read_limits(&mut self, commit: &str, path: &str) -> Result<Read, GitError> {
        let Some(text) = self.files.read(commit, path)? else {
            return Ok(Read::Absent);
        };
        Ok(match limits::limits(&text) {
            Ok(limits) => Read::Limits(limits),
            Err(error) => {
                self.note(format!("{}:{path} is no YAML: {error}", short(commit)));
                Read::Broken
            }
        })
    }

    /// Notes something once.
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn limits(
        &mut self,
        commit: &Commit,
        parent: &str,
        changed: &ChangedFile,
        found: &mut Found,
    ) -> Result<(), GitError> {
        let path = changed.after.as_ref().unwrap_or(&changed.before);
        let before = match self.read_limits(parent, &changed.before)? {
            Read::Limits(before) => before,
            // What stood there before it broke.
            Read::Broken => match self.before_broken.get(&changed.before) {
                Some(before) => before.clone(),
                None => return Ok(()),
            },
            Read::Absent => return Ok(()),
        };
        let after = match &changed.after {
            None => Limits::new(),
            Some(path) => match self.read_limits(&commit.hash, path)? {
                Read::Limits(after) => after,
                Read::Broken | Read::Absent => {
                    self.before_broken.insert(path.clone(), before);
                    return Ok(());
                }
            },
        };
        let tip = self.tip.clone();
        let now = match self.read_limits(&tip, path)? {
            Read::Limits(now) => Some(now),
            Read::Broken => Some(Limits::new()),
            Read::Absent => None,
        };
        for (metric, before, after) in lowered(&before, &after) {
            found.lowerings.push(Lowering {
                place: place(commit, path),
                metric: metric.to_owned(),
                before: before.map_or_else(|| "none".to_owned(), |limit| limit.text.clone()),
                after: after.map_or_else(|| "removed".to_owned(), |limit| limit.text.clone()),
                because: after.and_then(|limit| limit.because.clone()),
                explanation: explanation(before, after, now.as_ref(), metric),
            });
        }
        Ok(())
    }

    /// A golden in a commit; `None` where there is none or it cannot be read, which is noted.
    fn read_golden(&mut self, commit: &str, path: &str) -> Result<Option<Golden>, GitError> {
        let Some(text) = self.files.read(commit, path)? else {
            return Ok(None);
        };
        let golden = Golden::parse(&text, Path::new(path));
        Ok(golden
            .map_err(|error| self.note(format!("{}: {error}", short(commit))))
            .ok())
    }

    fn golden(
        &mut self,
        commit: &Commit,
        parent: &str,
        changed: &ChangedFile,
        found: &mut Found,
    ) -> Result<(), GitError> {
        let Some(path) = &changed.after else { return Ok(()) };
        let old = self.read_golden(parent, &changed.before)?;
        let new = self.read_golden(&commit.hash, path)?;
        let (Some(old), Some(new)) = (old, new) else {
            return Ok(());
        };
        let place = place(commit, path);
        let reason = new.header.reason.clone();
        if new.near_tie_nat() > old.near_tie_nat() {
            found.lowerings.push(Lowering {
                place: place.clone(),
                metric: "floor.near_tie_nat".to_owned(),
                before: format!("{} nat", old.near_tie_nat()),
                after: format!("{} nat", new.near_tie_nat()),
                because: reason.clone(),
                explanation: if reason.is_some() && reason != old.header.reason {
                    Explanation::Given
                } else {
                    Explanation::Missing
                },
            });
        }
        if reason.is_none()
            && let Some(why) = Difference::of(Some(old), new).reason_needed()
        {
            found.unreasoned.push(Unreasoned { place, why });
        }
        Ok(())
    }
}

/// The limits that let more pass after than before.
fn lowered<'a>(
    before: &'a Limits,
    after: &'a Limits,
) -> Vec<(&'a str, Option<&'a Limit>, Option<&'a Limit>)> {
    let weaker = before.iter().filter_map(|(metric, then)| {
        let now = after.get(metric);
        let weaker = match now {
            // A waiver that went lets less pass.
            None => then.kind != Kind::WaivedUntil,
            Some(now) => now.is_weaker_than(then),
        };
        weaker.then_some((metric.as_str(), Some(then), now))
    });
    let waived = after
        .iter()
        .filter(|(metric, now)| now.kind == Kind::WaivedUntil && !before.contains_key(*metric))
        .map(|(metric, now)| (metric.as_str(), None, Some(now)));
    weaker.chain(waived).collect()
}

/// How the lowering of a limit is explained; `tip` has the limits at the tip, if the file is still there.
fn explanation(
    before: Option<&Limit>,
    after: Option<&Limit>,
    tip: Option<&Limits>,
    metric: &str,
) -> Explanation {
    let because = |limit: Option<&Limit>| {
        let text = limit
            .and_then(|limit| limit.because.as_deref())
            .unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let explains = |limit: Option<&Limit>| {
        let text = because(limit);
        !text.is_empty() && text != because(before)
    };
    let restored = |now: Option<&Limit>| match (before, now) {
        (None, None) => true,
        (Some(before), Some(now)) => !now.is_weaker_than(before),
        (Some(before), None) => before.kind == Kind::WaivedUntil,
        (None, Some(_)) => false,
    };
    let now = tip.and_then(|tip| tip.get(metric));
    if explains(after) {
        Explanation::Given
    } else if tip.is_none() {
        Explanation::Retired
    } else if restored(now) {
        Explanation::TakenBack
    } else if explains(now) {
        Explanation::GivenLater
    } else {
        Explanation::Missing
    }
}

fn place(commit: &Commit, file: &str) -> Place {
    Place {
        commit: short(&commit.hash).to_owned(),
        date: commit.date.clone(),
        subject: commit.subject.clone(),
        file: file.to_owned(),
    }
}

/// Enough of a hash to find its commit.
fn short(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

fn is_manifest(path: &str) -> bool {
    path.starts_with("models.d/") && has_extension(path, "yaml")
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}
