"""Where Triton is, and the connections to it: made when they are needed, made anew when they were lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl

import grpc

from adapter.triton import frames
from adapter.triton.call import LARGEST_MESSAGE, Call, CallFailed, ConnectionFailed
from adapter.triton.connection import Connection

_CONNECT_TIMEOUT = 5.0


class Endpoint:
    """Opens calls to one server.

    Args:
        host, port: of the server.
        tls: the context of TLS connections; None for plain ones.
        name: what the server is called in its certificate and in requests; None: `host`.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, name: str | None = None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._name = name or host
        authority = f"[{self._name}]:{port}" if ":" in self._name else f"{self._name}:{port}"
        self._headers = frames.header_block(
            [
                (b":method", b"POST"),
                (b":scheme", b"https" if tls else b"http"),
                (b":authority", authority.encode()),
            ]
        )
        self._connections: list[Connection] = []
        self._attempt: asyncio.Task[Connection] | None = None
        self._closed = False

    async def open(self, path: str, timeout: float, largest_message: int = LARGEST_MESSAGE) -> Call:
        """Begins a call, whose request `Call.send` then sends.

        Args:
            path: the gRPC method, `/package.Service/Method`.
            timeout: seconds for the whole call; the server is told too.
            largest_message: bytes of an answer that are taken.

        Raises:
            ConnectionFailed: the server cannot be reached.
            CallFailed: CANCELLED, this endpoint was closed.
        """
        if self._closed:
            raise CallFailed(grpc.StatusCode.CANCELLED, "closed here")
        connection = self._usable() or await self._connect()
        own = _headers_of_call(path, max(1, round(timeout * 1000)))
        return connection.open(self._headers + own, timeout, largest_message)

    async def close(self) -> None:
        """Ends every call. None can be opened after it."""
        self._closed = True
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
            raise ConnectionFailed(f"failed to connect: {error}") from error

    async def _make(self) -> Connection:
        self._connections = [one for one in self._connections if not one.closed.done()]
        loop = asyncio.get_running_loop()
        name = self._name if self._tls else None
        attempt = loop.create_connection(Connection, self._host, self._port, ssl=self._tls, server_hostname=name)
        _, made = await asyncio.wait_for(attempt, _CONNECT_TIMEOUT)
        self._connections.append(made)
        return made


@functools.lru_cache(maxsize=64)
def _headers_of_call(path: str, milliseconds: int) -> bytes:
    """What follows an endpoint's own headers; methods and timeouts are few."""
    return frames.header_block(
        [
            (b":path", path.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"tritongate"),
            (b"grpc-timeout", b"%dm" % milliseconds),
        ]
    )
