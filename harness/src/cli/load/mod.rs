//! `load`: puts load on any OpenAI-compatible server and measures it; or makes the figures of a recording again.

mod files;
mod progress;
pub(super) mod words;

use std::{
    fs::File,
    io::{self, BufWriter},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use self::{
    files::{named, read_prompts, read_recording, read_trace, write_bench_serve},
    words::{duration, endpoint, percentile, percentiles, promises},
};
use super::{CliError, print, say};
use crate::{
    load::{
        self, Asked, Clock, Form, Generator, Lengths, Pace, Promises, Setting, Shape, Spec, Tick, Wish,
        plan::MOST_IN_FLIGHT,
        probe::{self, Endpoint, Probed, Wanted},
        recording::{self, Header, Recorded},
        replay,
    },
    record::Verdict,
    report::{
        Style,
        load::{LoadReport, SCHEMA_VERSION},
    },
    run::{Exit, Interrupt},
    vllm::Keep,
};

pub(super) use progress::Progress;

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

/// Thousands of connections need as many descriptors as the system allows. Where it allows no more, requests tell.
pub(super) fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap_or_default();
    }
}
