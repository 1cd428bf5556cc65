"""Triton, or the engine inside it, stands still: requests run into the adapter's time limit, and do not hang."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from launcher.processes import processes_of
from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.metrics import wait_until_idle
from tests.support.own_adapter import ENDLESS, ask, client_of, start_stream, status
from tests.support.own_models import repository_of

TIMEOUT = 2.0  # seconds for a generation


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder: Path = tmp_path_factory.mktemp("stalled")
    with TritonServer([repository_of(folder, settings={"slots": 2})], folder / "triton") as server:
        yield server


@pytest.fixture
def adapter(own_triton: TritonServer, start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    return start_adapter(triton_url=own_triton.grpc_url, request_timeout=TIMEOUT)


def server_process(triton: TritonServer) -> list[int]:
    return [triton.pid]


def engine_process(triton: TritonServer) -> list[int]:
    return [one.pid for one in processes_of(triton.shm_prefix) if one.is_stub and (one.model or "").endswith("_engine")]


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# Triton itself notices an engine that does not move, sooner or later than the limit: then it says so.
TIMED_OUT, NOTICED = (504, "timeout"), (502, "model_error")


@pytest.mark.parametrize(
    ("process", "outcomes"), [(server_process, {TIMED_OUT}), (engine_process, {TIMED_OUT, NOTICED})]
)
def test_stands_still(
    adapter: AdapterProcess,
    own_triton: TritonServer,
    process: Callable[[TritonServer], list[int]],
    outcomes: set[tuple[int, str]],
) -> None:
    with client_of(adapter, timeout=30.0) as client:
        ask(client)
        stream = start_stream(client, **ENDLESS)
        with stopped(process(own_triton)):
            # A stream that has begun ends with an error event, one that has not with a status.
            stream.join(TIMEOUT + 10)
            assert isinstance(stream.error, openai.APIError), stream.error
            assert stream.error.code in {code for _, code in outcomes}
            for streamed in (True, False):
                with pytest.raises(openai.InternalServerError) as caught:
                    client.chat.completions.create(stream=streamed, **ENDLESS)
                assert (caught.value.status_code, caught.value.code) in outcomes
            assert status(adapter, "/health/live") == 200
        wait_until_idle(adapter.url)
        # Both slots are free again, and nothing of what was given up is still being computed.
        deadline = time.monotonic() + 30
        for _ in range(4):
            while True:
                try:
                    ask(client)
                    break
                except openai.InternalServerError:
                    assert time.monotonic() < deadline, "it does not recover"
                    time.sleep(0.2)


def test_an_answer_that_takes_too_long(adapter: AdapterProcess) -> None:
    """Nothing is wrong with Triton: the answer is only longer than the limit allows."""
    with client_of(adapter) as client:
        stream = start_stream(client, **ENDLESS)
        stream.join(TIMEOUT + 10)
        assert isinstance(stream.error, openai.APIError)
        assert stream.error.code == "timeout"
        assert len(stream.answer.deltas) > 1
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**ENDLESS)
        assert caught.value.status_code == 504
        ask(client)
    wait_until_idle(adapter.url)
