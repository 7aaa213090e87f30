//! Text as Markdown that shows it and nothing else: GitHub's and GitLab's dialect (CommonMark with tables).

use crate::report::text::{one_line, pad, printable, width};

/// Most columns that a cell is padded to, so that one long text does not widen every row.
const PADDED_WIDTH: usize = 40;

/// `text` as inline Markdown on one line, for a paragraph or a cell; line feeds become `<br>`.
pub fn inline(text: &str) -> String {
    let text = printable(text.trim());
    text.lines().map(inline_line).collect::<Vec<_>>().join("<br>")
}

/// `text` as a code span for a paragraph.
pub fn code(text: &str) -> String {
    let text = one_line(text);
    let ticks = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// `text` as a code span for a cell, where a bar ends the cell even inside code and only a backslash hides it. A
/// backslash of the text before a bar would hide that one instead, so it becomes a look-alike.
pub fn cell_code(text: &str) -> String {
    code(&text.replace("\\|", "⧵|")).replace('|', "\\|")
}

/// Lines as they are, in a fence that none of them can close.
pub fn fence(lines: &[String]) -> String {
    let text = lines
        .iter()
        .map(|line| printable(line))
        .collect::<Vec<_>>()
        .join("\n");
    let ticks = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{ticks}text\n{text}\n{ticks}")
}

/// A table, its columns aligned in the source as well. Cells are Markdown already: [`inline`] or [`cell_code`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self {
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub fn push<S: Into<String>>(&mut self, row: impl IntoIterator<Item = S>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, without a line feed at its end.
    pub fn render(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let widths: Vec<_> = (0..self.head.len())
            .map(|column| {
                let cells = lines().filter_map(|row| row.get(column)).map(|cell| width(cell));
                cells
                    .filter(|columns| *columns <= PADDED_WIDTH)
                    .max()
                    .unwrap_or(0)
                    .max(3)
            })
            .collect();
        let line = |row: &Vec<String>| {
            let cells = widths
                .iter()
                .enumerate()
                .map(|(column, width)| pad(row.get(column).map_or("", String::as_str), *width));
            format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut out = vec![line(&self.head), line(&rule)];
        out.extend(self.rows.iter().map(line));
        out.join("\n")
    }
}

fn inline_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let in_word = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '_' if in_word => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', c]),
            '#' | '-' | '+' | '=' if out.is_empty() => out.extend(['\\', c]),
            '.' | ')' if ends_number(&out, rest.peek()) => out.extend(['\\', c]),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// Whether a dot or a bracket here would make a list of the line: digits before it, a space behind it.
fn ends_number(before: &str, next: Option<&char>) -> bool {
    !before.is_empty() && before.chars().all(|c| c.is_ascii_digit()) && next.is_none_or(|next| *next == ' ')
}

/// Most backticks in a row.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn inline_text_has_no_markup() {
        assert_eq!(
            inline("a | b <i> & `c` *d* _e_ qwen3_32b"),
            "a \\| b &lt;i&gt; &amp; \\`c\\` \\*d\\* \\_e\\_ qwen3_32b"
        );
        assert_eq!(
            inline("# one\n- two\n12. three"),
            "\\# one<br>\\- two<br>12\\. three"
        );
        assert_eq!(inline("13.50 GiB, $x$"), "13.50 GiB, \\$x\\$");
    }

    #[test]
    fn code_cannot_be_closed_from_inside() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a `` b ` c"), "```a `` b ` c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(cell_code("a|b"), "`a\\|b`");
        assert_eq!(cell_code("a\\|b\\c"), "`a⧵\\|b\\c`");
        assert_eq!(
            fence(&["```".into(), "x\n````".into()]),
            "`````text\n```\nx\n````\n`````"
        );
    }

    #[test]
    fn tables_are_aligned_in_the_source() {
        let mut table = Table::new(["Figure", "值"]);
        table.push(["显存", "1"]);
        table.push(["a", "22222"]);
        assert_eq!(
            table.render(),
            "| Figure | 值    |\n| ------ | ----- |\n| 显存   | 1     |\n| a      | 22222 |"
        );
    }

    proptest! {
        #[test]
        fn no_text_ends_its_cell_or_opens_a_tag(text in any::<String>()) {
            for cell in [inline(&text), cell_code(&text)] {
                prop_assert!(!cell.contains('\n'));
                let mut escaped = false;
                for c in cell.chars() {
                    prop_assert!(c != '|' || escaped, "{}", cell);
                    escaped = c == '\\' && !escaped;
                }
            }
            prop_assert!(!inline(&text).replace("<br>", "").contains('<'));
        }

        #[test]
        fn no_line_closes_its_fence(lines in prop::collection::vec("[`a \n]{0,9}", 0..5)) {
            let fenced = fence(&lines);
            let ticks = fenced.lines().next().unwrap().trim_end_matches("text").to_owned();
            let closing = fenced.lines().filter(|line| line.trim() == ticks).count();
            prop_assert_eq!(closing, 1);
            prop_assert_eq!(fenced.lines().last(), Some(ticks.as_str()));
        }
    }
}
