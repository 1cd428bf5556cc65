"""Rows of token ids through a model's encoder: batches for Triton's dynamic batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel

# Padded tokens of one request to Triton: keeps the largest message and the encoder's memory bounded.
_BATCH_TOKENS = 16384
# Requests of one call under way at the same time: enough to fill the batcher, and others still get their turn.
_CONCURRENT_BATCHES = 4

Values = npt.NDArray[np.float32]
Rows = Sequence[Sequence[int]]


async def run_encoder(
    channel: TritonChannel, model: ServedModel, inputs: Mapping[str, Rows], output: str, width: int, timeout: float
) -> Values:
    """FP32 [rows, width], in the order of the rows.

    Args:
        inputs: by name of the tensor; `input_ids` is one of them, and the others' rows have the lengths of its rows.
            `attention_mask` is added.
        output: name of the tensor, and `width` its length.
    Raises:
        APIError: what Triton says; 502, an answer that is none.
    """
    rows = inputs["input_ids"]
    values = np.empty((len(rows), width), np.float32)

    async def run(batch: list[int]) -> None:
        response = await channel.infer(_request(model, inputs, batch, output), timeout)
        values[batch] = _values(response, len(batch), width)

    batches = _batches(rows, model.max_batch_size)
    if len(batches) == 1:  # as of most requests: a task of its own would cost more than it does
        await run(batches[0])
        return values
    room = asyncio.Semaphore(_CONCURRENT_BATCHES)

    async def run_in_turn(batch: list[int]) -> None:
        async with room:
            await run(batch)

    tasks = [asyncio.ensure_future(run_in_turn(batch)) for batch in batches]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # after an error, or when the client has left
            task.cancel()
    return values


def _batches(rows: Rows, largest: int) -> list[list[int]]:
    """Indices of rows that go to Triton together: of like length, so that little is padded."""
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


def _request(model: ServedModel, inputs: Mapping[str, Rows], batch: list[int], output: str) -> pb.ModelInferRequest:
    """INT64 [n, longest]: the rows padded with 0, and the mask that says which of them count."""
    shape = (len(batch), len(inputs["input_ids"][batch[0]]))
    mask = np.zeros(shape, "<i8")
    tensors = {"attention_mask": mask}
    for name, rows in inputs.items():
        tensors[name] = padded = np.zeros(shape, "<i8")
        for position, index in enumerate(batch):
            row = rows[index]
            padded[position, : len(row)] = row
            mask[position, : len(row)] = 1
    request = pb.ModelInferRequest(model_name=model.triton_name)
    for name, values in tensors.items():
        request.inputs.add(name=name, datatype="INT64", shape=shape)
        request.raw_input_contents.append(values.tobytes())
    request.outputs.add(name=output)
    return request


def _values(response: pb.ModelInferResponse, rows: int, width: int) -> Values:
    values = np.frombuffer(response.raw_output_contents[0], "<f4")
    if values.size != rows * width or not np.isfinite(values).all():
        raise APIError(502, "The model returned no usable numbers.", type="server_error", code="model_error")
    return values.reshape(rows, width)
