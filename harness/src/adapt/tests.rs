//! The search against servers that are played by functions: what it tries, that it ends, and what it tells.

use std::{cell::RefCell, collections::BTreeSet, path::Path, sync::Arc};

use proptest::prelude::*;
use semver::Version;

use super::{
    AdaptReport, Attempt, AttemptEnd, Conclusion, Ended, Limits, Next, Search, json, markdown, terminal,
};
use crate::{
    manifest::{Catalogue, LoadedModel, LoadedStack, Manifest},
    record::BootFailed,
    report::Style,
};

/// A failure that a played server ends with: class, phase, evidence.
type Fails = Option<(&'static str, Option<&'static str>, String)>;

fn fails(class: &'static str, phase: &'static str) -> Fails {
    let evidence = (!class.is_empty()).then(|| format!("it said {class}"));
    evidence.map(|evidence| (class, Some(phase), evidence))
}

fn catalogue() -> Catalogue {
    Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
}

fn base(catalogue: &Catalogue, model: &str) -> (Arc<LoadedModel>, String) {
    let model = catalogue.model(model).unwrap();
    let text = std::fs::read_to_string(&model.path).unwrap();
    (Arc::new(model), text)
}

fn stack(catalogue: &Catalogue, vllm: &str) -> Arc<LoadedStack> {
    let mut stack = catalogue.stack("simulator_c500").unwrap();
    vllm.clone_into(&mut stack.stack.vllm);
    Arc::new(stack)
}

fn ended(model: &LoadedModel, server: &dyn Fn(&Manifest) -> Fails) -> Ended {
    match server(&model.manifest) {
        None => Ended::Works {
            boot_s: 61.0,
            answer: "Paris".to_owned(),
        },
        Some((class, phase, evidence)) => Ended::Failed {
            failure: BootFailed {
                session: "m@s".to_owned(),
                class: class.to_owned(),
                message: format!("the server failed by {class}"),
                evidence: vec![evidence],
                advice: "see the message".to_owned(),
                exit: Some("exit code 1".to_owned()),
                last_lines: Vec::new(),
            },
            phase: phase.map(str::to_owned),
        },
    }
}

struct Run {
    conclusion: Conclusion,
    attempts: Vec<Attempt>,
    report: AdaptReport,
    after: LoadedModel,
    before: String,
    text: String,
}

fn run(model: &str, vllm: &str, attempts: usize, server: &dyn Fn(&Manifest) -> Fails) -> Run {
    let catalogue = catalogue();
    let (base, before) = base(&catalogue, model);
    let stack = stack(&catalogue, vllm);
    let limits = Limits {
        attempts,
        most_cards: 8,
    };
    let mut search = Search::new(&catalogue, Arc::clone(&base), &before, Arc::clone(&stack), limits);
    let booted = RefCell::new(BTreeSet::new());
    let conclusion = loop {
        match search.step() {
            Next::Done(conclusion) => break conclusion,
            Next::Boot(candidate) => {
                let manifest = &candidate.model.manifest;
                let settings = (&manifest.serve, &manifest.model);
                let settings = serde_json::to_string(&settings).unwrap();
                assert!(
                    booted.borrow_mut().insert(settings),
                    "the same settings twice: {}",
                    candidate.tried
                );
                search.tell(ended(&candidate.model, server));
            }
        }
    };
    assert!(search.attempts().len() <= attempts);
    let text = search.text().unwrap();
    let after = catalogue.model_as(&base.path, &text).unwrap();
    let manifest = format!("models.d/{model}.yaml");
    let report = AdaptReport::of(
        &search,
        ("20261124T054918Z-00a9", &manifest),
        (&base, &before),
        &stack,
        (conclusion, 0),
    );
    Run {
        conclusion,
        attempts: search.attempts().to_vec(),
        report,
        after,
        before,
        text,
    }
}

fn tried(run: &Run) -> Vec<&str> {
    run.attempts
        .iter()
        .map(|attempt| attempt.tried.as_str())
        .collect()
}

#[test]
fn what_boots_is_left_as_it_is() {
    let run = run("mistral_7b_v0_1", "0.8.5", 8, &|_| None);
    assert_eq!(run.conclusion, Conclusion::Works);
    assert_eq!(tried(&run), ["the manifest as it is"]);
    assert_eq!(run.report.diff, "");
    assert_eq!(run.text, run.before);
}

#[test]
fn failures_are_met_one_after_another_and_each_change_is_kept() {
    let run = run("mistral_7b_v0_1", "0.8.5", 8, &|manifest| {
        if !manifest.serve.trust_remote_code {
            return fails("remote_code_refused", "starting");
        }
        if manifest.serve.tensor_parallel < 2 {
            return fails("out_of_memory", "loading weights");
        }
        let eager = manifest
            .serve
            .args
            .iter()
            .any(|args| args.add == ["--enforce-eager"]);
        if eager {
            None
        } else {
            fails("kernel_fault", "capturing graphs")
        }
    });
    assert_eq!(run.conclusion, Conclusion::Works);
    assert_eq!(run.after.manifest.serve.tensor_parallel, 2);
    assert!(
        run.report.kept.iter().all(|kept| kept.proven),
        "{:?}",
        run.report.kept
    );
    let mut parts = vec![markdown(&run.report)];
    let style = Style {
        colour: false,
        width: 100,
    };
    parts.push(terminal(&run.report, style));
    insta::assert_snapshot!(parts.join("\n=====\n"));
    let back: AdaptReport = serde_json::from_str(&json(&run.report).unwrap()).unwrap();
    assert_eq!(back, run.report);
}

#[test]
fn each_remedy_is_tried_once_before_any_is_taken_further() {
    let run = run("mistral_7b_v0_1", "0.12.0", 8, &|_| {
        fails("out_of_memory", "capturing graphs")
    });
    assert_eq!(run.conclusion, Conclusion::AttemptsUsed);
    insta::assert_snapshot!(tried(&run).join("\n"), @r"
    the manifest as it is
    gpu_memory_utilization 0.9 → 0.8
    argument --enforce-eager on vLLM 0.12.0
    max_num_seqs of vLLM's choice → 64
    tensor_parallel 1 → 2
    max_model_len 8192 → 4096
    gpu_memory_utilization 0.8 → 0.7
    max_num_seqs 64 → 16
    ");
    assert_eq!(run.report.diff, "", "what does not work is not proposed");
}

#[test]
fn what_turns_out_not_to_be_needed_is_taken_out_again() {
    let run = run("mistral_7b_v0_1", "0.12.0", 12, &|manifest| {
        (manifest.serve.max_num_seqs.is_none()).then(|| ("out_of_memory", Some("KV cache"), String::new()))
    });
    assert_eq!(run.conclusion, Conclusion::Works);
    assert_eq!(run.report.kept.len(), 1, "{:?}", run.report.kept);
    assert_eq!(run.report.unneeded.len(), 2);
    assert_eq!(run.after.manifest.serve.max_num_seqs, Some(64));
    assert_eq!(
        run.after.manifest.serve.gpu_memory_utilization.to_bits(),
        0.9_f64.to_bits()
    );
}

#[test]
fn of_two_that_are_needed_together_both_are_kept() {
    let run = run("mistral_7b_v0_1", "0.12.0", 12, &|manifest| {
        let fits = manifest.serve.max_num_seqs.is_some() && manifest.serve.gpu_memory_utilization < 0.85;
        if fits {
            None
        } else {
            fails("out_of_memory", "KV cache")
        }
    });
    assert_eq!(run.conclusion, Conclusion::Works);
    let kept: Vec<&str> = run.report.kept.iter().map(|kept| kept.change.as_str()).collect();
    assert_eq!(
        kept,
        [
            "gpu_memory_utilization 0.9 → 0.8",
            "max_num_seqs of vLLM's choice → 64"
        ]
    );
    assert!(run.report.kept.iter().all(|kept| kept.proven));
    assert_eq!(run.report.unneeded.len(), 1, "{:?}", run.report.unneeded);
}

#[test]
fn an_unknown_failure_ends_the_search_with_what_is_known() {
    for (class, conclusion) in [
        ("unknown", Conclusion::Unknown),
        ("cannot_generate", Conclusion::Unknown),
        ("corrupt_weights", Conclusion::NoRemedy),
        ("arguments", Conclusion::NoRemedy),
    ] {
        let run = run("mistral_7b_v0_1", "0.8.5", 8, &|_| {
            Some((class, None, "odd".to_owned()))
        });
        assert_eq!((run.conclusion, run.attempts.len()), (conclusion, 1), "{class}");
        assert!(!run.report.next.is_empty(), "{class}");
    }
}

#[test]
fn a_remedy_at_its_end_is_told() {
    let run = run("qwen3_32b", "0.8.5", 8, &|_| {
        fails("remote_code_refused", "starting")
    });
    assert_eq!(run.conclusion, Conclusion::Exhausted);
    assert_eq!(
        tried(&run),
        ["the manifest as it is", "trust_remote_code false → true"]
    );
    insta::assert_snapshot!(markdown(&run.report));
}

#[test]
fn the_servers_own_figures_are_taken() {
    let length = run("mistral_7b_v0_1", "0.12.0", 8, &|manifest| {
        let said = "Based on the available memory, the estimated maximum model length is 5120.";
        (manifest.serve.max_model_len > 5120)
            .then(|| ("context_exceeds_kv_cache", Some("KV cache"), said.to_owned()))
    });
    assert_eq!(tried(&length)[1], "max_model_len 8192 → 5120");
    let share = run("mistral_7b_v0_1", "0.12.0", 8, &|manifest| {
        let said =
            "Free memory on device (41.2/63.59 GiB) on startup is less than desired GPU memory utilization";
        (manifest.serve.gpu_memory_utilization > 0.64).then(|| ("card_memory_taken", None, said.to_owned()))
    });
    assert_eq!(tried(&share)[1], "gpu_memory_utilization 0.9 → 0.63");
    assert_eq!(
        (length.conclusion, share.conclusion),
        (Conclusion::Works, Conclusion::Works)
    );
}

#[test]
fn backends_are_asked_for_in_the_words_of_the_version() {
    let asked = |vllm: &str| {
        let run = run("mistral_7b_v0_1", vllm, 3, &|_| {
            fails("unsupported_attention", "starting")
        });
        tried(&run)[1..].join(", ")
    };
    assert_eq!(
        asked("0.8.5"),
        "variable VLLM_ATTENTION_BACKEND=XFORMERS on vLLM 0.8.5, variable VLLM_ATTENTION_BACKEND=TRITON_ATTN_VLLM_V1 on \
         vLLM 0.8.5"
    );
    assert_eq!(
        asked("0.13.0"),
        "argument --attention-backend TRITON_ATTN on vLLM 0.13.0, argument --attention-backend FLASH_ATTN on vLLM 0.13.0"
    );
}

#[test]
fn a_template_of_the_family_is_named_before_the_endpoint_changes() {
    let catalogue = catalogue();
    let (base, text) = base(&catalogue, "baichuan2_13b_chat");
    let text = text.replace("  chat_template: templates/baichuan2.jinja\n", "");
    let base = Arc::new(catalogue.model_as(&base.path, &text).unwrap());
    let stack = stack(&catalogue, "0.8.5");
    let limits = Limits {
        attempts: 4,
        most_cards: 8,
    };
    let mut search = Search::new(&catalogue, base, &text, stack, limits);
    let server = |manifest: &Manifest| match manifest.model.chat_template {
        Some(_) => None,
        None => fails("no_chat_template", "serving"),
    };
    while let Next::Boot(candidate) = search.step() {
        search.tell(ended(&candidate.model, &server));
    }
    assert_eq!(search.attempts().len(), 2);
    assert!(
        search
            .text()
            .unwrap()
            .contains("\n  chat_template: templates/baichuan2.jinja\n")
    );
}

#[test]
fn a_stop_ends_the_search() {
    let catalogue = catalogue();
    let (base, text) = base(&catalogue, "mistral_7b_v0_1");
    let limits = Limits {
        attempts: 4,
        most_cards: 8,
    };
    let mut search = Search::new(&catalogue, base, &text, stack(&catalogue, "0.8.5"), limits);
    assert!(matches!(search.step(), Next::Boot(_)));
    search.tell(Ended::Interrupted);
    assert!(matches!(search.step(), Next::Done(Conclusion::Interrupted)));
    assert!(matches!(search.attempts()[0].end, AttemptEnd::Interrupted));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a server says, the search ends within its attempts, tries nothing twice (asserted by `run`) and gives a
    /// manifest that the version takes.
    #[test]
    fn it_ends_whatever_happens(seed in any::<u64>(), attempts in 1_usize..14, model in 0_usize..3) {
        const CLASSES: [(&str, &str); 9] = [
            ("out_of_memory", "loading weights"),
            ("out_of_memory", "profiling"),
            ("out_of_memory", "KV cache"),
            ("context_exceeds_kv_cache", "KV cache"),
            ("no_memory_for_kv_cache", "profiling"),
            ("unsupported_attention", "starting"),
            ("unsupported_dtype", "starting"),
            ("boot_timeout", "loading weights"),
            ("no_chat_template", "serving"),
        ];
        let model = ["mistral_7b_v0_1", "qwen3_32b", "deepseek_v2_236b"][model];
        let run = run(model, "0.12.0", attempts, &|manifest| {
            let text = serde_json::to_string(&manifest.serve).unwrap();
            let hash = text.bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
            let (class, phase) = CLASSES[usize::try_from(hash % 9).unwrap()];
            if hash % 11 == 0 { None } else { fails(class, phase) }
        });
        prop_assert!(run.conclusion != Conclusion::Interrupted);
        prop_assert_eq!(run.conclusion == Conclusion::Works, run.attempts.iter().any(|attempt| matches!(attempt.end, AttemptEnd::Works { .. })));
        let version = Version::new(0, 12, 0);
        for addition in &run.after.manifest.serve.args {
            prop_assert!(crate::vllm::translate(&addition.add, &version).is_ok());
        }
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        prop_assert_eq!(comments(&run.text), comments(&run.before));
    }
}
