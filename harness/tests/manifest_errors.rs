//! Every kind of mistake in a manifest, a file of cases or a stack, and what is said of it.
//!
//! Each test edits one good file of `fixtures/manifest` and shows the whole output, so that a snapshot review reads as
//! the user would.
#![expect(
    clippy::unwrap_used,
    reason = "a test file whose fixtures cannot be prepared must fail"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::manifest::{Catalogue, Checked};
use proptest::prelude::*;
use tempfile::TempDir;
use time::macros::date;

const MANIFEST: &str = "models.d/mistral_7b.yaml";
const CASES: &str = "models.d/cases/arithmetic.yaml";
const SIMULATOR: &str = "ci/stacks/sim_c500.yaml";
const DOCKER: &str = "ci/stacks/cpu_docker.yaml";

/// What YAML and the format are made of, and what is none of it.
const PIECE: &str = "[ -~\n\té模\u{85}]|\n {0,6}|[a-z_]{1,8}: |- |[{}\\[\\],&*!|>'\"%@`#?-]|---\n|<<: |0x1f|1e999|\\.inf|~|null|schema: 1|cases:|own:|id: a|13 GiB";

/// A copy of the good files that a test may spoil.
struct Folder(TempDir);

impl Folder {
    fn good() -> Self {
        let folder = Self(TempDir::new().unwrap());
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifest");
        for file in [MANIFEST, CASES, SIMULATOR, DOCKER] {
            folder.write(file, fs::read(good.join(file)).unwrap());
        }
        folder
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Replaces `old`, which must be there, by `new`.
    fn edit(&self, file: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(old), "{file} has no {old:?}");
        self.write(file, text.replacen(old, new, 1));
    }

    fn catalogue(&self) -> Catalogue {
        Catalogue::on(self.0.path(), date!(2026 - 07 - 28))
    }

    fn check(&self) -> Checked {
        self.catalogue().check(&[])
    }

    fn errors(&self) -> String {
        self.check().errors.to_string()
    }
}

/// What is said after edits of one file.
fn spoiled(file: &str, edits: &[(&str, &str)]) -> String {
    let folder = Folder::good();
    for (old, new) in edits {
        folder.edit(file, old, new);
    }
    let errors = folder.check().errors;
    assert!(!errors.is_empty(), "the mistake went unnoticed");
    errors.to_string()
}

/// One snapshot for each line: its name, the file, and what replaces what.
macro_rules! mistakes {
    ($($name:ident: $file:expr, $($old:literal => $new:expr),+;)+) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(spoiled($file, &[$(($old, $new)),+]));
        })+
    };
}

mistakes! {
    not_yaml: MANIFEST, "layers: 32" => "layers: 32: 1";
    tab_indentation: MANIFEST, "  tensor_parallel: 1" => "\ttensor_parallel: 1";
    duplicate_key: MANIFEST, "  dtype: bfloat16" => "  dtype: bfloat16\n  dtype: float16";
    anchor_and_alias: MANIFEST, "    layers: 32" => "    layers: &n 32", "heads: 32" => "heads: *n";
    tag: MANIFEST, "layers: 32" => "layers: !!int 32";
    merge_key: MANIFEST, "latency:\n    prompt" => "latency:\n    <<: {warmup: 1}\n    prompt";
    list_as_key: MANIFEST, "  dtype: bfloat16" => "  ? [dtype]\n  : bfloat16";
    second_document: MANIFEST, "serve:" => "---\nserve:";
    control_character: MANIFEST, "revision: main" => "revision: ma\u{1}in";
    unknown_key_near: MANIFEST, "tensor_parallel" => "tensor_paralel";
    unknown_key_far: MANIFEST, "gated: false" => "gated: false, owner: x";
    missing_key: MANIFEST, "    layers: 32\n" => "";
    missing_section: MANIFEST, "stacks: [sim_c500]\n" => "";
    missing_key_of_an_element: MANIFEST, "      max_tokens: 16\n" => "";
    text_for_a_number: MANIFEST, "layers: 32" => "layers: \"32\"";
    number_for_text: MANIFEST, "revision: main" => "revision: 1.0";
    text_for_a_list: MANIFEST, "stacks: [sim_c500]" => "stacks: sim_c500";
    nothing_for_a_map: MANIFEST, "gpu_memory_utilization: 0.9" => "gpu_memory_utilization:";
    float_for_a_count: MANIFEST, "layers: 32" => "layers: 32.0";
    word_not_allowed: MANIFEST, "dtype: bfloat16" => "dtype: bfloat17";
    out_of_range: MANIFEST, "gpu_memory_utilization: 0.9" => "gpu_memory_utilization: 90";
    beyond_32_bits: MANIFEST, "layers: 32" => "layers: 5000000000";
    wrong_version: MANIFEST, "schema: 1" => "schema: 2";
    no_unit: MANIFEST, "max: 13.6 GiB" => "max: 13.6";
    unknown_unit: MANIFEST, "max: 13.6 GiB" => "max: 13.6 GB";
    unfit_unit: MANIFEST, "max: 13.6 GiB" => "max: 13.6 s";
    crossed_limits: MANIFEST, "min: 36 GiB" => "min: 36 GiB\n        max: 1024 MiB";
    limit_without_bounds: MANIFEST, "        min: 36 GiB\n" => "";
    unmeasured_concurrency: MANIFEST, "- concurrency: 2\n" => "- concurrency: 8\n";
    empty_throughput_budget: MANIFEST, "        output: {min: 110 tokens/s, source: measured, because: 114.82 tokens/s measured}\n" => "";
    unmeasured_accelerator: MANIFEST, "  c500:" => "  cpu: {}\n  c500:";
    unfit_unit_of_the_least_share: MANIFEST, "cases:\n  shared" => "correctness: {min_right: 80 GiB}\ncases:\n  shared";
    more_than_all_right: MANIFEST, "cases:\n  shared" => "correctness: {min_right: 120 %}\ncases:\n  shared";
    graded_though_only_scored: CASES, "    golden: true\n" => "    scoring_only: true\n    structured: {type: object}\n";
    case_named_like_a_trial: CASES, "id: addition" => "id: drift";
    scored_without_positions: MANIFEST, "cases:\n  shared" => "correctness: {drift: {positions: 0, max_tokens: 2}}\ncases:\n  shared";
    duplicate_concurrency: MANIFEST, "    - {concurrency: 2, requests: 4, prompt_tokens: 128, output_tokens: [184, 256]}\n"
        => "    - {concurrency: 2, requests: 4, prompt_tokens: 128, output_tokens: [184]}\n    - {concurrency: 2, requests: 4, prompt_tokens: 128, output_tokens: [184]}\n";
    too_few_requests: MANIFEST, "requests: 4" => "requests: 1";
    answers_too_long: MANIFEST, "[160, 221, 246, 256]" => "[160, 0, 8192]";
    heads_not_shared: MANIFEST, "tensor_parallel: 1" => "tensor_parallel: 3";
    kv_heads_not_shared: MANIFEST, "    heads: 32" => "    heads: 96", "kv_heads: 8" => "kv_heads: 12", "tensor_parallel: 1" => "tensor_parallel: 8";
    uneven_groups: MANIFEST, "kv_heads: 8" => "kv_heads: 5";
    more_groups_than_layers: MANIFEST, "tensor_parallel: 1" => "tensor_parallel: 1\n  pipeline_parallel: 64";
    beyond_the_positions: MANIFEST, "max_model_len: 8192" => "max_model_len: 65536";
    boot_timeout_without_time: MANIFEST, "boot_timeout: 900 s" => "boot_timeout: 900 GiB";
    boot_timeout_of_zero: MANIFEST, "boot_timeout: 900 s" => "boot_timeout: 0 s";
    phase_timeouts: MANIFEST, "boot_timeout: 900 s" => "boot_timeout: 900 s\n  phase_timeouts: {loading_weights: 20 min, profiling: 2 GiB, kv_cache: 0 s, capturing_graphs: 900 s}";
    unknown_phase: MANIFEST, "boot_timeout: 900 s" => "boot_timeout: 900 s\n  phase_timeouts: {loading_weight: 600 s}";
    version_range: MANIFEST, ">=0.8.5, <0.10" => "0.8.5 or later";
    argument_owned_by_a_key: MANIFEST, "--disable-log-requests" => "--max_model_len=4096";
    base_model_with_a_parser: MANIFEST, "endpoint: chat" => "endpoint: completions\n  tool_parser: mistral";
    image_without_tower: MANIFEST, "modalities: [text]" => "modalities: [image]";
    chat_template_missing: MANIFEST, "endpoint: chat" => "endpoint: chat\n  chat_template: templates/x.jinja";
    unknown_stack: MANIFEST, "stacks: [sim_c500]" => "stacks: [sim_c50]";
    missing_case_file: MANIFEST, "cases/arithmetic.yaml" => "cases/arithmetics.yaml";
    case_not_in_file: MANIFEST, "except: [subtraction]" => "except: [substraction]";
    only_and_except: MANIFEST, "except: [subtraction]" => "except: [subtraction]\n      only: [addition]";
    case_id_twice: MANIFEST, "id: greeting" => "id: addition";
    case_without_judgement: MANIFEST, "        contains: {any: [你好]}\n" => "", "      grade:\n" => "";
    own_case_with_images: MANIFEST, "id: greeting" => "id: greeting\n      images: [a.png]";
    own_case_with_tools: MANIFEST, "id: greeting" => "id: greeting\n      tools: [{name: now, description: time, parameters: {}}]";
    waiver_unknown_trial: MANIFEST, "trial: memory::kv_cache" => "trial: memory::kv_cash";
    waiver_expired: MANIFEST, "2026-12-31" => "2026-07-27";
    waiver_without_a_date: MANIFEST, "2026-12-31" => "next year";
    waiver_beyond_the_calendar: MANIFEST, "2026-12-31" => "2026-02-30";
    waiver_unknown_stack: MANIFEST, "trial: memory::kv_cache" => "trial: memory::kv_cache\n    stack: sim";
    bad_regex: CASES, r"'\b8\b'" => "'(8'";
    regex_that_cannot_fail: CASES, r"'\b8\b'" => "'8*'";
    regex_too_large: CASES, r"'\b8\b'" => r"'(\w+\W+){60}'";
    bad_json_schema: CASES, r"regex: {pattern: '\b8\b'}" => "json: {schema: {type: objekt}}";
    choice_not_offered: CASES, r"regex: {pattern: '\b8\b'}" => "choice: {answer: E, among: ABCD}";
    empty_exact: CASES, r"regex: {pattern: '\b8\b'}" => "exact: {any: [\"\"]}";
    contains_nothing: CASES, r"regex: {pattern: '\b8\b'}" => "contains: {}";
    repetition_without_bound: CASES, r"regex: {pattern: '\b8\b'}" => "no_repetition: {max_share: 1}";
    tool_call_without_tool: CASES, r"regex: {pattern: '\b8\b'}" => "tool_call: {name: now, arguments: {}}";
    image_words_without_image: CASES, r"regex: {pattern: '\b8\b'}" => "image_words: {all: [[cat]]}";
    unknown_grader: CASES, "number: {value: 42}" => "numbers: {value: 42}";
    empty_grade: CASES, "      number: {value: 42}\n" => "      {}\n";
    duplicate_case: CASES, "id: subtraction" => "id: addition";
    bad_case_id: CASES, "id: subtraction" => "id: Sub-traction";
    odd_history: CASES, "golden: true" => "golden: true\n    history: [Hello]";
    missing_image: CASES, "golden: true" => "golden: true\n    images: [none.png, /etc/hosts, arithmetic.yaml]";
    misspelt_golden: CASES, "    golden: true\n    grade:\n      regex: {pattern: '\\b8\\b'}\n" => "    goldn: true\n";
    misspelt_bound: MANIFEST, "min: 36 GiB" => "minn: 36 GiB";
    nothing_left: MANIFEST, "except: [subtraction]" => "except: [subtraction, addition]";
    two_targets: DOCKER, "docker:" => "simulator: {profile: cpu, clock: 1}\ndocker:";
    three_targets: DOCKER, "docker:" => "process: {command: [vllm, serve]}\nendpoint: {url: http://localhost:8000}\ndocker:";
    https_endpoint: SIMULATOR, "simulator: {profile: c500, clock: 20}" => "endpoint: {url: https://example.org/v1}";
    process_without_command: SIMULATOR, "simulator: {profile: c500, clock: 20}" => "process: {command: []}";
    no_target: SIMULATOR, "simulator: {profile: c500, clock: 20}\n" => "";
    other_profile: SIMULATOR, "profile: c500" => "profile: a100_40gb";
    floating_image: DOCKER, "vllm-cpu:0.8.5" => "vllm-cpu:latest";
    image_name: DOCKER, "team/vllm-cpu:0.8.5" => "Team/vllm cpu";
    short_version: DOCKER, "vllm: 0.8.5" => "vllm: 0.8";
    expected_version: DOCKER, "2.6.0+cpu" => "two";
}

#[test]
fn the_good_files_are_good() {
    let folder = Folder::good();
    let checked = folder.check();
    assert_eq!(checked.errors.to_string(), "no errors");
    assert!(checked.warnings.is_empty());
    assert_eq!(checked.files.len(), 4);
    let model = folder.catalogue().model("mistral_7b").unwrap();
    let ids: Vec<_> = model.cases.iter().map(|case| case.case.id.as_str()).collect();
    assert_eq!(ids, ["addition", "greeting"]);
    assert_eq!(model.cases[0].folder, folder.path("models.d/cases"));
    assert_eq!(model.cases[1].file, folder.path(MANIFEST));
    assert_eq!(folder.catalogue().stack("sim_c500").unwrap().stack.vllm, "0.8.5");
}

/// Mistakes of every sort in one file: each has its place, and none hides another.
#[test]
fn ten_mistakes_give_ten_errors() {
    let folder = Folder::good();
    for (old, new) in [
        ("schema: 1", "schema: 1\nschema: 1"),
        ("gated: false", "gated: no way"),
        ("hidden_size", "hiden_size"),
        ("tensor_parallel: 1", "tensor_parallel: 5"),
        ("dtype: bfloat16", "dtype: bf16"),
        ("stacks: [sim_c500]", "stacks: [sim_c5000]"),
        ("      grade:\n        contains: {any: [你好]}\n", ""),
        ("max: 13.6 GiB", "max: 13.6 GB"),
        ("- concurrency: 2\n", "- concurrency: 64\n"),
        ("2026-12-31", "2026-01-31"),
    ] {
        folder.edit(MANIFEST, old, new);
    }
    let errors = folder.catalogue().model("mistral_7b").unwrap_err();
    assert_eq!(errors.len(), 10);
    assert!(errors.iter().all(|error| error.line_and_column().is_some()));
    insta::assert_snapshot!(errors);
}

#[test]
fn unknown_names() {
    let catalogue = Folder::good();
    let catalogue = catalogue.catalogue();
    insta::assert_snapshot!(catalogue.model("mistal_7b").unwrap_err());
    insta::assert_snapshot!(catalogue.stack("a100").unwrap_err());
}

#[test]
fn a_copy_elsewhere_uses_the_shared_cases_of_the_root() {
    let folder = Folder::good();
    let elsewhere = TempDir::new().unwrap();
    let copy = elsewhere.path().join("copy.yaml");
    fs::copy(folder.path(MANIFEST), &copy).unwrap();
    let model = folder.catalogue().model(copy.to_str().unwrap()).unwrap();
    assert_eq!((model.name.as_str(), model.cases.len()), ("copy", 2));
    assert_eq!(
        model.digest,
        folder.catalogue().model("mistral_7b").unwrap().digest
    );
    assert_eq!(folder.catalogue().check(&[copy]).errors.to_string(), "no errors");
}

#[test]
fn the_digest_follows_every_file() {
    let folder = Folder::good();
    let before = folder.catalogue().model("mistral_7b").unwrap().digest;
    folder.edit(CASES, "17 + 25", "18 + 24");
    assert_ne!(folder.catalogue().model("mistral_7b").unwrap().digest, before);
}

#[test]
fn a_waiver_that_ends_soon_is_a_warning() {
    let folder = Folder::good();
    folder.edit(MANIFEST, "2026-12-31", "2026-08-01");
    assert!(folder.check().errors.is_empty());
    insta::assert_snapshot!(folder.catalogue().model("mistral_7b").unwrap().warnings);
}

/// Nine levels of nine aliases are 387 million values when they are expanded.
#[test]
fn alias_bomb() {
    let folder = Folder::good();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.extend([format!("a{level}: &a{level} [{aliases}]\n")]);
    }
    folder.write(MANIFEST, bomb);
    let errors = folder.check().errors;
    assert_eq!(errors.len(), 81);
    assert!(errors.to_string().contains("an alias may not be used here"));
}

#[test]
fn refused_before_it_is_read() {
    let folder = Folder::good();
    let file = fs::File::create(folder.path(MANIFEST)).unwrap();
    file.set_len(50 * 1024 * 1024).unwrap();
    insta::assert_snapshot!(folder.errors());
}

#[test]
fn bytes_that_are_no_text() {
    let folder = Folder::good();
    folder.write(SIMULATOR, b"schema: 1\nabout: \xff\n");
    insta::assert_snapshot!(folder.errors());
}

#[test]
fn deep_nesting() {
    let folder = Folder::good();
    folder.write(SIMULATOR, "[".repeat(200_000));
    insta::assert_snapshot!(folder.errors());
}

#[test]
fn empty_and_commented_files() {
    let folder = Folder::good();
    folder.write(SIMULATOR, "");
    folder.write(DOCKER, "# nothing yet\n");
    insta::assert_snapshot!(folder.errors());
}

#[test]
fn file_names() {
    let folder = Folder::good();
    folder.write("models.d/a b.yaml", fs::read(folder.path(MANIFEST)).unwrap());
    insta::assert_snapshot!(folder.errors());
}

#[test]
fn files_that_would_not_be_read() {
    let folder = Folder::good();
    folder.write("ci/stacks/other.yml", "schema: 1\n");
    insta::assert_snapshot!(folder.errors());
}

#[test]
fn files_of_unknown_kind() {
    let folder = Folder::good();
    folder.write("notes.yaml", "hello: world\n");
    let named = [
        folder.path("notes.yaml"),
        folder.path("absent.yaml"),
        folder.path(SIMULATOR),
    ];
    insta::assert_snapshot!(folder.catalogue().check(&named).errors);
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let folder = Folder::good();
    for file in [MANIFEST, CASES, SIMULATOR, DOCKER] {
        let text = fs::read_to_string(folder.path(file)).unwrap();
        folder.write(file, format!("\u{feff}{}", text.replace('\n', "\r\n")));
    }
    assert_eq!(folder.errors(), "no errors");
    folder.edit(MANIFEST, "tensor_parallel: 1", "tensor_parallel: 3");
    let errors = folder.check().errors;
    assert_eq!(errors.iter().next().unwrap().line_and_column(), Some((23, 20)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is done to a good manifest, reading it ends with a manifest or with errors that can be shown.
    #[test]
    fn edits_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, PIECE), 1..4)) {
        let folder = Folder::good();
        let mut text = fs::read_to_string(folder.path(MANIFEST)).unwrap();
        for (at, len, piece) in edits {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.floor_char_boundary((start + len).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        folder.write(MANIFEST, text);
        match folder.catalogue().model("mistral_7b") {
            Ok(model) => prop_assert!(!model.cases.is_empty()),
            Err(errors) => prop_assert!(errors.render(true).contains("error")),
        }
    }

    #[test]
    fn texts_never_panic(yaml in prop::collection::vec(PIECE, 0..60), any_text in any::<String>()) {
        let folder = Folder::good();
        folder.write(MANIFEST, yaml.concat());
        folder.write(CASES, &any_text);
        folder.write(SIMULATOR, any_text + &yaml.concat());
        prop_assert!(folder.errors().contains("errors in"));
    }
}
