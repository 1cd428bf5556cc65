"""Bad bodies of chat completions, and what is said about each."""

from __future__ import annotations

import json
import resource
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.generation.media_parts import MediaParts
from adapter.schema.body import parse_json
from adapter.schema.chat import parse_chat_request, sampling_of
from adapter.schema.chat_messages import template_messages

USER = {"role": "user", "content": "Hi"}
BODY = {"model": "m", "messages": [USER]}


def refused(body: dict[str, Any]) -> APIError:
    with pytest.raises(APIError) as caught:
        request = parse_chat_request(body)
        template_messages(request.messages, MediaParts(frozenset()))
        sampling_of(request)
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    json.loads(error.body())
    return error


def with_part(part: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": "user", "content": [part]}]}


def with_call(call: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "tool_calls": [call]}]}


def schema(inner: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


STRING_OR_ARRAY = "one of a string or array"
ROLES = "'developer', 'system', 'user', 'assistant', 'tool', and 'function'"
DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

# Changes to a good body, and the error: param, code, message. The words are those of OpenAI's API.
CASES: list[tuple[dict[str, Any], str, str | None, str]] = [
    # Missing.
    ({"messages": ...}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
    ({"model": ...}, "model", "missing_required_parameter", "Missing required parameter: 'model'."),
    ({"model": ..., "zzz": 1, "messages": ["x"]}, "model", "missing_required_parameter", "Missing required"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter", "'messages[0].role'"),
    ({"messages": [USER, {"role": "user"}]}, "messages[1].content", "missing_required_parameter", "[1].content'"),
    (with_part({}), "messages[1].content[0].type", "missing_required_parameter", "'messages[1].content[0].type'"),
    (with_part({"type": "text"}), "messages[1].content[0].text", "missing_required_parameter", "content[0].text'"),
    ({"messages": [{"role": "tool", "content": ""}]}, "messages[0].tool_call_id", "missing_required_parameter", ""),
    (with_call({}), "messages[0].tool_calls[0].type", "missing_required_parameter", "tool_calls[0].type'"),
    (with_call({"type": "function"}), "messages[0].tool_calls[0].id", "missing_required_parameter", "[0].id'"),
    ({"response_format": {}}, "response_format.type", "missing_required_parameter", "'response_format.type'"),
    (schema({}), "response_format.json_schema.name", "missing_required_parameter", "json_schema.name'"),
    # Unknown.
    ({"zzz": 1}, "zzz", "unknown_parameter", "Unknown parameter: 'zzz'."),
    ({"zzz": 1, "audio": {}, "temperature": "x"}, "audio", "unsupported_parameter", "'audio'"),
    ({"zzz": 1, "temperature": "x", "messages": ["x"]}, "zzz", "unknown_parameter", "Unknown parameter: 'zzz'."),
    ({"messages": [{**USER, "zzz": 1}]}, "messages[0].zzz", "unknown_parameter", "'messages[0].zzz'"),
    ({"messages": [{**USER, "tool_calls": []}]}, "messages[0].tool_calls", "unknown_parameter", ""),
    (with_part({"type": "text", "text": "a", "zzz": 1}), "messages[1].content[0].zzz", "unknown_parameter", "zzz'"),
    (with_part({"type": "refusal", "refusal": "a", "z": 1}), "messages[1].content[0].z", "unknown_parameter", ""),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}, "zzz": 1}},
        "response_format.zzz",
        "unknown_parameter",
        "'response_format.zzz'",
    ),
    (schema({"name": "a", "zzz": 1}), "response_format.json_schema.zzz", "unknown_parameter", "json_schema.zzz'"),
    (schema({"name": "a", "schema_": {}}), "response_format.json_schema.schema_", "unknown_parameter", "schema_'"),
    ({"stream": True, "stream_options": {"zzz": 1}}, "stream_options.zzz", "unknown_parameter", ""),
    # Of another type.
    (
        {"temperature": "hot"},
        "temperature",
        "invalid_type",
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
    ),
    ({"temperature": True}, "temperature", "invalid_type", "a decimal, but got a boolean"),
    (
        {"seed": 1.5},
        "seed",
        "invalid_type",
        "Invalid type for 'seed': expected an integer, but got a decimal number instead.",
    ),
    ({"max_tokens": "5"}, "max_tokens", "invalid_type", "an integer, but got a string"),
    ({"max_tokens": True}, "max_tokens", "invalid_type", "an integer, but got a boolean"),
    ({"logprobs": 1}, "logprobs", "invalid_type", "a boolean, but got an integer"),
    ({"stream": "yes"}, "stream", "invalid_type", "a boolean, but got a string"),
    ({"stream": True, "stream_options": []}, "stream_options", "invalid_type", "an object, but got an array"),
    ({"user": {"a": 1}}, "user", "invalid_type", "a string, but got an object"),
    ({"model": None}, "model", "invalid_type", "a string, but got null"),
    ({"messages": "Hi"}, "messages", "invalid_type", "an array, but got a string"),
    ({"messages": None}, "messages", "invalid_type", "an array, but got null"),
    ({"messages": ["Hi"]}, "messages[0]", "invalid_type", "an object, but got a string"),
    ({"messages": [USER, [USER]]}, "messages[1]", "invalid_type", "an object, but got an array"),
    (
        {"messages": [{"role": 7, "content": ""}]},
        "messages[0].role",
        "invalid_type",
        "'function', but got an integer",
    ),
    ({"messages": [{"role": None}]}, "messages[0].role", "invalid_type", "but got null"),
    ({"messages": [{"role": ["user"], "content": ""}]}, "messages[0].role", "invalid_type", "but got an array"),
    (
        {"messages": [{"role": "user", "content": 7}]},
        "messages[0].content",
        "invalid_type",
        f"Invalid type for 'messages[0].content': expected {STRING_OR_ARRAY}, but got an integer instead.",
    ),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_type", "but got null"),
    ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content", "invalid_type", STRING_OR_ARRAY),
    ({"messages": [{"role": "assistant"}]}, "messages[0].content", "invalid_type", "but got null"),
    ({"messages": [{**USER, "name": 1}]}, "messages[0].name", "invalid_type", "a string, but got an integer"),
    (with_part("x"), "messages[1].content[0]", "invalid_type", "an object, but got a string"),
    (with_part({"type": "text", "text": 1}), "messages[1].content[0].text", "invalid_type", "a string, but got"),
    (
        with_call({"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}),
        "messages[0].tool_calls[0].function.arguments",
        "invalid_type",
        "a string, but got an object",
    ),
    ({"stop": 7}, "stop", "invalid_type", f"expected {STRING_OR_ARRAY}, but got an integer"),
    ({"stop": ["a", 7]}, "stop[1]", "invalid_type", "a string, but got an integer"),
    ({"stop": [None]}, "stop[0]", "invalid_type", "a string, but got null"),
    ({"response_format": "json"}, "response_format", "invalid_type", "an object, but got a string"),
    ({"response_format": {"type": 1}}, "response_format.type", "invalid_type", "or 'json_schema', but got an integer"),
    (schema([]), "response_format.json_schema", "invalid_type", "an object, but got an array"),
    (schema({"name": "a", "schema": []}), "response_format.json_schema.schema", "invalid_type", "an object"),
    ({"logit_bias": []}, "logit_bias", "invalid_type", "an object, but got an array"),
    ({"logit_bias": {"1": "x"}}, "logit_bias.1", "invalid_type", "a decimal, but got a string"),
    ({"logit_bias": {"1": True}}, "logit_bias.1", "invalid_type", "a decimal, but got a boolean"),
    ({"logit_bias": {"1": None}}, "logit_bias.1", "invalid_type", "a decimal, but got null"),
    ({"metadata": "x"}, "metadata", "invalid_type", "an object, but got a string"),
    ({"metadata": {"k": 7}}, "metadata.k", "invalid_type", "expected a string, but got an integer"),
    # Of another value.
    (
        {"messages": [{"role": "wizard", "content": ""}]},
        "messages[0].role",
        "invalid_value",
        f"Invalid value: 'wizard'. Supported values are: {ROLES}.",
    ),
    (
        {"response_format": {"type": "xml"}},
        "response_format.type",
        "invalid_value",
        "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'.",
    ),
    (with_part({"type": "video"}), "messages[1].content[0].type", "invalid_value", "Invalid value: 'video'."),
    (
        with_call({"id": "1", "type": "other", "function": {"name": "f", "arguments": ""}}),
        "messages[0].tool_calls[0].type",
        "invalid_value",
        "Invalid value: 'other'. Supported values are: 'function' and 'custom'.",
    ),
    (schema({"name": "a b"}), "response_format.json_schema.name", "invalid_value", "does not match pattern"),
    ({"logit_bias": {"cat": 1}}, "logit_bias.cat", "invalid_value", "'cat' is no token id"),
    ({"logit_bias": {"-1": 1}}, "logit_bias.-1", "invalid_value", ""),
    ({"logit_bias": {"01": 1}}, "logit_bias.01", "invalid_value", ""),  # the same token as "1"
    ({"logit_bias": {"1\n": 1}}, "logit_bias.1\n", "invalid_value", ""),
    ({"logit_bias": {"\u0661": 1}}, "logit_bias.\u0661", "invalid_value", ""),
    ({"logit_bias": {"9" * 5000: 1}}, "logit_bias." + "9" * 80 + "...", "invalid_value", ""),
    # Out of range.
    (
        {"temperature": 3},
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    ),
    ({"temperature": -0.5}, "temperature", "decimal_below_min_value", "a value >= 0, but got -0.5"),
    ({"top_p": 1.5}, "top_p", "decimal_above_max_value", "a value <= 1, but got 1.5"),
    ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value", "a value >= -2, but got -3"),
    ({"frequency_penalty": 2.1}, "frequency_penalty", "decimal_above_max_value", "a value <= 2, but got 2.1"),
    (
        {"max_tokens": 0},
        "max_tokens",
        "integer_below_min_value",
        "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    (
        {"max_completion_tokens": 2**31},
        "max_completion_tokens",
        "integer_above_max_value",
        "<= 2147483647, but got 2147",
    ),
    ({"seed": 2**63}, "seed", "integer_above_max_value", "<= 9223372036854775807, but got 9223372036854775808"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value", "a value <= 20, but got 21"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1", "decimal_above_max_value", "a value <= 100, but got 101"),
    ({"logit_bias": {"1": -100.5}}, "logit_bias.1", "decimal_below_min_value", "a value >= -100, but got -100.5"),
    # Of another length.
    (
        {"messages": []},
        "messages",
        "empty_array",
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array", "empty array"),
    ({"messages": [USER] * 16_385}, "messages", "array_above_max_length", "16384, but got an array with length 16385"),
    ({"stop": ""}, "stop", "empty_string", "empty string"),
    ({"stop": ["a", ""]}, "stop[1]", "empty_string", "Invalid 'stop[1]': empty string"),
    (
        {"stop": ["a"] * 17},
        "stop",
        "array_above_max_length",
        "Invalid 'stop': array too long. Expected an array with maximum length 16, but got an array with length 17 "
        "instead.",
    ),
    (
        {"stop": "x" * 1025},
        "stop",
        "string_above_max_length",
        "Invalid 'stop': string too long. Expected a string with maximum length 1024, but got a string with length "
        "1025 instead.",
    ),
    (schema({"name": "x" * 65}), "response_format.json_schema.name", "string_above_max_length", "maximum length 64"),
    (
        {"metadata": {f"k{number}": "v" for number in range(17)}},
        "metadata",
        "object_above_max_properties",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object "
        "with 17 properties instead.",
    ),
    ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 65, "property_name_above_max_length", "with length 65 instead"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length", "maximum length 512"),
    (
        {"messages": [{"role": "assistant", "content": "x", "annotations": [{}]}]},
        "messages[0].annotations",
        "array_above_max_length",
        "maximum length 0",
    ),
    # What is only wrong together.
    (
        {"stream_options": {"include_usage": True}},
        "stream_options",
        None,
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    ),
    ({"stream": False, "stream_options": {}}, "stream_options", None, "only allowed when 'stream' is enabled"),
    (
        {"top_logprobs": 3},
        "top_logprobs",
        None,
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
    ),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_parameter_combination", "at the same time"),
    # What there is in OpenAI's API, but not here.
    (
        with_part({"type": "image_url", "image_url": {"url": "http://x"}}),
        "messages[1].content[0]",
        "unsupported_content_type",
        "image_url",
    ),
    (
        with_part({"type": "file", "file": {"file_url": "https://u.example/"}}),
        "messages[1].content[0].file.file_url",
        "unknown_parameter",
        "file_url",
    ),
    (
        with_part({"type": "file", "file": {"file_data": 1}}),
        "messages[1].content[0].file.file_data",
        "invalid_type",
        "",
    ),
]


@pytest.mark.parametrize(("change", "param", "code", "message"), CASES)
def test_bad_bodies(change: dict[str, Any], param: str, code: str | None, message: str) -> None:
    body = {key: value for key, value in {**BODY, **change}.items() if value is not ...}
    error = refused(body)
    assert (error.param, error.code) == (param, code)
    assert message in error.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"{}"',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1}{"b":2}',
        b"\xff\xfe",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":' * 5000,
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object(raw: bytes) -> None:
    with pytest.raises(APIError) as caught:
        parse_json(raw)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, None, None)
    assert "JSON" in caught.value.message
    json.loads(caught.value.body())


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_json(b'{"a":1,"a":2}') == {"a": 2}


def test_what_comes_back_of_a_bad_body_is_bounded() -> None:
    long = "x" * 1_000_000
    for change in (
        {long: 1},
        {"messages": [{"role": long, "content": ""}]},
        {"messages": [{**USER, long: 1}]},
        {"metadata": {long: "x"}},
        {"logit_bias": {long: 1}},
        {"response_format": {"type": long}},
        {"temperature": long},
    ):
        assert len(refused({**BODY, **change}).body()) < 1000


COUNT = 200_000


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [1] * COUNT},
        {"messages": [{"role": "user", "content": [1] * COUNT}]},
        {"messages": [{**USER, **{f"k{number}": 1 for number in range(COUNT)}}]},
        {"messages": [{"role": "assistant", "tool_calls": [1] * COUNT}]},
        {f"k{number}": 1 for number in range(COUNT)},
        {"logit_bias": {str(number): "x" for number in range(COUNT)}},
        {"metadata": {str(number): 1 for number in range(COUNT)}},
        {"stop": [1] * COUNT},
        schema({"name": "a", **{f"k{number}": 1 for number in range(COUNT)}}),
    ],
)
def test_a_body_full_of_errors_costs_no_more_than_one_error(change: dict[str, Any]) -> None:
    """Every error that pydantic keeps takes about a kilobyte: 64 MB of them would take all memory there is."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused({**BODY, **change})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB; 200,000 errors take 200 MB
