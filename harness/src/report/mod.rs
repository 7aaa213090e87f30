//! Reports: one file a format, each made from the events of a [`record`](crate::record) and from nothing else, so
//! that every report can be made again from a recording.
//!
//! [`Summary`] folds the events once; the formats only lay it out. Texts of models, servers and logs are hostile until
//! `text` has made them printable, and every format escapes them in its own way. Whatever was simulated says so in
//! its first line. A partial record gives a partial report that says so and never passes.

pub(crate) mod audited;
mod cards;
pub(crate) mod columns;
pub(crate) mod figure;
#[cfg(test)]
pub(crate) mod fixture;
pub mod github;
pub mod gitlab;
pub mod json;
pub mod junit;
pub mod live;
pub mod load;
pub mod markdown;
mod session;
pub(crate) mod style;
mod summary;
pub mod sweep;
pub mod terminal;
pub(crate) mod text;

use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub use cards::{CardPeak, Cards};
pub use live::Display;
pub use session::{Counts, Failure, Session};
pub use style::{ColourChoice, Style};
pub use summary::Summary;

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The events are not those of one run.
    #[error("event {number} of the record does not fit: {what}")]
    Record {
        /// Number of the event, from 1: the line of `record.jsonl`.
        number: usize,
        /// What does not fit.
        what: String,
    },
    /// A template of this crate does not fit the figures: a defect of the harness.
    #[error("failed to lay out the Markdown report: {0}")]
    Markdown(#[from] minijinja::Error),
    /// JUnit's XML could not be written.
    #[error("failed to write the JUnit report: {0}")]
    Junit(#[from] quick_junit::SerializeError),
    /// The figures could not be written as JSON.
    #[error("failed to write the JSON report: {0}")]
    Json(#[from] serde_json::Error),
    /// The file cannot be written.
    #[error("failed to write the report {path}: {source}")]
    Io {
        /// The report.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes `report.json`, `report.md` and `junit.xml` into `dir` and returns their paths.
///
/// All three are laid out before the first is written, and each replaces its predecessor in one step, so that a
/// reader never meets half a report.
pub fn write_all(dir: &Path, summary: &Summary) -> Result<Vec<PathBuf>, ReportError> {
    let reports = [
        ("report.json", json::render(summary)?),
        ("report.md", markdown::render(summary)?),
        ("junit.xml", junit::render(summary)?),
    ];
    reports
        .into_iter()
        .map(|(name, text)| {
            let path = dir.join(name);
            replace(&path, &text).map_err(|source| ReportError::Io {
                path: path.clone(),
                source,
            })?;
            Ok(path)
        })
        .collect()
}

/// Writes `text` to a new file beside `path` and renames it, readable by everybody as other build results are.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn writes_every_report_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let summary = fixture::summary(&fixture::mixed());
        fs::write(dir.path().join("report.md"), "an earlier report").unwrap();
        let written = write_all(dir.path(), &summary).unwrap();
        let mut found: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        let mut expected = written.clone();
        expected.sort();
        assert_eq!(found, expected);
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(text("report.json"), json::render(&summary).unwrap());
        assert_eq!(text("report.md"), markdown::render(&summary).unwrap());
        assert_eq!(text("junit.xml"), junit::render(&summary).unwrap());
    }

    fn each_report(summary: &Summary) -> [(&'static str, String); 7] {
        let style = Style {
            colour: false,
            width: 100,
        };
        [
            ("json", json::render(summary).unwrap()),
            ("markdown", markdown::render(summary).unwrap()),
            ("junit", junit::render(summary).unwrap()),
            ("terminal", terminal::render(summary, &[], style)),
            ("annotations", github::annotations(summary)),
            ("step summary", github::step_summary(summary).unwrap()),
            ("metrics", gitlab::render(summary)),
        ]
    }

    #[test]
    fn what_was_simulated_says_so_first_and_nothing_else_does() {
        for (name, record) in fixture::all() {
            for (format, text) in each_report(&fixture::summary(&record)) {
                // JSON and XML have a first line of their own.
                let lead = text.lines().take(4).collect::<Vec<_>>().join(" ");
                let said = match format {
                    "json" => lead.contains("\"simulated\": true"),
                    "junit" => lead.contains("(SIMULATED)"),
                    _ => text.lines().next().unwrap().contains("SIMULATED"),
                };
                assert!(said, "{name} as {format}: {lead}");
            }
        }
        for (format, text) in each_report(&fixture::summary(&fixture::on_hardware())) {
            assert!(!text.contains("SIMULATED"), "{format}: {text}");
        }
    }

    #[test]
    fn names_the_file_that_cannot_be_written() {
        let summary = fixture::summary(&fixture::passed());
        let error = write_all(Path::new("/nonexistent"), &summary)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("failed to write the report /nonexistent/report.json: "),
            "{error}"
        );
    }
}
