//! `sweep`: finds the best concurrency of a model on a stack, or of any running server.

mod sweeping;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;

use self::sweeping::Sweeping;
use super::{
    CliError,
    load::{raise_descriptor_limit, words::duration},
    print, say, validate,
};
use crate::{
    load::{Clock, Lengths, sweep::LatencyPromise},
    manifest::Catalogue,
    record::Entry,
    report::{
        Display, Style,
        live::Mode,
        sweep::{SweepReport, json, render, svg},
    },
    run::{self, Exit, Filter, Interrupt, NotDone, OnServerOptions, Selection, SessionPlan, verdict_exit},
};

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
        return Err(CliError::Usage(format!(
            "--from {} is above --to {}",
            arguments.from, arguments.to
        )));
    }
    raise_descriptor_limit();
    match &arguments.url {
        Some(url) => running(url, arguments, style),
        None => booted(&root()?, arguments, style),
    }
}

/// On a server that runs already.
fn running(url: &str, arguments: &Arguments, style: Style) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let interrupt = Interrupt::watch(runtime.handle())?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    }
    let key = std::env::var(&arguments.key_from)
        .ok()
        .filter(|key| !key.is_empty());
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
    let Some(session) = session else {
        return Ok(Exit::Nothing);
    };
    let display = Arc::new(Mutex::new(Display::on_stderr(
        Mode::of_stderr(arguments.quiet),
        style,
    )));
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
            say(&format!(
                "error: {what}\n  the server's log is in {}\n",
                done.folder.display()
            ))?;
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
    let Some(stack) = validate::stack_names(&catalogue, &model, &asked)
        .into_iter()
        .next()
    else {
        return Ok(None);
    };
    let selection = Selection {
        model: Arc::new(model),
        stack: Arc::new(catalogue.stack(&stack)?),
        dtype: None,
    };
    Ok(run::plan(&[selection], &Filter::default())
        .sessions
        .into_iter()
        .next())
}

/// Shows a report and writes its files.
fn tell(
    report: &SweepReport,
    folder: Option<&Path>,
    arguments: &Arguments,
    style: Style,
) -> Result<(), CliError> {
    say(&render(report, style))?;
    let text = json(report).map_err(io::Error::from)?;
    if let Some(folder) = folder {
        for (name, text) in [("sweep.json", &text), ("sweep.svg", &svg(report))] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
        }
        say(&format!(
            "chart, JSON and every request are in {}\n",
            folder.display()
        ))?;
    }
    if arguments.json {
        print(&text)?;
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::Usage(format!("{}: cannot be written: {error}", path.display()))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..1.0).contains(share));
    share.ok_or_else(|| "write a share from 0 to below 1, such as 0.1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .trim()
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "write requests a second, above 0, with commas between".to_owned())
}
