"""Recordings as they are handed to the decoder: WAV or MP3, and nothing that a few bytes could blow up.

A megabyte of FLAC may hold hours, and so may a WAV that says one sample a second: what it becomes at the model's rate
is what takes the memory. MP3 has at least 8 kbit/s.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

RATES = range(8_000, 384_001)  # samples per second of a WAV file
_PADDING = b"\0"


def readable_audio(data: bytes) -> bytes | None:
    """The recording without the tags before it; None where it is no WAV or MP3 of the usual kind.

    The decoder tries several formats behind ID3 tags, FLAC among them: it is given none.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        rates = list(_rates(data))
        return data if rates and all(rate in RATES for rate in rates) else None
    place = 0
    while data[place : place + 3] == b"ID3" and len(data) >= place + 10:
        flags = data[place + 5]
        size = 0
        for byte in data[place + 6 : place + 10]:  # seven bits each
            size = size << 7 | byte & 0x7F
        place += size + (20 if flags & 0x10 else 10)  # with a footer, or without
    found = data[place:].lstrip(_PADDING) if place else data
    return found if len(found) > 1 and found[0] == 0xFF and found[1] & 0xE0 == 0xE0 else None


def _rates(data: bytes) -> Iterator[int]:
    """Of every `fmt ` chunk."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"fmt " and place + 16 <= len(data):
            yield struct.unpack_from("<I", data, place + 12)[0]
        place += 8 + size + size % 2
