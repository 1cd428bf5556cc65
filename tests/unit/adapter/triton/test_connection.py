"""The HTTP/2 connection over crafted frames, and over a recorded answer cut at every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import hpack
import pytest

from adapter.triton import frames
from adapter.triton.call import RECEIVE_WINDOW, CallFailed
from adapter.triton.connection import Connection
from tests.unit.adapter.triton.frame_peer import Transport
from tests.unit.adapter.triton.grpc_server import METHOD, serving


class _Recorder(Connection):
    """A connection that writes down what it hears."""

    heard: list[bytes]

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        super().data_received(data)


async def _recorded() -> bytes:
    """What gRPC's server sends for one call with three messages and an error."""

    async def behaviour(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for message in (b"first", b"", b"third \xff"):
            yield message
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    async with serving(behaviour) as (_, port):
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Recorder, "127.0.0.1", port)
        connection.heard = []
        block = frames.header_block(
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", METHOD.encode()),
                (b":authority", b"test"),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
            ]
        )
        call = connection.open(block, 10)
        await call.send(b"go")
        with pytest.raises(CallFailed):
            while await call.read() is not None:
                pass
        connection.close()
        return b"".join(connection.heard)


async def test_the_answer_does_not_depend_on_how_it_is_cut() -> None:
    recording = await _recorded()
    assert len(recording) > 100
    cuts = [[cut] for cut in range(1, len(recording))] + [list(range(1, len(recording)))]
    for cut in cuts:
        connection = Connection()
        connection.connection_made(Transport())
        call = connection.open(b"", 10)
        for start, end in zip([0, *cut], [*cut, len(recording)], strict=True):
            connection.data_received(recording[start:end])
        messages = [await call.read() for _ in range(3)]
        assert messages == [b"first", b"", b"third \xff"]
        with pytest.raises(CallFailed) as failure:
            await call.read()
        assert (failure.value.code, failure.value.details) == (grpc.StatusCode.NOT_FOUND, "gone")


@pytest.mark.parametrize(
    "nonsense",
    [
        frames.frame(frames.DATA, 0, 1, b"\x01\x00\x00\x00\x01x"),
        frames.frame(frames.DATA, 0, 1, b"\x00\xff\xff\xff\xff"),  # 4 GiB
    ],
    ids=["compressed", "too large"],
)
async def test_a_message_that_cannot_be_taken_ends_the_call(nonsense: bytes) -> None:
    connection = Connection()
    connection.connection_made(Transport())
    call = connection.open(b"", 10)
    connection.data_received(nonsense)
    with pytest.raises(CallFailed) as failure:
        await asyncio.wait_for(call.read(), 1)
    assert failure.value.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert connection.usable


async def test_control_frames_are_answered() -> None:
    transport = Transport()
    connection = Connection()
    connection.connection_made(transport)
    call = connection.open(b"", 10)
    transport.written = b""
    connection.data_received(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert transport.written == frames.frame(frames.PING, frames.ACK, 0, b"12345678")
    connection.data_received(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 10}))
    assert transport.written.endswith(frames.frame(frames.SETTINGS, frames.ACK, 0))
    assert connection.sendable(call, 100) == 10
    sending = asyncio.create_task(call.send(bytes(20)))
    await asyncio.sleep(0)
    assert not sending.done()
    connection.data_received(frames.window_update(1, 100))
    await asyncio.wait_for(sending, 1)
    connection.data_received(frames.frame(frames.GOAWAY, 0, 0, bytes(3) + b"\x01" + bytes(4)))
    assert not connection.usable and not call.ended
    connection.data_received(frames.reset(1, frames.REFUSED_STREAM))
    with pytest.raises(CallFailed) as failure:
        await call.read()
    assert failure.value.code is grpc.StatusCode.UNAVAILABLE


def message(content: bytes) -> bytes:
    return b"\x00" + len(content).to_bytes(4, "big") + content


def granted(written: bytes, stream_id: int) -> int:
    """The window that WINDOW_UPDATE frames of `written` give to a stream."""
    total, position = 0, 0
    while position < len(written):
        high, low, kind, _, stream = frames.FRAME_HEADER.unpack_from(written, position)
        position += frames.HEADER_SIZE
        if kind == frames.WINDOW_UPDATE and stream == stream_id:
            total += frames.read_window_update(written[position : position + 4])
        position += (high << 8) + low
    return total


async def test_padding_is_given_back_to_the_window() -> None:
    transport = Transport()
    connection = Connection()
    connection.connection_made(transport)
    call = connection.open(b"", 10)
    transport.written = b""
    arrived = 0
    for _ in range(200):
        payload = b"\xff" + message(b"x" * 1000) + bytes(255)
        connection.data_received(frames.frame(frames.DATA, frames.PADDED, call.id, payload))
        assert await call.read() == b"x" * 1000
        arrived += len(payload)
    assert 0 <= arrived - granted(transport.written, call.id) < RECEIVE_WINDOW // 2 + 1300
    call.cancel()


async def test_a_large_message_is_allowed_once_and_given_back_once() -> None:
    transport = Transport()
    connection = Connection()
    connection.connection_made(transport)
    call = connection.open(b"", 10)
    transport.written = b""
    arrived = 0
    for _ in range(3):
        data = message(bytes(RECEIVE_WINDOW * 2))
        for start in range(0, len(data), 16_384):
            connection.data_received(frames.frame(frames.DATA, 0, call.id, data[start : start + 16_384]))
            arrived += len(data[start : start + 16_384])
            ahead = granted(transport.written, call.id) + RECEIVE_WINDOW - arrived
            assert 0 <= ahead <= RECEIVE_WINDOW * 3
        assert await call.read() == bytes(RECEIVE_WINDOW * 2)
    call.cancel()


async def test_a_connection_that_is_lost_at_once_fails_its_calls_at_once() -> None:
    connection = Connection()
    connection.connection_made(Transport())
    connection.connection_lost(None)
    call = connection.open(b"", 10)
    await asyncio.wait_for(call.send(b"request"), 1)
    with pytest.raises(CallFailed) as failure:
        await asyncio.wait_for(call.read(), 1)
    assert failure.value.code is grpc.StatusCode.UNAVAILABLE


def test_header_values_of_every_length() -> None:
    for size in (0, 1, 126, 127, 128, 254, 255, 300, 5000):
        value = b"v" * size
        assert hpack.Decoder().decode(frames.header_block([(b"name", value)]), raw=True) == [(b"name", value)]
