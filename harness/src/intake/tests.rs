//! Drafts of the families that are known, from configurations in the layout of their publishers, held against the
//! manifests that people wrote.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    capacity::Shape,
    manifest::{self, Catalogue, Diagnostics, Manifest},
};

pub(super) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

pub(super) fn fixture(folder: &str) -> PathBuf {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/intake/fixtures"));
    fixtures.join(folder).join("config.json")
}

fn drafted(config: &Path, id: Option<&str>) -> Result<Draft, Diagnostics> {
    let subject = Subject::of_folder(&Folder::of_config(config)?, id)?;
    draft(&Catalogue::open(root()), &subject, &Wishes::default())
}

/// What `check` says of a text, and the manifest that it is.
fn read_back(name: &str, text: &str) -> (Diagnostics, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.yaml"));
    fs::write(&path, text).unwrap();
    let checked = manifest::check(root(), &[path]);
    let manifest = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (checked.errors, manifest)
}

/// Folder of the fixture, name of the manifest that people wrote.
const FAMILIES: [(&str, &str); 7] = [
    ("Qwen3-32B", "qwen3_32b"),
    ("Baichuan2-13B-Chat", "baichuan2_13b_chat"),
    ("DeepSeek-V2", "deepseek_v2_236b"),
    ("CodeLlama-13b-hf", "codellama_13b"),
    ("Mistral-7B-v0.1", "mistral_7b_v0_1"),
    ("Qwen2-VL-72B-Instruct", "qwen2_vl_72b"),
    ("SmolLM2-135M-Instruct", "smollm2_135m"),
];

#[test]
fn every_family_gets_a_manifest_that_passes_and_says_what_people_wrote() {
    for (folder, name) in FAMILIES {
        let draft = drafted(&fixture(folder), None).unwrap_or_else(|error| panic!("{folder}\n{error}"));
        let (errors, manifest) = read_back(&draft.name, &draft.text());
        assert!(errors.is_empty(), "{folder}\n{errors}");
        assert_eq!(
            manifest, draft.manifest,
            "{folder}: the text says all of the manifest"
        );
        let written = Catalogue::open(root()).model(name).unwrap().manifest;
        let (ours, theirs) = (&manifest.model, &written.model);
        assert_eq!(ours.architecture, theirs.architecture, "{folder}");
        assert_eq!(ours.endpoint, theirs.endpoint, "{folder}");
        assert_eq!(ours.modalities, theirs.modalities, "{folder}");
        assert_eq!(ours.reasoning, theirs.reasoning, "{folder}");
        assert_eq!(ours.tool_parser, theirs.tool_parser, "{folder}");
        assert_eq!(ours.chat_template, theirs.chat_template, "{folder}");
        let serve = |manifest: &Manifest| {
            let serve = &manifest.serve;
            // Blocks of 16 are vLLM's own; the yardstick pins them all the same.
            let block_size = serve.block_size.filter(|tokens| *tokens != 16);
            (
                (serve.tensor_parallel, serve.pipeline_parallel, block_size),
                (serve.trust_remote_code, serve.args.clone(), serve.env.clone()),
            )
        };
        assert_eq!(serve(&manifest), serve(&written), "{folder}");
        let shape = Shape::of_manifest(&manifest.model.architecture);
        assert_eq!(
            shape.parameters().unwrap().counted,
            None,
            "{folder}: the figures give the parameters"
        );
    }
}

#[test]
fn a_chat_model_as_text() {
    insta::assert_snapshot!(
        drafted(&fixture("Qwen3-32B"), Some("Qwen/Qwen3-32B"))
            .unwrap()
            .text()
    );
}

#[test]
fn a_base_model_over_two_hosts_as_text() {
    insta::assert_snapshot!(drafted(&fixture("DeepSeek-V2"), None).unwrap().text());
}

#[test]
fn a_model_with_pictures_as_text() {
    insta::assert_snapshot!(drafted(&fixture("Qwen2-VL-72B-Instruct"), None).unwrap().text());
}

#[test]
fn nothing_unmeasured_has_a_budget() {
    let draft = drafted(&fixture("Mistral-7B-v0.1"), None).unwrap();
    let budgets = draft.manifest.budgets.c500.as_ref().unwrap();
    let limited: Vec<&str> = budgets.memory.limits().map(|(metric, _)| metric.name()).collect();
    assert_eq!(limited, ["weights"]);
    assert_eq!(budgets.latency.limits().count(), 0);
    assert!(budgets.throughput.is_empty());
}

/// A folder with an edited copy of a configuration.
fn edited(folder: &str, edit: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(fixture(folder)).unwrap()).unwrap();
    edit(&mut config);
    let there = tempfile::tempdir().unwrap();
    fs::write(there.path().join("config.json"), format!("{config:#}")).unwrap();
    there
}

#[test]
fn a_tower_without_a_chat_template_is_asked_text() {
    let folder = edited("Qwen2-VL-72B-Instruct", |_| {});
    let draft = drafted(&folder.path().join("config.json"), None).unwrap();
    let (errors, manifest) = read_back("x", &draft.text());
    assert!(errors.is_empty(), "{errors}");
    assert_eq!(manifest.model.modalities, [manifest::Modality::Text]);
}

#[test]
fn what_no_card_holds_is_refused_with_the_reason() {
    let quantized = edited("Qwen3-32B", |config| {
        config["quantization_config"] = json!({ "quant_method": "fp8" });
    });
    let huge = edited("Qwen3-32B", |config| config["num_hidden_layers"] = json!(9_999));
    let short = edited("Qwen3-32B", |config| {
        config["max_position_embeddings"] = json!(16);
    });
    let told = [quantized, huge, short].map(|folder| {
        drafted(&folder.path().join("config.json"), None)
            .unwrap_err()
            .to_string()
    });
    insta::assert_snapshot!(told.join("\n---\n"));
}

#[test]
fn gptq_is_served_eagerly() {
    let folder = edited("Qwen3-32B", |config| {
        config["quantization_config"] = json!({ "quant_method": "gptq", "bits": 4, "group_size": 128 });
    });
    let draft = drafted(&folder.path().join("config.json"), None).unwrap();
    assert_eq!(draft.manifest.serve.cards(), 1);
    assert_eq!(draft.manifest.serve.args[0].add, ["--enforce-eager"]);
    assert!(read_back("x", &draft.text()).0.is_empty());
}

#[test]
fn a_nested_language_model_is_read() {
    let folder = edited("Qwen2-VL-72B-Instruct", |config| {
        let tower = config["vision_config"].take();
        let mut text = config.take();
        let architectures = text["architectures"].take();
        *config = json!({ "architectures": architectures, "vision_config": tower, "text_config": text });
    });
    let draft = drafted(&folder.path().join("config.json"), None).unwrap();
    assert_eq!(draft.manifest.model.architecture.parameters, 73_405_560_320);
    assert_eq!(draft.manifest.serve.tensor_parallel, 4);
}

#[test]
fn what_is_wrong_in_a_configuration_is_shown_where_it_stands() {
    let lacking = edited("Mistral-7B-v0.1", |config| {
        *config = json!({ "architectures": ["MistralForCausalLM"], "num_hidden_layers": 0, "hidden_size": 1e18, "vocab_size": "many" });
    });
    let unknown = edited("Mistral-7B-v0.1", |config| {
        config["architectures"] = json!(["MistralForCausalLN"]);
    });
    let told = [lacking, unknown].map(|folder| {
        let path = folder.path().join("config.json");
        let error = drafted(&path, None).unwrap_err().to_string();
        error.replace(&path.display().to_string(), "config.json")
    });
    insta::assert_snapshot!(told.join("\n---\n"));
}

/// Values that a broken or hostile file may hold.
fn oddity() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..4096).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1e18)),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({ "a": 1 })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever figures stand in a configuration: a manifest that passes, or an error; never a panic.
    #[test]
    fn a_spoilt_configuration_gives_an_error_or_a_manifest_that_passes(
        family in 0..FAMILIES.len(),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), oddity()), 1..4),
    ) {
        let folder = edited(FAMILIES[family].0, |config| {
            let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
            for (index, value) in spoils {
                config[index.get(&keys)] = value;
            }
        });
        match drafted(&folder.path().join("config.json"), None) {
            Ok(draft) => {
                let (errors, manifest) = read_back("x", &draft.text());
                prop_assert!(errors.is_empty(), "{}\n{}", errors, draft.text());
                prop_assert_eq!(manifest, draft.manifest);
            }
            Err(errors) => prop_assert!(!errors.to_string().is_empty()),
        }
    }
}
