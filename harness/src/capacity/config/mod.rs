//! Reads a model's `config.json` (Hugging Face). Every mistake is told with its place; what a class needs and the
//! file lacks is an error, a class that is not known is refused, and no figure is believed that no model has.

mod values;
mod vision;

use std::path::Path;

use serde_json::Value;

use self::values::described;
use super::{
    family::{AttentionKind, FAMILIES, Family, FeedForwardKind, family},
    numbers::{Method, Quantization},
    shape::{Experts, Latent, Shape},
};
use crate::manifest::{Diagnostic, Diagnostics, Dtype, JsonDocument};

/// Sections that hold the language model of a model with several parts.
const NESTED: [&str; 4] = [
    "/text_config",
    "/language_config",
    "/llm_config",
    "/thinker_config/text_config",
];

/// What a `config.json` says of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The network.
    pub shape: Shape,
    /// Type that the weights are stored in.
    pub dtype: Option<Dtype>,
    /// How matrices are stored.
    pub quantization: Option<Quantization>,
    /// Whether the configuration or the model is Python code of the checkpoint.
    pub remote_code: bool,
}

impl ModelConfig {
    /// Reads a file; `shown` is its path in messages.
    pub fn read(path: &Path, shown: String) -> Result<Self, Diagnostics> {
        Self::of(&JsonDocument::read(path, shown)?)
    }

    /// Reads a text; `shown` is its name in messages.
    pub fn parse(shown: &str, text: &str) -> Result<Self, Diagnostics> {
        Self::of(&JsonDocument::parse(shown, text)?)
    }

    fn of(document: &JsonDocument) -> Result<Self, Diagnostics> {
        let mut reader = Reader {
            document,
            base: "",
            problems: Vec::new(),
        };
        let config = reader.model();
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(reader.problems.into_iter().collect()),
        }
    }
}

/// Largest figures that are believed: far above every published model, far below overflow.
mod bound {
    pub(super) const LAYERS: u64 = 10_000;
    pub(super) const WIDTH: u64 = 1 << 20;
    pub(super) const HEADS: u64 = 1 << 16;
    pub(super) const VOCAB: u64 = 1 << 26;
    pub(super) const POSITIONS: u64 = 1 << 32;
    pub(super) const EXPERTS: u64 = 1 << 16;
}

struct Reader<'a> {
    document: &'a JsonDocument,
    /// Section of the language model.
    base: &'static str,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn model(&mut self) -> Option<ModelConfig> {
        if !self.document.get("").is_some_and(Value::is_object) {
            let found = self.document.wrong("", "a configuration is a map of settings");
            self.problems.push(found.help("name the model's `config.json`"));
            return None;
        }
        let family = self.family();
        let nested = NESTED.into_iter().find(|section| {
            self.document
                .get(&format!("{section}/num_hidden_layers"))
                .is_some()
        });
        let is_flat = self.document.get("/num_hidden_layers").is_some();
        self.base = nested.filter(|_| !is_flat).unwrap_or("");
        let shape = self.shape(family?)?;
        Some(ModelConfig {
            shape,
            dtype: self.dtype(),
            quantization: self.quantization(),
            remote_code: self.document.get("/auto_map").is_some(),
        })
    }

    fn family(&mut self) -> Option<&'static Family> {
        let place = "/architectures/0";
        let Some(class) = self.document.get(place) else {
            let problem = match self.document.get("/architectures") {
                None => self.document.lacks("", "architectures"),
                Some(_) => self
                    .document
                    .wrong("/architectures", "`architectures` names no class"),
            };
            self.problems
                .push(problem.help("write the class that vLLM is to use, such as `[\"LlamaForCausalLM\"]`"));
            return None;
        };
        let Some(class) = class.as_str() else {
            let message = format!("expected the name of a class, found {}", described(class));
            self.problems.push(self.document.wrong(place, message));
            return None;
        };
        let found = family(class);
        if found.is_none() {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.class).collect();
            let message = format!("the architecture `{class}` is not known here");
            let help = crate::manifest::suggestion(class, &known);
            self.problems.push(self.document.wrong(place, message).help(help));
        }
        found
    }

    fn shape(&mut self, family: &'static Family) -> Option<Shape> {
        let layers = self.count(&["num_hidden_layers", "num_layers", "n_layer"], bound::LAYERS);
        let hidden = self.count(&["hidden_size", "n_embd"], bound::WIDTH);
        let heads = self.count(&["num_attention_heads", "n_head"], bound::HEADS);
        let vocab = self.count(&["vocab_size", "padded_vocab_size"], bound::VOCAB);
        let positions = self.count(
            &["max_position_embeddings", "model_max_length", "seq_length"],
            bound::POSITIONS,
        );
        let experts = self.experts(family);
        let ffn = match family.feed_forward {
            // These have no plain layer where every layer has experts.
            FeedForwardKind::Qwen { .. } => self.optional("intermediate_size", bound::WIDTH),
            _ => self.count(&["intermediate_size", "ffn_hidden_size"], bound::WIDTH),
        };
        let latent = match family.attention {
            AttentionKind::Latent => self.latent(),
            AttentionKind::Grouped => None,
        };
        let vision = family.vision.and_then(|kind| self.vision(kind, hidden));
        let (kv_heads, head_dim) = self.heads(hidden, heads, latent);
        Some(Shape {
            class: family.class.to_owned(),
            family: Some(family),
            stated_parameters: None,
            stated_active: None,
            layers: layers?,
            hidden: hidden?,
            heads: heads?,
            kv_heads: kv_heads?,
            head_dim: head_dim?,
            ffn: ffn.unwrap_or(0),
            vocab: vocab?,
            max_position: positions?,
            tied: self.flag("tie_word_embeddings").unwrap_or(family.tied),
            // Qwen2 has these biases whatever its configuration says; where a key asks for them the output gets one too.
            qkv_bias: family.qkv_bias || self.flag("attention_bias") == Some(true),
            output_bias: !family.qkv_bias && self.flag("attention_bias") == Some(true),
            ffn_bias: self.flag("mlp_bias") == Some(true),
            sliding_window: self.window(),
            latent,
            experts,
            vision,
        })
    }

    /// Key and value heads, and the width of a head.
    fn heads(
        &mut self,
        hidden: Option<u64>,
        heads: Option<u64>,
        latent: Option<Latent>,
    ) -> (Option<u64>, Option<u64>) {
        let kv_heads = self.optional("num_key_value_heads", bound::HEADS).or(heads);
        if let (Some(all), Some(kv)) = (heads, kv_heads)
            && !all.is_multiple_of(kv)
        {
            let message = format!("{kv} key and value heads cannot serve {all} attention heads evenly");
            let place = self.place("num_key_value_heads");
            self.problems.push(self.document.wrong(&place, message));
        }
        if let Some(latent) = latent {
            return (kv_heads, Some(latent.nope.saturating_add(latent.rope)));
        }
        if let Some(width) = self.optional("head_dim", bound::WIDTH) {
            return (kv_heads, Some(width));
        }
        let (Some(hidden), Some(heads)) = (hidden, heads) else {
            return (kv_heads, None);
        };
        if !hidden.is_multiple_of(heads) {
            let message =
                format!("{heads} heads cannot share a width of {hidden}, and no `head_dim` is given");
            let place = self.place("num_attention_heads");
            self.problems.push(self.document.wrong(&place, message));
            return (kv_heads, None);
        }
        (kv_heads, Some(hidden / heads))
    }

    fn latent(&mut self) -> Option<Latent> {
        let [kv_rank, nope, rope, value] = [
            "kv_lora_rank",
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "v_head_dim",
        ]
        .map(|key| self.count(&[key], bound::WIDTH));
        Some(Latent {
            q_rank: self.optional("q_lora_rank", bound::WIDTH),
            kv_rank: kv_rank?,
            nope: nope?,
            rope: rope?,
            value: value?,
        })
    }

    /// `None`: there are none, or a mistake was told.
    fn experts(&mut self, family: &'static Family) -> Option<Experts> {
        let usual = Experts::of(Some(family));
        match family.feed_forward {
            FeedForwardKind::Dense => None,
            FeedForwardKind::Mixtral => {
                let routed = self.count(&["num_local_experts"], bound::EXPERTS);
                let ffn = self.count(&["intermediate_size"], bound::WIDTH);
                self.with_choice(Experts { ..usual }, routed, ffn)
            }
            FeedForwardKind::Qwen { shared } => {
                let routed = self.count(&["num_experts", "num_local_experts"], bound::EXPERTS);
                let ffn = self.count(&["moe_intermediate_size"], bound::WIDTH);
                let shared_ffn = if shared {
                    self.count(&["shared_expert_intermediate_size"], bound::WIDTH)?
                } else {
                    0
                };
                self.no_odd_layers();
                let experts = Experts {
                    shared_ffn,
                    step: self.optional("decoder_sparse_step", bound::LAYERS).unwrap_or(1),
                    ..usual
                };
                self.with_choice(experts, routed, ffn)
            }
            FeedForwardKind::DeepSeek { .. } => {
                // The family's small dense models leave the key out, or null.
                let routed = self.optional("n_routed_experts", bound::EXPERTS)?;
                let ffn = self.count(&["moe_intermediate_size"], bound::WIDTH);
                let shared = self.zero_or_more("n_shared_experts", bound::EXPERTS).unwrap_or(0);
                let experts = Experts {
                    shared_ffn: shared.saturating_mul(ffn.unwrap_or(0)),
                    dense_layers: self
                        .zero_or_more("first_k_dense_replace", bound::LAYERS)
                        .unwrap_or(0),
                    step: self.optional("moe_layer_freq", bound::LAYERS).unwrap_or(1),
                    ..usual
                };
                self.with_choice(experts, Some(routed), ffn)
            }
        }
    }

    fn with_choice(&mut self, experts: Experts, routed: Option<u64>, ffn: Option<u64>) -> Option<Experts> {
        let per_token = self.count(&["num_experts_per_tok"], bound::EXPERTS);
        let experts = Experts {
            routed: routed?,
            per_token: per_token?,
            ffn: ffn?,
            ..experts
        };
        if experts.per_token > experts.routed {
            let message = format!(
                "a token passes {} experts, but there are {}",
                experts.per_token, experts.routed
            );
            let place = self.place("num_experts_per_tok");
            self.problems.push(self.document.wrong(&place, message));
        }
        Some(experts)
    }

    /// A list of single layers without experts is not counted, so it must be empty.
    fn no_odd_layers(&mut self) {
        let place = self.place("mlp_only_layers");
        let is_empty = self
            .document
            .get(&place)
            .is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty));
        if !is_empty {
            let message = "single layers without experts are not counted here";
            let problem = self.document.wrong(&place, message);
            self.problems
                .push(problem.help("state the parameters in a manifest and ask with --model"));
        }
    }

    fn window(&mut self) -> Option<u64> {
        let window = self.optional("sliding_window", bound::POSITIONS);
        // Qwen writes a window that it does not use.
        window.filter(|_| self.flag("use_sliding_window") != Some(false))
    }

    fn dtype(&mut self) -> Option<Dtype> {
        let place = ["dtype", "torch_dtype"]
            .into_iter()
            .flat_map(|key| [self.place(key), format!("/{key}")])
            .find(|place| self.document.get(place).is_some_and(|value| !value.is_null()))?;
        let word = self.document.get(&place)?.as_str().unwrap_or_default();
        let found = Dtype::ALL.into_iter().find(|dtype| dtype.as_str() == word);
        if found.is_none() && word != "auto" {
            let value = self.document.get(&place).map(described).unwrap_or_default();
            let problem = self
                .document
                .wrong(&place, format!("{value} is no number type that is known here"));
            self.problems
                .push(problem.help("write bfloat16, float16 or float32"));
        }
        found
    }

    fn quantization(&mut self) -> Option<Quantization> {
        let section = "/quantization_config";
        let written = self.document.get(section).filter(|value| !value.is_null())?;
        let word = written
            .get("quant_method")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let Ok(method) = word.parse::<Method>() else {
            let message = format!("the quantization `{word}` is not known here");
            let place = format!("{section}/quant_method");
            let problem = self.document.wrong(&place, message);
            self.problems.push(problem.help(format!(
                "known are {}",
                Method::ALL.map(Method::as_str).join(", ")
            )));
            return None;
        };
        let number = |key: &str| written.get(key).and_then(Value::as_u64);
        Some(method.with(number("bits").or_else(|| number("w_bit")), number("group_size")))
    }
}
