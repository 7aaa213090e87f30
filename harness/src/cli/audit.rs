//! `audit`: can the figures of a report be true?

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{CliError, device::json, print, say};
use crate::{
    audit::{self, Finding, Kind, Known, KnownCard, KnownModel},
    capacity::Shape,
    manifest::Catalogue,
    report::{Style, audited, style::Role, text::one_line},
    run::Exit,
};

/// Largest report that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Which reports. Exit 1: figures that cannot be.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Reports: report.json, Markdown tables (Chinese or English), vLLM start-up logs, results of `vllm bench serve`,
    /// CSV of batched_test; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
}

/// The JSON.
#[derive(Debug, Serialize)]
struct Answer {
    schema_version: u32,
    files: Vec<AuditedFile>,
    findings: Vec<FileFinding>,
}

/// A report that was read.
#[derive(Debug, Serialize)]
struct AuditedFile {
    file: String,
    kind: Kind,
    /// Columns in which figures were found.
    columns: Vec<String>,
}

/// A finding and the report that holds it.
#[derive(Debug, Serialize)]
struct FileFinding {
    file: String,
    #[serde(flatten)]
    finding: Finding,
}

/// Audits reports. Without a repository (`root`) only what the reports say themselves is held against each other.
pub fn run(root: Option<&Path>, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let known = root.map(known).unwrap_or_default();
    let mut answer = Answer {
        schema_version: 1,
        files: Vec::new(),
        findings: Vec::new(),
    };
    for file in &arguments.files {
        let name = file.display().to_string();
        let named = |what: String| CliError::Usage(format!("{name}: {what}"));
        let text = read(file).map_err(|error| named(format!("cannot be read: {error}")))?;
        let (kind, sheet) = audit::read(&text).map_err(|error| named(error.to_string()))?;
        let columns = sheet.columns.iter().map(|column| column.name.clone()).collect();
        let findings = audit::audit(&sheet, &known);
        answer
            .findings
            .extend(findings.into_iter().map(|finding| FileFinding {
                file: name.clone(),
                finding,
            }));
        answer.files.push(AuditedFile {
            file: name,
            kind,
            columns,
        });
    }
    if arguments.json {
        print(&json(&answer)?)?;
    } else {
        say(&render(&answer, style))?;
    }
    Ok(if answer.findings.is_empty() {
        Exit::Passed
    } else {
        Exit::Failed
    })
}

/// Models and cards of the repository; a file with mistakes is `check`'s to tell.
pub fn known(root: &Path) -> Known {
    let catalogue = Catalogue::open(root);
    let models = catalogue.model_names().into_iter().filter_map(|name| {
        let model = catalogue.model(&name).ok()?.manifest.model;
        let short = model.id.rsplit('/').next().unwrap_or(&model.id).to_owned();
        Some(KnownModel {
            names: vec![name, short],
            shape: Shape::of_manifest(&model.architecture),
        })
    });
    let cards = catalogue.card_names().into_iter().filter_map(|name| {
        let card = catalogue.card(&name).ok()?.card;
        Some(KnownCard { name, card })
    });
    Known {
        models: models.collect(),
        cards: cards.collect(),
    }
}

fn read(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        let opened = std::fs::File::open(file)?;
        if opened.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        opened.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is larger than the {} MiB that are read",
            MAX_BYTES >> 20
        )));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn render(answer: &Answer, style: Style) -> String {
    let mut lines = Vec::new();
    for file in &answer.files {
        let findings: Vec<&FileFinding> = answer
            .findings
            .iter()
            .filter(|finding| finding.file == file.file)
            .collect();
        let columns: Vec<String> = file.columns.iter().map(|column| one_line(column)).collect();
        let (word, role) = match findings.len() {
            0 => ("no contradiction".to_owned(), Role::Good),
            1 => ("1 contradiction".to_owned(), Role::Bad),
            several => (format!("{several} contradictions"), Role::Bad),
        };
        lines.push(format!(
            "{}: {} ({})",
            one_line(&file.file),
            style.paint(role, &word),
            columns.join(", ")
        ));
        for FileFinding { finding, .. } in findings {
            lines.extend(
                audited::lines(finding, style.width)
                    .into_iter()
                    .map(|line| format!("  {line}")),
            );
        }
    }
    lines.join("\n") + "\n"
}
