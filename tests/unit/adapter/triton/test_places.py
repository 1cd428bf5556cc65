"""Places for calls on the connections to a server that takes only so many on each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from adapter.triton import endpoint as endpoint_module
from adapter.triton import frames, inventory
from adapter.triton.call import Call, CallFailed, ConnectionFailed, NotProcessed
from adapter.triton.channel import TritonChannel
from adapter.triton.connection import Connection
from adapter.triton.endpoint import Endpoint
from adapter.triton.registry import ModelRegistry
from adapter.triton.stream import EngineStream, StreamCancelled
from adapter.triton.tokenizers import TokenizerSource
from tests.unit.adapter.triton.frame_peer import Peer, Transport, listening


class Few:
    """Takes `places` calls on each connection, says so late, and answers when it is told to."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.peers: list[Peer] = []
        self.most = 0  # calls that there were on one connection at a time
        self.requests: list[tuple[Peer, int]] = []

    async def __call__(self, peer: Peer) -> None:
        self.peers.append(peer)
        await asyncio.sleep(0.02)
        peer.send(frames.settings({frames.SETTINGS_MAX_CONCURRENT_STREAMS: self.places}))
        async for one in peer.frames():
            if one.kind == frames.HEADERS:
                self.requests.append((peer, one.stream_id))
                self.most = max(self.most, sum(owner is peer for owner, _ in self.requests))
            elif one.kind == frames.RST_STREAM:
                self.requests.remove((peer, one.stream_id))

    def answer(self) -> None:
        """The call that has waited longest."""
        peer, stream_id = self.requests.pop(0)
        peer.answer(stream_id, b"done")


async def wait_until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), 5)


@pytest.fixture(autouse=True)
def few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(endpoint_module, "MOST_WAITING", 10)


async def test_connections_are_bounded_and_the_rest_waits_in_its_order() -> None:
    server = Few(2)
    async with listening(server) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        order: list[int] = []

        async def ask(number: int) -> bytes:
            call = await client.open("/test", 10)
            order.append(number)
            await call.send(b"go")
            return await call.read_only()

        asking = [asyncio.create_task(ask(number)) for number in range(10)]
        await wait_until(lambda: len(server.requests) == 6)
        await asyncio.sleep(0.05)
        assert (len(server.peers), server.most, order) == (3, 2, list(range(6)))
        for number in range(6, 10):
            server.answer()
            await wait_until(lambda number=number: order[-1] == number)  # type: ignore[misc]
        while server.requests:
            server.answer()
        assert await asyncio.gather(*asking) == [b"done"] * 10
        assert (len(server.peers), server.most, order) == (3, 2, list(range(10)))
        await client.close()


async def test_who_waits_too_long_or_leaves_takes_no_place() -> None:
    server = Few(1)
    async with listening(server) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        held = [await client.open("/test", 10) for _ in range(3)]
        with pytest.raises(CallFailed) as failure:
            await client.open("/test", 0.05)
        assert failure.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        leaving, staying = (asyncio.create_task(client.open("/test", 10)) for _ in range(2))
        await asyncio.sleep(0.02)
        leaving.cancel()
        held.pop().cancel()
        held.append(await asyncio.wait_for(staying, 1))
        # One who is given a place and leaves in the same moment gives it back.
        leaving = asyncio.create_task(client.open("/test", 10))
        await asyncio.sleep(0)
        held.pop().cancel()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        held.append(await asyncio.wait_for(client.open("/test", 10), 1))
        assert not client._waiting
        await client.close()


async def test_a_generation_that_is_cancelled_waits_no_longer() -> None:
    """Nor does it stand in the line until a place is free, or its time is over."""
    server = Few(1)
    async with listening(server) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        (only,) = channel.subchannels
        streams = [EngineStream(channel, pb.ModelInferRequest(model_name="m"), 600, {}) for _ in range(5)]
        reading = [asyncio.create_task(stream.read()) for stream in streams]
        await wait_until(lambda: len(server.requests) == 3)
        streams[3].cancel()
        with pytest.raises(StreamCancelled):
            await asyncio.wait_for(reading[3], 1)
        assert only.in_flight == 4
        # One that is given a place and cancelled in the same moment gives it back.
        streams[0].cancel()
        streams[4].cancel()
        for one in (reading[0], reading[4]):
            with pytest.raises(StreamCancelled):
                await asyncio.wait_for(one, 1)
        await wait_until(lambda: len(server.requests) == 2)
        assert only.in_flight == 2
        await channel.close()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_a_server_that_takes_no_further_connection_gives_its_places_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is there: who waits is not told that it cannot be reached, and it is not asked again with every call."""
    server = Few(1)
    connections = 0

    async def one_connection(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1 or connections > 3:
            await server(peer)

    async with listening(one_connection) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        held = await client.open("/test", 10)
        waiting = [asyncio.create_task(client.open("/test", 10)) for _ in range(3)]
        await wait_until(lambda: connections == 2)
        for one in waiting[:2]:
            await asyncio.sleep(0.02)
            assert not one.done()
            held.cancel()
            held = await asyncio.wait_for(one, 1)
        assert connections == 2
        monkeypatch.setattr(endpoint_module, "_NOT_AGAIN_FOR", 0.0)
        client._attempt_after = 0.0
        held.cancel()
        held = await asyncio.wait_for(waiting[2], 1)
        # When the last connection is gone, the next one is made at once.
        client._attempt_after = asyncio.get_running_loop().time() + 60
        connections = 10
        client._connections[0].close()
        assert not (await asyncio.wait_for(client.open("/test", 10), 1)).ended
        await client.close()


async def test_a_triton_whose_places_are_taken_is_not_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Discovery stands in the same line as requests, with less time."""
    monkeypatch.setattr(inventory, "CALL_TIMEOUT", 0.05)
    server = Few(1)
    async with listening(server) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        (only,) = channel.subchannels
        only.recover()
        streams = [EngineStream(channel, pb.ModelInferRequest(model_name="m"), 600, {}) for _ in range(3)]
        reading = [asyncio.create_task(stream.read()) for stream in streams]
        await wait_until(lambda: len(server.requests) == 3)
        registry = ModelRegistry(channel, TokenizerSource(channel, None, tmp_path), interval=1)
        await registry._look()
        assert (only.ready, only.failures) == (True, 0)
        await channel.close()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_a_connection_that_is_lost_before_its_first_call_is_noticed() -> None:
    connection = Connection()
    connection.connection_made(Transport())
    connection.connection_lost(None)

    async def give(*_: object, **__: object) -> Call:
        return connection.open(b"", 10)

    channel = TritonChannel("grpc://127.0.0.1:1")
    (only,) = channel.subchannels
    only.recover()
    only._endpoint.open = give  # type: ignore[method-assign, assignment]
    assert (await only.open_stream(10)).ended
    assert (only.ready, only.failures, only.in_flight) == (False, 1, 0)
    await channel.close()


async def test_the_line_is_bounded() -> None:
    server = Few(1)
    async with listening(server) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        for _ in range(3):
            await client.open("/test", 10)
        waiting = [asyncio.create_task(client.open("/test", 10)) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(NotProcessed, match="queue"):
            await client.open("/test", 10)
        await client.close()
        for one in waiting:
            with pytest.raises(CallFailed, match="closed here"):
                await one


@pytest.mark.parametrize("goodbye", ["no places", "going away", "closed"])
async def test_a_server_that_takes_no_calls_is_not_asked_again_and_again(goodbye: str) -> None:
    connections = 0

    async def unwilling(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if goodbye == "no places":
            peer.send(frames.settings({frames.SETTINGS_MAX_CONCURRENT_STREAMS: 0}))
        elif goodbye == "going away":
            peer.send(frames.settings({}), frames.goaway(0, ""))
        else:
            return
        async for _ in peer.frames():
            pass

    async with listening(unwilling) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        with pytest.raises(ConnectionFailed, match="failed to connect"):
            await asyncio.wait_for(client.open("/test", 10), 5)
        assert connections == 1
        await client.close()


async def test_a_silent_server_is_not_waited_for_longer_than_the_call_may_take() -> None:
    async def silent(peer: Peer) -> None:
        async for _ in peer.frames():
            pass

    async with listening(silent) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        with pytest.raises(CallFailed) as failure:
            await asyncio.wait_for(client.open("/test", 0.1), 2)
        assert failure.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await client.close()


async def test_a_silent_triton_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the connection and says nothing, as one that stands still: not one whose places are taken."""
    monkeypatch.setattr(inventory, "CALL_TIMEOUT", 0.05)

    async def silent(peer: Peer) -> None:
        async for _ in peer.frames():
            pass

    async with listening(silent) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        (only,) = channel.subchannels
        only.recover()
        await ModelRegistry(channel, TokenizerSource(channel, None, tmp_path), interval=1)._look()
        assert (only.ready, only.failures) == (False, 1)
        await channel.close()


async def test_a_refused_call_says_that_there_is_no_room_for_now() -> None:
    """A server with an unknown limit: the connection is full until one of its calls has ended."""
    limit = 2
    open_calls: list[tuple[Peer, int]] = []
    peers: list[Peer] = []

    async def refusing(peer: Peer) -> None:
        peers.append(peer)
        peer.send(frames.settings({}))
        async for one in peer.frames():
            if one.kind == frames.HEADERS:
                if sum(owner is peer for owner, _ in open_calls) == limit:
                    peer.send(frames.reset(one.stream_id, frames.REFUSED_STREAM))
                else:
                    open_calls.append((peer, one.stream_id))

    async def attempt() -> Call | None:
        call = await client.open("/test", 10)
        with contextlib.suppress(asyncio.TimeoutError, NotProcessed):
            await asyncio.wait_for(call.read(), 0.05)
        return None if call.ended else call

    async with listening(refusing) as port:
        client = Endpoint("127.0.0.1", port, tls=None)
        calls = [await attempt() for _ in range(4)]
        assert calls[2] is None and all(calls[:2]) and calls[3]
        assert len(peers) == 2
        peers[0].answer(open_calls.pop(0)[1])
        await wait_until(lambda: calls[0] is not None and calls[0].ended)
        limit = 4  # it was a moment's refusal
        assert all([await attempt() for _ in range(3)])
        assert [owner is peers[0] for owner, _ in open_calls] == [True, False, True, True, True]
        await client.close()
