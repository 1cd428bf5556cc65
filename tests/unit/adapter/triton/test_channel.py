"""Requests over several Tritons: who gets which, and where one goes whose Triton is lost."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError
from adapter.triton.call import CallFailed
from adapter.triton.channel import TritonChannel
from adapter.triton.stream import EngineStep, EngineStream, StreamCancelled
from tests.unit.adapter.triton.kserve import KServe, serving

MODEL = "small_engine"


class Triton(KServe):
    """Does what `script` says for each request: a number is a token, text an error message, a status ends the call,
    and None waits for ever."""

    def __init__(self, *script: Any) -> None:
        super().__init__()
        self.script = script
        self.requests = 0

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:
        context.add_done_callback(lambda _: self.left.set())
        async for request in requests:
            self.requests += 1
            for item in self.script:
                answer = pb.ModelStreamInferResponse()
                if item is None:
                    await asyncio.sleep(60)
                elif isinstance(item, grpc.StatusCode):
                    await context.abort(item, "as it was told")
                elif isinstance(item, str):
                    answer.error_message = item
                else:
                    answer.infer_response.model_name = request.model_name
                    answer.infer_response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1])
                    answer.infer_response.raw_output_contents.append(item.to_bytes(4, "little"))
                yield answer

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.requests += 1
        if isinstance(self.script[0], grpc.StatusCode):
            await context.abort(self.script[0], "as it was told")
        return pb.ModelInferResponse(model_name=request.model_name)


@asynccontextmanager
async def channel_to(*tritons: Triton, missing: int = 0) -> AsyncIterator[TritonChannel]:
    """All of them count as ready with the model; `missing` further ones are not there."""
    async with AsyncExitStack() as running:
        ports = [await running.enter_async_context(serving(triton)) for triton in tritons]
        urls = [f"grpc://127.0.0.1:{port}" for port in ports] + [f"grpc://127.0.0.1:{n + 1}" for n in range(missing)]
        channel = TritonChannel(",".join(urls))
        for one in channel.subchannels:
            one.recover()
            one.serves = frozenset([MODEL])
        try:
            yield channel
        finally:
            await channel.close()


def stream(channel: TritonChannel, timeout: float = 10.0) -> EngineStream:
    return EngineStream(channel, pb.ModelInferRequest(model_name=MODEL), timeout, {})


async def tokens(running: EngineStream) -> list[int]:
    found: list[int] = []
    while (step := await running.read()) is not None:
        found += step.ids
    return found


async def test_the_least_loaded_gets_the_next_one() -> None:
    async with channel_to(Triton(1, None), Triton(1, None), Triton(1, None)) as channel:
        streams = [stream(channel) for _ in range(9)]
        for one in streams:
            assert await one.read() == EngineStep([1])
        assert [one.in_flight for one in channel.subchannels] == [3, 3, 3]
        # Room at one of them is where the next two go.
        idle = channel.subchannels[1]
        for one in [one for one in streams if _on(one, idle)][:2]:
            one.cancel()
        assert idle.in_flight == 1
        for _ in range(2):
            streams.append(stream(channel))
            await streams[-1].read()
        assert [one.in_flight for one in channel.subchannels] == [3, 3, 3]
        for one in streams:
            one.cancel()
        assert [one.in_flight for one in channel.subchannels] == [0, 0, 0]


def _on(running: EngineStream, subchannel: Any) -> bool:
    return running._call is not None and running._call.on_end == subchannel._stream_ended


async def test_idle_ones_take_turns() -> None:
    tritons = [Triton(1), Triton(1), Triton(1)]
    async with channel_to(*tritons) as channel:
        for _ in range(9):
            assert await tokens(stream(channel)) == [1]
    assert [triton.requests for triton in tritons] == [3, 3, 3]


async def test_only_those_that_have_the_model() -> None:
    tritons = [Triton(1), Triton(2), Triton(3)]
    async with channel_to(*tritons) as channel:
        channel.subchannels[0].serves = frozenset(["another"])
        channel.subchannels[2].fail("for the test")
        for _ in range(4):
            assert await tokens(stream(channel)) == [2]
        channel.subchannels[1].serves = frozenset()
        channel.subchannels[2].serves = frozenset()
        with pytest.raises(APIError) as refused:
            await stream(channel).read()
        assert refused.value.status == 503


async def test_one_that_is_not_there_costs_nothing() -> None:
    triton = Triton(7)
    async with channel_to(triton, missing=1) as channel:
        for _ in range(6):
            assert await tokens(stream(channel)) == [7]
        gone = channel.subchannels[1]
        assert (gone.ready, gone.failures, gone.in_flight) == (False, 1, 0)
    assert triton.requests == 6


LOST = [
    grpc.StatusCode.UNAVAILABLE,
    "Server is stopping, not accepting new requests",
    "Request for unknown model: 'small_engine' is not found",
    "Failed to process the request(s) for model instance 'x', message: Stub process 'x' is not healthy.",
    "all slots and all 4 places in the queue are taken",
]


@pytest.mark.parametrize("said", LOST)
async def test_before_the_first_response_another_one_is_asked(said: Any) -> None:
    lost, good = Triton(said), Triton(5, 6)
    async with channel_to(lost, good) as channel:
        for _ in range(4):
            for one in channel.subchannels:
                one.recover()
            assert await tokens(stream(channel)) == [5, 6]
        assert all(one.in_flight == 0 for one in channel.subchannels)
    assert lost.requests == 2 and good.requests == 4


@pytest.mark.parametrize("said", [*LOST, grpc.StatusCode.INTERNAL])
async def test_never_after_it(said: Any) -> None:
    tritons = [Triton(5, said), Triton(5, said)]
    async with channel_to(*tritons) as channel:
        running = stream(channel)
        assert await running.read() == EngineStep([5])
        with pytest.raises(APIError):
            await running.read()
    assert sum(triton.requests for triton in tritons) == 1


@pytest.mark.parametrize("said", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, "it failed", 4])
async def test_what_is_an_answer_is_no_loss(said: Any) -> None:
    tritons = [Triton(said), Triton(said)]
    async with channel_to(*tritons) as channel:
        try:
            await stream(channel).read()
        except APIError as error:
            assert error.status != 503
    assert sum(triton.requests for triton in tritons) == 1


async def test_a_request_that_kills_does_not_kill_them_all() -> None:
    tritons = [Triton(grpc.StatusCode.UNAVAILABLE) for _ in range(5)]
    async with channel_to(*tritons) as channel:
        with pytest.raises(APIError) as refused:
            await stream(channel).read()
        assert (refused.value.status, refused.value.code) == (503, "triton_unavailable")
    assert sum(triton.requests for triton in tritons) == 3


async def test_the_time_is_for_all_attempts_together() -> None:
    async with channel_to(Triton(None), Triton(None)) as channel:
        running = stream(channel, timeout=0.4)
        reading = asyncio.create_task(running.read())
        await asyncio.sleep(0.2)
        (busy,) = [one for one in channel.subchannels if one.in_flight]
        # As when its Triton is killed; the other one has what is left of the time.
        for connection in busy._endpoint._connections:
            connection.close()
        started = asyncio.get_running_loop().time()
        with pytest.raises(APIError) as refused:
            await reading
        assert refused.value.status == 504
        assert asyncio.get_running_loop().time() - started < 0.35
        assert not busy.ready


async def test_cancelled_while_it_changes_over() -> None:
    async with channel_to(Triton(None), Triton(None)) as channel:
        running = stream(channel)
        reading = asyncio.create_task(running.read())
        await asyncio.sleep(0.2)
        (busy,) = [one for one in channel.subchannels if one.in_flight]
        for connection in busy._endpoint._connections:
            connection.close()
        running.cancel()
        with pytest.raises(StreamCancelled):
            await asyncio.wait_for(reading, 2)
        assert all(one.in_flight == 0 for one in channel.subchannels)


async def test_a_question_goes_to_another_one_too() -> None:
    lost, good = Triton(grpc.StatusCode.UNAVAILABLE), Triton(1)
    async with channel_to(lost, good) as channel:
        for _ in range(4):
            answer = await channel.infer(pb.ModelInferRequest(model_name=MODEL), 5)
            assert answer.model_name == MODEL
        with pytest.raises(APIError) as refused:
            channel.subchannels[1].serves = frozenset()
            await channel.infer(pb.ModelInferRequest(model_name=MODEL), 5)
        assert refused.value.status == 503
    assert good.requests == 4


async def test_where_none_is_ready_one_is_tried() -> None:
    triton = Triton(3)
    async with channel_to(triton, missing=1) as channel:
        for one in channel.subchannels:
            one.fail("for the test")
        answers = Counter[str]()
        for _ in range(4):
            try:
                answers[str(await tokens(stream(channel)))] += 1
            except APIError as error:
                answers[str(error.status)] += 1
        assert answers["[3]"] >= 1 and set(answers) <= {"[3]", "503"}


async def test_names_are_looked_up_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Addresses come and go; what runs at one that went may end."""
    real, hosts = socket.getaddrinfo, ["127.0.0.1"]

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "tritons.test":
            return real(host, port, *rest, **more)
        if not hosts:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    first, second = Triton(1, None), Triton(2, None)
    async with serving(first) as port, serving(second, port, "127.0.0.2"):
        channel = TritonChannel(f"grpc+dns://tritons.test:{port}")
        assert channel.subchannels == ()
        await channel.look_up_names()
        assert [one.label for one in channel.subchannels] == [f"127.0.0.1:{port}"]
        running = stream(channel)
        assert await running.read() == EngineStep([1])
        hosts[:] = ["127.0.0.2", "127.0.0.1"]
        (kept,) = channel.subchannels
        await channel.look_up_names()
        assert [one.label for one in channel.subchannels] == [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
        assert channel.subchannels[0] is kept
        hosts[:] = []  # the name server is away: that changes nothing
        with caplog.at_level(logging.WARNING, "tritongate.models"):
            await channel.look_up_names()
            await channel.look_up_names()
        assert len(channel.subchannels) == 2
        assert [record.message for record in caplog.records] == ["a Triton's name cannot be looked up"]  # said once
        hosts[:] = ["127.0.0.2"]
        await channel.look_up_names()
        assert [one.label for one in channel.subchannels] == [f"127.0.0.2:{port}"]
        assert kept.in_flight == 1 and not first.left.is_set()
        running.cancel()
        await asyncio.wait_for(first.left.wait(), 2)
        assert await stream(channel).read() == EngineStep([2])
        with pytest.raises(CallFailed, match="closed"):
            await asyncio.sleep(0.05)
            await kept.repository_index(1)
        await channel.close()
