"""A peer that breaks the protocol, or does not keep to what was agreed: what it costs, and what not."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest

from adapter.triton import frames
from adapter.triton.call import RECEIVE_WINDOW, Call, CallFailed, ConnectionFailed
from adapter.triton.connection import Connection
from adapter.triton.header_blocks import LARGEST_LIST
from tests.unit.adapter.triton.frame_peer import Transport, read_frames, trailers

STATUS_OK = (b"grpc-status", b"0")


def connected() -> tuple[Connection, Transport]:
    connection, transport = Connection(), Transport()
    connection.connection_made(transport)
    return connection, transport


async def failure_of(call: Call) -> CallFailed:
    with pytest.raises(CallFailed) as failure:
        await asyncio.wait_for(call.read(), 1)
    return failure.value


def _settings(*values: tuple[int, int]) -> bytes:
    return frames.settings(dict(values))


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return frames.frame(kind, flags, stream_id, payload)


BROKEN = {
    "short SETTINGS": (frame(frames.SETTINGS, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "SETTINGS of a stream": (frame(frames.SETTINGS, 0, 1, b""), frames.PROTOCOL_ERROR),
    "long acknowledgement": (frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), frames.FRAME_SIZE_ERROR),
    "short PING": (frame(frames.PING, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "short WINDOW_UPDATE": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), frames.FRAME_SIZE_ERROR),
    "long WINDOW_UPDATE": (frame(frames.WINDOW_UPDATE, 0, 1, bytes(5)), frames.FRAME_SIZE_ERROR),
    "empty RST_STREAM": (frame(frames.RST_STREAM, 0, 1, b""), frames.FRAME_SIZE_ERROR),
    "RST_STREAM of no stream": (frames.reset(0, 0), frames.PROTOCOL_ERROR),
    "short GOAWAY": (frame(frames.GOAWAY, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "push": (frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)), frames.PROTOCOL_ERROR),
    "padded DATA without padding": (frame(frames.DATA, frames.PADDED, 1, b""), frames.FRAME_SIZE_ERROR),
    "DATA of padding alone": (frame(frames.DATA, frames.PADDED, 1, b"\x05xxxx"), frames.PROTOCOL_ERROR),
    "DATA of no stream": (frame(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
    "DATA of a stream to come": (frame(frames.DATA, 0, 5, b"x"), frames.PROTOCOL_ERROR),
    "HEADERS of padding alone": (
        frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\xff"),
        frames.PROTOCOL_ERROR,
    ),
    "HEADERS short of their priority": (
        frame(frames.HEADERS, frames.END_HEADERS | frames.PRIORITY, 1, bytes(4)),
        frames.PROTOCOL_ERROR,
    ),
    "HEADERS of an even stream": (frame(frames.HEADERS, frames.END_HEADERS, 2, b""), frames.PROTOCOL_ERROR),
    "CONTINUATION of nothing": (frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""), frames.PROTOCOL_ERROR),
    "unfinished headers": (
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.PING, 0, 0, bytes(8)),
        frames.PROTOCOL_ERROR,
    ),
    "no headers": (frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 10), frames.COMPRESSION_ERROR),
    "cut headers": (frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x00\x04na"), frames.COMPRESSION_ERROR),
    "initial window": (_settings((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1 << 31)), frames.FLOW_CONTROL_ERROR),
    "small frames": (_settings((frames.SETTINGS_MAX_FRAME_SIZE, 16_383)), frames.PROTOCOL_ERROR),
    "large frames": (_settings((frames.SETTINGS_MAX_FRAME_SIZE, 1 << 24)), frames.PROTOCOL_ERROR),
    "window of the connection": (frames.window_update(0, frames.LARGEST_WINDOW), frames.FLOW_CONTROL_ERROR),
    "window by settings": (
        frames.window_update(1, frames.LARGEST_WINDOW - frames.DEFAULT_WINDOW)
        + _settings((frames.SETTINGS_INITIAL_WINDOW_SIZE, frames.DEFAULT_WINDOW + 1)),
        frames.FLOW_CONTROL_ERROR,
    ),
    "no increment": (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
    "large frame": (frame(frames.DATA, 0, 1, bytes(16_385)), frames.FRAME_SIZE_ERROR),
    "large frame's beginning": (frame(frames.DATA, 0, 1, bytes(16_385))[:9], frames.FRAME_SIZE_ERROR),
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n", frames.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_not_allowed_ends_the_connection(sent: bytes, code: int) -> None:
    connection, transport = connected()
    calls = [connection.open(b"", 10) for _ in range(2)]
    connection.data_received(sent)
    for call in calls:
        failure = await failure_of(call)
        assert isinstance(failure, ConnectionFailed)
        assert failure.code is grpc.StatusCode.UNAVAILABLE
        assert "broke the protocol: " in failure.details
    (farewell,) = transport.sent(frames.GOAWAY)
    assert frames.read_goaway(farewell.payload) == (0, code)
    assert transport.ended == "closed"
    assert not connection.usable
    written = len(transport.written)
    connection.data_received(frames.frame(frames.PING, 0, 0, bytes(8)))  # nothing is read or answered any more
    late = connection.open(b"", 10)
    assert len(transport.written) == written
    assert isinstance(await failure_of(late), ConnectionFailed)


async def test_settings_are_checked_before_there_are_calls() -> None:
    connection, transport = connected()
    connection.data_received(_settings((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1 << 31)))
    (farewell,) = transport.sent(frames.GOAWAY)
    assert frames.read_goaway(farewell.payload) == (0, frames.FLOW_CONTROL_ERROR)
    assert await connection.greeted == connection._broken != ""


async def test_no_rubbish_gets_out_as_another_error() -> None:
    """An exception would leave the connection as it is, with calls that wait for their time to end."""
    chance = random.Random(7)
    kinds = [*range(10), 0xFA]
    for _ in range(1500):
        connection, transport = connected()
        call = connection.open(b"", 10)
        for _ in range(chance.randrange(1, 6)):
            payload = chance.randbytes(chance.choice([0, 1, 4, 5, 6, 8, 12, 40]))
            stream_id = chance.choice([0, 1, 1, 2, 3])
            connection.data_received(frame(chance.choice(kinds), chance.randrange(256), stream_id, payload))
        assert connection.usable or call.ended or not transport.sent(frames.GOAWAY)
        connection.connection_lost(None)
        assert call.ended


async def test_frames_of_unknown_types_and_of_ended_calls_are_passed_over() -> None:
    connection, _ = connected()
    ended, call = connection.open(b"", 10), connection.open(b"", 10)
    ended.cancel()
    connection.data_received(
        frame(0x2, 0, 1, bytes(5))
        + frame(0xFA, 0xFF, 0, b"what is this")
        + frame(frames.DATA, 0, ended.id, b"under way")
        + frames.window_update(ended.id, 5)
        + trailers(ended.id, STATUS_OK)
        + frames.reset(ended.id, 0)
        + trailers(call.id, STATUS_OK)
    )
    assert await call.read() is None
    assert connection.usable


@pytest.mark.parametrize(
    ("increment", "code"), [(0, frames.PROTOCOL_ERROR), (frames.LARGEST_WINDOW, frames.FLOW_CONTROL_ERROR)]
)
async def test_a_calls_window_that_is_out_of_bounds_costs_that_call(increment: int, code: int) -> None:
    connection, transport = connected()
    call, other = connection.open(b"", 10), connection.open(b"", 10)
    connection.data_received(frames.window_update(call.id, increment))
    assert (await failure_of(call)).code is grpc.StatusCode.INTERNAL
    (reset,) = transport.sent(frames.RST_STREAM)
    assert (reset.stream_id, frames.read_reset(reset.payload)) == (call.id, code)
    assert connection.usable and not other.ended


async def test_more_than_a_calls_window_costs_that_call() -> None:
    connection, transport = connected()
    call, other = connection.open(b"", 10), connection.open(b"", 10)
    message = b"\x00" + (10_000 - 5).to_bytes(4, "big") + bytes(10_000 - 5)
    for _ in range(RECEIVE_WINDOW // 10_000 + 1):  # nobody reads
        connection.data_received(frame(frames.DATA, 0, call.id, message))
    assert call.ended and not other.ended and connection.usable
    (reset,) = transport.sent(frames.RST_STREAM)
    assert (reset.stream_id, frames.read_reset(reset.payload)) == (call.id, frames.FLOW_CONTROL_ERROR)


# Headers.


async def test_the_limit_of_headers_is_announced() -> None:
    _, transport = connected()
    (settings,) = transport.sent(frames.SETTINGS)
    assert dict(frames.read_settings(settings.payload))[frames.SETTINGS_MAX_HEADER_LIST_SIZE] == LARGEST_LIST


async def test_headers_over_the_limit_cost_their_call_alone() -> None:
    """A name that the oversized block has put into the peer's table is one that the next block can refer to."""
    connection, transport = connected()
    call, other, third = (connection.open(b"", 10) for _ in range(3))
    # Indexed anew: a name and a value (RFC 7541, 6.2.1), which become entry 62 of the table.
    entry = b"\x40" + frames.header_block([(b"grpc-status", b"0")])[1:]
    block = entry + frames.header_block([(b"grpc-message", b"x" * (LARGEST_LIST + 1))])
    parts = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
    connection.data_received(
        frame(frames.HEADERS, frames.END_STREAM, call.id, parts[0])
        + b"".join(frame(frames.CONTINUATION, 0, call.id, part) for part in parts[1:])
        + frame(frames.CONTINUATION, frames.END_HEADERS, call.id, b"")
    )
    failure = await failure_of(call)
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "headers" in failure.details
    assert connection.usable
    connection.data_received(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, other.id, b"\xbe"))
    assert await other.read() is None
    connection.data_received(trailers(third.id, (b"grpc-status", b"5"), (b"grpc-message", b"x" * 50_000)))
    assert (await failure_of(third)).details == "x" * 50_000
    assert not transport.sent(frames.GOAWAY)


@pytest.mark.parametrize(
    ("block", "end"),
    [
        (frames.header_block([(b"grpc-message", b"x" * (300 << 10))]), b""),  # not waited for
        (frames.header_block([(b"n", b"")]) * 9000, frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"")),
    ],
    ids=["bytes", "headers"],
)
async def test_headers_far_over_it_end_the_connection(block: bytes, end: bytes) -> None:
    connection, transport = connected()
    call = connection.open(b"", 10)
    parts = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
    sent = [frame(frames.HEADERS, 0, call.id, parts[0])]
    sent += [frame(frames.CONTINUATION, 0, call.id, part) for part in parts[1:]]
    connection.data_received(b"".join(sent) + end)
    assert isinstance(await failure_of(call), ConnectionFailed)
    (farewell,) = transport.sent(frames.GOAWAY)
    assert frames.read_goaway(farewell.payload) == (0, frames.ENHANCE_YOUR_CALM)


async def test_header_values_that_are_no_text_cost_nothing() -> None:
    connection, _ = connected()
    call = connection.open(b"", 10)
    connection.data_received(
        trailers(call.id, (b"grpc-status", b"3"), (b"grpc-message", "gr\xf6\xdfe".encode("latin-1")))
    )
    assert (await failure_of(call)).details == "gr\ufffd\ufffde"
    assert connection.usable


# A peer that does not read.


async def test_requests_wait_while_the_peer_does_not_read() -> None:
    connection, transport = connected()
    connection.data_received(
        frames.window_update(0, 1 << 30) + _settings((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30))
    )
    call, late = connection.open(b"", 10), connection.open(b"", 0.05)
    before = len(transport.written)
    connection.pause_writing()
    sending = [asyncio.create_task(one.send(bytes(1 << 20))) for one in (call, late)]
    await asyncio.sleep(0.1)
    assert not sending[0].done()
    await sending[1]  # its time is over
    assert (await failure_of(late)).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(transport.written) - before < 100
    connection.resume_writing()
    await asyncio.wait_for(sending[0], 1)
    data = [one for one in read_frames(transport.written) if one.kind == frames.DATA]
    assert sum(len(one.payload) for one in data) == (1 << 20) + 5
    call.cancel()


async def test_large_frames_are_not_sent_even_where_they_are_allowed() -> None:
    connection, transport = connected()
    large = _settings((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30), (frames.SETTINGS_MAX_FRAME_SIZE, (1 << 24) - 1))
    connection.data_received(frames.window_update(0, 1 << 30) + large)
    call = connection.open(b"", 10)
    await call.send(bytes(1 << 20))
    assert max(len(one.payload) for one in transport.sent(frames.DATA)) == 64 << 10
    call.cancel()


async def test_what_waits_for_a_peer_that_does_not_read_is_bounded() -> None:
    connection, transport = connected()
    call = connection.open(b"", 10)
    connection.pause_writing()
    transport.stuffed = 100 << 10
    connection.data_received(frames.frame(frames.PING, 0, 0, bytes(8)))
    assert not call.ended and transport.ended == ""
    transport.stuffed = 2 << 20
    connection.data_received(frames.frame(frames.PING, 0, 0, bytes(8)) * 3)
    assert transport.ended == "aborted"
    failure = await failure_of(call)
    assert isinstance(failure, ConnectionFailed)
    assert "does not read" in failure.details


async def test_a_socket_that_is_not_read_holds_a_large_request_back() -> None:
    """Over a real one: the peer's windows are wide open, and yet it takes nothing."""
    stop = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wide = _settings((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30))
        writer.write(wide + frames.window_update(0, 1 << 30))
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    made: Any = await loop.create_connection(Connection, "127.0.0.1", server.sockets[0].getsockname()[1])
    transport, connection = made
    assert await connection.greeted is None
    call = connection.open(b"", 0.5)
    await call.send(bytes(64 << 20))  # until its time is over
    assert transport.get_write_buffer_size() < 1 << 20
    assert (await failure_of(call)).code is grpc.StatusCode.DEADLINE_EXCEEDED
    stop.set()
    connection.close()
    server.close()
