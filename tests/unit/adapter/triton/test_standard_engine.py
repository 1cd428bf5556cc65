"""What is found out about the engine of NVIDIA's standard repository, and from where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adapter.triton.model import Kind, ModelConfigError, ModelDescription, describe
from adapter.triton.standard_engine import describe_standard
from tests.support.standard_repository import write_standard_repository
from tests.unit.tokentext.tokenizer_kinds import KINDS, write_folder


@pytest.fixture
def tokenizers(tmp_path: Path) -> Path:
    """A folder with the tokenizer of `tensorrt_llm`; it has no length and no end ids of its own."""
    folder = tmp_path / "tokenizers"
    write_folder(folder / "tensorrt_llm", next(iter(KINDS.values()))())
    for name in ("tokenizer_config.json", "generation_config.json"):
        (folder / "tensorrt_llm" / name).unlink(missing_ok=True)
    return folder


def config_of(folder: Path, model: str = "tensorrt_llm", **options: Any) -> Any:
    repository = write_standard_repository(folder / "standard", [5], **options)
    config = model_config_pb2.ModelConfig()
    text_format.Parse((repository / model / "config.pbtxt").read_text(), config)
    return config


def put(tokenizers: Path, name: str, content: Any) -> None:
    (tokenizers / "tensorrt_llm" / name).write_text(json.dumps(content))


def described(config: Any, tokenizers: Path) -> ModelDescription:
    description = describe_standard(config, tokenizers)
    assert description is not None
    return description


def test_from_a_hugging_face_folder(tokenizers: Path, tmp_path: Path) -> None:
    put(tokenizers, "config.json", {"max_position_embeddings": 4096, "vocab_size": 700})
    put(tokenizers, "generation_config.json", {"eos_token_id": [9, 8]})
    model = described(config_of(tmp_path), tokenizers)
    assert (model.id, model.kind, model.triton_name) == ("tensorrt_llm", Kind.CHAT, "tensorrt_llm")
    assert (model.context_length, model.vocab_size, model.end_ids) == (4096, 700, (9, 8))
    assert (model.owned_by, model.engine, model.draws_seed) == ("tritongate", "tensorrt_llm", False)
    assert (model.batched, model.max_batch_size) == (True, 4)
    assert {"streaming", "guided_decoding_guide", "embedding_bias"} <= model.inputs
    assert model.guide_types == {"json", "json_schema", "regex", "ebnf_grammar"}


def test_the_engines_own_configuration_goes_first(tokenizers: Path, tmp_path: Path) -> None:
    put(tokenizers, "config.json", {"max_position_embeddings": 4096, "vocab_size": 700})
    put(tokenizers, "tokenizer_config.json", {"model_max_length": 2048})
    config = config_of(tmp_path)
    assert described(config, tokenizers).context_length == 2048
    engine = {"build_config": {"max_seq_len": 1024}, "pretrained_config": {"vocab_size": 704}}
    (tmp_path / "config.json").write_text(json.dumps(engine))
    config.parameters["gpt_model_path"].string_value = str(tmp_path)
    model = described(config, tokenizers)
    assert (model.context_length, model.vocab_size) == (1024, 704)


def test_the_folder_has_the_last_word(tokenizers: Path, tmp_path: Path) -> None:
    said = {
        "served_model_id": "meta/llama",
        "context_length": 77,
        "vocab_size": 99,
        "end_ids": [1, 2],
        "tool_parser": "hermes",
        "draws_seed": True,
    }
    put(tokenizers, "tritongate.json", said)
    put(tokenizers, "tokenizer_config.json", {"model_max_length": 2048})
    model = described(config_of(tmp_path), tokenizers)
    assert (model.id, model.context_length, model.vocab_size, model.end_ids) == ("meta/llama", 77, 99, (1, 2))
    assert (model.tool_parser, model.draws_seed) == ("hermes", True)


def test_end_ids_by_the_name_of_the_token(tokenizers: Path, tmp_path: Path) -> None:
    content = json.loads((tokenizers / "tensorrt_llm" / "tokenizer.json").read_text())
    content["added_tokens"] = [{"id": 4, "content": "<end>", "special": True}, {"id": 5, "content": "<x>"}]
    put(tokenizers, "tokenizer.json", content)
    put(tokenizers, "config.json", {"vocab_size": 10})
    for token in ("<end>", {"content": "<end>"}):
        put(tokenizers, "tokenizer_config.json", {"model_max_length": 99, "eos_token": token})
        assert described(config_of(tmp_path / str(type(token))), tokenizers).end_ids == (4,)


def test_the_vocabulary_is_counted_where_nothing_says_it(tokenizers: Path, tmp_path: Path) -> None:
    put(tokenizers, "tokenizer_config.json", {"model_max_length": 99})
    assert 3 < described(config_of(tmp_path), tokenizers).vocab_size < 100_000


@pytest.mark.parametrize(("decoupled", "guided"), [(False, True), (True, False)])
def test_tensors_without_effect_are_no_capabilities(
    tokenizers: Path, tmp_path: Path, decoupled: bool, guided: bool
) -> None:
    put(tokenizers, "tokenizer_config.json", {"model_max_length": 99})
    model = described(config_of(tmp_path, decoupled=decoupled, guided=guided), tokenizers)
    assert ("streaming" in model.inputs) is decoupled
    assert ("guided_decoding_guide" in model.inputs) is ("guided_decoding_guide_type" in model.inputs) is guided


def test_what_is_no_engine_or_has_no_folder(tokenizers: Path, tmp_path: Path) -> None:
    engine = config_of(tmp_path)
    assert describe(engine) is None
    assert describe_standard(engine, None) is None
    assert describe_standard(engine, tmp_path) is None
    for model in ("preprocessing", "postprocessing", "ensemble", "tensorrt_llm_bls"):
        (tokenizers / "tensorrt_llm").rename(tokenizers / model)
        assert describe_standard(config_of(tmp_path / model, model), tokenizers) is None
        (tokenizers / model).rename(tokenizers / "tensorrt_llm")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "tensorrt_llm: its context length is not known"),
        ({"tokenizer_config.json": {"model_max_length": 10**30}}, "context length is not known"),
        ({"tritongate.json": {"context_length": "many"}}, "parameter context_length is 'many'"),
        ({"tritongate.json": {"contextlength": 5}}, "tritongate.json: contextlength: not one of"),
        ({"tritongate.json": [5]}, "an object is expected"),
    ],
)
def test_what_cannot_be_served_says_why(tokenizers: Path, tmp_path: Path, files: dict[str, Any], message: str) -> None:
    for name, content in files.items():
        put(tokenizers, name, content)
    with pytest.raises(ModelConfigError, match=message):
        describe_standard(config_of(tmp_path), tokenizers)
