"""NVIDIA's standard repository, unmodified, behind the adapter: real Triton, a Python model in the engine's place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import collect, user
from tests.support.stand_in_model import tokenizer_folder
from tests.support.standard_repository import copy_tokenizer, write_standard_repository
from tokentext import TextTokenizer

TEXT = "The capital of France is Paris."
END_IDS = (2, 0)


def answer() -> list[int]:
    return TextTokenizer(tokenizer_folder()).encode(TEXT)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    copy_tokenizer(tokenizer_folder(), folder / "tensorrt_llm", end_ids=END_IDS, length=1000)
    return folder


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("standard")
    # As NVIDIA's launch script starts it.
    arguments = ["--disable-auto-complete-config"]
    repository = write_standard_repository(folder, answer())
    with TritonServer([repository], folder / "triton", arguments=arguments) as server:
        yield server


@pytest.fixture(scope="module")
def adapter(
    triton: TritonServer, tokenizers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdapterProcess]:
    log = tmp_path_factory.mktemp("adapter") / "adapter.log"
    with AdapterProcess(triton.grpc_url, log, tokenizers=tokenizers) as process:
        yield process


@pytest.fixture
def client(adapter: AdapterProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
        yield client


def ask(client: openai.OpenAI, model: str = "tensorrt_llm", **request: Any) -> Any:
    return client.chat.completions.create(model=model, messages=user("Hi"), **({"max_tokens": 50} | request))


def told(triton: TritonServer) -> dict[str, Any]:
    """The tensors that the engine last got."""
    (log,) = triton.repositories[0].glob("tensorrt_llm/1/requests.log")
    tensors: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return tensors


def test_the_engine_alone_is_a_model(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("tensorrt_llm", "tritongate")


def test_whole_and_streamed(client: openai.OpenAI, triton: TritonServer) -> None:
    whole = ask(client)
    assert whole.choices[0].message.content == TEXT
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens == len(answer()) + 1
    tensors = told(triton)
    assert tensors["end_id"] == [END_IDS[0]]
    assert tensors["stop_words_list"] == [[[END_IDS[1]], [1]]]  # the engine takes one end token
    assert tensors["exclude_input_in_output"] == [True]
    streamed = collect(ask(client, stream=True))
    assert streamed.text == TEXT
    assert len(streamed.deltas) > 4
    assert streamed.finish_reason == "stop"
    cut = ask(client, max_tokens=3)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)


def test_capabilities_are_its_tensors(client: openai.OpenAI) -> None:
    scored = ask(client, logprobs=True).choices[0].logprobs.content
    assert [entry.logprob for entry in scored[:2]] == [-0.5, -0.5]
    for parameter in ({"top_logprobs": 2, "logprobs": True}, {"extra_body": {"min_p": 0.1}}):
        with pytest.raises(openai.BadRequestError) as error:
            ask(client, **parameter)
        assert error.value.code == "unsupported_parameter"
    json_mode = {"type": "json_object"}
    assert ask(client, response_format=json_mode).choices[0].message.content  # guided_decoding_backend is set


def test_its_context_is_that_of_the_tokenizers_configuration(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length is 1000 tokens"):
        ask(client, max_tokens=1000)


def test_logit_bias_has_the_length_of_the_vocabulary(client: openai.OpenAI, triton: TritonServer) -> None:
    ask(client, logit_bias={"7": 5})
    (bias,) = told(triton)["embedding_bias"]
    assert len(bias) == 49152
    assert [value for value in bias if value] == [5.0]


def test_without_a_tokenizer_folder_nothing_is_served(triton: TritonServer, tmp_path: Path) -> None:
    with AdapterProcess(triton.grpc_url, tmp_path / "adapter.log", wait=False) as adapter:
        assert httpx.get(f"{adapter.base_url}/models", trust_env=False, timeout=30.0).json()["data"] == []


def test_a_tokenizer_folder_that_comes_later(triton: TritonServer, tmp_path: Path) -> None:
    """Found without a restart; what the folder itself says goes before what is found out."""
    tokenizers = tmp_path / "tokenizers"
    tokenizers.mkdir()
    settings = {"tokenizers": tokenizers, "discovery_interval": 0.3}
    with AdapterProcess(triton.grpc_url, tmp_path / "adapter.log", wait=False, **settings) as adapter:
        folder = copy_tokenizer(tokenizer_folder(), tmp_path / "made", end_ids=END_IDS, length=None)
        said = {"served_model_id": "meta/llama", "context_length": 77, "end_ids": [2], "family": "llama"}
        (folder / "tritongate.json").write_text(json.dumps(said))
        folder.rename(tokenizers / "tensorrt_llm")
        deadline = time.monotonic() + 20
        while httpx.get(f"{adapter.url}/health/ready", trust_env=False, timeout=30.0).status_code != 200:
            assert time.monotonic() < deadline, adapter.output()
            time.sleep(0.1)
        with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
            assert ask(client, "meta/llama", max_tokens=20).choices[0].message.content == TEXT
            assert "stop_words_list" not in told(triton)
            with pytest.raises(openai.BadRequestError, match="maximum context length is 77 tokens"):
                ask(client, "meta/llama", max_tokens=77)


def test_an_engine_that_does_not_stream(tokenizers: Path, tmp_path: Path) -> None:
    """Not decoupled, no guided decoding: a stream is one chunk of text, and a guide is refused."""
    repository = write_standard_repository(tmp_path, answer(), decoupled=False, batch=1, guided=False)
    with (
        TritonServer([repository], tmp_path / "triton") as server,
        AdapterProcess(server.grpc_url, tmp_path / "adapter.log", tokenizers=tokenizers) as adapter,
        openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client,
    ):
        assert collect(ask(client, stream=True)).text == TEXT
        assert ask(client).choices[0].message.content == TEXT
        with pytest.raises(openai.BadRequestError) as error:
            ask(client, response_format={"type": "json_object"})
        assert error.value.code == "unsupported_parameter"
