"""Makes vectors.npz: the vectors of texts.json by sentence-transformers itself. README.md says how to run it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

HERE = Path(__file__).parent


def main(model_folder: str) -> None:
    """Args: the folder with the model as it is published (modules.json, config.json, model.safetensors, ...)."""
    texts = json.loads((HERE / "texts.json").read_text(encoding="utf-8"))
    model = SentenceTransformer(model_folder, device="cpu")
    lengths = np.array([len(model.tokenizer(text)["input_ids"]) for text in texts], np.int64)
    assert lengths.max() <= model.max_seq_length, "a text would be cut"
    # One at a time: no padding has a part in the reference.
    vectors = np.stack([model.encode(text, batch_size=1, convert_to_numpy=True) for text in texts]).astype(np.float32)
    np.savez(HERE / "vectors.npz", vectors=vectors, lengths=lengths)
    print(f"{len(texts)} texts of {lengths.min()} to {lengths.max()} tokens, vectors {vectors.shape}")


if __name__ == "__main__":
    main(sys.argv[1])
