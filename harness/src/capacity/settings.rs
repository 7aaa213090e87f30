//! How a server is started, as far as memory depends on it: from a manifest on a stack (the sections' own keys, the
//! arguments and variables that the stack's version gets), or put together by hand.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};

use super::{
    numbers::{KvType, Method, Quantization},
    predict::GIB,
};
use crate::manifest::{Accelerator, Dtype, Manifest, Stack};

/// Variable that sizes the KV cache of the CPU backend, in GiB.
pub const CPU_KV_CACHE: &str = "VLLM_CPU_KVCACHE_SPACE";

/// How a server is started, as far as memory depends on it. `None`: vLLM's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Release of vLLM.
    pub version: Version,
    /// Number type of weights and activations.
    pub dtype: Dtype,
    /// How matrices are stored.
    pub quantization: Option<Quantization>,
    /// Type of the KV cache.
    pub kv_type: KvType,
    /// Longest sequence, tokens.
    pub max_model_len: u64,
    /// Share of the card that vLLM may take.
    pub utilization: Option<f64>,
    /// Tokens of a block.
    pub block_size: Option<u64>,
    /// Sequences of a step.
    pub max_num_seqs: Option<u64>,
    /// Tokens of a step.
    pub max_num_batched_tokens: Option<u64>,
    /// Whether no graphs are captured.
    pub enforce_eager: bool,
    /// KV cache of one card in GiB, where it is set and not left over.
    pub kv_cache_gib: Option<f64>,
    /// Measured figures that replace estimates.
    pub known: Known,
}

/// Figures of one card that were measured, in GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Known {
    /// Memory as torch sees it.
    pub card_gib: Option<f64>,
    /// Weights.
    pub weights_gib: Option<f64>,
    /// Memory outside torch.
    pub non_torch_gib: Option<f64>,
    /// Activation peak.
    pub activation_gib: Option<f64>,
    /// Captured graphs.
    pub graph_gib: Option<f64>,
}

/// How a model is spread over cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Cards that share each layer.
    pub tensor_parallel: u64,
    /// Groups of layers.
    pub pipeline_parallel: u64,
}

impl Layout {
    /// All cards.
    pub const fn cards(self) -> u64 {
        self.tensor_parallel.saturating_mul(self.pipeline_parallel)
    }
}

impl Settings {
    /// The settings of a manifest on a stack with numbers of type `dtype`; `Err` says what cannot be read.
    pub fn served(manifest: &Manifest, stack: &Stack, dtype: Dtype) -> Result<Self, String> {
        let version: Version = stack
            .vllm
            .parse()
            .map_err(|error| format!("`{}` is not a version: {error}", stack.vllm))?;
        let holds = |range: &str| VersionReq::parse(range).is_ok_and(|range| range.matches(&version));
        let serve = &manifest.serve;
        let mut words: Vec<&str> = stack.args.iter().map(String::as_str).collect();
        for set in serve.args.iter().filter(|set| holds(&set.vllm)) {
            words.extend(set.add.iter().map(String::as_str));
        }
        let mut variables: BTreeMap<&str, &str> = stack
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for set in serve.env.iter().filter(|set| holds(&set.vllm)) {
            variables.extend(
                set.set
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
        }
        let mut settings = Self {
            version: version.clone(),
            dtype,
            quantization: None,
            kv_type: KvType::Auto,
            max_model_len: u64::from(serve.max_model_len),
            utilization: Some(serve.gpu_memory_utilization),
            block_size: serve.block_size.map(u64::from),
            max_num_seqs: serve.max_num_seqs.map(u64::from),
            max_num_batched_tokens: None,
            enforce_eager: false,
            kv_cache_gib: None,
            known: Known::default(),
        };
        settings.take(&words)?;
        if stack.accelerator == Accelerator::Cpu {
            settings.kv_cache_gib = variables
                .get(CPU_KV_CACHE)
                .map(|text| number(CPU_KV_CACHE, text))
                .transpose()?;
        }
        Ok(settings)
    }

    /// Takes what arguments of `vllm serve` say of memory; all others pass.
    pub fn take(&mut self, words: &[&str]) -> Result<(), String> {
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let (name, joined) = word
                .split_once('=')
                .map_or((word, None), |(name, value)| (name, Some(value)));
            let name = name.replace('_', "-");
            let mut value = || joined.or_else(|| words.next()).unwrap_or_default();
            match name.as_str() {
                "--enforce-eager" => self.enforce_eager = true,
                "--no-enforce-eager" => self.enforce_eager = false,
                "--max-num-batched-tokens" => self.max_num_batched_tokens = Some(number(&name, value())?),
                "--max-num-seqs" => self.max_num_seqs = Some(number(&name, value())?),
                "--block-size" => self.block_size = Some(number(&name, value())?),
                "--kv-cache-dtype" => self.kv_type = value().parse()?,
                "--kv-cache-memory-bytes" | "--kv-cache-memory" => {
                    self.kv_cache_gib = Some(number::<f64>(&name, value())? / GIB);
                }
                "--quantization" | "-q" => {
                    self.quantization = Some(value().parse::<Method>()?.with(None, None));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{name} {text}`: expected a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Catalogue;

    #[test]
    fn arguments_and_variables_of_the_version_count() {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let catalogue = Catalogue::open(root);
        let model = catalogue.model("smollm2_135m").unwrap().manifest;
        let mut stack = catalogue.stack("cpu_vllm0.12.0").unwrap().stack;
        stack.env.insert(CPU_KV_CACHE.to_owned(), "1".to_owned());
        let settings = Settings::served(&model, &stack, Dtype::Float32).unwrap();
        assert!(settings.enforce_eager);
        assert_eq!(
            (settings.kv_cache_gib, settings.max_num_seqs),
            (Some(1.0), Some(16))
        );
        stack.env.insert(CPU_KV_CACHE.to_owned(), "some".to_owned());
        let error = Settings::served(&model, &stack, Dtype::Float32).unwrap_err();
        assert_eq!(error, "`VLLM_CPU_KVCACHE_SPACE some`: expected a number");
    }

    #[test]
    fn arguments_are_read_in_both_spellings() {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let catalogue = Catalogue::open(root);
        let model = catalogue.model("mistral_7b_v0_1").unwrap().manifest;
        let stack = catalogue.stack("c500_maca3.3_vllm0.12.0").unwrap().stack;
        let mut settings = Settings::served(&model, &stack, Dtype::Bfloat16).unwrap();
        settings
            .take(&[
                "--max_num_batched_tokens=4096",
                "--kv-cache-dtype",
                "fp8",
                "--quantization=awq",
                "--kv-cache-memory-bytes",
                "1073741824",
                "--seed",
                "0",
            ])
            .unwrap();
        assert_eq!(settings.max_num_batched_tokens, Some(4096));
        assert_eq!(
            (settings.kv_type, settings.kv_cache_gib),
            (KvType::Fp8, Some(1.0))
        );
        assert_eq!(settings.quantization.unwrap().method, Method::Awq);
        let error = settings.take(&["--max-num-seqs"]).unwrap_err();
        assert_eq!(error, "`--max-num-seqs `: expected a number");
    }
}
