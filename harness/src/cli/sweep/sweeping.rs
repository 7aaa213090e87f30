//! A sweep as the command line asks for it, on a server that answers.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
    sync::Arc,
    time::Duration,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_util::sync::CancellationToken;

use super::{Arguments, cannot_write};
use crate::{
    cli::{CliError, load::Progress, say},
    load::{
        self, Clock, Form, Generator, Lengths, Setting, Shape, Tick, Wish,
        plan::MOST_IN_FLIGHT,
        probe::{self, Probed, Wanted},
        recording::{self, Header, Recorded},
        sweep::{At, Latency, LatencyPromise, Levels, Plan, Rules, Step, Swept, Watcher, of_budgets},
        workers_for,
    },
    report::{
        Style,
        sweep::{About, Axis, line},
    },
    run::SessionPlan,
    vllm::Keep,
};

/// Lengths of prompts and answers where no manifest says.
const LENGTH: u32 = 128;

/// A sweep on a server that answers.
pub struct Sweeping<'a> {
    /// What was asked.
    pub arguments: &'a Arguments,
    /// Of the display.
    pub style: Style,
    /// Its address.
    pub url: &'a str,
    /// Name of the model there, where it may serve several.
    pub model: Option<&'a str>,
    /// What it wants to see.
    pub key: Option<&'a str>,
    /// The stack, or the address.
    pub on: String,
    /// Its clock.
    pub clock: Clock,
    /// Folder for the requests.
    pub folder: Option<&'a Path>,
    /// What was booted.
    pub session: Option<&'a SessionPlan>,
}

impl Sweeping<'_> {
    /// Looks at the server, and measures level after level.
    pub async fn run(&self, stop: CancellationToken) -> Result<(About, Swept), CliError> {
        let wanted = Wanted {
            made: true,
            ..Wanted::default()
        };
        let probed = probe::probe(self.url, self.model, self.key, wanted).await?;
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .map_err(io::Error::other)?;
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
            model: self
                .session
                .map_or(header.model, |session| session.model.name.clone()),
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
        if self.arguments.rate.is_empty() {
            Axis::Concurrency
        } else {
            Axis::Rate
        }
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

    fn plan(&self, probed: &Probed) -> Plan {
        let arguments = self.arguments;
        let promises = self.promises();
        let workload = self
            .session
            .and_then(|session| session.model.manifest.workload.throughput.first());
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
            given = budgets
                .map(|budgets| of_budgets(&budgets.latency))
                .unwrap_or_default();
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
