"""How well a document answers a query, by a model that reads both at once."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt

from adapter.errors import invalid_request
from adapter.generation.comparison import Comparison, Scores
from adapter.generation.encoder import run_encoder
from adapter.telemetry import metrics
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel
from tokentext.pairs import TokenPair


async def cross_encode(channel: TritonChannel, model: ServedModel, comparison: Comparison, timeout: float) -> Scores:
    """The score of each pair: from 0 to 1 where a sigmoid belongs to the model, else, or if the client does not want
    it, the logit.

    Raises:
        APIError: 400, a pair is too long, or its query leaves no room for a document; or what Triton says.
    """
    pairs = await asyncio.to_thread(
        model.tokenizer.encode_pairs,
        comparison.queries.texts,
        comparison.documents.texts,
        longest=comparison.longest,
        longest_document=comparison.longest_document,
    )
    for index, pair in enumerate(pairs):
        _check_length(model, comparison, index, pair)
    inputs = {"input_ids": [pair.ids for pair in pairs]}
    if "token_type_ids" in model.inputs:
        inputs["token_type_ids"] = [pair.type_ids for pair in pairs]
    logits = await run_encoder(channel, model, inputs, "score", 1, timeout)
    tokens = sum(len(pair.ids) for pair in pairs)
    metrics.PROMPT_TOKENS.labels(model.id).inc(tokens)
    values = logits[:, 0].astype(np.float64)
    if model.score_activation == "sigmoid" and comparison.activation is not False:
        values = _sigmoid(values)
    return Scores(values.tolist(), tokens)


def _check_length(model: ServedModel, comparison: Comparison, index: int, pair: TokenPair) -> None:
    limit = model.context_length
    if comparison.longest is not None:
        limit = min(limit, comparison.longest)
    if len(pair.ids) <= limit:
        return
    if pair.query_tokens >= limit:
        param = comparison.queries.params[comparison.query_of(index)]
        raise invalid_request(
            f"Invalid '{param}': with the special tokens it has {pair.query_tokens} tokens, which leaves no room for a "
            f"document within {limit}. A query is never cut off.",
            param,
            "context_length_exceeded",
        )
    raise invalid_request(
        f"This model's maximum context length is {model.context_length} tokens, however you requested "
        f"{len(pair.ids)} tokens ({pair.query_tokens} in the query and the special tokens, "
        f"{len(pair.ids) - pair.query_tokens} in document {index}). Please reduce them, or have the document cut off "
        "with 'truncate_prompt_tokens'.",
        comparison.documents.params[index],
        "context_length_exceeded",
    )


def _sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    small = np.exp(-np.abs(values))  # never overflows
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
