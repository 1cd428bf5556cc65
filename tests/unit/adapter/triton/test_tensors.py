"""Tensors of a request, held against tritonclient's own encoding."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.utils import np_to_triton_dtype

from adapter.triton.tensors import RequestBuilder


def made(builder: RequestBuilder) -> tuple[bytes, bytes]:
    (tensor,), (raw,) = builder.message.inputs, builder.message.raw_input_contents
    return tensor.SerializeToString(), raw


def by_tritonclient(values: Any, dtype: Any, batched: bool) -> tuple[bytes, bytes]:
    data = np.array(values, dtype)
    if batched:
        data = data[np.newaxis]
    tensor = InferInput("x", list(data.shape), np_to_triton_dtype(data.dtype))
    tensor.set_data_from_numpy(data)
    return tensor._get_tensor().SerializeToString(), tensor._get_content()


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ([[5]], [[5], [1]]),
        ([[5, 6, 7]], [[5, 6, 7], [3, -1, -1]]),
        ([[5], [6, 7], [8, 9, 10]], [[5, 6, 7, 8, 9, 10], [1, 3, 6, -1, -1, -1]]),
    ],
)
def test_word_lists(words: list[list[int]], rows: list[list[int]], batched: bool) -> None:
    """TensorRT-LLM's form: the tokens end to end, and where each word ends, filled up with -1."""
    builder = RequestBuilder("m", "1", batched=batched)
    builder.word_list("x", words)
    assert made(builder) == by_tritonclient(rows, np.int32, batched)


@pytest.mark.parametrize("text", ["", "plain", "é日😀", "a\x00b", "x" * 100_000])
def test_strings(text: str) -> None:
    builder = RequestBuilder("m", "1", batched=False)
    builder.string("x", text)
    assert made(builder) == by_tritonclient([text.encode()], np.object_, False)


@pytest.mark.parametrize(
    ("method", "value", "dtype"),
    [
        ("int32", -(2**31), np.int32),
        ("int32", 2**31 - 1, np.int32),
        ("uint64", 2**64 - 1, np.uint64),
        ("fp32", 0.1, np.float32),
        ("fp32", -0.0, np.float32),
        ("boolean", False, np.bool_),
    ],
)
def test_numbers(method: str, value: Any, dtype: Any) -> None:
    builder = RequestBuilder("m", "1", batched=True)
    getattr(builder, method)("x", value)
    assert made(builder) == by_tritonclient([value], dtype, True)


def test_rows_may_be_empty() -> None:
    builder = RequestBuilder("m", "1", batched=False)
    builder.int32s("x", [])
    assert made(builder) == by_tritonclient([], np.int32, False)


def test_rows() -> None:
    builder = RequestBuilder("m", "1", batched=False)
    builder.fp32s("x", array("f", [0.1, -1e4]))
    assert made(builder) == by_tritonclient([0.1, -1e4], np.float32, False)
