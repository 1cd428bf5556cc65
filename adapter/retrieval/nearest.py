"""The chunks that are nearest to a question: exact, by the cosine of the angle between vectors of length 1."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from adapter.generation.encoder import Values
from adapter.store.vector_chunks import Place


class Nearest:
    """Looks at pages of chunks and keeps the best. A chunk counts as its best window does, for its best query.

    Args:
        queries: FP32 [queries, dimensions], of length 1.
        most: chunks that are kept.
        threshold: least score, 0 to 1.
    """

    def __init__(self, queries: Values, most: int, threshold: float) -> None:
        self._queries = queries
        self._most = most
        self._threshold = threshold
        self._best: list[tuple[float, Place]] = []  # a heap, the worst first

    def look(self, page: Sequence[tuple[Place, bytes]]) -> None:
        """Args:
        page: chunks, with the vectors of their windows: FP32, little-endian, at least one.
        """
        vectors = np.frombuffer(b"".join(held for _, held in page), "<f4").reshape(-1, self._queries.shape[1])
        width = self._queries.shape[1] * 4
        firsts = np.cumsum([0, *(len(held) // width for _, held in page[:-1])])
        scores = np.maximum.reduceat((vectors @ self._queries.T).max(axis=1), firsts)
        for (place, _), score in zip(page, scores.tolist(), strict=True):
            # Rounding takes a vector's cosine with itself a little over 1.
            score = min(1.0, max(0.0, score))
            if score < self._threshold:
                continue
            if len(self._best) < self._most:
                heapq.heappush(self._best, (score, place))
            else:
                heapq.heappushpop(self._best, (score, place))

    def best(self) -> list[tuple[float, Place]]:
        """The best first."""
        return sorted(self._best, key=lambda found: (-found[0], found[1]))
