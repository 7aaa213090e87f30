//! Processes: the server on its processor, one client after the other on another, and what each cost.

use std::{
    fs,
    io::{self, Read},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
        time::TimeVal,
    },
    unistd::Pid,
};

use super::{
    Case, Contender, Plan, Row,
    clients::Cost,
    truth::{self, Truth},
};
use crate::target;

/// How long the server may take to listen.
const START: Duration = Duration::from_secs(10);
/// Time between two looks at a client's memory.
const LOOK: Duration = Duration::from_millis(20);

/// Why a bench could not be run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The system.
    #[error("the bench could not be run: {0}")]
    Io(#[from] io::Error),
    /// The server did not listen.
    #[error("the stream server did not listen within 10 s ({0})")]
    Server(String),
    /// The server's truth cannot be read.
    #[error("the stream server's truth cannot be read: {0}")]
    Truth(String),
    /// A client failed.
    #[error("{client} failed in case {case}: {why}")]
    Client {
        /// The client.
        client: &'static str,
        /// The case.
        case: &'static str,
        /// How it ended, and its last words.
        why: String,
    },
    /// A client's result cannot be read.
    #[error("a client's result cannot be read: {0}")]
    Result(String),
}

/// Thousands of connections need as many descriptors as the system allows, on both sides.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap_or_default();
    }
}

/// Two processors of those that this process may use.
pub fn two_processors() -> Option<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut usable = (0..CpuSet::count()).filter(|&processor| allowed.is_set(processor).unwrap_or(false));
    Some([usable.next()?, usable.next()?])
}

/// Starts a command on one processor: children inherit what their parent may use.
fn spawn_on(command: &mut Command, processor: Option<usize>) -> io::Result<Child> {
    let Some(processor) = processor else {
        return command.spawn();
    };
    let own = Pid::from_raw(0);
    let before = sched_getaffinity(own)?;
    let mut one = CpuSet::new();
    one.set(processor)?;
    sched_setaffinity(own, &one)?;
    let child = command.spawn();
    sched_setaffinity(own, &before)?;
    child
}

/// The stream server; it ends with this.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is as good as one that was killed.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

impl Server {
    fn start(case: &Case, processor: Option<usize>) -> Result<Self, BenchError> {
        let port = target::free_port()?;
        let mut command = Command::new(target::simulator_program());
        command
            .args(["stream", "--port", &port.to_string()])
            .args([
                "--ttft-ms",
                &case.ttft_ms.to_string(),
                "--itl-ms",
                &case.itl_ms.to_string(),
            ])
            .args(["--events-per-write", &case.events_per_write.to_string()])
            .stdin(Stdio::null());
        let child = spawn_on(&mut command, processor)?;
        let server = Self { child, port };
        let begun = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(_) => return Ok(server),
                Err(error) if begun.elapsed() > START => return Err(BenchError::Server(error.to_string())),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn truth(&self) -> Result<std::collections::BTreeMap<u64, Truth>, BenchError> {
        let url = format!("http://127.0.0.1:{}/truth", self.port);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let text = runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().build()?;
            client.get(url).send().await?.text().await
        });
        truth::read(&text.map_err(|error| BenchError::Truth(error.to_string()))?)
    }
}

/// Runs one client in one case.
pub fn run(
    plan: &Plan,
    case: &Case,
    contender: &Contender,
    processors: Option<[usize; 2]>,
) -> Result<Row, BenchError> {
    let server = Server::start(case, processors.map(|[server, _]| server))?;
    let processor = processors.map(|[_, client]| client);
    let mut command = contender.command(plan, case, server.port, processor)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let used = children_cpu()?;
    let mut begun_s = since_epoch().as_secs_f64();
    let child = spawn_on(&mut command, processor)?;
    let (finished, mut rss_mb) = wait(child, contender, case)?;
    let mut cpu_s = children_cpu()? - used;
    if contender.is_wrapped() {
        let cost: Cost = serde_json::from_slice(&finished)
            .map_err(|error| BenchError::Result(format!("its cost: {error}")))?;
        (begun_s, cpu_s, rss_mb) = (cost.begun_s, cost.cpu_s, cost.rss_kb * 1024.0 / 1e6);
        if cost.status != 0 {
            return Err(failed(contender, case, format!("exit status {}", cost.status)));
        }
    }
    let (reported, schedule_delay_ms) = contender.reports(plan, &finished)?;
    let truth = server.truth()?;
    let first = truth.values().map(|truth| truth.arrived_ns).min();
    let last = truth.values().filter_map(|truth| truth.tokens_ns.last()).max();
    let tokens: usize = truth.values().map(|truth| truth.tokens_ns.len()).sum();
    let (Some(first), Some(last)) = (first, last) else {
        return Err(failed(contender, case, "it asked nothing".to_owned()));
    };
    let (ttft_error_ms, itl_error_ms, missing) = truth::errors(&truth, &reported);
    let unasked = u64::from(case.requests).saturating_sub(truth.len() as u64);
    Ok(Row {
        client: contender.name().to_owned(),
        case: case.name.to_owned(),
        tokens_per_s: tokens as f64 / (last.saturating_sub(first) as f64 / 1e9),
        cpu_s_per_1k_tokens: cpu_s / tokens as f64 * 1e3,
        ttft_error_ms,
        // As fast as possible, a gap is no more than the order of two writes.
        itl_error_ms: itl_error_ms.filter(|_| case.itl_ms > 0.0),
        peak_rss_mb: rss_mb,
        startup_s: first as f64 / 1e9 - begun_s,
        errors: missing + unasked,
        schedule_delay_ms,
    })
}

fn failed(contender: &Contender, case: &Case, why: String) -> BenchError {
    BenchError::Client {
        client: contender.name(),
        case: case.name,
        why,
    }
}

/// Waits for a client; its standard output and its greatest memory in MB.
fn wait(mut child: Child, contender: &Contender, case: &Case) -> Result<(Vec<u8>, f64), BenchError> {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))
                .map(|_| bytes)
        })
    };
    let boxed =
        |pipe: Option<std::process::ChildStdout>| pipe.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let out = read(boxed(child.stdout.take()));
    let err = read(
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let mut rss_mb = 0.0_f64;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        rss_mb = rss_mb.max(peak_rss_mb(child.id()).unwrap_or_default());
        thread::sleep(LOOK);
    };
    let collect =
        |reader: thread::JoinHandle<io::Result<Vec<u8>>>| reader.join().unwrap_or_else(|_| Ok(Vec::new()));
    let (out, err) = (collect(out)?, collect(err)?);
    // Our own client ends with 1 where its figures mean nothing, which a bench may well bring about.
    let is_ours = matches!(contender, Contender::Harness { .. });
    if status.success() || (is_ours && status.code() == Some(1)) {
        return Ok((out, rss_mb));
    }
    let words = String::from_utf8_lossy(&err);
    let tail: Vec<&str> = words.lines().rev().take(5).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(failed(contender, case, format!("{status}: {}", tail.join(" | "))))
}

/// Greatest memory of a process so far, MB (`VmHWM`, proc(5)).
fn peak_rss_mb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Processor time of all children that were waited for, seconds.
fn children_cpu() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
