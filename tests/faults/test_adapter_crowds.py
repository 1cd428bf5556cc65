"""Crowds of clients that send nonsense, or leave just as their answer is complete: Triton outlives them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.metrics import wait_until_idle
from tests.support.own_adapter import ask, client_of
from tests.support.own_models import repository_of

CHAT = "/v1/chat/completions"
CROWD = 16  # requests at the same time
REQUEST: dict[str, Any] = {"model": models.CHAT, "messages": user("Hi"), "max_tokens": 3}
NO_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder: Path = tmp_path_factory.mktemp("crowds")
    with TritonServer([repository_of(folder, settings={"slots": 4})], folder / "triton") as server:
        yield server


@pytest.fixture
def adapter(own_triton: TritonServer, start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    return start_adapter(triton_url=own_triton.grpc_url)


@pytest.fixture
async def http(adapter: AdapterProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=adapter.url, timeout=60.0, trust_env=False, limits=httpx.Limits(max_connections=CROWD)
    ) as client:
        yield client


async def in_a_crowd(count: int, one: Callable[[int], Any]) -> None:
    room = asyncio.Semaphore(CROWD)

    async def with_room(number: int) -> None:
        async with room:
            await one(number)

    await asyncio.gather(*(with_room(number) for number in range(count)))


@contextmanager
def unharmed(triton: TritonServer, adapter: AdapterProcess) -> Iterator[None]:
    """Fails if Triton has crashed, or come near it, within the block."""
    starts, before = triton.starts, triton.log.stat().st_size
    yield
    log = triton.log.read_bytes()[before:].decode(errors="replace")
    assert "Signal (" not in log, "Triton crashed"
    # What Triton 24.10 says whenever it comes near one of its crashes: about one time in some thousands it goes wrong.
    assert "HandleCancellation called even when the context was not cancelled" not in log
    assert triton.ready and triton.starts == starts
    wait_until_idle(adapter.url)
    with client_of(adapter) as client:
        ask(client)


async def test_requests_that_the_engine_refuses(
    own_triton: TritonServer, adapter: AdapterProcess, http: httpx.AsyncClient
) -> None:
    """Among good ones, streamed and not."""
    found: Counter[tuple[bool, int]] = Counter()

    async def one(number: int) -> None:
        bad = number % 4 != 0
        body = {**REQUEST, "stream": bool(number % 3), **({"response_format": NO_SCHEMA} if bad else {})}
        found[bad, (await http.post(CHAT, json=body)).status_code] += 1

    with unharmed(own_triton, adapter):
        await in_a_crowd(160, one)
        assert found == {(True, 400): 120, (False, 200): 40}


async def test_clients_that_leave_as_their_answer_ends(
    own_triton: TritonServer, adapter: AdapterProcess, http: httpx.AsyncClient
) -> None:
    """Some before, some after the last token: cancellation and completion meet in Triton and in the engine."""
    chance = random.Random(3)
    left = completed = 0

    async def one(number: int) -> None:
        nonlocal left, completed
        body = {**REQUEST, "max_tokens": 1 + number % 3, "stream": bool(number % 2)}
        task = asyncio.create_task(http.post(CHAT, json=body))
        await asyncio.wait([task], timeout=chance.random() * 0.8)
        if task.done():
            assert task.result().status_code == 200
            completed += 1
        else:
            task.cancel()
            left += 1

    with unharmed(own_triton, adapter):
        await in_a_crowd(240, one)
        assert left > 10 and completed > 10, "this shows nothing"
