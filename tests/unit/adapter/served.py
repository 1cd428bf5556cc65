"""Served models as Triton's configurations describe them, without a Triton."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2

from adapter.triton.model import ServedModel, describe
from tests.unit.tokentext.tokenizer_kinds import KINDS, write_folder
from tokentext import TextTokenizer

_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "{% if m.content == 'refuse me' %}{{ raise_exception('no such content') }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)

# Every input that an engine may declare (docs/model_repository.md), with TensorRT-LLM's dtype and dims.
ENGINE_INPUTS = {
    "input_ids": ("TYPE_INT32", [-1]),
    "input_lengths": ("TYPE_INT32", [1]),
    "request_output_len": ("TYPE_INT32", [1]),
    "streaming": ("TYPE_BOOL", [1]),
    "exclude_input_in_output": ("TYPE_BOOL", [1]),
    "end_id": ("TYPE_INT32", [1]),
    "stop_token_ids": ("TYPE_INT32", [-1]),
    "stop_words_list": ("TYPE_INT32", [2, -1]),
    "temperature": ("TYPE_FP32", [1]),
    "runtime_top_k": ("TYPE_INT32", [1]),
    "runtime_top_p": ("TYPE_FP32", [1]),
    "seed": ("TYPE_UINT64", [1]),
    "presence_penalty": ("TYPE_FP32", [1]),
    "frequency_penalty": ("TYPE_FP32", [1]),
    "embedding_bias": ("TYPE_FP32", [-1]),
    "guided_decoding_guide_type": ("TYPE_STRING", [1]),
    "guided_decoding_guide": ("TYPE_STRING", [1]),
    "return_log_probs": ("TYPE_BOOL", [1]),
    "top_logprobs": ("TYPE_INT32", [1]),
    "lora_task_id": ("TYPE_UINT64", [1]),
}
ENGINE_OUTPUTS = (
    "output_ids",
    "sequence_length",
    "output_log_probs",
    "finish_reason",
    "top_token_ids",
    "top_log_probs",
    "cached_tokens",
)
VOCAB = 300


def engine_config(
    name: str = "small_engine",
    served_id: str | None = "maker/small:1b",
    *,
    inputs: Any = ENGINE_INPUTS,
    outputs: Any = ENGINE_OUTPUTS,
    max_batch_size: int = 0,
    **parameters: str | None,
) -> model_config_pb2.ModelConfig:
    """The configuration of a chat engine; a parameter that is None is left out."""
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size)
    for tensor in inputs:
        dtype, dims = ENGINE_INPUTS[tensor]
        config.input.add(name=tensor, data_type=dtype, dims=dims)
    for tensor in outputs:
        config.output.add(name=tensor)
    values: dict[str, str | None] = {
        "served_model_id": served_id,
        "served_kind": "chat",
        "served_owned_by": "maker",
        "served_created": "1700000000",
        "family": "small",
        "context_length": "64",
        "vocab_size": str(VOCAB),
        "end_ids": "7,8,9",
        "engine": "test 1",
        "weights_sha256": "abc",
        **parameters,
    }
    for key, value in values.items():
        if value is not None:
            config.parameters[key].string_value = value
    return config


def tokenizer_folder(folder: Path, kind: str = "byte_level", *, template: str | None = _TEMPLATE) -> Path:
    config = {"chat_template": template} if template is not None else None
    return write_folder(folder, KINDS[kind](), config)


def served_model(tokenizer: TextTokenizer, **changes: Any) -> ServedModel:
    """The model of `engine_config()`; `changes` are fields of the description."""
    description = describe(engine_config())
    assert description is not None
    return replace(ServedModel(**vars(description), tokenizer=tokenizer), **changes)
