//! Servers that break off, err, or speak oddly: counted by class, never a panic, never a silent retry.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serde_json::Value;

use super::{condition, harness, load, path, report, turn};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const TOKEN: &str = r#"data: {"choices":[{"index":0,"text":" a","finish_reason":null}]}"#;
const LAST: &str = r#"data: {"choices":[{"index":0,"text":" b","finish_reason":"length"}]}"#;
const USAGE: &str =
    r#"data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}"#;
const DONE: &str = "data: [DONE]";

/// Answers every completion with the same pieces, one write each, and closes; knows nothing else.
struct Server {
    url: String,
    completions: Arc<AtomicU64>,
}

impl Server {
    fn start(pieces: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let completions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&completions);
        // It ends with the process of the tests.
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (pieces, counted) = (pieces.clone(), Arc::clone(&counted));
                thread::spawn(move || answer(socket, &pieces, &counted));
            }
        });
        Self { url, completions }
    }
}

fn answer(mut socket: TcpStream, pieces: &[Vec<u8>], completions: &AtomicU64) {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match socket.read(&mut piece) {
            Ok(count) if count > 0 => request.extend_from_slice(&piece[..count]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            break;
        }
    }
    if !request.starts_with(b"POST /v1/completions ") {
        drop(socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        return;
    }
    completions.fetch_add(1, Ordering::SeqCst);
    for piece in pieces {
        if socket.write_all(piece).is_err() {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn stream(events: &[&str], end: &str) -> Vec<Vec<u8>> {
    let mut pieces = vec![HEAD.as_bytes().to_vec()];
    pieces.extend(events.iter().map(|event| format!("{event}{end}").into_bytes()));
    pieces
}

/// Two requests, one after the other, with prompts from a file.
fn asked(url: &str) -> Command {
    let mut command = load(
        url,
        &[
            "--model",
            "m",
            "--shape",
            "single",
            "-n",
            "2",
            "--plain",
            "--output-len",
            "2",
        ],
    );
    command
        .arg("--prompts")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/prompts.txt"));
    command
}

fn failures(report: &Value) -> Vec<(String, u64)> {
    let failures = report["phases"][0]["figures"]["failures"].as_object().unwrap();
    failures
        .iter()
        .map(|(class, found)| (class.clone(), found["count"].as_u64().unwrap()))
        .collect()
}

#[test]
fn failures_are_counted_by_class_and_never_repeated() {
    let _turn = turn();
    let invalid = [
        HEAD.as_bytes(),
        b"data: {\"choices\":[{\"index\":0,\"text\":\"\xff\"}]}\n\n",
    ]
    .concat();
    let error = br#"HTTP/1.1 503 Unavailable
content-length: 58
connection: close

{"error":{"message":"overloaded","type":"x","code":503}}  "#;
    let cases: [(&str, Vec<Vec<u8>>); 7] = [
        (
            "http",
            vec![String::from_utf8_lossy(error).replace('\n', "\r\n").into_bytes()],
        ),
        ("cut", stream(&[TOKEN, TOKEN], "\n\n")),
        ("empty", stream(&[USAGE, DONE], "\n\n")),
        ("unanswered", vec![]),
        ("bad_event", stream(&["data: {nonsense}"], "\n\n")),
        ("invalid_utf8", vec![invalid]),
        ("bad_http", vec![b"SMTP ready\r\n\r\n".to_vec()]),
    ];
    for (class, pieces) in cases {
        let server = Server::start(pieces);
        let (report, code) = report(&mut asked(&server.url));
        assert_eq!(failures(&report), [(class.to_owned(), 2)], "{report:#}");
        assert_eq!((code, &report["verdict"]), (Some(1), &"failed".into()), "{class}");
        assert_eq!(
            server.completions.load(Ordering::SeqCst),
            2,
            "{class}: asked again in silence"
        );
        // What failed is in no figure.
        assert_eq!(report["phases"][0]["figures"]["ttft"], Value::Null, "{class}");
    }
}

#[test]
fn odd_streams_are_read() {
    let _turn = turn();
    let long = format!(
        r#"data: {{"choices":[{{"index":0,"text":"{}","finish_reason":null}}]}}"#,
        "x".repeat(1 << 20)
    );
    let wide = format!("{}\n\n", TOKEN.replace(" a", "平"));
    let middle = wide.find('平').unwrap() + 1;
    let mut split = vec![HEAD.as_bytes().to_vec()];
    split.extend([
        wide.as_bytes()[..middle].to_vec(),
        wide.as_bytes()[middle..].to_vec(),
    ]);
    split.extend(stream(&[LAST, USAGE, DONE], "\n\n").into_iter().skip(1));
    let cases = [
        (
            "lines that end with CR LF",
            stream(&[TOKEN, LAST, USAGE, DONE], "\r\n\r\n"),
            2,
        ),
        (
            "comments",
            stream(&[": ping", TOKEN, ": ping", LAST, USAGE, DONE], "\n\n"),
            2,
        ),
        ("several tokens a chunk", stream(&[LAST, USAGE, DONE], "\n\n"), 1),
        (
            "an event of a megabyte",
            stream(&[&long, LAST, USAGE, DONE], "\n\n"),
            2,
        ),
        ("a character in two pieces", split, 2),
    ];
    for (name, pieces, chunks) in cases {
        let server = Server::start(pieces);
        let (report, _) = report(&mut asked(&server.url));
        let figures = &report["phases"][0]["figures"];
        assert_eq!(
            (&figures["succeeded"], &figures["output_tokens"]),
            (&2.into(), &4.into()),
            "{name}: {report:#}"
        );
        assert_eq!(
            figures["tokens_per_chunk"].as_f64().unwrap(),
            2.0 / f64::from(chunks),
            "{name}"
        );
        assert_eq!(condition(&report, "usage"), "held", "{name}");
    }
}

#[test]
fn answers_without_usage_make_the_run_invalid() {
    let _turn = turn();
    let server = Server::start(stream(&[TOKEN, LAST, DONE], "\n\n"));
    let (report, code) = report(&mut asked(&server.url));
    assert_eq!(report["phases"][0]["figures"]["uncounted"], 2);
    assert_eq!(condition(&report, "usage"), "broken");
    assert_eq!((code, &report["verdict"]), (Some(1), &"invalid".into()));
}

#[test]
fn a_host_that_listens_nowhere_is_told() {
    let _turn = turn();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (report, code) = report(&mut asked(&format!("http://{free}")));
    assert_eq!(failures(&report), [("refused".to_owned(), 2)]);
    assert_eq!(code, Some(1));
}

#[test]
fn a_process_without_descriptors_says_so() {
    let _turn = turn();
    let server = Server::start(stream(&[TOKEN, LAST, USAGE, DONE], "\n\n"));
    let asked = asked(&server.url);
    let words = asked.get_args().map(|word| word.to_str().unwrap().to_owned());
    let words: Vec<String> = words
        .map(|word| match word.as_str() {
            "single" => "concurrency:n=64".to_owned(),
            "2" => "64".to_owned(),
            _ => word,
        })
        .collect();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 32; exec \"$0\" \"$@\""])
        .arg(path(harness("load").get_program().as_ref()))
        .args(words);
    let (report, code) = report(&mut limited);
    let failures = failures(&report);
    assert!(
        failures
            .iter()
            .any(|(class, count)| class == "no_descriptor" && *count > 0),
        "{failures:?}"
    );
    assert_eq!((code, &report["verdict"]), (Some(1), &"failed".into()));
}
