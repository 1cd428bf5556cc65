"""Places for calls on the connections to a server that takes only so many on each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import grpc
import pytest

from adapter.triton import endpoint as endpoint_module
from adapter.triton import frames
from adapter.triton.call import Call, CallFailed, ConnectionFailed, NotProcessed
from adapter.triton.endpoint import Endpoint
from tests.unit.adapter.triton.frame_peer import Peer, listening


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
