//! Markdown tables: the first column names figures, the others hold them. Tables whose columns have the same heads
//! belong together, whatever stands between them.

use super::{
    names::{Meaning, meaning},
    number::written,
};
use crate::audit::{Cell, Column, Fact, Section, Sheet, sheet::Word};

/// Heads of columns that hold no measured figures.
const OTHER_COLUMNS: [&str; 8] = [
    "budget",
    "verdict",
    "predicted",
    "预算",
    "结论",
    "备注",
    "note",
    "unit",
];

/// Reads all tables of a text.
pub(super) fn sheet(text: &str) -> Sheet {
    let mut sheet = Sheet {
        text: text.to_owned(),
        ..Sheet::default()
    };
    let mut heading = String::new();
    let mut model: Option<String> = None;
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in text.lines().chain([""]) {
        if let Some(row) = row(line) {
            table.push(row);
            continue;
        }
        add(
            &mut sheet,
            &heading,
            model.as_deref(),
            &std::mem::take(&mut table),
        );
        if let Some(title) = line.trim_start().strip_prefix('#') {
            title.trim_start_matches('#').trim().clone_into(&mut heading);
            // This project's reports have a chapter a session: `qwen3_32b on simulator_c500: passed`.
            if let Some((name, _)) = heading.split_once(" on ").filter(|_| line.starts_with("## ")) {
                model = Some(name.to_owned());
            }
        }
    }
    sheet
}

/// The cells of a line of a table.
fn row(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?;
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let clean = |cell: &str| cell.trim().trim_matches(['*', '`']).trim().to_owned();
    Some(inner.split('|').map(clean).collect())
}

fn is_rule(row: &[String]) -> bool {
    row.iter()
        .all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':')))
}

fn add(sheet: &mut Sheet, heading: &str, model: Option<&str>, table: &[Vec<String>]) {
    let Some((head, rows)) = table.split_first() else {
        return;
    };
    for (index, name) in head.iter().enumerate().skip(1) {
        if OTHER_COLUMNS.contains(&name.to_lowercase().as_str()) {
            continue;
        }
        let mut section = Section {
            name: heading.to_owned(),
            ..Section::default()
        };
        let mut words = Vec::new();
        for row in rows.iter().filter(|row| !is_rule(row)) {
            let (Some(label), Some(text)) = (row.first(), row.get(index)) else {
                continue;
            };
            match meaning(label) {
                Some(Meaning::Word(word)) => words.push((word, text.clone())),
                Some(Meaning::Fact(fact)) => {
                    if let Some(value) = written(text, fact) {
                        // A number in brackets leads to a note; those of percentiles tell their samples.
                        section.tells_samples |= is_percentile(fact) && text.contains('(');
                        let (name, text) = (label.clone(), text.clone());
                        section.cells.entry(fact).or_insert(Cell { name, text, value });
                    }
                }
                None => {}
            }
        }
        if !section.cells.is_empty() || !words.is_empty() {
            place(sheet, &column_name(name, model), model, section, words);
        }
    }
}

const fn is_percentile(fact: Fact) -> bool {
    matches!(
        fact,
        Fact::LatencyP95 | Fact::LatencyP99 | Fact::TtftP95 | Fact::ItlP99
    )
}

/// A column of this project's reports (`Measured`, `Value`, `2`) is known by its chapter.
fn column_name(head: &str, model: Option<&str>) -> String {
    match model {
        Some(model) => model.to_owned(),
        None => head.to_owned(),
    }
}

fn place(sheet: &mut Sheet, name: &str, model: Option<&str>, section: Section, words: Vec<(Word, String)>) {
    let known = sheet.columns.iter().position(|column| column.name == name);
    let index = known.unwrap_or_else(|| {
        sheet.columns.push(Column {
            name: name.to_owned(),
            model: model.map(str::to_owned),
            ..Column::default()
        });
        sheet.columns.len() - 1
    });
    let column = &mut sheet.columns[index];
    column.words.extend(words);
    if !section.cells.is_empty() {
        column.sections.push(section);
    }
}
