"""Content that clients keep for this server: they cannot read it, change it, or use it with another key.

Text: `v1.` and URL-safe base64 (RFC 4648, section 5, without padding) of 12 random bytes, then AES-256-GCM's ciphertext
with its tag. What is encrypted is one byte that says how it is packed (0: as it is; 1: zlib), and the content. The
associated data are the version, the owner and the kind, each with its length before it.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = "v1"
_PREFIX = _VERSION + "."
_NONCE = 12
_TAG = 16
_PLAIN, _ZLIB = b"\0", b"\1"
MOST_BYTES = 64 << 20
"""Of content: more is neither sealed nor opened."""


class SealBroken(Exception):
    """The text was not sealed here, for this owner, as this kind."""


class Sealer:
    """Args:
    secret: 32 bytes; what one secret has sealed, no other opens.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError(f"a secret of 32 bytes is needed, and this one has {len(secret)}")
        self._cipher = AESGCM(secret)

    def seal(self, owner: str, kind: str, payload: bytes | str) -> str:
        """Args:
            owner: id of an API key. kind: what the content is, so that one kind is not taken for another.

        Raises:
            ValueError: the payload has more than `MOST_BYTES`.
        """
        content = payload.encode() if isinstance(payload, str) else payload
        if len(content) > MOST_BYTES:
            raise ValueError(f"the content has more than {MOST_BYTES} bytes")
        packed = zlib.compress(content, 6)
        plain = _ZLIB + packed if len(packed) < len(content) else _PLAIN + content
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, plain, _bound(owner, kind))
        return _PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, owner: str, kind: str, text: str) -> bytes:
        """Raises SealBroken, which does not tell what is wrong."""
        if not text.startswith(_PREFIX):
            raise SealBroken
        encoded = text[len(_PREFIX) :]
        try:
            sealed = base64.b64decode(encoded.encode("ascii") + b"=" * (-len(encoded) % 4), b"-_", validate=True)
            if len(sealed) < _NONCE + _TAG + 1:
                raise SealBroken
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(owner, kind))
        except (UnicodeEncodeError, binascii.Error, InvalidTag) as error:
            raise SealBroken from error
        return _unpacked(plain[:1], plain[1:])


def _bound(owner: str, kind: str) -> bytes:
    pieces = [piece.encode() for piece in (_VERSION, owner, kind)]
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)


def _unpacked(form: bytes, packed: bytes) -> bytes:
    if form == _PLAIN:
        return packed
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, MOST_BYTES + 1)
    except zlib.error as error:
        raise SealBroken from error
    if form != _ZLIB or not unpacking.eof or unpacking.unused_data or len(content) > MOST_BYTES:
        raise SealBroken
    return content
