"""The forward pass of a sentence-t5 model in numpy, in double precision: what the graph is held against.

Written from the definition of `T5EncoderModel` in `transformers` and of Pooling, Dense and Normalize in
sentence-transformers, one text at a time and without padding, so that it shares nothing with the graph's builder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


class T5Oracle:
    """The model in `folder` (model.safetensors, config.json, and dense.safetensors if it has one)."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self._weights = _doubles(folder / "model.safetensors")
        dense = folder / "dense.safetensors"
        self._dense = _doubles(dense) if dense.exists() else {}

    def vector(self, ids: Sequence[int]) -> np.ndarray:
        words = self._weights.get("shared.weight", self._weights.get("encoder.embed_tokens.weight"))
        assert words is not None
        hidden = words[np.array(ids)]
        for index in range(self.config["num_layers"]):
            block = f"encoder.block.{index}.layer"
            hidden = hidden + self._attention(f"{block}.0.SelfAttention", self._norm(f"{block}.0.layer_norm", hidden))
            hidden = hidden + self._wide(f"{block}.1.DenseReluDense", self._norm(f"{block}.1.layer_norm", hidden))
        mean = self._norm("encoder.final_layer_norm", hidden).mean(0)
        if self._dense:
            mean = self._dense["linear.weight"] @ mean + self._dense.get("linear.bias", 0.0)
        return mean / np.linalg.norm(mean)

    def _attention(self, name: str, value: np.ndarray) -> np.ndarray:
        count, size = self.config["num_heads"], self.config["d_kv"]
        parts = {part: self._matrix(f"{name}.{part}", value).reshape(len(value), count, size) for part in "qkv"}
        learnt = self._weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        out = np.empty_like(parts["q"])
        for query in range(len(value)):
            for head in range(count):
                scores = np.array(
                    [
                        parts["q"][query, head] @ parts["k"][key, head] + learnt[self.bucket(query, key), head]
                        for key in range(len(value))
                    ]
                )
                weights = np.exp(scores - scores.max())
                out[query, head] = (weights / weights.sum()) @ parts["v"][:, head]
        return self._matrix(f"{name}.o", out.reshape(len(value), count * size))

    def bucket(self, query: int, key: int) -> int:
        """T5's `_relative_position_bucket`, bidirectional."""
        buckets = self.config["relative_attention_num_buckets"] // 2
        furthest = self.config.get("relative_attention_max_distance", 128)
        relative = key - query
        found = buckets if relative > 0 else 0
        relative = abs(relative)
        exact = buckets // 2
        if relative < exact:
            return found + relative
        # transformers computes this in single precision.
        ratio = np.log(np.float32(relative / exact)) / np.float32(math.log(furthest / exact))
        return found + min(exact + int(ratio * np.float32(buckets - exact)), buckets - 1)

    def _wide(self, name: str, value: np.ndarray) -> np.ndarray:
        if self.config.get("feed_forward_proj", "relu") == "relu":
            return self._matrix(f"{name}.wo", np.maximum(self._matrix(f"{name}.wi", value), 0))
        gate = self._matrix(f"{name}.wi_0", value)
        gelu = 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        return self._matrix(f"{name}.wo", gelu * self._matrix(f"{name}.wi_1", value))

    def _matrix(self, name: str, value: np.ndarray) -> np.ndarray:
        return value @ self._weights[f"{name}.weight"].T

    def _norm(self, name: str, value: np.ndarray) -> np.ndarray:
        scaled = value / np.sqrt((value**2).mean(-1, keepdims=True) + self.config["layer_norm_epsilon"])
        return scaled * self._weights[f"{name}.weight"]


def _doubles(path: Path) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in load_file(path).items()}


def write_t5(folder: Path, *, gated: bool = False, dense: int = 24, words: str = "shared.weight") -> Path:
    """A tiny model of random weights in the layout of sentence-t5. dense: length of the vectors; 0: no Dense module."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "model_type": "t5",
        "d_model": 32,
        "num_heads": 3,
        "d_kv": 8,
        "num_layers": 2,
        "d_ff": 48,
        "vocab_size": 60,
        "relative_attention_num_buckets": 16,
        "relative_attention_max_distance": 20,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(5)

    def matrix(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / math.sqrt(shape[-1])).astype(np.float32)

    tensors = {words: matrix(60, 32) * 5, "encoder.final_layer_norm.weight": 1 + matrix(32)}
    tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = matrix(16, 3) * 4
    for index in range(2):
        block = f"encoder.block.{index}.layer"
        tensors.update({f"{block}.0.SelfAttention.{part}.weight": matrix(24, 32) for part in "qkv"})
        tensors[f"{block}.0.SelfAttention.o.weight"] = matrix(32, 24)
        inner = ("wi_0", "wi_1") if gated else ("wi",)
        tensors.update({f"{block}.1.DenseReluDense.{part}.weight": matrix(48, 32) for part in inner})
        tensors[f"{block}.1.DenseReluDense.wo.weight"] = matrix(32, 48)
        tensors.update({f"{block}.{part}.layer_norm.weight": 1 + matrix(32) for part in (0, 1)})
    save_file(tensors, folder / "model.safetensors")
    if dense:
        save_file({"linear.weight": matrix(dense, 32)}, folder / "dense.safetensors")
    return folder
