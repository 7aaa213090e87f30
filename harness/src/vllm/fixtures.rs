//! Real captures for tests. They are not part of the project, since they are others' output; tests that read them
//! say in one line that they were skipped where the folder is absent.

use std::{env, path::PathBuf};

/// Folder of captures beside the project, or where `HARNESS_SHARED_FIXTURES` says.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    let root = env::var_os("HARNESS_SHARED_FIXTURES").map_or(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: no captures at {} (set HARNESS_SHARED_FIXTURES)",
        folder.display()
    );
    None
}
