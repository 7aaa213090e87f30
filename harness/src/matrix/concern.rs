//! What a file of the repository decides, by its place. Paths are relative to the root, with `/` between their parts.

use std::path::{Component, Path, PathBuf};

use super::{Candidate, TargetKind, Why};

/// Files that decide how the harness is built, beside those of its folders.
const WORKSPACE_FILES: [&str; 4] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain",
    "rust-toolchain.toml",
];
/// The simulator's folder: a program of its own that shares no code with the harness.
const SIMULATOR: &str = "harness/simulator/";

/// Why a file could change every verdict, if it could.
pub fn everything(file: &str) -> Option<Why> {
    if decides_nothing(file) || file.starts_with(SIMULATOR) {
        return None;
    }
    if file.starts_with("harness/") {
        return Some(Why::Harness);
    }
    let builds = WORKSPACE_FILES.contains(&file) || file.starts_with("xtask/") || file.starts_with(".cargo/");
    builds.then_some(Why::Workspace)
}

/// Why a file could change the verdicts of one model on one stack, if it could.
pub fn of(candidate: &Candidate, root: &Path, file: &str) -> Option<Why> {
    if decides_nothing(file) {
        return None;
    }
    let path = Path::new(file);
    of_model(candidate, root, path)
        .or_else(|| is_golden(candidate, path).then_some(Why::Golden))
        .or_else(|| of_stack(candidate, root, path))
}

fn of_model(candidate: &Candidate, root: &Path, path: &Path) -> Option<Why> {
    let model = &candidate.model;
    let is = |other: &Path| relative(root, other) == path;
    let shows = |folder: &Path, images: &[String]| images.iter().any(|image| is(&folder.join(image)));
    if is(&model.path) {
        Some(Why::Manifest)
    } else if model.cases.iter().any(|case| is(&case.file)) {
        Some(Why::Cases)
    } else if model
        .cases
        .iter()
        .any(|case| shows(&case.folder, &case.case.images))
    {
        Some(Why::Picture)
    } else if model.chat_template.as_deref().is_some_and(is) {
        Some(Why::ChatTemplate)
    } else {
        None
    }
}

/// Real and simulated goldens lie apart: one never answers for the other.
fn is_golden(candidate: &Candidate, path: &Path) -> bool {
    let folder = if candidate.target == TargetKind::Simulator {
        "golden/simulated"
    } else {
        "golden"
    };
    path.parent() == Some(&Path::new(folder).join(&candidate.model.name))
        && path.extension().is_some_and(|extension| extension == "snap")
}

fn of_stack(candidate: &Candidate, root: &Path, path: &Path) -> Option<Why> {
    let stack = &candidate.stack.stack;
    if relative(root, &candidate.stack.path) == path {
        return Some(Why::Stack);
    }
    let card = format!("ci/cards/{}.yaml", stack.accelerator.as_str());
    if path == Path::new(&card) {
        return Some(Why::Card);
    }
    if let Some(docker) = &stack.docker {
        // The program that makes the image, and what lies beside it.
        let program = docker.build.first().map(|program| normal(Path::new(program)));
        let folder = program
            .as_deref()
            .and_then(Path::parent)
            .filter(|folder| !folder.as_os_str().is_empty());
        let makes = program.as_deref() == Some(path) || folder.is_some_and(|folder| path.starts_with(folder));
        return makes.then_some(Why::ImageRecipe);
    }
    if let Some(process) = &stack.process {
        let folder = Path::new(process.cwd.as_deref().unwrap_or_default());
        let runs = process
            .command
            .iter()
            .any(|word| normal(&folder.join(word)) == path);
        return runs.then_some(Why::Command);
    }
    (candidate.target == TargetKind::Simulator && path.starts_with(SIMULATOR)).then_some(Why::Simulator)
}

/// Whether a file is one that users write for the harness to read.
pub fn is_written_by_users(file: &str) -> bool {
    let is = |extension| has_extension(file, extension);
    (is("yaml") && (file.starts_with("models.d/") || file.starts_with("ci/stacks/")))
        || (is("snap") && file.starts_with("golden/"))
}

/// Documents and tests.
fn decides_nothing(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let folder = &file[..file.len() - name.len()];
    let in_folder = |name: &str| folder.split('/').any(|part| part == name);
    let of_tests = ["tests", "snapshots", "fixtures", "examples", "benches"]
        .into_iter()
        .any(in_folder);
    let is_rust_test = name == "tests.rs" || name.ends_with("_tests.rs");
    has_extension(name, "md") || (file.starts_with("harness/") && (of_tests || is_rust_test))
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}

/// A path as git shows it: relative to the root, without `.` and `..`.
fn relative(root: &Path, path: &Path) -> PathBuf {
    normal(path.strip_prefix(root).unwrap_or(path))
}

fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_what_concerns_everything() {
        let harness = [
            "harness/src/judge/mod.rs",
            "harness/Cargo.toml",
            "harness/src/failure/rules.yaml",
        ];
        let workspace = [
            "Cargo.toml",
            "Cargo.lock",
            "rust-toolchain.toml",
            ".cargo/config.toml",
            "xtask/src/main.rs",
        ];
        let nothing = [
            "README.md",
            "harness/README.md",
            "harness/tests/validate.rs",
            "harness/src/golden/tests.rs",
            "harness/src/golden/drift_tests.rs",
            "harness/src/report/snapshots/a.snap",
            "harness/src/device/fixtures/table-2.2.8.txt",
            "harness/examples/draw_case_images.rs",
            "harness/simulator/src/main.rs",
            "golden/Cargo.toml",
            "golden/src/lib.rs",
            "deny.toml",
            "clippy.toml",
            ".ci/run",
            "ci/github/validate.yml",
            "models.d/mistral_7b.yaml",
            "other/Cargo.toml",
        ];
        for file in harness {
            assert_eq!(everything(file), Some(Why::Harness), "{file}");
        }
        for file in workspace {
            assert_eq!(everything(file), Some(Why::Workspace), "{file}");
        }
        for file in nothing {
            assert_eq!(everything(file), None, "{file}");
        }
    }

    #[test]
    fn paths_are_compared_as_git_shows_them() {
        let root = Path::new("/r");
        assert_eq!(
            relative(root, Path::new("/r/models.d/./cases/../x.yaml")),
            Path::new("models.d/x.yaml")
        );
        assert_eq!(
            relative(Path::new("."), Path::new("./models.d/x.yaml")),
            Path::new("models.d/x.yaml")
        );
    }
}
