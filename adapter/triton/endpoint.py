"""Where Triton is, and the connections to it: made when they are needed, made anew when they were lost.

One is enough for a Triton, which sets no limit to the calls on it. Something in between, such as a proxy, may: then
there are more, up to `MOST_CONNECTIONS`, and what finds no place waits for one in its order, within its own time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Callable

import grpc

from adapter.triton import frames
from adapter.triton.call import LARGEST_MESSAGE, Call, CallFailed, ConnectionFailed, NoPlace, NotProcessed
from adapter.triton.connection import Connection

MOST_CONNECTIONS = 32
MOST_WAITING = 1024  # calls that have no place
_CONNECT_TIMEOUT = 5.0  # seconds, until the server's settings are known
_NOT_AGAIN_FOR = 1.0  # seconds after a server that has connections took no further one


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
        self._attempt: asyncio.Task[None] | None = None
        self._attempt_after = 0.0  # as long as the connections that there are last
        self._waiting: dict[asyncio.Future[Call], Callable[[Connection], Call]] = {}  # in their order
        self._closed = False

    async def open(
        self,
        path: str,
        timeout: float,
        largest_message: int = LARGEST_MESSAGE,
        waits: Callable[[Callable[[], None]], None] = lambda leave: None,
    ) -> Call:
        """Begins a call, whose request `Call.send` then sends.

        Args:
            path: the gRPC method, `/package.Service/Method`.
            timeout: seconds for the whole call; the server is told too.
            largest_message: bytes of an answer that are taken.
            waits: called if there is no place yet, with what ends the waiting for one.

        Raises:
            ConnectionFailed: the server cannot be reached.
            NotProcessed: too many wait for a place already.
            NoPlace: the connections that there are stayed full.
            CallFailed: DEADLINE_EXCEEDED, there was no connection in time; CANCELLED, the waiting was ended, or this
                endpoint was closed.
        """
        if self._closed:
            raise CallFailed(grpc.StatusCode.CANCELLED, "closed here")
        if not self._waiting and (connection := self._usable()):
            return self._begin(connection, path, timeout, largest_message)
        if len(self._waiting) >= MOST_WAITING:
            raise NotProcessed("the queue for a place on its connections is full")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        place: asyncio.Future[Call] = loop.create_future()
        self._waiting[place] = lambda one: self._begin(one, path, deadline - loop.time(), largest_message)
        timer = loop.call_later(timeout, self._expire, place)
        waits(functools.partial(_refuse, place, CallFailed(grpc.StatusCode.CANCELLED, "cancelled here")))
        self._give_places()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:  # given at the same moment
                place.result().cancel()
            raise
        finally:
            timer.cancel()
            self._waiting.pop(place, None)

    async def close(self) -> None:
        """Ends every call. None can be opened after it."""
        self._closed = True
        self._refuse_all(CallFailed(grpc.StatusCode.CANCELLED, "closed here"))
        if self._attempt is not None:
            self._attempt.cancel()
        for connection in self._connections:
            connection.close()
        with contextlib.suppress(asyncio.TimeoutError):
            gone = [asyncio.shield(connection.closed) for connection in self._connections]
            await asyncio.wait_for(asyncio.gather(*gone), 1.0)

    def _lasting(self) -> bool:
        return any(connection.lasting for connection in self._connections)

    def _usable(self) -> Connection | None:
        return next((connection for connection in self._connections if connection.usable), None)

    def _begin(self, connection: Connection, path: str, timeout: float, largest_message: int) -> Call:
        own = _headers_of_call(path, max(1, round(timeout * 1000)))
        return connection.open(self._headers + own, timeout, largest_message)

    def _give_places(self) -> None:
        """To those that wait, as long as there are any; a connection is made if there may be one more."""
        while self._waiting and (connection := self._usable()):
            place = next(iter(self._waiting))
            begin = self._waiting.pop(place)
            if not place.done():
                place.set_result(begin(connection))
        if not self._waiting or self._closed or (self._attempt is not None and not self._attempt.done()):
            return
        self._connections = [one for one in self._connections if not one.closed.done()]
        loop = asyncio.get_running_loop()
        if len(self._connections) < MOST_CONNECTIONS and (loop.time() >= self._attempt_after or not self._lasting()):
            self._attempt = loop.create_task(self._connect())
            self._attempt.add_done_callback(self._connected)

    async def _connect(self) -> None:
        """A new connection that takes calls. Raises OSError or asyncio.TimeoutError."""
        loop = asyncio.get_running_loop()
        name = self._name if self._tls else None

        async def make() -> Connection:
            _, made = await loop.create_connection(
                lambda: Connection(self._give_places), self._host, self._port, ssl=self._tls, server_hostname=name
            )
            try:
                trouble = await made.greeted
            except asyncio.CancelledError:
                made.close()
                raise
            if trouble is not None or not made.usable:
                made.close()
                raise OSError(trouble or "the server takes no calls")
            return made

        made = await asyncio.wait_for(make(), _CONNECT_TIMEOUT)
        self._connections.append(made)
        if self._closed:  # in this very moment
            made.close()

    def _connected(self, attempt: asyncio.Task[None]) -> None:
        """Who waits while a connection is being made gets a place on it; or fails with it, unless there are others."""
        error = None if attempt.cancelled() else attempt.exception()
        if error is None:  # cancelled by `close`, which has refused them all
            self._give_places()
            return
        late = isinstance(error, asyncio.TimeoutError)
        if not late and self._lasting():  # it is there, and takes no further connection
            self._attempt_after = asyncio.get_running_loop().time() + _NOT_AGAIN_FOR
            self._give_places()
            return
        words = "no answer in time" if late else error
        self._refuse_all(ConnectionFailed(f"failed to connect: {words}"))

    def _expire(self, place: asyncio.Future[Call]) -> None:
        late = CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "no connection in time")
        _refuse(place, NoPlace() if self._lasting() else late)

    def _refuse_all(self, failure: CallFailed) -> None:
        waiting, self._waiting = self._waiting, {}
        for place in waiting:
            _refuse(place, failure)


def _refuse(place: asyncio.Future[Call], failure: CallFailed) -> None:
    if not place.done():
        place.set_exception(failure)


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
