"""The other end of an HTTP/2 connection, frame by frame, as a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from adapter.triton import frames


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def read_frames(data: bytes) -> Iterator[Frame]:
    """Those that are there in full, without the client's preface."""
    position = len(frames.PREFACE) if data.startswith(frames.PREFACE) else 0
    while len(data) - position >= frames.HEADER_SIZE:
        high, low, kind, flags, stream_id = frames.FRAME_HEADER.unpack_from(data, position)
        position += frames.HEADER_SIZE + (high << 8) + low
        yield Frame(kind, flags, stream_id, data[position - (high << 8) - low : position])


class Transport(asyncio.Transport):
    """Takes what is written; a `stuffed` one as one whose peer does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.stuffed = 0
        self.ended = ""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.stuffed

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def sent(self, kind: int) -> list[Frame]:
        return [one for one in read_frames(self.written) if one.kind == kind]


class Peer:
    """A server's end of one connection over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    async def frames(self) -> AsyncIterator[Frame]:
        """What the client sends, until it leaves."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._reader.readexactly(len(frames.PREFACE))
            while True:
                header = await self._reader.readexactly(frames.HEADER_SIZE)
                high, low, kind, flags, stream_id = frames.FRAME_HEADER.unpack(header)
                yield Frame(kind, flags, stream_id, await self._reader.readexactly((high << 8) + low))

    def answer(self, stream_id: int, *messages: bytes) -> None:
        """A whole answer: headers, messages, status OK."""
        self.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, frames.header_block(OK)))
        for message in messages:
            self.send(frames.frame(frames.DATA, 0, stream_id, b"\x00" + len(message).to_bytes(4, "big") + message))
        self.send(trailers(stream_id, (b"grpc-status", b"0")))


OK = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def trailers(stream_id: int, *headers: tuple[bytes, bytes]) -> bytes:
    """In as many frames as it takes."""
    block = frames.header_block(headers)
    parts = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
    kinds = [(frames.HEADERS, frames.END_STREAM)] + [(frames.CONTINUATION, 0)] * (len(parts) - 1)
    return b"".join(
        frames.frame(kind, flags | (frames.END_HEADERS if part is parts[-1] else 0), stream_id, part)
        for (kind, flags), part in zip(kinds, parts, strict=True)
    )


@asynccontextmanager
async def listening(behaviour: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[int]:
    """Does `behaviour` on every connection; yields the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await behaviour(Peer(reader, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
