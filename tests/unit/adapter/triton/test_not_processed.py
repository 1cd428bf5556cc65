"""Requests of which a Triton has done nothing are sent anew, and only those."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError
from adapter.triton import frames
from adapter.triton.channel import TritonChannel
from adapter.triton.stream import EngineStream
from tests.unit.adapter.triton.frame_peer import OK, Peer, listening

MODEL = "small_engine"


def token(value: int) -> bytes:
    answer = pb.ModelStreamInferResponse()
    answer.infer_response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1])
    answer.infer_response.raw_output_contents.append(value.to_bytes(4, "little"))
    return bytes(answer.SerializeToString())


class Script:
    """Does one of these with each request in turn, and then the last one again: `refuse` or `go away` without having
    done anything, `lost` after having taken it, `begin` and refuse, or answer with the bytes given."""

    def __init__(self, *acts: Any) -> None:
        self.acts = list(acts)
        self.requests = 0
        self.connections = 0

    async def __call__(self, peer: Peer) -> None:
        self.connections += 1
        peer.send(frames.settings({}))
        async for one in peer.frames():
            if one.kind != frames.DATA or not one.flags & frames.END_STREAM:
                continue
            self.requests += 1
            act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
            if act == "refuse":
                peer.send(frames.reset(one.stream_id, frames.REFUSED_STREAM))
            elif act == "begin":
                headers = frames.header_block(OK)
                peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, one.stream_id, headers))
                peer.send(frames.reset(one.stream_id, frames.REFUSED_STREAM))
            elif act == "go away":
                peer.send(frames.frame(frames.GOAWAY, 0, 0, _last(one.stream_id)))
            elif act == "lost":
                return
            else:
                peer.answer(one.stream_id, act)


def _last(stream_id: int) -> bytes:
    """A GOAWAY's payload: the stream before this one is the last one taken."""
    return max(0, stream_id - 2).to_bytes(4, "big") + bytes(4)


async def ask(channel: TritonChannel) -> list[int]:
    for one in channel.subchannels:
        one.serves = frozenset([MODEL])
    stream = EngineStream(channel, pb.ModelInferRequest(model_name=MODEL), 10, {})
    found: list[int] = []
    while (step := await stream.read()) is not None:
        found += step.ids
    return found


@pytest.mark.parametrize("act", ["refuse", "go away"])
async def test_the_only_triton_is_asked_anew(act: str) -> None:
    script = Script(token(1), act, act, token(7))
    async with listening(script) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        channel.subchannels[0].recover()
        assert await ask(channel) == [1]
        assert await ask(channel) == [7]
        assert (script.requests, script.connections) == (4, 1 if act == "refuse" else 3)
        (only,) = channel.subchannels
        assert (only.ready, only.failures, only.in_flight) == (True, 0, 0)
        await channel.close()


@pytest.mark.parametrize("act", ["refuse", "go away"])
async def test_not_for_ever(act: str) -> None:
    script = Script(act)
    async with listening(script) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        with pytest.raises(APIError) as refused:
            await ask(channel)
        assert (refused.value.status, refused.value.code) == (503, "triton_unavailable")
        assert script.requests == 3
        await channel.close()


@pytest.mark.parametrize("act", ["begin", "lost"])
async def test_not_where_something_may_have_been_done(act: str) -> None:
    script = Script(act)
    async with listening(script) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        with pytest.raises(APIError) as refused:
            await ask(channel)
        assert refused.value.status == 503
        assert script.requests == 1
        await channel.close()


async def test_another_triton_comes_first() -> None:
    unwilling, good = Script("refuse"), Script(token(5))
    async with listening(unwilling) as first, listening(good) as second:
        channel = TritonChannel(f"grpc://127.0.0.1:{first},grpc://127.0.0.1:{second}")
        for one in channel.subchannels:
            one.recover()
        for _ in range(4):
            assert await ask(channel) == [5]
        assert (unwilling.requests, good.requests) == (2, 4)
        await channel.close()


async def test_calls_with_one_answer_too() -> None:
    answer = pb.ModelInferResponse(model_name=MODEL).SerializeToString()
    script = Script("refuse", "go away", answer)
    async with listening(script) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        assert (await channel.infer(pb.ModelInferRequest(model_name=MODEL), 5)).model_name == MODEL
        assert script.requests == 3
        await channel.close()
