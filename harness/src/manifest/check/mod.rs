//! What a schema cannot say: whether the parts of a file make sense, alone and together.
//!
//! Every check reads the pieces it needs from a [`Document`] and says nothing of pieces that are absent or have the
//! wrong shape, whose errors are known already. So one mistake gives one error, and hides no other.

mod budgets;
mod card;
mod cases;
mod graders;
mod model;
mod pattern;
mod serve;
mod stack;
mod waivers;

use std::collections::HashMap;

use semver::VersionReq;

pub(super) use card::card;
pub(super) use cases::{Selected, Sharing, case_list, own, selection, unique_ids, without_judgement};
pub(super) use stack::stack;
pub(super) use waivers::{Known, waivers};

use super::{diagnostics::Diagnostic, document::Document, wording::quoted};

/// The sections of a manifest that need nothing but the manifest: model, serve, workload and budgets.
pub(super) fn sections(document: &Document, problems: &mut Vec<Diagnostic>) {
    model::model(document, problems);
    serve::serve(document, problems);
    budgets::workload(document, problems);
    budgets::budgets(document, problems);
    budgets::correctness(document, problems);
}

impl Document {
    /// An error about the value at `pointer`.
    fn wrong(&self, pointer: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(self.place(pointer), "")
    }

    /// An error about all that stands under the key of `pointer`.
    fn wrong_part(&self, pointer: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(self.key(pointer), "")
    }
}

/// Reports each of `values` (what stands at which pointer) that occurred before.
fn repeated<T: Eq + std::hash::Hash + std::fmt::Display>(
    document: &Document,
    values: impl IntoIterator<Item = (T, String)>,
    noun: &str,
    problems: &mut Vec<Diagnostic>,
) {
    let mut first: HashMap<T, String> = HashMap::new();
    for (value, pointer) in values {
        if let Some(earlier) = first.get(&value) {
            let message = format!("{noun} {} stands here twice", quoted(&value.to_string()));
            let twice = Diagnostic::error(message)
                .at(document.place(&pointer), "again here")
                .see(document.place(earlier), "first here");
            problems.push(twice.help("keep one of them"));
        } else {
            first.insert(value, pointer);
        }
    }
}

/// The texts of the list at `pointer`, each with its own pointer.
fn texts(document: &Document, pointer: &str) -> Vec<(String, String)> {
    let text = |item: String| Some((document.read::<String>(&item)?, item));
    document.items(pointer).filter_map(text).collect()
}

/// Checks the `vllm` range of each element of the list at `pointer`.
fn version_ranges(document: &Document, pointer: &str, problems: &mut Vec<Diagnostic>) {
    for item in document.items(pointer) {
        let place = format!("{item}/vllm");
        let Some(range) = document.read::<String>(&place) else {
            continue;
        };
        if let Err(error) = VersionReq::parse(&range) {
            let message = format!("{} is not a range of versions: {error}", quoted(&range));
            let help = "write for example `>=0.8.5, <0.10`, or `*` for every version";
            problems.push(document.wrong(&place, message).help(help));
        }
    }
}
