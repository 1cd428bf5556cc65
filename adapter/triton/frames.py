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
PUSH_PROMISE: Final = 0x5
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
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 0x6

PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_SIZE: Final = 16_384
LARGEST_FRAME_SIZE: Final = 2**24 - 1
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM_ID: Final = 2**31 - 1

HEADER_SIZE: Final = 9
# length (24 bits as 16 and 8), type, flags, stream id
FRAME_HEADER: Final = struct.Struct(">HBBBI")
_UINT32: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")


class ProtocolError(Exception):
    """The peer has sent what RFC 9113 does not allow: the connection ends. `code` is the RFC's error code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame; `payload` is at most the peer's largest frame size."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, _UINT32.pack(increment))


def reset(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, _UINT32.pack(code))


def goaway(code: int, reason: str) -> bytes:
    """From a client, to which the peer opens no streams."""
    return frame(GOAWAY, 0, 0, _UINT32.pack(0) + _UINT32.pack(code) + reason.encode()[:256])


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifiers and values, in their order; those that concern what is sent have been checked.

    Raises:
        ProtocolError: a length that is no multiple of 6, or a value that is not allowed.
    """
    if len(payload) % _SETTING.size:
        raise ProtocolError(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    values = list(_SETTING.iter_unpack(payload))
    for key, value in values:
        if key == SETTINGS_INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ProtocolError(FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
        if key == SETTINGS_MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value <= LARGEST_FRAME_SIZE:
            raise ProtocolError(PROTOCOL_ERROR, f"a largest frame of {value} bytes")
    return values


def read_window_update(payload: bytes) -> int:
    """The increment; 0 is an error of the stream or of the connection. Raises ProtocolError."""
    return _only_uint32(payload, "WINDOW_UPDATE") & LARGEST_WINDOW


def read_reset(payload: bytes) -> int:
    """The error code. Raises ProtocolError."""
    return _only_uint32(payload, "RST_STREAM")


def read_goaway(payload: bytes) -> tuple[int, int]:
    """The last stream that the peer may have acted on, and the error code. Raises ProtocolError."""
    if len(payload) < 8:
        raise ProtocolError(FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
    return _UINT32.unpack_from(payload)[0] & LARGEST_STREAM_ID, _UINT32.unpack_from(payload, 4)[0]


def _only_uint32(payload: bytes, kind: str) -> int:
    if len(payload) != _UINT32.size:
        raise ProtocolError(FRAME_SIZE_ERROR, f"{kind} of {len(payload)} bytes")
    number: int = _UINT32.unpack(payload)[0]
    return number


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
        ProtocolError: it is shorter than what its flags say is in it.
    """
    end = len(payload)
    start = 0
    if flags & PADDED:
        if not payload:
            raise ProtocolError(FRAME_SIZE_ERROR, "a padded frame without a padding length")
        end -= payload[0]
        start = 1
    if flags & PRIORITY:  # five bytes that only HEADERS frames carry
        start += 5
    if start > end:
        raise ProtocolError(PROTOCOL_ERROR, "more padding than payload")
    return payload[start:end]
