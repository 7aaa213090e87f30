//! One pending golden on a terminal: at most `style.width` columns, as clear without colour as with.

use super::view::{Bar, Candidate, Changed, Margins};
use super::{Change, Standing, Stretch, View};
use crate::report::Style;
use crate::report::style::Role;
use crate::report::text::{clip, one_line, pad, width, wrap};

/// Widest line: longer ones are hard to read.
const WIDEST: usize = 110;

/// Column where values begin.
const INDENT: usize = 10;

/// Lines of the prompt that are shown.
const PROMPT_LINES: usize = 6;

/// Characters of an unchanged stretch that are kept beside a change.
const KEPT: usize = 160;

/// Columns of a token in the list of alternatives.
const TOKEN: usize = 20;

/// The screen's text. `place` is which of how many it is.
pub fn render(view: &View, place: (usize, usize), style: Style) -> String {
    let style = Style {
        width: style.width.min(WIDEST),
        ..style
    };
    let mut out = String::new();
    if view.simulated {
        out += &style.paint(Role::Warning, "SIMULATED: a simulator answered\n");
    }
    let title = format!("{} of {}  {}", place.0, place.1, view.name);
    out += &style.paint(Role::Strong, &clip(&title, style.width));
    out += "\n\n";
    out += &field("verdict", &view.verdict, role(view.standing), style);
    out += &grades(view, style);
    for changed in &view.changed {
        out += &change(changed, style);
    }
    for note in &view.notes {
        out += &field("note", note, Role::Warning, style);
    }
    if let Some(reason) = &view.last_reason {
        out += &field(
            "reason",
            &format!("of the accepted golden: {reason}"),
            Role::Faint,
            style,
        );
    }
    out += &prompt(&view.prompt, style);
    out += &answer(view, style);
    if let Some(margins) = &view.margins {
        out += &bars(margins, style);
    }
    out += &alternatives(&view.alternatives, style);
    if let Some(drift) = &view.drift {
        out += &field("\ndrift", drift, Role::Faint, style);
    }
    if let Some(why) = view.reason_needed {
        out += &field(
            "\naccept",
            &format!("needs a reason: {}", why.words()),
            Role::Warning,
            style,
        );
    }
    out
}

/// A line for a list of what waits.
pub fn line(view: &View, style: Style) -> String {
    let verdict = view.verdict.split(':').next().unwrap_or_default();
    let grade = match (&view.grade_before, &view.grade_after) {
        (Some(before), Some(after)) if before != after => format!(", {before} → {after}"),
        (None, Some(after)) => format!(", {after}"),
        _ => String::new(),
    };
    let needed = view
        .reason_needed
        .map(|why| format!("; needs a reason: {}", why.words()));
    let verdict = style.paint(role(view.standing), verdict);
    format!(
        "  {}  {verdict}{grade}{}\n",
        view.name,
        needed.unwrap_or_default()
    )
}

const fn role(standing: Option<Standing>) -> Role {
    match standing {
        Some(Standing::Identical | Standing::SameText | Standing::NearTie) => Role::Good,
        Some(Standing::New) => Role::Warning,
        Some(Standing::Divergent | Standing::Incomparable) | None => Role::Bad,
    }
}

/// A name and its text, which goes on below itself.
fn field(name: &str, text: &str, role: Role, style: Style) -> String {
    let blank = name.len() - name.trim_start_matches('\n').len();
    let lines = wrap(&one_line(text), style.width - INDENT);
    let shown = lines.iter().enumerate().map(|(at, line)| {
        let head = if at == 0 { &name[blank..] } else { "" };
        format!("{}{}\n", pad(head, INDENT), style.paint(role, line))
    });
    name[..blank].to_owned() + &shown.collect::<String>()
}

fn grades(view: &View, style: Style) -> String {
    let (words, role) = match (&view.grade_before, &view.grade_after) {
        (_, None) => return String::new(),
        (Some(before), Some(after)) if before == after => (format!("{after}, as before"), Role::Faint),
        (Some(before), Some(after)) => {
            let fell = view.reason_needed == Some(super::ReasonNeeded::GradeFell);
            (
                format!("{before} → {after}{}", if fell { ": it fell" } else { "" }),
                if fell { Role::Bad } else { Role::Good },
            )
        }
        (None, Some(after)) => (after.clone(), Role::Faint),
    };
    field("grade", &words, role, style)
}

fn change(changed: &Changed, style: Style) -> String {
    if changed.before.is_empty() {
        return field(changed.what, &changed.after, Role::Faint, style);
    }
    let line = format!("{} → {}", changed.before, changed.after);
    if INDENT + 2 + width(&line) <= style.width {
        return field(changed.what, &line, Role::Warning, style);
    }
    field(changed.what, &format!("- {}", changed.before), Role::Faint, style)
        + &field("", &format!("+ {}", changed.after), Role::Warning, style)
}

fn prompt(prompt: &str, style: Style) -> String {
    if prompt.is_empty() {
        return String::new();
    }
    let lines = wrap(prompt, style.width - 2);
    let more = lines.len().saturating_sub(PROMPT_LINES);
    let mut shown = vec![String::new(), "prompt".to_owned()];
    let line = |line: &String| format!("  {}", style.paint(Role::Faint, line));
    shown.extend(lines.iter().take(PROMPT_LINES).map(line));
    if more > 0 {
        shown.push(format!(
            "  … {more} more line{}",
            if more == 1 { "" } else { "s" }
        ));
    }
    shown.join("\n") + "\n"
}

fn answer(view: &View, style: Style) -> String {
    let stretches = &view.diff.stretches;
    let changed = stretches.iter().any(|stretch| stretch.change != Change::Equal);
    let heading = match (view.standing, changed) {
        (None, _) => return String::new(),
        (_, false) => "answer".to_owned(),
        (_, true) => format!(
            "answer  [-old-] {{+new+}}, by {}; ▶ marks where they part",
            if view.diff.by_token { "token" } else { "word" }
        ),
    };
    let mut out = format!("\n{}\n", wrap(&heading, style.width).join("\n"));
    let pieces = pieces(stretches);
    for line in flow(&pieces, style.width - 2) {
        out += "  ";
        for (change, text) in line {
            let role = match change {
                Change::Equal => None,
                Change::Removed => Some(Role::Bad),
                Change::Added => Some(Role::Good),
            };
            out += &role.map_or_else(|| text.clone(), |role| style.paint(role, &text).into_owned());
        }
        out = out.trim_end_matches(' ').to_owned() + "\n";
    }
    out
}

type Piece = (Change, String);

/// Stretches with their marks; long unchanged ones without their middle.
fn pieces(stretches: &[Stretch]) -> Vec<Piece> {
    let first = stretches
        .iter()
        .position(|stretch| stretch.change != Change::Equal);
    stretches
        .iter()
        .enumerate()
        .map(|(at, Stretch { change, text })| {
            let mark = if first == Some(at) { "▶" } else { "" };
            let text = match change {
                Change::Equal => shortened(text),
                Change::Removed => format!("{mark}[-{}-]", text.replace('\n', "⏎\n")),
                Change::Added => format!("{mark}{{+{}+}}", text.replace('\n', "⏎\n")),
            };
            (*change, text)
        })
        .collect()
}

fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= 2 * KEPT + 40 {
        return text.to_owned();
    }
    let head: String = text.chars().take(KEPT).collect();
    let tail: String = text.chars().skip(length - KEPT).collect();
    format!("{head}[… {} characters …]{tail}", length - 2 * KEPT)
}

/// Pieces in lines of at most `columns`, broken behind blanks where a word fits.
fn flow(pieces: &[Piece], columns: usize) -> Vec<Vec<Piece>> {
    let mut lines: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut used = 0;
    for (change, text) in pieces {
        for word in text.split_inclusive([' ', '\n']) {
            let bare = word.trim_end_matches('\n');
            if used > 0 && used + width(bare.trim_end()) > columns {
                lines.push(Vec::new());
                used = 0;
            }
            for c in bare.chars() {
                let wide = width(c.encode_utf8(&mut [0; 4]));
                if used + wide > columns && c != ' ' {
                    lines.push(Vec::new());
                    used = 0;
                }
                used += wide;
                append(&mut lines, *change, c);
            }
            if bare.len() < word.len() {
                lines.push(Vec::new());
                used = 0;
            }
        }
    }
    lines
}

/// Appends a character to the last line, to its last piece where that is of the same kind.
fn append(lines: &mut [Vec<Piece>], change: Change, c: char) {
    if let Some(line) = lines.last_mut() {
        match line.last_mut() {
            Some((last, text)) if *last == change => text.push(c),
            _ => line.push((change, c.to_string())),
        }
    }
}

fn bars(margins: &Margins, style: Style) -> String {
    let tokens = margins
        .sides
        .iter()
        .map(|bar| width(&bar.token))
        .max()
        .unwrap_or_default()
        .min(TOKEN)
        .min(style.width / 4);
    let figures = margins
        .sides
        .iter()
        .map(|bar| View::margin_words(bar).len())
        .max()
        .unwrap_or_default();
    let columns = style.width.saturating_sub(tokens + figures + 12);
    let tick = scaled(margins.near_tie_nat, margins.range_nat, columns);
    let heading = format!(
        "margins at position {}: how far each side's token was ahead; ┊ {} nat, the bound of a near tie",
        margins.position, margins.near_tie_nat
    );
    let mut out = format!("\n{}\n", wrap(&heading, style.width).join("\n"));
    out.extend(margins.sides.iter().map(|bar| {
        let role = if bar
            .nat
            .is_some_and(|nat| nat <= margins.near_tie_nat && !bar.at_least)
        {
            Role::Good
        } else {
            Role::Bad
        };
        let drawn: String = drawn(bar, margins, columns, tick);
        format!(
            "  {}  {}  {}  {}\n",
            pad(bar.side, 3),
            pad(&clip(&bar.token, tokens), tokens),
            pad(&View::margin_words(bar), figures),
            style.paint(role, drawn.trim_end())
        )
    }));
    out
}

/// A bar with the tick of the bound in it or behind it; an open end where the figure is only a bound.
fn drawn(bar: &Bar, margins: &Margins, columns: usize, tick: usize) -> String {
    let length = bar
        .nat
        .map_or(0, |nat| scaled(nat, margins.range_nat, columns).max(1));
    (0..=columns)
        .map(|at| match at {
            _ if at == tick => '┊',
            _ if at + 1 == length && bar.at_least => '▶',
            _ if at < length => '█',
            _ => ' ',
        })
        .collect()
}

/// A length of the range in columns.
fn scaled(nat: f64, range_nat: f64, columns: usize) -> usize {
    let share = if range_nat > 0.0 { nat / range_nat } else { 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the columns of a terminal"
    )]
    let scaled = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    scaled
}

fn alternatives(candidates: &[Candidate], style: Style) -> String {
    if candidates.is_empty() {
        return String::new();
    }
    let percent =
        |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let names = TOKEN.min(style.width - 22);
    let heading = format!("\n  {:names$}  {:>8}  {:>8}\n", "likeliest there", "old", "new");
    let mut out = style.paint(Role::Faint, &heading).into_owned();
    out.extend(candidates.iter().map(|candidate| {
        let name = pad(&clip(&candidate.token, names), names);
        let (before, after) = (percent(candidate.before), percent(candidate.after));
        format!("  {name}  {before:>8}  {after:>8}\n")
    }));
    out
}
