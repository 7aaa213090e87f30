//! What a card is: memory as torch sees it, how fast it decodes and prefills, how long it takes to boot.
//!
//! Profiles are YAML data, embedded in the binary. A figure of a profile is either a datum of the card or
//! fitted to a measurement that the file names; nothing else in the simulator knows a card.

use serde::Deserialize;

/// Which vLLM platform the card is reached by: it changes start-up lines, not arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// The MetaX plugin.
    Metax,
    /// vLLM's own CUDA platform.
    Cuda,
}

/// Memory of one card, in GiB (2^30 bytes).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardMemory {
    /// All that torch sees.
    pub total_gib: f64,
    /// Allocator slack and buffers that come with the weights.
    pub weight_overhead_gib: f64,
    /// Runtime and context outside torch, one rank.
    pub non_torch_gib: f64,
    /// Further memory outside torch when ranks communicate.
    pub collective_gib: f64,
    /// Captured graphs.
    pub graph_gib: f64,
    /// Activation peak that depends on nothing.
    pub activation_base_gib: f64,
    /// Copies of a token's residual and feed-forward activations that are alive at the peak.
    pub activation_token_factor: f64,
    /// Copies of the float32 logits of all sequences that are alive at the peak.
    pub activation_logit_factor: f64,
}

/// Speed of one card.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSpeed {
    /// Memory bandwidth, 10^9 bytes a second.
    pub bandwidth_gb_per_s: f64,
    /// Share of the bandwidth that reading weights in a decode step reaches.
    pub decode_share: f64,
    /// Cost of each sequence in a step, microseconds.
    pub sequence_cost_us: f64,
    /// Arithmetic rate that prefill reaches, 10^12 operations a second.
    pub prefill_tflops: f64,
    /// Two all-reduces of a layer, microseconds.
    pub tensor_parallel_us_per_layer: f64,
}

/// How long the phases of a boot take.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardBoot {
    /// Rate of reading weights, GiB a second and rank.
    pub load_gib_per_s: f64,
    /// Memory profiling, seconds.
    pub profile_s: f64,
    /// Capturing graphs, seconds.
    pub graphs_s: f64,
}

/// A card model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name by which a configuration selects it.
    pub name: String,
    /// Name the card reports.
    pub device: String,
    /// Platform of vLLM.
    pub platform: Platform,
    /// Memory of one card.
    pub memory: CardMemory,
    /// Speed of one card.
    pub speed: CardSpeed,
    /// Duration of boot phases.
    pub boot: CardBoot,
}

const EMBEDDED: [(&str, &str); 2] = [
    ("c500", include_str!("../profiles/c500.yaml")),
    ("a100_40gb", include_str!("../profiles/a100_40gb.yaml")),
];

/// A profile that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No such name.
    #[error("no profile `{name}`: there are {known}; or write the profile itself in the configuration")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An embedded file is wrong.
    #[error("profile `{name}` cannot be read: {source}")]
    Malformed {
        /// The profile's name.
        name: String,
        /// What is wrong with it.
        source: serde_yaml::Error,
    },
}

impl Profile {
    /// The embedded profile of that name.
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        let (_, text) = EMBEDDED.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known = EMBEDDED.map(|(known, _)| format!("`{known}`")).join(", ");
            ProfileError::Unknown {
                name: name.to_owned(),
                known,
            }
        })?;
        serde_yaml::from_str(text).map_err(|source| ProfileError::Malformed {
            name: name.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_profile_reads_and_has_its_own_name() {
        for (name, _) in EMBEDDED {
            assert_eq!(Profile::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn an_unknown_profile_lists_the_known_ones() {
        let message = Profile::named("h100").unwrap_err().to_string();
        assert!(message.contains("`c500`, `a100_40gb`"), "{message}");
    }
}
