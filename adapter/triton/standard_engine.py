"""The engine of NVIDIA's standard repository (`preprocessing`, `tensorrt_llm`, `postprocessing`, `ensemble`), as it is.

Its configuration says nothing of what it serves. What is missing comes from a tokenizer folder that the operator gives:
docs/model_repository.md, "NVIDIA's standard repository". The configuration's format: TensorRT-LLM's
`triton_backend/all_models/inflight_batcher_llm/tensorrt_llm/config.pbtxt` (up to release 1.2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2

from adapter.triton.model import ModelConfigError, ModelDescription, describe
from tokentext import TOKENIZER_FILES

OVERRIDES = "tritongate.json"
"""File of the tokenizer folder with parameters of docs/model_repository.md, for what cannot be found out."""

_INPUTS = frozenset({"input_ids", "input_lengths", "request_output_len"})
_OUTPUTS = frozenset({"output_ids", "sequence_length"})
_GUIDE = frozenset({"guided_decoding_guide_type", "guided_decoding_guide"})
_KEYS = frozenset(
    {
        *("served_model_id", "served_owned_by", "served_created", "family", "context_length", "vocab_size", "end_ids"),
        *("weights_sha256", "draws_seed", "guide_types", "tool_parser", "reasoning_parser"),
        *("fim_prefix", "fim_suffix", "fim_middle"),
    }
)
_UNLIMITED = 10**9  # `model_max_length` of tokenizers that know of no limit is a number with thirty digits


def describe_standard(config: model_config_pb2.ModelConfig, tokenizers: Path | None) -> ModelDescription | None:
    """The description of a `tensorrt_llm` model for which there is a tokenizer folder; None for any other model.

    Args:
        config: without a `served_model_id`.
        tokenizers: holds a folder of the model's Triton name, with `tokenizer.json`.

    Raises:
        ModelConfigError: something is still missing, or a file of the folder makes no sense. Reads files.
    """
    if tokenizers is None or not _is_engine(config):
        return None
    folder = tokenizers / config.name
    if not (folder / TOKENIZER_FILES[0]).is_file():
        return None
    completed = model_config_pb2.ModelConfig()
    completed.CopyFrom(config)
    given = {key: value.string_value for key, value in config.parameters.items() if _is_set(value.string_value)}
    for key, value in _parameters(config.name, folder, given).items():
        completed.parameters[key].string_value = value
    description = describe(completed)
    assert description is not None  # it has a served_model_id now
    lacking: frozenset[str] = frozenset()
    if not config.model_transaction_policy.decoupled:
        lacking |= {"streaming"}  # asked for, it would be an error; the whole answer comes as one response
    if "guided_decoding_backend" not in given:
        lacking |= _GUIDE  # declared, and passed over
    return replace(description, inputs=description.inputs - lacking)


def _is_engine(config: model_config_pb2.ModelConfig) -> bool:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    return inputs >= _INPUTS and outputs >= _OUTPUTS


def _is_set(value: str) -> bool:
    """A template's variable that nobody filled in stands for an unset parameter."""
    return bool(value) and not value.startswith("${")


def _parameters(name: str, folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    overrides = _overrides(name, folder / OVERRIDES)
    found: dict[str, str] = {"served_model_id": name, "served_kind": "chat", "engine": "tensorrt_llm"}
    engine = _read(name, Path(given["gpt_model_path"]) / "config.json") if "gpt_model_path" in given else {}
    checkpoint = _read(name, folder / "config.json")
    tokenizer = _read(name, folder / "tokenizer_config.json")
    lengths = (
        _part(engine, "build_config").get("max_seq_len"),
        tokenizer.get("model_max_length"),
        checkpoint.get("max_position_embeddings"),
    )
    sizes = (_part(engine, "pretrained_config").get("vocab_size"), checkpoint.get("vocab_size"))
    length, size = next(_counts(lengths), None), next(_counts(sizes), None)
    if length is None and "context_length" not in overrides:
        raise ModelConfigError(
            f"Triton model {name}: its context length is not known: neither the engine's config.json (on this machine) "
            f'nor tokenizer_config.json says it; put {{"context_length": N}} into {folder / OVERRIDES}'
        )
    if "vocab_size" not in overrides and size is None:
        size = _vocabulary(name, folder / TOKENIZER_FILES[0])
    found.update(context_length=str(length), vocab_size=str(size), end_ids=_end_ids(name, folder, tokenizer))
    return {**found, **overrides}


def _counts(values: tuple[Any, ...]) -> Iterator[int]:
    return (value for value in values if isinstance(value, int) and 0 < value < _UNLIMITED)


def _overrides(name: str, path: Path) -> dict[str, str]:
    content = _read(name, path)
    unknown = sorted(content.keys() - _KEYS)
    if unknown:
        raise ModelConfigError(f"Triton model {name}: {path}: {unknown[0]}: not one of {', '.join(sorted(_KEYS))}")
    return {key: _text(value) for key, value in content.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _end_ids(name: str, folder: Path, tokenizer: Mapping[str, Any]) -> str:
    """Those of generation_config.json; else the token that tokenizer_config.json calls `eos_token`."""
    found = _read(name, folder / "generation_config.json").get("eos_token_id")
    ids = found if isinstance(found, list) else [found]
    if all(isinstance(token, int) for token in ids):
        return _text(ids)
    token = tokenizer.get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    added = _read(name, folder / TOKENIZER_FILES[0]).get("added_tokens", [])
    return _text([entry["id"] for entry in added if entry.get("content") == text])


def _vocabulary(name: str, path: Path) -> int:
    try:
        return int(Tokenizer.from_file(str(path)).get_vocab_size(with_added_tokens=True))
    except Exception as error:  # the library raises bare Exception
        raise ModelConfigError(f"Triton model {name}: {path}: {error}") from error


def _part(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = content.get(key)
    return part if isinstance(part, dict) else {}


def _read(name: str, path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        return {}
    except ValueError as error:
        raise ModelConfigError(f"Triton model {name}: {path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelConfigError(f"Triton model {name}: {path}: an object is expected")
    return content
