"""How much disk and GPU memory a build and its engine will take, from the catalog's numbers, before anything starts.

The weights and the cache of keys and values are computed; the rest is an upper bound by rule of thumb, named below. An
engine that fits by this may still fail by a few percent, one that does not fit will not run.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build.catalog import CatalogError, ModelEntry
from build.gpus import Gpu
from build.quantization import QUANTIZATIONS
from build.transfer import SPARE

RUNTIME = 1 << 30  # bytes: CUDA context, NCCL, cuBLAS and sampling workspaces
GIB = 1 << 30


class DoesNotFitError(Exception):
    """The build or its engine cannot fit; the message says by how much and what to change."""


# The engine's setting for the part of the free memory that its cache gets.
_CACHE_FRACTION = {
    "tensorrt_llm": "kv_cache_free_gpu_mem_fraction",
    "tensorrt_llm_api": "free_gpu_memory_fraction",
}


@dataclass(frozen=True)
class Estimate:
    """Bytes; of GPU memory, per GPU.

    Args:
        download: the checkpoint. converted: what is made of it for the compiler, or served. engine: compiled.
        weights, activations: of the running engine. kv_per_token: of one token in the cache.
        tokens_needed: one answer of the full length.
        cache_fraction: of what weights, activations and runtime leave free, the cache gets this part.
    """

    download: int
    converted: int
    engine: int
    weights: int
    activations: int
    kv_per_token: int
    tokens_needed: int
    cache_fraction: float

    @property
    def disk(self) -> int:
        return self.download + self.converted + self.engine

    @property
    def least(self) -> int:
        """GPU memory below which not even one answer of the full length is possible."""
        # One byte more than that: floating-point numbers must not make a GPU of just this size one token too small.
        cache = math.ceil(self.kv_per_token * self.tokens_needed / self.cache_fraction) + 1
        return self.weights + self.activations + RUNTIME + cache

    def tokens_in(self, memory: int) -> int:
        """Tokens that the cache holds on a GPU of this memory."""
        left = memory - self.weights - self.activations - RUNTIME
        return max(0, int(left * self.cache_fraction) // self.kv_per_token)


def estimate(entry: ModelEntry) -> Estimate:
    """Of an entry as it is built for a GPU (`ModelEntry.for_gpu`).

    Raises:
        CatalogError: its setting for the cache's part of the memory is none.
    """
    assert entry.checkpoint is not None
    model, build, quantization = entry.checkpoint, entry.build, QUANTIZATIONS[entry.quantization]
    # Embeddings and head stay as they are: `quantize.py` leaves them out unless --quantize_lm_head is given.
    embeddings = model.vocab_size * model.hidden_size * (1 if model.tie_word_embeddings else 2)
    whole = embeddings + model.parameters_of_16_bits
    served = int(max(0, model.parameters - whole) * quantization.bytes_per_weight + whole * 2)
    source_width = 4 if model.torch_dtype == "float32" else 2
    download = served if model.quantization else model.parameters * source_width
    kv_dtype = kv_cache_dtype(entry)
    kv_width = 1 if kv_dtype in ("fp8", "int8") else 2
    kv_heads = max(1, -(-model.num_key_value_heads // build.tensor_parallel))  # fewer heads than GPUs are copied
    layers = -(-model.num_hidden_layers // build.pipeline_parallel)
    # One layer at a time: its input and output, queries, keys and values, and the wide matrices of the MLP, in 16 bits,
    # twice over for what the compiler keeps in flight; and the logits of a whole batch in FP32. In a mixture of experts
    # a token is in the MLPs of several.
    wide = 3 * model.intermediate_size * model.num_experts_per_tok // build.tensor_parallel
    per_token = 2 * (6 * model.hidden_size + wide) * 2
    logits = build.max_batch_size * model.vocab_size * 4 * 2
    compiled = entry.engine == "tensorrt_llm"
    return Estimate(
        download=download if model.hub else 0,
        converted=served if compiled or (quantization.qformat and not model.quantization) else 0,
        engine=served if compiled else 0,
        weights=served // build.world_size,
        activations=build.max_num_tokens * per_token + logits,
        kv_per_token=2 * layers * kv_heads * model.head_dim * kv_width,
        tokens_needed=entry.context_length,
        cache_fraction=_cache_fraction(entry),
    )


def _cache_fraction(entry: ModelEntry) -> float:
    setting = _CACHE_FRACTION[entry.engine]
    fraction = float(entry.settings[setting])
    if not 0 < fraction <= 1:
        raise CatalogError(f"{entry.id}: settings.{setting}: {fraction} is no part of the memory: over 0, up to 1")
    return fraction


def kv_cache_dtype(entry: ModelEntry) -> str:
    """`fp8`, `int8`, or "" for the dtype of the activations."""
    chosen = entry.build.kv_cache_dtype or QUANTIZATIONS[entry.quantization].kv_cache_dtype
    return "" if chosen == "auto" else chosen


def report(entry: ModelEntry, found: Estimate, gpus: Sequence[Gpu]) -> list[str]:
    """Lines for a person: what it takes, and what of it this machine has."""
    build = entry.build
    spread = f" on each of {build.world_size} GPUs" if build.world_size > 1 else ""
    lines = [
        f"disk: {found.disk / 1e9:,.1f} GB (checkpoint {found.download / 1e9:,.1f}, "
        f"converted {found.converted / 1e9:,.1f}, engine {found.engine / 1e9:,.1f})",
        f"GPU memory{spread}: weights {found.weights / GIB:,.1f} GiB, activations up to "
        f"{found.activations / GIB:,.1f}, runtime {RUNTIME / GIB:,.1f}, cache {found.kv_per_token / 1024:,.0f} KiB a "
        f"token in {found.cache_fraction:.0%} of the rest: at least {found.least / GIB:,.1f} GiB for one answer of "
        f"{found.tokens_needed:,} tokens",
    ]
    if gpus:
        memory = min(gpu.memory for gpu in gpus)
        tokens = found.tokens_in(memory)
        answers = tokens // found.tokens_needed
        lines.append(
            f"a GPU of {memory / GIB:,.1f} GiB keeps {tokens:,} tokens: {answers:,} answers of the full length at once "
            f"(the batch takes {build.max_batch_size})"
        )
    return lines


def check_gpus(entry: ModelEntry, found: Estimate, gpus: Sequence[Gpu]) -> None:
    """Raises DoesNotFitError unless these GPUs can run the engine."""
    build, quantization = entry.build, QUANTIZATIONS[entry.quantization]
    if len(gpus) < build.world_size:
        raise DoesNotFitError(
            f"{entry.id}: tensor_parallel {build.tensor_parallel} x pipeline_parallel {build.pipeline_parallel} needs "
            f"{build.world_size} GPUs, {len(gpus)} are here; --gpu-memory GIB builds for another machine"
        )
    for gpu in gpus[: build.world_size]:
        if gpu.capability != (0, 0) and gpu.capability < quantization.least_capability:
            least = ".".join(map(str, quantization.least_capability))
            published = entry.checkpoint is not None and entry.checkpoint.quantization
            raise DoesNotFitError(
                f"{entry.id}: {entry.quantization} needs compute capability {least}, {gpu.name} has "
                f"{'.'.join(map(str, gpu.capability))}; offered are {published or ', '.join(build.offers())}"
            )
        if entry.engine == "tensorrt_llm" and (10, 0) <= gpu.capability < (12, 0):
            refused = entry.quantization if quantization.not_on_sm100 else ""
            if kv_cache_dtype(entry) == "int8":
                refused = "a cache of int8"
            if refused:
                raise DoesNotFitError(
                    f"{entry.id}: trtllm-build refuses {refused} for compute capability 10 and 11, {gpu.name} has "
                    f"{'.'.join(map(str, gpu.capability))}: fp8 and nvfp4 are what it is made for"
                )
        if gpu.memory < found.least:
            raise DoesNotFitError(
                f"{entry.id}: at least {found.least / GIB:,.1f} GiB are needed on each GPU, {gpu.name} has "
                f"{gpu.memory / GIB:,.1f}: a smaller quantization, --max-seq-len, --max-num-tokens or "
                "--tensor-parallel"
            )


def check_disk(folder: Path, needed: int) -> None:
    """Raises DoesNotFitError unless the disk of the folder, which need not be there yet, takes `needed` more bytes."""
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise DoesNotFitError(
            f"{needed / 1e9:,.1f} GB are needed in {folder}, {free / 1e9:,.1f} GB are free: make room, or choose a "
            "folder on another disk with --work"
        )
