"""Whether what a GPU computes for an embedding model is what its ONNX graph computes on the CPU.

Both get the same texts of random ids. Vectors are compared by their cosine, text by text; the worst one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build.catalog import ModelEntry
from build.embedding_graph import OUTPUT as VECTOR

INPUTS = ("input_ids", "attention_mask")
TEXTS = 8
SHORT, LONG = 48, 512  # tokens of the longest text
# Least cosine. FP32 is TF32 on the GPU, FP16 and BF16 have 11 and 8 bits.
LEAST_COSINE = {"fp16": 0.999, "bf16": 0.995, "fp32": 0.9999}


class VectorsError(ValueError):
    """The vectors are not there, or differ from the graph's; the message says by how much."""


@dataclass(frozen=True)
class Texts:
    """Texts of random ids, always the same: `batch` of them, the longest of `tokens` ids below `vocabulary`."""

    batch: int
    tokens: int
    vocabulary: int

    @property
    def shape(self) -> str:
        return f"{self.batch}x{self.tokens}"

    def inputs(self) -> dict[str, NDArray[np.int64]]:
        """Of different lengths, the first as long as it can be: INT64 [batch, tokens] each."""
        ids = np.random.default_rng(0).integers(0, self.vocabulary, (self.batch, self.tokens), np.int64)
        lengths = np.maximum(1, np.linspace(self.tokens, 1, self.batch).astype(np.int64))
        mask = (np.arange(self.tokens) < lengths[:, None]).astype(np.int64)
        return dict(zip(INPUTS, (ids * mask, mask), strict=True))

    def write(self, folder: Path) -> None:
        """A file for each input, named by `file`."""
        for name, values in self.inputs().items():
            values.tofile(folder / self.file(name))

    def file(self, name: str) -> str:
        """The file of an input: INT64, as it lies in memory."""
        return f"{name}.{self.shape}.bin"


def checked_texts(entry: ModelEntry, vocabulary: int, longest: int = SHORT) -> Texts:
    """Those that an entry is checked with; no text has more than `longest` tokens."""
    batch = min(TEXTS, int(entry.settings["max_batch_size"]))
    return Texts(batch, min(longest, entry.context_length), vocabulary)


def compare(
    graph: Path, texts: Texts, precision: str, read: Callable[[Path], NDArray[np.float32]], advice: str
) -> Callable[[Path], None]:
    """A stage's `verify`, which holds the vectors that `read` finds in its folder against those of the graph.

    Args:
        precision: key of LEAST_COSINE. advice: what a person may try when they differ.
    The function raises:
        VectorsError.
    """

    def check(folder: Path) -> None:
        wanted, found = _on_cpu(graph, texts), read(folder)
        if found.shape != wanted.shape:
            raise VectorsError(f"the GPU's vectors are {list(found.shape)}, the graph's {list(wanted.shape)}")
        if not np.isfinite(found).all():
            raise VectorsError(f"the GPU's vectors hold numbers that are not finite; {advice}")
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosine = float(((found * wanted).sum(1) / np.maximum(lengths, 1e-12)).min())
        if not cosine >= LEAST_COSINE[precision]:
            raise VectorsError(
                f"the GPU's vectors differ from the graph's: cosine {cosine:.5f}, {LEAST_COSINE[precision]} is asked "
                f"for {precision}; {advice}"
            )

    return check


def _on_cpu(graph: Path, texts: Texts) -> NDArray[np.float32]:
    try:
        import onnxruntime
    except ImportError as error:
        raise VectorsError(f"the check computes the graph on the CPU too: {error} (the package onnxruntime)") from error
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (vectors,) = session.run([VECTOR], texts.inputs())
    return np.asarray(vectors, np.float32)
