//! Reports of a search: `adapt.json` for programs, `adapt.md` for people, and the terminal.

use std::fmt::Write as _;

use super::{AdaptReport, Attempt, AttemptEnd, Refused};
use crate::report::{
    Style,
    markdown::escape::{Table, fence, inline},
    style::Role,
    text::{one_line, wrap},
};

/// Longest part of an answer that is shown, in characters.
const ANSWER_CHARS: usize = 160;

/// `adapt.json`.
pub fn json(report: &AdaptReport) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// `adapt.md`.
pub fn markdown(report: &AdaptReport) -> String {
    let mut out = String::new();
    let mut part = |text: &str| {
        let _ = write!(out, "{}\n\n", text.trim_end());
    };
    if let Some(notice) = report.notice() {
        part(&format!("**{notice}**"));
    }
    part(&format!("# {}", inline(&report.title())));
    part(&inline(&format!(
        "manifest {}, vLLM {}, run {}",
        report.manifest, report.vllm, report.run
    )));
    if !report.diff.is_empty() {
        part("## What to change");
        let lines: Vec<String> = report.diff.lines().map(str::to_owned).collect();
        part(&fence(&lines).replacen("text", "diff", 1));
        part(&bullets(report.kept.iter().map(|kept| {
            let proof = if kept.proven {
                "needed"
            } else {
                "not seen whether it is needed"
            };
            format!("{}: {} ({proof})", kept.change, kept.because)
        })));
    }
    if !report.unneeded.is_empty() {
        part("Made and found not to be needed:");
        part(&bullets(report.unneeded.iter().map(|kept| kept.change.clone())));
    }
    part("## Attempts");
    part(&attempts(report));
    let failed: Vec<&Attempt> = report
        .attempts
        .iter()
        .filter(|attempt| matches!(attempt.end, AttemptEnd::Failed { .. }))
        .collect();
    if !failed.is_empty() {
        part("## What did not work, and why");
        for attempt in failed {
            part(&failure(attempt));
        }
    }
    for (title, lines) in [
        (
            "## Passed over at the end",
            report.passed_over.iter().map(passed_over).collect::<Vec<_>>(),
        ),
        ("## Notes", report.notes.clone()),
    ] {
        if !lines.is_empty() {
            part(title);
            part(&bullets(lines.into_iter()));
        }
    }
    part("## Next");
    part(&inline(&report.next));
    out.trim_end().to_owned() + "\n"
}

fn attempts(report: &AdaptReport) -> String {
    let mut table = Table::new(["attempt", "changed", "result"]);
    for attempt in &report.attempts {
        table.push([
            attempt.number.to_string(),
            inline(&attempt.tried),
            inline(&ended(&attempt.end)),
        ]);
    }
    table.render()
}

fn bullets(lines: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "- {}", inline(&line));
    }
    text
}

fn failure(attempt: &Attempt) -> String {
    let AttemptEnd::Failed { phase, failure } = &attempt.end else {
        return String::new();
    };
    let mut text = format!("### Attempt {}: {}\n\n", attempt.number, inline(&attempt.tried));
    let why = if attempt.because.is_empty() {
        String::new()
    } else {
        format!("Tried because {}. ", attempt.because)
    };
    let phase = phase
        .as_ref()
        .map_or_else(String::new, |phase| format!(", in the phase {phase}"));
    let told = format!(
        "{why}It failed with {}{phase}: {}.",
        failure.class, failure.message
    );
    let _ = writeln!(text, "{}", inline(&told));
    let shown = if failure.evidence.is_empty() {
        &failure.last_lines
    } else {
        &failure.evidence
    };
    if !shown.is_empty() {
        let _ = write!(text, "\n{}\n", fence(shown).trim_end());
    }
    if !attempt.passed_over.is_empty() {
        let _ = write!(
            text,
            "\nPassed over for it:\n\n{}",
            bullets(attempt.passed_over.iter().map(passed_over))
        );
    }
    text
}

fn passed_over(refused: &Refused) -> String {
    let remedy = serde_json::to_value(refused.remedy).unwrap_or_default();
    let name = remedy.as_str().unwrap_or_default();
    match &refused.change {
        Some(change) => format!("{name} ({change}): {}", refused.why),
        None => format!("{name}: {}", refused.why),
    }
}

fn ended(end: &AttemptEnd) -> String {
    match end {
        AttemptEnd::Works { boot_s, answer } => {
            let answer: String = one_line(answer.trim()).chars().take(ANSWER_CHARS).collect();
            format!("works: booted in {boot_s:.0} s, answered “{answer}”")
        }
        AttemptEnd::Failed {
            phase: Some(phase),
            failure,
        } => format!("{} ({phase})", failure.class),
        AttemptEnd::Failed { phase: None, failure } => failure.class.clone(),
        AttemptEnd::Interrupted => "stopped".to_owned(),
    }
}

/// The report for the terminal.
pub fn terminal(report: &AdaptReport, style: Style) -> String {
    let mut out = String::new();
    let mut say = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    if let Some(notice) = report.notice() {
        say(&style.paint(Role::Warning, notice));
    }
    say(&style.paint(Role::Strong, &one_line(&report.title())));
    for attempt in &report.attempts {
        let line = format!(
            "{:>3}  {}: {}",
            attempt.number,
            attempt.tried,
            ended(&attempt.end)
        );
        for (index, text) in wrap(&one_line(&line), style.width.saturating_sub(6))
            .iter()
            .enumerate()
        {
            say(&format!("{}{text}", if index == 0 { "" } else { "     " }));
        }
    }
    for note in &report.notes {
        say(&format!("note: {}", one_line(note)));
    }
    say(&format!("next: {}", one_line(&report.next)));
    out
}
