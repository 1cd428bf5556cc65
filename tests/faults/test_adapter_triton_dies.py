"""Triton is killed under the adapter: open answers end with an error, and it serves again by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.metrics import wait_until_idle
from tests.support.own_adapter import ENDLESS, ask, client_of, start_stream, status, wait_until_served
from tests.support.own_models import repository_of

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def own_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository_of(tmp_path_factory.mktemp("dies"), settings={"slots": 2})


@pytest.fixture
def own_triton(own_repository: Path, tmp_path: Path) -> Iterator[TritonServer]:
    with TritonServer([own_repository], tmp_path / "triton") as server:
        yield server


@pytest.fixture
def adapter(own_triton: TritonServer, start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    return start_adapter(triton_url=own_triton.grpc_url)


def kill(server: TritonServer) -> int:
    """Returns how often Triton had been started."""
    starts = server.starts
    assert server.pid > 1
    os.kill(server.pid, signal.SIGKILL)
    return starts


def test_killed_in_mid_stream(adapter: AdapterProcess, own_triton: TritonServer) -> None:
    pid = adapter.pid
    with client_of(adapter) as client:
        streams = [start_stream(client, **ENDLESS) for _ in range(2)]
        whole: list[Exception] = []

        def wait_for_whole() -> None:
            try:
                client.chat.completions.create(**ENDLESS)
            except openai.APIError as error:
                whole.append(error)

        waiting = threading.Thread(target=wait_for_whole, daemon=True)
        waiting.start()
        starts = kill(own_triton)

        for stream in streams:
            stream.join(10)
            assert isinstance(stream.error, openai.APIError), stream.error
            assert not isinstance(stream.error, openai.APIConnectionError), "the connection just broke"
            assert stream.error.code == "triton_unavailable"
            assert stream.error.type == "server_error"
            assert all(not chunk.choices[0].finish_reason for chunk in stream.answer.chunks)
        waiting.join(10)
        assert not waiting.is_alive(), "the request for a whole answer hangs"
        (error,) = whole
        assert isinstance(error, openai.InternalServerError)
        assert error.status_code == 503 and error.code == "triton_unavailable"

        # Nothing serves at the moment, and every answer says so.
        with pytest.raises(openai.InternalServerError) as refused:
            ask(client)
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        assert status(adapter, "/health/live") == 200

        own_triton.wait_restarted(starts, 60.0)
        wait_until_served(adapter)
        assert adapter.pid == pid and adapter.process.poll() is None
        assert start_stream(client, **{**ENDLESS, "max_tokens": 3}).error is None
    now = wait_until_idle(adapter.url)
    assert now.value("tritongate_errors_total", route=CHAT, code="triton_unavailable") >= 4
    assert "Traceback" not in adapter.output()
    for line in adapter.output().splitlines():
        json.loads(line)


def test_the_error_on_the_wire(adapter: AdapterProcess, own_triton: TritonServer) -> None:
    """The last event is the error object; there is no `[DONE]`, which would call the answer complete."""
    with httpx.stream("POST", adapter.url + CHAT, json={**ENDLESS, "stream": True}, timeout=30.0) as response:
        body = ""
        for text in response.iter_text():
            killed = body.count("data: ") > 3
            body += text
            if not killed and body.count("data: ") > 3:
                kill(own_triton)
    *_, last = body.rstrip("\n").split("\n\n")
    assert "[DONE]" not in body
    error = json.loads(last.removeprefix("data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "127.0.0.1" not in error["message"] and "ipv4" not in error["message"]


def test_gone_for_longer(
    own_repository: Path, own_triton: TritonServer, adapter: AdapterProcess, tmp_path: Path
) -> None:
    """Stopped, and later started by somebody else on the same port: every answer meanwhile is a 503 at once."""
    own_triton.stop()
    with client_of(adapter, timeout=15.0) as client:
        for call in (lambda: ask(client), lambda: client.models.list(), lambda: client.models.retrieve(models.CHAT)):
            with pytest.raises(openai.InternalServerError) as refused:
                call()
            assert refused.value.status_code == 503
            assert refused.value.code == "triton_unavailable"
        assert status(adapter, "/health/ready") == 503
        assert status(adapter, "/health/live") == 200
        assert status(adapter, "/metrics") == 200
        with TritonServer([own_repository], tmp_path / "later", grpc_port=own_triton.ports["grpc"]):
            wait_until_served(adapter)
            assert [model.id for model in client.models.list()] == [models.CHAT]
