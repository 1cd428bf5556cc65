"""Calls with one answer: what Triton is asked, against gRPC's own server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from adapter.errors import APIError
from adapter.triton import subchannel as subchannel_module
from adapter.triton.call import RECEIVE_WINDOW, CallFailed
from adapter.triton.channel import TritonChannel
from adapter.triton.endpoint import Endpoint
from tests.unit.adapter.triton.grpc_server import METHOD
from tests.unit.adapter.triton.grpc_server import serving as serving_messages

Infer = Callable[[pb.ModelInferRequest, Any], Awaitable[Any]]


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, infer: Infer) -> None:
        self.ModelInfer = infer


@asynccontextmanager
async def asking(infer: Infer) -> AsyncIterator[TritonChannel]:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(infer), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = TritonChannel(f"grpc://127.0.0.1:{port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(None)


def holding(content: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    request.raw_input_contents.append(content)
    return request


async def echo(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
    answer = pb.ModelInferResponse(model_name=request.model_name)
    answer.raw_output_contents.extend(request.raw_input_contents)
    return answer


async def test_many_questions_at_once_get_their_own_answers() -> None:
    async with asking(echo) as channel:
        contents = [b"%d" % number * (number % 7 + 1) for number in range(300)]
        answers = await asyncio.gather(*(channel.infer(holding(content), 20) for content in contents))
        assert [answer.raw_output_contents[0] for answer in answers] == contents


async def test_large_questions_and_answers_arrive_whole() -> None:
    content = bytes(range(256)) * (20 * RECEIVE_WINDOW // 256)
    async with asking(echo) as channel:
        answers = await asyncio.gather(*(channel.infer(holding(content), 30) for _ in range(3)))
        assert all(answer.raw_output_contents[0] == content for answer in answers)


async def test_an_answer_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subchannel_module, "_LARGEST_MESSAGE", 100_000)
    async with asking(echo) as channel:
        with pytest.raises(APIError, match="limit") as refusal:
            await channel.infer(holding(bytes(100_001)), 10)
        assert refusal.value.status == 503
        assert (await channel.infer(holding(bytes(90_000)), 10)).raw_output_contents[0] == bytes(90_000)


async def test_an_error_has_tritons_words() -> None:
    async def refuse(request: pb.ModelInferRequest, context: Any) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input 3 has 600 tokens")

    async with asking(refuse) as channel:
        with pytest.raises(APIError, match="input 3 has 600 tokens") as refusal:
            await channel.infer(holding(b""), 10)
        assert refusal.value.status == 400


async def test_who_leaves_cancels_the_question_at_the_server() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: pb.ModelInferRequest, context: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with asking(hang) as channel:
        question = asyncio.create_task(channel.infer(holding(b""), 60))
        await asyncio.wait_for(begun.wait(), 5)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_no_answer_in_time() -> None:
    async def hang(request: pb.ModelInferRequest, context: Any) -> None:
        await asyncio.sleep(60)

    async with asking(hang) as channel:
        with pytest.raises(APIError) as refusal:
            await channel.infer(holding(b""), 0.2)
        assert refusal.value.status == 504


@pytest.mark.parametrize(("messages", "said"), [([], "no answer"), ([b"a", b"b"], "more than one answer")])
async def test_a_call_with_one_answer_has_just_one(messages: list[bytes], said: str) -> None:
    async def behaviour(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    async with serving_messages(behaviour) as (_, port):
        endpoint = Endpoint("127.0.0.1", port, tls=None)
        call = await endpoint.open(METHOD, 10)
        await call.send(b"go")
        with pytest.raises(CallFailed, match=said):
            await call.read_only()
        await endpoint.close()


async def test_an_answer_that_cannot_be_read() -> None:
    async def garbage(request: pb.ModelInferRequest, context: Any) -> Any:
        return b"\xff\xff\xff"

    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(garbage)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = TritonChannel(f"grpc://127.0.0.1:{port}")
    with pytest.raises(APIError, match="cannot be read") as failure:
        await channel.infer(holding(b""), 10)
    assert failure.value.status == 502
    await channel.close()
    await server.stop(None)
