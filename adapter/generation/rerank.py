"""How well texts go together, by an embedding model: the cosine of the angle between their vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapter.generation.embedding import check_rows, embed
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel
from tokentext import TextTokenizer


@dataclass(frozen=True)
class Scores:
    """values: one per pair, from -1 to 1. prompt_tokens: of all texts, each counted once."""

    values: list[float]
    prompt_tokens: int


@dataclass(frozen=True)
class Texts:
    """Texts to compare. params: the places in the request body, for errors. longest: tokens of a text, special ones
    included, beyond which it is cut off because the client asked for it; None: nothing is cut off."""

    texts: Sequence[str]
    params: Sequence[str]
    longest: int | None = None


async def cosines(
    channel: TritonChannel, model: ServedModel, sides: Sequence[Texts], pairs: Sequence[tuple[int, int]], timeout: float
) -> Scores:
    """The cosine of each pair.

    Args:
        pairs: indices into the texts of all sides, laid end to end.

    Raises:
        APIError: 400, a text is too long; or what Triton says.
    """
    rows: list[list[int]] = []
    for side in sides:
        rows += await asyncio.to_thread(_encode, model.tokenizer, side)
    check_rows(model, rows, [param for side in sides for param in side.params])
    result = await embed(channel, model, rows, None, timeout)
    firsts, seconds = np.array(pairs, np.intp).T
    products = np.einsum("ij,ij->i", result.vectors[firsts], result.vectors[seconds])  # vectors have length 1
    return Scores(products.tolist(), result.prompt_tokens)


def _encode(tokenizer: TextTokenizer, side: Texts) -> list[list[int]]:
    rows = tokenizer.encode_batch(side.texts, add_special_tokens=True)
    if side.longest is None or all(len(row) <= side.longest for row in rows):
        return rows
    # The special tokens at the end (`[SEP]`, `</s>`) stay: the model was trained with them.
    tail = 0
    longest = max(rows, key=len)
    while tail < len(longest) and longest[-1 - tail] in tokenizer.special_ids:
        tail += 1
    limit = side.longest
    return [row if len(row) <= limit else row[: max(0, limit - tail)] + row[len(row) - tail :] for row in rows]
