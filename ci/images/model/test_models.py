"""Unit tests of the scripts in this folder; run by ../test, which brings numpy, gguf and tokenizers."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
from checkpoint import read_float32_tensors, read_json, to_bfloat16, write_json, write_tensors
from damage import LOW_RANK_STRENGTH, RANK, SWAPPED, add_low_rank, rounded, swap_tokens
from miniatures import FAMILIES, Weights, grouped_attention
from smollm2 import without_rope_permutation


def from_bfloat16(upper):
    return (upper.astype(np.uint32) << 16).view(np.float32)


class Checkpoint(unittest.TestCase):
    def test_bfloat16_rounds_to_nearest_and_ties_to_even(self):
        ulp = 2.0**-7  # of bfloat16 between 1 and 2
        values = np.array([1, 1 + ulp / 2, 1 + 3 * ulp / 2, 1 + 0.51 * ulp, -1 - ulp / 2, 0, 3e38], np.float32)
        expected = np.array([1, 1, 1 + 2 * ulp, 1 + ulp, -1, 0], np.float32)
        rounded_values = from_bfloat16(to_bfloat16(values))
        np.testing.assert_array_equal(rounded_values[:-1], expected)
        self.assertAlmostEqual(float(rounded_values[-1]) / 3e38, 1, delta=2**-8)

    def test_tensors_come_back_as_written(self):
        tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([0.1], np.float32)}
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "model.safetensors")
            write_tensors(path, tensors, "float32")
            self.assertEqual(int.from_bytes(path.read_bytes()[:8], "little") % 8, 0)
            back = read_float32_tensors(path)
            write_tensors(path, tensors, "bfloat16")
            with self.assertRaisesRegex(ValueError, "float32 model is needed"):
                read_float32_tensors(path)
        self.assertEqual(back.keys(), tensors.keys())
        for name, values in tensors.items():
            np.testing.assert_array_equal(back[name], values)

    def test_header_of_bfloat16_gives_two_bytes_a_value(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "model.safetensors")
            write_tensors(path, {"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.float32)}, "bfloat16")
            data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        self.assertEqual(header["b"], {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]})
        self.assertEqual(len(data), start + 14)


class SmolLM2(unittest.TestCase):
    def test_rope_permutation_is_undone(self):
        heads, head_dim = 3, 8
        weight = np.arange(heads * head_dim * 2, dtype=np.float32).reshape(heads * head_dim, 2)
        # llama.cpp: convert_hf_to_gguf.py, LlamaModel.permute
        permuted = weight.reshape(heads, 2, head_dim // 2, 2).swapaxes(1, 2).reshape(weight.shape)
        self.assertFalse(np.array_equal(permuted, weight))
        np.testing.assert_array_equal(without_rope_permutation(permuted, heads), weight)


class Damage(unittest.TestCase):
    def setUp(self):
        self.weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)

    def test_rounding_keeps_within_half_a_step_and_uses_its_levels(self):
        for bits, levels in ((4, 7), (8, 127)):
            groups, result = self.weight.reshape(-1, 32), rounded(self.weight, bits).reshape(-1, 32)
            step = np.abs(groups).max(axis=1, keepdims=True) / levels
            self.assertLessEqual(np.abs((result - groups) / step).max(), 0.5001)
            self.assertLessEqual(max(len(np.unique(group)) for group in result), 2 * levels + 1)

    def test_rounding_leaves_zeros(self):
        np.testing.assert_array_equal(rounded(np.zeros((2, 32), np.float32), 4), np.zeros((2, 32)))

    def test_low_rank_changes_two_projections_by_the_stated_rank_and_strength(self):
        names = [f"model.layers.15.self_attn.{p}.weight" for p in ("q_proj", "k_proj", "v_proj")]
        changed = add_low_rank({name: self.weight for name in names})
        np.testing.assert_array_equal(changed[names[1]], self.weight)
        for name in (names[0], names[2]):
            change = changed[name].astype(np.float64) - self.weight
            singular = np.linalg.svd(change, compute_uv=False)
            self.assertGreater(singular[RANK - 1], 1e-2)
            self.assertLess(singular[RANK], 1e-4)
            self.assertAlmostEqual(np.linalg.norm(change) / np.linalg.norm(self.weight), LOW_RANK_STRENGTH, places=4)

    def test_swapped_tokens_differ_in_both_files_and_nowhere_else(self):
        first, second = SWAPPED
        words = {first: 5, second: 9, "x": 1}
        with tempfile.TemporaryDirectory() as directory:
            out = Path(directory)
            write_json(out / "tokenizer.json", {"model": {"vocab": words}})
            write_json(out / "vocab.json", words)
            swap_tokens(out)
            expected = {first: 9, second: 5, "x": 1}
            self.assertEqual(read_json(out / "vocab.json"), expected)
            self.assertEqual(read_json(out / "tokenizer.json")["model"]["vocab"], expected)


class Miniatures(unittest.TestCase):
    def test_weights_follow_from_the_family_alone(self):
        def embedding(family):
            weights = Weights(family)
            weights.decoder(grouped_attention(weights))
            return weights.tensors["model.embed_tokens.weight"]

        np.testing.assert_array_equal(embedding("qwen3"), embedding("qwen3"))
        self.assertFalse(np.array_equal(embedding("qwen3"), embedding("mistral")))

    def test_shapes_agree_with_the_configuration(self):
        for family in ("qwen3", "mistral", "codellama"):
            weights = Weights(family)
            config = FAMILIES[family](weights, None)
            shape = {name: tensor.shape for name, tensor in weights.tensors.items()}
            query = config["num_attention_heads"] * config["head_dim"]
            key = config["num_key_value_heads"] * config["head_dim"]
            width = config["hidden_size"]
            self.assertEqual(shape["model.layers.1.self_attn.q_proj.weight"], (query, width))
            self.assertEqual(shape["model.layers.1.self_attn.k_proj.weight"], (key, width))
            self.assertEqual(shape["model.layers.1.self_attn.o_proj.weight"], (width, query))
            self.assertEqual(shape["lm_head.weight"], (config["vocab_size"], width))
            self.assertEqual("model.layers.0.self_attn.q_norm.weight" in shape, family == "qwen3")


if __name__ == "__main__":
    unittest.main()
