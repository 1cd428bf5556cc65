"""Responses of every kind: each event and object held against the types of the SDK and of Open Responses, each stream
folded by a client that knows nothing of the server, and what comes of it compared with a later GET."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.response_client import NO_END, SHORT, create, resumed, retrieve, stream
from tests.support.response_fold import fold

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"type": "function", "name": "get_weather", "description": "Weather of a city", "parameters": CITY}
CUSTOM = {"type": "custom", "name": "note", "description": "Takes a note"}
ANSWER = {"type": "json_schema", "name": "answer", "schema": CITY, "strict": True}
GUIDED: dict[str, Any] = {**SHORT, "max_output_tokens": 80}
LONG = {**SHORT, "max_output_tokens": 12, "extra_body": {"seed": 1, "logit_bias": NO_END}}

KINDS: dict[str, dict[str, Any]] = {
    "incomplete text": SHORT,
    "complete text": {
        "model": models.GOOD_CHAT,
        "input": "Say: Hi",
        "temperature": 0,
        "max_output_tokens": 40,
        "instructions": "Be brief.",
    },
    "options": {
        **SHORT,
        "metadata": {"a": "b"},
        "user": "somebody",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "service_tier": "auto",
        "truncation": "auto",
        "top_p": 0.5,
        "text": {"verbosity": "low"},
    },
    "not stored": {**SHORT, "store": False},
    "logprobs": {**SHORT, "include": ["message.output_text.logprobs"], "top_logprobs": 3},
    "json_schema": {**GUIDED, "text": {"format": ANSWER}},
    "function": {**GUIDED, "tools": [FUNCTION], "tool_choice": {"type": "function", "name": "get_weather"}},
    "function cut off": {
        **SHORT,
        "max_output_tokens": 20,
        "tools": [FUNCTION],
        "tool_choice": {"type": "function", "name": "get_weather"},
    },
    "custom": {**GUIDED, "tools": [CUSTOM], "tool_choice": {"type": "custom", "name": "note"}},
    "required": {
        **GUIDED,
        "model": models.GOOD_CHAT,
        "tools": [FUNCTION, CUSTOM],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    },
    "allowed tools": {
        **GUIDED,
        "tools": [FUNCTION, CUSTOM],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "get_weather"}],
        },
    },
    "tools unused": {**SHORT, "tools": [FUNCTION, CUSTOM], "tool_choice": "none"},
    "items of every side": {
        **SHORT,
        "tools": [FUNCTION, CUSTOM],
        "tool_choice": "none",
        "input": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "How is Ulm?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Ulm"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "Rain."},
            {"type": "custom_tool_call", "call_id": "c2", "name": "note", "input": "rain"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "noted"},
        ],
    },
}
TEXT_KINDS = {"incomplete text", "complete text", "options", "not stored", "logprobs", "tools unused"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_its_response(openai_client: openai.OpenAI, kind: str) -> None:
    told, response = stream(openai_client, **KINDS[kind])
    assert [one["type"] for one in told[:2]] == ["response.created", "response.in_progress"]
    assert response["output"], "nothing was shown"
    if kind == "not stored":
        return
    assert retrieve(openai_client, response["id"]) == response
    assert fold(resumed(openai_client, response["id"])) == response


@pytest.mark.parametrize("kind", KINDS)
def test_in_one_piece_it_is_the_same(openai_client: openai.OpenAI, kind: str) -> None:
    response = create(openai_client, **KINDS[kind])
    _, streamed = stream(openai_client, **KINDS[kind])
    changing = ("id", "created_at", "completed_at", "output", "usage")
    assert {name: value for name, value in response.items() if name not in changing} == {
        name: value for name, value in streamed.items() if name not in changing
    }
    assert response["usage"]["total_tokens"] == streamed["usage"]["total_tokens"]
    assert [_said(item) for item in response["output"]] == [_said(item) for item in streamed["output"]]


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("function", ["function_call"]),
        ("function cut off", ["function_call"]),
        ("custom", ["custom_tool_call"]),
        ("allowed tools", ["function_call"]),
        *((kind, ["message"]) for kind in sorted(TEXT_KINDS)),
    ],
)
def test_it_is_of_its_kind(openai_client: openai.OpenAI, kind: str, types: list[str]) -> None:
    response = create(openai_client, **KINDS[kind])
    assert {item["type"] for item in response["output"]} == set(types)
    cut = response["incomplete_details"] is not None
    assert (
        cut
        == (response["status"] == "incomplete")
        == any(item["status"] == "incomplete" for item in response["output"])
    )
    assert cut == (KINDS[kind]["max_output_tokens"] <= 20)


def test_a_long_stream_has_a_delta_for_each_piece(openai_client: openai.OpenAI) -> None:
    told, response = stream(openai_client, **LONG)
    deltas = [one for one in told if one["type"] == "response.output_text.delta"]
    assert response["usage"]["output_tokens"] == 12 and 2 < len(deltas) <= 12


@pytest.mark.parametrize("wanted", [True, False])
def test_deltas_are_padded_where_that_is_asked_for(openai_client: openai.OpenAI, wanted: bool) -> None:
    told, _ = stream(openai_client, **SHORT, stream_options={"include_obfuscation": wanted})
    deltas = [one for one in told if one["type"] == "response.output_text.delta"]
    assert deltas and all(("obfuscation" in one) == wanted for one in deltas)


def test_one_that_failed_before_it_began_was_never_there(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        list(openai_client.responses.create(stream=True, **{**SHORT, "input": "word " * 30000}))
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "input"


def test_background_and_its_stream(openai_client: openai.OpenAI) -> None:
    told, response = stream(openai_client, **SHORT, background=True)
    assert [one["type"] for one in told[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert response["background"] is True
    assert retrieve(openai_client, response["id"]) == response


def _said(item: dict[str, Any]) -> dict[str, Any]:
    """Without what is new each time."""
    return {name: value for name, value in item.items() if name not in ("id", "call_id")}
