//! From a model and what is wished of it to a complete manifest.

use std::collections::BTreeMap;

use crate::{
    capacity::Layout,
    manifest::{
        Budgets, CardBudgets, Cases, Catalogue, Correctness, Diagnostic, Diagnostics, Dtype, Endpoint,
        LatencyWorkload, Limit, Manifest, MemoryBudgets, Modality, Model, PhaseTimeouts, Quantity, Reasoning,
        Serve, Source, ThroughputWorkload, Unit, VersionedArgs, VersionedEnv, Workload,
    },
};

use super::{
    cases,
    folder::is_id,
    known::{Advice, Known},
    placing::{self, Placed},
    subject::{Subject, slug},
};

/// Length where nobody wishes another and the model knows longer ones: that of the first report.
const LEN: u32 = 8192;
/// Fewest positions of a model that can be asked anything.
const SHORTEST_LEN: u32 = 64;
/// Share of the card where nobody wishes another.
const UTILIZATION: f64 = 0.9;
/// Tokens of a prompt, and of answers alone, by twos and by eights, as the first report asked them.
const PROMPT_TOKENS: u32 = 64;
const ALONE: [u32; 4] = [160, 221, 246, 256];
const BY_TWOS: [u32; 2] = [184, 256];
const BY_EIGHTS: [u32; 1] = [128];
/// Share of the predicted weights that is allowed for buffers.
const BUFFERS: f64 = 0.02;
/// Shortest and longest time that a boot is given, and what it is given beside the reading of the weights, s.
const LEAST_BOOT_S: u32 = 900;
const MOST_BOOT_S: u32 = 1800;
const BOOT_BESIDE_WEIGHTS_S: f64 = 600.0;
/// How fast weights are read at least, GiB/s: a shared disk.
const SLOW_DISK: f64 = 0.1;

/// What a list prescribes of a model. Nothing: the drafter chooses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// Name of the manifest.
    pub name: Option<String>,
    /// Folder of the weights.
    pub path: Option<String>,
    /// Cards.
    pub layout: Option<Layout>,
    /// Longest sequence.
    pub max_model_len: Option<u32>,
    /// Share of a card.
    pub utilization: Option<f64>,
    /// Type.
    pub dtype: Option<Dtype>,
    /// Tokens of a block.
    pub block_size: Option<u32>,
    /// Sequences of a batch.
    pub max_num_seqs: Option<u32>,
    /// Seed.
    pub seed: Option<u64>,
    /// The checkpoint's code may run.
    pub trust_remote_code: bool,
    /// Parser of tool calls.
    pub tool_parser: Option<String>,
    /// Parser of thoughts.
    pub reasoning: Option<String>,
    /// Pictures are not asked, whatever the model sees.
    pub text_only: bool,
    /// Further arguments.
    pub args: Vec<VersionedArgs>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// How long a boot may take, s.
    pub boot_timeout_s: Option<u32>,
    /// Where the wishes come from, for the manifest's head.
    pub origin: Option<String>,
}

/// A manifest with what its comments say.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The manifest's name.
    pub name: String,
    /// The manifest.
    pub manifest: Manifest,
    /// Paragraphs of its head.
    pub(super) head: Vec<String>,
    /// Whether the licence must be looked up.
    pub(super) lacks_license: bool,
    /// Whether the id is that of the hub.
    pub(super) has_id: bool,
    /// What differs from the wishes.
    pub remarks: Vec<String>,
}

/// Drafts a manifest.
pub fn draft(catalogue: &Catalogue, subject: &Subject, wishes: &Wishes) -> Result<Draft, Diagnostics> {
    let known = Known::get()?;
    let positions = subject.architecture.max_position;
    if positions < SHORTEST_LEN {
        let short = Diagnostic::error(format!(
            "the model has {positions} positions: no prompt with its answer fits"
        ));
        return Err(short
            .help("correct `max_position_embeddings` in config.json")
            .into());
    }
    let mut remarks = Vec::new();
    let mut manifest = outline(subject, wishes, &mut remarks);
    let placed = placing::place(catalogue, subject, &manifest, wishes.layout)?;
    spread(&mut manifest, &placed, wishes);
    let is_wide = placed.layout.cards() > placed.cards_per_host;
    let advice: Vec<&Advice> = subject
        .advice
        .iter()
        .copied()
        .chain(is_wide.then_some(&known.several_hosts))
        .collect();
    if is_wide {
        take(&mut manifest.serve, &known.several_hosts);
    }
    manifest.cases.shared = cases::fitting(catalogue.root(), known, &manifest)?;
    manifest.workload = workload(manifest.serve.max_model_len);
    manifest.budgets.c500 = Some(budgets(&placed));
    remarks.extend(placed.remarks.iter().cloned());
    Ok(Draft {
        name: wishes.name.clone().unwrap_or_else(|| slug(&subject.folder)),
        head: head(subject, wishes, &manifest, &placed, &advice),
        manifest,
        lacks_license: !subject.knows_license(),
        has_id: is_id(&subject.id),
        remarks,
    })
}

/// The manifest before cards, cases and budgets are known.
fn outline(subject: &Subject, wishes: &Wishes, remarks: &mut Vec<String>) -> Manifest {
    let max_model_len = max_model_len(subject, wishes, remarks);
    Manifest {
        schema: 1,
        model: model(subject, wishes),
        serve: serve(subject, wishes, max_model_len),
        stacks: Vec::new(),
        correctness: Correctness::default(),
        cases: Cases::default(),
        workload: workload(max_model_len),
        budgets: Budgets::default(),
        waivers: Vec::new(),
    }
}

/// The wished length, as far as the model's positions and a prompt with its answer allow it.
fn max_model_len(subject: &Subject, wishes: &Wishes, remarks: &mut Vec<String>) -> u32 {
    let positions = subject.architecture.max_position;
    let len = wishes.max_model_len.unwrap_or(LEN.min(positions));
    let mut words = wishes.args.iter().flat_map(|set| &set.add);
    let is_stretched = words.any(|word| word.contains("rope") || word.starts_with("--hf-overrides"));
    if len > positions && !is_stretched {
        remarks.push(format!(
            "max_model_len {len} is longer than the model's {positions} positions, which are written instead"
        ));
        positions
    } else if len < SHORTEST_LEN {
        remarks.push(format!(
            "max_model_len {len} leaves no room for a prompt with its answer: {SHORTEST_LEN} is written instead"
        ));
        SHORTEST_LEN
    } else {
        len
    }
}

fn model(subject: &Subject, wishes: &Wishes) -> Model {
    let is_chat = subject.endpoint == Endpoint::Chat;
    let thoughts = wishes.reasoning.clone().map(|parser| Reasoning {
        enabled: false,
        parser,
    });
    let modalities = subject.modalities.iter().copied();
    let path = || format!("${{HARNESS_MODELS:-/models}}/{}", subject.folder);
    Model {
        id: subject.id.clone(),
        revision: subject.revision.clone(),
        path: wishes.path.clone().unwrap_or_else(path),
        license: subject.license.clone(),
        architecture: subject.architecture.clone(),
        endpoint: subject.endpoint,
        chat_template: subject.chat_template.clone(),
        modalities: modalities
            .filter(|modality| !wishes.text_only || *modality == Modality::Text)
            .collect(),
        reasoning: thoughts.or_else(|| subject.reasoning.clone()).filter(|_| is_chat),
        tool_parser: wishes
            .tool_parser
            .clone()
            .or_else(|| subject.tool_parser.clone())
            .filter(|_| is_chat),
    }
}

fn serve(subject: &Subject, wishes: &Wishes, max_model_len: u32) -> Serve {
    let boot_s = wishes.boot_timeout_s.unwrap_or(LEAST_BOOT_S);
    let mut serve = Serve {
        tensor_parallel: 1,
        pipeline_parallel: 1,
        max_model_len,
        gpu_memory_utilization: wishes.utilization.unwrap_or(UTILIZATION),
        dtype: wishes.dtype.unwrap_or(subject.dtype),
        block_size: wishes.block_size,
        max_num_seqs: wishes.max_num_seqs,
        seed: wishes.seed.unwrap_or(0),
        trust_remote_code: subject.trust_remote_code || wishes.trust_remote_code,
        args: Vec::new(),
        env: Vec::new(),
        boot_timeout: Quantity::new(f64::from(boot_s), Unit::Seconds),
        phase_timeouts: PhaseTimeouts::default(),
    };
    for advice in &subject.advice {
        take(&mut serve, advice);
    }
    wished(&mut serve, wishes);
    serve
}

/// What advice adds. A block size that is wished stays, unless the family forces another.
fn take(serve: &mut Serve, advice: &Advice) {
    serve.trust_remote_code |= advice.trust_remote_code;
    serve.block_size = advice.block_size.or(serve.block_size);
    for set in &advice.args {
        let is_there = serve
            .args
            .iter()
            .any(|there| there.add.first() == set.add.first() && there.vllm == set.vllm);
        if !is_there {
            serve.args.push(set.clone());
        }
    }
    for set in &advice.env {
        match serve.env.iter_mut().find(|there| there.vllm == set.vllm) {
            Some(there) => there.set.extend(set.set.clone()),
            None => serve.env.push(set.clone()),
        }
    }
}

/// Arguments and variables that are wished; they come last, so they win.
fn wished(serve: &mut Serve, wishes: &Wishes) {
    let is_wished = |flag: &String| wishes.args.iter().any(|set| set.add.first() == Some(flag));
    serve.args.retain(|set| !set.add.first().is_some_and(is_wished));
    serve.args.extend(wishes.args.iter().cloned());
    if wishes.env.is_empty() {
        return;
    }
    match serve.env.iter_mut().find(|there| there.vllm == "*") {
        Some(there) => there.set.extend(wishes.env.clone()),
        None => serve.env.push(VersionedEnv {
            vllm: "*".to_owned(),
            set: wishes.env.clone(),
        }),
    }
}

/// Writes the layout, the stacks and the time that so many weights take.
fn spread(manifest: &mut Manifest, placed: &Placed, wishes: &Wishes) {
    let narrow = |cards: u64| u32::try_from(cards).unwrap_or(u32::MAX);
    manifest.serve.tensor_parallel = narrow(placed.layout.tensor_parallel);
    manifest.serve.pipeline_parallel = narrow(placed.layout.pipeline_parallel);
    manifest.stacks.clone_from(&placed.stacks);
    if wishes.boot_timeout_s.is_none() {
        let gib = placed.weights_gib * placed.layout.cards() as f64;
        let steps = ((BOOT_BESIDE_WEIGHTS_S + gib / SLOW_DISK) / 300.0).ceil() * 300.0;
        let seconds = steps.clamp(f64::from(LEAST_BOOT_S), f64::from(MOST_BOOT_S));
        manifest.serve.boot_timeout = Quantity::new(seconds, Unit::Seconds);
    }
}

/// The first report's workload, shortened where sequences are short.
fn workload(max_model_len: u32) -> Workload {
    let prompt_tokens = PROMPT_TOKENS.min(max_model_len / 4).max(1);
    let room = max_model_len.saturating_sub(prompt_tokens).max(1);
    let answers = |tokens: &[u32]| tokens.iter().map(|tokens| *tokens.min(&room)).collect();
    let phase = |concurrency, requests, tokens: &[u32]| ThroughputWorkload {
        concurrency,
        requests,
        prompt_tokens,
        output_tokens: answers(tokens),
    };
    Workload {
        latency: LatencyWorkload {
            warmup: 1,
            prompt_tokens,
            output_tokens: answers(&ALONE),
        },
        throughput: vec![phase(2, 4, &BY_TWOS), phase(8, 16, &BY_EIGHTS)],
    }
}

/// The one budget that needs no measurement: weights.
fn budgets(placed: &Placed) -> CardBudgets {
    let cards = placed.layout.cards();
    let most = (placed.weights_gib * (1.0 + BUFFERS) * 100.0).ceil() / 100.0;
    let weights = Limit {
        min: None,
        max: Some(Quantity::new(most, Unit::GiB)),
        source: Source::Derived,
        because: format!(
            "The architecture gives {:.2} GiB on the fullest of {cards} card{}; {:.0} % allowed for buffers.",
            placed.weights_gib,
            if cards == 1 { "" } else { "s" },
            BUFFERS * 100.0
        ),
    };
    CardBudgets {
        memory: MemoryBudgets {
            weights: Some(weights),
            ..MemoryBudgets::default()
        },
        ..CardBudgets::default()
    }
}

/// Paragraphs of the head: the model in a sentence, then its caveats.
fn head(
    subject: &Subject,
    wishes: &Wishes,
    manifest: &Manifest,
    placed: &Placed,
    advice: &[&Advice],
) -> Vec<String> {
    let cards = placed.layout.cards();
    let quantized = subject.quantization.map_or_else(String::new, |one| {
        format!(" with {} weights", one.method.as_str())
    });
    let fewest = if wishes.layout == Some(placed.layout) {
        "as the list says"
    } else {
        "the fewest that hold it"
    };
    let mut head = vec![format!(
        "{} on {cards} card{} of the C500 ({fewest}): {:.2} GiB of weights on the fullest, {}{quantized}.",
        subject.id,
        if cards == 1 { "" } else { "s" },
        placed.weights_gib,
        manifest.serve.dtype.as_str(),
    )];
    head.extend(wishes.origin.clone());
    head.extend(subject.notes.iter().cloned());
    head.extend(advice.iter().map(|advice| advice.note.clone()));
    head.push(
        "A draft: look at what follows before the first boot, and measure the budgets. Until they are there, latency and throughput are `unrecorded` and no run passes."
            .to_owned(),
    );
    head
}
