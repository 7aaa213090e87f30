//! Columns of a plain table, aligned whatever the script: figures to the right, words to the left.

use super::text::{pad, width};

/// Space between columns.
const GAP: &str = "  ";

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// Rows as lines, each ending in a line feed. The last column is not filled up. Rows may be short.
pub fn columns(aligned: &[Align], rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match aligned.get(column) {
                Some(Align::Right) => {
                    let missing = widest[column].saturating_sub(width(cell));
                    format!("{:missing$}{cell}", "")
                }
                _ => pad(cell, widest[column]),
            });
        out += cells.collect::<Vec<_>>().join(GAP).trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_below_figures() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["weights", "13.49 GiB", "exact"]),
            row(["显存", "6.8 GiB", ""]),
            vec!["x".to_owned()],
        ];
        let table = columns(&[Align::Left, Align::Right, Align::Left], &rows);
        assert_eq!(table, "weights  13.49 GiB  exact\n显存       6.8 GiB\nx\n");
        assert_eq!(columns(&[], &[]), "");
    }
}
