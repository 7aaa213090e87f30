//! For GitHub Actions: annotations (workflow commands on standard output) and the job's step summary.
//!
//! GitHub shows at most ten annotations of a kind for a step and refuses a step summary above 1 MiB; both are cut here,
//! and say so. Escaping follows the runner's own (`%`, CR and LF in data; `:` and `,` in properties as well).

use super::{ReportError, Summary, audited, markdown, text::one_line};
use crate::record::Verdict;

/// Most annotations of one kind.
const ANNOTATIONS: usize = 10;
/// Most bytes of a step summary.
pub const STEP_SUMMARY_BYTES: usize = 1 << 20;

/// Annotations, one a line: errors for what failed, warnings for what is undecided. The first of a simulated run is a
/// notice that says so.
pub fn annotations(summary: &Summary) -> String {
    let mut lines: Vec<_> = summary
        .simulated_notice()
        .iter()
        .map(|notice| command("notice", "SIMULATED", notice))
        .collect();
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for session in &summary.sessions {
        let title = |name: &str| format!("{name} on {}", session.started.stack);
        if let Some(failure) = &session.failure {
            let text = format!("{} Next: {}", failure.report.message, failure.report.advice);
            errors.push((title(&session.started.model), text));
        }
        for trial in &session.trials {
            let annotation = (
                title(&trial.trial),
                format!("{}: {}", trial.verdict, trial.reason()),
            );
            match trial.verdict {
                Verdict::Failed | Verdict::Invalid | Verdict::Error => errors.push(annotation),
                Verdict::Inconclusive | Verdict::Unrecorded => warnings.push(annotation),
                Verdict::Passed | Verdict::Skipped | Verdict::Waived => {}
            }
        }
    }
    // What contradicts itself must not be read past: it stands before the trials.
    for finding in audited::findings(summary).iter().rev() {
        errors.insert(
            0,
            ("figures that cannot be".to_owned(), audited::headline(finding)),
        );
    }
    if summary.interrupted() {
        errors.insert(
            0,
            (
                "run".to_owned(),
                "ended early: the reports are partial".to_owned(),
            ),
        );
    }
    lines.extend(bounded("error", &errors));
    lines.extend(bounded("warning", &warnings));
    lines.push(String::new());
    lines.join(
        "
",
    )
}

/// The Markdown report, cut at a line so that it fits into a step summary.
pub fn step_summary(summary: &Summary) -> Result<String, ReportError> {
    Ok(cut(markdown::render(summary)?, STEP_SUMMARY_BYTES))
}

fn bounded(kind: &str, annotations: &[(String, String)]) -> Vec<String> {
    let shown = if annotations.len() > ANNOTATIONS {
        ANNOTATIONS - 1
    } else {
        annotations.len()
    };
    let mut lines: Vec<_> = annotations
        .iter()
        .take(shown)
        .map(|(title, text)| command(kind, title, text))
        .collect();
    if shown < annotations.len() {
        let text = format!(
            "{} more in the step summary and in report.md",
            annotations.len() - shown
        );
        lines.push(command(kind, "more", &text));
    }
    lines
}

/// A workflow command.
fn command(kind: &str, title: &str, text: &str) -> String {
    let data = |text: &str| one_line(text).replace('%', "%25");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={}::{}", property(title), data(text))
}

/// Cuts `text` to `most` bytes, closes what the cut leaves open and says that something is missing.
fn cut(text: String, most: usize) -> String {
    const NOTE: &str = "**Cut here: the whole report is report.md among the artifacts.**\n";
    /// Room for the note and for what has to be closed.
    const ROOM: usize = 256;

    if text.len() <= most {
        return text;
    }
    let mut kept = String::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        if kept.len() + line.len() + ticks.len() + ROOM > most {
            break;
        }
        fence = match fence {
            Some(open) if line == open => None,
            None if ticks.len() >= 3 => Some(ticks),
            open => open,
        };
        kept.push_str(line);
        kept.push('\n');
    }
    if let Some(ticks) = fence {
        kept.push_str(ticks);
        kept.push('\n');
    }
    if kept.matches("\n<details>").count() > kept.matches("\n</details>").count() {
        kept.push_str("\n</details>\n");
    }
    kept + "\n" + NOTE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Finding, Outcome, TrialKind},
        report::fixture,
    };

    #[test]
    fn annotates_each_record() {
        for (name, record) in fixture::all() {
            insta::assert_snapshot!(name, annotations(&fixture::summary(&record)));
        }
    }

    #[test]
    fn at_most_ten_of_a_kind() {
        let mut summary = fixture::summary(&fixture::passed());
        let failed = |index| {
            let findings = vec![Finding::failure("wrong")];
            Outcome::new(
                format!("m::{index}"),
                TrialKind::Correctness,
                Verdict::Failed,
                findings,
            )
        };
        summary.sessions[0].trials = (0..25).map(failed).collect();
        let text = annotations(&summary);
        assert_eq!(
            text.lines().filter(|line| line.starts_with("::error ")).count(),
            ANNOTATIONS
        );
        assert!(text.contains("::error title=more::16 more"), "{text}");
    }

    #[test]
    fn commands_cannot_be_broken_out_of() {
        assert_eq!(
            command("error", "a,b: c", "50 %\n::error::x"),
            "::error title=a%2Cb%3A c::50 %25 ⏎ ::error::x"
        );
    }

    #[test]
    fn a_cut_summary_closes_what_it_opened() {
        let whole = step_summary(&fixture::summary(&fixture::mixed())).unwrap();
        assert!(!whole.contains("Cut here"));
        for most in (600..whole.len()).step_by(7) {
            let text = cut(whole.clone(), most);
            assert!(text.len() <= most, "{} bytes of {most}", text.len());
            assert!(text.ends_with("artifacts.**\n"));
            assert_eq!(
                text.matches("<details>").count(),
                text.matches("</details>").count()
            );
            let fences = text.lines().filter(|line| line.starts_with("````")).count();
            assert_eq!(fences % 2, 0, "{most}");
        }
    }
}
