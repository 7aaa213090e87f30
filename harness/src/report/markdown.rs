//! `report.md`: the run for people. The seed report's tables for each model with the budget beside each figure, then
//! whatever did not pass with its evidence, then all trials.
//!
//! Layout is in `templates/`; every value that a template shows is escaped unless it is Markdown made here and passed
//! through `safe`.

mod drift;
pub(crate) mod escape;
mod performance;
mod tables;

use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde,
};
use serde::Serialize;
use time::macros::format_description;

use self::{
    escape::{Table, cell_code, code, fence, inline},
    tables::mark,
};
use super::{
    ReportError, Session, Summary, audited, figure,
    text::{clip, one_line},
};
use crate::{
    manifest::Unit,
    record::{Finding, Outcome, Severity, Verdict},
};

/// Most columns of a reason at the top of the report; the trial's own section has it in full.
const REASON_WIDTH: usize = 160;

/// The report's text.
pub fn render(summary: &Summary) -> Result<String, ReportError> {
    let environment = environment()?;
    let template = environment.get_template("model")?;
    let model = |session| template.render(Serde(ModelView::of(session)));
    let models = summary
        .sessions
        .iter()
        .map(model)
        .collect::<Result<Vec<_>, _>>()?;
    let began = summary.started_at.format(format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] UTC"
    ));
    let host: Vec<_> = summary
        .run
        .host
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    let report = environment.get_template("report")?.render(context! {
        notice => summary.simulated_notice(),
        verdict => mark(summary.verdict()),
        partial => partial(summary),
        overview => overview(summary),
        decisive => decisive(summary),
        run_id => summary.run.run_id.as_str(),
        began => began.unwrap_or_else(|_| summary.started_at.to_string()),
        took => figure::duration(summary.wall_s()),
        harness_version => summary.run.harness_version.as_str(),
        counts => summary.counts().in_words(),
        pending_goldens => summary.pending_goldens(),
        command => summary.run.command.join(" "),
        audit => audited::findings(summary).iter().map(audited::headline).collect::<Vec<_>>(),
        models,
        host => host.join(", "),
    })?;
    Ok(report.trim_end().to_owned() + "\n")
}

/// The templates, with escaping as the rule.
fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) if !value.is_safe() => Ok(out.write_str(&inline(text))?),
        _ => Ok(write!(out, "{value}")?),
    });
    environment.add_filter("code", |text: String| Value::from_safe_string(code(&text)));
    environment.add_filter("fence", |lines: Vec<String>| {
        Value::from_safe_string(fence(&lines))
    });
    environment.add_template("report", include_str!("templates/report.md"))?;
    environment.add_template("model", include_str!("templates/model.md"))?;
    Ok(environment)
}

/// What `templates/model.md` shows. Fields that end in a table are Markdown already; the others are plain text.
#[derive(Serialize)]
struct ModelView {
    name: String,
    stack: String,
    verdict: String,
    counts: String,
    boot: String,
    notes: Vec<String>,
    failure: Option<FailureView>,
    environment: String,
    findings: Vec<FindingView>,
    command_line: String,
    memory: Option<String>,
    cards: Option<String>,
    drift: Option<String>,
    grades: Option<String>,
    latency: Option<String>,
    throughput: Option<String>,
    troubles: Vec<TroubleView>,
    undecided: Option<String>,
    trials: Option<String>,
}

#[derive(Serialize)]
struct FailureView {
    what: &'static str,
    class: String,
    message: String,
    exit: Option<String>,
    advice: String,
    evidence: Vec<String>,
    last_lines: Vec<String>,
}

#[derive(Serialize)]
struct FindingView {
    severity: &'static str,
    text: String,
    evidence: Vec<String>,
}

#[derive(Serialize)]
struct TroubleView {
    name: String,
    verdict: String,
    checks: Vec<String>,
    findings: Vec<FindingView>,
    answer: Option<[String; 1]>,
}

impl ModelView {
    fn of(session: &Session) -> Self {
        let booted = session.booted.as_deref();
        let boot = booted.map(|booted| format!("; the server booted in {}", figure::duration(booted.boot_s)));
        let troubles = session
            .trials
            .iter()
            .filter(|trial| trial.verdict > Verdict::Unrecorded);
        Self {
            name: session.started.model.clone(),
            stack: session.started.stack.clone(),
            verdict: mark(session.verdict()),
            counts: session.counts().in_words(),
            boot: boot.unwrap_or_default(),
            notes: session.started.notes.clone(),
            failure: session.failure.as_ref().map(FailureView::of),
            environment: tables::environment(session),
            findings: booted
                .iter()
                .flat_map(|booted| &booted.findings)
                .map(FindingView::of)
                .collect(),
            command_line: session.started.command_line.clone(),
            memory: tables::memory(session),
            cards: tables::cards(session),
            drift: drift::drift(session),
            grades: drift::grades(session),
            latency: tables::latency(session),
            throughput: tables::throughput(session),
            troubles: troubles.map(TroubleView::of).collect(),
            undecided: undecided(session),
            trials: trials(session),
        }
    }
}

impl FailureView {
    fn of(failure: &super::Failure) -> Self {
        let report = failure.report.clone();
        Self {
            what: if failure.lost { "was lost" } else { "did not boot" },
            class: report.class,
            message: report.message,
            exit: report.exit,
            advice: report.advice,
            evidence: report.evidence,
            last_lines: report.last_lines,
        }
    }
}

impl FindingView {
    fn of(finding: &Finding) -> Self {
        let severity = match finding.severity {
            Severity::Note => "Note",
            Severity::Warning => "Warning",
            Severity::Failure => "Failure",
        };
        Self {
            severity,
            text: finding.text.clone(),
            evidence: finding.evidence.clone(),
        }
    }
}

impl TroubleView {
    fn of(trial: &Outcome) -> Self {
        let broken = trial
            .checks
            .iter()
            .filter(|check| check.verdict != Verdict::Passed);
        Self {
            name: trial.trial.clone(),
            verdict: mark(trial.verdict),
            checks: broken.map(figure::judgement).collect(),
            findings: trial.findings.iter().map(FindingView::of).collect(),
            answer: trial.answer.clone().map(|answer| [answer]),
        }
    }
}

/// One line a model: what a reader who stops here has to know.
fn overview(summary: &Summary) -> String {
    let mut table = Table::new([
        "Model",
        "Stack",
        "Verdict",
        "Trials passed",
        "Generation speed",
        "Best throughput",
    ]);
    for session in &summary.sessions {
        let counts = session.counts();
        let speed = session
            .latency
            .as_ref()
            .and_then(|measured| measured.figures.mean_generation_tokens_per_s);
        let best = session
            .throughput
            .iter()
            .map(|measured| &measured.figures)
            .max_by(|a, b| a.output_tokens_per_s.total_cmp(&b.output_tokens_per_s));
        let rate = |rate| figure::with_unit(rate, Unit::TokensPerSecond);
        table.push([
            inline(&session.started.model),
            inline(&session.started.stack),
            mark(session.verdict()),
            format!("{} of {}", counts.with(Verdict::Passed), counts.total()),
            speed.map_or_else(|| "not measured".to_owned(), rate),
            best.map_or_else(
                || "not measured".to_owned(),
                |best| {
                    format!(
                        "{} ({} at once)",
                        rate(best.output_tokens_per_s),
                        best.concurrency
                    )
                },
            ),
        ]);
    }
    table.render()
}

/// What decided against the run, a line each: trial and reason.
fn decisive(summary: &Summary) -> Vec<[String; 2]> {
    let mut lines = Vec::new();
    for session in &summary.sessions {
        if let Some(failure) = &session.failure {
            let what = if failure.lost { "was lost" } else { "did not boot" };
            let reason = format!(
                "the server {what} ({}): {}",
                failure.report.class, failure.report.message
            );
            lines.push([session.started.session.clone(), reason]);
        }
        for trial in session
            .trials
            .iter()
            .filter(|trial| trial.verdict > Verdict::Unrecorded)
        {
            let reason = trial.reason();
            let reason = clip(&reason, REASON_WIDTH);
            lines.push([trial.trial.clone(), format!("{}: {reason}", trial.verdict)]);
        }
    }
    lines
}

/// Trials that were skipped, waived, have no golden or no outcome, each with its reason.
fn undecided(session: &Session) -> Option<String> {
    let mut table = Table::new(["Trial", "Verdict", "Why"]);
    for trial in session
        .trials
        .iter()
        .filter(|trial| trial.verdict <= Verdict::Unrecorded)
    {
        if trial.verdict != Verdict::Passed {
            let why: Vec<_> = trial
                .findings
                .iter()
                .map(|finding| inline(&finding.text))
                .collect();
            table.push([
                cell_code(session.short_name(&trial.trial)),
                mark(trial.verdict),
                why.join("<br>"),
            ]);
        }
    }
    for trial in &session.unfinished {
        let why = "it began and has no outcome: the run ended first";
        table.push([
            cell_code(session.short_name(trial)),
            mark(Verdict::Inconclusive),
            why.to_owned(),
        ]);
    }
    (!table.is_empty()).then(|| table.render())
}

fn trials(session: &Session) -> Option<String> {
    let mut table = Table::new(["Trial", "Verdict", "Measured", "Budget", "Took", "Remark"]);
    for trial in &session.trials {
        let check = trial.decisive_check();
        let budget = check.and_then(|check| check.budget.as_ref()).map(figure::limit);
        let remarks: Vec<_> = trial
            .findings
            .iter()
            .map(|finding| one_line(&finding.text))
            .collect();
        table.push([
            cell_code(session.short_name(&trial.trial)),
            mark(trial.verdict),
            check.and_then(figure::measured).unwrap_or_default(),
            budget.unwrap_or_default(),
            figure::duration(trial.duration_s),
            inline(&clip(&remarks.join("; "), REASON_WIDTH)),
        ]);
    }
    (!table.is_empty()).then(|| table.render())
}

fn partial(summary: &Summary) -> Option<&'static str> {
    match (summary.cut_off(), summary.interrupted()) {
        (true, _) => Some("the record has no end; trials that never began are not listed."),
        (false, true) => Some("the run was interrupted; trials that never began are not listed."),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn lays_out_each_record() {
        for (name, record) in fixture::all() {
            let text = render(&fixture::summary(&record)).unwrap();
            assert!(text.lines().next().unwrap().contains("SIMULATED"), "{text}");
            insta::assert_snapshot!(name, text);
        }
    }

    #[test]
    fn a_partial_record_says_so_at_any_point() {
        let record = fixture::mixed();
        for length in 1..record.entries().len() {
            let text = render(&Summary::of(&record.entries()[..length]).unwrap()).unwrap();
            assert!(text.contains("**Partial:**"), "after {length} events");
        }
    }

    #[test]
    fn hostile_text_stays_text() {
        let text = render(&fixture::summary(&fixture::mixed())).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        let mut open: Option<String> = None;
        for line in text.lines() {
            let ticks: String = line.chars().take_while(|c| *c == '`').collect();
            match &open {
                Some(fence) if line == fence => open = None,
                Some(_) => {}
                None if line.ends_with("text") && ticks.len() >= 3 => open = Some(ticks),
                None => {
                    assert!(!line.contains("<script>") || line.contains("&lt;"), "{line}");
                    assert!(
                        !line.starts_with("# heading") && !line.starts_with("::"),
                        "{line}"
                    );
                }
            }
        }
        assert_eq!(open, None);
    }
}
