"""Texts or token ids in, vectors out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapter.errors import invalid_request
from adapter.generation.encoder import Values, run_encoder
from adapter.telemetry import metrics
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel

# Characters that are tokenized at once, within some 0.5 ms; for more a thread is worth its cost, and streams go on.
_SHORT_INPUT = 2000


@dataclass(frozen=True)
class Embeddings:
    """vectors: FP32 [inputs, dimensions], of length 1, in the order of the inputs. prompt_tokens: over all inputs."""

    vectors: Values
    prompt_tokens: int


async def token_inputs(model: ServedModel, inputs: list[str] | list[list[int]], *, single: bool) -> list[list[int]]:
    """The token ids of each input.

    Args:
        single: whether the request's `input` is the one input itself, not a list of inputs.

    Raises:
        APIError: 400, an input is too long, has no token, or an id that is none; `param` names it.
    """
    rows = await _rows(model, inputs)
    check_rows(model, rows, ["input"] if single else [f"input[{index}]" for index in range(len(rows))])
    return rows


async def _rows(model: ServedModel, inputs: list[str] | list[list[int]]) -> list[list[int]]:
    if not isinstance(inputs[0], str):
        return inputs
    texts: list[str] = inputs
    if sum(map(len, texts)) <= _SHORT_INPUT:
        return model.tokenizer.encode_batch(texts, add_special_tokens=True)
    return await asyncio.to_thread(model.tokenizer.encode_batch, texts, add_special_tokens=True)


def check_rows(model: ServedModel, rows: Sequence[list[int]], params: Sequence[str]) -> None:
    """Whether the model takes these token ids. `params` name the inputs.

    Raises:
        APIError: 400, an input is too long, has no token, or an id that is none; `param` names it.
    """
    for index, (row, param) in enumerate(zip(rows, params, strict=True)):
        if not row:
            raise invalid_request(f"Invalid '{param}': it has no tokens.", param, "invalid_value")
        if len(row) > model.context_length:
            raise invalid_request(
                f"This model's maximum context length is {model.context_length} tokens, however you requested "
                f"{len(row)} tokens in input {index}. Please reduce it.",
                param,
                "context_length_exceeded",
            )
        if max(row) >= model.tokenizer.vocab_size:
            raise invalid_request(
                f"Invalid '{param}': {max(row)} is no token of this model, which has "
                f"{model.tokenizer.vocab_size} tokens.",
                param,
                "invalid_value",
            )


async def embed(
    channel: TritonChannel, model: ServedModel, rows: Sequence[list[int]], dimensions: int | None, timeout: float
) -> Embeddings:
    """The vectors of token ids.

    Raises:
        APIError: 400, `dimensions` is not possible with this model; or what Triton says.
    """
    _check_dimensions(model, dimensions)
    vectors = await run_encoder(channel, model, {"input_ids": rows}, "sentence_embedding", model.dimensions, timeout)
    if dimensions is not None and dimensions < model.dimensions:
        vectors = vectors[:, :dimensions]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    tokens = sum(len(row) for row in rows)
    metrics.PROMPT_TOKENS.labels(model.id).inc(tokens)
    return Embeddings(vectors, tokens)


def _check_dimensions(model: ServedModel, dimensions: int | None) -> None:
    if dimensions is None or dimensions == model.dimensions:
        return
    if dimensions > model.dimensions:
        reason = f"the vectors of `{model.id}` have {model.dimensions} dimensions"
    elif model.matryoshka:
        return
    else:
        reason = f"`{model.id}` was not trained for shortened vectors: its vectors have {model.dimensions} dimensions"
    raise invalid_request(f"Invalid 'dimensions': {reason}.", "dimensions", "invalid_value")
