//! What vLLM's version and platform decide about memory for one and the same manifest. Boundaries are the first
//! examined release that behaves the new way; sources: vLLM's `engine/arg_utils.py`, `platforms/cpu.py`,
//! `v1/core/kv_cache_utils.py`, `v1/kv_cache_interface.py` of 0.8.5, 0.12.0 and 0.32.0, MetaX's plugin.

use semver::Version;

use super::shape::Shape;
use crate::{manifest::CardPlatform, vllm::version::at_least};

/// Where a server computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// On cards.
    Card(CardPlatform),
    /// On vLLM's CPU backend.
    Cpu,
}

/// The settings that a server resolves by itself.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent turns of vLLM")]
pub struct Rules {
    /// Whether the first engine serves (before 0.9; later releases chose V1 wherever it serves).
    pub is_v0: bool,
    /// `gpu_memory_utilization` where nobody gives one.
    pub utilization: f64,
    /// Whether captured graphs are taken out of the KV cache's share.
    pub graphs_in_share: bool,
    /// Tokens of a block where nobody chooses.
    pub block_size: u64,
    /// Tokens of a block whatever somebody chose, and why.
    pub forced_block_size: Option<u64>,
    /// Whether concurrency counts the blocks that one request needs (whole blocks; a sliding window needs fewer).
    pub counts_blocks: bool,
    /// Window of attention that frees blocks.
    pub window: Option<u64>,
    /// Whether the printed token count is concurrency × length.
    pub tokens_by_concurrency: bool,
}

impl Rules {
    /// The rules of a version on a platform for a model.
    pub fn of(version: &Version, platform: Platform, shape: &Shape) -> Self {
        let since = |release| at_least(version, release);
        let is_v0 = !since((0, 9, 0));
        let is_latent = shape.latent.is_some();
        let forced_block_size = match platform {
            Platform::Card(_) if is_latent => Some(64),
            Platform::Cpu if is_latent && !is_v0 => Some(16),
            Platform::Cpu | Platform::Card(_) => None,
        };
        Self {
            is_v0,
            utilization: if since((0, 20, 0)) { 0.92 } else { 0.9 },
            graphs_in_share: since((0, 20, 0)) && platform != Platform::Cpu,
            block_size: if platform == Platform::Cpu && !is_v0 {
                128
            } else {
                16
            },
            forced_block_size,
            counts_blocks: since((0, 10, 2)),
            window: shape.sliding_window.filter(|_| since((0, 10, 2))),
            tokens_by_concurrency: since((0, 20, 2)),
        }
    }

    /// Tokens of a step where nobody gives them: V0 takes a whole prompt at once, unless it is longer than 32,768
    /// tokens; V1 cuts prompts to 2,048, on cards of 70 GiB and more (but the A100) to 8,192.
    pub fn batched_tokens(&self, max_model_len: u64, card_gib: f64, card_name: &str) -> u64 {
        if self.is_v0 && max_model_len <= 32_768 {
            max_model_len.max(2048)
        } else if !self.is_v0 && is_large(card_gib, card_name) {
            8192
        } else {
            2048
        }
    }

    /// Sequences of a step where nobody gives them.
    pub fn sequences(&self, card_gib: f64, card_name: &str) -> u64 {
        if !self.is_v0 && is_large(card_gib, card_name) {
            1024
        } else {
            256
        }
    }

    /// The rules that move memory between versions, in sentences. `is_chosen`: somebody gave the utilization.
    pub fn sentences(&self, version: &Version, is_chosen: bool) -> Vec<String> {
        let mut said = Vec::new();
        let engine = if self.is_v0 {
            "engine V0 profiles a whole prompt of max_model_len tokens"
        } else {
            "engine V1 profiles a step of max_num_batched_tokens, not a whole prompt"
        };
        said.push(engine.to_owned());
        if !is_chosen {
            said.push(format!(
                "gpu_memory_utilization is not given: {} is the default {}",
                self.utilization,
                if self.utilization > 0.9 {
                    "from vLLM 0.20 on (0.9 before)"
                } else {
                    "before vLLM 0.20 (0.92 from then on)"
                }
            ));
        }
        said.push(if self.graphs_in_share {
            "captured graphs are taken out of the KV cache (from vLLM 0.20 on)".to_owned()
        } else {
            "captured graphs lie outside of gpu_memory_utilization (inside it from vLLM 0.20 on)".to_owned()
        });
        if let Some(size) = self.forced_block_size {
            said.push(format!("latent attention forces blocks of {size} tokens"));
        }
        if let Some(window) = self.window {
            said.push(format!(
                "attention slides over {window} tokens and frees blocks behind it: more sequences fit than tokens / \
                 max_model_len (before vLLM 0.10.2 nothing is freed)"
            ));
        }
        if self.tokens_by_concurrency {
            said.push(format!(
                "vLLM {version} prints the KV cache as concurrency × max_model_len, not as blocks × block size"
            ));
        }
        said
    }
}

/// What vLLM takes for a large card when it chooses defaults.
fn is_large(card_gib: f64, card_name: &str) -> bool {
    card_gib >= 70.0 && !card_name.to_ascii_lowercase().contains("a100")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::shape::{Latent, tests::mistral};

    fn rules(version: &str, platform: Platform, shape: &Shape) -> Rules {
        Rules::of(&Version::parse(version).unwrap(), platform, shape)
    }

    const C500: Platform = Platform::Card(CardPlatform::Metax);

    #[test]
    fn versions_share_memory_out_differently() {
        let told: Vec<String> = ["0.8.5", "0.12.0", "0.20.2"]
            .iter()
            .map(|text| {
                let rules = rules(text, C500, &mistral());
                let version = Version::parse(text).unwrap();
                format!("{text}\n  {}", rules.sentences(&version, false).join("\n  "))
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn blocks_follow_platform_and_attention() {
        let latent = Latent {
            q_rank: None,
            kv_rank: 512,
            nope: 128,
            rope: 64,
            value: 128,
        };
        let deepseek = Shape {
            latent: Some(latent),
            ..mistral()
        };
        let size = |version, platform, shape: &Shape| {
            let rules = rules(version, platform, shape);
            rules.forced_block_size.unwrap_or(rules.block_size)
        };
        assert_eq!(size("0.8.5", Platform::Cpu, &mistral()), 16);
        assert_eq!(size("0.12.0", Platform::Cpu, &mistral()), 128);
        assert_eq!(size("0.32.0", Platform::Cpu, &deepseek), 16);
        assert_eq!(size("0.12.0", C500, &mistral()), 16);
        assert_eq!(size("0.8.5", C500, &deepseek), 64);
    }

    #[test]
    fn a_step_is_what_the_engine_takes() {
        let tokens =
            |version, len, gib, name| rules(version, C500, &mistral()).batched_tokens(len, gib, name);
        assert_eq!(tokens("0.8.5", 8192, 63.63, "MetaX C500"), 8192);
        assert_eq!(tokens("0.8.5", 1024, 63.63, "MetaX C500"), 2048);
        assert_eq!(tokens("0.8.5", 40_960, 63.63, "MetaX C500"), 2048);
        assert_eq!(tokens("0.12.0", 8192, 63.63, "MetaX C500"), 2048);
        assert_eq!(tokens("0.12.0", 8192, 79.1, "NVIDIA A100 80 GB"), 2048);
        assert_eq!(tokens("0.12.0", 8192, 79.1, "NVIDIA H100"), 8192);
    }
}
