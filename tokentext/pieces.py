"""What each token contributes to the text, as bytes.

Nearly every chat model's `tokenizer.json` has one of two decoders: byte-level (each character of the token's string
stands for one byte) or SentencePiece's (a meta symbol stands for a space, `<0xNN>` for one byte). For both, the text
of a sequence is the UTF-8 decoding of the tokens' bytes laid end to end, but for what is dropped at the very start.
So a table from id to bytes replaces the call into the tokenizer, and decoding one more token costs one look-up.

Format: the `decoder` object of `tokenizer.json` as the `tokenizers` library writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# `tokenizers` takes an id as an unsigned 32-bit number and raises OverflowError for any other.
ID_LIMIT = 1 << 32

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


def byte_level_alphabet() -> dict[str, int]:
    """GPT-2's reversible alphabet: the character that stands for each of the 256 bytes.

    Printable Latin-1 stands for itself; the other bytes, in order, take the code points from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    alphabet.update({chr(0x100 + offset): byte for offset, byte in enumerate(others)})
    return alphabet


_ALPHABET = byte_level_alphabet()


def byte_level_bytes(token: str) -> bytes:
    """Bytes of a byte-level token; one with a character outside the alphabet (an added token) is plain UTF-8."""
    try:
        return bytes([_ALPHABET[character] for character in token])
    except KeyError:
        return token.encode("utf-8")


class PieceTable(dict[int, bytes]):
    """id -> bytes, filled on first use. An id outside the vocabulary gives b"" and is not stored."""

    def __init__(self, token_of: Callable[[int], str | None], to_bytes: Callable[[str], bytes], hidden: frozenset[int]):
        super().__init__()
        self._token_of = token_of
        self._to_bytes = to_bytes
        self._hidden = hidden

    def __missing__(self, key: int) -> bytes:
        token = self._token_of(int(key)) if 0 <= key < ID_LIMIT else None
        if token is None:
            return b""
        piece = b"" if int(key) in self._hidden else self._to_bytes(token)
        self[int(key)] = piece
        return piece


class PieceRules:
    """How a decoder turns tokens into bytes.

    to_bytes        bytes of a token anywhere but at the start of the sequence
    first_to_bytes  bytes of the first token of a sequence
    strip           a character and how many of it are dropped at the start of the whole text
    """

    __slots__ = ("first_to_bytes", "strip", "to_bytes")

    def __init__(
        self,
        to_bytes: Callable[[str], bytes],
        first_to_bytes: Callable[[str], bytes] | None = None,
        strip: tuple[str, int] = ("", 0),
    ):
        self.to_bytes = to_bytes
        self.first_to_bytes = first_to_bytes or to_bytes
        self.strip = strip


def piece_rules(decoder: Mapping[str, Any] | None) -> PieceRules | None:
    """Rules for the `decoder` object of tokenizer.json, or None when its text is not the sum of its tokens' bytes."""
    if not decoder:
        return None
    steps = list(decoder.get("decoders") or []) if decoder.get("type") == "Sequence" else [decoder]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return PieceRules(byte_level_bytes)
    if kinds == ["Metaspace"]:
        return _metaspace_rules(steps[0])
    return _sentencepiece_rules(steps)


def _metaspace_rules(step: Mapping[str, Any]) -> PieceRules:
    symbol = step.get("replacement") or "\u2581"
    scheme = step.get("prepend_scheme") or ("always" if step.get("add_prefix_space", True) else "never")

    def to_bytes(token: str) -> bytes:
        return token.replace(symbol, " ").encode("utf-8")

    def first_to_bytes(token: str) -> bytes:
        return token.replace(symbol, "").encode("utf-8")

    return PieceRules(to_bytes, to_bytes if scheme == "never" else first_to_bytes)


def _sentencepiece_rules(steps: list[Mapping[str, Any]]) -> PieceRules | None:
    """Replace* ByteFallback? Fuse? Strip? in this order; anything else is not understood here."""
    replacements: list[tuple[str, str]] = []
    byte_fallback = fused = False
    strip = ("", 0)
    for step in steps:
        kind = step.get("type")
        if strip[1]:
            return None
        if kind == "Replace" and not fused and not byte_fallback and "String" in (step.get("pattern") or {}):
            replacements.append((step["pattern"]["String"], step.get("content", "")))
        elif kind == "ByteFallback" and not fused:
            byte_fallback = True
        elif kind == "Fuse":
            fused = True
        elif kind == "Strip" and fused and not step.get("stop"):
            strip = (step.get("content") or " ", int(step.get("start") or 0))
        else:
            return None
    if not fused and not byte_fallback and not replacements:
        return None

    def to_bytes(token: str) -> bytes:
        for old, new in replacements:
            token = token.replace(old, new)
        if byte_fallback and (match := _BYTE_TOKEN.match(token)):
            return bytes([int(match[1], 16)])
        return token.encode("utf-8")

    return PieceRules(to_bytes, strip=strip)
