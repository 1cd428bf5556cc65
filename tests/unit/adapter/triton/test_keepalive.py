"""A peer that is gone without a word, or stands still, is noticed; one that only takes long is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import grpc
import pytest

from adapter.triton import frames, keepalive
from adapter.triton.call import CallFailed, ConnectionFailed
from adapter.triton.connection import Connection
from adapter.triton.endpoint import Endpoint
from tests.unit.adapter.triton.frame_peer import Peer, Transport, listening, trailers
from tests.unit.adapter.triton.grpc_server import METHOD, serving

PONG_HEADER = (frames.PING, frames.ACK, 0)


def connected() -> tuple[Connection, Transport]:
    connection, transport = Connection(), Transport()
    connection.connection_made(transport)
    return connection, transport


def pings(transport: Transport) -> list[bytes]:
    return [one.payload for one in transport.sent(frames.PING) if not one.flags & frames.ACK]


def tick(connection: Connection, times: int = 1) -> None:
    for _ in range(times):
        connection._keepalive.tick(bool(connection._calls))


async def test_a_silent_peer_is_asked_once_and_then_given_up() -> None:
    connection, transport = connected()
    call = connection.open(b"", 1000)
    tick(connection)
    assert pings(transport) == []
    tick(connection)
    assert len(pings(transport)) == 1
    tick(connection)
    assert not call.ended
    tick(connection)
    with pytest.raises(ConnectionFailed, match="does not answer"):
        await call.read()
    assert transport.ended == "aborted"
    assert not connection.usable


async def test_a_long_silence_is_probed_rarely() -> None:
    """gRPC's servers end a connection with more than a ping in five minutes and nothing of a call in between."""
    connection, transport = connected()
    call = connection.open(b"", 1000)
    asked = []
    for number in range(100):
        tick(connection)
        if len(pings(transport)) > len(asked):
            asked.append(number)
            connection.data_received(frames.frame(*PONG_HEADER, pings(transport)[-1]))
        if number % 7 == 0:
            connection.data_received(frames.window_update(0, 1))  # says nothing of calls
    assert not call.ended
    assert 2 <= len(asked) <= 4
    assert all(later - earlier > 30 for earlier, later in pairwise(asked))
    call.cancel()


async def test_after_an_answer_the_next_silence_is_probed_again() -> None:
    connection, transport = connected()
    call = connection.open(b"", 1000)
    for number in range(1, 6):
        tick(connection, 3)
        assert len(pings(transport)) == number
        connection.data_received(frames.frame(*PONG_HEADER, pings(transport)[-1]))
        connection.data_received(frames.frame(frames.DATA, 0, call.id, b""))
    # What was on its way when the ping was sent is no answer to it.
    tick(connection, 3)
    connection.data_received(frames.frame(frames.DATA, 0, call.id, b""))
    connection.data_received(frames.frame(*PONG_HEADER, pings(transport)[-1]))
    tick(connection, 20)
    assert len(pings(transport)) == 6
    call.cancel()


async def test_nothing_is_sent_while_nobody_waits_or_something_comes() -> None:
    connection, transport = connected()
    tick(connection, 50)
    call = connection.open(b"", 1000)
    for _ in range(50):
        connection.data_received(frames.frame(frames.DATA, 0, call.id, b""))
        tick(connection)
    connection.data_received(trailers(call.id, (b"grpc-status", b"0")))
    tick(connection, 50)
    assert pings(transport) == []
    assert connection.usable


async def test_a_server_that_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "TICK", 0.05)
    answering = True

    async def still(peer: Peer) -> None:
        peer.send(frames.settings({}))
        async for one in peer.frames():
            if one.kind == frames.PING and answering:
                peer.send(frames.frame(*PONG_HEADER, one.payload))

    async with listening(still) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        call = await client.open("/test", 60)
        await call.send(b"go")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call.read(), 0.5)  # it answers pings: it is only slow
        call.cancel()
        answering = False
        monkeypatch.setattr(keepalive, "_AGAIN", 0)
        await client.close()
        client = Endpoint("127.0.0.1", port, tls=None)
        call = await client.open("/test", 60)
        await call.send(b"go")
        with pytest.raises(CallFailed) as failure:
            await asyncio.wait_for(call.read(), 5)
        assert isinstance(failure.value, ConnectionFailed)
        await client.close()


async def test_grpcs_own_server_does_not_take_offence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silences between answers, each of them probed: its limits for pings are those that Triton has by default."""
    release = asyncio.Event()

    async def slow(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(6):
            release.clear()
            await release.wait()
            yield b"%d" % number

    async with serving(slow) as (_, port):
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", METHOD.encode()), (b":authority", b"test")]
        headers += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
        sent = 0
        original = connection._keepalive._ping

        def counting() -> None:
            nonlocal sent
            sent += 1
            original()

        monkeypatch.setattr(connection._keepalive, "_ping", counting)
        call = connection.open(frames.header_block(headers), 30)
        await call.send(b"go")
        for number in range(6):
            for _ in range(10):
                await asyncio.sleep(0.02)
                tick(connection)
            release.set()
            assert await asyncio.wait_for(call.read(), 5) == b"%d" % number
        assert await call.read() is None
        assert sent == 6
        connection.close()


async def test_grpcs_own_server_does_take_offence_at_more() -> None:
    """What the rules of `keepalive` are for."""

    async def silent(request: bytes, context: Any) -> AsyncIterator[bytes]:
        await asyncio.sleep(30)
        yield b""

    async with serving(silent) as (_, port):
        client = Endpoint("127.0.0.1", port, tls=None)
        call = await client.open(METHOD, 30)
        await call.send(b"go")
        for _ in range(5):
            await asyncio.sleep(0.02)
            client._connections[0]._ping()
        with pytest.raises(CallFailed) as failure:
            await asyncio.wait_for(call.read(), 5)
        assert failure.value.code is grpc.StatusCode.UNAVAILABLE
        await client.close()
