//! The least that a load client can be: sockets of tokio, no HTTP library, no JSON, the user's clock after each read.
//!
//! `harness bench load` runs it beside the real client, against the same server in the same run: what the real one
//! costs more is what its exactness costs. It sends the prompts of a file, one a line, each to the chat endpoint at a
//! fixed concurrency, counts events (the first names the role, the last two are usage and end mark) and writes one line
//! of JSON for each request: `{"id":…,"ttft_ns":…,"gaps_ns":[…]}`.

use std::fmt::Write as _;
use std::{
    cell::Cell,
    io::{self, Write as _},
    process::ExitCode,
    rc::Rc,
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

/// How an answer ends: the last HTTP chunk.
const END: &[u8] = b"\r\n0\r\n\r\n";

struct Plan {
    address: String,
    concurrency: usize,
    tokens: u32,
    prompts: Vec<String>,
    next: Cell<usize>,
}

/// One request: when it was sent and when each event came.
struct Answer {
    index: usize,
    sent: Instant,
    events: Vec<Instant>,
}

fn main() -> ExitCode {
    match plan().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading.
            drop(writeln!(io::stderr(), "raw_client: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `raw_client HOST:PORT CONCURRENCY TOKENS PROMPTS`.
fn plan() -> io::Result<Plan> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, concurrency, tokens, file] = words.as_slice() else {
        return Err(io::Error::other(
            "HOST:PORT CONCURRENCY TOKENS PROMPTS are needed",
        ));
    };
    let number = |word: &str| word.parse::<u32>().map_err(io::Error::other);
    Ok(Plan {
        address: address.clone(),
        concurrency: number(concurrency)? as usize,
        tokens: number(tokens)?,
        prompts: std::fs::read_to_string(file)?
            .lines()
            .map(str::to_owned)
            .collect(),
        next: Cell::new(0),
    })
}

fn run(plan: Plan) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let plan = Rc::new(plan);
    let answers = runtime.block_on(LocalSet::new().run_until(all(plan)))?;
    let mut out = String::new();
    for answer in &answers {
        write_line(&mut out, answer);
    }
    io::stdout().lock().write_all(out.as_bytes())
}

/// Every connection before the first request, then all workers at once.
async fn all(plan: Rc<Plan>) -> io::Result<Vec<Answer>> {
    let mut streams = Vec::new();
    for _ in 0..plan.concurrency {
        let stream = TcpStream::connect(&plan.address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let workers: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::task::spawn_local(worker(Rc::clone(&plan), stream)))
        .collect();
    let mut answers = Vec::new();
    for worker in workers {
        answers.extend(worker.await.map_err(io::Error::other)??);
    }
    Ok(answers)
}

async fn worker(plan: Rc<Plan>, mut stream: TcpStream) -> io::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let index = plan.next.get();
        let Some(prompt) = plan.prompts.get(index) else {
            return Ok(answers);
        };
        plan.next.set(index + 1);
        let request = request(&plan, prompt);
        let mut answer = Answer {
            index,
            sent: Instant::now(),
            events: Vec::with_capacity(plan.tokens as usize + 3),
        };
        stream.write_all(request.as_bytes()).await?;
        read(&mut stream, &mut buffer, &mut answer.events).await?;
        answers.push(answer);
    }
}

/// Reads an answer. An event that two reads cut in its first six bytes would be lost; servers write whole events.
async fn read(stream: &mut TcpStream, buffer: &mut [u8], events: &mut Vec<Instant>) -> io::Result<()> {
    let mut tail = Vec::new();
    loop {
        let count = stream.read(buffer).await?;
        let now = Instant::now();
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = &buffer[..count];
        let mut rest = bytes;
        while let Some(at) = memchr::memmem::find(rest, b"data: ") {
            events.push(now);
            rest = &rest[at + 6..];
        }
        if bytes.ends_with(END) {
            return Ok(());
        }
        // The end itself may be cut.
        if count < END.len() {
            tail.extend_from_slice(bytes);
            if tail.ends_with(END) {
                return Ok(());
            }
        } else {
            tail.clear();
            tail.extend_from_slice(&bytes[count - END.len()..]);
        }
    }
}

fn request(plan: &Plan, prompt: &str) -> String {
    let body = format!(
        r#"{{"model":"stream","messages":[{{"role":"user","content":"{prompt}"}}],"max_tokens":{},"stream":true,"stream_options":{{"include_usage":true}},"temperature":0,"ignore_eos":true}}"#,
        plan.tokens
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        plan.address,
        body.len()
    )
}

/// Without the role in front, and without usage and end mark behind.
fn write_line(out: &mut String, answer: &Answer) {
    let tokens = answer
        .events
        .get(1..answer.events.len().saturating_sub(2))
        .unwrap_or_default();
    let Some(first) = tokens.first() else { return };
    let gaps: Vec<String> = tokens
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_nanos().to_string())
        .collect();
    let ttft = (*first - answer.sent).as_nanos();
    let _ = writeln!(
        out,
        "{{\"id\":{},\"ttft_ns\":{ttft},\"gaps_ns\":[{}]}}",
        answer.index,
        gaps.join(",")
    );
}
