//! Whether a manifest's server can be started on each of its stacks at all, before anything is: what a stack's version
//! of vLLM no longer takes, or not yet, is shown where it is written, with what takes its place. What can be said in the
//! version's own words is translated at the start and told in the run's notes; it is no mistake.

use semver::{Version, VersionReq};

use super::{ArgumentError, settings};
use crate::{
    manifest::{Catalogue, Diagnostic, Diagnostics, Label, LoadedModel, LoadedStack},
    vllm::{ArgError, flag_of},
};

/// Holds the arguments and variables of a manifest against the version of each of its stacks. Stacks that cannot be
/// read say so elsewhere.
pub fn fit(catalogue: &Catalogue, model: &LoadedModel) -> Diagnostics {
    let stacks = model.manifest.stacks.iter();
    stacks
        .filter_map(|name| catalogue.stack(name).ok())
        .filter_map(|stack| {
            let dtype = stack.stack.dtype.unwrap_or(model.manifest.serve.dtype);
            let template = model.chat_template.as_ref().map(|path| path.to_string_lossy());
            match settings(model, &stack, template.as_deref(), dtype) {
                Err(ArgumentError::Argument { version, source }) => {
                    Some(refused(catalogue, model, &stack, &version, &source))
                }
                // What is no version is told by the checks of the file that holds it.
                Ok(_) | Err(ArgumentError::Version { .. }) => None,
            }
        })
        .collect()
}

fn refused(
    catalogue: &Catalogue,
    model: &LoadedModel,
    stack: &LoadedStack,
    version: &Version,
    error: &ArgError,
) -> Diagnostic {
    let told = Diagnostic::error(format!("on the stack `{}`: {error}", stack.name));
    let told = match place(catalogue, model, stack, version, error) {
        Some(label) => told.at(label, ""),
        None => told,
    };
    match error.advice() {
        Some(_) => told.help(format!(
            "where other versions need it as it stands, give it a range of `vllm` that leaves {version} out"
        )),
        None => told.help("write the flag as `vllm serve --help` of this version shows it"),
    }
}

/// Where the flag or variable is written: in the manifest's arguments for this version, its variables, or the stack's.
fn place(
    catalogue: &Catalogue,
    model: &LoadedModel,
    stack: &LoadedStack,
    version: &Version,
    error: &ArgError,
) -> Option<Label> {
    let name = error.name()?;
    let serve = &model.manifest.serve;
    let holds = |range: &str| VersionReq::parse(range).is_ok_and(|range| range.matches(version));
    let at = |words: &[String]| {
        words
            .iter()
            .position(|word| flag_of(word).as_deref() == Some(name))
    };
    let argument = serve.args.iter().enumerate().find_map(|(set, addition)| {
        let word = at(&addition.add).filter(|_| holds(&addition.vllm))?;
        Some(format!("/serve/args/{set}/add/{word}"))
    });
    let variable = || {
        serve.env.iter().enumerate().find_map(|(set, addition)| {
            let set_here = addition.set.contains_key(name) && holds(&addition.vllm);
            set_here.then(|| format!("/serve/env/{set}/set/{name}"))
        })
    };
    if let Some(pointer) = argument.or_else(variable) {
        return catalogue.place(&model.path, &pointer);
    }
    if let Some(word) = at(&stack.stack.args) {
        return catalogue.place(&stack.path, &format!("/args/{word}"));
    }
    if stack.stack.env.contains_key(name) {
        return catalogue.place(&stack.path, &format!("/env/{name}"));
    }
    // A key of the manifest became an argument that this version does not take.
    catalogue.place(&model.path, "/serve")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    /// What is said of the repository's Mistral with a further line in its `serve` section.
    fn told(serve: &str, stack: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let good = fs::read_to_string(Path::new(ROOT).join("models.d/mistral_7b_v0_1.yaml")).unwrap();
        let stacks = format!("\nstacks:\n  - {stack}\n");
        let edited = good
            .replacen("\nserve:\n", &format!("\nserve:\n{serve}\n"), 1)
            .replacen("\nstacks:\n", &stacks, 1);
        let path = folder.path().join("mistral.yaml");
        fs::write(&path, edited).unwrap();
        let catalogue = Catalogue::open(Path::new(ROOT));
        let model = catalogue.model(&path.to_string_lossy()).unwrap();
        let text = fit(&catalogue, &model).render(false);
        text.replace(&path.display().to_string(), "mistral.yaml")
    }

    #[test]
    fn what_a_version_refuses_is_shown_where_it_is_written() {
        let removed = told(
            "  args: [{ vllm: \"*\", add: [--enable-chunked-prefill, --rope_theta=1e6] }]",
            "cpu_vllm0.32.0",
        );
        let early = told(
            "  args:\n    - { vllm: \">=0.12\", add: [--attention-backend, TRITON_ATTN] }",
            "cpu_vllm0.12.0",
        );
        let variable = told(
            "  env: [{ vllm: \"*\", set: { VLLM_FLASH_ATTN_VERSION: \"2\" } }]",
            "cpu_vllm0.17.1",
        );
        insta::assert_snapshot!([removed, early, variable].join("\n\n"));
    }

    #[test]
    fn what_can_be_translated_or_is_for_other_versions_is_no_mistake() {
        let translated = "  args: [{ vllm: \"*\", add: [--swap-space, \"4\"] }]";
        assert_eq!(told(translated, "cpu_vllm0.32.0"), "no errors");
        let elsewhere = "  args: [{ vllm: \"<0.8\", add: [--rope-theta, \"1e6\"] }]";
        assert_eq!(told(elsewhere, "cpu_vllm0.32.0"), "no errors");
    }

    #[test]
    fn every_manifest_of_the_repository_fits_its_stacks() {
        let catalogue = Catalogue::open(Path::new(ROOT));
        for name in catalogue.model_names() {
            let model = catalogue.model(&name).unwrap();
            assert_eq!(fit(&catalogue, &model), Diagnostics::default(), "{name}");
        }
    }
}
