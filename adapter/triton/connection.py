"""An HTTP/2 connection that carries gRPC calls.

gRPC's own asyncio client hands every message from a polling thread to the event loop, one at a time, for several times
the cost of everything else that happens to a token here (docs/performance.md). This one reads what the socket has, for
all calls at once, on the event loop itself. Calls with one answer are cheaper that way, too.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import grpc
import hpack

from adapter.triton import frames
from adapter.triton.call import LARGEST_MESSAGE, RECEIVE_WINDOW, Call, CallFailed, ConnectionFailed

_CONNECTION_WINDOW = frames.LARGEST_WINDOW  # calls are bounded one by one
_ACKNOWLEDGE_AFTER = 16 << 20  # bytes
_LARGEST_HEADERS = 64 << 10
# TCP's own probes find a machine that vanished: after 20 s of silence, then every 5 s, three times; the same time, in
# milliseconds, is what it has to acknowledge data that was sent.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 35_000))
_RESET_STATUS = {
    frames.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    frames.CANCEL: grpc.StatusCode.CANCELLED,
    frames.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Connection(asyncio.Protocol):
    """A connection; `asyncio.loop.create_connection` makes it. `usable` says whether new calls may be opened."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed = self.loop.create_future()
        self._transport: asyncio.Transport
        self._buffer = b""
        self._calls: dict[int, Call] = {}
        self._next_id = 1
        self._send_window = frames.DEFAULT_WINDOW
        self._peer_window = frames.DEFAULT_WINDOW  # of a new call
        self._peer_frame_size = frames.DEFAULT_FRAME_SIZE
        self._peer_streams = frames.LARGEST_STREAM_ID
        self._unacknowledged = 0
        self._going_away = False
        self._decoder = hpack.Decoder(max_header_list_size=_LARGEST_HEADERS)
        self._header_call: int | None = None  # whose header block is under way
        self._header_ends = False
        self._header_block = b""

    @property
    def usable(self) -> bool:
        return (
            not self._going_away
            and not self.closed.done()
            and len(self._calls) < self._peer_streams
            and self._next_id < frames.LARGEST_STREAM_ID
        )

    def open(self, header_block: bytes, timeout: float, largest_message: int = LARGEST_MESSAGE) -> Call:
        """Begins a call.

        Args:
            header_block: encoded request headers.
            timeout: seconds for the whole call.
            largest_message: bytes of an answer that are taken.
        """
        call = Call(self, self._next_id, self._peer_window, timeout, largest_message)
        self._next_id += 2
        if self.closed.done():  # lost between its being made and its being used
            call.end(ConnectionFailed("socket: the connection was closed"))
            return call
        self._calls[call.id] = call
        self.write(frames.frame(frames.HEADERS, frames.END_HEADERS, call.id, header_block))
        return call

    def close(self) -> None:
        """Ends the connection and every call on it."""
        if not self.closed.done():
            self._transport.close()

    # What calls need.

    def write(self, data: bytes) -> None:
        if not self.closed.done():
            self._transport.write(data)

    def sendable(self, call: Call, wanted: int) -> int:
        """How many bytes of a call the peer takes now, up to a frame."""
        return max(0, min(wanted, self._send_window, call.send_window, self._peer_frame_size))

    def write_data(self, call: Call, data: bytes, last: bool) -> None:
        self._send_window -= len(data)
        call.send_window -= len(data)
        self.write(frames.frame(frames.DATA, frames.END_STREAM if last else 0, call.id, data))

    def reset(self, call: Call) -> None:
        self.write(frames.reset(call.id, frames.CANCEL))

    def forget(self, call: Call) -> None:
        self._calls.pop(call.id, None)
        if self._going_away and not self._calls:
            self.close()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE:
                if hasattr(socket, name):  # not on every system
                    raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        ours = {
            frames.SETTINGS_HEADER_TABLE_SIZE: 0,
            frames.SETTINGS_ENABLE_PUSH: 0,
            frames.SETTINGS_INITIAL_WINDOW_SIZE: RECEIVE_WINDOW,
        }
        grant = frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        self.write(frames.PREFACE + frames.settings(ours) + grant)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        reason = f"the connection was lost ({error})" if error else "the connection was closed"
        for call in list(self._calls.values()):
            call.end(ConnectionFailed(f"socket: {reason}"))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        position, size = 0, len(buffer)
        unpack = frames.FRAME_HEADER.unpack_from
        calls = self._calls
        while size - position >= frames.HEADER_SIZE:
            high, low, kind, flags, stream_id = unpack(buffer, position)
            start = position + frames.HEADER_SIZE
            end = start + (high << 8) + low
            if end > size:
                break
            position = end
            if kind == frames.DATA:
                self._unacknowledged += end - start
                call = calls.get(stream_id & frames.LARGEST_STREAM_ID)
                if call is not None:  # else it was cancelled, and this was under way
                    if flags & frames.PADDED:
                        content = frames.unpadded(buffer[start:end], flags & frames.PADDED)
                        call.skip(end - start - len(content))
                        call.feed(content)
                    else:
                        call.feed(buffer[start:end])
                    if flags & frames.END_STREAM:
                        call.finish({})
            else:
                try:
                    self._control(kind, flags, stream_id & frames.LARGEST_STREAM_ID, buffer[start:end])
                except (ValueError, IndexError, hpack.HPACKError) as error:
                    self._abort(f"the peer broke the protocol: {error}")
                    return
        self._buffer = buffer[position:]
        if self._unacknowledged >= _ACKNOWLEDGE_AFTER:
            self.write(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Every frame but DATA."""
        if self._header_call is not None and kind != frames.CONTINUATION:
            raise ValueError("a header block was not finished")
        if kind == frames.HEADERS:
            self._header_call, self._header_ends = stream_id, bool(flags & frames.END_STREAM)
            self._header_block = frames.unpadded(payload, flags)
            self._headers_so_far(flags)
        elif kind == frames.CONTINUATION:
            if stream_id != self._header_call:
                raise ValueError("a header block goes on on another stream")
            self._header_block += payload
            self._headers_so_far(flags)
        elif kind == frames.WINDOW_UPDATE:
            self._widen(stream_id, frames.uint32(payload))
        elif kind == frames.SETTINGS:
            if not flags & frames.ACK:
                self._apply_settings(payload)
        elif kind == frames.PING:
            if not flags & frames.ACK:
                self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            call = self._calls.get(stream_id)
            if call is not None:
                number = frames.uint32(payload)
                code = _RESET_STATUS.get(number, grpc.StatusCode.INTERNAL)
                call.end(CallFailed(code, f"the peer reset the call (HTTP/2 error {number})"))
        elif kind == frames.GOAWAY:
            self._go_away(frames.uint32(payload))

    def _headers_so_far(self, flags: int) -> None:
        if len(self._header_block) > _LARGEST_HEADERS:
            raise ValueError("headers too large")
        if not flags & frames.END_HEADERS:
            return
        # Decoded for a forgotten call too: the decoder's state is the connection's.
        headers = {_text(name): _text(value) for name, value in self._decoder.decode(self._header_block)}
        call = self._calls.get(self._header_call or 0)
        self._header_call, self._header_block = None, b""
        if call is not None and self._header_ends:
            call.finish(headers)
        elif call is not None and headers.get(":status", "200") != "200":
            call.finish(headers)
            self.reset(call)

    def _apply_settings(self, payload: bytes) -> None:
        for position in range(0, len(payload) - 5, 6):
            key = int.from_bytes(payload[position : position + 2], "big")
            value = int.from_bytes(payload[position + 2 : position + 6], "big")
            if key == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.send_window += value - self._peer_window
                self._peer_window = value
            elif key == frames.SETTINGS_MAX_FRAME_SIZE:
                self._peer_frame_size = value
            elif key == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
                self._peer_streams = value
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._wake_senders()

    def _widen(self, stream_id: int, increment: int) -> None:
        if stream_id == 0:
            self._send_window += increment
            self._wake_senders()
        elif call := self._calls.get(stream_id):
            call.send_window += increment
            call.wake_sender()

    def _wake_senders(self) -> None:
        for call in self._calls.values():
            call.wake_sender()

    def _go_away(self, last_taken: int) -> None:
        """The peer takes no new calls; those it took go on."""
        self._going_away = True
        for call in [call for call in self._calls.values() if call.id > last_taken]:
            call.end(ConnectionFailed("socket: the server is going away"))
        if not self._calls:
            self.close()

    def _abort(self, reason: str) -> None:
        for call in list(self._calls.values()):
            call.end(CallFailed(grpc.StatusCode.INTERNAL, reason))
        self._transport.abort()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
