"""LoRA adapters of catalog entries: what is wrong with one, and what is assembled for each engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from adapter.triton.model import describe, with_adapters
from build.assemble import model_folders
from build.catalog import CatalogError, ModelEntry, load_catalog
from build.gguf_tokenizer import TokenizerFacts
from build.lora_adapters import lora_files
from build.parts import Parts

SHA = "0" * 64
FILE = """
[[models.files]]
name = "{name}"
role = "{role}"
size = 10
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
sources = [ {{ path = "x" }} ]
"""
HEAD = """
[[models]]
id = "me/tiny"
kind = "chat"
engine = "{engine}"
family = "tiny"
context_length = 64
owned_by = "me"
license = "mit"
created = 2024-01-02
fim = ["<p>", "<s>", "<m>"]
"""
CPU = HEAD.format(engine="llama_cpp") + FILE.format(name="tiny.gguf", role="weights")
LORA = '[[models.loras]]\nname = "sql"\nfile = "sql.gguf"\nscale = 0.5\n'
LORA_FILE = FILE.format(name="sql.gguf", role="lora")


def gpu(engine: str) -> str:
    return HEAD.format(engine=engine) + 'engine_dir = "engine"\ntokenizer_dir = "tokenizer"\n'


def load(tmp_path: Path, text: str) -> ModelEntry:
    path = tmp_path / "catalog.toml"
    path.write_text(text)
    return load_catalog(path).entries[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CPU + LORA, "loras: sql: file: the name of a file of role lora"),
        (CPU + LORA.replace("sql.gguf", "tiny.gguf"), "loras: sql: file: the name of a file of role lora"),
        (CPU + LORA + LORA + LORA_FILE, "loras: two of the same name"),
        (CPU + LORA_FILE, "loras: none of them is in sql.gguf"),
        (CPU + LORA.replace("0.5", "nan") + LORA_FILE, "loras.0.scale: a finite number"),
        (CPU + LORA.replace('"sql"', '"a:b"') + LORA_FILE, "loras.0.name"),
        (gpu("tensorrt_llm") + LORA, "loras: sql: folder: missing"),
        (
            gpu("tensorrt_llm_api") + 'settings = { lora_adapters = "{}" }\n[[models.loras]]\nname = "a"\nfolder = "b"',
            "settings.lora_adapters",
        ),
    ],
)
def test_wrong_ones(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(CatalogError) as error:
        load(tmp_path, text)
    assert problem in str(error.value)


def engine_config(entry: ModelEntry, parts: Parts) -> tuple[ModelConfig, set[str]]:
    folder = next(one for one in model_folders(entry, parts, Path("/models")) if one.name == "tiny_engine")
    config = ModelConfig()
    content = folder.files["config.pbtxt"]
    assert isinstance(content, bytes)
    text_format.Parse(content.decode(), config)
    return config, {name for name in folder.files if name.startswith("lora/")}


def parts_of(tmp_path: Path, entry: ModelEntry, files: dict[str, Path], compiled: Path | None = None) -> Parts:
    weights = {} if compiled else {"model.gguf": tmp_path / "tiny.gguf"}
    facts = TokenizerFacts(300, (7,), 7, 64)
    loras = lora_files(entry, files)
    return Parts(tmp_path, SHA, weights, compiled, entry.engine, SHA, facts, loras=loras)


def served(config: ModelConfig) -> list[str]:
    model = describe(config)
    assert model is not None
    return [one.id for one in with_adapters(model)]


def test_for_llama_cpp(tmp_path: Path) -> None:
    entry = load(tmp_path, CPU + LORA + LORA_FILE)
    config, files = engine_config(entry, parts_of(tmp_path, entry, {"sql.gguf": tmp_path / "sql.gguf"}))
    assert files == {"lora/1/sql.gguf"}
    said = json.loads(config.parameters["lora_adapters"].string_value)
    path = "/models/tiny_engine/lora/1/sql.gguf"
    assert said == {"1": {"name": "sql", "path": path, "scale": 0.5, "sha256": SHA}}
    assert "lora_task_id" in {tensor.name for tensor in config.input}
    assert served(config) == ["me/tiny", "me/tiny:sql"]
    plain, files = engine_config(load(tmp_path, CPU), parts_of(tmp_path, load(tmp_path, CPU), {}))
    assert not files and "lora_adapters" not in plain.parameters
    assert "lora_task_id" not in {tensor.name for tensor in plain.input}


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ("tensorrt_llm", ("model.lora_config.npy", "model.lora_weights.npy")),
        ("tensorrt_llm_api", ("adapter_config.json", "adapter_model.safetensors")),
    ],
)
def test_for_a_gpu(tmp_path: Path, engine: str, names: tuple[str, str]) -> None:
    text = gpu(engine) + '[[models.loras]]\nname = "sql"\nfolder = "sql"\n[[models.loras]]\nname = "b"\nfolder = "b"\n'
    entry = load(tmp_path, text)
    with pytest.raises(FileNotFoundError, match=rf"me/tiny: loras: sql: there is no {names[0]} in "):
        lora_files(entry, {})
    for folder in ("sql", "b", "engine"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"x")
    config, files = engine_config(entry, parts_of(tmp_path, entry, {}, tmp_path / "engine"))
    assert files == {f"lora/{task}/{name}" for task in (1, 2) for name in names}
    said = json.loads(config.parameters["lora_adapters"].string_value)
    assert said["2"] == {"name": "b", "path": "/models/tiny_engine/lora/2"}
    if engine == "tensorrt_llm":  # which reads them at its start, from folders named by the task ids
        assert config.parameters["lora_prefetch_dir"].string_value == "/models/tiny_engine/lora"
    assert "lora_task_id" in {tensor.name for tensor in config.input}
    assert served(config) == ["me/tiny", "me/tiny:sql", "me/tiny:b"]
