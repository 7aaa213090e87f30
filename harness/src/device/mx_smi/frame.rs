//! The framed tables of mx-smi, whatever their columns: header words say what each cell holds.
//!
//! Between 2.1 and 2.3 columns were added, moved and split, and a column's header does not always stand above its
//! values. So a row is never read by position: each header line lists fields, and each value must have its field's
//! form. What has not, is left out, as is a last cell that a cut-off line does not close.

use super::super::reading::{is_bus_id, known};

/// What a header word announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Board,
    Gpu,
    Name,
    Persistence,
    BusId,
    Utilization,
    Slicing,
    Temperature,
    Power,
    Performance,
    Memory,
    State,
    Pid,
    ProcessName,
    ProcessMemory,
    Minor,
    SliceId,
    Compute,
    VramQuota,
    SliceUtilization,
    /// More words of the field above (`Usage(MiB)` under `GPU Memory`).
    Continued,
    /// A column that this reader has never seen.
    Unknown,
}

/// Header words, in lower case.
const WORDS: [(&str, Field); 23] = [
    ("board", Field::Board),
    ("gpu", Field::Gpu),
    ("name", Field::Name),
    ("persistence-m", Field::Persistence),
    ("persist-m", Field::Persistence),
    ("bus-id", Field::BusId),
    ("gpu-util", Field::Utilization),
    ("sgpu-m", Field::Slicing),
    ("temp", Field::Temperature),
    ("power", Field::Power),
    ("pwr:usage/cap", Field::Power),
    ("perf", Field::Performance),
    ("memory-usage", Field::Memory),
    ("gpu-state", Field::State),
    ("pid", Field::Pid),
    ("process name", Field::ProcessName),
    ("gpu memory", Field::ProcessMemory),
    ("usage(mib)", Field::Continued),
    ("minor", Field::Minor),
    ("sgpu-id", Field::SliceId),
    ("compute", Field::Compute),
    ("vram quota", Field::VramQuota),
    ("sgpu-util", Field::SliceUtilization),
];

impl Field {
    /// Whether its values may be of several words.
    const fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::ProcessName | Self::State)
    }

    /// Whether a word has the form of its values.
    fn fits(self, word: &str) -> bool {
        let digits = || word.bytes().all(|byte| byte.is_ascii_digit());
        let numeric = || word.starts_with(|c: char| c.is_ascii_digit());
        let absent = known(word).is_none();
        match self {
            Self::Board | Self::Gpu | Self::Pid | Self::Minor | Self::SliceId => digits(),
            Self::BusId => is_bus_id(word),
            Self::Persistence => {
                let modes = ["on", "off", "enabled", "disabled"];
                absent || modes.iter().any(|mode| word.eq_ignore_ascii_case(mode))
            }
            Self::Utilization | Self::Compute | Self::SliceUtilization => absent || word.ends_with('%'),
            Self::Temperature => absent || numeric() && word.ends_with('C'),
            Self::Power => absent || word.contains('W'),
            Self::Performance => {
                absent || word.starts_with('P') && word[1..].bytes().all(|b| b.is_ascii_digit())
            }
            Self::Memory | Self::VramQuota => absent || word.contains('/'),
            Self::ProcessMemory => absent || numeric(),
            Self::Slicing => word
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || b"/-_".contains(&byte)),
            Self::Unknown => true,
            Self::Name | Self::ProcessName | Self::State | Self::Continued => false,
        }
    }
}

/// A line of a header: the fields of each cell.
type Header = Vec<Vec<Field>>;

/// What the lines of one row say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    values: Vec<(Field, String)>,
}

impl Row {
    /// The value of a field, unless it is a word for "not known".
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        let value = self.values.iter().find(|(name, _)| *name == field)?;
        known(&value.1)
    }
}

/// One framed table after another.
#[derive(Debug, Default)]
pub(super) struct Frame {
    headers: Vec<Header>,
    /// Lines since the last border or header.
    lines: usize,
    /// Whether the line before was a header.
    in_header: bool,
}

/// What a framed line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Border, header or empty row.
    Structure,
    /// A row of one cell that belongs to no column: a title, or `no process found`.
    Title(String),
    /// First line of a row.
    First(Row),
    /// Further line of a row.
    Next(Row),
}

impl Frame {
    /// A line that is not framed ends the table.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Reads a line that begins with `|` or `+`.
    pub(super) fn line(&mut self, line: &str) -> Line {
        if is_border(line) {
            self.lines = 0;
            return Line::Structure;
        }
        let cells = cells(line);
        if let Some(header) = header(&cells) {
            if !self.in_header {
                self.headers.clear();
            }
            self.in_header = true;
            self.lines = 0;
            if header.iter().flatten().any(|field| *field != Field::Continued) {
                self.headers.push(header);
            }
            return Line::Structure;
        }
        self.in_header = false;
        let columns = self.headers.iter().map(Vec::len).max().unwrap_or(0);
        if let [only] = cells[..]
            && (columns != 1 || !only.starts_with(|c: char| c.is_ascii_digit()))
            && is_closed(line)
        {
            if columns > 1 {
                self.headers.clear();
            }
            return Line::Title(only.to_owned());
        }
        if self.headers.is_empty() {
            return Line::Structure;
        }
        let position = self.lines % self.headers.len();
        self.lines += 1;
        let row = row(&self.headers[position], &cells);
        if position == 0 {
            Line::First(row)
        } else {
            Line::Next(row)
        }
    }
}

fn is_border(line: &str) -> bool {
    line.len() > 3 && line.bytes().all(|byte| b"+-=|".contains(&byte))
}

fn is_closed(line: &str) -> bool {
    line.len() > 1 && line.ends_with('|')
}

/// The cells that a line closes.
fn cells(line: &str) -> Vec<&str> {
    let mut cells: Vec<&str> = line.trim_start_matches('|').split('|').map(str::trim).collect();
    // Behind the last bar there is nothing, or a cell that was cut off.
    cells.pop();
    cells
}

/// The fields of a header line, if it is one: mostly header words and no number.
fn header(cells: &[&str]) -> Option<Header> {
    let header: Header = cells.iter().map(|cell| fields(cell)).collect();
    let unknown = header
        .iter()
        .flatten()
        .filter(|field| **field == Field::Unknown)
        .count();
    let total = header.iter().flatten().count();
    let starts_with_digit = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let numbers = cells
        .iter()
        .flat_map(|cell| cell.split_whitespace())
        .any(starts_with_digit);
    (total > 2 * unknown && !numbers).then_some(header)
}

fn fields(cell: &str) -> Vec<Field> {
    let lower = cell.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let find = |text: &str| {
        WORDS
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, field)| *field)
    };
    let mut fields = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let pair = words
            .get(at + 1)
            .and_then(|next| find(&format!("{} {next}", words[at])));
        fields.push(pair.or_else(|| find(words[at])).unwrap_or(Field::Unknown));
        at += if pair.is_some() { 2 } else { 1 };
    }
    fields
}

fn row(header: &Header, cells: &[&str]) -> Row {
    let mut row = Row::default();
    for (fields, cell) in header.iter().zip(cells) {
        read_cell(fields, &joined(cell), &mut row.values);
    }
    row
}

/// Values without the spaces inside them: `97W / N/A` is `97W/NA`, `858/65536 MiB` is `858/65536MiB`.
fn joined(cell: &str) -> String {
    let mut text = cell.replace("N/A", "NA");
    for (spaced, tight) in [(" /", "/"), ("/ ", "/")] {
        while text.contains(spaced) {
            text = text.replace(spaced, tight);
        }
    }
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_unit = ["MiB", "GiB", "KiB", "MB", "GB", "KB", "W", "C", "%"].contains(&word);
        match words.last_mut() {
            Some(before) if is_unit && before.ends_with(|c: char| c.is_ascii_digit()) => {
                before.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

/// Fields before a text are read from the left, those behind it from the right; the text is what is left between.
fn read_cell(fields: &[Field], cell: &str, values: &mut Vec<(Field, String)>) {
    let mut words: Vec<&str> = cell.split_whitespace().collect();
    let text = fields.iter().position(|field| field.is_text());
    let before = &fields[..text.unwrap_or(fields.len())];
    for field in before {
        if words.first().is_some_and(|word| field.fits(word)) {
            values.push((*field, words.remove(0).to_owned()));
        }
    }
    let Some(text) = text else { return };
    for field in fields[text + 1..].iter().rev() {
        if let Some(word) = words.pop_if(|word| field.fits(word)) {
            values.push((*field, word.to_owned()));
        }
    }
    if !words.is_empty() {
        values.push((fields[text], words.join(" ")));
    }
}
