"""Data URLs (RFC 2397): `data:[<type>/<subtype>][;attribute=value]*[;base64],<data>`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from adapter.media.base64_data import Base64Error, DecodedTooLarge, decode_base64
from adapter.media.medium import MediaError

_LONGEST_TYPE = 256  # characters before the comma
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]+"
_HEAD = re.compile(rf"data:({_TOKEN}/{_TOKEN})?((?:;{_TOKEN}=[^;,\s]*)*)(;base64)?\Z", re.IGNORECASE)
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_IN_A_URL = re.compile(rb"[^\x21-\x7e]")
_SHOWN = "data:image/png;base64,..."


@dataclass(frozen=True)
class DataURL:
    """media_type: as declared, lower-case, without parameters; None if the URL declares none."""

    media_type: str | None
    content: bytes


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def parse_data_url(url: str, limit: int) -> DataURL:
    """Takes a data URL apart.

    Raises:
        MediaError: it is no data URL, or holds more than `limit` bytes.
    """
    head, comma, data = url[: _LONGEST_TYPE + 1].partition(",")
    match = _HEAD.match(head)
    if not comma or match is None:
        raise MediaError(f"is no valid data URL; it has the form {_SHOWN}", "invalid_image_url")
    data = url[len(head) + 1 :]
    try:
        payload = data.encode("ascii")
    except UnicodeEncodeError:
        payload = b" "  # refused right below, as what it is
    if _NOT_IN_A_URL.search(payload):
        raise MediaError(
            "is no valid data URL: its data holds a space, a line break or a character outside of ASCII",
            "invalid_base64_image" if match[3] else "invalid_image_url",
        )
    if b"%" in payload:
        if _STRAY_PERCENT.search(payload):
            raise MediaError("is no valid data URL: a % is not followed by two hexadecimal digits", "invalid_image_url")
        payload = unquote_to_bytes(payload)
    try:
        content = decode_base64(payload, limit) if match[3] else payload
    except Base64Error as error:
        raise MediaError(f"holds no valid base64: {error}", "invalid_base64_image") from error
    except DecodedTooLarge:
        content = payload
    if len(content) > limit:
        raise MediaError(f"holds more than {limit:,} bytes", "image_file_too_large")
    return DataURL(match[1].lower() if match[1] else None, content)
