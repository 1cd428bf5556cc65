"""A tiny LoRA adapter (GGUF): the real file format over seeded random weights.

Keys and tensor names: `convert_lora_to_gguf.py` and `src/llama-adapter.cpp` of llama.cpp. A weight `W` becomes
`W + scale * alpha / rank * B A`; its file holds `A` as `NAME.lora_a` [rank, in] and `B` as `NAME.lora_b` [out, rank].
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

RANK = 4
# Of SmolLM2-135M: layers, and the widths of its embeddings and of its keys and values.
LAYERS, WIDTH, VALUES = 30, 576, 192


def write_lora(path: Path, *, seed: int = 1, strength: float = 0.1, width: int = WIDTH) -> Path:
    """Writes an adapter for SmolLM2-135M that changes what its queries and values are made of.

    Args:
        strength: of the weights; 0.1 makes its answers others.
        width: of the embeddings; another one makes it an adapter of another model.
    """
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(LAYERS):
        for part, out in (("attn_q", width), ("attn_v", VALUES)):
            name = f"blk.{layer}.{part}.weight"
            writer.add_tensor(f"{name}.lora_a", random.normal(0, strength, (RANK, width)).astype(np.float32))
            writer.add_tensor(f"{name}.lora_b", random.normal(0, strength, (out, RANK)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
