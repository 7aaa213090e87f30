//! The table of remedies (`remedies.yaml`), read once.

use std::sync::LazyLock;

use semver::{Version, VersionReq};
use serde::Deserialize;

use super::Remedy;

/// The table's text, part of the program.
const TABLE: &str = include_str!("remedies.yaml");

/// What is tried against a failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Class of the failure.
    pub on: String,
    /// Phases of the boot in which the row holds; none: all.
    #[serde(default, rename = "in")]
    pub phases: Vec<String>,
    /// What is tried, in this order.
    #[serde(default, rename = "try")]
    pub remedies: Vec<Entry>,
    /// What is left to do where no remedy helped.
    pub otherwise: String,
}

/// A remedy with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is changed.
    pub remedy: Remedy,
    /// Why it may help.
    pub because: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    failures: Vec<Row>,
    attention_backends: Vec<Backend>,
    chat_templates: Vec<Template>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    vllm: VersionReq,
    latent: bool,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    class: String,
    file: String,
}

/// A test proves that the table can be read.
fn table() -> &'static Table {
    static READ: LazyLock<Table> = LazyLock::new(|| serde_yaml::from_str(TABLE).unwrap_or_default());
    &READ
}

/// Every row, in order.
pub fn rows() -> &'static [Row] {
    &table().failures
}

/// The row for a failure of a class in a phase.
pub fn row(class: &str, phase: Option<&str>) -> Option<&'static Row> {
    let holds = |row: &&Row| {
        row.on == class
            && (row.phases.is_empty()
                || phase.is_some_and(|phase| row.phases.iter().any(|known| known == phase)))
    };
    rows().iter().find(holds)
}

/// Attention backends that a version can be asked for.
pub(super) fn backends(version: &Version, latent: bool) -> impl Iterator<Item = &'static str> {
    let known = table().attention_backends.iter();
    known
        .filter(move |backend| backend.latent == latent && backend.vllm.matches(version))
        .map(|backend| backend.name.as_str())
}

/// Chat templates for an architecture, relative to `models.d`.
pub(super) fn templates(class: &str) -> impl Iterator<Item = &'static str> {
    let known = table().chat_templates.iter();
    known
        .filter(move |template| template.class == class)
        .map(|template| template.file.as_str())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::{failure::rules, vllm::Phase};

    #[test]
    fn the_table_can_be_read() {
        let read: Result<Table, _> = serde_yaml::from_str(TABLE);
        let read = read.unwrap();
        assert!(read.failures.len() > 30);
        for row in &read.failures {
            let remedies: BTreeSet<Remedy> = row.remedies.iter().map(|entry| entry.remedy).collect();
            assert_eq!(
                remedies.len(),
                row.remedies.len(),
                "{} names a remedy twice",
                row.on
            );
        }
    }

    #[test]
    fn every_class_that_a_log_can_show_has_a_row_in_every_phase() {
        for rule in rules() {
            let class = rule.class.to_string();
            assert!(row(&class, None).is_some(), "{class}");
        }
        assert!(row("unknown", None).is_none());
    }

    #[test]
    fn rows_name_phases_that_exist_and_every_row_can_be_reached() {
        let phases = [
            Phase::Starting,
            Phase::LoadingWeights,
            Phase::Profiling,
            Phase::Compiling,
            Phase::KvCache,
            Phase::CapturingGraphs,
            Phase::Serving,
        ]
        .map(Phase::as_str);
        for known in rows() {
            assert!(
                known.phases.iter().all(|phase| phases.contains(&phase.as_str())),
                "{}",
                known.on
            );
            let reached = phases.iter().map(|phase| Some(*phase)).chain([None]);
            let found = reached
                .filter_map(|phase| row(&known.on, phase))
                .any(|found| found == known);
            assert!(found, "another row for {} stands before", known.on);
        }
    }

    #[test]
    fn out_of_memory_is_met_by_where_it_happened() {
        let first = |phase| row("out_of_memory", phase).unwrap().remedies[0].remedy;
        assert_eq!(first(Some("loading weights")), Remedy::MoreCards);
        assert_eq!(first(Some("profiling")), Remedy::FewerSequences);
        assert_eq!(first(Some("capturing graphs")), Remedy::LowerUtilization);
        assert_eq!(first(None), Remedy::LowerUtilization);
    }

    #[test]
    fn templates_that_are_named_exist() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models.d");
        for template in &table().chat_templates {
            assert!(models.join(&template.file).is_file(), "{}", template.file);
        }
    }

    #[test]
    fn backends_have_the_names_of_their_version() {
        let names = |version: &str, latent| {
            backends(&Version::parse(version).unwrap(), latent)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names("0.8.5", false), "XFORMERS TRITON_ATTN_VLLM_V1 FLASH_ATTN");
        assert_eq!(names("0.12.0", false), "TRITON_ATTN FLASH_ATTN FLEX_ATTENTION");
        assert_eq!(names("0.12.0", true), "TRITON_MLA FLASHMLA");
    }
}
