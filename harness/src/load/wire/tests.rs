//! The path against a server of a few lines, which answers what a script says: good answers in bad shape, and every way
//! in which a server fails. Nothing here is judged by how long it took.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use proptest::prelude::*;
use serde_json::json;

use super::{exchange::Exchange, http::Decoder, *};
use crate::{
    load::{Drawn, FailureClass, Joint, Lengths, Pace, PromptBody, Requests, Spec, Trace, Vocabulary},
    vllm::Usage,
};

/// What the server does once a request has come.
#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    WaitMs(u64),
    /// Closes after this, so that the peer sees a reset.
    Reset,
    /// Closes after this.
    Close,
}

use Step::{Close, Reset, Send, WaitMs};

/// A server, and what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers the requests of each connection by the scripts, one after another.
    fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            let mut number = 0;
            while let Ok((socket, _)) = listener.accept() {
                let (scripts, log) = (scripts.clone(), Arc::clone(&log));
                let first = number;
                number += 1;
                thread::spawn(move || converse(socket, &scripts, first, &log));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn converse(mut socket: TcpStream, scripts: &[Vec<Step>], first: usize, log: &Mutex<Vec<String>>) {
    for script in scripts.iter().cycle().skip(first) {
        let Some(request) = read_request(&mut socket) else {
            return;
        };
        log.lock().unwrap().push(request);
        for step in script {
            match step {
                Send(bytes) if socket.write_all(bytes).is_err() => return,
                Send(_) => {}
                WaitMs(time_ms) => thread::sleep(Duration::from_millis(*time_ms)),
                Close => return,
                Reset => {
                    let linger = nix::libc::linger {
                        l_onoff: 1,
                        l_linger: 0,
                    };
                    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Linger, &linger)
                        .unwrap();
                    return;
                }
            }
        }
    }
}

fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = vec![0; 65536];
        let count = socket.read(&mut piece).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text.into_owned());
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const TOKEN: &str = r#"data: {"choices":[{"index":0,"text":" a","finish_reason":null}]}"#;
const LAST: &str = r#"data: {"choices":[{"index":0,"text":" b","finish_reason":"length"}]}"#;
const USAGE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// An answer of these events, each followed by an empty line.
fn answer(events: &[&str]) -> Vec<u8> {
    let events: String = events
        .iter()
        .map(|event| chunk(&format!("{event}\n\n")))
        .collect();
    format!("{HEAD}{events}0\r\n\r\n").into_bytes()
}

fn good() -> Vec<u8> {
    answer(&[TOKEN, LAST, USAGE, "data: [DONE]"])
}

fn target(address: SocketAddr) -> Target {
    let body = json!({ "max_tokens": tokens_hole(), "prompt": TEXT_HOLE });
    Target {
        address,
        template: Template::new("h", "/v1/completions", &[], &body).unwrap(),
        keep: Keep::Nothing,
        limits: Limits {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(5),
        },
        lull: Duration::from_micros(500),
        kernel_clock: true,
    }
}

fn specs(count: usize) -> Requests {
    let spec = |index| Spec {
        prompt: PromptBody::Text(format!("p{index}")),
        prompt_tokens: Some(3),
        output_tokens: 2,
        turn: None,
    };
    Requests::listed((0..count).map(spec).collect())
}

fn closed(requests: Requests, in_flight: u32) -> Phase {
    Phase {
        requests,
        pace: Pace::Closed {
            in_flight,
            ramp: Duration::ZERO,
        },
        duration: None,
        think: Duration::ZERO,
    }
}

fn put(target: &Target, phase: &Phase) -> PhaseRun {
    run(target, phase, 1, &mut Pool::default(), &Watch::new(1)).unwrap()
}

fn class(trace: &Trace) -> Option<FailureClass> {
    trace.failure.as_ref().map(|failure| failure.class)
}

#[test]
#[expect(clippy::too_many_lines, reason = "rows of a table")]
fn answers_in_any_shape_are_read() {
    let crlf = format!("{USAGE}\r\n\r\n");
    let split = r#"data: {"choices":[{"text":" é漢","finish_reason":null}]}"#;
    let (before, after) = split.as_bytes().split_at(split.find('漢').unwrap() + 1);
    let long = format!(
        "data: {{\"choices\":[{{\"text\":\"{}\",\"finish_reason\":\"stop\"}}]}}",
        "é".repeat(1 << 19)
    );
    let plain = "HTTP/1.0 200 OK\r\n\r\n";
    let server = Server::start(vec![
        vec![Send(good())],
        // Keep-alive comments, other fields, carriage returns, tokens of two events in one chunk, a pause in between.
        vec![
            Send(format!("{HEAD}{}", chunk(": keep-alive\n\nevent: x\n")).into_bytes()),
            WaitMs(20),
            Send(
                chunk(&format!(
                    "{TOKEN}\r\n\r\n{LAST}\r\n\r\n{crlf}data: [DONE]\r\n\r\n"
                ))
                .into_bytes(),
            ),
            Send(b"0\r\nx: y\r\n\r\n".to_vec()),
        ],
        // A character cut in two, without length, so that the end of the connection ends the answer.
        vec![
            Send([plain.as_bytes(), TOKEN.as_bytes(), b"\n\n", before].concat()),
            WaitMs(20),
            Send(
                [
                    after,
                    b"\n\n",
                    LAST.as_bytes(),
                    b"\n\n",
                    USAGE.as_bytes(),
                    b"\n\ndata: [DONE]\n\n",
                ]
                .concat(),
            ),
            Close,
        ],
        // An event of a megabyte.
        vec![Send(answer(&[TOKEN, &long, USAGE, "data: [DONE]"]))],
    ]);
    let run = put(&target(server.address), &closed(specs(4), 1));
    let usage = Some(Usage {
        prompt_tokens: 3,
        completion_tokens: 2,
    });
    let read: Vec<_> = run
        .traces
        .iter()
        .map(|trace| (class(trace), trace.arrivals.count(), trace.usage, trace.stamped))
        .collect();
    assert_eq!(
        read,
        [
            (None, 2, usage, true),
            (None, 2, usage, true),
            (None, 3, usage, true),
            (None, 2, usage, true),
        ]
    );
    for trace in &run.traces {
        assert!(trace.scheduled_ns <= trace.sent_ns && trace.sent_ns <= trace.arrivals.first_ns().unwrap());
        assert!(run.start_ns <= trace.scheduled_ns);
    }
    // The third answer's connection could not be used again.
    assert_eq!((run.client.connects_ns.len(), run.client.late_connects), (2, 1));
    let asked = server.asked();
    assert!(
        asked[2].ends_with(r#"{"max_tokens":2,"prompt":"p2"}"#),
        "{}",
        asked[2]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "rows of a table")]
fn every_failure_has_its_class_and_is_not_repeated() {
    let text = |text: &str| vec![Send(text.as_bytes().to_vec()), Close];
    let status = |line: &str, body: &str| {
        text(&format!(
            "HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let cases = [
        (vec![Close], FailureClass::Unanswered),
        (vec![Reset], FailureClass::Unanswered),
        (
            text(&format!("{HEAD}{}", chunk(&format!("{TOKEN}\n\n")))),
            FailureClass::Cut,
        ),
        (
            vec![
                Send(format!("{HEAD}{}", chunk(&format!("{TOKEN}\n\n"))).into_bytes()),
                WaitMs(20),
                Reset,
            ],
            FailureClass::Cut,
        ),
        (vec![Send(answer(&[TOKEN, LAST]))], FailureClass::Cut),
        (vec![Send(answer(&[]))], FailureClass::Cut),
        (vec![Send(answer(&["data: [DONE]"]))], FailureClass::Empty),
        (
            vec![Send(answer(&[TOKEN, "data: [DONE]"]))],
            FailureClass::BadEvent,
        ),
        (
            vec![Send(answer(&["data: {\"choices\":[", "data: [DONE]"]))],
            FailureClass::BadEvent,
        ),
        (
            status("429 Too Many Requests", "{\"error\":{\"message\":\"slow down\"}}"),
            FailureClass::Http,
        ),
        (status("500 Internal Server Error", ""), FailureClass::Http),
        (
            vec![Send(answer(&[
                "data: {\"error\":{\"message\":\"boom\",\"code\":500}}",
                "data: [DONE]",
            ]))],
            FailureClass::Server,
        ),
        (
            status("200 OK", "{\"object\":\"error\",\"message\":\"no\",\"code\":400}"),
            FailureClass::Server,
        ),
        (
            status("200 OK", "{\"choices\":[{\"text\":\"whole\"}]}"),
            FailureClass::BadEvent,
        ),
        (text("220 smtp.example ready\r\n"), FailureClass::BadHttp),
        (text(&format!("{HEAD}xyz\r\n")), FailureClass::BadHttp),
        (
            vec![Send([HEAD.as_bytes(), b"a\r\ndata: \xff\n\n\r\n"].concat())],
            FailureClass::InvalidUtf8,
        ),
    ];
    for (script, expected) in cases {
        let server = Server::start(vec![script.clone(), vec![Send(good())]]);
        let run = put(&target(server.address), &closed(specs(1), 1));
        assert_eq!(
            class(&run.traces[0]),
            Some(expected),
            "{script:?}: {:?}",
            run.traces[0].failure
        );
        assert_eq!(server.asked().len(), 1, "{script:?} was asked again");
    }
}

#[test]
fn a_failure_leaves_the_next_request_alone() {
    let cut = format!("{HEAD}{}", chunk(&format!("{TOKEN}\n\n"))).into_bytes();
    let server = Server::start(vec![vec![Send(cut), Close], vec![Send(good())]]);
    let run = put(&target(server.address), &closed(specs(2), 1));
    let classes: Vec<_> = run.traces.iter().map(class).collect();
    assert_eq!(classes, [Some(FailureClass::Cut), None]);
}

#[test]
fn nobody_listening_is_told_for_every_request() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = put(&target(address), &closed(specs(3), 3));
    let classes: Vec<_> = run.traces.iter().map(class).collect();
    assert_eq!(classes, [Some(FailureClass::Refused); 3]);
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_set_up_again() {
    let server = Server::start(vec![vec![Send(good()), Close]]);
    let mut phase = closed(specs(3), 1);
    phase.pace = Pace::Open {
        due_ns: vec![0, 100_000_000, 200_000_000],
        max_in_flight: 1,
    };
    let run = put(&target(server.address), &phase);
    assert!(
        run.traces.iter().all(|trace| trace.failure.is_none()),
        "{:?}",
        run.traces
    );
    assert!(run.client.closed_idle >= 2, "{:?}", run.client);
    assert_eq!(run.client.late_connects, 2);
    assert!(run.traces[2].connect_ns > 0);
}

#[test]
fn silence_ends_a_request() {
    let server = Server::start(vec![vec![Send(HEAD.as_bytes().to_vec()), WaitMs(60_000)]]);
    let mut target = target(server.address);
    target.limits.silence = Duration::from_millis(100);
    let run = put(&target, &closed(specs(2), 2));
    let classes: Vec<_> = run.traces.iter().map(class).collect();
    assert_eq!(classes, [Some(FailureClass::Silent); 2]);
}

#[test]
fn a_stop_gives_up_what_is_in_flight() {
    let server = Server::start(vec![vec![WaitMs(60_000)]]);
    let watch = Watch::new(1);
    let run = thread::scope(|scope| {
        scope.spawn(|| {
            while server.asked().is_empty() {
                thread::sleep(Duration::from_millis(5));
            }
            watch.stop();
        });
        run(
            &target(server.address),
            &closed(specs(5), 1),
            1,
            &mut Pool::default(),
            &watch,
        )
        .unwrap()
    });
    assert_eq!(run.traces.len(), 1);
    assert_eq!(class(&run.traces[0]), Some(FailureClass::Stopped));
}

#[test]
fn what_waits_for_a_connection_keeps_its_moment() {
    let server = Server::start(vec![vec![WaitMs(50), Send(good())]]);
    let mut phase = closed(specs(3), 1);
    phase.pace = Pace::Open {
        due_ns: vec![0, 1_000_000, 2_000_000],
        max_in_flight: 1,
    };
    let run = put(&target(server.address), &phase);
    let delays: Vec<u64> = run
        .traces
        .iter()
        .map(|trace| (trace.sent_ns - trace.scheduled_ns) / 1_000_000)
        .collect();
    assert!(delays[1] >= 45 && delays[2] >= 90, "{delays:?}");
    let due: Vec<u64> = run
        .traces
        .iter()
        .map(|trace| trace.scheduled_ns - run.start_ns)
        .collect();
    assert_eq!(due, [0, 1_000_000, 2_000_000]);
}

#[test]
fn a_request_that_the_socket_cannot_take_at_once_is_seen() {
    let server = Server::start(vec![vec![Send(good())]]);
    let requests = Requests::listed(vec![Spec {
        prompt: PromptBody::Text("x".repeat(24 << 20)),
        prompt_tokens: None,
        output_tokens: 2,
        turn: None,
    }]);
    let run = put(&target(server.address), &closed(requests, 1));
    assert_eq!(class(&run.traces[0]), None, "{:?}", run.traces[0].failure);
    assert_eq!(run.client.blocked_sends, 1);
    assert!(run.traces[0].blocked_ns > 0);
}

#[test]
fn without_the_kernels_stamps_it_is_said() {
    let server = Server::start(vec![vec![Send(good())]]);
    let mut target = target(server.address);
    target.kernel_clock = false;
    let run = put(&target, &closed(specs(1), 1));
    assert!(!run.traces[0].stamped);
    assert_eq!((run.client.stamped_reads, run.client.lag_us.len()), (0, 0));
    assert!(run.client.unstamped_reads > 0);
}

#[test]
fn a_second_phase_uses_the_connections_of_the_first() {
    let server = Server::start(vec![vec![Send(good())]]);
    let target = target(server.address);
    let mut pool = Pool::default();
    let watch = Watch::new(2);
    let first = run(&target, &closed(specs(8), 4), 2, &mut pool, &watch).unwrap();
    let second = run(&target, &closed(specs(8), 4), 2, &mut pool, &watch).unwrap();
    assert_eq!(
        (first.client.connects_ns.len(), second.client.connects_ns.len()),
        (4, 0)
    );
    assert_eq!(watch.totals(), [16, 0, 0, 32]);
    let order: Vec<u64> = second.traces.iter().map(|trace| trace.index).collect();
    assert_eq!(order, (0..8).collect::<Vec<_>>());
}

#[test]
fn a_conversation_says_what_was_answered() {
    let server = Server::start(vec![vec![Send(good())]]);
    let mut target = target(server.address);
    target.keep = Keep::Text;
    let requests = Requests::Drawn(Drawn {
        vocabulary: Arc::new(Vocabulary::Words {
            words: vec!["u".into(), "v".into()],
            overhead: 0,
            exact: true,
        }),
        seed: 0,
        count: 2,
        prompt: Lengths::Fixed(3),
        output: Lengths::Fixed(2),
        shared: None,
        turns: Some((3, Joint::Text)),
    });
    let mut phase = closed(requests, 1);
    phase.think = Duration::from_millis(1);
    let run = put(&target, &phase);
    let order: Vec<u64> = run.traces.iter().map(|trace| trace.index).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    assert!(server.asked()[1].contains(" a b\\n"), "{}", server.asked()[1]);
    assert_eq!(server.asked()[2].matches(" a b\\n").count(), 2);
}

#[test]
fn after_its_time_a_phase_begins_nothing() {
    let server = Server::start(vec![vec![WaitMs(5), Send(good())]]);
    let mut phase = closed(specs(100_000), 2);
    phase.duration = Some(Duration::from_millis(60));
    let run = put(&target(server.address), &phase);
    assert!(run.traces.iter().all(|trace| trace.failure.is_none()));
    let latest = run.traces.iter().map(|trace| trace.scheduled_ns).max().unwrap();
    assert!(latest <= run.start_ns + 60_000_000);
    assert!((2..100).contains(&run.traces.len()), "{}", run.traces.len());
}

proptest! {
    /// However the bytes of an answer are cut, the same is read.
    #[test]
    fn any_cutting_gives_the_same_answer(
        tokens in prop::collection::vec("[a-zé漢😀\\\\\"]{0,5}", 0..8),
        crlf: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let end = if crlf { "\r\n\r\n" } else { "\n\n" };
        let mut bytes = HEAD.as_bytes().to_vec();
        let mut add = |data: &str| bytes.extend(chunk(&format!("data: {data}{end}")).into_bytes());
        for token in &tokens {
            add(&json!({ "choices": [{ "text": token, "finish_reason": null }] }).to_string());
        }
        add(r#"{"choices":[{"text":".","finish_reason":"stop"}]}"#);
        add("[DONE]");
        bytes.extend(b"0\r\n\r\n");
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let spec = Spec { prompt: PromptBody::Text(String::new()), prompt_tokens: None, output_tokens: 9, turn: None };
        let mut exchange = Exchange::new(0, spec, 0, Keep::Text);
        let mut decoder = Decoder::default();
        for pair in at.windows(2) {
            prop_assert!(exchange.take(&mut decoder, &bytes[pair[0]..pair[1]], 1, true).is_ok());
        }
        prop_assert!(decoder.is_done());
        let ended = exchange.end(1);
        prop_assert_eq!(ended.trace.failure, None);
        prop_assert_eq!(ended.trace.arrivals.count() as usize, tokens.len() + 1);
        prop_assert_eq!(ended.text, tokens.concat() + ".");
    }
}
