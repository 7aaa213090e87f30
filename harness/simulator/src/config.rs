//! The simulator's own configuration: one JSON file that says what is played.
//!
//! Everything a vLLM server would read from a checkpoint (architecture, vocabulary, chat template) is here,
//! because there is no checkpoint. Unknown keys are errors, so that a typing mistake never becomes a default.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::faults::{Fault, FaultError};
use crate::profile::{Profile, ProfileError};
use crate::version::Version;

/// Smallest vocabulary in which every byte and every special token has an id.
pub const SMALLEST_VOCABULARY: u32 = 512;

/// The file as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimConfig {
    /// Release that is played.
    pub vllm_version: Version,
    /// Card: a name or the profile itself.
    pub profile: ProfileChoice,
    /// Simulated seconds a real second.
    #[serde(default = "real_time")]
    pub clock: f64,
    /// Seed of the language model.
    #[serde(default)]
    pub seed: u64,
    /// What the checkpoint would say.
    pub model: ModelSpec,
    /// Prompts whose answer is known.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// Faults in the syntax of `--sim-fault`.
    #[serde(default)]
    pub faults: Vec<String>,
    /// What a client sees while the server boots.
    #[serde(default)]
    pub health_while_booting: BootingHealth,
}

fn real_time() -> f64 {
    1.0
}

/// A card by name or by value.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum ProfileChoice {
    /// Name of an embedded profile.
    Named(String),
    /// A profile in the file itself.
    Inline(Box<Profile>),
}

/// What answers before the model is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum BootingHealth {
    /// As vLLM: nobody listens, so the connection is refused.
    #[serde(rename = "refused")]
    Refused,
    /// As behind a proxy that knows the server: 503.
    #[default]
    #[serde(rename = "503")]
    Unavailable,
}

/// Compressed keys and values of multi-head latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlaSpec {
    /// Width of the compressed part.
    pub kv_lora_rank: u64,
    /// Width of the rotary part.
    pub rope_head_dim: u64,
}

/// What the checkpoint would say of the model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Class name, as in `config.json`.
    pub architecture: String,
    /// All parameters.
    pub parameters: u64,
    /// Parameters that one token reads, when experts make that fewer than all.
    #[serde(default)]
    pub active_parameters: Option<u64>,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Attention heads.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the feed-forward layer.
    pub ffn_size: u64,
    /// Token ids are below this.
    pub vocab_size: u32,
    /// Longest sequence the positions allow.
    pub max_position: u64,
    /// Bytes of a weight: 2 for BF16.
    #[serde(default = "half_precision")]
    pub bytes_per_parameter: u64,
    /// Present for multi-head latent attention.
    #[serde(default)]
    pub mla: Option<MlaSpec>,
    /// The tokenizer brings a chat template.
    #[serde(default)]
    pub chat_template: bool,
    /// The model takes images.
    #[serde(default)]
    pub images: bool,
    /// The model thinks before it answers.
    #[serde(default)]
    pub reasoning: bool,
}

fn half_precision() -> u64 {
    2
}

/// A tool call that an answer carries.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Function name.
    pub name: String,
    /// Arguments by name.
    pub arguments: serde_json::Value,
}

/// A prompt and the greedy output that the model gives to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Text of the last user message, trimmed; or the whole prompt of a completion.
    pub prompt: String,
    /// The output.
    pub answer: String,
    /// Thinking that precedes the output where the model reasons.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// Calls that replace the output where the request offers tools.
    #[serde(default)]
    pub tool_calls: Vec<ToolCall>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the simulator's configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not JSON of the right shape.
    #[error("the simulator's configuration {} is wrong: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// A figure is out of its range.
    #[error("the simulator's configuration has {what}: {advice}")]
    OutOfRange {
        /// The field and its value.
        what: String,
        /// What would be right.
        advice: &'static str,
    },
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A fault.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

impl SimConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = serde_json::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        config.check()?;
        Ok(config)
    }

    /// The card.
    pub fn card(&self) -> Result<Profile, ConfigError> {
        match &self.profile {
            ProfileChoice::Named(name) => Ok(Profile::named(name)?),
            ProfileChoice::Inline(profile) => Ok(profile.as_ref().clone()),
        }
    }

    /// The faults, parsed.
    pub fn faults(&self) -> Result<Vec<Fault>, ConfigError> {
        self.faults
            .iter()
            .map(|text| text.parse().map_err(ConfigError::from))
            .collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !(self.clock.is_finite() && self.clock > 0.0) {
            let what = format!("`clock` = {}", self.clock);
            return Err(ConfigError::OutOfRange {
                what,
                advice: "use a number above 0 (1 is real time)",
            });
        }
        let model = &self.model;
        let counts = [
            ("parameters", model.parameters),
            ("layers", model.layers),
            ("hidden_size", model.hidden_size),
            ("heads", model.heads),
            ("kv_heads", model.kv_heads),
            ("head_dim", model.head_dim),
            ("ffn_size", model.ffn_size),
            ("max_position", model.max_position),
            ("bytes_per_parameter", model.bytes_per_parameter),
        ];
        for (name, value) in counts {
            if value == 0 {
                let what = format!("`model.{name}` = 0");
                return Err(ConfigError::OutOfRange {
                    what,
                    advice: "use the figure of the checkpoint",
                });
            }
        }
        if model.vocab_size < SMALLEST_VOCABULARY {
            let what = format!("`model.vocab_size` = {}", model.vocab_size);
            return Err(ConfigError::OutOfRange {
                what,
                advice: "use at least 512",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Mistral-7B-v0.1 on a C500, as every test of a module begins.
    pub(crate) fn mistral() -> SimConfig {
        serde_json::from_value(serde_json::json!({
            "vllm_version": "0.8.5", "profile": "c500",
            "model": {
                "architecture": "MistralForCausalLM", "parameters": 7_241_732_096_u64, "layers": 32,
                "hidden_size": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn_size": 14336,
                "vocab_size": 32000, "max_position": 32768, "chat_template": true
            }
        }))
        .unwrap()
    }

    fn problem(change: impl FnOnce(&mut SimConfig)) -> String {
        let mut config = mistral();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn figures_out_of_range_are_named() {
        assert!(problem(|config| config.clock = 0.0).contains("`clock` = 0"));
        assert!(problem(|config| config.model.layers = 0).contains("`model.layers` = 0"));
        assert!(problem(|config| config.model.vocab_size = 100).contains("`model.vocab_size` = 100"));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sim.json");
        std::fs::write(&path, "{\n  \"vllm_versio\": \"0.8.5\"\n}").unwrap();
        let message = SimConfig::load(&path).unwrap_err().to_string();
        assert!(
            message.contains("unknown field `vllm_versio`") && message.contains("line 2"),
            "{message}"
        );
    }
}
