//! The audit of this project's own reports: before one is published its figures are held against each other.

use super::{
    Summary,
    json::Report,
    text::{one_line, wrap},
};
use crate::audit::{self, Finding, Known};

/// What cannot be in a run's figures. The settings that the record keeps tell what rules need to know of model and
/// card, so that a report can be audited wherever it is.
pub fn findings(summary: &Summary) -> Vec<Finding> {
    of_report(&Report::unaudited(summary))
}

pub(super) fn of_report(report: &Report) -> Vec<Finding> {
    let value = serde_json::to_value(report).unwrap_or_default();
    let sheet = audit::report(&value).unwrap_or_default();
    audit::audit(&sheet, &Known::default())
}

/// A finding in one line: rule, column and arithmetic.
pub fn headline(finding: &Finding) -> String {
    let column = if finding.column.is_empty() {
        String::new()
    } else {
        format!(" in {}", one_line(&finding.column))
    };
    format!(
        "{}{column}: {}; expected {}, found {}",
        finding.rule.as_str(),
        one_line(&finding.arithmetic),
        one_line(&finding.expected),
        one_line(&finding.found)
    )
}

/// A finding in lines of at most `width` columns, its cells below.
pub fn lines(finding: &Finding, width: usize) -> Vec<String> {
    let cells: Vec<String> = finding.cells.iter().map(|cell| one_line(cell)).collect();
    let room = width.saturating_sub(4);
    let mut lines = wrap(&headline(finding), width.saturating_sub(2));
    lines.iter_mut().skip(1).for_each(|line| line.insert_str(0, "  "));
    lines.extend(
        wrap(&format!("cells: {}", cells.join("; ")), room)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Rule,
        report::{Style, fixture, github, json, junit, markdown, terminal},
    };

    #[test]
    fn a_contradiction_is_shown_by_every_report_for_people_and_programs() {
        let mut summary = fixture::summary(&fixture::passed());
        assert_eq!(findings(&summary), []);
        let measured = summary.sessions[0].throughput.first_mut().unwrap();
        measured.figures.output_tokens_per_s *= 1.5;
        let found = findings(&summary);
        assert_eq!(
            found.iter().map(|finding| finding.rule).collect::<Vec<_>>(),
            [Rule::Throughput]
        );
        let style = Style {
            colour: false,
            width: 100,
        };
        let [json, markdown] = [
            json::render(&summary).unwrap(),
            markdown::render(&summary).unwrap(),
        ];
        assert!(json.contains("\"rule\": \"throughput\""), "{json}");
        assert!(
            markdown.contains("## Figures that cannot be\n\n- throughput in "),
            "{markdown}"
        );
        assert!(terminal::render(&summary, &[], style).contains("\nthroughput in "));
        let junit = junit::render(&summary).unwrap();
        assert!(
            junit.contains("<testsuite name=\"audit\"") && junit.contains("figures that cannot be: 1"),
            "{junit}"
        );
        let annotations = github::annotations(&summary);
        assert!(
            annotations.contains("::error title=figures that cannot be::throughput in "),
            "{annotations}"
        );
    }

    #[test]
    fn lines_keep_within_their_width() {
        let finding = Finding {
            column: "a column".repeat(9),
            cells: vec!["a cell = 12".to_owned(); 9],
            expected: "13".to_owned(),
            found: "12".to_owned(),
            rule: Rule::KvCache,
            arithmetic: "6 × 2 = 12 ".repeat(12),
        };
        assert!(lines(&finding, 60).iter().all(|line| line.chars().count() <= 60));
    }
}
