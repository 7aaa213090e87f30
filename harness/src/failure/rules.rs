//! The rule table: what servers say when they fail (`rules.yaml`), read once.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::FailureClass;

/// The table's text, part of the program.
const TABLE: &str = include_str!("rules.yaml");

/// Where a rule's patterns are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// In an exception that ended a traceback.
    Exception,
    /// In an error record, or in output without a record head.
    Line,
    /// Like a line, when nothing else explains the end.
    Symptom,
    /// In any line, when the server still runs but was not ready in time.
    Silence,
}

/// What one way to fail looks like, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique name.
    pub id: String,
    /// Class that it shows.
    pub class: FailureClass,
    /// Where the text was read.
    pub versions: String,
    /// Where the patterns are looked for.
    pub look: Look,
    /// Patterns, one of which must be found.
    pub any: Vec<Pattern>,
    /// Patterns that rule it out.
    #[serde(default)]
    pub unless: Vec<Pattern>,
    /// Patterns of further lines worth showing.
    #[serde(default)]
    pub also: Vec<Pattern>,
    /// What happened, in one sentence.
    pub meaning: String,
    /// What to do next.
    pub advice: String,
    /// A line that it recognizes.
    pub sample: String,
}

/// Fragments that stand in one line in this order; written with `…` between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Pattern(Vec<String>);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(
            text.split('…')
                .map(|fragment| fragment.trim().to_owned())
                .collect(),
        )
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.join(" … ")
    }
}

impl Pattern {
    /// Whether the line holds every fragment, in order.
    pub fn is_in(&self, line: &str) -> bool {
        let mut rest = line;
        self.0.iter().all(|fragment| match rest.find(fragment.as_str()) {
            Some(at) => {
                rest = &rest[at + fragment.len()..];
                true
            }
            None => false,
        })
    }
}

/// The table, or why it cannot be read (a test proves that it can).
pub(super) fn table() -> Result<&'static [Rule], &'static str> {
    static RULES: LazyLock<Result<Vec<Rule>, String>> =
        LazyLock::new(|| serde_yaml::from_str(TABLE).map_err(|error| error.to_string()));
    match &*RULES {
        Ok(rules) => Ok(rules),
        Err(error) => Err(error),
    }
}

/// Every rule, in the order in which they are tried.
pub fn rules() -> &'static [Rule] {
    table().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_read_and_its_names_are_unique() {
        let rules = table().unwrap();
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids.len(), rules.len());
        assert!(rules.len() > 40);
    }

    #[test]
    fn no_pattern_is_so_short_that_it_says_nothing() {
        for rule in rules() {
            for pattern in rule.any.iter().chain(&rule.unless).chain(&rule.also) {
                let letters: usize = pattern.0.iter().map(String::len).sum();
                assert!(
                    letters >= 9 && pattern.0.iter().all(|part| !part.is_empty()),
                    "{}: {pattern:?}",
                    rule.id
                );
                assert!(
                    !pattern.is_in("ERROR Error error: failed Traceback (most recent call last):"),
                    "{}",
                    rule.id
                );
            }
        }
    }

    #[test]
    fn fragments_are_found_in_order() {
        let pattern = Pattern::from("Model architectures … are not supported".to_owned());
        assert!(pattern.is_in("ValueError: Model architectures ['X'] are not supported for now."));
        assert!(!pattern.is_in("are not supported: Model architectures"));
        assert_eq!(String::from(pattern), "Model architectures … are not supported");
    }
}
