"""Media that were encoded before: a conversation sends the same image with every turn, and encoding takes seconds."""

from __future__ import annotations

from collections import OrderedDict

from .multimodal import EmbeddingPart, Part

MAX_BYTES = 256_000_000  # of embeddings

Key = tuple[bytes, bytes]


class MediaCache:
    """Parts by (cache scope, digest of the file); the longest unused go first. Used by one thread."""

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._parts: OrderedDict[Key, list[Part]] = OrderedDict()

    def get(self, key: Key) -> list[Part] | None:
        parts = self._parts.get(key)
        if parts is not None:
            self._parts.move_to_end(key)
        return parts

    def put(self, key: Key, parts: list[Part]) -> None:
        """Takes encoded parts that are not there yet; they must not be changed afterwards."""
        self._parts[key] = parts
        self._bytes += _size(parts)
        while self._bytes > self._most_bytes:
            _, removed = self._parts.popitem(last=False)
            self._bytes -= _size(removed)


def _size(parts: list[Part]) -> int:
    return sum(
        part.embeddings.nbytes for part in parts if isinstance(part, EmbeddingPart) and part.embeddings is not None
    )
