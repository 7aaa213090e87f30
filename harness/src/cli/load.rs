//! `load`: puts load on any OpenAI-compatible server and measures it; or makes the figures of a recording again.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{CliError, print, say};
use crate::{
    audit::{self, Known},
    load::{
        self, Asked, Clock, Form, Generator, Lengths, PERCENTILES, Pace, Promises, PromptBody, Setting,
        Shape, Spec, Tick, Wish, bench_serve,
        plan::MOST_IN_FLIGHT,
        probe::{self, Endpoint, Probed, Wanted},
        recording::{self, Header, Recorded},
        replay,
        shape::time,
    },
    record::Verdict,
    report::{
        Style, audited,
        load::{LoadReport, SCHEMA_VERSION},
    },
    run::{Exit, Interrupt},
    vllm::Keep,
};

/// Which load, on which server.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Arguments {
    /// Address of the server: http://HOST:PORT
    #[arg(long, value_name = "URL", required_unless_present = "from")]
    url: Option<String>,
    /// Name of the model there [default: the only one that it lists]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Shape of the load: single, concurrency:n=8, ramp:to=64,over=30s, sweep:from=1,to=256, constant:rate=4,
    /// poisson:rate=4, gamma:rate=4,burstiness=0.5, rate_ramp:from=1,to=8,over=60s,growth=linear,
    /// trace:file=FILE,speed=1, conversation:n=8,turns=4,think=1s, shared_prefix:n=8,prefix=1024,groups=1,
    /// long_prompt:n=1,tokens=N
    #[arg(long, value_name = "SHAPE", default_value = "concurrency:n=8")]
    shape: Shape,
    /// Endpoint: any (the one that takes exact lengths), completions or chat
    #[arg(long, value_name = "WORD", default_value = "any", value_parser = endpoint)]
    endpoint: Endpoint,
    /// Tokens of prompts: 128, uniform:64..256, normal:128,32, or 64,128,256 in turn
    #[arg(long, value_name = "LENGTHS", default_value = "128")]
    input_len: Lengths,
    /// Tokens of answers, likewise
    #[arg(long, value_name = "LENGTHS", default_value = "128")]
    output_len: Lengths,
    /// Take lengths from a file instead: JSON lines with `input_length` and `output_length`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input_len", "output_len", "prompts"])]
    lengths: Option<PathBuf>,
    /// Take prompts from a file instead: text, one a line, or JSON lines with `prompt` and `output_tokens`
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Requests (conversations; of a sweep, at each concurrency)
    #[arg(long, short = 'n', value_name = "N")]
    requests: Option<u64>,
    /// Time after which nothing new is sent: 30s, 2m (of a sweep, at each concurrency)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Requests before the measured ones [default: as many as are in flight]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// Most requests in flight under a schedule; more wait, and their waiting counts
    #[arg(long, value_name = "N", default_value_t = MOST_IN_FLIGHT, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_in_flight: u32,
    /// Promises that good requests keep: ttft=200ms,tpot=50ms,e2el=10s
    #[arg(long, value_name = "LIMITS", value_parser = promises)]
    promise: Option<Promises>,
    /// Percentiles that are shown
    #[arg(long, value_name = "P,P", value_delimiter = ',', value_parser = percentile)]
    percentiles: Vec<f64>,
    /// Seed of prompts, lengths and schedule
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Threads that send and receive [default: one for each thousand in flight]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Simulated seconds for each real one, where a simulator with a fast clock plays the server
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    clock: f64,
    /// Longest silence of an answer before it counts as failed
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    silence: Duration,
    /// Environment variable that holds a key for the server
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_from: String,
    /// Send only what the OpenAI API itself knows: no ignore_eos, answers may be shorter
    #[arg(long)]
    plain: bool,
    /// Take times when the client wakes, not when the kernel received
    #[arg(long)]
    user_clock: bool,
    /// Pause of a busy thread between two looks at its sockets
    #[arg(long, value_name = "TIME", value_parser = duration, hide = true)]
    lull: Option<Duration>,
    /// Write every request to a file, from which --from makes the figures again
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Make the figures of a recording again; nothing is sent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "model", "requests", "duration", "record"])]
    from: Option<PathBuf>,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
    /// Write the file that `vllm bench serve --save-result` would write (of a sweep, one a concurrency)
    #[arg(long, value_name = "FILE")]
    bench_serve_json: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Measures; exit 1 where a request failed or the figures mean nothing, 3 where nothing could be measured.
pub fn run(arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let (header, recorded, notes, interrupted) = match &arguments.from {
        Some(file) => {
            let (header, recorded) = read_recording(file)?;
            (header, recorded, Vec::new(), None)
        }
        None => measured(arguments, style)?,
    };
    let asked = Asked {
        percentiles: percentiles(&arguments.percentiles),
        promises: arguments.promise,
    };
    let clock = Clock::new(header.clock);
    let phases: Vec<_> = recorded
        .iter()
        .map(|recorded| load::summarise(recorded, &asked, clock))
        .collect();
    let contradictions = match &arguments.bench_serve_json {
        Some(file) => write_bench_serve(file, &header, &recorded, &phases)?,
        None => Vec::new(),
    };
    let report = LoadReport {
        schema_version: SCHEMA_VERSION,
        at: header.at,
        url: header.url,
        model: header.model,
        shape: header.shape,
        clock: header.clock,
        notes,
        verdict: LoadReport::verdict_over(&phases),
        phases,
    };
    say(&crate::report::load::render(&report, style))?;
    if arguments.json {
        print(&crate::report::load::json(&report).map_err(io::Error::from)?)?;
    }
    for line in &contradictions {
        say(&format!("a figure that cannot be: {line}\n"))?;
    }
    Ok(interrupted.unwrap_or(match report.verdict {
        Verdict::Passed => Exit::Passed,
        _ => Exit::Failed,
    }))
}

type Outcome = (Header, Vec<Recorded>, Vec<String>, Option<Exit>);

fn measured(arguments: &Arguments, style: Style) -> Result<Outcome, CliError> {
    raise_descriptor_limit();
    // One thread asks and waits; the workers have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let interrupt = Interrupt::watch(runtime.handle())?;
    let measured = runtime.block_on(Measuring { arguments, style }.run(&interrupt))?;
    let (header, recorded, notes) = measured;
    Ok((header, recorded, notes, interrupt.exit()))
}

struct Measuring<'a> {
    arguments: &'a Arguments,
    style: Style,
}

impl Measuring<'_> {
    async fn run(&self, interrupt: &Interrupt) -> Result<(Header, Vec<Recorded>, Vec<String>), CliError> {
        let arguments = self.arguments;
        let url = arguments.url.as_deref().unwrap_or_default();
        let given = self.given()?;
        let wanted = Wanted {
            endpoint: arguments.endpoint,
            text: given.prompts.is_some() || matches!(arguments.shape, Shape::Conversation { .. }),
            made: given.prompts.is_none(),
        };
        let key = std::env::var(&arguments.key_from)
            .ok()
            .filter(|key| !key.is_empty());
        let probed = probe::probe(url, arguments.model.as_deref(), key.as_deref(), wanted).await?;
        let wish = self.wish(&probed, given);
        let mut plan = load::plan::plan(&wish).map_err(|error| CliError::Usage(error.to_string()))?;
        if wish.prompts.is_some() && arguments.warmup.is_none() {
            plan.warmup = None;
        }
        let header = self.header(url, &probed)?;
        let mut recording = self.recording(&header)?;
        let audit = match plan.warmup {
            Some(_) if !arguments.plain => probe::audit(&probed, arguments.seed).await?,
            _ => None,
        };
        let mut generator = self.generator(&probed, &plan).await?;
        let setting = Setting {
            client: &probed.client,
            clock: Clock::new(arguments.clock),
            session: &header.model,
            audit,
            stop: interrupt.token.clone(),
        };
        let mut phases = Vec::new();
        let mut written = Ok(());
        let mut keep = |recorded: Recorded| {
            if let (Some(out), Ok(())) = (&mut recording, &written) {
                written = recording::write_phase(out, &recorded);
            }
            phases.push(recorded);
        };
        let mut progress = Progress::new(arguments.quiet, self.style);
        let mut tell = |tick: &Tick<'_>| progress.tick(tick);
        load::measure(&mut generator, &plan, &setting, &mut tell, &mut keep).await?;
        progress.close();
        written?;
        if let Some(mut out) = recording {
            io::Write::flush(&mut out)?;
        }
        Ok((header, phases, probed.notes))
    }

    /// Prompts, lengths and trace out of files.
    fn given(&self) -> Result<Given, CliError> {
        let arguments = self.arguments;
        let output = match &arguments.output_len {
            Lengths::Fixed(length) => Some(*length),
            other => Some(other.greatest()),
        };
        let mut given = Given {
            input: arguments.input_len.clone(),
            output: arguments.output_len.clone(),
            prompts: None,
            trace: None,
        };
        if let Some(file) = &arguments.prompts {
            given.prompts = Some(Arc::new(read_prompts(file, &arguments.output_len)?));
        }
        if let Some(file) = &arguments.lengths {
            let trace = read_trace(file, None)?;
            let lengths = |of: fn(&replay::Line) -> Option<u32>| {
                Lengths::Listed(trace.lines.iter().map(|line| of(line).unwrap_or(1)).collect())
            };
            given.input = lengths(|line| line.input_length);
            given.output = lengths(|line| line.output_length);
        }
        if let Shape::Trace { file, .. } = &arguments.shape {
            given.trace = Some(read_trace(file, output)?);
        }
        Ok(given)
    }

    fn wish(&self, probed: &Probed, given: Given) -> Wish {
        let arguments = self.arguments;
        Wish {
            shape: arguments.shape.clone(),
            input: given.input,
            output: given.output,
            prompts: given.prompts,
            trace: given.trace,
            count: arguments.requests,
            duration: arguments.duration,
            warmup: arguments.warmup,
            max_in_flight: arguments.max_in_flight,
            seed: arguments.seed,
            vocabulary: Arc::clone(&probed.vocabulary),
            joint: probed.joint(),
            max_model_len: probed.max_model_len,
        }
    }

    fn header(&self, url: &str, probed: &Probed) -> Result<Header, CliError> {
        let now = OffsetDateTime::now_utc().format(&Rfc3339);
        Ok(Header {
            recording: recording::VERSION,
            at: now.map_err(io::Error::other)?,
            url: url.to_owned(),
            model: probed.client.model().to_owned(),
            chat: probed.form == Form::Chat,
            shape: self.arguments.shape.to_string(),
            clock: self.arguments.clock,
        })
    }

    fn recording(&self, header: &Header) -> Result<Option<BufWriter<File>>, CliError> {
        let Some(path) = &self.arguments.record else {
            return Ok(None);
        };
        let file = File::create(path).map_err(|error| named(path, &format!("cannot be written: {error}")))?;
        let mut out = BufWriter::new(file);
        recording::write_header(&mut out, header)?;
        Ok(Some(out))
    }

    async fn generator(&self, probed: &Probed, plan: &load::LoadPlan) -> Result<Generator, CliError> {
        let arguments = self.arguments;
        let keep = if matches!(arguments.shape, Shape::Conversation { .. }) {
            Keep::Text
        } else {
            Keep::Nothing
        };
        let mut target = if arguments.plain {
            load::plain_target(&probed.client, probed.form, keep).await?
        } else {
            load::target(&probed.client, probed.form, keep).await?
        };
        target.limits.silence = arguments.silence;
        target.kernel_clock = !arguments.user_clock;
        target.lull = arguments.lull.unwrap_or(target.lull);
        let in_flight = plan.parts.iter().map(|part| match &part.phase.pace {
            Pace::Closed { in_flight, .. } => *in_flight,
            Pace::Open { max_in_flight, .. } => *max_in_flight,
        });
        let workers = arguments
            .workers
            .map_or_else(|| load::workers_for(in_flight.max().unwrap_or(1)), usize::from);
        Ok(Generator::new(target, workers))
    }
}

/// What files and flags say of the requests.
struct Given {
    input: Lengths,
    output: Lengths,
    prompts: Option<Arc<Vec<Spec>>>,
    trace: Option<load::TraceFile>,
}

/// A line a second on a terminal, over itself; every tenth second elsewhere.
struct Progress {
    quiet: bool,
    terminal: bool,
    ticks: u64,
    style: Style,
}

impl Progress {
    fn new(quiet: bool, style: Style) -> Self {
        Self {
            quiet,
            terminal: io::stderr().is_terminal(),
            ticks: 0,
            style,
        }
    }

    fn tick(&mut self, tick: &Tick<'_>) {
        self.ticks += 1;
        if self.quiet || (!self.terminal && !self.ticks.is_multiple_of(10)) {
            return;
        }
        let [succeeded, failed, in_flight, chunks] = tick.totals;
        let line = format!(
            "{}: {:.0} s, {succeeded} answered, {failed} failed, {in_flight} in flight, {chunks} chunks",
            tick.phase, tick.elapsed_s
        );
        let line = if self.terminal {
            format!(
                "\r{}\u{1b}[K",
                line.chars().take(self.style.width).collect::<String>()
            )
        } else {
            line + "\n"
        };
        // A closed standard error silences the display and nothing else.
        drop(say(&line));
    }

    fn close(&self) {
        if self.terminal && !self.quiet {
            drop(say("\r\u{1b}[K"));
        }
    }
}

fn named(path: &Path, what: &dyn std::fmt::Display) -> CliError {
    CliError::Usage(format!("{}: {what}", path.display()))
}

fn open(path: &Path) -> Result<BufReader<File>, CliError> {
    let file = File::open(path).map_err(|error| named(path, &format!("cannot be read: {error}")))?;
    Ok(BufReader::new(file))
}

fn read_recording(path: &Path) -> Result<(Header, Vec<Recorded>), CliError> {
    recording::read(open(path)?).map_err(|error| named(path, &error))
}

fn read_trace(path: &Path, default_output: Option<u32>) -> Result<load::TraceFile, CliError> {
    replay::read(open(path)?, default_output).map_err(|error| named(path, &error))
}

/// Prompts of a file: JSON lines where the first line is JSON, else one a line.
fn read_prompts(path: &Path, output: &Lengths) -> Result<Vec<Spec>, CliError> {
    let text =
        io::read_to_string(open(path)?).map_err(|error| named(path, &format!("cannot be read: {error}")))?;
    let spec = |prompt: &str, output_tokens: u32| Spec {
        prompt: PromptBody::Text(replay::escaped(prompt)),
        prompt_tokens: None,
        output_tokens,
        turn: None,
    };
    let draw = |index: usize| output.draw(index as u64, &mut crate::stats::Random::stream(0, index as u64));
    let specs: Vec<Spec> = if text.trim_start().starts_with('{') {
        let trace =
            replay::read(text.as_bytes(), Some(output.greatest())).map_err(|error| named(path, &error))?;
        let of_line = |(index, line): (usize, &replay::Line)| {
            let prompt = line.prompt.as_deref()?;
            Some(spec(prompt, line.output_length.unwrap_or_else(|| draw(index))))
        };
        trace.lines.iter().enumerate().filter_map(of_line).collect()
    } else {
        let lines = text.lines().filter(|line| !line.is_empty()).enumerate();
        lines.map(|(index, line)| spec(line, draw(index))).collect()
    };
    if specs.is_empty() {
        return Err(named(path, &"holds no prompt"));
    }
    Ok(specs)
}

/// One file a phase; of several, the number in flight is in each name. Returns what the audit of the files found.
fn write_bench_serve(
    path: &Path,
    header: &Header,
    recorded: &[Recorded],
    phases: &[load::Measured],
) -> Result<Vec<String>, CliError> {
    let shape: Shape = header
        .shape
        .parse()
        .map_err(|error: load::ShapeError| CliError::Usage(error.to_string()))?;
    let at = OffsetDateTime::parse(&header.at, &Rfc3339).map_err(io::Error::other)?;
    let mut contradictions = Vec::new();
    for (recorded, phase) in recorded.iter().zip(phases) {
        let about = bench_serve::About {
            at,
            chat: header.chat,
            model: &header.model,
            shape: &shape,
            in_flight: phase.in_flight,
        };
        let path = match (phases.len(), phase.in_flight) {
            (1, _) | (_, None) => path.to_owned(),
            (_, Some(n)) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                path.with_file_name(format!("{stem}-{n}.json"))
            }
        };
        let text = bench_serve::render(&about, &phase.figures, &recorded.samples).to_string();
        // Audited as a stranger's result would be, by the bytes that are published.
        if let Ok((_, sheet)) = audit::read(&text) {
            let found = audit::audit(&sheet, &Known::default());
            contradictions.extend(found.iter().map(audited::headline));
        }
        std::fs::write(&path, text).map_err(|error| named(&path, &format!("cannot be written: {error}")))?;
    }
    Ok(contradictions)
}

fn percentiles(given: &[f64]) -> Vec<f64> {
    if given.is_empty() {
        return PERCENTILES.to_vec();
    }
    let mut all = given.to_vec();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

/// Thousands of connections need as many descriptors as the system allows. Where it allows no more, requests tell.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap_or_default();
    }
}

fn endpoint(word: &str) -> Result<Endpoint, String> {
    match word {
        "any" => Ok(Endpoint::Any),
        "completions" => Ok(Endpoint::Completions),
        "chat" => Ok(Endpoint::Chat),
        _ => Err("write any, completions or chat".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    time(text).ok_or_else(|| "write a time such as `30s`, `500ms` or `2m`".to_owned())
}

fn percentile(text: &str) -> Result<f64, String> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|p: &f64| (0.0..=100.0).contains(p));
    number.ok_or_else(|| "write percentiles from 0 to 100 with commas between".to_owned())
}

fn promises(text: &str) -> Result<Promises, String> {
    let mut promises = Promises::default();
    for part in text.split(',') {
        let wrong = || format!("`{part}` is no promise: write ttft=200ms, tpot=50ms or e2el=10s");
        let (name, limit) = part.split_once('=').ok_or_else(wrong)?;
        let limit = time(limit.trim()).ok_or_else(wrong)?.as_secs_f64();
        match name.trim() {
            "ttft" => promises.ttft_s = Some(limit),
            "tpot" => promises.tpot_s = Some(limit),
            "e2el" => promises.e2e_s = Some(limit),
            _ => return Err(wrong()),
        }
    }
    Ok(promises)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_name_what_they_limit() {
        let found = promises("ttft=200ms, e2el=10s").unwrap();
        assert_eq!(
            (found.ttft_s, found.tpot_s, found.e2e_s),
            (Some(0.2), None, Some(10.0))
        );
        assert!(promises("p99=3").unwrap_err().contains("`p99=3` is no promise"));
        assert!(promises("ttft").is_err());
    }

    #[test]
    fn percentiles_are_sorted_and_bounded() {
        assert_eq!(percentiles(&[99.0, 50.0, 99.0]), [50.0, 99.0]);
        assert_eq!(percentiles(&[]), PERCENTILES);
        assert!(percentile("101").is_err());
    }

    #[test]
    fn prompts_come_as_text_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_prompts(&file, &Lengths::Fixed(7))
        };
        let specs = read("say \"a\"\n\nb\n").unwrap();
        assert_eq!(specs.len(), 2);
        assert_eq!(specs[0].prompt, PromptBody::Text("say \\\"a\\\"".into()));
        assert_eq!(specs[1].output_tokens, 7);
        let specs = read("{\"prompt\": \"a\", \"output_tokens\": 3}\n{\"prompt\": \"b\"}\n").unwrap();
        assert_eq!((specs[0].output_tokens, specs[1].output_tokens), (3, 7));
        assert!(read("\n").unwrap_err().to_string().ends_with("holds no prompt"));
        assert!(
            read("{\"x\": 1}")
                .unwrap_err()
                .to_string()
                .contains("line 1: neither")
        );
    }
}
