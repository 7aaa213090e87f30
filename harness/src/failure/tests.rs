//! Every rule on its own sample, real failing logs, and logs that must stay unknown.

use std::fs;

use proptest::prelude::*;

use super::{diagnosis::LAST_LINES, *};
use crate::vllm::fixtures;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn classified(text: &str) -> Failure {
    classify(&lines(text), &ExitState::Exited(1))
}

/// A sample as a server prints it: exceptions behind a traceback, in the engine's prefix.
fn printed(rule: &Rule) -> (String, ExitState) {
    match rule.look {
        Look::Exception => {
            let prefix = "(EngineCore_DP0 pid=14) ERROR 11-24 03:34:14 [core.py:843] ";
            let text = format!(
                "INFO 11-24 03:34:03 [api_server.py:1772] vLLM API server version 0.12.0\n\
                 {prefix}EngineCore failed to start.\n{prefix}Traceback (most recent call last):\n\
                 {prefix}  File \"/opt/venv/core.py\", line 834, in run_engine_core\n{prefix}{}\n\
                 Traceback (most recent call last):\n  File \"/opt/venv/api_server.py\", line 1891, in <module>\n\
                 RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}\n",
                rule.sample
            );
            (text, ExitState::Exited(1))
        }
        Look::Line | Look::Symptom => (rule.sample.clone(), ExitState::Exited(1)),
        Look::Silence => (rule.sample.clone(), ExitState::Running),
    }
}

#[test]
fn every_rule_recognizes_its_sample_and_no_rule_before_it_does() {
    for rule in rules() {
        let (text, exit) = printed(rule);
        let failure = classify(&lines(&text), &exit);
        assert_eq!(
            failure.rule.as_deref(),
            Some(rule.id.as_str()),
            "{text}\n{failure:#?}"
        );
        assert_eq!(failure.class, rule.class);
        assert!(!failure.evidence.is_empty(), "{}", rule.id);
    }
}

#[test]
fn the_container_engines_own_words_are_classified() {
    for rule in rules().iter().filter(|rule| rule.versions == "Docker") {
        let failure = classify(&[], &ExitState::NeverStarted(rule.sample.clone()));
        assert_eq!(failure.class, rule.class, "{}", rule.id);
    }
}

#[test]
fn a_failure_is_told_whole() {
    let rule = rules()
        .iter()
        .find(|rule| rule.id == "no_memory_for_kv_cache")
        .unwrap();
    let exit = ExitState::Exited(1);
    insta::assert_json_snapshot!(classify(&lines(&printed(rule).0), &exit).into_record("m@s", &exit));
}

#[test]
fn the_word_error_alone_decides_nothing() {
    let text = "ERROR 11-24 03:34:14 [a.py:1] ERROR\nERROR: an error occurred\nError\n[ERROR] failed: Error";
    let failure = classified(text);
    assert_eq!((failure.class, failure.rule), (FailureClass::Unknown, None));
}

#[test]
fn an_unknown_exception_stays_unknown_with_its_text() {
    let text = "(EngineCore_DP0 pid=1) ERROR 11-24 03:34:14 [core.py:843] EngineCore failed to start.\n\
                (EngineCore_DP0 pid=1) ERROR 11-24 03:34:14 [core.py:843] Traceback (most recent call last):\n\
                (EngineCore_DP0 pid=1) ERROR 11-24 03:34:14 [core.py:843] NewError: never seen\n\
                RuntimeError: Engine core initialization failed. See root cause above.";
    let failure = classified(text);
    assert_eq!(failure.class, FailureClass::Unknown);
    assert_eq!(failure.evidence[0], "NewError: never seen");
    assert!(failure.message.contains("exit code 1"), "{}", failure.message);
}

#[test]
fn a_lost_server_is_judged_by_what_ended_it() {
    let text = "INFO:     Application startup complete.\n\
                ERROR 11-24 03:40:00 [serving.py:1] Traceback (most recent call last):\n\
                ERROR 11-24 03:40:00 [serving.py:1] ValueError: As of transformers v4.44, default chat template is no longer allowed\n\
                INFO:     127.0.0.1:1 - \"POST /v1/chat/completions HTTP/1.1\" 400 Bad Request\n\
                (EngineCore_DP0 pid=1) ERROR 11-24 03:41:00 [core.py:851] EngineCore encountered a fatal error.\n\
                (EngineCore_DP0 pid=1) ERROR 11-24 03:41:00 [core.py:851] Traceback (most recent call last):\n\
                (EngineCore_DP0 pid=1) ERROR 11-24 03:41:00 [core.py:851] NewError: never seen\n";
    let failure = classified(text);
    assert_eq!(failure.class, FailureClass::EngineDied);
    assert!(
        failure.evidence.contains(&"NewError: never seen".to_owned()),
        "{failure:#?}"
    );
    let failure = classified(&text.replace(
        "NewError: never seen",
        "ValueError: logits must be of type float32",
    ));
    assert_eq!(failure.class, FailureClass::StructuredOutputUnsupported);
}

#[test]
fn a_failed_request_is_not_an_engine_that_died() {
    let refused = "INFO:     Application startup complete.\n\
                   ERROR 11-24 03:40:00 [serving.py:1] Traceback (most recent call last):\n\
                   ERROR 11-24 03:40:00 [serving.py:1] ValueError: no such thing\n\
                   INFO:     127.0.0.1:1 - \"POST /v1/completions HTTP/1.1\" 500 Internal Server Error\n";
    assert!(!engine_died(&lines(refused)));
    let died = format!("{refused}ERROR 11-24 03:41:00 [core.py:851] EngineCore encountered a fatal error.\n");
    assert!(engine_died(&lines(&died)));
}

/// As vLLM 0.12.0 prints it when the folder for temporary files is full: a helper's own traceback, quoted, then the
/// failure that follows from it.
#[test]
fn the_first_known_cause_wins_over_what_follows_from_it() {
    let head = "(APIServer pid=1) ERROR 11-24 10:16:47 [registry.py:735]";
    let text = format!(
        "{head} Error in inspecting model architecture 'Qwen3ForCausalLM'\n{head} Traceback (most recent call last):\n\
         {head} RuntimeError: Error raised in subprocess:\n{head} Traceback (most recent call last):\n\
         {head} OSError: [Errno 28] No space left on device\n\
         (APIServer pid=1) Traceback (most recent call last):\n\
         (APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n\
         (APIServer pid=1)   Value error, Model architectures ['Qwen3ForCausalLM'] failed to be inspected. Please check \
         the logs for more details. [type=value_error, input_value=ArgsKwargs((), {{}}), input_type=ArgsKwargs]\n"
    );
    let failure = classified(&text);
    assert_eq!(failure.class, FailureClass::DiskFull);
    assert_eq!(failure.evidence, ["OSError: [Errno 28] No space left on device"]);
    let other = classified(&text.replace("[Errno 28] No space left on device", "never seen"));
    assert_eq!(other.class, FailureClass::UnsupportedArchitecture);
    assert!(
        other.evidence[1].ends_with("Please check the logs for more details."),
        "{other:#?}"
    );
}

#[test]
fn only_the_last_start_of_a_log_counts() {
    let text = "INFO 11-24 03:34:03 [a.py:1] vLLM API server version 0.12.0\n\
                ValueError: No available memory for the cache blocks.\n\
                INFO 11-24 03:35:03 [a.py:1] vLLM API server version 0.12.0\nMemoryError: never seen\n";
    assert_eq!(classified(text).class, FailureClass::Unknown);
}

#[test]
fn the_way_of_ending_speaks_where_the_log_is_silent() {
    let cases = [
        (ExitState::OomKilled, FailureClass::KilledByMemoryLimit),
        (ExitState::Exited(137), FailureClass::Killed),
        (ExitState::Signalled(11), FailureClass::Crashed),
        (ExitState::Exited(143), FailureClass::StoppedFromOutside),
        (ExitState::Running, FailureClass::BootTimeout),
        (ExitState::Exited(0), FailureClass::Unknown),
        (ExitState::Gone, FailureClass::Unknown),
        (ExitState::NeverStarted("boom".into()), FailureClass::Unknown),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(exit, class)| {
            let failure = classify(
                &lines("INFO 11-24 03:34:03 [a.py:1] Starting to load model /m..."),
                exit,
            );
            assert_eq!(failure.class, *class, "{exit}");
            format!("{}: {}; {}", failure.class, failure.message, failure.advice)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_ulimit_warning_of_every_log_is_no_failure() {
    let text = "WARNING 11-24 03:24:58 [system_utils.py:258] Found ulimit of 20000. This can cause fd limit errors like \
                `OSError: [Errno 24] Too many open files`. Consider increasing with ulimit -n";
    assert_eq!(classified(text).class, FailureClass::Unknown);
}

#[test]
fn real_failing_logs_are_classified() {
    let Some(folder) = fixtures::shared("vllm-cpu") else {
        return;
    };
    let cases = [
        (
            "0.12.0-mla-unsupported.log",
            FailureClass::UnsupportedAttention,
            "NotImplementedError: MLA is not supported on CPU.",
        ),
        (
            "0.32.0-unsupported-architecture.log",
            FailureClass::UnsupportedArchitecture,
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        ),
        (
            "0.8.5/failed-startup-glibcxx.log",
            FailureClass::KernelsMissing,
            "AttributeError: '_OpNamespace' '_C_utils' object has no attribute 'init_cpu_threads_env'",
        ),
    ];
    for (name, class, evidence) in cases {
        let failure = classified(&fs::read_to_string(folder.join(name)).unwrap());
        assert_eq!(
            (failure.class, failure.evidence[0].as_str()),
            (class, evidence),
            "{name}: {failure:#?}"
        );
    }
}

#[test]
fn real_logs_of_servers_that_served_hold_no_known_failure() {
    for (folder, name) in [
        ("vllm-cpu", "0.8.5/startup.log"),
        ("vllm-cpu", "0.12.0/startup.log"),
        ("vllm-c500", "0.17.0-qwen3-0.6b-slice.log"),
    ] {
        let Some(folder) = fixtures::shared(folder) else {
            return;
        };
        let failure = classified(&fs::read_to_string(folder.join(name)).unwrap());
        assert_eq!(failure.class, FailureClass::Unknown, "{name}: {failure:#?}");
    }
}

proptest! {
    #[test]
    fn no_log_makes_it_panic(text in "(\\PC{0,20}|ERROR 11-24 03:34:14 \\[a:1\\] |Traceback \\(most recent call last\\):|[A-Z][a-z]Error: \\PC{0,9}|Application startup complete|died unexpectedly|\n){0,20}", code in any::<i32>()) {
        let failure = classify(&lines(&text), &ExitState::Exited(code));
        prop_assert!(failure.last_lines.len() <= LAST_LINES);
    }
}
