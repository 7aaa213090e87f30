//! The summary at the end of a run, for the terminal: a table of what was examined, whatever did not pass in full,
//! where the reports are and what to do next. Passed trials without a figure are counted, not listed.

mod table;

use std::path::PathBuf;

use super::{
    Failure, Session, Style, Summary, audited, figure,
    style::Role,
    text::{one_line, printable, width, wrap},
};
use crate::manifest::Unit;
use crate::record::{Finding, Outcome, Severity, Verdict};

/// Most lines of evidence that one finding shows; the reports hold them all.
const EVIDENCE_LINES: usize = 12;
/// Most reasons shown for trials that were skipped, waived or have no golden; the reports hold them all.
const REASONS: usize = 5;

/// The summary's text, ending in a line feed; `reports` are the files that were written.
pub fn render(summary: &Summary, reports: &[PathBuf], style: Style) -> String {
    let mut page = Page {
        style,
        text: String::new(),
    };
    if let Some(notice) = summary.simulated_notice() {
        page.wrapped(Role::Warning, &notice);
    }
    for session in &summary.sessions {
        page.session(session);
    }
    for session in &summary.sessions {
        page.troubles(session);
    }
    page.audit(summary);
    page.end(summary, reports);
    page.text
}

/// The text while it is written.
struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        // A CI runner would take a line of an answer that begins like this for a command.
        if line.trim_start().starts_with("::") {
            self.text.push('\\');
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn wrapped(&mut self, role: Role, text: &str) {
        for line in wrap(text, self.style.width) {
            let line = self.style.paint(role, &line).into_owned();
            self.line(&line);
        }
    }

    /// `text` wrapped behind `lead`, whose columns stay empty from the second line on.
    fn hanging(&mut self, lead: &str, text: &str) {
        let indent = width(lead);
        for (index, line) in wrap(text, self.style.width.saturating_sub(indent))
            .iter()
            .enumerate()
        {
            let lead = if index == 0 {
                lead.to_owned()
            } else {
                " ".repeat(indent)
            };
            self.line(&format!("{lead}{line}"));
        }
    }

    /// `<subject> <verdict> <remark>`, the remark on lines of its own where it does not fit.
    fn sentence(&mut self, role: Role, subject: &str, verdict: Verdict, remark: &str) {
        let taken = width(subject) + verdict.as_str().len() + 2;
        let fits = taken + width(remark) <= self.style.width;
        let subject = self.style.paint(role, subject);
        let verdict = self.style.paint(Role::of(verdict), verdict.as_str());
        if fits {
            let line = format!("{subject} {verdict} {}", self.style.paint(Role::Faint, remark));
            return self.line(&line);
        }
        let line = format!("{subject} {verdict}");
        self.line(&line);
        self.hanging("  ", remark);
    }

    fn session(&mut self, session: &Session) {
        let verdict = session.verdict();
        let title = one_line(&session.started.session);
        let boot = session
            .booted
            .as_ref()
            .map(|booted| format!(", booted in {}", figure::duration(booted.boot_s)));
        let counts = format!("({}{})", session.counts().in_words(), boot.unwrap_or_default());
        self.line("");
        self.sentence(Role::Strong, &title, verdict, &counts);
        for note in &session.started.notes {
            self.hanging("  note: ", &printable(note));
        }
        for finding in session.booted.iter().flat_map(|booted| &booted.findings) {
            self.finding(finding);
        }
        for peak in session.cards.peaks() {
            self.line(&format!(
                "  card {}: at most {}",
                peak.index,
                peak.shown().join(", ")
            ));
        }
        self.text.push_str(&table::render(session, self.style));
        self.goldens(session);
    }

    /// One line each on what was found over all goldens; the trials' findings have the details.
    fn goldens(&mut self, session: &Session) {
        if let Some(grades) = &session.grades {
            let changes = grades.paired.as_ref().map(|paired| {
                let (worse, better) = (paired.worse.len(), paired.better.len());
                format!("; since their goldens {worse} became wrong, {better} right")
            });
            let (right, items) = (grades.right, grades.items);
            let line = format!("{right} of {items} right{}", changes.unwrap_or_default());
            self.hanging("  graded cases: ", &line);
        }
        if let Some(drift) = &session.drift {
            let nat = |value| figure::with_unit(value, Unit::Nat);
            let line = format!(
                "{} positions of {} goldens: likeliest token the same at {}, mean KLD {}, largest lead of another \
                 token {}",
                figure::count(drift.positions),
                drift.prompts,
                figure::with_unit(100.0 * drift.top1.value, Unit::Percent),
                nat(drift.mean_kld_nat.value),
                nat(drift.max_margin_nat),
            );
            self.hanging("  drift: ", &line);
        }
    }

    /// Figures of the run that contradict each other.
    fn audit(&mut self, summary: &Summary) {
        for finding in audited::findings(summary) {
            self.line("");
            for line in audited::lines(&finding, self.style.width) {
                let line = self.style.paint(Role::Warning, &line).into_owned();
                self.line(&line);
            }
        }
    }

    fn troubles(&mut self, session: &Session) {
        if let Some(failure) = &session.failure {
            self.failure(session, failure);
        }
        for trial in session
            .trials
            .iter()
            .filter(|trial| trial.verdict > Verdict::Unrecorded)
        {
            self.trouble(trial);
        }
        for trial in &session.unfinished {
            self.line("");
            self.heading(Verdict::Inconclusive, trial);
            self.line("  began and has no outcome: the run ended first");
        }
        for verdict in [Verdict::Unrecorded, Verdict::Waived, Verdict::Skipped] {
            self.reasons(session, verdict);
        }
    }

    /// Why trials of one verdict neither passed nor failed: each reason once, with the trials that it holds for.
    fn reasons(&mut self, session: &Session, verdict: Verdict) {
        let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
        for trial in session.trials.iter().filter(|trial| trial.verdict == verdict) {
            let name = session.short_name(&trial.trial);
            let reason = trial
                .findings
                .first()
                .map(|finding| one_line(&finding.text))
                .unwrap_or_default();
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(name),
                None => reasons.push((reason, vec![name])),
            }
        }
        if reasons.is_empty() {
            return;
        }
        self.line("");
        let lead = format!("{verdict}: ");
        for (reason, names) in reasons.iter().take(REASONS) {
            let name = one_line(names[0]);
            let others = if names.len() > 1 {
                format!(" and {} more", names.len() - 1)
            } else {
                String::new()
            };
            self.hanging(&lead, &format!("{name}{others}: {reason}"));
        }
        if reasons.len() > REASONS {
            let rest: usize = reasons.iter().skip(REASONS).map(|(_, names)| names.len()).sum();
            self.hanging(&lead, &format!("{rest} more: see report.md"));
        }
    }

    fn heading(&mut self, verdict: Verdict, name: &str) {
        let line = format!(
            "{} {}",
            self.style.paint(Role::of(verdict), verdict.as_str()),
            self.style.paint(Role::Strong, &one_line(name))
        );
        self.line(&line);
    }

    fn trouble(&mut self, trial: &Outcome) {
        self.line("");
        self.heading(trial.verdict, &trial.trial);
        for check in trial
            .checks
            .iter()
            .filter(|check| check.verdict != Verdict::Passed)
        {
            self.hanging("  ", &one_line(&figure::judgement(check)));
        }
        for finding in &trial.findings {
            self.finding(finding);
        }
        if let Some(answer) = &trial.answer {
            self.line("  answer:");
            self.evidence([answer.as_str()], EVIDENCE_LINES);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let lead = match finding.severity {
            Severity::Note => "  note: ",
            Severity::Warning => "  warning: ",
            Severity::Failure => "  ",
        };
        self.hanging(lead, &printable(&finding.text));
        self.evidence(finding.evidence.iter().map(String::as_str), EVIDENCE_LINES);
    }

    fn failure(&mut self, session: &Session, failure: &Failure) {
        let report = &failure.report;
        self.line("");
        self.heading(Verdict::Error, &session.started.session);
        let what = if failure.lost { "was lost" } else { "did not boot" };
        self.hanging(
            "  ",
            &format!(
                "the server {what} ({}): {}",
                one_line(&report.class),
                printable(&report.message)
            ),
        );
        self.evidence(report.evidence.iter().map(String::as_str), EVIDENCE_LINES);
        if let Some(exit) = &report.exit {
            self.hanging("  ended: ", &one_line(exit));
        }
        self.hanging("  next: ", &printable(&report.advice));
        if !report.last_lines.is_empty() {
            self.line("  last lines of its log:");
            self.evidence(
                report.last_lines.iter().map(String::as_str),
                report.last_lines.len(),
            );
        }
    }

    /// Lines that show something, set off by a bar; never cut in width, since they are copied from here.
    fn evidence<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>, most: usize) {
        let printed: Vec<_> = texts.into_iter().map(printable).collect();
        let lines: Vec<_> = printed.iter().flat_map(|text| text.lines()).collect();
        for line in lines.iter().take(most) {
            let line = format!("{}{line}", self.style.paint(Role::Faint, "  │ "));
            self.line(&line);
        }
        if lines.len() > most {
            let rest = format!("  │ … {} more lines: see report.md", lines.len() - most);
            let rest = self.style.paint(Role::Faint, &rest).into_owned();
            self.line(&rest);
        }
    }

    fn end(&mut self, summary: &Summary, reports: &[PathBuf]) {
        self.line("");
        for (lead, text) in next_steps(summary) {
            self.hanging(lead, &text);
        }
        if let Some(first) = reports.first() {
            let names: Vec<_> = reports
                .iter()
                .filter_map(|path| path.file_name()?.to_str())
                .collect();
            let dir = first
                .parent()
                .map(|dir| one_line(&dir.display().to_string()))
                .unwrap_or_default();
            self.hanging("reports: ", &format!("{} in {dir}", names.join(", ")));
        }
        let verdict = summary.verdict();
        let exit = summary
            .exit_code()
            .map(|code| format!(", exit {code}"))
            .unwrap_or_default();
        let counts = format!(
            "({} in {}{exit})",
            summary.counts().in_words(),
            figure::duration(summary.wall_s())
        );
        self.sentence(Role::Faint, "verdict:", verdict, &counts);
    }
}

/// What to do next, each with its lead.
fn next_steps(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut steps = Vec::new();
    if summary.cut_off() {
        steps.push((
            "partial: ",
            "the record has no end; trials that never began are not listed".to_owned(),
        ));
    } else if summary.interrupted() {
        steps.push((
            "partial: ",
            "the run was interrupted; trials that never began are not listed".to_owned(),
        ));
    }
    match (
        summary.pending_goldens(),
        summary.counts().with(Verdict::Unrecorded),
    ) {
        (0, 0) => {}
        (0, missing) => {
            let (trials, have) = if missing == 1 {
                ("trial", "has")
            } else {
                ("trials", "have")
            };
            let how = "record with INSTA_UPDATE=new, then `cargo insta review`";
            steps.push(("next: ", format!("{missing} {trials} {have} no golden: {how}")));
        }
        (pending, _) => {
            let (goldens, wait) = if pending == 1 {
                ("golden", "waits")
            } else {
                ("goldens", "wait")
            };
            steps.push((
                "next: ",
                format!("{pending} {goldens} {wait} for review: `cargo insta review`"),
            ));
        }
    }
    for session in &summary.sessions {
        if let (true, Some(ended)) = (session.failure.is_some(), &session.ended) {
            steps.push(("server log: ", one_line(&ended.log)));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    const NARROW: Style = Style {
        colour: false,
        width: 80,
    };

    fn reports() -> Vec<PathBuf> {
        ["report.json", "report.md", "junit.xml"]
            .map(|name| PathBuf::from("target/validate/run").join(name))
            .into()
    }

    #[test]
    fn lays_out_each_record() {
        for (name, record) in fixture::all() {
            insta::assert_snapshot!(name, render(&fixture::summary(&record), &reports(), NARROW));
        }
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        for (name, record) in fixture::all() {
            let summary = fixture::summary(&record);
            let coloured = render(
                &summary,
                &reports(),
                Style {
                    colour: true,
                    ..NARROW
                },
            );
            assert!(coloured.contains("\u{1b}["), "{name}");
            let stripped: Vec<_> = coloured
                .lines()
                .map(|line| printable(line).trim_end().to_owned())
                .collect();
            assert_eq!(
                stripped.join("\n") + "\n",
                render(&summary, &reports(), NARROW),
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let text = render(&fixture::summary(&fixture::mixed()), &reports(), NARROW);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(text.contains("显存不足"));
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with("::")),
            "a CI runner's command"
        );
    }

    #[test]
    fn columns_start_at_the_same_place_whatever_the_script() {
        let text = render(&fixture::summary(&fixture::mixed()), &reports(), NARROW);
        let table: Vec<_> = text
            .lines()
            .filter(|line| line.contains("::") && line.starts_with("  "))
            .collect();
        let starts = |line: &&str| {
            let word = ["passed ", "failed ", "invalid "]
                .iter()
                .find_map(|word| line.find(word));
            word.map(|at| width(&line[..at]))
        };
        let columns: Vec<_> = table.iter().filter_map(starts).collect();
        assert!(columns.len() > 4, "{text}");
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
