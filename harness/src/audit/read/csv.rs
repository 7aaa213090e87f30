//! CSV of MetaX's `batched_test`: `inference_results.csv` (a row a model) and the `summary.csv` of a benchmark sweep (a
//! row a combination, with the keys of `vllm bench serve`).

use super::{json::BENCH, number::written};
use crate::audit::{Cell, Column, Fact, Section, Sheet};

/// Most rows that are read.
const MAX_ROWS: usize = 100_000;

/// Reads a table; a text that is none gives no figures.
pub(super) fn sheet(text: &str) -> Sheet {
    let mut rows = rows(text).into_iter();
    let Some(head) = rows.next() else {
        return Sheet::default();
    };
    let place = |name: &str| head.iter().position(|cell| cell.trim() == name);
    let columns = match (place("Correct Ratio"), place("Stage"), place("duration")) {
        (Some(ratio), Some(stage), _) => {
            let model = place("Model").unwrap_or(0);
            rows.filter_map(|row| inference(&row, model, ratio, stage))
                .collect()
        }
        (_, _, Some(_)) => rows
            .enumerate()
            .filter_map(|(index, row)| benchmark(&head, &row, index))
            .collect(),
        _ => Vec::new(),
    };
    Sheet {
        columns,
        text: String::new(),
    }
}

/// A row of an inference test: the stage is the section's name.
fn inference(row: &[String], model: usize, ratio: usize, stage: usize) -> Option<Column> {
    let text = row.get(ratio)?.trim().to_owned();
    let value = written(&text, Fact::CorrectRatio)?;
    let cell = Cell {
        name: "Correct Ratio".to_owned(),
        text,
        value,
    };
    Some(Column {
        name: row.get(model)?.trim().to_owned(),
        sections: vec![Section {
            name: row.get(stage)?.trim().to_owned(),
            cells: [(Fact::CorrectRatio, cell)].into(),
            tells_samples: true,
        }],
        ..Column::default()
    })
}

fn benchmark(head: &[String], row: &[String], index: usize) -> Option<Column> {
    let cells = BENCH.iter().filter_map(|(key, fact, factor)| {
        let place = head.iter().position(|cell| cell.trim() == *key)?;
        let text = row.get(place)?.trim().to_owned();
        let number: serde_json::Number = serde_json::from_str(&text).ok()?;
        let value = super::number::of_json(&number, *fact, *factor)?;
        let name = (*key).to_owned();
        Some((*fact, Cell { name, text, value }))
    });
    let section = Section {
        name: "benchmark".to_owned(),
        cells: cells.collect(),
        tells_samples: false,
    };
    (!section.cells.is_empty()).then(|| Column {
        name: format!("row {}", index + 2),
        sections: vec![section],
        ..Column::default()
    })
}

/// The rows of a CSV text; rows may be of any length.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let cells = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
    reader
        .records()
        .map_while(Result::ok)
        .take(MAX_ROWS)
        .map(cells)
        .collect()
}
