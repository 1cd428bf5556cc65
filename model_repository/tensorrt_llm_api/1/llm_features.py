"""What the installed TensorRT-LLM can do, found by looking at its classes: names of releases say less."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

TORCH_SAMPLER_IGNORES = (
    "the sampler of this TensorRT-LLM release passes over it; with `sampler_type` TRTLLMSampler, or a newer release, "
    "it has an effect"
)


def field_names(kind: Any) -> frozenset[str]:
    """The fields of a dataclass or a pydantic model, or the parameters of anything else that can be called."""
    if dataclasses.is_dataclass(kind):
        return frozenset(field.name for field in dataclasses.fields(kind))
    if hasattr(kind, "model_fields"):
        return frozenset(kind.model_fields)
    return frozenset(inspect.signature(kind).parameters)


def first_import(*places: str) -> Any:
    """The first of `module:name` that there is: releases have moved some classes.

    Raises:
        ImportError: there is none.
    """
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"TensorRT-LLM has none of {', '.join(places)}")


class Features:
    """The classes of the installed TensorRT-LLM, and what they take.

    Args:
        sampler_type, guided_decoding_backend: as given to `LLM`; "" for its default, and for none.
    Attributes:
        params: fields of SamplingParams; call: parameters of LLM.generate_async
        guides: fields of GuidedDecodingParams; empty without a backend
        counts_tokens: whether penalties and bad words have an effect. The PyTorch backend's own sampler takes and
            ignores them up to release 1.2; the releases that honour them (1.3) have a switch for penalties in the
            configuration of speculative decoding, which is public.
        scores_prompt: whether prompt log probabilities hold the prompt's own tokens, not just the likeliest.
    """

    def __init__(self, sampler_type: str, guided_decoding_backend: str) -> None:
        package = importlib.import_module("tensorrt_llm")
        self.version = str(getattr(package, "__version__", ""))
        self.llm: Any = package.LLM
        self.sampling_params: Any = package.SamplingParams
        self.guided_decoding_params: Any = first_import(
            "tensorrt_llm.llmapi:GuidedDecodingParams", "tensorrt_llm.sampling_params:GuidedDecodingParams"
        )
        self.request_error: Any = first_import("tensorrt_llm.llmapi:RequestError", "tensorrt_llm.executor:RequestError")
        self.params = field_names(self.sampling_params)
        self.guides = field_names(self.guided_decoding_params) if guided_decoding_backend else frozenset()
        self.call = field_names(self.llm.generate_async)
        self.scores_prompt = "prompt_logprobs_simple_format" in self.params
        self.counts_tokens = sampler_type == "TRTLLMSampler" or _sampler_counts()


def _sampler_counts() -> bool:
    try:
        decoding = first_import("tensorrt_llm.llmapi:MTPDecodingConfig")
    except ImportError:
        return False
    return "enable_penalty" in field_names(decoding)
