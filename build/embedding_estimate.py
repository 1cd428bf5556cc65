"""How much disk and GPU memory an embedding model takes, before anything starts.

Sizes follow from the weights' file and `config.json`; activations are an upper bound by rule of thumb, for attention
that is not fused. Where `config.json` is not in the cache yet, usual proportions stand for it, and nothing is refused
for its activations.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from build.catalog import ModelEntry
from build.embedding_graph import read_encoder
from build.embedding_plan import SHORT
from build.estimate import GIB, RUNTIME, DoesNotFitError, check_disk
from build.fetch import cached
from build.gpus import Gpu
from build.onnx_graph import GraphError
from build.t5_graph import T5Config

GROUP_TOKENS = 16384  # padded tokens that the model of the CUDA provider computes at once: model_repository/encoder
LEAST_CAPABILITY = {"fp32": (7, 0), "fp16": (7, 0), "bf16": (8, 0)}


@dataclass(frozen=True)
class Encoder:
    """What memory depends on. `wide` numbers are held of a token in the feed-forward layers, `attention` in all heads.

    Args:
        known: from `config.json`, and not assumed.
    """

    parameters: int
    hidden: int
    heads: int
    attention: int
    wide: int
    known: bool


@dataclass(frozen=True)
class EmbeddingEstimate:
    """Bytes; of GPU memory, on each GPU.

    Args:
        download: files that are not in the cache. graph: ONNX, FP32. plan: compiled, 0 where nothing is.
        weights, activations: of the running model. texts, tokens: the largest batch that they are for.
        known: whether activations are from the model's own `config.json`.
    """

    download: int
    graph: int
    plan: int
    weights: int
    activations: int
    texts: int
    tokens: int
    known: bool

    @property
    def disk(self) -> int:
        return self.download + self.graph + self.plan

    @property
    def needed(self) -> int:
        """GPU memory for the largest batch."""
        return self.weights + self.activations + RUNTIME


def estimate_embedding(entry: ModelEntry, cache: Path, precision: str) -> EmbeddingEstimate:
    """Of an entry as it is built: engine `tensorrt`, or `onnxruntime` for the CUDA provider.

    Args:
        precision: of the plan; the graph's own, `fp32`, for the CUDA provider.
    Raises:
        GraphError: its `config.json` is here, and makes no sense.
    """
    encoder, compiled = _encoder(entry, cache), entry.engine == "tensorrt"
    width = 4 if precision == "fp32" else 2
    batch, longest = int(entry.settings["max_batch_size"]), entry.context_length
    if not compiled:
        batch = max(1, GROUP_TOKENS // longest)
    activations = _activations(encoder, batch, longest, width)
    if compiled:  # each profile has memory of its own
        activations += _activations(encoder, batch, min(SHORT, longest), width)
    return EmbeddingEstimate(
        download=sum(file.size for file in entry.files if cached(file, cache) is None),
        graph=encoder.parameters * 4,
        plan=encoder.parameters * width if compiled else 0,
        weights=encoder.parameters * width,
        activations=activations,
        texts=batch,
        tokens=longest,
        known=encoder.known,
    )


def report_embedding(found: EmbeddingEstimate, gpus: Sequence[Gpu]) -> list[str]:
    """Lines for a person: what it takes, and what of it this machine has."""
    plan = f", plan {_size(found.plan)}" if found.plan else ""
    assumed = "" if found.known else " (by usual proportions: its config.json is not here yet)"
    lines = [
        f"disk: {_size(found.disk)} GB (download {_size(found.download)}, graph {_size(found.graph)}{plan})",
        f"GPU memory: weights {found.weights / GIB:,.2f} GiB, activations up to {found.activations / GIB:,.2f}, "
        f"runtime {RUNTIME / GIB:,.1f}: {found.needed / GIB:,.1f} GiB for {found.texts:,} texts of {found.tokens:,} "
        f"tokens{assumed}",
    ]
    return [*lines, *(f"{gpu.name}: {gpu.memory / GIB:,.1f} GiB" for gpu in gpus)]


def check_embedding_gpus(entry: ModelEntry, found: EmbeddingEstimate, gpus: Sequence[Gpu], precision: str) -> None:
    """Raises DoesNotFitError unless these GPUs can run the model. A plan is served on all, CUDA on the first."""
    needed = found.needed if found.known else found.weights + RUNTIME
    hint = ": --precision fp32" if precision == "bf16" else ""
    for gpu in gpus if entry.engine == "tensorrt" else gpus[:1]:
        least = LEAST_CAPABILITY[precision]
        if gpu.capability != (0, 0) and gpu.capability < least:
            raise DoesNotFitError(
                f"{entry.id}: {precision} needs compute capability {'.'.join(map(str, least))}, {gpu.name} has "
                f"{'.'.join(map(str, gpu.capability))}{hint}"
            )
        if gpu.memory < needed:
            raise DoesNotFitError(
                f"{entry.id}: {needed / GIB:,.1f} GiB are needed, {gpu.name} has {gpu.memory / GIB:,.1f}: "
                "a smaller --max-batch-size, or a smaller context_length in the catalog"
            )


def check_embedding_disk(found: EmbeddingEstimate, cache: Path, work: Path, made: Mapping[str, object]) -> None:
    """Raises DoesNotFitError unless there is room. Files and graph lie in the cache, the plan in the builds' folder.

    Args:
        made: the stages that are there already.
    """
    in_cache = found.download + (0 if "graph" in made else found.graph)
    in_work = 0 if "plan" in made else found.plan
    if _device(cache) == _device(work):
        check_disk(work, in_cache + in_work)
        return
    check_disk(cache, in_cache)
    check_disk(work, in_work)


def cached_config(entry: ModelEntry, cache: Path) -> Path | None:
    """Its `config.json`, if that has been fetched."""
    return next((path for file in entry.of_role("config") if (path := cached(file, cache))), None)


def _device(folder: Path) -> int:
    while not folder.is_dir():
        folder = folder.parent
    return os.stat(folder).st_dev


def _encoder(entry: ModelEntry, cache: Path) -> Encoder:
    stored = sum(file.size for role in ("weights", "dense") for file in entry.of_role(role))
    if (path := cached_config(entry, cache)) is None:
        hidden = entry.dimensions
        # Weights may be of 16 bits; heads of 32 numbers are the smallest in use.
        return Encoder(stored // 2, hidden, max(1, hidden // 32), hidden, 4 * hidden, known=False)
    config = read_encoder(path)
    parameters = stored // (2 if _is_half(path) else 4)
    if isinstance(config, T5Config):
        wide = config.inner * (2 if config.gated else 1)
        return Encoder(parameters, config.hidden, config.heads, config.heads * config.head, wide, known=True)
    return Encoder(parameters, config.hidden, config.heads, config.hidden, config.inner, known=True)


def _is_half(config: Path) -> bool:
    """Whether the weights' file holds 16-bit numbers; `transformers` takes FP32 where its config does not say."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraphError(f"{config}: {error}") from error
    return content.get("dtype", content.get("torch_dtype")) in ("float16", "bfloat16")


def _activations(encoder: Encoder, batch: int, tokens: int, width: int) -> int:
    """Of one layer at a time, with what it was made from, twice over for what the runtime keeps in flight."""
    attention = 4 * encoder.attention + 2 * encoder.heads * tokens  # queries, keys, values, context; scores twice
    return 2 * batch * tokens * (3 * encoder.hidden + max(attention, 2 * encoder.wide)) * width


def _size(count: int) -> str:
    return f"{count / 1e9:,.2f}"
