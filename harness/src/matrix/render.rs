//! A matrix as people and CI systems read it. What CI systems read is one document on one line or more, without
//! anything around it.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Changes, Matrix, Pair, Reason, Why};
use crate::report::{Style, style::Role, text::one_line};

/// Most jobs that GitHub makes of one matrix:
/// <https://docs.github.com/en/actions/reference/limits#job-concurrency-limits-for-github-hosted-runners>.
pub const GITHUB_JOBS: usize = 256;
/// Most files that people are shown for one reason.
const SHOWN: usize = 3;

/// The output of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    /// Revision that was named; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    /// Commit that the work tree was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    everything: &'a [Reason],
    pairs: &'a [Pair],
    left_out: usize,
    notes: &'a [String],
}

/// `model stack`, a line a pair: for `while read -r model stack`.
pub fn plain(matrix: &Matrix) -> String {
    let line = |pair: &Pair| format!("{} {}\n", pair.model, pair.stack);
    matrix.pairs.iter().map(line).collect()
}

/// Everything that is known, for programs.
///
/// # Errors
/// None that data of this shape can cause.
pub fn json(matrix: &Matrix, changes: Option<&Changes>) -> Result<String, serde_json::Error> {
    let report = Report {
        schema_version: 1,
        revision: changes.map(|changes| changes.revision.as_str()),
        base: changes.and_then(|changes| changes.base.as_deref()),
        everything: &matrix.everything,
        pairs: &matrix.pairs,
        left_out: matrix.left_out,
        notes: &matrix.notes,
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// One line for GitHub's `strategy.matrix: ${{ fromJSON(…) }}`; `{"include":[]}` where nothing is concerned, which a
/// job has to ask for in its `if`, as GitHub refuses an empty matrix.
pub fn github(matrix: &Matrix) -> String {
    let include: Vec<Value> = matrix
        .pairs
        .iter()
        .map(|pair| {
            json!({
                "model": pair.model,
                "stack": pair.stack,
                "accelerator": pair.accelerator,
                "target": pair.target,
                "simulated": pair.simulated,
                "cards": pair.cards,
            })
        })
        .collect();
    json!({ "include": include }).to_string() + "\n"
}

/// A child pipeline for GitLab, in JSON, which is YAML too: a job a pair, each of the template `.validate` or
/// `.validate_on_cards` in `templates`. GitLab refuses a pipeline without jobs, so an empty matrix gives one that says so.
///
/// # Errors
/// None that data of this shape can cause.
pub fn gitlab(matrix: &Matrix, templates: &str) -> Result<String, serde_json::Error> {
    let mut pipeline = Map::new();
    if matrix.pairs.is_empty() {
        let job = json!({ "script": ["echo 'nothing to validate: no model and no stack is concerned'"] });
        pipeline.insert("nothing to validate".to_owned(), job);
    } else {
        pipeline.insert("include".to_owned(), json!([{ "local": templates }]));
    }
    for pair in &matrix.pairs {
        let template = if pair.cards > 0 {
            ".validate_on_cards"
        } else {
            ".validate"
        };
        let job = json!({
            "extends": template,
            "variables": {
                "MODEL": pair.model,
                "STACK": pair.stack,
                "ACCELERATOR": pair.accelerator,
                "CARDS": pair.cards.to_string(),
            },
        });
        pipeline.insert(format!("{}@{}", pair.model, pair.stack), job);
    }
    Ok(serde_json::to_string_pretty(&pipeline)? + "\n")
}

/// What was selected and why, in words.
pub fn words(matrix: &Matrix, changes: Option<&Changes>, style: Style) -> String {
    let mut lines = Vec::new();
    if let Some((changes, base)) = changes.and_then(|changes| Some((changes, changes.base.as_ref()?))) {
        let revision = one_line(&changes.revision);
        let short: String = base.chars().take(12).collect();
        let files = counted(changes.files.len(), "file");
        let verb = if changes.files.len() == 1 {
            "differs"
        } else {
            "differ"
        };
        lines.push(format!("{files} {verb} from {revision} (compared with {short})"));
    }
    if !matrix.everything.is_empty() {
        let why = style.paint(Role::Warning, "everything is concerned").into_owned();
        lines.push(format!("{why}: {}", because(&matrix.everything)));
    }
    for pair in &matrix.pairs {
        let name = style
            .paint(Role::Strong, &format!("{}@{}", pair.model, pair.stack))
            .into_owned();
        let simulated = if pair.simulated { " SIMULATED" } else { "" };
        let because = match (pair.because.is_empty(), matrix.everything.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!(": {}", because(&pair.because)),
            (false, false) => format!(": also {}", because(&pair.because)),
        };
        lines.push(format!("  {name}{simulated}{because}"));
    }
    lines.extend(
        matrix
            .notes
            .iter()
            .map(|note| format!("note: {}", one_line(note))),
    );
    if matrix.left_out > 0 {
        let pairs = counted(matrix.left_out, "pair");
        lines.push(format!("{pairs} of model and stack left out, as was asked"));
    }
    lines.push(match (matrix.pairs.len(), matrix.left_out) {
        (0, 0) => "nothing to validate: no model and no stack is concerned".to_owned(),
        (0, _) => "nothing to validate here".to_owned(),
        (count, _) => format!("{} of model and stack to validate", counted(count, "pair")),
    });
    lines.join("\n") + "\n"
}

/// The reasons by kind, each with its first files.
fn because(reasons: &[Reason]) -> String {
    let mut kinds: Vec<(Why, Vec<&str>)> = Vec::new();
    for reason in reasons {
        let file = reason.file.as_deref().unwrap_or_default();
        match kinds.iter_mut().find(|(why, _)| *why == reason.why) {
            Some((_, files)) => files.push(file),
            None => kinds.push((reason.why, vec![file])),
        }
    }
    let kind = |(why, files): &(Why, Vec<&str>)| {
        let files: Vec<&str> = files.iter().copied().filter(|file| !file.is_empty()).collect();
        if files.is_empty() {
            return why.words().to_owned();
        }
        let more = files.len().saturating_sub(SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let shown: Vec<String> = files.iter().take(SHOWN).map(|file| one_line(file)).collect();
        format!("{}{more} ({})", shown.join(", "), why.words())
    };
    kinds.iter().map(kind).collect::<Vec<_>>().join("; ")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
