//! Families of architectures: what a class of vLLM has beside the figures of its `config.json`. Read from the
//! modeling files of Hugging Face transformers; a class that is not here is refused, never guessed.

/// What all models of a class have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Class as `config.json` and vLLM call it.
    pub class: &'static str,
    /// Whether queries, keys and values have a bias whatever the configuration says.
    pub qkv_bias: bool,
    /// Whether each head's queries and keys are normalized.
    pub head_norms: bool,
    /// Norms of a layer, each as wide as the residual stream.
    pub layer_norms: u8,
    /// Whether input and output share one embedding, where the configuration does not say.
    pub tied: bool,
    /// How attention keeps keys and values.
    pub attention: AttentionKind,
    /// Feed-forward layers.
    pub feed_forward: FeedForwardKind,
    /// Vision tower in front.
    pub vision: Option<VisionKind>,
    /// What an engineer must know before the first boot.
    pub caveats: &'static [Caveat],
}

/// How attention keeps keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKind {
    /// One key and value for a group of heads, or for each head.
    Grouped,
    /// One compressed vector a token (MLA).
    Latent,
}

/// How feed-forward layers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// Gate, up and down.
    Dense,
    /// Experts by the keys of Mixtral (`num_local_experts`).
    Mixtral,
    /// Experts by the keys of Qwen (`num_experts`); `shared`: an expert for all tokens, behind a gate.
    Qwen {
        /// Whether there is a gated shared expert.
        shared: bool,
    },
    /// Experts by the keys of DeepSeek (`n_routed_experts`); `corrected`: the router has a bias an expert.
    DeepSeek {
        /// Whether the router has a correction an expert.
        corrected: bool,
    },
}

/// Makes of vision towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisionKind {
    /// Qwen2-VL: layer norms, a plain feed-forward layer, all with biases.
    Qwen2,
    /// Qwen2.5-VL: RMS norms, a gated feed-forward layer.
    Qwen25,
}

/// Trouble that a family is known for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caveat {
    /// The checkpoint's own code must run.
    RemoteCode,
    /// The tokenizer needs transformers below 4.34.
    OldTokenizer,
    /// The chat model brings no template.
    NoTemplate,
    /// It thinks before it answers unless told not to.
    Thinks,
    /// Latent attention forces blocks of 64 tokens on cards.
    LatentBlocks,
    /// Mixtures of experts run without a stream of their own for shared experts on MetaX cards.
    SharedExpertStream,
    /// Later versions reserve memory for the largest picture that the model knows.
    PictureMemory,
}

const DENSE: Family = Family {
    class: "LlamaForCausalLM",
    qkv_bias: false,
    head_norms: false,
    layer_norms: 2,
    tied: false,
    attention: AttentionKind::Grouped,
    feed_forward: FeedForwardKind::Dense,
    vision: None,
    caveats: &[],
};

const fn like_llama(class: &'static str) -> Family {
    Family { class, ..DENSE }
}

const BAICHUAN: Family = Family {
    class: "BaichuanForCausalLM",
    caveats: &[Caveat::RemoteCode, Caveat::OldTokenizer, Caveat::NoTemplate],
    ..DENSE
};

const QWEN2: Family = Family {
    class: "Qwen2ForCausalLM",
    qkv_bias: true,
    ..DENSE
};

const DEEPSEEK: Family = Family {
    class: "DeepseekV2ForCausalLM",
    attention: AttentionKind::Latent,
    feed_forward: FeedForwardKind::DeepSeek { corrected: false },
    caveats: &[
        Caveat::RemoteCode,
        Caveat::LatentBlocks,
        Caveat::SharedExpertStream,
    ],
    ..DENSE
};

/// Every family, in the order in which messages list them.
pub const FAMILIES: &[Family] = &[
    DENSE,
    like_llama("MistralForCausalLM"),
    Family {
        class: "MixtralForCausalLM",
        feed_forward: FeedForwardKind::Mixtral,
        ..DENSE
    },
    QWEN2,
    Family {
        class: "Qwen2MoeForCausalLM",
        feed_forward: FeedForwardKind::Qwen { shared: true },
        caveats: &[Caveat::SharedExpertStream],
        ..QWEN2
    },
    Family {
        class: "Qwen2VLForConditionalGeneration",
        vision: Some(VisionKind::Qwen2),
        caveats: &[Caveat::PictureMemory],
        ..QWEN2
    },
    Family {
        class: "Qwen2_5_VLForConditionalGeneration",
        vision: Some(VisionKind::Qwen25),
        caveats: &[Caveat::PictureMemory],
        ..QWEN2
    },
    Family {
        class: "Qwen3ForCausalLM",
        head_norms: true,
        caveats: &[Caveat::Thinks],
        ..DENSE
    },
    Family {
        class: "Qwen3MoeForCausalLM",
        head_norms: true,
        feed_forward: FeedForwardKind::Qwen { shared: false },
        caveats: &[Caveat::Thinks],
        ..DENSE
    },
    BAICHUAN,
    Family {
        class: "BaiChuanForCausalLM",
        ..BAICHUAN
    },
    DEEPSEEK,
    Family {
        class: "DeepseekV3ForCausalLM",
        feed_forward: FeedForwardKind::DeepSeek { corrected: true },
        ..DEEPSEEK
    },
    Family {
        class: "DeepseekForCausalLM",
        attention: AttentionKind::Grouped,
        caveats: &[Caveat::RemoteCode, Caveat::SharedExpertStream],
        ..DEEPSEEK
    },
    Family {
        class: "InternLM2ForCausalLM",
        caveats: &[Caveat::RemoteCode],
        ..DENSE
    },
    Family {
        class: "Phi3ForCausalLM",
        ..DENSE
    },
    Family {
        class: "GemmaForCausalLM",
        tied: true,
        ..DENSE
    },
    Family {
        class: "Gemma2ForCausalLM",
        tied: true,
        layer_norms: 4,
        ..DENSE
    },
];

/// The family of a class.
pub fn family(class: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.class == class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_there_once() {
        for entry in FAMILIES {
            assert_eq!(family(entry.class), Some(entry));
        }
        assert_eq!(family("GPT2LMHeadModel"), None);
    }
}
