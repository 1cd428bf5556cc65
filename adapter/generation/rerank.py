"""How well texts go together, by a cross-encoder or by an embedding model's cosines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from adapter.errors import invalid_request
from adapter.generation.comparison import Comparison, Scores
from adapter.generation.cross_encoder import cross_encode
from adapter.generation.embedding import check_rows, embed
from adapter.triton.channel import TritonChannel
from adapter.triton.model import Kind, ServedModel
from tokentext import TextTokenizer


async def score(channel: TritonChannel, model: ServedModel, comparison: Comparison, timeout: float) -> Scores:
    """The score of each document with its query.

    Raises:
        APIError: 400, a text is too long, or an activation is asked for where there is none; or what Triton says.
    """
    if model.kind is Kind.RERANKER:
        return await cross_encode(channel, model, comparison, timeout)
    if comparison.activation is not None:
        raise invalid_request(
            f"'use_activation' is not supported by `{model.id}`: the scores of an embedding model are cosines.",
            "use_activation",
            "unsupported_parameter",
        )
    return await _cosines(channel, model, comparison, timeout)


async def _cosines(channel: TritonChannel, model: ServedModel, comparison: Comparison, timeout: float) -> Scores:
    """The cosine of the angle between the vectors of each pair, from -1 to 1; each text is counted once."""
    queries, documents = comparison.queries, comparison.documents
    limits = [limit for limit in (comparison.longest, comparison.longest_document) if limit is not None]
    rows = await asyncio.to_thread(_encode, model.tokenizer, queries.texts, comparison.longest)
    rows += await asyncio.to_thread(_encode, model.tokenizer, documents.texts, min(limits, default=None))
    check_rows(model, rows, [*queries.params, *documents.params])
    result = await embed(channel, model, rows, None, timeout)
    firsts = result.vectors[[comparison.query_of(index) for index in range(comparison.count)]]
    seconds = result.vectors[len(queries.texts) :]
    return Scores(np.einsum("ij,ij->i", firsts, seconds).tolist(), result.prompt_tokens)  # vectors have length 1


def _encode(tokenizer: TextTokenizer, texts: Sequence[str], limit: int | None) -> list[list[int]]:
    rows = tokenizer.encode_batch(texts, add_special_tokens=True)
    if limit is None or all(len(row) <= limit for row in rows):
        return rows
    # The special tokens at the end (`[SEP]`, `</s>`) stay: the model was trained with them.
    tail = 0
    longest = max(rows, key=len)
    while tail < len(longest) and longest[-1 - tail] in tokenizer.special_ids:
        tail += 1
    return [row if len(row) <= limit else row[: max(0, limit - tail)] + row[len(row) - tail :] for row in rows]
