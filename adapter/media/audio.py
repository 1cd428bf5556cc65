"""An audio clip of a client: is it what it is said to be, and how long does it play?

A small file can play for hours (8 kbit/s of MP3, or a WAV file that claims one sample a second), and engines decode all
of it to 16 kHz. So the duration is worked out from the headers, before an engine has it.
"""

from __future__ import annotations

import struct
from typing import Literal

from adapter.media.base64_data import Base64Error, DecodedTooLarge, decode_base64
from adapter.media.medium import MediaError
from adapter.media.sniff import sniff_audio

AudioFormat = Literal["wav", "mp3"]

# Format tags of `fmt ` chunks: PCM, IEEE float, A-law, mu-law, and "see the sub-format", which begins with a tag.
_PLAIN_WAV = frozenset({1, 3, 6, 7})
_EXTENSIBLE_WAV = 0xFFFE

# ISO/IEC 11172-3 and 13818-3, layer III: kbit/s by index, for MPEG 1 and for MPEG 2 and 2.5; MPEG 1's sample rates.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44100, 48000, 32000)


def decode_audio(data: str, format: AudioFormat, most_bytes: int, most_seconds: float) -> bytes:
    """The file that `data` (base64) holds, whose content is `format`.

    Raises:
        MediaError: it is not that, or too large, or too long.
    """
    try:
        content = decode_base64(data.encode("ascii", "replace"), most_bytes)
    except Base64Error as error:
        hint = " (the data goes here without data:...;base64,)" if data.startswith("data:") else ""
        raise MediaError(f"is no valid base64: {error}{hint}", "invalid_base64_audio") from error
    except DecodedTooLarge:
        raise MediaError(f"holds more than {most_bytes:,} bytes", "audio_file_too_large") from None
    if not content:
        raise MediaError("is empty", "empty_audio_file")
    found = sniff_audio(content)
    if found != format:
        what = f"is of the format {found}" if found else "is no audio of a known format"
        raise MediaError(f"{what}, while `format` says {format}", "invalid_audio_format")
    seconds = _wav_seconds(content) if found == "wav" else _mp3_seconds(content, most_seconds)
    if seconds > most_seconds:
        raise MediaError(f"plays for more than {most_seconds:g} seconds", "audio_too_long")
    if not seconds:
        raise MediaError("holds no sound", "empty_audio_file")
    return content


def _wav_seconds(content: bytes) -> float:
    """From the chunks of a RIFF WAVE file. The last one may claim more than there is (a recorder that was cut off)."""
    rate = bytes_a_second = 0
    at = 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        at += 8
        if name == b"fmt ":
            if size < 16 or at + size > len(content):
                break
            tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", content, at)
            if tag == _EXTENSIBLE_WAV and size >= 26:
                (tag,) = struct.unpack_from("<H", content, at + 24)
            if tag not in _PLAIN_WAV:
                raise MediaError("is compressed in a way that is not taken: WAV files hold PCM", "invalid_audio_format")
            # Worked out here: the field that holds it is not what decoders go by.
            bytes_a_second = rate * channels * (bits // 8)
        elif name == b"data" and bytes_a_second:
            return min(size, len(content) - at) / bytes_a_second
        at += size + size % 2
    raise MediaError("is broken: a WAV file has a `fmt ` chunk and then a `data` chunk", "audio_parse_error")


def _mp3_seconds(content: bytes, enough: float) -> float:
    """The sum of the frames' durations; ends early beyond `enough`."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:  # the size has seven bits in a byte
        a, b, c, d = (byte & 0x7F for byte in content[at + 6 : at + 10])
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if content[at + 5] & 0x10 else 0)
    seconds, frames = 0.0, 0
    while at + 4 <= len(content) and seconds <= enough:
        frame = _mp3_frame(content, at)
        if frame is None:
            # Players skip what is no frame, up to the next sync.
            at = content.find(b"\xff", at + 1)
            if at < 0:
                break
            continue
        size, duration = frame
        at, seconds, frames = at + size, seconds + duration, frames + 1
    if not frames:
        raise MediaError("is broken: no MP3 frame can be found", "audio_parse_error")
    return seconds


def _mp3_frame(content: bytes, at: int) -> tuple[int, float] | None:
    """Size in bytes and duration in seconds of the layer III frame at `at`; None if there is none."""
    if content[at] != 0xFF or content[at + 1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = content[at + 1] >> 3 & 3, content[at + 2] >> 4, content[at + 2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:  # reserved, free format, reserved
        return None
    first = version == 3
    samples = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    kbits = (_KBITS_1 if first else _KBITS_2)[bitrate]
    size = (144_000 if first else 72_000) * kbits // samples + (content[at + 2] >> 1 & 1)
    return size, (1152 if first else 576) / samples
