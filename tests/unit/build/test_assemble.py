"""The real sources of model_repository/, rendered for real entries: what Triton and the adapter will find."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from build import assemble
from build.assemble import prepare
from build.catalog import CATALOG, CatalogError
from build.parts import PartsError
from build.repository import RepositoryError
from tests.support import models
from tests.support.own_models import MEDIA, media_repository, triton_name
from tests.support.tiny_cross_encoder import BERT, CONTEXT, XLM, reranker_repository
from tokentext.cache import cache_folder
from tokentext.files import tokenizer_digest
from tokentext.tokenizer import TextTokenizer

pytestmark = pytest.mark.timeout(900)  # the weights may have to come first


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "repository"
    assert prepare(models.ALL, output, cache_folder()) == output
    return output


def config_of(folder: Path) -> ModelConfig:
    config = ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), config)
    return config


def parameters_of(folder: Path) -> dict[str, str]:
    return {key: value.string_value for key, value in config_of(folder).parameters.items()}


def test_two_chat_models_and_an_embedding_model_side_by_side(assembled: Path) -> None:
    chat = [
        name + part
        for name in ("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")
        for part in ("", "_engine", "_postprocessing", "_preprocessing")
    ]
    embedding = ["all-minilm-l6-v2", "all-minilm-l6-v2_encoder", "all-minilm-l6-v2_tokenizer"]
    folders = sorted(path for path in assembled.iterdir() if path.is_dir())
    assert [path.name for path in folders] == sorted(chat + embedding)
    for folder in folders:
        assert config_of(folder).name == folder.name
        assert (folder / "1").is_dir()
    described = {path.name for path in folders if "served_model_id" in parameters_of(path)}
    assert described == {
        "qwen2.5-coder-0.5b-instruct_engine",
        "smollm2-135m-instruct_engine",
        "all-minilm-l6-v2_encoder",
    }


def test_ensembles_name_models_that_are_there(assembled: Path) -> None:
    for folder in assembled.iterdir():
        if folder.is_dir():
            for step in config_of(folder).ensemble_scheduling.step:
                assert (assembled / step.model_name / "config.pbtxt").is_file()


def test_parameters_of_a_chat_model(assembled: Path) -> None:
    engine = assembled / "qwen2.5-coder-0.5b-instruct_engine"
    found = parameters_of(engine)
    tokenizer = assembled / "qwen2.5-coder-0.5b-instruct_preprocessing" / "tokenizer"
    expected = {
        "served_model_id": "qwen/qwen2.5-coder-0.5b-instruct",
        "served_kind": "chat",
        "served_owned_by": "qwen",
        "served_created": "1731369600",
        "family": "qwen2.5",
        "context_length": "8192",
        "vocab_size": "151936",
        "end_ids": "151645,151643",
        "tokenizer_dir": str(tokenizer),
        "tokenizer_sha256": tokenizer_digest(tokenizer),
        "tokenizer_model": "qwen2.5-coder-0.5b-instruct_preprocessing",
        "weights_sha256": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "tool_parser": "hermes",
    }
    assert {key: found[key] for key in expected} == expected
    assert found["engine"].startswith("llama_cpp 20")
    assert "reasoning_parser" not in found and "dimensions" not in found
    assert Path(found["weights"]).stat().st_size == 491_400_064
    assert TextTokenizer(tokenizer).template is not None


def test_parameters_of_an_embedding_model(assembled: Path) -> None:
    found = parameters_of(assembled / "all-minilm-l6-v2_encoder")
    tokenizer = assembled / "all-minilm-l6-v2_tokenizer" / "tokenizer"
    expected = {
        "served_model_id": "sentence-transformers/all-minilm-l6-v2",
        "served_kind": "embedding",
        "family": "bert",
        "context_length": "256",
        "dimensions": "384",
        "tokenizer_dir": str(tokenizer),
        "tokenizer_sha256": tokenizer_digest(tokenizer),
        "tokenizer_model": "all-minilm-l6-v2_tokenizer",
    }
    assert {key: found[key] for key in expected} == expected
    assert found["engine"].startswith("onnxruntime ")
    assert not {"matryoshka", "vocab_size", "end_ids", "tool_parser"} & found.keys()


def test_doing_it_again_changes_nothing(assembled: Path) -> None:
    lines: list[str] = []
    prepare(models.ALL, assembled, cache_folder(), lines.append)
    assert lines == []


def test_a_model_that_is_no_longer_asked_for_goes(tmp_path: Path) -> None:
    output = tmp_path / "repository"
    prepare([models.CHAT, models.EMBEDDING], output, cache_folder())
    lines: list[str] = []
    prepare([models.EMBEDDING, models.EMBEDDING], output, cache_folder(), lines.append)
    assert len(lines) == 4 and all(line.startswith("smollm2") and line.endswith("removed") for line in lines)


def test_a_copy_for_another_place_has_no_links_and_names_its_root(tmp_path: Path) -> None:
    prepare([models.EMBEDDING], tmp_path / "out", cache_folder(), copy=True, root=Path("/models"))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    found = parameters_of(tmp_path / "out" / "all-minilm-l6-v2_encoder")
    assert found["weights"] == "/models/all-minilm-l6-v2_encoder/1/model.onnx"
    assert found["tokenizer_dir"] == "/models/all-minilm-l6-v2_tokenizer/tokenizer"
    assert (tmp_path / "out" / "all-minilm-l6-v2_encoder" / "1" / "model.onnx").stat().st_size > 90_000_000


def test_settings_of_an_entry_reach_the_configuration(tmp_path: Path) -> None:
    text = CATALOG.read_text().replace('family = "bert"', 'family = "bert"\nsettings = { max_batch_size = 7 }')
    (tmp_path / "catalog.toml").write_text(text)
    prepare([models.EMBEDDING], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")
    names = ("all-minilm-l6-v2", "all-minilm-l6-v2_tokenizer", "all-minilm-l6-v2_encoder")
    assert [config_of(tmp_path / "out" / name).max_batch_size for name in names] == [7, 7, 7]


def test_a_model_with_media(tmp_path: Path) -> None:
    repository = media_repository(tmp_path)
    folder = repository / f"{triton_name(MEDIA)}_engine"
    config, parameters = config_of(folder), parameters_of(folder)
    assert parameters["modalities"] == "text,image,audio"
    assert parameters["mmproj"] == str(folder / "1" / "mmproj.gguf")
    assert Path(parameters["mmproj"]).read_bytes() == (tmp_path / "mmproj.gguf").read_bytes()
    assert "media" in {tensor.name for tensor in config.input}
    assert "prompt_tokens" in {tensor.name for tensor in config.output}
    digests = [hashlib.sha256(path.read_bytes()) for path in (folder / "1" / "model.gguf", tmp_path / "mmproj.gguf")]
    both = "".join(digest.hexdigest() for digest in digests)
    assert parameters["weights_sha256"] == hashlib.sha256(both.encode()).hexdigest()


def test_a_model_of_text_alone_declares_no_media(assembled: Path) -> None:
    folder = assembled / "smollm2-135m-instruct_engine"
    config = config_of(folder)
    assert not {"media", "prompt_tokens"} & {tensor.name for tensor in (*config.input, *config.output)}
    assert not {"modalities", "mmproj"} & parameters_of(folder).keys()


def test_rerankers(tmp_path: Path) -> None:
    repository = reranker_repository(tmp_path, {"max_batch_size": 7})
    for model, family, activation in ((BERT, "bert", "sigmoid"), (XLM, "xlm-roberta", "none")):
        name = triton_name(model)
        found = parameters_of(repository / f"{name}_encoder")
        tokenizer = repository / f"{name}_tokenizer" / "tokenizer"
        expected = {
            "served_model_id": model,
            "served_kind": "reranker",
            "family": family,
            "context_length": str(CONTEXT),
            "score_activation": activation,
            "tokenizer_dir": str(tokenizer),
            "tokenizer_sha256": tokenizer_digest(tokenizer),
            "tokenizer_model": f"{name}_tokenizer",
        }
        assert {key: found[key] for key in expected} == expected
        assert not {"dimensions", "matryoshka", "vocab_size"} & found.keys()
        configs = [config_of(repository / part) for part in (name, f"{name}_tokenizer", f"{name}_encoder")]
        assert [config.max_batch_size for config in configs] == [7, 7, 7]
        assert [step.model_name for step in configs[0].ensemble_scheduling.step] == [
            config.name for config in configs[1:]
        ]
        assert [(tensor.name, list(tensor.dims)) for tensor in configs[2].output] == [("score", [1])]


def test_a_reranker_knows_the_room_of_its_positions(tmp_path: Path) -> None:
    """XLM-RoBERTa's table has two rows that are no token's."""
    reranker_repository(tmp_path)
    text = (tmp_path / "catalog.toml").read_text()
    (tmp_path / "catalog.toml").write_text(
        text.replace(f"context_length = {CONTEXT}", f"context_length = {CONTEXT + 1}")
    )
    with pytest.raises(PartsError, match=f"{CONTEXT + 1}; the model was made for {CONTEXT}"):
        prepare([XLM], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")


def test_the_catalog_has_the_last_word_on_the_activation(tmp_path: Path) -> None:
    reranker_repository(tmp_path)
    text = (tmp_path / "catalog.toml").read_text()
    (tmp_path / "catalog.toml").write_text(text.replace("created", 'score_activation = "sigmoid"\ncreated'))
    prepare([XLM], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")
    assert parameters_of(tmp_path / "out" / f"{triton_name(XLM)}_encoder")["score_activation"] == "sigmoid"


def test_derived_names_that_clash_are_refused(tmp_path: Path) -> None:
    """One entry is called what a part of another is called."""
    text = CATALOG.read_text()
    text = text.replace('id = "huggingfacetb/', 'name = "all-minilm-l6-v2_encoder"\nid = "huggingfacetb/')
    (tmp_path / "catalog.toml").write_text(text)
    with pytest.raises(RepositoryError, match="two models are named all-minilm-l6-v2_encoder"):
        prepare([models.EMBEDDING, models.CHAT], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "old", "new", "message"),
    [
        (models.EMBEDDING, "dimensions = 384", "dimensions = 512", "dimensions: the catalog says 512, the weights 384"),
        (models.EMBEDDING, "context_length = 256", "context_length = 600", "600; the model was made for 512"),
        (models.CHAT, "context_length = 8192", "context_length = 9000", "9000; the model was made for 8192"),
    ],
)
def test_an_entry_that_contradicts_its_files_is_refused(
    tmp_path: Path, model: str, old: str, new: str, message: str
) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG.read_text().replace(old, new))
    with pytest.raises(PartsError, match=message):
        prepare([model], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no model 'gpt-4'"):
        prepare(["gpt-4"], tmp_path / "out", cache_folder())


COMPILED = """
[[models]]
id = "me/compiled"
kind = "chat"
engine = "tensorrt_llm"
family = "qwen2.5"
context_length = 4096
owned_by = "me"
license = "mit"
created = 2024-01-02
engine_dir = "engine"
tokenizer_dir = "tokenizer"
"""


def test_a_compiled_engine_is_linked_and_described(tmp_path: Path) -> None:
    """An engine folder as trtllm-build writes it (config.json, rank0.engine) and a tokenizer folder."""
    (tmp_path / "catalog.toml").write_text(COMPILED)
    engine, tokenizer = tmp_path / "engine", tmp_path / "tokenizer"
    engine.mkdir()
    tokenizer.mkdir()
    (engine / "config.json").write_text('{"version": "1.2.1", "pretrained_config": {"vocab_size": 1000}}')
    (engine / "rank0.engine").write_bytes(b"compiled")
    with pytest.raises(PartsError, match=r"no tokenizer\.json"):
        prepare(["me/compiled"], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")
    (tokenizer / "tokenizer.json").write_text("{}")
    with pytest.raises(PartsError, match=r"generation_config\.json"):
        prepare(["me/compiled"], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")
    (tokenizer / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    prepare(["me/compiled"], tmp_path / "out", cache_folder(), catalog=tmp_path / "catalog.toml")
    folder = tmp_path / "out" / "compiled_engine"
    found = parameters_of(folder)
    assert (found["engine"], found["vocab_size"], found["end_ids"]) == ("tensorrt_llm 1.2.1", "1000", "7,9")
    assert str(folder / "engine") in found.values()
    assert (folder / "engine" / "rank0.engine").read_bytes() == b"compiled"


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, assemble.__file__, "--output", "repository", models.EMBEDDING]
    environment = {**os.environ, "TRITONGATE_CACHE": str(cache_folder())}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "repository")
    assert "all-minilm-l6-v2_encoder: written" in result.stderr
    result = subprocess.run([*command[:-1], "gpt-4"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "no model 'gpt-4'" in result.stderr and "Traceback" not in result.stderr
