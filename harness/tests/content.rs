//! Holds the committed content together: every manifest, case file and stack reads as its type, names resolve, and
//! the cases keep the promises that runs and reports rely on. What a mistake looks like to a user is tested with the
//! loader.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first file that cannot be read"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use harness::manifest::{Case, CaseFile, Manifest, Stack};
use serde::de::DeserializeOwned;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every YAML file of a folder, by its stem.
fn read_folder<T: DeserializeOwned>(folder: &str) -> BTreeMap<String, T> {
    let files = fs::read_dir(root().join(folder)).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let value =
                serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), value)
        })
        .collect()
}

fn cases() -> Vec<Case> {
    let files = read_folder::<CaseFile>("models.d/cases");
    files.into_values().flat_map(|file| file.cases).collect()
}

#[test]
fn manifests_name_stacks_and_cases_that_exist() {
    let stacks = read_folder::<Stack>("ci/stacks");
    let files = read_folder::<CaseFile>("models.d/cases");
    let manifests = read_folder::<Manifest>("models.d");
    assert!(manifests.len() >= 7 && stacks.len() >= 7);
    for (name, manifest) in manifests {
        for stack in &manifest.stacks {
            assert!(stacks.contains_key(stack), "{name}: no stack {stack}");
        }
        for shared in &manifest.cases.shared {
            let stem = Path::new(&shared.file).file_stem().unwrap().to_str().unwrap();
            let file = files
                .get(stem)
                .unwrap_or_else(|| panic!("{name}: no file {}", shared.file));
            for id in shared.only.iter().chain(&shared.except) {
                assert!(
                    file.cases.iter().any(|case| case.id == *id),
                    "{name}: no case {id} in {stem}"
                );
            }
        }
        if let Some(template) = &manifest.model.chat_template {
            assert!(
                root().join("models.d").join(template).is_file(),
                "{name}: no file {template}"
            );
        }
    }
}

#[test]
fn case_ids_are_unique_and_plenty() {
    let mut count = BTreeMap::<String, u32>::new();
    for case in cases() {
        *count.entry(case.id).or_default() += 1;
    }
    let twice: Vec<_> = count.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(count.len() >= 64, "{}", count.len());
}

#[test]
fn every_case_is_graded_and_has_a_right_answer() {
    for case in cases() {
        assert!(case.grade.is_some(), "{}: no grader", case.id);
        assert!(
            case.reference.is_some() != case.reference_call.is_some(),
            "{}: no right answer",
            case.id
        );
        assert!(
            !case.golden || case.max_tokens <= 64,
            "{}: its golden would be long",
            case.id
        );
        let reference = case.reference.unwrap_or_default();
        let cut = case.stop.iter().find(|stop| reference.contains(stop.as_str()));
        assert!(cut.is_none(), "{}: {cut:?} would cut its right answer", case.id);
    }
}

#[test]
fn every_image_is_png() {
    let folder = root().join("models.d/cases");
    for (id, image) in cases()
        .into_iter()
        .flat_map(|case| case.images.into_iter().map(move |i| (case.id.clone(), i)))
    {
        let file = File::open(folder.join(&image)).unwrap_or_else(|error| panic!("{id}: {image}: {error}"));
        png::Decoder::new(BufReader::new(file))
            .read_info()
            .unwrap_or_else(|error| panic!("{id}: {image}: {error}"));
    }
}
