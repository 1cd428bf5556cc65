"""What an engine's response holds, read from messages that tritonclient's protobuf makes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import serialize_byte_tensor

from adapter.triton.stream import EngineStep, parse_step


def response(**tensors: Any) -> pb.ModelInferResponse:
    """As it comes off the wire; values are numpy arrays."""
    message = pb.ModelInferResponse(model_name="engine", id="1")
    for name, values in tensors.items():
        if values.dtype == np.object_:
            datatype, raw = "BYTES", serialize_byte_tensor(values).item() if values.size else b""
        else:
            datatype = {"int32": "INT32", "float32": "FP32"}[values.dtype.name]
            raw = values.tobytes()
        message.outputs.add(name=name, datatype=datatype, shape=values.shape)
        message.raw_output_contents.append(raw)
    return pb.ModelInferResponse.FromString(message.SerializeToString())


def ids(*values: int) -> Any:
    return np.array([[values]], np.int32)  # TensorRT-LLM: [batch, beams, tokens]


def floats(*values: float) -> Any:
    return np.array([[values]], np.float32)


def test_one_token() -> None:
    assert parse_step(response(output_ids=ids(50000), sequence_length=np.array([[1]], np.int32))) == EngineStep([50000])


def test_several_tokens() -> None:
    assert parse_step(response(output_ids=ids(1, 0, 2**31 - 1))) == EngineStep([1, 0, 2**31 - 1])


@pytest.mark.parametrize(("padded", "tokens"), [((-1,), []), ((5, -1), [5]), ((5, 6, -1, -1), [5, 6]), ((), [])])
def test_padding(padded: tuple[int, ...], tokens: list[int]) -> None:
    assert parse_step(response(output_ids=ids(*padded))).ids == tokens


def test_nothing() -> None:
    assert parse_step(pb.ModelInferResponse()) == EngineStep([])


def test_unknown_tensors_are_passed_over() -> None:
    step = parse_step(response(cum_log_probs=floats(1.0), output_ids=ids(3), batch_index=np.array([0], np.int32)))
    assert step == EngineStep([3])


def test_log_probabilities() -> None:
    step = parse_step(response(output_ids=ids(3, 4), output_log_probs=floats(-0.5, -np.inf)))
    assert step.log_probs == [-0.5, -np.inf]
    assert step.top is None


@pytest.mark.parametrize("batch", [(), (1,), (1, 1)])
def test_alternatives(batch: tuple[int, ...]) -> None:
    """-1 fills a position that has fewer."""
    top_ids = np.array([[3, 4, 5], [6, -1, -1]], np.int32).reshape(*batch, 2, 3)
    top_values = np.array([[-0.5, -1.0, -2.0], [-0.25, 0.0, 0.0]], np.float32).reshape(*batch, 2, 3)
    for order in (("top_token_ids", "top_log_probs"), ("top_log_probs", "top_token_ids")):
        tensors = {"top_token_ids": top_ids, "top_log_probs": top_values}
        step = parse_step(response(output_ids=ids(3, 6), **{name: tensors[name] for name in order}))
        assert step.top == [[(3, -0.5), (4, -1.0), (5, -2.0)], [(6, -0.25)]]


def test_alternatives_of_no_token() -> None:
    empty = np.zeros((0, 3), np.int32)
    step = parse_step(response(output_ids=ids(), top_token_ids=empty, top_log_probs=empty.astype(np.float32)))
    assert step.ids == [] and not step.top


@pytest.mark.parametrize(("reason", "found"), [("stop", "stop"), ("length", "length"), ("", None)])
def test_finish_reason(reason: str, found: str | None) -> None:
    step = parse_step(response(output_ids=ids(), finish_reason=np.array([reason.encode()], np.object_)))
    assert step == EngineStep([], finish_reason=found)


def test_no_finish_reason_yet() -> None:
    assert parse_step(response(finish_reason=np.array([], np.object_))).finish_reason is None


@pytest.mark.parametrize(("cached", "found"), [([0], 0), ([12], 12), ([], None)])
def test_cached_tokens(cached: list[int], found: int | None) -> None:
    assert parse_step(response(output_ids=ids(1), cached_tokens=np.array(cached, np.int32))).cached_tokens == found


def test_tensors_are_little_endian() -> None:
    message = pb.ModelInferResponse()
    message.outputs.add(name="output_ids", datatype="INT32", shape=[2])
    message.raw_output_contents.append(struct.pack("<2i", 1, 256))
    assert parse_step(message).ids == [1, 256]


def test_log_probabilities_of_the_prompt() -> None:
    values, tops = np.array([0.0, -0.5], np.float32), np.array([[-1, -1], [3, 4]], np.int32)
    scored = response(
        output_ids=ids(),
        prompt_log_probs=values,
        prompt_top_token_ids=tops,
        prompt_top_log_probs=np.array([[0.0, 0.0], [-0.5, -1.0]], np.float32),
    )
    assert parse_step(scored) == EngineStep([], prompt_log_probs=[0.0, -0.5], prompt_top=[[], [(3, -0.5), (4, -1.0)]])
    assert parse_step(response(output_ids=ids(5), prompt_log_probs=np.zeros(0, np.float32))) == EngineStep([5])
