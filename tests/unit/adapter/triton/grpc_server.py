"""gRPC's own server, with a method whose answers a test decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

METHOD = "/test.Echo/Stream"

Behaviour = Callable[[bytes, grpc.aio.ServicerContext], AsyncIterator[bytes]]


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, behaviour: Behaviour) -> None:
        async def handle(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for request in requests:
                async for message in behaviour(request, context):
                    yield message

        self._handler = grpc.stream_stream_rpc_method_handler(handle)

    def service(self, details: Any) -> Any:
        return self._handler if details.method == METHOD else None


@asynccontextmanager
async def serving(
    behaviour: Behaviour,
    port: int = 0,
    *,
    options: list[tuple[str, int]] | None = None,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    server = grpc.aio.server(
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1), *(options or [])]
    )
    server.add_generic_rpc_handlers((_Handler(behaviour),))
    address = f"127.0.0.1:{port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(None)
