"""Tiny GGUF models: a real vocabulary over random weights, which llama.cpp loads and tokenizes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH = 32


def write_gguf(path: Path, kind: str, tokens: Sequence[str], types: Sequence[int], **metadata: Any) -> Path:
    """A one-layer llama with this vocabulary.

    Args:
        kind: `tokenizer.ggml.model`.
        metadata: further keys below `tokenizer.ggml.`, or with a `__` for a dot, such as `tokenizer__chat_template`.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    writer.add_token_list(list(tokens))
    writer.add_token_types(list(types))
    for key, value in metadata.items():
        _add(writer, key.replace("__", ".") if "__" in key else f"tokenizer.ggml.{key}", value)
    for name, shape in _tensors(len(tokens)).items():
        writer.add_tensor(name, np.full(shape, 0.01, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _tensors(vocabulary: int) -> Mapping[str, tuple[int, ...]]:
    block = {name: (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up")}
    shapes: dict[str, tuple[int, ...]] = {f"blk.0.{name}.weight": shape for name, shape in block.items()}
    shapes |= {"blk.0.ffn_down.weight": (WIDTH, WIDTH)}
    shapes |= {f"blk.0.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    return {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,), **shapes}
