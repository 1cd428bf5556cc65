"""HTTP/2 frames and header blocks: the part of RFC 9113 and RFC 7541 that a gRPC client needs."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

SETTINGS_HEADER_TABLE_SIZE: Final = 0x1
SETTINGS_ENABLE_PUSH: Final = 0x2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 0x3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 0x4
SETTINGS_MAX_FRAME_SIZE: Final = 0x5

REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
ENHANCE_YOUR_CALM: Final = 0xB

DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_SIZE: Final = 16_384
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM_ID: Final = 2**31 - 1

HEADER_SIZE: Final = 9
# length (24 bits as 16 and 8), type, flags, stream id
FRAME_HEADER: Final = struct.Struct(">HBBBI")
_UINT32: Final = struct.Struct(">I")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame; `payload` is at most the peer's largest frame size."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, _UINT32.pack(increment))


def reset(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, _UINT32.pack(code))


def uint32(payload: bytes) -> int:
    """The first four bytes as a number without its highest bit, which HTTP/2 reserves."""
    number: int = _UINT32.unpack_from(payload)[0]
    return number & LARGEST_WINDOW


def header_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as literals that are not indexed: no state, so one block serves every request of a connection."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)


def _string(data: bytes) -> bytes:
    """A string literal without Huffman coding, its length as a 7-bit prefix integer (RFC 7541, section 5)."""
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    encoded = bytearray((127,))
    size -= 127
    while size >= 128:
        encoded.append(size % 128 + 128)
        size //= 128
    encoded.append(size)
    return bytes(encoded) + data


def unpadded(payload: bytes, flags: int) -> bytes:
    """The content of a DATA or HEADERS frame.

    Raises:
        ValueError: more padding than payload.
    """
    end = len(payload)
    start = 0
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise ValueError("more padding than payload")
        end -= payload[0]
        start = 1
    if flags & PRIORITY:  # five bytes that only HEADERS frames carry
        start += 5
    return payload[start:end]
