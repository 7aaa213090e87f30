"""Writes and reads model folders in Hugging Face's layout with numpy alone.

A checkpoint is a dict of name -> float32 array. Files are written byte for byte
the same from the same arrays, so that goldens recorded against a model hold for
every rebuild of it.
"""

import json
import shutil
from pathlib import Path

import numpy as np

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
SAFETENSORS_NAMES = {"bfloat16": "BF16", "float32": "F32"}


def to_bfloat16(values):
    """The upper halves of float32 bit patterns, rounded to nearest, ties to even (finite values only)."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_tensors(path, tensors, dtype):
    """One safetensors file: length of the header (u64), header (JSON), then the arrays in the header's order.

    Format: https://huggingface.co/docs/safetensors (the header is padded with spaces to a multiple of 8).
    """
    width = 2 if dtype == "bfloat16" else 4
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        size = tensors[name].size * width
        header[name] = {
            "dtype": SAFETENSORS_NAMES[dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            values = tensors[name]
            file.write((to_bfloat16(values) if dtype == "bfloat16" else values.astype("<f4")).tobytes())


def read_float32_tensors(path):
    """The arrays of a safetensors file that holds float32 alone."""
    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            raise ValueError(f"{path}: {name} is {entry['dtype']}; the float32 model is needed")
        first, last = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[start + first : start + last], "<f4").reshape(entry["shape"])
    return tensors


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path, value):
    Path(path).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_tokenizer(source, target):
    for name in TOKENIZER_FILES:
        shutil.copyfile(Path(source, name), Path(target, name))
