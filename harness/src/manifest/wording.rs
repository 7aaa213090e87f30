//! Words of messages: quoting what stands in a file, listing what would be right, and guessing what was meant.

/// Longest quotation in a message, in characters.
const QUOTED_CHARS: usize = 60;

/// Most names that a message lists.
const LISTED_NAMES: usize = 24;

/// `text` in back quotes, on one line and shortened.
pub(super) fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(QUOTED_CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    format!("`{short}`")
}

/// `` `a`, `b` or `c` ``; long lists are cut.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let quote = |name: &S| quoted(name.as_ref());
    let shown: Vec<String> = names.iter().take(LISTED_NAMES).map(quote).collect();
    match (names.len() - shown.len(), shown.as_slice()) {
        (0, []) => "nothing".to_owned(),
        (0, [only]) => only.clone(),
        (0, [head @ .., last]) => format!("{} or {last}", head.join(", ")),
        (more, shown) => format!("{} or one of {more} more", shown.join(", ")),
    }
}

/// The name that `wrong` was most likely meant to be: the nearest by edits (transposed letters count once), if at
/// most a third of the letters are wrong.
pub(super) fn nearest<'a, S: AsRef<str>>(wrong: &str, names: &'a [S]) -> Option<&'a str> {
    let folded = wrong.to_lowercase().replace('-', "_");
    let allowed = (folded.chars().count() / 3).max(1);
    names
        .iter()
        .map(AsRef::as_ref)
        .map(|name| (strsim::damerau_levenshtein(&folded, &name.to_lowercase()), name))
        .filter(|&(edits, _)| edits <= allowed)
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, name)| name)
}

/// ``did you mean `x`?`` where something is near, otherwise what there is to choose from.
pub(crate) fn suggestion<S: AsRef<str>>(wrong: &str, names: &[S]) -> String {
    match nearest(wrong, names) {
        Some(name) => format!("did you mean {}?", quoted(name)),
        None if names.is_empty() => "there is nothing to choose from".to_owned(),
        None => format!("write {}", listed(names)),
    }
}

/// Why a file could not be used.
pub(super) fn io_cause(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    }
}

/// `1 error`, `3 errors`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_only_what_is_near() {
        let names = ["tensor_parallel", "pipeline_parallel", "dtype"];
        assert_eq!(nearest("tensor_paralel", &names), Some("tensor_parallel"));
        assert_eq!(nearest("Tensor-Parallel", &names), Some("tensor_parallel"));
        assert_eq!(nearest("dytpe", &names), Some("dtype"));
        assert_eq!(nearest("seed", &names), None);
        assert_eq!(nearest("", &names), None);
    }

    #[test]
    fn lists_as_people_do() {
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` or `c`");
        assert!(listed(&vec!["a"; 30]).ends_with("or one of 6 more"));
    }

    #[test]
    fn quotations_stay_on_one_short_line() {
        assert_eq!(quoted("a\n  b"), "`a b`");
        assert_eq!(quoted(&"ü".repeat(61)).chars().count(), QUOTED_CHARS + 3);
    }
}
