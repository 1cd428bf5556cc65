"""Data URLs (RFC 2397): `data:[<type>/<subtype>][;attribute=value]*[;base64],<data>`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from adapter.media.base64_data import Base64Error, DecodedTooLarge, decode_base64
from adapter.media.medium import MediaError

_LONGEST_TYPE = 256  # characters before the comma
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]+"
_HEAD = re.compile(rf"data:({_TOKEN}/{_TOKEN})?((?:;{_TOKEN}=[^;,\s]*)*)(;base64)?\Z", re.IGNORECASE)
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_IN_A_URL = re.compile(rb"[^\x21-\x7e]")
_SHOWN = {"image": "data:image/png;base64,...", "file": "data:application/pdf;base64,..."}
TOO_LARGE = {"image": "image_file_too_large", "file": "file_too_large"}
"""Codes of content with too many bytes."""

Kind = Literal["image", "file"]


@dataclass(frozen=True)
class DataURL:
    """media_type: as declared, lower-case, without parameters; None if the URL declares none."""

    media_type: str | None
    content: bytes


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def parse_data_url(url: str, limit: int, kind: Kind = "image") -> DataURL:
    """Takes a data URL apart.

    Args:
        kind: what it is to hold, for the codes of errors.

    Raises:
        MediaError: it is no data URL, or holds more than `limit` bytes.
    """
    head, comma, data = url[: _LONGEST_TYPE + 1].partition(",")
    match = _HEAD.match(head)
    if not comma or match is None:
        raise MediaError(f"is no valid data URL; it has the form {_SHOWN[kind]}", f"invalid_{kind}_url")
    data = url[len(head) + 1 :]
    try:
        payload = data.encode("ascii")
    except UnicodeEncodeError:
        payload = b" "  # refused right below, as what it is
    if _NOT_IN_A_URL.search(payload):
        raise MediaError(
            "is no valid data URL: its data holds a space, a line break or a character outside of ASCII",
            f"invalid_base64_{kind}" if match[3] else f"invalid_{kind}_url",
        )
    if b"%" in payload:
        if _STRAY_PERCENT.search(payload):
            raise MediaError(
                "is no valid data URL: a % is not followed by two hexadecimal digits", f"invalid_{kind}_url"
            )
        payload = unquote_to_bytes(payload)
    try:
        content = decode_base64(payload, limit) if match[3] else payload
    except Base64Error as error:
        raise MediaError(f"holds no valid base64: {error}", f"invalid_base64_{kind}") from error
    except DecodedTooLarge:
        content = payload
    if len(content) > limit:
        raise MediaError(f"holds more than {limit:,} bytes", TOO_LARGE[kind])
    return DataURL(match[1].lower() if match[1] else None, content)
