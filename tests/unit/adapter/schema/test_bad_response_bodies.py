"""Bad bodies of the Responses API and of conversations, and what is said about each."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.schema.conversations import parse_conversation_create, parse_conversation_items_create
from adapter.schema.conversations import parse_conversation_update as update
from adapter.schema.responses import parse_compact_request, parse_input_tokens_request, parse_response_request

BODY = {"model": "m", "input": "Hi"}
USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "name": "f"}
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://example.com/mcp"}
FILES = {"type": "file_search", "vector_store_ids": ["vs_1"]}


def refused(body: dict[str, Any], parse: Callable[[dict[str, Any]], Any] = parse_response_request) -> APIError:
    with pytest.raises(APIError) as caught:
        parse(body)
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    json.loads(error.body())
    return error


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [USER, fields]}


def part(fields: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [fields]}]}


def tool(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"tools": [{**base, **changes}]}


def filters(value: Any) -> dict[str, Any]:
    return tool(FILES, filters=value)


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "eq", "key": "k", "value": 1}
    for _ in range(depth):
        inner = {"type": "and", "filters": [inner]}
    return inner


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
MISSING, UNKNOWN, TYPE, VALUE = "missing_required_parameter", "unknown_parameter", "invalid_type", "invalid_value"
UNSUPPORTED = "unsupported_parameter"

# Changes to a good body, and the error: param, code, message.
CASES: list[tuple[dict[str, Any], str, str | None, str]] = [
    # Missing.
    ({"model": ...}, "model", MISSING, "Missing required parameter: 'model'."),
    ({"input": ...}, "input", MISSING, "one of 'previous_response_id', 'conversation', 'prompt' is needed"),
    ({"input": None}, "input", MISSING, ""),
    (item(content="x"), "input[1].role", MISSING, "'input[1].role'"),
    (item(role="user"), "input[1].content", MISSING, ""),
    (item(type="function_call"), "input[1].call_id", MISSING, ""),
    (item(type="reasoning"), "input[1].summary", MISSING, ""),
    (item(type="item_reference"), "input[1].id", MISSING, ""),
    (part({"text": "x"}), "input[0].content[0].type", MISSING, ""),
    (part({"type": "input_text"}), "input[0].content[0].text", MISSING, ""),
    ({"tools": [{}]}, "tools[0].type", MISSING, ""),
    ({"tools": [{"type": "function"}]}, "tools[0].name", MISSING, ""),
    ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools[0].server_url", MISSING, ""),
    ({"tools": [{"type": "file_search"}]}, "tools[0].vector_store_ids", MISSING, ""),
    ({"tools": [FUNCTION], "tool_choice": {}}, "tool_choice.type", MISSING, ""),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.name", MISSING, ""),
    ({"prompt": {}}, "prompt.id", MISSING, ""),
    ({"conversation": {}}, "conversation.id", MISSING, ""),
    # Unknown.
    ({"messages": []}, "messages", UNKNOWN, "Unknown parameter: 'messages'."),
    ({"zzz": 1, "input": [{}], "temperature": "x"}, "zzz", UNKNOWN, ""),
    (item(**USER, zzz=1), "input[1].zzz", UNKNOWN, "'input[1].zzz'"),
    (part({"type": "input_text", "text": "a", "zzz": 1}), "input[0].content[0].zzz", UNKNOWN, ""),
    (tool(FUNCTION, function={}), "tools[0].function", UNKNOWN, ""),
    ({"text": {"zzz": 1}}, "text.zzz", UNKNOWN, ""),
    ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options.include_usage", UNKNOWN, ""),
    ({"reasoning": {"zzz": 1}}, "reasoning.zzz", UNKNOWN, ""),
    # Of another type.
    ({"input": 7}, "input", TYPE, "expected one of a string or array, but got an integer"),
    ({"input": [USER, "x"]}, "input[1]", TYPE, "expected an object, but got a string"),
    (item(role="user", content=7), "input[1].content", TYPE, "one of a string or array"),
    (item(type=7), "input[1].type", TYPE, "but got an integer"),
    (item(**{**CALL, "arguments": {}}), "input[1].arguments", TYPE, "a string, but got an object"),
    ({"instructions": []}, "instructions", TYPE, ""),
    ({"tools": [1]}, "tools[0]", TYPE, "an object, but got an integer"),
    ({"tools": {}}, "tools", TYPE, "an array"),
    ({"tool_choice": 1}, "tool_choice", TYPE, ""),
    ({"store": 1}, "store", TYPE, "a boolean"),
    ({"metadata": {"k": 1}}, "metadata.k", TYPE, ""),
    ({"prompt": {"id": "a", "variables": {"x": 1}}}, "prompt.variables.x", TYPE, "one of a string or object"),
    (tool(MCP, headers={"a": 1}), "tools[0].headers.a", TYPE, "a string"),
    # Of another value.
    (item(role="tool", content="x"), "input[1].role", VALUE, "Invalid value: 'tool'. Supported values are: 'user'"),
    (item(type="zzz"), "input[1].type", VALUE, "Invalid value: 'zzz'. Supported values are: 'message'"),
    (part({"type": "text", "text": "x"}), "input[0].content[0].type", VALUE, "'input_text', 'input_image'"),
    (
        {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content[0].type",
        VALUE,
        "Supported values are: 'output_text', 'refusal', and 'input_text'.",
    ),
    ({"tools": [{"type": "zzz"}]}, "tools[0].type", VALUE, "'function', 'custom', 'mcp'"),
    ({"tools": [FUNCTION], "tool_choice": "any"}, "tool_choice", VALUE, "'none', 'auto', and 'required'"),
    ({"include": ["zzz"]}, "include[0]", VALUE, "Invalid value: 'zzz'."),
    ({"truncation": "left"}, "truncation", VALUE, ""),
    ({"service_tier": "flex"}, "service_tier", VALUE, "'auto' and 'default'"),
    ({"text": {"verbosity": "max"}}, "text.verbosity", VALUE, ""),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", VALUE, ""),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort", VALUE, ""),
    ({"prompt": {"id": "../secret"}}, "prompt.id", VALUE, ""),
    (part({"type": "input_image"}), "input[0].content[0]", VALUE, "exactly one of 'image_url', 'file_id'"),
    (
        part({"type": "input_file", "file_id": "a", "file_url": "https://e"}),
        "input[0].content[0]",
        VALUE,
        "exactly one of 'file_data', 'file_id', 'file_url'",
    ),
    (tool(FUNCTION, name="a b"), "tools[0].name", VALUE, ""),
    (tool(MCP, server_url="file:///etc/passwd"), "tools[0].server_url", VALUE, ""),
    (tool(MCP, headers={"Host": "a"}), "tools[0].headers.Host", VALUE, "cannot be sent"),
    (tool(MCP, headers={"A": "b\r\nC: d"}), "tools[0].headers.A", VALUE, "cannot be sent"),
    (tool(MCP, headers={"A\n": "b"}), "tools[0].headers.A\n", VALUE, "cannot be sent"),
    (tool(MCP, authorization="a b"), "tools[0].authorization", VALUE, ""),
    (filters({"type": "like", "key": "k", "value": 1}), "tools[0].filters.type", VALUE, "'eq', 'ne'"),
    (filters({"type": "in", "key": "k", "value": 1}), "tools[0].filters.value", TYPE, "an array"),
    (filters({"type": "and", "filters": [{}]}), "tools[0].filters.filters[0].type", MISSING, ""),
    (filters(nested(8)), "tools[0].filters", VALUE, "nested 8 levels deep"),
    (filters({"type": "or", "filters": [nested(0)] * 128}), "tools[0].filters", VALUE, "at most 128 filters"),
    # Out of range, or of another length.
    ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value", ">= 1"),
    ({"max_tool_calls": 0}, "max_tool_calls", "integer_below_min_value", ""),
    ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value", "<= 20"),
    ({"temperature": 2.5}, "temperature", "decimal_above_max_value", ""),
    (tool(FILES, max_num_results=51), "tools[0].max_num_results", "integer_above_max_value", ""),
    (tool(FILES, vector_store_ids=[]), "tools[0].vector_store_ids", "empty_array", ""),
    ({"input": [USER] * 16_385}, "input", "array_above_max_length", "16384"),
    ({"input": []}, "input", "empty_array", ""),
    (item(role="user", content=[]), "input[1].content", "empty_array", ""),
    ({"tools": [FUNCTION] * 129}, "tools", "array_above_max_length", "128"),
    ({"safety_identifier": "x" * 65}, "safety_identifier", "string_above_max_length", "64"),
    (
        {"prompt": {"id": "a", "variables": {str(n): "" for n in range(129)}}},
        "prompt.variables",
        "object_above_max_properties",
        "",
    ),
    # What is only wrong together.
    ({"stream_options": {}}, "stream_options", None, "only allowed when 'stream' is enabled"),
    ({"background": True, "store": False}, "background", "invalid_parameter_combination", "when 'store' is enabled"),
    (
        {"previous_response_id": "resp_1", "conversation": "conv_1"},
        "previous_response_id",
        "mutually_exclusive_parameters",
        "only providing one of: 'previous_response_id' or 'conversation'.",
    ),
    (
        tool(MCP, authorization="a", headers={"Authorization": "b"}),
        "tools[0].authorization",
        "mutually_exclusive_parameters",
        "",
    ),
    ({"tool_choice": "required"}, "tool_choice", None, "only allowed when 'tools' are specified"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools", VALUE, "a name of its own"),
    ({"tools": [FUNCTION, {"type": "custom", "name": "f"}]}, "tools", VALUE, "a name of its own"),
    ({"tools": [MCP, MCP]}, "tools", VALUE, "a server_label of its own"),
    ({"tools": [FILES, FILES]}, "tools[1]", VALUE, "at 'tools[0]'"),
    ({"tools": [{"type": "web_search"}, {"type": "web_search_preview"}]}, "tools[1]", VALUE, ""),
    (
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}},
        "tool_choice",
        VALUE,
        "there is no tool 'g' in 'tools'",
    ),
    ({"tools": [FUNCTION], "tool_choice": {"type": "custom", "name": "f"}}, "tool_choice", VALUE, "no tool 'f'"),
    ({"tools": [MCP], "tool_choice": {"type": "mcp", "server_label": "t"}}, "tool_choice", VALUE, "no tool 't'"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "file_search"}}, "tool_choice", VALUE, "no tool 'file_search'"),
    (
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": 1}]}},
        "tool_choice.tools[0].name",
        TYPE,
        "",
    ),
    (
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": [{"type": "allowed_tools"}]}},
        "tool_choice.tools[0].type",
        VALUE,
        "",
    ),
    # What there is in OpenAI's API, but not here.
    (item(**CALL, namespace="n"), "input[1].namespace", UNSUPPORTED, "no namespaces"),
    (item(**CALL, caller={"type": "program", "caller_id": "x"}), "input[1].caller", UNSUPPORTED, ""),
    (
        part({"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        "input[0].content[0].prompt_cache_breakpoint",
        UNSUPPORTED,
        "prompt caching",
    ),
    (tool(FUNCTION, defer_loading=True), "tools[0].defer_loading", UNSUPPORTED, ""),
    (tool(FUNCTION, output_schema={}), "tools[0].output_schema", UNSUPPORTED, ""),
    (tool(MCP, connector_id="connector_gmail"), "tools[0].connector_id", UNSUPPORTED, "send 'server_url'"),
    (tool(MCP, allowed_callers=["programmatic"]), "tools[0].allowed_callers", UNSUPPORTED, ""),
    (
        tool({"type": "custom", "name": "c"}, format={"type": "grammar", "syntax": "lark", "definition": "start: /a/"}),
        "tools[0].format.syntax",
        UNSUPPORTED,
        "Lark",
    ),
    ({"reasoning": {"summary": "concise"}}, "reasoning.summary", UNSUPPORTED, "'auto'"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", UNSUPPORTED, ""),
    (tool({"type": "web_search"}, external_web_access=False), "tools[0].external_web_access", UNSUPPORTED, ""),
]


@pytest.mark.parametrize(("change", "param", "code", "message"), CASES)
def test_bad_bodies(change: dict[str, Any], param: str, code: str | None, message: str) -> None:
    error = refused({key: value for key, value in {**BODY, **change}.items() if value is not ...})
    assert (error.param, error.code) == (param, code)
    assert message in error.message


@pytest.mark.parametrize(
    "change",
    [
        {"reasoning": {"summary": "auto", "context": "auto", "mode": "standard", "generate_summary": None}},
        tool(FUNCTION, defer_loading=False, allowed_callers=["direct"], **{"async": False}),
        item(**CALL, caller={"type": "direct"}, namespace=None, **{"async": False}),
        part({"type": "input_text", "text": "", "prompt_cache_breakpoint": None}),
        part({"type": "input_file", "file_id": "file-1", "detail": "auto"}),
        filters(nested(7)),
        {"parallel_tool_calls": False, "tool_choice": "auto"},
        {"tool_choice": "none"},
        {"background": True, "stream": True},
    ],
)
def test_what_asks_for_nothing_more_is_taken(change: dict[str, Any]) -> None:
    parse_response_request({**BODY, **change})


BESIDE: list[tuple[Callable[[dict[str, Any]], Any], dict[str, Any], str, str | None]] = [
    (parse_conversation_create, {"items": [USER] * 21}, "items", "array_above_max_length"),
    (parse_conversation_create, {"items": [{"role": "user"}]}, "items[0].content", MISSING),
    (parse_conversation_create, {"zzz": 1}, "zzz", UNKNOWN),
    (parse_conversation_items_create, {"items": []}, "items", "empty_array"),
    (parse_conversation_items_create, {}, "items", MISSING),
    (update, {}, "metadata", MISSING),
    (parse_input_tokens_request, {"model": "m"}, "input", MISSING),
    (parse_input_tokens_request, {**BODY, "personality": "x"}, "personality", UNSUPPORTED),
    (parse_input_tokens_request, {**BODY, "tools": [{}]}, "tools[0].type", MISSING),
    (parse_compact_request, {"model": "m"}, "input", MISSING),
    (parse_compact_request, {**BODY, "tools": []}, "tools", UNKNOWN),
    (parse_compact_request, {**BODY, "prompt_cache_options": {}}, "prompt_cache_options", UNSUPPORTED),
]


@pytest.mark.parametrize(("parse", "body", "param", "code"), BESIDE)
def test_bad_bodies_beside(parse: Any, body: dict[str, Any], param: str, code: str | None) -> None:
    error = refused(body, parse)
    assert (error.param, error.code) == (param, code)


def test_what_comes_back_of_a_bad_body_is_bounded() -> None:
    long = "x" * 1_000_000
    for change in (
        {long: 1},
        item(type=long),
        item(role=long, content=""),
        item(**USER, **{long: 1}),
        {"tools": [{"type": long}]},
        tool(FUNCTION, **{long: 1}),
        tool(MCP, headers={long: ""}),
        {"tools": [FUNCTION], "tool_choice": {"type": long}},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": long}},
        {"tools": [FUNCTION], "tool_choice": long},
        {"prompt": {"id": "a", "variables": {long: 1}}},
        {"include": [long]},
    ):
        assert len(refused({**BODY, **change}).body()) < 1500, list(change)


COUNT = 200_000


@pytest.mark.parametrize(
    "change",
    [
        {"input": [1] * 16_384},
        {"input": [{}] * 16_384},
        {"input": [{"role": "user", "content": [1] * COUNT}]},
        item(type="mcp_list_tools", id="a", server_label="s", tools=[1] * COUNT),
        item(**USER, **{f"k{number}": 1 for number in range(COUNT)}),
        {"tools": [1] * 128},
        tool(MCP, headers={str(number): 1 for number in range(COUNT)}),
        tool(MCP, allowed_tools=[1] * COUNT),
        {"include": [1] * COUNT},
        filters({"type": "in", "key": "k", "value": [[]] * COUNT}),
        {"prompt": {"id": "a", "variables": {str(number): 1 for number in range(COUNT)}}},
    ],
)
def test_a_body_full_of_errors_costs_no_more_than_one_error(change: dict[str, Any]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused({**BODY, **change})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB; 200,000 errors take 200 MB
