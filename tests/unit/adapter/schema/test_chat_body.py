"""Bodies of chat completions: what is made of them."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from adapter.generation.media_parts import MediaParts
from adapter.schema.chat import parse_chat_request, sampling_of
from adapter.schema.chat_messages import template_messages

USER = {"role": "user", "content": "Hi"}
BODY = {"model": "m", "messages": [USER]}

NULLABLE = [
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "n",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "parallel_tool_calls",
    "store",
    "service_tier",
    "modalities",
    "audio",
    "prediction",
    "reasoning_effort",
    "verbosity",
    "web_search_options",
]


def test_null_is_the_default() -> None:
    plain = sampling_of(parse_chat_request(BODY))
    assert (plain.temperature, plain.top_p, plain.max_tokens) == (0.7, 1.0, None)
    for name in NULLABLE:
        assert sampling_of(parse_chat_request({**BODY, name: None})) == plain, name
    assert sampling_of(parse_chat_request({**BODY, **dict.fromkeys(NULLABLE)})) == plain


def test_what_the_engine_is_asked_for() -> None:
    sampling = sampling_of(
        parse_chat_request(
            {
                **BODY,
                "temperature": 0,
                "top_p": 1,
                "max_completion_tokens": 5,
                "stop": ["a", "b"],
                "seed": -5,
                "presence_penalty": 1,
                "frequency_penalty": -2,
                "logit_bias": {"0": -100, "50256": 100.0},
                "logprobs": True,
                "top_logprobs": 20,
                "top_k": 40,
                "min_p": 0.1,
                "repetition_penalty": 1.2,
                "min_tokens": 3,
                "ignore_eos": True,
                "bad_words": ["x"],
            }
        )
    )
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.0, 1.0, 5)
    assert (sampling.stop, sampling.seed) == (("a", "b"), -5)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1.0, -2.0)
    assert sampling.logit_bias == {0: -100.0, 50256: 100.0}
    assert (sampling.logprobs, sampling.top_logprobs) == (True, 20)
    assert (sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (40, 0.1, 1.2)
    assert (sampling.min_tokens, sampling.ignore_eos, sampling.bad_words) == (3, True, ("x",))


@pytest.mark.parametrize("stop", ["x", ["x"]])
def test_stop_as_a_string_or_an_array(stop: Any) -> None:
    assert sampling_of(parse_chat_request({**BODY, "stop": stop})).stop == ("x",)
    assert sampling_of(parse_chat_request({**BODY, "stop": []})).stop == ()


@pytest.mark.parametrize(
    "wanted", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "any-thing_1"}}]
)
def test_any_json_object(wanted: dict[str, Any]) -> None:
    schema = parse_chat_request({**BODY, "response_format": wanted}).answer_schema
    assert schema == {"type": "object", "additionalProperties": True}


def test_the_schema_of_an_answer() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}
    assert parse_chat_request({**BODY, "response_format": wanted}).answer_schema == {"type": "array"}


def test_the_text_format_asks_for_nothing() -> None:
    assert parse_chat_request({**BODY, "response_format": {"type": "text"}}).answer_schema is None


def messages(*given: Any) -> list[dict[str, Any]]:
    return template_messages(
        parse_chat_request({"model": "m", "messages": list(given)}).messages, MediaParts(frozenset())
    )


def test_messages_as_templates_take_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert messages(
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "", "name": "bob"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": None, "refusal": "Never."},
        {"role": "assistant", "content": "x", "tool_calls": []},
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "", "name": "bob"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": "Never."},
        {"role": "assistant", "content": "x"},
    ]


@pytest.mark.parametrize("options", [{}, {"exclude_none": True}, {"exclude_unset": True}])
def test_an_answer_of_the_sdk_is_taken_back(options: dict[str, Any]) -> None:
    """As it came from here, dumped in each of the SDK's ways."""
    answer = ChatCompletionMessage.model_validate(
        {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []}
    )
    assert messages(USER, answer.model_dump(**options), USER)[1] == {"role": "assistant", "content": "Hello"}
