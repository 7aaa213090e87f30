//! `junit.xml`: one suite a session, one case a trial, for CI systems that show tests.
//!
//! `classname` is the session and `name` the trial, so that the pair is unique and stable between runs. A trial that
//! failed, is invalid, inconclusive or unrecorded is a `<failure>` whose type is the verdict; an infrastructure error
//! is an `<error>`; skipped and waived ones are `<skipped>`. A run that ended early, a server that failed and figures that
//! contradict each other are cases of their own, so that such a report is never green. Source of the format: quick-junit's documentation.

use std::{slice, time::Duration};

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::{
    Failure, ReportError, Session, Summary, audited, figure,
    text::{one_line, printable},
};
use crate::record::{Finding, Outcome, Verdict};

/// The file's text.
pub fn render(summary: &Summary) -> Result<String, ReportError> {
    let mut report = Report::new(if summary.simulated() {
        "harness validate (SIMULATED)"
    } else {
        "harness validate"
    });
    report.set_time(seconds(summary.wall_s()));
    for session in &summary.sessions {
        report.add_test_suite(suite(session));
    }
    if summary.interrupted() {
        report.add_test_suite(interruption(summary));
    }
    let contradictions = audited::findings(summary);
    if !contradictions.is_empty() {
        report.add_test_suite(audit(&contradictions));
    }
    Ok(report.to_string()?)
}

fn suite(session: &Session) -> TestSuite {
    let started = &session.started;
    let mut suite = TestSuite::new(one_line(&started.session));
    suite.set_time(seconds(session.trials.iter().map(|trial| trial.duration_s).sum()));
    let properties = [
        ("simulated", started.simulated.to_string()),
        ("accelerator", one_line(&started.accelerator)),
        ("target", one_line(&started.target)),
        ("manifest", started.manifest_digest.clone()),
        ("command_line", one_line(&started.command_line)),
    ];
    suite.add_properties(properties.map(|(name, value)| Property::new(name, value)));
    let environment = session.booted.iter().flat_map(|booted| &booted.environment);
    suite.add_properties(environment.map(|(key, value)| Property::new(one_line(key), one_line(value))));
    suite.add_test_cases(session.trials.iter().map(|trial| case(session, trial)));
    let known = session.trials.iter().any(|trial| trial.verdict == Verdict::Error);
    if let (Some(failure), false) = (&session.failure, known) {
        suite.add_test_case(server(session, failure));
    }
    for trial in &session.unfinished {
        let text = "the trial began and has no outcome: the run ended first";
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("unfinished").set_message(text);
        suite.add_test_case(named(session, trial, status));
    }
    suite
}

fn case(session: &Session, trial: &Outcome) -> TestCase {
    let mut case = named(session, &trial.trial, status(trial));
    case.set_time(seconds(trial.duration_s));
    case.add_property(("verdict", trial.verdict.as_str()));
    case.add_property(Property::new("simulated", session.started.simulated.to_string()));
    for check in &trial.checks {
        let metric = one_line(&check.metric);
        let measured = figure::measured(check).unwrap_or_else(|| "not measured".to_owned());
        case.add_property(Property::new(format!("{metric}.measured"), measured));
        if let Some(limit) = &check.budget {
            case.add_property(Property::new(format!("{metric}.budget"), figure::limit(limit)));
        }
    }
    if trial.verdict == Verdict::Passed && !trial.findings.is_empty() {
        case.set_system_out(body(trial));
    }
    case
}

fn status(trial: &Outcome) -> TestCaseStatus {
    let mut status = match trial.verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Skipped | Verdict::Waived => TestCaseStatus::skipped(),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Unrecorded | Verdict::Inconclusive | Verdict::Invalid | Verdict::Failed => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
    };
    status
        .set_type(trial.verdict.as_str())
        .set_message(trial.reason())
        .set_description(body(trial));
    status
}

/// Figures that cannot be: a case of its own, since no single trial is to blame.
fn audit(contradictions: &[crate::audit::Finding]) -> TestSuite {
    let headlines: Vec<String> = contradictions.iter().map(audited::headline).collect();
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status
        .set_type("invalid")
        .set_message(format!("figures that cannot be: {}", headlines.len()))
        .set_description(headlines.join("\n"));
    let mut case = TestCase::new("figures", status);
    case.set_classname("audit");
    let mut suite = TestSuite::new("audit");
    suite.add_test_case(case);
    suite
}

/// Everything that is known of a trial: checks, findings with evidence, the answer.
fn body(trial: &Outcome) -> String {
    let broken = trial
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Passed);
    let mut lines: Vec<_> = broken.map(figure::judgement).collect();
    for Finding { text, evidence, .. } in &trial.findings {
        lines.push(text.clone());
        lines.extend(evidence.iter().map(|line| format!("  {line}")));
    }
    lines.extend(trial.answer.iter().map(|answer| format!("answer:\n{answer}")));
    printable(&lines.join("\n"))
}

/// A server that failed while no trial says so.
fn server(session: &Session, failure: &Failure) -> TestCase {
    let report = &failure.report;
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    let lines = [
        slice::from_ref(&report.message),
        &report.evidence[..],
        slice::from_ref(&report.advice),
        &report.last_lines,
    ]
    .concat();
    status
        .set_type(one_line(&report.class))
        .set_message(one_line(&report.message))
        .set_description(printable(&lines.join("\n")));
    named(session, "server", status)
}

/// A run that ended before all its trials.
fn interruption(summary: &Summary) -> TestSuite {
    let text = if summary.cut_off() {
        "the record has no end"
    } else {
        "the run was interrupted"
    };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status
        .set_type("interrupted")
        .set_message(format!("{text}; trials that never began are not listed"));
    let mut case = TestCase::new("complete", status);
    case.set_classname("run");
    let mut suite = TestSuite::new("run");
    suite.add_test_case(case);
    suite
}

fn named(session: &Session, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(one_line(name), status);
    case.set_classname(one_line(&session.started.session));
    case
}

/// A duration from seconds; what is no duration (negative, not finite) counts as none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{record::Event, report::fixture};

    #[test]
    fn lays_out_each_record() {
        for (name, record) in fixture::all() {
            insta::assert_snapshot!(name, render(&fixture::summary(&record)).unwrap());
        }
    }

    #[test]
    fn holds_no_character_that_xml_forbids() {
        let text = render(&fixture::summary(&fixture::mixed())).unwrap();
        let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(text.chars().all(legal));
        assert!(!text.contains("<script>"));
    }

    #[test]
    fn names_are_unique() {
        let text = render(&fixture::summary(&fixture::mixed())).unwrap();
        let names: Vec<_> = text.lines().filter(|line| line.contains("<testcase ")).collect();
        let attributes = |line: &&str| line.split(" time=").next().unwrap_or_default().to_owned();
        assert_eq!(
            names.iter().map(attributes).collect::<BTreeSet<_>>().len(),
            names.len()
        );
        assert_eq!(names.len(), 15);
    }

    #[test]
    fn no_prefix_of_a_record_is_green() {
        let record = fixture::passed();
        for length in 1..record.entries().len() {
            let cut = Summary::of(&record.entries()[..length]).unwrap();
            assert!(render(&cut).unwrap().contains("<error "), "after {length} events");
        }
    }

    #[test]
    fn a_failed_server_is_an_error_without_any_trial() {
        let record = fixture::boot_failed();
        let of_trial = |event: &Event| matches!(event, Event::TrialStarted(_) | Event::TrialFinished(_));
        let entries: Vec<_> = record
            .entries()
            .iter()
            .filter(|entry| !of_trial(&entry.event))
            .cloned()
            .collect();
        let text = render(&Summary::of(&entries).unwrap()).unwrap();
        assert!(text.contains("type=\"out_of_memory\""), "{text}");
    }
}
