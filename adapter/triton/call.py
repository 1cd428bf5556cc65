"""One gRPC call on an HTTP/2 stream: a request goes out, one message or many come in, a status ends it.

Format: "gRPC over HTTP/2" of the gRPC project: each message has a prefix of one byte (compressed or not) and its length
in four; the status comes in trailers.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import grpc

from adapter.triton import frames

if TYPE_CHECKING:
    from adapter.triton.connection import Connection

# Bytes that may arrive on a call before they are read: a token is some 100 to 200, so this is a thousand of them.
RECEIVE_WINDOW = 256 << 10
LARGEST_MESSAGE = 64 << 20  # bytes, unless who opens the call expects more
_PREFIX = 5
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallFailed(Exception):
    """The call ended with another status than OK. `code` is gRPC's, `details` the peer's words."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class ConnectionFailed(CallFailed):
    """UNAVAILABLE, and not by the peer's word: there is no connection to it, or the one there was has been lost."""

    def __init__(self, details: str) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, details)


class NotProcessed(CallFailed):
    """UNAVAILABLE, and the peer has done nothing of the request: it is safe to send it anew (RFC 9113, section 8.7)."""

    def __init__(self, details: str) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, details)


class NoPlace(CallFailed):
    """DEADLINE_EXCEEDED before anything was sent: the connections are full, which says nothing against the peer."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.DEADLINE_EXCEEDED, "no place on a connection in time")


class Call:
    """Made by `Connection.open`. Everything happens on the event loop of the connection.

    Attributes:
        ended: nothing more will come.
        failure: what it ended with; None: with status OK, or it has not.
        answered: the peer has begun to answer; the connection sets it.
        on_end: called once, with the failure or None, when the call ends, however it ends.
    """

    __slots__ = (
        "_allowed_ahead",
        "_connection",
        "_credit",
        "_largest",
        "_messages",
        "_needed",
        "_partial",
        "_room",
        "_sent",
        "_timer",
        "_waiter",
        "_window",
        "answered",
        "ended",
        "failure",
        "id",
        "on_end",
        "send_window",
    )

    def __init__(
        self, connection: Connection, stream_id: int, send_window: int, timeout: float, largest_message: int
    ) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.ended = False
        self.failure: CallFailed | None = None
        self.answered = False
        self.on_end: Callable[[CallFailed | None], None] | None = None
        self._connection = connection
        self._largest = largest_message
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()  # of a message that has not arrived in full
        self._needed = 0  # how long `_partial` gets
        self._allowed_ahead = False  # whether the rest of that message was allowed before anything of it is read
        self._window = RECEIVE_WINDOW  # bytes that may arrive now
        self._credit = 0  # bytes that were read and may arrive anew; negative: allowed ahead of their being read
        self._sent = False
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._timer = connection.loop.call_later(timeout, self._expire)

    async def send(self, message: bytes) -> None:
        """Sends the one request and half-closes. Waits while the peer's flow control windows are full."""
        data = struct.pack(">BI", 0, len(message)) + message
        position = 0
        while not self.ended:
            size = self._connection.sendable(self, len(data) - position)
            if size:
                last = position + size == len(data)
                self._connection.write_data(self, data[position : position + size], last)
                if last:
                    self._sent = True
                    return
                position += size
            else:
                self._room = self._connection.loop.create_future()
                await self._room

    async def read(self) -> bytes | None:
        """The next message; None after the last. Does not give way to other tasks while messages are waiting.

        Raises:
            CallFailed: the call ended with an error; messages that came before it have been handed out.
        """
        messages = self._messages
        while not messages:
            if self.ended:
                if self.failure is not None:
                    raise self.failure
                return None
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        message = messages.popleft()
        self._credit += len(message) + _PREFIX
        if self._credit >= RECEIVE_WINDOW // 2 and not self.ended:
            self._allow(self._credit)
            self._credit = 0
        if self._partial and not self.ended:
            self._allow_ahead()
        return message

    async def read_only(self) -> bytes:
        """The one message of a call that has one answer, once its status is known to be OK.

        Raises:
            CallFailed: as `read`; INTERNAL, there is no message, or more than one.
        """
        message = await self.read()
        if message is None:
            raise CallFailed(grpc.StatusCode.INTERNAL, "no answer")
        if await self.read() is not None:
            self.cancel()
            raise CallFailed(grpc.StatusCode.INTERNAL, "more than one answer")
        return message

    @property
    def waiting(self) -> bool:
        """Whether the next `read` finds a message that is there already."""
        return bool(self._messages)

    def cancel(self) -> None:
        """Ends the call at once; harmless when it has ended."""
        self.break_off(grpc.StatusCode.CANCELLED, "cancelled here")

    def feed(self, data: bytes) -> None:
        """The content of a DATA frame."""
        self._window -= len(data)
        if self._window < 0:
            words = "more than its window allows"
            self.break_off(grpc.StatusCode.RESOURCE_EXHAUSTED, words, frames.FLOW_CONTROL_ERROR)
            return
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return
            data, self._partial = bytes(self._partial), bytearray()
        position = 0
        size = len(data)
        while size - position >= _PREFIX:
            end = position + _PREFIX + int.from_bytes(data[position + 1 : position + _PREFIX], "big")
            if end > size:
                break
            if data[position]:
                self.break_off(grpc.StatusCode.INTERNAL, "a compressed message, which was not asked for")
                return
            self._messages.append(data[position + _PREFIX : end])
            self._allowed_ahead = False
            position = end
        if position < size:
            self._keep_partial(data[position:])
        if self._messages:
            self._wake()

    def skip(self, size: int) -> None:
        """Padding: it took room in the window, and nobody reads it."""
        self._window -= size
        self._credit += size

    def finish(self, trailers: dict[str, str]) -> None:
        """The peer has ended the call; its status is in the trailers."""
        if self.ended:
            return
        if not self._sent:  # it did not want to hear all of the request
            self._connection.reset(self)
        status = trailers.get("grpc-status", "")
        if status == "0" and self._partial:
            self.end(CallFailed(grpc.StatusCode.INTERNAL, "the last message is incomplete"))
        elif status == "0":
            self.end(None)
        elif status.isdigit():
            code = _CODES.get(int(status), grpc.StatusCode.UNKNOWN)
            self.end(CallFailed(code, unquote(trailers.get("grpc-message", ""))))
        else:
            self.end(CallFailed(grpc.StatusCode.UNAVAILABLE, f"no gRPC status (HTTP {trailers.get(':status', '?')})"))

    def end(self, failure: CallFailed | None) -> None:
        """Nothing more will come."""
        if self.ended:
            return
        self.ended = True
        self.failure = failure
        self._timer.cancel()
        self._connection.forget(self)
        self._wake()
        self.wake_sender()
        if self.on_end is not None:
            self.on_end(failure)

    def break_off(self, code: grpc.StatusCode, details: str, error: int = frames.CANCEL) -> None:
        """Ends the call from here; `error` is HTTP/2's code for it."""
        if not self.ended:
            self._connection.reset(self, error)
            self.end(CallFailed(code, details))

    def wake_sender(self) -> None:
        """The windows have changed."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _keep_partial(self, data: bytes) -> None:
        self._partial = bytearray(data)
        if len(data) < _PREFIX:
            self._needed = _PREFIX
            return
        length = int.from_bytes(data[1:_PREFIX], "big")
        self._needed = _PREFIX + length
        if length > self._largest:
            self.break_off(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message of {length} bytes")
            return
        self._allow_ahead()

    def _allow_ahead(self) -> None:
        """A message that would not fit into the window is allowed at once, if nothing before it is unread."""
        if self._needed > RECEIVE_WINDOW // 2 and not self._messages and not self._allowed_ahead:
            self._allow(self._needed)
            self._credit -= self._needed
            self._allowed_ahead = True

    def _allow(self, size: int) -> None:
        self._window += size
        self._connection.write(frames.window_update(self.id, size))

    def _expire(self) -> None:
        self.break_off(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
