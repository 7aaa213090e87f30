//! `audit-baselines`: every lowering of a budget or a threshold, and every golden whose drift was accepted without a
//! reason, from the repository's history.

use std::{io, path::Path};

use clap::Args;
use serde::Serialize;

use super::{CliError, print, say};
use crate::{
    baselines::{self, Audit, Explanation, Place},
    report::{Style, style::Role, text::one_line},
    run::Exit,
};

/// Which history, and how to show it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only commits that this revision does not have (a merge request's base, a release)
    #[arg(long, value_name = "REV")]
    since: Option<String>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    passes: bool,
    #[serde(flatten)]
    audit: &'a Audit,
}

/// Audits; exit 1 where a lowering is not explained.
pub fn run(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let audit = baselines::audit(root, arguments.since.as_deref())?;
    if arguments.json {
        let report = Report {
            schema_version: 1,
            passes: audit.passes(),
            audit: &audit,
        };
        print(&(serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n"))?;
    } else {
        say(&render(&audit, style))?;
    }
    Ok(if audit.passes() {
        Exit::Passed
    } else {
        Exit::Failed
    })
}

fn render(audit: &Audit, style: Style) -> String {
    let mut lines = Vec::new();
    for lowering in &audit.lowerings {
        lines.push(heading(&lowering.place, style));
        let change = format!("{}: {} → {}", lowering.metric, lowering.before, lowering.after);
        lines.push(format!("  {}", one_line(&change)));
        if let Some(because) = &lowering.because {
            lines.push(format!("    because: {}", one_line(because)));
        }
        let role = match lowering.explanation {
            Explanation::Missing => Role::Bad,
            _ => Role::Good,
        };
        lines.push(format!("    {}", style.paint(role, lowering.explanation.words())));
    }
    for golden in &audit.goldens_without_reason {
        lines.push(heading(&golden.place, style));
        let text = format!("accepted without a reason: {}", golden.why.words());
        lines.push(format!("  {}", style.paint(Role::Warning, &text)));
    }
    lines.extend(audit.notes.iter().map(|note| format!("note: {}", one_line(note))));
    let missing = audit
        .lowerings
        .iter()
        .filter(|lowering| lowering.explanation == Explanation::Missing)
        .count();
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    lines.push(format!(
        "{}: {}, {missing} not explained; {} accepted without a reason\n",
        counted(audit.commits, "commit"),
        counted(audit.lowerings.len(), "lowering"),
        counted(audit.goldens_without_reason.len(), "golden"),
    ));
    lines.join("\n")
}

fn heading(place: &Place, style: Style) -> String {
    let text = format!("{} {} {}", place.commit, place.date, place.file);
    let subject = style.paint(Role::Faint, &one_line(&place.subject)).into_owned();
    format!("{}  {subject}", style.paint(Role::Strong, &one_line(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        baselines::{Lowering, Unreasoned},
        review::ReasonNeeded,
    };

    #[test]
    fn each_finding_says_where_what_and_why() {
        let place = |file: &str| Place {
            commit: "0123456789".to_owned(),
            date: "2026-04-01".to_owned(),
            subject: "Give way to the new\u{1b}[2J driver".to_owned(),
            file: file.to_owned(),
        };
        let lowering = |because: Option<&str>, explanation| Lowering {
            place: place("models.d/mistral_7b_v0_1.yaml"),
            metric: "budgets.c500.memory.kv_cache.min".to_owned(),
            before: "36 GiB".to_owned(),
            after: because.map_or("removed", |_| "35 GiB").to_owned(),
            because: because.map(str::to_owned),
            explanation,
        };
        let audit = Audit {
            commits: 1,
            lowerings: vec![
                lowering(Some("36.51 GiB reported;\n1.5 GiB allowed"), Explanation::Given),
                lowering(None, Explanation::Missing),
            ],
            goldens_without_reason: vec![Unreasoned {
                place: place("golden/m/case.snap"),
                why: ReasonNeeded::BeyondRounding,
            }],
            notes: vec!["this clone is shallow".to_owned()],
        };
        let style = Style {
            colour: false,
            width: 80,
        };
        insta::assert_snapshot!(render(&audit, style));
        assert_eq!(
            render(&Audit::default(), style),
            "0 commits: 0 lowerings, 0 not explained; 0 goldens accepted without a reason\n"
        );
    }
}
