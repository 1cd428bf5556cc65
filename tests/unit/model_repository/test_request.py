from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

request = model_module("llama_cpp", "request")
LIMITS = request.Limits(context_length=20, vocab_size=100, end_ids=(2, 3))


def read(**tensors: Any) -> Any:
    made = {"input_ids": [5, 6, 7], "request_output_len": 4} | tensors
    arrays = {name: np.array(value) for name, value in made.items() if value is not None}
    return request.read_request({name: array[np.newaxis] for name, array in arrays.items()}, LIMITS)


def test_defaults_are_those_of_tensorrt_llm() -> None:
    made = read()
    assert made.prompt.tolist() == [5, 6, 7]
    assert made.sampling.temperature == 0.0  # nothing set: the likeliest token
    assert made.end_ids == {2, 3}
    assert not made.streaming
    assert made.exclude_input
    assert read(temperature=0.5).sampling.temperature == 0.5
    assert read(runtime_top_p=0.5).sampling.temperature == 1.0
    assert read(runtime_top_p=-1.0).sampling.top_p == 1.0
    assert read(seed=np.uint64(2**64 - 1)).sampling.seed == 2**64 - 1


def test_end_ids() -> None:
    assert read(end_id=50).end_ids == {50}
    assert read(end_id=-1).end_ids == {2, 3}
    assert read(end_id=50, ignore_eos=True).end_ids == frozenset()
    assert read(ignore_eos=True, stop_token_ids=[8]).stop_ids == {8}


def test_prompt_is_cut_to_its_length() -> None:
    assert read(input_lengths=2).prompt.tolist() == [5, 6]
    assert read(input_ids=[5, 6, -1], input_lengths=2).prompt.tolist() == [5, 6]  # padding may be anything


def test_an_answer_may_be_empty_where_the_prompt_is_scored() -> None:
    assert read(request_output_len=0, return_prompt_log_probs=True).output_length == 0
    for more in ({}, {"return_prompt_log_probs": False}):
        with pytest.raises(request.RequestError, match="request_output_len: must be from 1"):
            read(request_output_len=0, **more)


def test_cache_scope() -> None:
    assert read().cache_scope == b""
    assert read(cache_scope=np.array([b"a"], dtype=object)).cache_scope == b"a"
    assert read(cache_scope=np.array(["ä" * 512], dtype=object)).cache_scope == "ä".encode() * 512
    with pytest.raises(request.RequestError, match="cache_scope: at most 1024 bytes, not 1026"):
        read(cache_scope=np.array(["ä" * 513], dtype=object))
    with pytest.raises(request.RequestError, match="cache_scope: must be UTF-8"):
        read(cache_scope=np.array([b"\xff"], dtype=object))


def test_context_may_be_filled_to_the_last_token() -> None:
    assert read(request_output_len=17).output_length == 17
    with pytest.raises(request.RequestError, match=r"request_output_len: .* exceed the 20 tokens"):
        read(request_output_len=18)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"input_ids": None}, "input_ids: at least one"),
        ({"input_ids": [1, 100]}, "input_ids: token ids"),
        ({"request_output_len": None}, "request_output_len: is needed"),
        ({"request_output_len": -3}, "request_output_len: must be"),
        ({"request_output_len": [1, 2]}, "request_output_len: one value"),
        ({"temperature": np.inf}, "temperature"),
        ({"guided_decoding_guide": b"x"}, "guided_decoding_guide: needs"),
        ({"guided_decoding_guide_type": b"\xff"}, "guided_decoding_guide_type: must be UTF-8"),
        ({"frequency_penalty": np.nan}, "frequency_penalty"),
        ({"min_p": 1.01}, "min_p"),
        ({"min_tokens": 5}, "min_tokens: must be from 0 to 4"),
    ],
)
def test_refusals_name_the_tensor(tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(request.RequestError, match=message):
        read(**tensors)
