"""Prompts with images and recordings in them, as the pieces that llama.cpp computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from .multimodal import EmbeddingPart, Part, TokenPart


def pieces_of(prompt: np.ndarray, places: Sequence[int], media: Iterable[Sequence[Part]], piece: int) -> deque[Part]:
    """The prompt as parts of which each is computed in one go.

    Args:
        prompt: int32 [n], the tokens alone.
        places: for each medium, how many of the tokens come before it.
        media: the parts of each medium.
        piece: most tokens or embeddings of one part; only those that see each other both ways stay together.
    """
    made: deque[Part] = deque()
    tokens: list[np.ndarray] = []

    def flush() -> None:
        joined = np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int32)
        made.extend(TokenPart(joined[start : start + piece]) for start in range(0, len(joined), piece))
        tokens.clear()

    done = 0
    for place, parts in zip(places, media, strict=True):
        tokens.append(prompt[done:place])
        done = place
        for part in parts:
            if isinstance(part, TokenPart):
                tokens.append(part.tokens)
            else:
                flush()
                made.extend([part] if part.non_causal else _split(part, piece))
    tokens.append(prompt[done:])
    flush()
    return made


def _split(part: EmbeddingPart, piece: int) -> Iterable[EmbeddingPart]:
    """Positions stay relative to the whole: only the last one moves the prompt on."""
    assert part.embeddings is not None
    for start in range(0, part.count, piece):
        end = min(start + piece, part.count)
        yield EmbeddingPart(
            count=end - start,
            positions=part.positions[:, start:end],
            advance=part.advance if end == part.count else 0,
            non_causal=False,
            embeddings=part.embeddings[start:end],
        )
