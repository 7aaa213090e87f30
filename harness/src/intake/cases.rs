//! Which shared cases a drafted manifest asks: those of `known.yaml` that fit its endpoint, and of them the cases that
//! can be asked at all (pictures, tools, lengths).

use std::path::Path;

use crate::{
    manifest::{CaseFile, Diagnostics, Endpoint, Manifest, SharedCases, read_text},
    prompt,
};

use super::known::Known;

/// Largest file of cases that is read, in bytes: that of the manifests' own reader.
const MAX_BYTES: u64 = 4 << 20;

/// The shared cases of `root` for a manifest, which needs nothing but its model and its lengths.
pub(super) fn fitting(
    root: &Path,
    known: &Known,
    manifest: &Manifest,
) -> Result<Vec<SharedCases>, Diagnostics> {
    let mut chosen = Vec::new();
    for shared in &known.cases {
        if shared.chat && manifest.model.endpoint == Endpoint::Completions {
            continue;
        }
        let path = root.join("models.d").join(&shared.file);
        if !path.is_file() {
            continue;
        }
        let source = read_text(&path, format!("models.d/{}", shared.file), MAX_BYTES)?;
        // A file with mistakes is what `check` is for; nothing is chosen from it.
        let Ok(file) = serde_yaml::from_str::<CaseFile>(&source.text) else {
            continue;
        };
        let (unfit, fit): (Vec<_>, Vec<_>) = file
            .cases
            .iter()
            .partition(|case| prompt::cannot_ask(case, manifest).is_some());
        if fit.is_empty() {
            continue;
        }
        chosen.push(SharedCases {
            file: shared.file.clone(),
            only: Vec::new(),
            except: unfit.into_iter().map(|case| case.id.clone()).collect(),
        });
    }
    Ok(chosen)
}
