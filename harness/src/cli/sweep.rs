//! `sweep`: finds the best concurrency of a model on a stack, or of any running server.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    CliError,
    load::{Progress, raise_descriptor_limit, words::duration},
    print, say, validate,
};
use crate::{
    load::{
        self, Clock, Form, Generator, Lengths, Setting, Shape, Tick, Wish,
        plan::MOST_IN_FLIGHT,
        probe::{self, Wanted},
        recording::{self, Header, Recorded},
        sweep::{At, Latency, LatencyPromise, Levels, Plan, Rules, Step, Swept, Watcher, of_budgets},
        workers_for,
    },
    manifest::Catalogue,
    record::Entry,
    report::{
        Display, Style,
        live::Mode,
        sweep::{About, Axis, SweepReport, json, line, render, svg},
    },
    run::{self, Exit, Filter, Interrupt, NotDone, OnServerOptions, Selection, SessionPlan, verdict_exit},
    vllm::Keep,
};

/// Lengths of prompts and answers where no manifest says.
const LENGTH: u32 = 128;

/// What to sweep.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Model: a name in models.d, or the path of a manifest; its server is booted
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "url")]
    model: Option<String>,
    /// Stack [default: as `validate` chooses it]
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "url")]
    stack: Option<String>,
    /// A server that runs already, in place of a booted one: http://HOST:PORT; --model is then its name there
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// First number of requests in flight
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    from: u32,
    /// Greatest number of requests in flight
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    to: u32,
    /// Share by which a doubling must raise throughput, else the climb ends
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    min_gain: f64,
    /// Rates in place of concurrencies, requests a second: 1,2,4
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = rate, conflicts_with_all = ["from", "to", "min_gain"])]
    rate: Vec<f64>,
    /// Most that 1 of 100 requests may wait for its first token
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttft_p99: Option<Duration>,
    /// Most that a further token may take in 1 of 100 requests
    #[arg(long, value_name = "TIME", value_parser = duration)]
    tpot_p99: Option<Duration>,
    /// Another promise: ttft_p50=200ms, itl_p99=60ms, e2el_max=10s; may be given several times
    /// [default: the latency budgets of the manifest that hold for answers of any length]
    #[arg(long = "promise", value_name = "FIGURE=TIME")]
    promises: Vec<LatencyPromise>,
    /// Tokens of prompts: 128, uniform:64..256, normal:128,32 [default: as the manifest's workload, else 128]
    #[arg(long, value_name = "LENGTHS")]
    input_len: Option<Lengths>,
    /// Tokens of answers, likewise
    #[arg(long, value_name = "LENGTHS")]
    output_len: Option<Lengths>,
    /// Requests at each level [default: four for each in flight, and more where a promise on a percentile needs them]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Seed of prompts and lengths
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Simulated seconds for each real one, where a simulator with a fast clock plays the server at --url
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "url")]
    clock: f64,
    /// Environment variable that holds a key for the server at --url
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_from: String,
    /// Folder for sweep.json, sweep.svg and load.jsonl [default: target/sweep/<run>; with --url, none]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON to standard output
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Sweeps; exit 1 where no level is valid, or none keeps the promises.
pub fn run(
    root: impl FnOnce() -> Result<PathBuf, CliError>,
    arguments: &Arguments,
    style: Style,
) -> Result<Exit, CliError> {
    if arguments.from > arguments.to {
        return Err(CliError::Usage(format!("--from {} is above --to {}", arguments.from, arguments.to)));
    }
    raise_descriptor_limit();
    match &arguments.url {
        Some(url) => running(url, arguments, style),
        None => booted(&root()?, arguments, style),
    }
}

/// On a server that runs already.
fn running(url: &str, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupt = Interrupt::watch(runtime.handle())?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    }
    let key = std::env::var(&arguments.key_from).ok().filter(|key| !key.is_empty());
    let sweeping = Sweeping {
        arguments,
        style,
        url,
        model: arguments.model.as_deref(),
        key: key.as_deref(),
        on: url.to_owned(),
        clock: Clock::new(arguments.clock),
        folder: arguments.out.as_deref(),
        session: None,
    };
    let swept = runtime.block_on(sweeping.run(interrupt.token.clone()))?;
    let report = SweepReport::new(swept.0, &swept.1);
    tell(&report, arguments.out.as_deref(), arguments, style)?;
    Ok(interrupt.exit().unwrap_or_else(|| verdict_exit(report.verdict)))
}

/// On a server that is booted for it.
fn booted(root: &Path, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let session = session(root, arguments)?;
    let Some(session) = session else { return Ok(Exit::Nothing) };
    let display = Arc::new(Mutex::new(Display::on_stderr(Mode::of_stderr(arguments.quiet), style)));
    let shown = Arc::clone(&display);
    let sink = Box::new(move |entry: &Entry| validate::lock(&shown).entry(entry));
    let options = OnServerOptions {
        root: root.to_owned(),
        kind: "sweep",
        out: arguments.out.clone(),
        command: std::env::args().collect(),
    };
    let done = run::on_server(&session, options, sink, async |server| {
        let sweeping = Sweeping {
            arguments,
            style,
            url: server.url,
            model: Some(server.model),
            key: None,
            on: session.stack.name.clone(),
            clock: server.clock,
            folder: Some(server.folder),
            session: Some(&session),
        };
        sweeping.run(server.stop).await.map_err(|error| error.to_string())
    });
    validate::lock(&display).close();
    let done = done?;
    let (about, swept) = match done.done {
        Ok(swept) => swept,
        Err(NotDone { verdict, what }) => {
            say(&format!("error: {what}\n  the server's log is in {}\n", done.folder.display()))?;
            return Ok(done.interrupted.unwrap_or_else(|| verdict_exit(verdict)));
        }
    };
    let report = SweepReport::new(about, &swept);
    tell(&report, Some(&done.folder), arguments, style)?;
    Ok(done.interrupted.unwrap_or_else(|| verdict_exit(report.verdict)))
}

fn session(root: &Path, arguments: &Arguments) -> Result<Option<Arc<SessionPlan>>, CliError> {
    let catalogue = Catalogue::open(root);
    let model = catalogue.model(arguments.model.as_deref().unwrap_or_default())?;
    let asked: Vec<String> = arguments.stack.iter().cloned().collect();
    let Some(stack) = validate::stack_names(&catalogue, &model, &asked).into_iter().next() else {
        return Ok(None);
    };
    let selection = Selection {
        model: Arc::new(model),
        stack: Arc::new(catalogue.stack(&stack)?),
        dtype: None,
    };
    Ok(run::plan(&[selection], &Filter::default()).sessions.into_iter().next())
}

/// Shows a report and writes its files.
fn tell(report: &SweepReport, folder: Option<&Path>, arguments: &Arguments, style: Style) -> Result<(), CliError> {
    say(&render(report, style))?;
    let text = json(report).map_err(io::Error::from)?;
    if let Some(folder) = folder {
        for (name, text) in [("sweep.json", &text), ("sweep.svg", &svg(report))] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
        }
        say(&format!("chart, JSON and every request are in {}\n", folder.display()))?;
    }
    if arguments.json {
        print(&text)?;
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::Usage(format!("{}: cannot be written: {error}", path.display()))
}

/// A sweep on a server that answers.
struct Sweeping<'a> {
    arguments: &'a Arguments,
    style: Style,
    url: &'a str,
    model: Option<&'a str>,
    key: Option<&'a str>,
    /// The stack, or the address.
    on: String,
    clock: Clock,
    folder: Option<&'a Path>,
    /// What was booted.
    session: Option<&'a SessionPlan>,
}

impl Sweeping<'_> {
    async fn run(&self, stop: tokio_util::sync::CancellationToken) -> Result<(About, Swept), CliError> {
        let wanted = Wanted {
            made: true,
            ..Wanted::default()
        };
        let probed = probe::probe(self.url, self.model, self.key, wanted).await?;
        let now = OffsetDateTime::now_utc().format(&Rfc3339).map_err(io::Error::other)?;
        let header = Header {
            recording: recording::VERSION,
            at: now.clone(),
            url: self.url.to_owned(),
            model: probed.client.model().to_owned(),
            chat: probed.form == Form::Chat,
            shape: self.shape().to_string(),
            clock: self.clock.speedup(),
        };
        let plan = self.plan(&probed);
        let target = load::target(&probed.client, probed.form, Keep::Nothing).await?;
        let mut generator = Generator::new(target, workers_for(self.most_in_flight()));
        let setting = Setting {
            client: &probed.client,
            clock: self.clock,
            session: &header.model,
            audit: probe::audit(&probed, self.arguments.seed).await?,
            stop,
        };
        let mut teller = Teller::open(self, &header)?;
        let swept = plan.run(&mut generator, &setting, &mut teller).await?;
        teller.close()?;
        let simulated = match self.session {
            Some(session) => session.stack.stack.simulator.is_some(),
            None => probed.client.plays_a_server().await,
        };
        let about = About {
            at: now,
            model: self.session.map_or(header.model, |session| session.model.name.clone()),
            on: self.on.clone(),
            simulated,
            clock: self.clock.speedup(),
            axis: self.axis(),
            input: plan.wish.input.to_string(),
            output: plan.wish.output.to_string(),
            min_gain: self.arguments.min_gain,
            promises: plan.promises.iter().map(ToString::to_string).collect(),
            notes: probed.notes,
        };
        Ok((about, swept))
    }

    fn axis(&self) -> Axis {
        if self.arguments.rate.is_empty() { Axis::Concurrency } else { Axis::Rate }
    }

    fn most_in_flight(&self) -> u32 {
        match self.axis() {
            Axis::Concurrency => self.arguments.to,
            Axis::Rate => MOST_IN_FLIGHT,
        }
    }

    /// What the recording calls it.
    fn shape(&self) -> Shape {
        match self.axis() {
            Axis::Concurrency => Shape::Sweep {
                from: self.arguments.from,
                to: self.arguments.to,
            },
            Axis::Rate => Shape::Concurrency { n: MOST_IN_FLIGHT },
        }
    }

    fn plan(&self, probed: &probe::Probed) -> Plan {
        let arguments = self.arguments;
        let promises = self.promises();
        let workload = self.session.and_then(|session| session.model.manifest.workload.throughput.first());
        let (input, output) = workload.map_or_else(
            || (Lengths::Fixed(LENGTH), Lengths::Fixed(LENGTH)),
            |workload| {
                let output = match workload.output_tokens.as_slice() {
                    [one] => Lengths::Fixed(*one),
                    several => Lengths::Listed(several.to_vec()),
                };
                (Lengths::Fixed(workload.prompt_tokens), output)
            },
        );
        let levels = match self.axis() {
            Axis::Concurrency => Levels::Concurrency(Rules {
                from: arguments.from,
                to: arguments.to,
                min_gain: arguments.min_gain,
                promised: !promises.is_empty(),
            }),
            Axis::Rate => Levels::Rates(arguments.rate.clone()),
        };
        let wish = Wish {
            shape: self.shape(),
            input: arguments.input_len.clone().unwrap_or(input),
            output: arguments.output_len.clone().unwrap_or(output),
            prompts: None,
            trace: None,
            count: arguments.requests,
            duration: None,
            warmup: None,
            max_in_flight: MOST_IN_FLIGHT,
            seed: arguments.seed,
            vocabulary: Arc::clone(&probed.vocabulary),
            joint: probed.joint(),
            max_model_len: probed.max_model_len,
        };
        Plan {
            wish,
            levels,
            promises,
        }
    }

    /// Those of the command line, else those of the manifest's budgets.
    fn promises(&self) -> Vec<LatencyPromise> {
        let p99 = |latency, limit: Option<Duration>| {
            Some(LatencyPromise {
                latency,
                at: At::Percentile(99.0),
                limit_s: limit?.as_secs_f64(),
            })
        };
        let flags = [
            p99(Latency::Ttft, self.arguments.ttft_p99),
            p99(Latency::Tpot, self.arguments.tpot_p99),
        ];
        let mut given: Vec<LatencyPromise> = flags.into_iter().flatten().collect();
        given.extend(&self.arguments.promises);
        if let (true, Some(session)) = (given.is_empty(), self.session) {
            let budgets = &session.model.manifest.budgets;
            let budgets = budgets.on(session.stack.stack.accelerator);
            given = budgets.map(|budgets| of_budgets(&budgets.latency)).unwrap_or_default();
        }
        given
    }
}

/// Tells of each level, and keeps its requests.
struct Teller {
    progress: Progress,
    quiet: bool,
    file: Option<BufWriter<File>>,
    written: io::Result<()>,
}

impl Teller {
    fn open(sweeping: &Sweeping<'_>, header: &Header) -> Result<Self, CliError> {
        let mut file = None;
        if let Some(folder) = sweeping.folder {
            let path = folder.join("load.jsonl");
            let created = File::create(&path).map_err(|error| cannot_write(&path, &error))?;
            let mut out = BufWriter::new(created);
            recording::write_header(&mut out, header)?;
            file = Some(out);
        }
        Ok(Self {
            progress: Progress::new(sweeping.arguments.quiet, sweeping.style),
            quiet: sweeping.arguments.quiet,
            file,
            written: Ok(()),
        })
    }

    fn close(mut self) -> Result<(), CliError> {
        self.progress.close();
        self.written?;
        if let Some(file) = &mut self.file {
            io::Write::flush(file)?;
        }
        Ok(())
    }
}

impl Watcher for Teller {
    fn tick(&mut self, tick: &Tick<'_>) {
        self.progress.tick(tick);
    }

    fn step(&mut self, step: &Step, recorded: Recorded) {
        self.progress.close();
        if !self.quiet {
            // A closed standard error silences the display and nothing else.
            drop(say(&(line(step) + "\n")));
        }
        if let (Some(file), Ok(())) = (&mut self.file, &self.written) {
            self.written = recording::write_phase(file, &recorded);
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..1.0).contains(share));
    share.ok_or_else(|| "write a share from 0 to below 1, such as 0.1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "write requests a second, above 0, with commas between".to_owned())
}
