"""An HTTP/2 connection that carries gRPC calls.

gRPC's own asyncio client hands every message from a polling thread to the event loop, one at a time, for several times
the cost of everything else that happens to a token here (docs/performance.md). This one reads what the socket has, for
all calls at once, on the event loop itself. Calls with one answer are cheaper that way, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import grpc

from adapter.triton import frames
from adapter.triton.call import LARGEST_MESSAGE, RECEIVE_WINDOW, Call, CallFailed, ConnectionFailed, NotProcessed
from adapter.triton.header_blocks import LARGEST_LIST, HeaderBlocks
from adapter.triton.keepalive import KeepAlive

_CONNECTION_WINDOW = frames.LARGEST_WINDOW  # calls are bounded one by one
_ACKNOWLEDGE_AFTER = 16 << 20  # bytes
_LARGEST_FRAME = 64 << 10  # bytes that are sent at once, however much more the peer would take
# Bytes that wait to be sent while the peer reads nothing. Requests stop at some 64 KiB; what grows on is the frames
# that open and end calls, or answer the peer's own.
_MOST_UNSENT = 1 << 20
_LINGER = 1.0  # seconds for the last word to a peer that broke the protocol
# TCP's own probes find a machine that vanished: after 20 s of silence, then every 5 s, three times; the same time, in
# milliseconds, is what it has to acknowledge data that was sent.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 35_000))
_PING = b"tritongt"
_OF_THE_CONNECTION = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_RESET_STATUS = {
    frames.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    frames.CANCEL: grpc.StatusCode.CANCELLED,
    frames.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Connection(asyncio.Protocol):
    """A connection; `asyncio.loop.create_connection` makes it.

    Args:
        on_room: called when there may be room for a new call where there was none before.

    Attributes:
        greeted: resolves to None when the peer's settings are known, or to what went wrong before.
        closed: resolves when the socket is closed.
    """

    def __init__(self, on_room: Callable[[], None] = lambda: None) -> None:
        self.loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[str | None] = self.loop.create_future()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._on_room = on_room
        self._transport: asyncio.Transport
        self._buffer = b""
        self._calls: dict[int, Call] = {}
        self._next_id = 1
        self._send_window = frames.DEFAULT_WINDOW
        self._peer_window = frames.DEFAULT_WINDOW  # of a new call
        self._peer_frame_size = frames.DEFAULT_FRAME_SIZE
        self._peer_streams = frames.LARGEST_STREAM_ID
        self._unacknowledged = 0
        self._unread = False  # the transport holds more than it should: the peer reads too slowly
        self._refused_at = frames.LARGEST_STREAM_ID  # calls that the peer had when it refused one more
        self._going_away = False
        self._broken = ""  # why nothing more is read or written
        self._header_blocks = HeaderBlocks()
        self._header_stream = 0  # whose header block is under way, or was the last one
        self._header_ends = False
        self._keepalive = KeepAlive(self._ping, self._give_up)

    @property
    def usable(self) -> bool:
        """Whether a new call may be opened."""
        return len(self._calls) < min(self._peer_streams, self._refused_at) and self.lasting

    @property
    def lasting(self) -> bool:
        """Whether new calls may be opened now, or when others have ended."""
        return (
            not self._going_away
            and not self._broken
            and not self.closed.done()
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
        if self._broken or self.closed.done():  # lost between its being made and its being used
            call.end(ConnectionFailed(f"socket: {self._broken or 'the connection was closed'}"))
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
        if self._broken or self.closed.done():
            return
        self._transport.write(data)
        if self._unread and self._transport.get_write_buffer_size() > _MOST_UNSENT:
            self._give_up("the peer does not read what it is sent")

    def sendable(self, call: Call, wanted: int) -> int:
        """How many bytes of a call the peer takes now, up to a frame."""
        if self._unread:
            return 0
        return max(0, min(wanted, self._send_window, call.send_window, self._peer_frame_size))

    def write_data(self, call: Call, data: bytes, last: bool) -> None:
        self._send_window -= len(data)
        call.send_window -= len(data)
        self.write(frames.frame(frames.DATA, frames.END_STREAM if last else 0, call.id, data))

    def reset(self, call: Call, code: int = frames.CANCEL) -> None:
        self.write(frames.reset(call.id, code))

    def forget(self, call: Call) -> None:
        self._calls.pop(call.id, None)
        if len(self._calls) < self._refused_at:  # it may be a limit, or a moment's: it is asked again
            self._refused_at = frames.LARGEST_STREAM_ID
        if self._going_away and not self._calls:
            self.close()
        self._on_room()

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
            frames.SETTINGS_MAX_HEADER_LIST_SIZE: LARGEST_LIST,
        }
        grant = frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        self.write(frames.PREFACE + frames.settings(ours) + grant)
        self._keepalive.start(self.loop, lambda: self._calls)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._keepalive.stop()
        self._end_calls(f"the connection was lost ({error})" if error else "the connection was closed")

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self._wake_senders()

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            self._take(self._buffer + data if self._buffer else data)
        except frames.ProtocolError as error:
            self._abort(error)
            return
        if self._unacknowledged >= _ACKNOWLEDGE_AFTER:
            self.write(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0

    def _take(self, buffer: bytes) -> None:
        """Every frame that is there in full. Raises ProtocolError."""
        position, size = 0, len(buffer)
        unpack = frames.FRAME_HEADER.unpack_from
        calls = self._calls
        keepalive = self._keepalive
        keepalive.heard = True
        while size - position >= frames.HEADER_SIZE:
            high, low, kind, flags, stream_id = unpack(buffer, position)
            length = (high << 8) + low
            if length > frames.DEFAULT_FRAME_SIZE:  # no other was announced
                raise frames.ProtocolError(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + frames.HEADER_SIZE
            end = start + length
            if end > size:
                break
            position = end
            if kind == frames.DATA:
                self._unacknowledged += length
                keepalive.answered = True
                call = calls.get(stream_id & frames.LARGEST_STREAM_ID)
                if call is None:  # it was cancelled, and this was under way
                    self._call_of(stream_id & frames.LARGEST_STREAM_ID)
                    continue
                if flags & frames.PADDED:
                    content = frames.unpadded(buffer[start:end], flags & frames.PADDED)
                    call.skip(length - len(content))
                    call.feed(content)
                else:
                    call.feed(buffer[start:end])
                if flags & frames.END_STREAM:
                    call.finish({})
            else:
                self._control(kind, flags, stream_id & frames.LARGEST_STREAM_ID, buffer[start:end])
                if self._broken:  # by what was written in answer
                    return
        self._buffer = buffer[position:]

    def _call_of(self, stream_id: int) -> Call | None:
        """None: it has ended here. Raises ProtocolError: there never was one."""
        call = self._calls.get(stream_id)
        if call is None and (stream_id % 2 == 0 or stream_id >= self._next_id):
            raise frames.ProtocolError(frames.PROTOCOL_ERROR, f"a frame for stream {stream_id}, which was not opened")
        return call

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Every frame but DATA. Raises ProtocolError."""
        if self._header_blocks.under_way and (kind != frames.CONTINUATION or stream_id != self._header_stream):
            raise frames.ProtocolError(frames.PROTOCOL_ERROR, "a header block was not finished")
        if kind in _OF_THE_CONNECTION and stream_id:
            raise frames.ProtocolError(frames.PROTOCOL_ERROR, f"a frame of type {kind} for stream {stream_id}")
        if kind == frames.HEADERS:
            self._keepalive.answered = True
            self._header_stream, self._header_ends = stream_id, bool(flags & frames.END_STREAM)
            self._header_blocks.begin(frames.unpadded(payload, flags))
            if flags & frames.END_HEADERS:
                self._take_headers()
        elif kind == frames.CONTINUATION:
            if not self._header_blocks.under_way:
                raise frames.ProtocolError(frames.PROTOCOL_ERROR, "a header block goes on that was not begun")
            self._header_blocks.go_on(payload)
            if flags & frames.END_HEADERS:
                self._take_headers()
        elif kind == frames.WINDOW_UPDATE:
            self._widen(stream_id, frames.read_window_update(payload))
        elif kind == frames.SETTINGS:
            self._take_settings(flags, payload)
        elif kind == frames.PING:
            self._take_ping(flags, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(stream_id, frames.read_reset(payload))
        elif kind == frames.GOAWAY:
            self._go_away(*frames.read_goaway(payload))
        elif kind == frames.PUSH_PROMISE:
            raise frames.ProtocolError(frames.PROTOCOL_ERROR, "a push, which was not allowed")

    def _take_headers(self) -> None:
        headers = self._header_blocks.end()
        call = self._call_of(self._header_stream)
        if call is None:
            return
        call.answered = True
        if headers is None:
            call.break_off(grpc.StatusCode.RESOURCE_EXHAUSTED, f"headers of more than {LARGEST_LIST} bytes")
        elif self._header_ends:
            call.finish(headers)
        elif headers.get(":status", "200") != "200":
            call.finish(headers)
            self.reset(call)

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise frames.ProtocolError(frames.FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")
            return
        for key, value in frames.read_settings(payload):
            if key == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.send_window = _widened(call.send_window, value - self._peer_window)
                self._peer_window = value
            elif key == frames.SETTINGS_MAX_FRAME_SIZE:
                self._peer_frame_size = min(value, _LARGEST_FRAME)
            elif key == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
                self._peer_streams = value
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._wake_senders()
        self._on_room()

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != len(_PING):
            raise frames.ProtocolError(frames.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if not flags & frames.ACK:
            self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _PING:
            self._keepalive.acknowledged()

    def _take_reset(self, stream_id: int, number: int) -> None:
        call = self._call_of(stream_id)
        if call is None:
            return
        words = f"the peer reset the call (HTTP/2 error {number})"
        if number == frames.REFUSED_STREAM and not call.answered:
            self._refused_at = max(1, len(self._calls) - 1)
            call.end(NotProcessed(words))
        else:
            call.end(CallFailed(_RESET_STATUS.get(number, grpc.StatusCode.INTERNAL), words))

    def _widen(self, stream_id: int, increment: int) -> None:
        if stream_id == 0:
            if not increment:
                raise frames.ProtocolError(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._send_window = _widened(self._send_window, increment)
            self._wake_senders()
        elif call := self._call_of(stream_id):
            if not 0 < increment <= frames.LARGEST_WINDOW - call.send_window:
                code = frames.FLOW_CONTROL_ERROR if increment else frames.PROTOCOL_ERROR
                call.break_off(grpc.StatusCode.INTERNAL, "the peer broke its window's limits", code)
                return
            call.send_window += increment
            call.wake_sender()

    def _wake_senders(self) -> None:
        for call in self._calls.values():
            call.wake_sender()

    def _go_away(self, last_taken: int, code: int) -> None:
        """The peer takes no new calls; those it took go on."""
        self._going_away = True
        words = f"the server is going away (HTTP/2 error {code})"
        for call in [call for call in self._calls.values() if call.id > last_taken]:
            call.end(ConnectionFailed(f"socket: {words}") if call.answered else NotProcessed(words))
        if not self._calls:
            self.close()

    # The connection's end.

    def _ping(self) -> None:
        self.write(frames.frame(frames.PING, 0, 0, _PING))

    def _abort(self, error: frames.ProtocolError) -> None:
        """The peer hears why, if it still listens."""
        self.write(frames.goaway(error.code, str(error)))
        self._end_calls(f"the peer broke the protocol: {error}")
        self._transport.close()
        self.loop.call_later(_LINGER, self._transport.abort)

    def _give_up(self, reason: str) -> None:
        self._end_calls(reason)
        self._transport.abort()

    def _end_calls(self, reason: str) -> None:
        self._broken = self._broken or reason
        if not self.greeted.done():
            self.greeted.set_result(self._broken)
        for call in list(self._calls.values()):
            call.end(ConnectionFailed(f"socket: {self._broken}"))
        self._on_room()


def _widened(window: int, by: int) -> int:
    """A window after a change. Raises ProtocolError."""
    if window + by > frames.LARGEST_WINDOW:
        raise frames.ProtocolError(frames.FLOW_CONTROL_ERROR, f"a window of {window + by} bytes")
    return window + by
