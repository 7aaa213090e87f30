//! What differs between two stacks, by layer: the first question when a gate fails.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A layer of a stack, from the metal upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Cards, their BIOS and their limits.
    Cards,
    /// Kernel-mode driver and its tool.
    Driver,
    /// Kernel of the host and container engine.
    Host,
    /// MACA, on the host and in the container.
    Maca,
    /// torch and the libraries beside it.
    Torch,
    /// vLLM and its platform plugin.
    Vllm,
    /// The image as a whole.
    Image,
    /// Arguments and environment of the server, and what it made of them.
    Settings,
    /// Weights and tokenizer.
    Model,
}

impl Layer {
    /// The layer of a fact, by its name in a record's settings and environment.
    fn of(fact: &str) -> Self {
        match fact {
            "accelerator" | "cards" | "card_ids" | "bios" | "power_cap" | "expected_bios" => Self::Cards,
            "driver" | "smi" | "expected_driver" | "expected_smi" => Self::Driver,
            "kernel" | "container_runtime" => Self::Host,
            "maca_of_host" | "maca_of_container" | "expected_maca" => Self::Maca,
            "torch" | "transformers" | "python" | "mcoplib" | "expected_torch" => Self::Torch,
            "vllm" | "vllm_package" | "vllm_plugin" | "platform_plugin" | "expected_vllm" | "engine"
            | "model_runner" => Self::Vllm,
            "image" | "image_id" => Self::Image,
            "weights" | "model_id" | "revision" | "architecture" | "manifest" => Self::Model,
            _ => Self::Settings,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cards => "cards",
            Self::Driver => "driver",
            Self::Host => "host",
            Self::Maca => "MACA",
            Self::Torch => "torch",
            Self::Vllm => "vLLM",
            Self::Image => "image",
            Self::Settings => "settings",
            Self::Model => "model",
        })
    }
}

/// One fact that differs; `None` where one side's record lacks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its layer.
    pub layer: Layer,
    /// Its name in the records.
    pub fact: String,
    /// On the baseline.
    pub baseline: Option<String>,
    /// On the candidate.
    pub candidate: Option<String>,
}

/// All facts that differ, from the lowest layer up.
pub fn differences(
    baseline: &BTreeMap<String, String>,
    candidate: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut facts: Vec<&String> = baseline.keys().chain(candidate.keys()).collect();
    facts.sort_unstable();
    facts.dedup();
    let mut differences: Vec<Difference> = facts
        .into_iter()
        .filter(|&fact| baseline.get(fact) != candidate.get(fact))
        .map(|fact| Difference {
            layer: Layer::of(fact),
            fact: fact.clone(),
            baseline: baseline.get(fact).cloned(),
            candidate: candidate.get(fact).cloned(),
        })
        .collect();
    differences.sort_by_key(|difference| difference.layer);
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_come_from_the_metal_upwards() {
        let facts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect()
        };
        let baseline = facts(&[
            ("vllm", "0.8.5"),
            ("driver", "3.0.11"),
            ("bios", "1"),
            ("torch", "2.6"),
        ]);
        let candidate = facts(&[("vllm", "0.12.0"), ("driver", "3.1.0"), ("bios", "1")]);
        let told: Vec<(Layer, String)> = differences(&baseline, &candidate)
            .into_iter()
            .map(|difference| (difference.layer, difference.fact))
            .collect();
        assert_eq!(
            told,
            [
                (Layer::Driver, "driver".to_owned()),
                (Layer::Torch, "torch".to_owned()),
                (Layer::Vllm, "vllm".to_owned())
            ]
        );
    }
}
