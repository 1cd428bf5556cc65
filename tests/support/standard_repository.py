"""A repository laid out as NVIDIA's `fill_template.py` leaves it: nothing in it is Tritongate's.

Tensors of `tensorrt_llm` are those of tests/data/trtllm/tensors.json; names, dtypes and parameters of all of it as in
TensorRT-LLM's `triton_backend/all_models/inflight_batcher_llm` (release 1.2). Backends are `python`, as that template
allows (`triton_backend:python`), since there is no GPU here; `tensorrt_llm/1/model.py` is `standard_engine/model.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTRACT = json.loads((Path(__file__).parents[1] / "data" / "trtllm" / "tensors.json").read_text())
MODEL_CODE = Path(__file__).parent / "standard_engine" / "model.py"
NEVER_CALLED = """class TritonPythonModel:
    def execute(self, requests):
        raise RuntimeError("the adapter talks to tensorrt_llm")
"""
_UNSET = ("max_tokens_in_paged_kv_cache", "max_attention_window_size", "kv_cache_host_memory_bytes", "decoding_mode")


def write_standard_repository(
    folder: Path, answer: Sequence[int], *, decoupled: bool = True, batch: int = 4, guided: bool = True
) -> Path:
    """The five models.

    Args:
        answer: the tokens that the engine writes.
        batch: `triton_max_batch_size`. guided: `guided_decoding_backend` is filled in.
    """
    repository = folder / "repository"
    engine = _engine_config(decoupled, batch, guided)
    _write(repository / "tensorrt_llm", engine, MODEL_CODE.read_text())
    (repository / "tensorrt_llm" / "1" / "stand_in_answer.json").write_text(json.dumps(list(answer)))
    pre = {
        "input": [("QUERY", "STRING", [1], False), ("REQUEST_OUTPUT_LEN", "INT32", [1], False)],
        "output": [("INPUT_ID", "INT32", [-1], None), ("REQUEST_INPUT_LEN", "INT32", [1], None)],
    }
    post = {
        "input": [("TOKENS_BATCH", "INT32", [-1, -1], False), ("SEQUENCE_LENGTH", "INT32", [-1], False)],
        "output": [("OUTPUT", "STRING", [-1], None)],
    }
    text = {
        "input": [("text_input", "STRING", [1], False), ("max_tokens", "INT32", [1], False)],
        "output": [("text_output", "STRING", [-1], None)],
    }
    for name, tensors in (("preprocessing", pre), ("postprocessing", post), ("tensorrt_llm_bls", text)):
        _write(repository / name, _python_config(name, batch, tensors), NEVER_CALLED)
    _write(repository / "ensemble", _ensemble_config(batch, text), None)
    return repository


def _write(folder: Path, config: str, code: str | None) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    if code is not None:
        (folder / "1" / "model.py").write_text(code)


def _engine_config(decoupled: bool, batch: int, guided: bool) -> str:
    parameters = {
        "max_beam_width": "1",
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "gpt_model_type": "inflight_fused_batching",
        "gpt_model_path": "/engines/llama/1-gpu",
        "batch_scheduler_policy": "guaranteed_no_evict",
        "kv_cache_free_gpu_mem_fraction": "0.9",
        "exclude_input_in_output": "True",
        "enable_kv_cache_reuse": "True",
        "normalize_log_probs": "${normalize_log_probs}",
        "guided_decoding_backend": "xgrammar" if guided else "${guided_decoding_backend}",
        **{key: f"${{{key}}}" for key in _UNSET},  # what nobody fills in stays so
    }
    return "\n".join(
        [
            'name: "tensorrt_llm"\nbackend: "python"',
            f"max_batch_size: {batch}",
            f"model_transaction_policy {{ decoupled: {str(decoupled).lower()} }}",
            f"dynamic_batching {{ preferred_batch_size: [ {batch} ] max_queue_delay_microseconds: 0 }}",
            *(_declared("input", tensor, tensor["optional"]) for tensor in CONTRACT["inputs"]),
            *(_declared("output", tensor, None) for tensor in CONTRACT["outputs"]),
            "instance_group [ { count: 1 kind: KIND_CPU } ]",
            *(
                f'parameters: {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
                for key, value in parameters.items()
            ),
        ]
    )


def _declared(kind: str, tensor: dict[str, Any], optional: bool | None) -> str:
    reshape = " reshape: { shape: [ ] }" if kind == "input" and tensor["dims"] == [1] else ""
    ragged = " allow_ragged_batch: true" if kind == "input" and tensor["dims"] == [-1] else ""
    more = f" optional: {str(optional).lower()}" if optional is not None else ""
    dtype = tensor["dtype"] or "TYPE_FP32"
    return f'{kind} [ {{ name: "{tensor["name"]}" data_type: {dtype} dims: {tensor["dims"]}{reshape}{ragged}{more} }} ]'


def _python_config(name: str, batch: int, tensors: dict[str, list[Any]]) -> str:
    return "\n".join([f'name: "{name}"\nbackend: "python"\nmax_batch_size: {batch}', *_plain(tensors)])


def _plain(tensors: dict[str, list[Any]]) -> list[str]:
    return [
        f'{kind} [ {{ name: "{name}" data_type: TYPE_{dtype} dims: {dims} }} ]'
        for kind, each in tensors.items()
        for name, dtype, dims, _ in each
    ]


def _ensemble_config(batch: int, tensors: dict[str, list[Any]]) -> str:
    steps = (
        (
            "preprocessing",
            {"QUERY": "text_input", "REQUEST_OUTPUT_LEN": "max_tokens"},
            ["INPUT_ID", "REQUEST_INPUT_LEN"],
        ),
        (
            "tensorrt_llm",
            {"input_ids": "_INPUT_ID", "input_lengths": "_REQUEST_INPUT_LEN", "request_output_len": "max_tokens"},
            ["output_ids", "sequence_length"],
        ),
        ("postprocessing", {"TOKENS_BATCH": "_output_ids", "SEQUENCE_LENGTH": "_sequence_length"}, ["OUTPUT"]),
    )
    lines = ['name: "ensemble"\nplatform: "ensemble"', f"max_batch_size: {batch}", *_plain(tensors)]
    lines.append("ensemble_scheduling { step [")
    for position, (model, inputs, outputs) in enumerate(steps):
        maps = [f'input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()]
        for output in outputs:
            target = "text_output" if output == "OUTPUT" else f"_{output}"
            maps.append(f'output_map {{ key: "{output}" value: "{target}" }}')
        comma = "," if position < len(steps) - 1 else ""
        lines.append(f'{{ model_name: "{model}" model_version: -1 {" ".join(maps)} }}{comma}')
    return "\n".join([*lines, "] }"])


def copy_tokenizer(source: Path, target: Path, *, end_ids: Sequence[int], length: int | None) -> Path:
    """A tokenizer folder as a Hugging Face repository has it."""
    shutil.copytree(source, target)
    (target / "generation_config.json").write_text(json.dumps({"eos_token_id": list(end_ids)}))
    config = json.loads((target / "tokenizer_config.json").read_text())
    config["model_max_length"] = 10**30 if length is None else length
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    return target
