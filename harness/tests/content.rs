//! Holds the committed manifests, cases and stacks together: the strict loader has nothing to say of them, and the
//! cases keep the promises that runs and reports rely on. What a mistake looks like to a user is tested with the
//! loader; what the pictures show, with the example that draws them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use harness::manifest::{Case, Catalogue, Diagnostics, Modality, check};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every case that a manifest uses, by its name; a case that several use must be the same one.
fn cases() -> Result<BTreeMap<String, Case>, Diagnostics> {
    let catalogue = Catalogue::open(&root());
    let mut cases = BTreeMap::new();
    for name in catalogue.model_names() {
        for loaded in catalogue.model(&name)?.cases {
            let earlier = cases.insert(loaded.case.id.clone(), loaded.case.clone());
            assert!(
                earlier.is_none_or(|case| case == loaded.case),
                "two cases called {}",
                loaded.case.id
            );
        }
    }
    Ok(cases)
}

#[test]
fn the_loader_finds_no_mistake() {
    let checked = check(&root(), &[]);
    assert!(checked.files.len() >= 7 + 11 + 7, "{:?}", checked.files);
    assert!(checked.errors.is_empty(), "{}", checked.errors);
}

#[test]
fn cases_are_plenty_and_about_a_third_have_goldens() -> Result<(), Diagnostics> {
    let cases = cases()?;
    let golden = cases.values().filter(|case| case.golden).count();
    assert!(cases.len() >= 64, "{}", cases.len());
    assert!(
        (cases.len() / 4..cases.len() / 2).contains(&golden),
        "{golden} of {}",
        cases.len()
    );
    Ok(())
}

#[test]
fn every_case_is_graded_and_has_a_right_answer_within_its_limits() -> Result<(), Diagnostics> {
    for (id, case) in cases()? {
        assert!(case.grade.is_some(), "{id}: no grader");
        assert!(
            case.reference.is_some() != case.reference_call.is_some(),
            "{id}: not one right answer"
        );
        assert!(
            !case.golden || case.max_tokens <= 64,
            "{id}: its golden would be long"
        );
        let reference = case.reference.unwrap_or_default();
        let cut = case.stop.iter().find(|stop| reference.contains(stop.as_str()));
        assert!(cut.is_none(), "{id}: {cut:?} would cut its right answer");
    }
    Ok(())
}

#[test]
fn every_case_fits_a_model() -> Result<(), Diagnostics> {
    let catalogue = Catalogue::open(&root());
    let mut orphans = cases()?;
    for name in catalogue.model_names() {
        let model = catalogue.model(&name)?;
        let sees = model.manifest.model.modalities.contains(&Modality::Image);
        let calls = model.manifest.model.tool_parser.is_some();
        for case in model.cases.into_iter().map(|loaded| loaded.case) {
            if (case.images.is_empty() || sees) && (case.tools.is_empty() || calls) {
                orphans.remove(&case.id);
            }
        }
    }
    assert!(orphans.is_empty(), "no model can be asked {:?}", orphans.keys());
    Ok(())
}
