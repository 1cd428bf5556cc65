"""A model of the engine `tensorrt_llm_api`, assembled: its configuration, and the code that it shares."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from build.assemble import SOURCES
from build.catalog import CatalogError
from tests.support.stand_in_model import CONTEXT, ENGINE, VOCABULARY, stand_in_repository, write_lora

pytestmark = pytest.mark.timeout(900)  # the tokenizer's weights may have to come first


def config_of(folder: Path, **settings: Any) -> ModelConfig:
    repository, _ = stand_in_repository(folder, **settings)
    config = ModelConfig()
    text_format.Parse((repository / ENGINE / "config.pbtxt").read_text(encoding="utf-8"), config)
    return config


def parameters_of(config: ModelConfig) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def test_it_is_described_and_told_what_to_load(tmp_path: Path) -> None:
    parameters = parameters_of(config_of(tmp_path))
    assert parameters["engine"] == "tensorrt_llm_api"
    assert parameters["served_model_id"] == "acme/stand-in"
    assert (parameters["vocab_size"], parameters["context_length"]) == (str(VOCABULARY), str(CONTEXT))
    model = Path(parameters["model"])
    assert (model / "config.json").is_file()
    assert model.parent.name == ENGINE
    assert (parameters["tensor_parallel_size"], parameters["pipeline_parallel_size"]) == ("1", "1")  # of its `build`
    assert (parameters["max_batch_size"], parameters["enable_chunked_prefill"]) == ("64", "true")
    assert not {"sampler_type", "kv_cache_dtype", "lora_adapters", "llm_args"} & parameters.keys()


def test_the_release_is_noted_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a source of `system_fingerprint`: another release may answer otherwise."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.3.0" if name == "tensorrt-llm" else real(name))
    assert parameters_of(config_of(tmp_path))["engine"] == "tensorrt_llm_api 1.3.0"


def test_settings_go_over_the_build(tmp_path: Path) -> None:
    settings = {"tensor_parallel_size": 8, "kv_cache_dtype": "fp8", "enable_block_reuse": False}
    parameters = parameters_of(config_of(tmp_path, **settings))
    assert (parameters["tensor_parallel_size"], parameters["kv_cache_dtype"]) == ("8", "fp8")
    assert parameters["enable_block_reuse"] == "false"
    with pytest.raises(CatalogError, match=r"settings\.tensor_paralel_size: unknown"):
        config_of(tmp_path / "wrong", tensor_paralel_size=8)


def test_adapters_are_declared_where_there_are_any(tmp_path: Path) -> None:
    def taken(folder: Path) -> set[str]:
        ensemble = ModelConfig()
        path = folder / "repository" / ENGINE.removesuffix("_engine") / "config.pbtxt"
        text_format.Parse(path.read_text(encoding="utf-8"), ensemble)
        engine = ensemble.ensemble_scheduling.step[1]
        assert engine.model_name == ENGINE
        assert ("lora_task_id" in engine.input_map) == ("lora_task_id" in {tensor.name for tensor in ensemble.input})
        return set(engine.input_map)

    names = {tensor.name for tensor in config_of(tmp_path / "without").input}
    assert "lora_task_id" not in names | taken(tmp_path / "without")
    assert "num_return_sequences" in names
    config = config_of(tmp_path / "with", loras={"sql": write_lora(tmp_path / "sql")})
    assert "lora_task_id" in {tensor.name for tensor in config.input} & taken(tmp_path / "with")
    (adapter,) = json.loads(parameters_of(config)["lora_adapters"]).values()
    assert adapter["name"] == "sql"
    assert (Path(adapter["path"]) / "adapter_model.safetensors").is_file()


def test_media_are_declared_where_the_entry_takes_images(tmp_path: Path) -> None:
    def declared(config: ModelConfig) -> set[str]:
        return {tensor.name for tensor in (*config.input, *config.output)} & {"media", "prompt_tokens"}

    without = config_of(tmp_path / "without")
    assert declared(without) == set()
    assert "modalities" not in parameters_of(without)
    config = config_of(tmp_path / "with", modalities=["text", "image"])
    assert declared(config) == {"media", "prompt_tokens"}
    assert parameters_of(config)["modalities"] == "text,image"


def test_shared_code_is_there_as_files(tmp_path: Path) -> None:
    repository, _ = stand_in_repository(tmp_path)
    shared = [path for path in (SOURCES / "tensorrt_llm_api" / "1").iterdir() if path.is_symlink()]
    assert {path.name for path in shared} >= {"request.py", "reply.py", "cancellation.py"}
    for source in shared:
        assembled = repository / ENGINE / "1" / source.name
        assert not assembled.is_symlink()
        assert assembled.read_text() == (SOURCES / "llama_cpp" / "1" / source.name).read_text()
