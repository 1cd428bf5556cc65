"""The gRPC client against gRPC's own server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adapter.triton import frames
from adapter.triton.call import RECEIVE_WINDOW, Call, CallFailed
from adapter.triton.channel import TritonChannel
from adapter.triton.endpoint import Endpoint
from adapter.triton.stream import EngineStream, StreamCancelled
from adapter.triton.tls import client_context
from tests.unit.adapter.triton.grpc_server import METHOD, serving

TLS = Path(__file__).parents[3] / "data" / "tls"


def endpoint(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port, tls=None)


async def start(client: Endpoint, message: bytes, timeout: float, path: str = METHOD) -> Call:
    call = await client.open(path, timeout)
    await call.send(message)
    return call


async def collect(call: Call) -> list[bytes]:
    messages = []
    while (message := await call.read()) is not None:
        messages.append(message)
    return messages


async def count_up(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"message %d" % number


async def test_messages_arrive_in_order_and_the_call_ends() -> None:
    async with serving(count_up) as (_, port):
        client = endpoint(port)
        call = await start(client, b"300", 10)
        assert await collect(call) == [b"message %d" % number for number in range(300)]
        assert call.ended
        assert await call.read() is None
        await client.close()


async def test_many_calls_share_a_connection_without_mixing() -> None:
    async def echo(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(20):
            await asyncio.sleep(0)
            yield request

    async with serving(echo) as (_, port):
        client = endpoint(port)
        calls = await asyncio.gather(*(start(client, b"call %d" % number, 20) for number in range(200)))
        answers = await asyncio.gather(*(collect(call) for call in calls))
        assert answers == [[b"call %d" % number] * 20 for number in range(200)]
        assert len(client._connections) == 1
        await client.close()


async def test_messages_and_requests_larger_than_every_window() -> None:
    async def double(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request + request
        yield b"end"

    size = 3 * RECEIVE_WINDOW + 12345
    request = bytes(range(256)) * (size // 256)
    async with serving(double) as (_, port):
        client = endpoint(port)
        for _ in range(3):  # windows are given back
            assert await collect(await start(client, request, 20)) == [request + request, b"end"]
        await client.close()


async def test_what_is_not_read_is_not_taken_in() -> None:
    sent = 0

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield bytes(10_000)

    async with serving(flood) as (_, port):
        client = endpoint(port)
        call = await start(client, b"go", 30)
        other = await start(client, b"go", 30)
        assert await call.read() == bytes(10_000)
        assert len(await collect(other)) == 2000  # a slow reader does not hold up another call
        waiting = len(call._messages) * 10_000
        assert waiting <= RECEIVE_WINDOW
        assert sent < 4000
        assert len(await collect(call)) == 1999
        await client.close()


async def test_an_error_comes_with_its_code_and_words_after_the_messages() -> None:
    async def fail(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such größe: 100 %\nsecond line")

    async with serving(fail) as (_, port):
        client = endpoint(port)
        call = await start(client, b"go", 10)
        assert await call.read() == b"first"
        with pytest.raises(CallFailed) as failure:
            await call.read()
        assert failure.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.value.details == "no such größe: 100 %\nsecond line"
        await client.close()


async def test_an_unknown_method_is_an_error_with_its_code() -> None:
    async with serving(count_up) as (_, port):
        client = endpoint(port)
        with pytest.raises(CallFailed) as failure:
            await (await start(client, b"1", 10, "/test.Echo/Nothing")).read()
        assert failure.value.code is grpc.StatusCode.UNIMPLEMENTED
        await client.close()


async def test_cancel_reaches_the_server_and_frees_the_call() -> None:
    cancelled = asyncio.Event()

    async def forever(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"again"
                await asyncio.sleep(0.01)
        finally:
            cancelled.set()

    async with serving(forever) as (_, port):
        client = endpoint(port)
        call = await start(client, b"go", 30)
        assert await call.read() == b"again"
        call.cancel()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        with pytest.raises(CallFailed) as failure:
            await collect(call)
        assert failure.value.code is grpc.StatusCode.CANCELLED
        assert not client._connections[0]._calls
        again = await start(client, b"go", 30)  # the connection is as good as before
        assert await again.read() == b"again"
        again.cancel()
        await client.close()


async def test_a_cancelled_reader_is_woken_and_another_task_cancels_cleanly() -> None:
    async def silent(request: bytes, context: Any) -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    async with serving(silent) as (_, port):
        client = endpoint(port)
        call = await start(client, b"go", 30)
        reader = asyncio.create_task(call.read())
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(CallFailed):
            await asyncio.wait_for(reader, 5)
        call = await start(client, b"go", 30)
        reader = asyncio.create_task(call.read())
        await asyncio.sleep(0.05)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert not call.ended
        call.cancel()
        await client.close()


async def test_the_time_limit_ends_the_call_and_the_server_knows_it() -> None:
    remaining: list[float] = []

    async def silent(request: bytes, context: Any) -> AsyncIterator[bytes]:
        remaining.append(context.time_remaining())
        await asyncio.sleep(60)
        yield b""

    async with serving(silent) as (_, port):
        client = endpoint(port)
        call = await start(client, b"go", 0.3)
        with pytest.raises(CallFailed) as failure:
            await asyncio.wait_for(call.read(), 5)
        assert failure.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0 < remaining[0] <= 0.3
        await client.close()


async def test_a_lost_server_ends_calls_and_is_found_again() -> None:
    async def one_then_wait(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(60)

    async with serving(one_then_wait) as (_, port):
        client = endpoint(port)
        call = await start(client, b"go", 30)
        assert await call.read() == b"one"
    with pytest.raises(CallFailed) as failure:
        await asyncio.wait_for(call.read(), 5)
    assert failure.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    with pytest.raises(CallFailed) as failure:
        await start(client, b"go", 30)
    assert failure.value.code is grpc.StatusCode.UNAVAILABLE
    async with serving(count_up, port) as (_, _):
        assert len(await collect(await start(client, b"3", 10))) == 3
    await client.close()


async def test_a_server_that_takes_few_calls_gets_further_connections() -> None:
    release = asyncio.Event()

    async def hold(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"begun"
        await release.wait()

    async with serving(hold, options=[("grpc.max_concurrent_streams", 2)]) as (_, port):
        client = endpoint(port)
        first = await start(client, b"go", 30)
        assert await first.read() == b"begun"  # by now its settings are known
        calls = [first]
        for _ in range(4):
            call = await start(client, b"go", 30)
            assert await asyncio.wait_for(call.read(), 5) == b"begun"
            calls.append(call)
        assert len(client._connections) >= 2
        release.set()
        for call in calls:
            assert await collect(call) == []
        await client.close()


async def test_nothing_there_is_unavailable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = endpoint(port)
    with pytest.raises(CallFailed) as failure:
        await start(client, b"go", 5)
    assert failure.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_is_no_grpc_server_is_an_error_and_no_hang() -> None:
    async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(http1, "127.0.0.1", 0)
    client = endpoint(server.sockets[0].getsockname()[1])
    with pytest.raises(CallFailed) as failure:
        await asyncio.wait_for((await start(client, b"go", 5)).read(), 5)
    assert failure.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
    server.close()


async def test_tls_with_an_authority_of_ones_own() -> None:
    credentials = grpc.ssl_server_credentials([((TLS / "key.pem").read_bytes(), (TLS / "cert.pem").read_bytes())])
    async with serving(count_up, credentials=credentials) as (_, port):
        client = Endpoint("localhost", port, tls=client_context(TLS / "cert.pem"))
        assert len(await collect(await start(client, b"5", 10))) == 5
        await client.close()
        stranger = Endpoint("localhost", port, tls=client_context(None))
        with pytest.raises(CallFailed) as failure:
            await start(stranger, b"5", 10)
        assert failure.value.code is grpc.StatusCode.UNAVAILABLE
        assert "certificate" in failure.value.details


async def test_questions_and_streams_reach_a_triton_behind_tls() -> None:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_OneAnswer(), server)
    credentials = grpc.ssl_server_credentials([((TLS / "key.pem").read_bytes(), (TLS / "cert.pem").read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    channel = TritonChannel(f"grpcs://localhost:{port}", TLS / "cert.pem")
    assert [model.name for model in (await channel.subchannels[0].repository_index(5)).models] == ["one"]
    stream = EngineStream(channel, service_pb2.ModelInferRequest(model_name="one"), 5, {})
    step = await stream.read()
    assert step is not None and step.ids == [7]
    assert await stream.read() is None
    await channel.close()
    await server.stop(None)


class _OneAnswer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """As much of Triton as a token needs."""

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        answer = service_pb2.RepositoryIndexResponse()
        answer.models.add(name="one", state="READY")
        return answer

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            answer = service_pb2.ModelStreamInferResponse()
            answer.infer_response.model_name = request.model_name
            answer.infer_response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1])
            answer.infer_response.raw_output_contents.append((7).to_bytes(4, "little"))
            yield answer


async def test_a_stream_is_cancelled_while_its_request_waits_to_be_sent() -> None:
    """A peer whose window is closed takes nothing: the client that leaves then is not held up by it."""

    async def closed_window(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 0}))
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(closed_window, "127.0.0.1", 0)
    channel = TritonChannel(f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    (await channel.subchannels[0].open_stream(30)).cancel()
    await asyncio.sleep(0.1)  # its settings have arrived
    stream = EngineStream(channel, service_pb2.ModelInferRequest(model_name="one"), 30, {})
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0.1)
    assert not reading.done()
    stream.cancel()
    with pytest.raises(StreamCancelled):
        await asyncio.wait_for(reading, 2)
    await channel.close()
    server.close()
