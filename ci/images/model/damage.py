#!/usr/bin/env python3
"""A damaged copy of a float32 model folder: damage.py SOUND_DIR OUT_DIR KIND

Each kind is a fault that a wrong adaptation really makes, from plain to subtle:

* wrong_template: the chat template of another family ([INST] ... [/INST]);
* swapped_tokens: two common words have each other's token id in the tokenizer;
* int4: the projections rounded to nearest on 4 bits, one scale a group of 32;
* int8: the same on 8 bits, close to harmless;
* low_rank: one layer's query and value projections changed by a matrix of rank 8,
  as if the adapter of another fine-tune had been merged.

Rounding is symmetric (levels -7..7 and -127..127 times the scale): the weights
come from a 4-bit format with a scale and an offset a group, which an asymmetric
rounding on 4 bits would merely find again. Embeddings and norms stay as they are,
as usual in weight-only quantization.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from checkpoint import read_float32_tensors, read_json, write_json, write_tensors

GROUP = 32
RANK = 8
LOW_RANK_LAYER = 15  # the middle of 30
LOW_RANK_STRENGTH = 0.1  # Frobenius norm of the change over that of the weights
SWAPPED = ("Ġis", "Ġof")  # " is" and " of" as byte-level BPE spells them
WRONG_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
)


def is_projection(name):
    return "_proj." in name


def rounded(weight, bits):
    """Symmetric round to nearest along the inputs, one scale a group."""
    levels = 2 ** (bits - 1) - 1
    groups = weight.reshape(-1, GROUP)
    scale = np.abs(groups).max(axis=1, keepdims=True) / levels
    scale[scale == 0] = 1
    return (np.round(groups / scale) * scale).astype(np.float32).reshape(weight.shape)


def round_weights(bits):
    def damage(tensors):
        return {name: rounded(w, bits) if is_projection(name) else w for name, w in tensors.items()}

    return damage


def add_low_rank(tensors):
    random = np.random.default_rng(0)
    changed = dict(tensors)
    for projection in ("q_proj", "v_proj"):
        name = f"model.layers.{LOW_RANK_LAYER}.self_attn.{projection}.weight"
        weight = tensors[name]
        outputs, inputs = weight.shape
        change = random.standard_normal((outputs, RANK)) @ random.standard_normal((RANK, inputs))
        change *= LOW_RANK_STRENGTH * np.linalg.norm(weight) / np.linalg.norm(change)
        changed[name] = (weight + change).astype(np.float32)
    return changed


def set_wrong_template(out):
    config = read_json(out / "tokenizer_config.json")
    config["chat_template"] = WRONG_TEMPLATE
    write_json(out / "tokenizer_config.json", config)


def swap_tokens(out):
    first, second = SWAPPED
    tokenizer, vocabulary = read_json(out / "tokenizer.json"), read_json(out / "vocab.json")
    for words in (tokenizer["model"]["vocab"], vocabulary):
        words[first], words[second] = words[second], words[first]
    write_json(out / "tokenizer.json", tokenizer)
    write_json(out / "vocab.json", vocabulary)


WEIGHT_KINDS = {"int8": round_weights(8), "int4": round_weights(4), "low_rank": add_low_rank}
TEXT_KINDS = {"wrong_template": set_wrong_template, "swapped_tokens": swap_tokens}


def make(sound, out, kind):
    out.mkdir(parents=True)
    for file in sound.iterdir():
        if file.name not in ("model.safetensors", ".recipe"):
            shutil.copyfile(file, out / file.name)
    if kind in WEIGHT_KINDS:
        damaged = WEIGHT_KINDS[kind](read_float32_tensors(sound / "model.safetensors"))
        write_tensors(out / "model.safetensors", damaged, "float32")
    else:
        # The weights are the sound model's own; half a gigabyte need not be there twice.
        os.link(sound / "model.safetensors", out / "model.safetensors")
        TEXT_KINDS[kind](out)


if __name__ == "__main__":
    kinds = [*WEIGHT_KINDS, *TEXT_KINDS]
    if len(sys.argv) != 4 or sys.argv[3] not in kinds:
        sys.exit(f"{__doc__.splitlines()[0]}\nKIND: {', '.join(kinds)}")
    make(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
