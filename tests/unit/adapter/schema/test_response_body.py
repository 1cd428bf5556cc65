"""Bodies of the Responses API: what is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.schema.conversations import (
    parse_conversation_create,
    parse_conversation_items_create,
    parse_conversation_update,
)
from adapter.schema.response_items import input_items
from adapter.schema.responses import (
    ResponseRequest,
    parse_compact_request,
    parse_input_tokens_request,
    parse_response_request,
    response_sampling,
)
from tests.unit.adapter.schema.response_bodies import parsed


def test_null_is_the_default() -> None:
    nullable = set(ResponseRequest.model_fields) - {"model", "input"}
    assert len(nullable) > 30
    plain = response_sampling(parsed(), logprobs=False)
    assert (plain.temperature, plain.top_p, plain.max_tokens) == (0.7, 1.0, None)
    whole = parsed(**dict.fromkeys(nullable))
    assert response_sampling(whole, logprobs=False) == plain
    assert whole.stored and not whole.wants_logprobs
    assert (whole.verbosity, whole.reasoning_effort, whole.answer_schema) == ("medium", None, None)
    assert whole.requested_tools == parsed().requested_tools


def test_what_the_engine_is_asked_for() -> None:
    request = parsed(
        temperature=0,
        top_p=0.5,
        max_output_tokens=1,
        top_logprobs=3,
        presence_penalty=1,
        frequency_penalty=-1,
        seed=7,
        stop="x",
        logit_bias={"5": 1},
        top_k=-1,
        min_p=0.1,
        repetition_penalty=1.5,
        min_tokens=2,
        ignore_eos=True,
        bad_words=["y"],
    )
    sampling = response_sampling(request, logprobs=request.wants_logprobs)
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.0, 0.5, 1)
    assert (sampling.logprobs, sampling.top_logprobs) == (True, 3)
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.seed) == (1.0, -1.0, 7)
    assert (sampling.stop, sampling.logit_bias, sampling.top_k, sampling.min_p) == (("x",), {5: 1.0}, 0, 0.1)
    assert (sampling.repetition_penalty, sampling.min_tokens) == (1.5, 2)
    assert (sampling.ignore_eos, sampling.bad_words) == (True, ("y",))
    assert response_sampling(request, logprobs=False).top_logprobs == 0


def test_log_probabilities_without_alternatives() -> None:
    request = parsed(include=["message.output_text.logprobs"])
    assert request.wants_logprobs
    assert response_sampling(request, logprobs=True).top_logprobs == 0


@pytest.mark.parametrize(
    ("text_format", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object", "additionalProperties": True}),
        ({"type": "json_schema", "name": "a"}, {"type": "object", "additionalProperties": True}),
        ({"type": "json_schema", "name": "a", "schema": {"type": "array"}, "strict": True}, {"type": "array"}),
    ],
)
def test_the_schema_of_an_answer(text_format: Any, schema: Any) -> None:
    assert parsed(text={"format": text_format, "verbosity": "low"}).answer_schema == schema
    assert parsed(text={"format": text_format, "verbosity": "low"}).verbosity == "low"


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_in_either_form(conversation: Any) -> None:
    request = parse_response_request({"model": "m", "conversation": conversation, "input": []})
    assert request.conversation_id == "conv_1"
    assert input_items(request.input) == []


def test_bodies_beside() -> None:
    item = {"role": "user", "content": "x"}
    assert parse_conversation_create({}).items is None
    assert parse_conversation_create({"items": [item], "metadata": {"a": "b"}}).metadata == {"a": "b"}
    assert parse_conversation_update({"metadata": None}).metadata is None
    assert parse_conversation_items_create({"items": [item]}).items == [item]
    assert parse_input_tokens_request({"model": "m", "previous_response_id": "resp_1"}).input is None
    assert parse_compact_request({"model": "m", "input": [item]}).input == [item]
