"""Texts or token ids in, vectors out: batches for Triton's dynamic batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError, invalid_request
from adapter.telemetry import metrics
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel

# Padded tokens of one request to Triton: keeps the largest message and the encoder's memory bounded.
_BATCH_TOKENS = 16384
# Requests of one call under way at the same time: enough to fill the batcher, and others still get their turn.
_CONCURRENT_BATCHES = 4

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embeddings:
    """vectors: FP32 [inputs, dimensions], of length 1, in the order of the inputs. prompt_tokens: over all inputs."""

    vectors: Vectors
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
    vectors = np.empty((len(rows), model.dimensions), np.float32)
    room = asyncio.Semaphore(_CONCURRENT_BATCHES)

    async def run(batch: list[int]) -> None:
        async with room:
            response = await channel.infer(_request(model, [rows[index] for index in batch]), timeout)
            vectors[batch] = _vectors(response, len(batch), model.dimensions)

    tasks = [asyncio.ensure_future(run(batch)) for batch in _batches(rows, model.max_batch_size)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # after an error, or when the client has left
            task.cancel()
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


def _batches(rows: Sequence[list[int]], largest: int) -> list[list[int]]:
    """Indices of inputs that go to Triton together: of like length, so that little is padded."""
    batches: list[list[int]] = []
    batch: list[int] = []
    # The longest first: it decides the width of its batch.
    for index in sorted(range(len(rows)), key=lambda index: -len(rows[index])):
        if batch and (len(batch) == largest or (len(batch) + 1) * len(rows[batch[0]]) > _BATCH_TOKENS):
            batches.append(batch)
            batch = []
        batch.append(index)
    batches.append(batch)
    return batches


def _request(model: ServedModel, rows: list[list[int]]) -> pb.ModelInferRequest:
    """INT64 [n, longest]: ids padded with 0, and the mask that says which of them count."""
    width = len(rows[0])
    ids = np.zeros((len(rows), width), "<i8")
    mask = np.zeros((len(rows), width), "<i8")
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
        mask[position, : len(row)] = 1
    request = pb.ModelInferRequest(model_name=model.triton_name)
    for name, values in (("input_ids", ids), ("attention_mask", mask)):
        request.inputs.add(name=name, datatype="INT64", shape=values.shape)
        request.raw_input_contents.append(values.tobytes())
    request.outputs.add(name="sentence_embedding")
    return request


def _vectors(response: pb.ModelInferResponse, rows: int, dimensions: int) -> Vectors:
    values = np.frombuffer(response.raw_output_contents[0], "<f4")
    if values.size != rows * dimensions or not np.isfinite(values).all():
        raise APIError(502, "The model returned no usable vectors.", type="server_error", code="model_error")
    return values.reshape(rows, dimensions)
