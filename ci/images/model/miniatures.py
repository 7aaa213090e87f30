#!/usr/bin/env python3
"""Tiny random-weight models of the six families: miniatures.py TOKENIZER_MODEL OUT_DIR FAMILY

Two layers, 128 or 256 wide, so that a CPU runs each architecture's own path in
vLLM from loading to answer. The answers are noise, but the same noise each
time: the weights follow from the family's name. All use the tokenizer of the
model folder TOKENIZER_MODEL. Names and shapes of the weights are those of the
families' published checkpoints (transformers' modeling files).
"""

import sys
import zlib
from pathlib import Path

import numpy as np
from checkpoint import copy_tokenizer, read_json, write_json, write_tensors
from tokenizers import AddedToken, Tokenizer

VOCABULARY = 49152  # of SmolLM2's tokenizer
LAYERS, WIDTH, INNER, HEADS, KV_HEADS, HEAD_DIM = 2, 128, 256, 4, 2, 64
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
VISION_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# vLLM 0.8.5's transformers has no class for this model type: the model brings its own, as the real one does.
DEEPSEEK_CONFIGURATION = '''\
from transformers.configuration_utils import PretrainedConfig


class DeepseekV2Config(PretrainedConfig):
    model_type = "deepseek_v2"
    keys_to_ignore_at_inference = ["past_key_values"]
'''


class Weights:
    """Tensors by name: matrices and embeddings normal with deviation 0.02, norms one, biases zero."""

    def __init__(self, family):
        self.tensors = {}
        self.random = np.random.default_rng(zlib.crc32(family.encode()))

    def matrix(self, name, *shape):
        self.tensors[name + ".weight"] = (self.random.standard_normal(shape) * 0.02).astype(np.float32)

    def linear_with_bias(self, name, outputs, inputs):
        self.matrix(name, outputs, inputs)
        self.tensors[name + ".bias"] = np.zeros(outputs, np.float32)

    def norm(self, name, width, bias=False):
        self.tensors[name + ".weight"] = np.ones(width, np.float32)
        if bias:
            self.tensors[name + ".bias"] = np.zeros(width, np.float32)

    def feed_forward(self, name, width, inner):
        self.matrix(name + ".gate_proj", inner, width)
        self.matrix(name + ".up_proj", inner, width)
        self.matrix(name + ".down_proj", width, inner)

    def decoder(self, attention, feed_forward=None, width=WIDTH, vocabulary=VOCABULARY):
        """The frame that all six share; attention(name) and feed_forward(name, layer) fill in a layer."""
        self.matrix("model.embed_tokens", vocabulary, width)
        for layer in range(LAYERS):
            name = f"model.layers.{layer}"
            attention(name + ".self_attn")
            if feed_forward:
                feed_forward(name + ".mlp", layer)
            else:
                self.feed_forward(name + ".mlp", width, INNER)
            self.norm(name + ".input_layernorm", width)
            self.norm(name + ".post_attention_layernorm", width)
        self.norm("model.norm", width)
        self.matrix("lm_head", vocabulary, width)


def grouped_attention(weights, width=WIDTH, head_dim=HEAD_DIM, bias=False, head_norms=False):
    linear = weights.linear_with_bias if bias else weights.matrix

    def attention(name):
        linear(name + ".q_proj", HEADS * head_dim, width)
        linear(name + ".k_proj", KV_HEADS * head_dim, width)
        linear(name + ".v_proj", KV_HEADS * head_dim, width)
        weights.matrix(name + ".o_proj", width, HEADS * head_dim)
        if head_norms:
            weights.norm(name + ".q_norm", head_dim)
            weights.norm(name + ".k_norm", head_dim)

    return attention


def qwen3(weights, out):
    weights.decoder(grouped_attention(weights, head_norms=True))
    return CONFIG | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": HEAD_DIM}


def mistral(weights, out):
    weights.decoder(grouped_attention(weights))
    return CONFIG | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "head_dim": HEAD_DIM,
        "sliding_window": None,
    }


def codellama(weights, out):
    weights.decoder(grouped_attention(weights))
    return CONFIG | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "head_dim": HEAD_DIM,
        "rope_theta": 1e6,
        "mlp_bias": False,
    }


def baichuan2(weights, out):
    def attention(name):
        weights.matrix(name + ".W_pack", 3 * WIDTH, WIDTH)
        weights.matrix(name + ".o_proj", WIDTH, WIDTH)

    weights.decoder(attention)
    # The model type is llama's, whose configuration class every transformers has; the architecture
    # still selects vLLM's own Baichuan, in its form with RoPE (that of the 7B model).
    return CONFIG | {
        "architectures": ["BaichuanForCausalLM"],
        "model_type": "llama",
        "num_key_value_heads": HEADS,
        "model_max_length": 2048,
    }


def deepseek_v2(weights, out):
    """Latent attention (MLA) with the real model's head sizes, and a second layer of eight experts."""
    latent, nope, rope, value, experts, expert_inner = 512, 128, 64, 128, 8, 64

    def attention(name):
        weights.matrix(name + ".q_proj", HEADS * (nope + rope), WIDTH)
        weights.matrix(name + ".kv_a_proj_with_mqa", latent + rope, WIDTH)
        weights.norm(name + ".kv_a_layernorm", latent)
        weights.matrix(name + ".kv_b_proj", HEADS * (nope + value), latent)
        weights.matrix(name + ".o_proj", WIDTH, HEADS * value)

    def feed_forward(name, layer):
        if layer == 0:
            weights.feed_forward(name, WIDTH, INNER)
            return
        for expert in range(experts):
            weights.feed_forward(f"{name}.experts.{expert}", WIDTH, expert_inner)
        weights.matrix(name + ".gate", experts, WIDTH)
        weights.feed_forward(name + ".shared_experts", WIDTH, expert_inner)

    weights.decoder(attention, feed_forward)
    (out / "configuration_deepseek.py").write_text(DEEPSEEK_CONFIGURATION, encoding="utf-8")
    return CONFIG | {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"},
        "num_key_value_heads": HEADS,
        "kv_lora_rank": latent,
        "q_lora_rank": None,
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": value,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": expert_inner,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
        "rope_scaling": None,
        "aux_loss_alpha": 0.001,
        "seq_aux": True,
    }


def vision_tower(weights, depth, width, inner, merged, out_width):
    weights.matrix("visual.patch_embed.proj", width, 3, 2, 14, 14)
    for block in range(depth):
        name = f"visual.blocks.{block}"
        weights.norm(name + ".norm1", width, bias=True)
        weights.norm(name + ".norm2", width, bias=True)
        weights.linear_with_bias(name + ".attn.qkv", 3 * width, width)
        weights.linear_with_bias(name + ".attn.proj", width, width)
        weights.linear_with_bias(name + ".mlp.fc1", inner, width)
        weights.linear_with_bias(name + ".mlp.fc2", width, inner)
    weights.norm("visual.merger.ln_q", width, bias=True)
    weights.linear_with_bias("visual.merger.mlp.0", merged * width, merged * width)
    weights.linear_with_bias("visual.merger.mlp.2", out_width, merged * width)


def add_vision_tokens(out):
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in VISION_TOKENS])
    tokenizer.save(str(out / "tokenizer.json"))
    config = read_json(out / "tokenizer_config.json")
    config["tokenizer_class"] = "Qwen2Tokenizer"
    config["additional_special_tokens"] += VISION_TOKENS
    config["chat_template"] = VISION_TEMPLATE
    write_json(out / "tokenizer_config.json", config)


def write_image_processor(out):
    write_json(
        out / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2VLProcessor",
            "min_pixels": 56 * 56,
            "max_pixels": 448 * 448,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            # CLIP's, as in the real model.
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    )


def qwen2_vl(weights, out):
    # Twice as wide as the others, so that a head has the 64 dimensions that mrope_section divides (2 × 32).
    width, depth, vision_width, vision_inner, merge = 256, 2, 128, 256, 2
    vocabulary = VOCABULARY + 64
    weights.decoder(grouped_attention(weights, width, width // HEADS, bias=True), width=width, vocabulary=vocabulary)
    vision_tower(weights, depth, vision_width, vision_inner, merge * merge, width)
    add_vision_tokens(out)
    write_image_processor(out)
    names = ("vision_start", "vision_end", "vision", "image", "video")
    ids = {f"{name}_token_id": VOCABULARY + i for i, name in enumerate(names)}
    return (
        CONFIG
        | ids
        | {
            "architectures": ["Qwen2VLForConditionalGeneration"],
            "model_type": "qwen2_vl",
            "hidden_size": width,
            "vocab_size": vocabulary,
            "max_window_layers": LAYERS,
            "rope_theta": 1e6,
            "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
            "sliding_window": None,
            "use_sliding_window": False,
            "vision_config": {
                "model_type": "qwen2_vl",
                "depth": depth,
                "embed_dim": vision_width,
                "hidden_size": width,
                "hidden_act": "quick_gelu",
                "num_heads": 4,
                "mlp_ratio": vision_inner // vision_width,
                "patch_size": 14,
                "spatial_patch_size": 14,
                "spatial_merge_size": merge,
                "temporal_patch_size": 2,
                "in_chans": 3,
                "in_channels": 3,
            },
        }
    )


FAMILIES = {family.__name__: family for family in (qwen3, mistral, codellama, baichuan2, deepseek_v2, qwen2_vl)}


def make(tokenizer_model, out, family):
    out.mkdir(parents=True)
    copy_tokenizer(tokenizer_model, out)
    weights = Weights(family)
    write_json(out / "config.json", FAMILIES[family](weights, out))
    write_tensors(out / "model.safetensors", weights.tensors, "bfloat16")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in FAMILIES:
        sys.exit(f"{__doc__.splitlines()[0]}\nFAMILY: {', '.join(FAMILIES)}")
    make(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
