"""The arguments of the LLM API's `LLM`, from the parameters of the Triton configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .llm_features import field_names, first_import


class SettingError(ValueError):
    """A parameter of the configuration makes no sense; the message names it."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: `name`, and the folder `path` of its Hugging Face checkpoint."""

    name: str
    path: str


def read_adapters(settings: Mapping[str, str]) -> dict[int, Adapter]:
    """`lora_adapters`: a JSON object, `{"1": {"name": "sql", "path": "/models/lora/sql"}}`; keys are task ids."""
    content = _json_object(settings, "lora_adapters")
    adapters = {}
    for key, value in content.items():
        if not key.isdigit() or not int(key) or not isinstance(value, dict) or not {"name", "path"} <= value.keys():
            raise SettingError(f"lora_adapters: {key!r}: a task id over 0 with `name` and `path` is needed")
        adapters[int(key)] = Adapter(str(value["name"]), str(value["path"]))
    return adapters


def llm_args(settings: Mapping[str, str], adapters: Mapping[int, Adapter]) -> dict[str, Any]:
    """Keyword arguments for `LLM`. What is not set is left to TensorRT-LLM.

    `llm_args` of the configuration (a JSON object) goes over everything else: whatever LLM takes can be said there.

    Raises:
        SettingError: a value of the wrong form.
    """
    args: dict[str, Any] = {
        "model": _needed(settings, "model"),
        "tokenizer": settings.get("tokenizer_dir"),
        "backend": "pytorch",
        "trust_remote_code": _flag(settings, "trust_remote_code", False),
        "dtype": settings.get("dtype", "auto"),
        "tensor_parallel_size": _count(settings, "tensor_parallel_size") or 1,
        "pipeline_parallel_size": _count(settings, "pipeline_parallel_size") or 1,
        "max_batch_size": _count(settings, "max_batch_size"),
        "max_num_tokens": _count(settings, "max_num_tokens"),
        "max_seq_len": _count(settings, "context_length"),
        "enable_chunked_prefill": _flag(settings, "enable_chunked_prefill", None),
        "guided_decoding_backend": settings.get("guided_decoding_backend"),
        "sampler_type": settings.get("sampler_type"),
    }
    if "enable_iter_perf_stats" in _known_args():
        args["enable_iter_perf_stats"] = True  # source of the metrics of the KV cache
    cache = {
        "free_gpu_memory_fraction": _fraction(settings, "free_gpu_memory_fraction"),
        "enable_block_reuse": _flag(settings, "enable_block_reuse", None),
        "host_cache_size": _count(settings, "host_cache_size"),
        "dtype": settings.get("kv_cache_dtype"),
    }
    kv_cache_config = first_import("tensorrt_llm.llmapi:KvCacheConfig")
    args["kv_cache_config"] = kv_cache_config(**{key: value for key, value in cache.items() if value is not None})
    if adapters:
        lora_config = first_import(
            "tensorrt_llm.llmapi:LoraConfig",
            "tensorrt_llm.lora_helper:LoraConfig",
            "tensorrt_llm.lora_manager:LoraConfig",
        )
        values = {
            "lora_dir": [adapter.path for adapter in adapters.values()],
            "max_lora_rank": _count(settings, "max_lora_rank") or 64,
            "max_loras": len(adapters),
            "max_cpu_loras": len(adapters),
        }
        known = field_names(lora_config)
        args["lora_config"] = lora_config(**{key: value for key, value in values.items() if key in known})
    args.update(_drafts(settings))
    args.update(_json_object(settings, "llm_args"))
    return {key: value for key, value in args.items() if value is not None}


def _drafts(settings: Mapping[str, str]) -> dict[str, Any]:
    """What has a draft model write tokens that the model checks. Releases have renamed where its checkpoint is said."""
    folder = settings.get("speculative_model_dir")
    if not folder:
        return {}
    kind = first_import("tensorrt_llm.llmapi:DraftTargetDecodingConfig")
    known = field_names(kind)
    place = next((name for name in ("speculative_model", "speculative_model_dir") if name in known), None)
    if place is None:
        raise SettingError("speculative_model_dir: this TensorRT-LLM release takes no draft model")
    config = kind(**{"max_draft_len": _count(settings, "max_draft_len"), place: folder})
    args = {"speculative_config": config}
    if "disable_overlap_scheduler" in _known_args():
        args["disable_overlap_scheduler"] = True  # TensorRT-LLM's guide: two models are not run ahead of each other
    return args


def _known_args() -> frozenset[str]:
    try:
        return field_names(first_import("tensorrt_llm.llmapi:TorchLlmArgs", "tensorrt_llm.llmapi:LlmArgs"))
    except ImportError:
        return frozenset()


def _needed(settings: Mapping[str, str], key: str) -> str:
    if not settings.get(key):
        raise SettingError(f"{key}: is needed")
    return settings[key]


def _count(settings: Mapping[str, str], key: str) -> int | None:
    value = settings.get(key, "")
    if not value:
        return None
    if not value.isdigit():
        raise SettingError(f"{key}: a whole number is needed, not {value!r}")
    return int(value) or None


def _fraction(settings: Mapping[str, str], key: str) -> float | None:
    value = settings.get(key, "")
    try:
        number = float(value) if value else None
    except ValueError:
        number = -1.0
    if number is not None and not 0.0 < number <= 1.0:
        raise SettingError(f"{key}: a number over 0 and up to 1 is needed, not {value!r}")
    return number


def _flag(settings: Mapping[str, str], key: str, default: bool | None) -> bool | None:
    value = settings.get(key, "").lower()
    if value not in ("", "true", "false"):
        raise SettingError(f"{key}: true or false is needed, not {value!r}")
    return default if not value else value == "true"


def _json_object(settings: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        content = json.loads(settings.get(key) or "{}")
    except ValueError as error:
        raise SettingError(f"{key}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise SettingError(f"{key}: a JSON object is needed")
    return content
