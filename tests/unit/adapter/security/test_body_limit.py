"""The size of a request body, and the time it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.security import body_limit
from adapter.security.body_limit import check_content_length, limited

Message = dict[str, Any]


def chunks(*bodies: bytes, complete: bool = True) -> Callable[[], Awaitable[Message]]:
    """A client that sends these chunks, and then is silent."""
    messages = [
        {"type": "http.request", "body": body, "more_body": not (complete and index == len(bodies))}
        for index, body in enumerate(bodies, start=1)
    ]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    return receive


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers)}


@pytest.mark.parametrize("length", [b"101", b"0000101", b"9" * 30, b"9" * 5000])
def test_an_announced_length_over_the_limit(length: bytes) -> None:
    with pytest.raises(APIError) as caught:
        check_content_length(scope((b"host", b"x"), (b"content-length", length)), 100)
    error = caught.value
    assert (error.status, error.code) == (413, "request_too_large")
    assert "100 bytes" in error.message
    assert error.headers["connection"] == "close"


@pytest.mark.parametrize("length", [b"100", b"0", b"", b"-1", b"x"])
def test_an_announced_length_within_the_limit(length: bytes) -> None:
    """What is no length is the server's to refuse."""
    check_content_length(scope((b"content-length", length)), 100)
    check_content_length(scope(), 100)


async def test_a_body_up_to_the_limit() -> None:
    receive = limited(chunks(b"x" * 60, b"", b"x" * 40), 100)
    bodies = [(await receive())["body"] for _ in range(3)]
    assert b"".join(bodies) == b"x" * 100


async def test_chunks_over_the_limit() -> None:
    receive = limited(chunks(b"x" * 60, b"x" * 41, complete=False), 100)
    await receive()
    with pytest.raises(APIError) as caught:
        await receive()
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")


async def test_a_body_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "_CHUNK_TIMEOUT", 0.05)
    receive = limited(chunks(b"x", complete=False), 100)
    await receive()
    with pytest.raises(APIError) as caught:
        await receive()
    assert (caught.value.status, caught.value.code) == (408, "request_timeout")


async def test_a_body_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk is late, and yet it never ends."""
    monkeypatch.setattr(body_limit, "_BODY_TIMEOUT", 0.1)

    async def trickle() -> Message:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": b"x", "more_body": True}

    receive = limited(trickle, 1 << 30)
    with pytest.raises(APIError) as caught:
        for _ in range(1000):
            await receive()
    assert caught.value.status == 408


async def test_after_the_body_there_is_all_the_time_in_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes then is the client's leaving, during an answer of any length."""
    monkeypatch.setattr(body_limit, "_CHUNK_TIMEOUT", 0.02)
    monkeypatch.setattr(body_limit, "_BODY_TIMEOUT", 0.02)
    sent = chunks(b"x")

    async def receive() -> Message:
        try:
            return await asyncio.wait_for(sent(), 0.1)
        except asyncio.TimeoutError:
            return {"type": "http.disconnect"}

    wrapped = limited(receive, 100)
    assert (await wrapped())["body"] == b"x"
    assert await wrapped() == {"type": "http.disconnect"}


async def test_a_client_that_leaves_in_mid_body() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    assert await limited(receive, 100)() == {"type": "http.disconnect"}
