//! Constructed records that the reports are tested with: all passed, one of each verdict with hostile texts, a server
//! that does not boot, a run that was interrupted. Figures are the C500 column of the seed's report.

mod outcomes;

use time::{Duration, OffsetDateTime, macros::datetime};

use self::outcomes::{
    broken_cases, broken_figures, check, drift_figures, grade_figures, latency_figures, map,
    throughput_figures, trial, with,
};
use super::Summary;
use crate::{
    manifest::Unit,
    record::{
        BootFailed, BootPhase, Booted, CardSample, CardSamples, Entry, Event, Finding, Measured,
        MemoryFigures, Outcome, RunFinished, RunStarted, SCHEMA_VERSION, SessionEnded, SessionStarted,
        TrialFinished, TrialKind, TrialStarted, Verdict,
    },
};

const MODEL: &str = "mistral_7b_v0_1";
const STACK: &str = "simulator_c500";
const SESSION: &str = "mistral_7b_v0_1@simulator_c500";
const BEGAN: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

/// What breaks careless reports: escape sequences, control characters, markup of every format, reordered text.
pub const HOSTILE: &str = "\u{1b}[31m显存不足\u{1b}[0m | <script>alert(1)</script> & `x` *b* _i_ [l](javascript:1) \
                           ]]> \u{0}\u{7}\u{202e}\n# heading\n```\n::error::no";

/// Events in the order in which they are added, a second apart.
pub struct Record(Vec<Entry>);

impl Record {
    pub fn begin(simulated: bool) -> Self {
        let run = RunStarted {
            schema_version: SCHEMA_VERSION,
            run_id: "20260102T030405Z-7f3a".into(),
            harness_version: "0.1.0".into(),
            command: ["cargo", "xtask", "validate", "--model", MODEL]
                .map(Into::into)
                .to_vec(),
            simulated,
            host: map(&[
                ("kernel", "Linux 6.8"),
                ("memory", "24 GiB"),
                ("processor", "2 cores"),
            ]),
        };
        Self(vec![Entry {
            at: BEGAN,
            event: Event::RunStarted(run),
        }])
    }

    pub fn add(&mut self, event: Event) -> &mut Self {
        let after = Duration::seconds(i64::try_from(self.0.len()).unwrap());
        self.0.push(Entry {
            at: BEGAN + after,
            event,
        });
        self
    }

    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    fn session(&mut self) -> &mut Self {
        self.add(Event::SessionStarted(SessionStarted {
            session: SESSION.into(),
            model: MODEL.into(),
            stack: STACK.into(),
            about: "the simulator plays a C500 with vLLM 0.8.5".into(),
            target: "simulator".into(),
            simulated: true,
            clock: 20.0,
            accelerator: "c500".into(),
            manifest_digest: "9f86d081884c7d659a2feaa0c55ad015".into(),
            settings: map(&[
                ("dtype", "bfloat16"),
                ("gpu_memory_utilization", "0.9"),
                ("max_model_len", "8192"),
                ("tensor_parallel", "1"),
            ]),
            command_line: "vllm serve mistralai/Mistral-7B-v0.1 --max-model-len 8192".into(),
            notes: Vec::new(),
        }))
        .phase("loading weights", 1.5)
        .phase("profiling", 9.0)
    }

    fn phase(&mut self, phase: &str, after_s: f64) -> &mut Self {
        self.add(Event::BootPhase(BootPhase {
            session: SESSION.into(),
            phase: phase.into(),
            after_s,
        }))
    }

    fn booted(&mut self) -> &mut Self {
        self.add(Event::Booted(Box::new(Booted {
            session: SESSION.into(),
            boot_s: 12.3,
            environment: map(&[
                ("engine", "V1"),
                ("image", "maca.ai2.33.1.12-torch2.6-py310-ubuntu22.04-amd64"),
                ("torch", "2.6.0+metax2.33.1.7"),
                ("vllm", "0.8.5"),
            ]),
            memory: MemoryFigures {
                weights_gib: Some(13.5),
                non_torch_gib: Some(0.48),
                activation_gib: Some(6.78),
                graph_gib: None,
                kv_cache_gib: Some(36.51),
                num_blocks: Some(18_691),
                kv_tokens: Some(299_056),
                max_concurrency: Some(36.51),
                why: map(&[(
                    "graph_gib",
                    "vLLM 0.8.5 prints no graph memory with --enforce-eager",
                )]),
            },
            predicted: Some(MemoryFigures {
                weights_gib: Some(13.49),
                non_torch_gib: Some(0.48),
                activation_gib: Some(6.78),
                graph_gib: Some(0.12),
                kv_cache_gib: Some(36.52),
                num_blocks: Some(18_697),
                kv_tokens: Some(299_152),
                max_concurrency: Some(36.52),
                why: map(&[("activation_gib", "estimated, ± 3.39 GiB")]),
            }),
            findings: vec![Finding::warning(
                "driver 3.0.11 expected, none found: this host has no mx-smi",
            )],
        })))
    }

    fn trial(&mut self, outcome: Outcome) -> &mut Self {
        self.add(Event::TrialStarted(TrialStarted {
            session: SESSION.into(),
            trial: outcome.trial.clone(),
        }))
        .add(Event::TrialFinished(TrialFinished {
            session: SESSION.into(),
            outcome,
        }))
    }

    fn measured_trials(&mut self) -> &mut Self {
        let latency = trial("latency::single_stream", TrialKind::Latency);
        let pair = trial("throughput::concurrency_2", TrialKind::Throughput);
        self.trial(with(
            trial("boot", TrialKind::Boot),
            &[check("boot", 12.3, Unit::Seconds, None, Some("900 s"))],
        ))
        .trial(with(
            trial("memory::weights", TrialKind::Memory),
            &[check("weights", 13.5, Unit::GiB, None, Some("13.8 GiB"))],
        ))
        .trial(with(
            trial("memory::num_blocks", TrialKind::Memory),
            &[check(
                "num_blocks",
                18_691.0,
                Unit::Blocks,
                Some("18000 blocks"),
                None,
            )],
        ))
        .trial(trial("correctness::arithmetic_chain", TrialKind::Correctness))
        .trial(trial("correctness::首都", TrialKind::Correctness))
        .over_all_goldens()
        .add(Event::Latency(Measured {
            session: SESSION.into(),
            trial: latency.trial.clone(),
            figures: latency_figures(),
        }))
        .trial(with(
            latency,
            &[
                check("mean", 3.271, Unit::Seconds, None, Some("3.4 s")),
                check(
                    "mean_generation",
                    67.48,
                    Unit::TokensPerSecond,
                    Some("64 tokens/s"),
                    None,
                ),
            ],
        ))
        .add(Event::Throughput(Measured {
            session: SESSION.into(),
            trial: pair.trial.clone(),
            figures: throughput_figures(),
        }))
        .trial(with(
            pair,
            &[check(
                "output",
                114.82,
                Unit::TokensPerSecond,
                Some("110 tokens/s"),
                None,
            )],
        ))
    }

    fn over_all_goldens(&mut self) -> &mut Self {
        self.add(Event::Grades(Box::new(Measured {
            session: SESSION.into(),
            trial: format!("{MODEL}::correctness::grades"),
            figures: grade_figures(),
        })))
        .add(Event::Drift(Box::new(Measured {
            session: SESSION.into(),
            trial: format!("{MODEL}::correctness::drift"),
            figures: drift_figures(),
        })))
    }

    fn end(&mut self, exit: &str) -> &mut Self {
        self.add(Event::SessionEnded(SessionEnded {
            session: SESSION.into(),
            exit: exit.into(),
            log: format!("{SESSION}.log"),
        }))
    }

    fn finish(&mut self, verdict: Verdict, exit_code: u8, interrupted: bool) -> &mut Self {
        self.add(Event::RunFinished(RunFinished {
            verdict,
            exit_code,
            interrupted,
        }))
    }
}

/// Everything passed.
pub fn passed() -> Record {
    let mut record = Record::begin(true);
    record
        .session()
        .booted()
        .measured_trials()
        .end("stopped in 0.2 s")
        .finish(Verdict::Passed, 0, false);
    record
}

/// The same as a real card would leave it: nothing simulated.
pub fn on_hardware() -> Record {
    let mut real = passed();
    let moment = |after_s, cards: &[(u32, Option<u64>, Option<f64>)]| {
        let sample = |&(index, memory_used_mib, power_w): &(u32, Option<u64>, Option<f64>)| CardSample {
            index,
            memory_used_mib,
            power_w,
            temperature_c: Some(power_w.map_or(35.0, |_| 61.0)),
            utilization_percent: power_w.map(|_| 100.0),
        };
        Event::CardSample(CardSamples {
            session: SESSION.into(),
            after_s,
            cards: cards.iter().map(sample).collect(),
        })
    };
    let at = real.0[2].at;
    let sampled = [
        moment(0.1, &[(0, Some(858), None), (1, Some(826), None)]),
        moment(2.1, &[(0, Some(58_211), Some(291.5))]),
        moment(4.1, &[(0, None, Some(60.0))]),
    ];
    let entries = sampled.map(|event| Entry { at, event });
    real.0.splice(2..2, entries);
    let real = real.0.into_iter().map(|entry| {
        let line = serde_json::to_string(&entry).unwrap();
        let line = line
            .replace(STACK, "c500_maca2.33_vllm0.8.5")
            .replace("\"simulated\":true", "\"simulated\":false");
        serde_json::from_str(&line).unwrap()
    });
    Record(real.collect())
}

/// One trial of each verdict, with evidence and hostile texts.
pub fn mixed() -> Record {
    let mut record = Record::begin(true);
    record.session().booted().measured_trials();
    for outcome in broken_figures().into_iter().chain(broken_cases()) {
        record.trial(outcome);
    }
    record.end("stopped in 0.2 s").finish(Verdict::Error, 3, false);
    record
}

/// A server that does not boot.
pub fn boot_failed() -> Record {
    let mut record = Record::begin(true);
    let mut boot = trial("boot", TrialKind::Boot);
    boot.verdict = Verdict::Error;
    boot.findings = vec![Finding::failure(
        "the server did not boot: out of memory while loading weights",
    )];
    record
        .session()
        .add(Event::BootFailed(BootFailed {
            session: SESSION.into(),
            class: "out_of_memory".into(),
            message: "the weights do not fit into the card's memory".into(),
            evidence: vec!["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.".into()],
            advice: "raise `serve.tensor_parallel` to 2, or lower `serve.gpu_memory_utilization`".into(),
            exit: Some("exit code 1".into()),
            last_lines: vec!["INFO 01-02 03:04:09 loading weights".into(), HOSTILE.into()],
        }))
        .trial(boot)
        .end("exit code 1")
        .finish(Verdict::Error, 3, false);
    record
}

/// Ctrl-C in the middle of a trial.
pub fn interrupted() -> Record {
    let mut record = Record::begin(true);
    record
        .session()
        .booted()
        .trial(trial("boot", TrialKind::Boot))
        .add(Event::TrialStarted(TrialStarted {
            session: SESSION.into(),
            trial: format!("{MODEL}::latency::single_stream"),
        }))
        .end("stopped in 0.2 s")
        .finish(Verdict::Passed, 130, true);
    record
}

/// Every constructed record with its name.
pub fn all() -> [(&'static str, Record); 4] {
    [
        ("passed", passed()),
        ("mixed", mixed()),
        ("boot_failed", boot_failed()),
        ("interrupted", interrupted()),
    ]
}

pub fn summary(record: &Record) -> Summary {
    Summary::of(record.entries()).unwrap()
}
