"""Rounds of draft and check: which requests have them, what they ask, and where an answer ends. No Triton."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

drafting = model_module("draft_target", "drafting")
LIMITS = drafting.Limits(context_length=100, vocab_size=50, max_draft_len=4)


def drafted(**tensors: Any) -> Any:
    inputs = {"input_ids": [5, 6, 7], "input_lengths": [3], "request_output_len": [10], **tensors}
    arrays = {name: np.array(value)[np.newaxis] for name, value in inputs.items() if value is not None}
    return drafting.read_drafted(arrays, LIMITS)


def scalar(request: Any, name: str) -> int:
    return int(request[name].item())


@pytest.mark.parametrize(
    "tensors",
    [
        {"input_ids": None},
        {"input_ids": []},
        {"input_lengths": [0]},
        {"input_lengths": [-1]},
        {"input_lengths": [4]},
        {"request_output_len": [0]},
        {
            "input_ids": list(range(2, 48)) * 3,
            "input_lengths": [138],
        },  # no room: TensorRT-LLM says what it thinks of it
        {"stop_words_list": [[1, 2], [5, -1]]},
        {"stop_words_list": [1, 2]},
        {"lookahead_window_size": [1]},
        {"draft_input_ids": [1, 2]},
        {"presence_penalty": [0.1]},
        {"beam_width": [2]},
    ],
)
def test_what_the_target_answers_alone(tensors: dict[str, Any]) -> None:
    assert drafted(**tensors) is None


def test_a_round() -> None:
    request = drafted(end_id=[1], temperature=[0.7], runtime_top_k=[9], embedding_bias=[0.5] * 50, seed=[2**64 - 1])
    asked = request.draft_request()
    assert asked["input_ids"].tolist() == [[5, 6, 7]] and scalar(asked, "request_output_len") == 4
    # The likeliest tokens; what is as long as the target's own vocabulary is kept from the draft model.
    assert scalar(asked, "runtime_top_k") == 1 and not {"temperature", "embedding_bias", "seed"} & asked.keys()
    checked = request.target_request([8, 9, 10])
    assert checked["draft_input_ids"].tolist() == [[8, 9, 10]] and checked["draft_input_ids"].dtype == np.int32
    assert scalar(checked, "request_output_len") == 4 and scalar(checked, "runtime_top_k") == 9
    assert scalar(checked, "seed") == 2**64 - 1 and checked["seed"].dtype == np.uint64
    assert request.take([8, 9, 10], [8, 9, 11]) == [8, 9, 11]
    assert (request.drafted, request.accepted, request.ended) == (3, 2, False)
    following = request.target_request([12])
    assert following["input_ids"].tolist() == [[5, 6, 7, 8, 9, 11]] and scalar(following, "input_lengths") == 6
    assert 0 <= scalar(following, "seed") < 2**64 - 1


def test_drafts_are_no_longer_than_what_is_left() -> None:
    request = drafted(request_output_len=[3])
    assert scalar(request.draft_request(), "request_output_len") == 2
    assert request.take([8, 9], [8, 9, 10, 11]) == [8, 9, 10] and request.ended
    last = drafted(request_output_len=[1])
    assert last.draft_request() is None
    assert scalar(last.target_request([]), "request_output_len") == 1
    assert scalar(drafted().target_request([]), "request_output_len") == 5  # nothing was drafted: as long as a round


def test_padding_of_the_prompt_and_tokens_of_a_longer_vocabulary() -> None:
    request = drafted(input_ids=[5, 6, 7, 0, 0])
    assert request.prompt == [5, 6, 7]
    assert request.usable([8, 49, 50, 9]) == [8, 49]


@pytest.mark.parametrize(
    ("tensors", "checked", "answer"),
    [
        ({"end_id": [9]}, [8, 9, 10], [8, 9]),
        ({"stop_words_list": [[8, 10], [2, -1]]}, [8, 10, 11], [8, 10]),
        ({"stop_words_list": [[7, 8], [2, -1]]}, [8, 10, 11], [8]),
        ({"request_output_len": [2]}, [8, 9, 10], [8, 9]),
        ({}, [], []),  # the target has ended it
    ],
)
def test_where_an_answer_ends(tensors: dict[str, Any], checked: list[int], answer: list[int]) -> None:
    request = drafted(**tensors)
    assert request.take([], checked) == answer
    assert request.ended
