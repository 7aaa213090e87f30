//! What is asked: a model from a manifest or a `config.json`, a card or a stack, and what replaces their figures.

use std::path::{Path, PathBuf};

use clap::Args;
use semver::Version;

use crate::{
    capacity::{Known, KvType, Layout, Method, ModelConfig, Settings, Shape},
    cli::CliError,
    manifest::{Accelerator, Catalogue, Dtype, LoadedCard, LoadedModel, LoadedStack},
    vllm::parse_version,
};

/// Version that a `config.json` is computed for where nobody names one: that of the first report.
const VERSION: &str = "0.8.5";
/// Card where nothing names one.
const CARD: &str = "c500";
/// Length where nobody names one and the model knows longer ones: that of the first report.
const LEN: u64 = 8192;

/// What to compute. Exit 1: the layout does not fit.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Model: a name in models.d, or the path of a manifest
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "config")]
    model: Option<String>,
    /// Model: the path of a Hugging Face config.json
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    config: Option<PathBuf>,
    /// Card: a name in ci/cards, the path of a card file, or `cpu` [default: the stack's, else the c500]
    #[arg(long, value_name = "NAME|FILE")]
    card: Option<String>,
    /// Stack whose card, version, type and arguments count [default: the manifest's first on this card]
    #[arg(long, value_name = "NAME|FILE")]
    stack: Option<String>,
    /// Version of vLLM, in place of the stack's
    #[arg(long, value_name = "VERSION")]
    vllm: Option<String>,
    /// Cards that share each layer [default: the manifest's; of a config.json the fewest that fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    tp: Option<u64>,
    /// Groups of layers on cards of their own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pp: Option<u64>,
    /// Longest sequence, in tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    max_model_len: Option<u64>,
    /// Share of the card that vLLM may take (0.9)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    utilization: Option<f64>,
    /// Number type: bfloat16, float16, float32
    #[arg(long, value_name = "TYPE", value_parser = crate::cli::validate::dtype)]
    dtype: Option<Dtype>,
    /// Type of the KV cache: auto, fp8, bfloat16, float16, float32
    #[arg(long, value_name = "TYPE")]
    kv_dtype: Option<KvType>,
    /// How matrices are stored: awq, gptq, fp8, w8a8, bitsandbytes
    #[arg(long, value_name = "METHOD")]
    quantization: Option<Method>,
    /// Tokens of a KV-cache block
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    block_size: Option<u64>,
    /// Sequences of a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    max_num_seqs: Option<u64>,
    /// Tokens of a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    max_num_batched_tokens: Option<u64>,
    /// No graphs are captured
    #[arg(long)]
    enforce_eager: bool,
    #[command(flatten)]
    measured: Measured,
    /// Print JSON to standard output
    #[arg(long)]
    pub json: bool,
    /// Draw the layouts as stacked bars
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Measured figures that replace estimates.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the flags say their unit")]
#[command(next_help_heading = "Measured figures of one card, in place of estimates")]
struct Measured {
    /// Weights, GiB
    #[arg(long, value_name = "GIB", value_parser = gib)]
    weights_gib: Option<f64>,
    /// Memory outside torch, GiB
    #[arg(long, value_name = "GIB", value_parser = gib)]
    non_torch_gib: Option<f64>,
    /// Activation peak, GiB
    #[arg(long, value_name = "GIB", value_parser = gib)]
    activation_gib: Option<f64>,
    /// Captured graphs, GiB
    #[arg(long, value_name = "GIB", value_parser = gib)]
    graph_gib: Option<f64>,
    /// Memory of the card as torch sees it, GiB (of a slice: its quota)
    #[arg(long, value_name = "GIB", value_parser = gib)]
    card_gib: Option<f64>,
    /// KV cache, GiB: as the log prints it, or as it is set (VLLM_CPU_KVCACHE_SPACE)
    #[arg(long, value_name = "GIB", value_parser = gib)]
    kv_cache_gib: Option<f64>,
}

/// What is to be computed.
pub struct Question {
    /// What the model is called.
    pub model: String,
    /// Its network.
    pub shape: Shape,
    /// The card; `None`: the CPU backend.
    pub card: Option<LoadedCard>,
    /// How it is served.
    pub settings: Settings,
    /// Its layout; `None`: the smallest.
    pub layout: Option<Layout>,
    /// Where settings come from that nobody named.
    pub notes: Vec<String>,
}

/// A model before anything is chosen.
struct Source {
    name: String,
    shape: Shape,
    settings: Settings,
    layout: Option<Layout>,
    notes: Vec<String>,
}

impl Arguments {
    /// Puts together what is asked.
    pub fn question(&self, root: &Path) -> Result<Question, CliError> {
        let catalogue = Catalogue::open(root);
        let stack = self
            .stack
            .as_deref()
            .map(|stack| catalogue.stack(stack))
            .transpose()?;
        let card = self.card(&catalogue, stack.as_ref())?;
        let source = match (&self.model, &self.config) {
            (Some(model), _) => self.manifest(&catalogue, &catalogue.model(model)?, card.as_ref(), stack)?,
            (None, Some(file)) => self.config(file, stack.as_ref())?,
            (None, None) => return Err(CliError::Usage("name a model: --model or --config".to_owned())),
        };
        let Source {
            name,
            shape,
            mut settings,
            layout,
            notes,
        } = source;
        self.replace(&mut settings)?;
        if card.is_none() && settings.kv_cache_gib.is_none() {
            let text =
                "the CPU's memory says nothing of its KV cache: give --kv-cache-gib (VLLM_CPU_KVCACHE_SPACE)";
            return Err(CliError::Usage(text.to_owned()));
        }
        let layout = match (self.tp, self.pp, layout) {
            (None, None, layout) => layout,
            (tensor_parallel, pipeline_parallel, _) => Some(Layout {
                tensor_parallel: tensor_parallel.unwrap_or(1),
                pipeline_parallel: pipeline_parallel.unwrap_or(1),
            }),
        };
        Ok(Question {
            model: name,
            shape,
            card,
            settings,
            layout,
            notes,
        })
    }

    fn card(
        &self,
        catalogue: &Catalogue,
        stack: Option<&LoadedStack>,
    ) -> Result<Option<LoadedCard>, CliError> {
        let of_stack = stack.map(|stack| stack.stack.accelerator.as_str());
        let name = self.card.as_deref().or(of_stack).unwrap_or(CARD);
        if name == Accelerator::Cpu.as_str() {
            return Ok(None);
        }
        Ok(Some(catalogue.card(name)?))
    }

    fn manifest(
        &self,
        catalogue: &Catalogue,
        model: &LoadedModel,
        card: Option<&LoadedCard>,
        stack: Option<LoadedStack>,
    ) -> Result<Source, CliError> {
        let manifest = &model.manifest;
        let mut notes = Vec::new();
        let stack = if let Some(stack) = stack {
            stack
        } else {
            let stack = first_on(catalogue, model, card)?;
            if self.vllm.is_none() {
                notes.push(format!(
                    "version and arguments are those of the stack {}",
                    stack.name
                ));
            }
            stack
        };
        let dtype = stack.stack.dtype.unwrap_or(manifest.serve.dtype);
        let settings = Settings::served(manifest, &stack.stack, dtype).map_err(CliError::Usage)?;
        let shape = Shape::of_manifest(&manifest.model.architecture);
        if shape.family.is_none() {
            notes.push(format!(
                "the class {} is not known here: its stated parameters are shared evenly",
                shape.class
            ));
        }
        Ok(Source {
            name: model.name.clone(),
            shape,
            settings,
            layout: Some(Layout {
                tensor_parallel: u64::from(manifest.serve.tensor_parallel),
                pipeline_parallel: u64::from(manifest.serve.pipeline_parallel),
            }),
            notes,
        })
    }

    fn config(&self, file: &Path, stack: Option<&LoadedStack>) -> Result<Source, CliError> {
        let config = ModelConfig::read(file, file.display().to_string())?;
        let shown = stack.map_or(VERSION, |stack| stack.stack.vllm.as_str());
        let mut notes = Vec::new();
        if stack.is_none() && self.vllm.is_none() {
            notes.push(format!(
                "vLLM {VERSION} is assumed: name another with --vllm or --stack"
            ));
        }
        let max_model_len = config.shape.max_position.min(LEN);
        if self.max_model_len.is_none() {
            notes.push(format!(
                "max_model_len {max_model_len} is assumed: name another with --max-model-len"
            ));
        }
        let dtype = config.dtype.unwrap_or(Dtype::Bfloat16);
        let mut settings = Settings {
            version: version(shown)?,
            dtype: stack.and_then(|stack| stack.stack.dtype).unwrap_or(dtype),
            quantization: config.quantization,
            kv_type: KvType::Auto,
            max_model_len,
            utilization: None,
            block_size: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            enforce_eager: false,
            kv_cache_gib: None,
            known: Known::default(),
        };
        if let Some(stack) = stack {
            let words: Vec<&str> = stack.stack.args.iter().map(String::as_str).collect();
            settings.take(&words).map_err(CliError::Usage)?;
        }
        let name = file
            .parent()
            .and_then(Path::file_name)
            .unwrap_or(file.as_os_str());
        Ok(Source {
            name: name.to_string_lossy().into_owned(),
            shape: config.shape,
            settings,
            layout: None,
            notes,
        })
    }

    /// What the command line says counts before everything else.
    fn replace(&self, settings: &mut Settings) -> Result<(), CliError> {
        if let Some(text) = &self.vllm {
            settings.version = version(text)?;
        }
        let Measured {
            weights_gib,
            non_torch_gib,
            activation_gib,
            graph_gib,
            card_gib,
            kv_cache_gib,
        } = self.measured;
        settings.dtype = self.dtype.unwrap_or(settings.dtype);
        settings.kv_type = self.kv_dtype.unwrap_or(settings.kv_type);
        let asked = self.quantization.map(|method| method.with(None, None));
        settings.quantization = asked.or(settings.quantization);
        settings.max_model_len = self.max_model_len.unwrap_or(settings.max_model_len);
        settings.utilization = self.utilization.or(settings.utilization);
        settings.block_size = self.block_size.or(settings.block_size);
        settings.max_num_seqs = self.max_num_seqs.or(settings.max_num_seqs);
        settings.max_num_batched_tokens = self.max_num_batched_tokens.or(settings.max_num_batched_tokens);
        settings.enforce_eager |= self.enforce_eager;
        settings.kv_cache_gib = kv_cache_gib.or(settings.kv_cache_gib);
        settings.known = Known {
            card_gib,
            weights_gib,
            non_torch_gib,
            activation_gib,
            graph_gib,
        };
        Ok(())
    }
}

/// The manifest's first stack on this card; on a card that it has none for, its first of all.
fn first_on(
    catalogue: &Catalogue,
    model: &LoadedModel,
    card: Option<&LoadedCard>,
) -> Result<LoadedStack, CliError> {
    let wanted = card.map_or(Accelerator::Cpu.as_str(), |card| card.name.as_str());
    let stacks = &model.manifest.stacks;
    let on_card = |name: &&String| {
        catalogue
            .stack(name)
            .is_ok_and(|stack| stack.stack.accelerator.as_str() == wanted)
    };
    let name = stacks.iter().find(on_card).unwrap_or(&stacks[0]);
    Ok(catalogue.stack(name)?)
}

fn version(text: &str) -> Result<Version, CliError> {
    parse_version(text)
        .ok_or_else(|| CliError::Usage(format!("`{text}` is not a version: write for example 0.12.0")))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse::<f64>()
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "write a share above 0, at most 1, such as 0.9".to_owned())
}

fn gib(text: &str) -> Result<f64, String> {
    let gib = text.parse::<f64>().ok().filter(|gib| (0.0..=1e6).contains(gib));
    gib.ok_or_else(|| "write a figure in GiB, such as 13.5".to_owned())
}
