"""The engines' configurations against the tensors of TensorRT-LLM's own (tests/data/trtllm/tensors.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.engine_settings import ENGINE_SETTINGS
from build.render import render_config
from tests.support.model_modules import SOURCES

CONTRACT = json.loads((Path(__file__).parents[2] / "data" / "trtllm" / "tensors.json").read_text())
ADDED_INPUTS = {
    "min_p": ("TYPE_FP32", [1]),
    "top_logprobs": ("TYPE_INT32", [1]),
    "ignore_eos": ("TYPE_BOOL", [1]),
    "stop_token_ids": ("TYPE_INT32", [-1]),
    "return_prompt_log_probs": ("TYPE_BOOL", [1]),
    "cache_scope": ("TYPE_STRING", [1]),
    "media": ("TYPE_STRING", [-1]),
}
ADDED_OUTPUTS = {
    "finish_reason": ("TYPE_STRING", [1]),
    "top_token_ids": ("TYPE_INT32", [-1, -1]),
    "top_log_probs": ("TYPE_FP32", [-1, -1]),
    "cached_tokens": ("TYPE_INT32", [1]),
    "context_ids": ("TYPE_INT32", [-1]),
    "prompt_log_probs": ("TYPE_FP32", [-1]),
    "prompt_top_token_ids": ("TYPE_INT32", [-1, -1]),
    "prompt_top_log_probs": ("TYPE_FP32", [-1, -1]),
    "prompt_tokens": ("TYPE_INT32", [1]),
}


def config_of(source: str, engine: str, template: str = "config.pbtxt") -> Any:
    variables = {
        **ENGINE_SETTINGS[engine],
        **dict.fromkeys(["tokenizer_dir", "weights", "mmproj", "engine_dir", "end_ids"], "x"),
        "xgrammar_tokenizer_info_path": "",
        **{"name": "a_engine", "preprocessing": "a_pre", "engine_model": "a_engine", "postprocessing": "a_post"},
        **{"context_length": 8, "vocab_size": 9, "end_id": 2, "pad_id": 2},
        **{"enable_chunked_prefill": True, "max_lora_rank": 64, "speculative_model_dir": "", "max_draft_len": ""},
    }
    config = model_config_pb2.ModelConfig()
    text_format.Parse(render_config(SOURCES / source / template, variables, {}), config)
    return config


def described(tensor: Any) -> tuple[str, list[int]]:
    return model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims)


def is_scalar(tensor: Any) -> bool:
    return tensor.HasField("reshape") and not tensor.reshape.shape


def test_tensorrt_llm_declares_every_tensor_in_order() -> None:
    config = config_of("tensorrt_llm", "tensorrt_llm")
    for kind in ("inputs", "outputs"):
        tensors = getattr(config, kind.rstrip("s"))
        assert [tensor.name for tensor in tensors] == [tensor["name"] for tensor in CONTRACT[kind]]
        for tensor, wanted in zip(tensors, CONTRACT[kind], strict=True):
            dtype, dims = described(tensor)
            assert dims == wanted["dims"], tensor.name
            assert dtype == (wanted["dtype"] or dtype), tensor.name
            if kind == "inputs":
                assert tensor.optional == wanted["optional"], tensor.name
                assert not (is_scalar(tensor) and tensor.allow_ragged_batch), tensor.name
    assert config.backend == "tensorrtllm"
    assert config.model_transaction_policy.decoupled
    assert config.parameters["gpt_model_path"].string_value == "x"
    assert "xgrammar_tokenizer_info_path" not in config.parameters  # unset is left out


@pytest.mark.parametrize("engine", ["llama_cpp", "tensorrt_llm_api"])
def test_our_own_engines_declare_a_part_of_it_alike(engine: str) -> None:
    config = config_of(engine, engine)
    reference = config_of("tensorrt_llm", "tensorrt_llm")
    for kind, added in (("input", ADDED_INPUTS), ("output", ADDED_OUTPUTS)):
        known = {tensor.name: tensor for tensor in getattr(reference, kind)}
        for tensor in getattr(config, kind):
            if tensor.name in added:
                assert described(tensor) == added[tensor.name]
                continue
            assert described(tensor) == described(known[tensor.name]), tensor.name
            if kind == "input":
                assert tensor.optional == known[tensor.name].optional, tensor.name
                assert is_scalar(tensor) == is_scalar(known[tensor.name]), tensor.name
        assert added.keys() <= {tensor.name for tensor in getattr(config, kind)}
    assert config.model_transaction_policy.decoupled
    assert config.max_batch_size == 1


def test_the_llm_api_takes_what_the_cpu_engine_takes_and_more() -> None:
    ours, cpu = config_of("tensorrt_llm_api", "tensorrt_llm_api"), config_of("llama_cpp", "llama_cpp")
    names = [{tensor.name for tensor in config.input} for config in (ours, cpu)]
    assert names[0] - names[1] == {"num_return_sequences", "return_perf_metrics"}
    assert names[1] <= names[0]
    assert "llm_args" not in ours.parameters  # unset is left out
    assert ours.parameters["model"].string_value == "x"


@pytest.mark.parametrize(
    ("engine", "template"),
    [
        ("llama_cpp", "config.pbtxt"),
        ("tensorrt_llm_api", "config.pbtxt"),
        ("tensorrt_llm", "config.tensorrt_llm.pbtxt"),
    ],
)
def test_ensemble_connects_what_its_parts_declare(engine: str, template: str) -> None:
    ensemble = config_of("ensemble", engine, template)
    parts = {
        "a_pre": config_of("preprocessing", engine),
        "a_engine": config_of(engine, engine),
        "a_post": config_of("postprocessing", engine),
    }
    tensors = {tensor.name: described(tensor) for tensor in ensemble.input}
    used = set()
    for step in ensemble.ensemble_scheduling.step:
        part = parts[step.model_name]
        inputs = {tensor.name: tensor for tensor in part.input}
        outputs = {tensor.name: tensor for tensor in part.output}
        for name, source in step.input_map.items():
            assert described(inputs[name]) == tensors[source], (step.model_name, name)
            used.add(source)
        required = {name for name, tensor in inputs.items() if not tensor.optional}
        assert required <= step.input_map.keys()
        tensors.update({target: described(outputs[name]) for name, target in step.output_map.items()})
    for tensor in ensemble.output:
        assert described(tensor) == tensors[tensor.name], tensor.name
    assert {tensor.name for tensor in ensemble.input} <= used
    assert all(tensor.optional for tensor in ensemble.input)
