"""One entry of the catalog behind the adapter: its CPU engine, and the engine over TensorRT-LLM's LLM API that
`build/llm_engine.py` makes of its checkpoint. What a client can count on is the same.

The checkpoint is one of the published shape with weights of nothing, and the LLM a stand-in with TensorRT-LLM's
signatures: there is no GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from safetensors.numpy import save_file

from build.catalog import load_catalog
from build.fetch import fetch
from build.parts import make_parts
from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.stand_in_imports import STAND_IN
from tests.unit.build.file_server import file_server
from tests.unit.build.pretend_build import ROOT, put_on_hub
from tokentext import TextTokenizer
from tokentext.cache import cache_folder

ID = models.GOOD_CHAT
BUILT = f"{ID}:bf16"
JSON = '{"city": "Paris"}'


@pytest.fixture(scope="module", params=["llama_cpp", "tensorrt_llm_api"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The adapter's base URL, and the model's id."""
    if request.param == "llama_cpp":
        adapter: AdapterProcess = request.getfixturevalue("adapter")
        yield adapter.base_url, ID
        return
    folder: Path = tmp_path_factory.mktemp("alike")
    repository = built_repository(folder)
    with (
        StateLock(folder / "state"),
        TritonServer([repository], folder / "state") as server,
        AdapterProcess(server.grpc_url, folder / "adapter.log") as adapter,
    ):
        yield adapter.base_url, BUILT


def built_repository(folder: Path) -> Path:
    """What `build/llm_engine.py` makes of the entry, with the stand-in in TensorRT-LLM's place."""
    entry = load_catalog().get(ID)
    assert entry.checkpoint is not None
    tokenizer = make_parts(entry, fetch(entry, cache_folder()), cache_folder()).tokenizer
    published, repository = folder / "published", folder / "repository"
    shutil.copytree(tokenizer, published)
    write_checkpoint(published)
    with file_server() as hub:
        put_on_hub(published, hub.files, entry.checkpoint.hub)
        given = ["--engine", "tensorrt_llm_api", "--gpu-memory", "24", "--output", str(repository)]
        subprocess.run(
            [sys.executable, str(ROOT / "build" / "llm_engine.py"), BUILT, "--work", str(folder / "work"), *given],
            env={**os.environ, "HF_ENDPOINT": hub.url, "TRITONGATE_CACHE": str(folder / "cache")},
            check=True,
        )
    engine = repository / f"{load_catalog().get(BUILT).name}_engine"
    answer = TextTokenizer(tokenizer).encode(JSON)
    (engine / "engine" / "stand_in.json").write_text(json.dumps({"log": str(folder / "log"), "answer": answer}))
    shutil.copytree(STAND_IN, engine / "1", dirs_exist_ok=True)
    (engine / "1" / "tensorrt_llm" / "release.py").write_text('RELEASE = "1.3.0"\n')
    return repository


def write_checkpoint(folder: Path) -> None:
    """config.json of the published shape, and weights of nothing."""
    checkpoint = load_catalog().get(ID).checkpoint
    assert checkpoint is not None
    keys = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_key_value_heads", "vocab_size")
    config = {key: getattr(checkpoint, key) for key in (*keys, "tie_word_embeddings")}
    heads = checkpoint.hidden_size // checkpoint.head_dim
    config |= {"architectures": [checkpoint.architecture], "model_type": "qwen2", "num_attention_heads": heads}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"model.embed_tokens.weight": np.zeros((4, 4), np.float32)}, folder / "model.safetensors")


@pytest.fixture
def client(served: tuple[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served[0], api_key="any", max_retries=0, timeout=60.0) as client:
        yield client


@pytest.fixture
def model(served: tuple[str, str]) -> str:
    return served[1]


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


def ask(client: openai.OpenAI, model: str, **request: Any) -> Any:
    wanted: dict[str, Any] = {"temperature": 0, "max_tokens": 40, "seed": 5, "response_format": FORM}
    return client.chat.completions.create(model=model, messages=user("Name a city."), **(wanted | request))


def test_the_model_is_listed(client: openai.OpenAI, model: str) -> None:
    assert model in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(model).id == model


def test_streamed_equals_final_within_the_schema(client: openai.OpenAI, model: str) -> None:
    final = ask(client, model)
    assert json.loads(final.choices[0].message.content)["city"] in ("Paris", "Rome")
    assert final.choices[0].finish_reason == "stop"
    chunks = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == final.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == final.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == final.usage.prompt_tokens > 5
    assert final.system_fingerprint == chunks[0].system_fingerprint


def test_length_ends_it(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, max_tokens=2)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)


def test_choices_with_log_probabilities(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        shown = choice.logprobs.content
        assert b"".join(bytes(entry.bytes) for entry in shown).decode().startswith(choice.message.content)
        assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in shown)


def test_a_stop_string(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, stop=["city"])
    assert answer.choices[0].finish_reason == "stop" and "city" not in answer.choices[0].message.content


@pytest.mark.parametrize(
    ("changed", "param"), [({"temperature": 3}, "temperature"), ({"max_tokens": 10**6}, "messages")], ids=str
)
def test_bad_requests_name_the_field(client: openai.OpenAI, model: str, changed: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, model, **changed)
    assert caught.value.param == param


def test_responses_go_on(client: openai.OpenAI, model: str) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA}}
    first = client.responses.create(model=model, input="Name a city.", text=form, temperature=0)
    assert json.loads(first.output_text)["city"] in ("Paris", "Rome")
    second = client.responses.create(
        model=model, input="Another one.", previous_response_id=first.id, text=form, temperature=0
    )
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text
