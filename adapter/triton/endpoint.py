"""Where Triton is, and the connections to it: made when they are needed, made anew when they were lost."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import grpc

from adapter.triton import frames
from adapter.triton.call import Call, CallFailed
from adapter.triton.connection import Connection

_CONNECT_TIMEOUT = 5.0


class Endpoint:
    """Opens streaming calls to one method of one server.

    Args:
        host, port: of the server.
        tls: the context of TLS connections; None for plain ones.
        path: the gRPC method, `/package.Service/Method`.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, path: str) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._headers = frames.header_block(
            [
                (b":method", b"POST"),
                (b":scheme", b"https" if tls else b"http"),
                (b":path", path.encode()),
                (b":authority", authority.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"user-agent", b"tritongate"),
            ]
        )
        self._connections: list[Connection] = []
        self._attempt: asyncio.Task[Connection] | None = None

    async def open(self, timeout: float) -> Call:
        """Begins a call, whose request `Call.send` then sends.

        Args:
            timeout: seconds for the whole call; the server is told too.

        Raises:
            CallFailed: UNAVAILABLE, the server cannot be reached.
        """
        connection = self._usable() or await self._connect()
        headers = self._headers + frames.header_block([(b"grpc-timeout", b"%dm" % max(1, round(timeout * 1000)))])
        return connection.open(headers, timeout)

    async def close(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        for connection in self._connections:
            connection.close()
        with contextlib.suppress(asyncio.TimeoutError):
            gone = [asyncio.shield(connection.closed) for connection in self._connections]
            await asyncio.wait_for(asyncio.gather(*gone), 1.0)

    def _usable(self) -> Connection | None:
        return next((connection for connection in self._connections if connection.usable), None)

    async def _connect(self) -> Connection:
        """A new connection. Who asks while one is being made waits for that one, and fails with it."""
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.get_running_loop().create_task(self._make())
            self._attempt.add_done_callback(lambda task: task.cancelled() or task.exception())  # all may have left
        try:
            return await asyncio.shield(self._attempt)
        except (OSError, asyncio.TimeoutError) as error:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, f"failed to connect: {error}") from error

    async def _make(self) -> Connection:
        self._connections = [one for one in self._connections if not one.closed.done()]
        loop = asyncio.get_running_loop()
        attempt = loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        _, made = await asyncio.wait_for(attempt, _CONNECT_TIMEOUT)
        self._connections.append(made)
        return made
