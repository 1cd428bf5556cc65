"""Triton says which models there are: what is loaded there appears, what is unloaded goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.metrics import wait_until_idle
from tests.support.own_adapter import start_stream, status
from tests.support.own_models import repository_of, triton_name

MODEL = "acme/smollm2:135m"
ENGINE = f"{triton_name(MODEL)}_engine"


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One chat model, whose id has a colon."""
    folder = tmp_path_factory.mktemp("discovery")
    repository = repository_of(folder, models.CHAT, model_id=MODEL, settings={"slots": 2})
    with TritonServer([repository], folder / "triton") as server:
        yield server


@pytest.fixture(scope="module")
def own_adapter(own_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    log = tmp_path_factory.mktemp("discovery") / "adapter.log"
    with AdapterProcess(own_triton.grpc_url, log, discovery_interval=0.5) as adapter:
        yield adapter


@pytest.fixture
def client(own_adapter: AdapterProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=own_adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
        yield client


def control(triton: TritonServer, action: str, name: str = ENGINE) -> None:
    """Triton's own model repository API."""
    response = httpx.post(f"{triton.http_url}/v2/repository/models/{name}/{action}", timeout=60.0, trust_env=False)
    assert response.status_code == 200, response.text


def wait_for_models(client: openai.OpenAI, wanted: list[str]) -> None:
    deadline = time.monotonic() + 20
    while (found := [model.id for model in client.models.list()]) != wanted:
        assert time.monotonic() < deadline, f"{found} in place of {wanted}"
        time.sleep(0.1)


@contextmanager
def unloaded(triton: TritonServer, client: openai.OpenAI) -> Iterator[None]:
    """The model is not there within the block, and is there and listed again after it."""
    control(triton, "unload")
    try:
        yield
    finally:
        control(triton, "load")
        wait_for_models(client, [MODEL])


def ask(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=user("Hi"), max_tokens=2)
    assert answer.model == MODEL
    assert answer.usage is not None and answer.usage.completion_tokens > 0


def test_an_id_with_a_colon(client: openai.OpenAI, own_adapter: AdapterProcess) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    for path in (MODEL, MODEL.replace("/", "%2F"), MODEL.replace(":", "%3A"), "acme%2Fsmollm2%3A135m"):
        response = httpx.get(f"{own_adapter.base_url}/models/{path}", trust_env=False)
        assert response.status_code == 200, path
        assert response.json()["id"] == MODEL
    ask(client)


def test_unloaded_and_loaded_again(client: openai.OpenAI, own_triton: TritonServer) -> None:
    ask(client)
    with unloaded(own_triton, client):
        wait_for_models(client, [])
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client)
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(MODEL)
    ask(client)


def test_asked_for_right_after_it_was_unloaded(client: openai.OpenAI, own_triton: TritonServer) -> None:
    """Before the next look at Triton the adapter still takes the model for loaded: the answer is the same 404."""
    ask(client)
    with unloaded(own_triton, client):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client)
        assert caught.value.code == "model_not_found"


def test_unloaded_in_mid_stream(client: openai.OpenAI, own_triton: TritonServer, own_adapter: AdapterProcess) -> None:
    """Triton lets what runs come to its end, or the engine ends it: either way the stream says so and does not hang."""
    request = {"model": MODEL, "messages": user("Hi"), "max_tokens": 300, "logit_bias": {"2": -100}}
    stream = start_stream(client, **request)
    with unloaded(own_triton, client):
        stream.join(60)
        if stream.error is None:
            assert stream.answer.finish_reason == "length"
            usage = stream.answer.chunks[-1].usage
            assert usage is not None and usage.completion_tokens == 300
        else:
            assert isinstance(stream.error, openai.APIError), stream.error
            assert not isinstance(stream.error, openai.APIConnectionError)
            assert all(not chunk.choices[0].finish_reason for chunk in stream.answer.chunks)
        wait_for_models(client, [])
        wait_until_idle(own_adapter.url)
    ask(client)


def test_asked_for_right_after_it_was_loaded(client: openai.OpenAI, own_triton: TritonServer) -> None:
    """Nobody has to wait for the next look: a request for an unknown model looks by itself."""
    with unloaded(own_triton, client):
        wait_for_models(client, [])
        control(own_triton, "load")
        deadline = time.monotonic() + 5
        while True:
            try:
                ask(client)
                return
            except openai.NotFoundError:
                assert time.monotonic() < deadline
                time.sleep(0.2)


def test_without_a_model_the_adapter_is_not_ready(
    client: openai.OpenAI, own_triton: TritonServer, own_adapter: AdapterProcess
) -> None:
    assert status(own_adapter, "/health/ready") == 200
    with unloaded(own_triton, client):
        wait_for_models(client, [])
        response = httpx.get(f"{own_adapter.url}/health/ready", trust_env=False)
        assert response.status_code == 503
        assert "model" in response.json()["reason"]
        assert status(own_adapter, "/health/live") == 200
    assert status(own_adapter, "/health/ready") == 200


def test_a_changed_configuration_is_noticed(client: openai.OpenAI, own_triton: TritonServer, tmp_path: Path) -> None:
    """Loaded again with another id in its configuration, the model is served by that id."""
    (repository,) = own_triton.repositories
    config = repository / ENGINE / "config.pbtxt"
    original = config.read_text()
    assert MODEL in original
    try:
        config.write_text(original.replace(MODEL, "acme/renamed"))
        control(own_triton, "load")
        wait_for_models(client, ["acme/renamed"])
    finally:
        config.write_text(original)
        control(own_triton, "load")
    wait_for_models(client, [MODEL])
    ask(client)
