"""A Hugging Face checkpoint in a folder: what must be there, and whether it is the model that the catalog means.

Keys of `config.json` are those of `transformers`, which has the language model's under `text_config` in most models
that take images; a sharded checkpoint's index is `model.safetensors.index.json` (`metadata.total_size`, `weight_map`).
A safetensors file begins with the length of its header, 8 bytes little-endian, and the header, JSON: name -> dtype,
shape, data_offsets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build.gpu_options import Checkpoint
from build.quantization import QUANTIZATIONS
from tokentext.files import TOKENIZER_FILES

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
CONFIG = "config.json"
QUANTIZED = "hf_quant_config.json"  # of a checkpoint that ModelOpt has quantized
LONGEST_HEADER = 100 << 20  # bytes; the safetensors format's own bound

# What converting, calibrating and serving read beside the weights.
COMPANIONS = (
    CONFIG,
    QUANTIZED,
    INDEX,
    *TOKENIZER_FILES,
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    # How a model that takes images wants them.
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
)


_WEIGHTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")  # in the repository's own folder


class CheckpointError(ValueError):
    """The checkpoint is not complete, or not that of the catalog; the message names the file."""


def is_wanted(name: str) -> bool:
    """Whether a file of a repository belongs to the checkpoint. Other formats of the same weights do not."""
    return name in COMPANIONS or (_WEIGHTS.fullmatch(name) is not None and name != "consolidated.safetensors")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: an object is expected")
    return content


def language_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of `config.json` that describes the language model: all of it, or `text_config`."""
    text = config.get("text_config")
    return text if isinstance(text, Mapping) and "vocab_size" not in config else config


def check_config(folder: Path, expected: Checkpoint) -> None:
    """Raises CheckpointError unless `config.json` is that of the model which the catalog describes."""
    config = read_object(folder / CONFIG)
    architectures = config.get("architectures")
    if architectures != [expected.architecture]:
        found = ", ".join(architectures) if isinstance(architectures, list) else architectures
        raise CheckpointError(f"{folder / CONFIG}: architectures is {found}; the catalog says {expected.architecture}")
    language = language_config(config)
    heads, hidden = language.get("num_attention_heads"), language.get("hidden_size")
    defaults = {
        "num_key_value_heads": heads,
        "head_dim": hidden // heads if heads and isinstance(hidden, int) else None,
        "tie_word_embeddings": True,  # transformers' own default
        "num_experts_per_tok": 1,  # a dense model
    }
    for key in (
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "tie_word_embeddings",
        "num_experts_per_tok",
    ):
        found = language.get(key, config.get(key))
        found = defaults.get(key) if found is None else found
        if found != getattr(expected, key):
            raise CheckpointError(f"{folder / CONFIG}: {key} is {found}; the catalog says {getattr(expected, key)}")


def check_quantization(folder: Path, expected: Checkpoint) -> None:
    """Raises CheckpointError unless the weights are in what the catalog says, by the checkpoint's own files.

    ModelOpt writes `hf_quant_config.json` (`quantization.quant_algo`), others `quantization_config` of `config.json`
    (`quant_algo`, `quant_method`).
    """
    path, key = (folder / QUANTIZED, "quantization") if (folder / QUANTIZED).is_file() else (folder / CONFIG, "")
    facts = read_object(path).get(key or "quantization_config")
    facts = facts if isinstance(facts, Mapping) else {}
    found = facts.get("quant_algo") or facts.get("quant_method")
    wanted = expected.quantization
    if found is None and not wanted:
        return
    if not wanted:
        raise CheckpointError(f"{path}: the weights are quantized, {found}; the catalog has no checkpoint.quantization")
    if str(found).lower() not in QUANTIZATIONS[wanted].algorithms:
        said = f"the weights are in {found}" if found else "nothing is said of a quantization"
        raise CheckpointError(f"{path}: {said}; the catalog says {wanted} (checkpoint.quantization)")


def check_files(folder: Path) -> None:
    """Raises CheckpointError unless all weights are there, whole, and a tokenizer with them."""
    for name in (CONFIG, "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing")
    check_weights(folder)


def check_weights(folder: Path) -> None:
    """Raises CheckpointError unless every file of the weights is there and as long as its header says."""
    for name, tensors in _shards(folder).items():
        header = _header(folder / name)
        missing = sorted(tensors - header.keys())
        if missing:
            raise CheckpointError(f"{folder / name} lacks {missing[0]}, which {INDEX} promises")


def _shards(folder: Path) -> dict[str, set[str]]:
    """The files of the weights, and the tensors that the index promises in each."""
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise CheckpointError(f"{folder}: there is neither {SINGLE} nor {INDEX}")
        return {SINGLE: set()}
    places = read_object(folder / INDEX).get("weight_map")
    if not isinstance(places, Mapping) or not places:
        raise CheckpointError(f"{folder / INDEX}: weight_map is missing")
    shards: dict[str, set[str]] = {}
    for tensor, name in places.items():
        if not isinstance(name, str) or "/" in name:
            raise CheckpointError(f"{folder / INDEX}: {tensor} is in {name!r}, which is no file beside it")
        shards.setdefault(name, set()).add(tensor)
    for name in shards:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing; {INDEX} names {len(shards)} files of weights")
    return shards


def _header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise CheckpointError(f"{path}: no safetensors file")
        try:
            header = json.loads(file.read(length))
            tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
            end = max((facts["data_offsets"][1] for facts in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{path}: no safetensors file ({error})") from error
    if 8 + length + end != size:
        raise CheckpointError(f"{path}: {size:,} bytes; its header speaks of {8 + length + end:,}")
    return tensors
