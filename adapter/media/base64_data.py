"""Base64 (RFC 4648, section 4) as it stands in requests."""

from __future__ import annotations

import base64
import binascii
import re

_ALPHABET = re.compile(rb"[A-Za-z0-9+/]*={0,2}\Z")


class Base64Error(Exception):
    """Not base64; the message says why."""


class DecodedTooLarge(Exception):
    """More bytes than are taken; nothing was decoded."""


def decode_base64(text: bytes, limit: int) -> bytes:
    """The bytes that `text` stands for. Takes the standard alphabet with its padding, and nothing between.

    Raises:
        Base64Error, DecodedTooLarge: `text` does not stand for up to `limit` bytes.
    """
    if len(text) // 4 * 3 - text[-2:].count(b"=") > limit:
        raise DecodedTooLarge
    if not _ALPHABET.match(text):
        raise Base64Error("there is a character that does not belong to it (A-Z a-z 0-9 + / and = at the end)")
    if len(text) % 4:
        raise Base64Error("its length is no multiple of four: it is cut off, or lacks its padding")
    try:
        return base64.b64decode(text)
    except binascii.Error as error:
        raise Base64Error("its padding is wrong") from error
