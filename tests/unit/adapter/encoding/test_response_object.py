"""What a response says of its request: by the types of the SDK and of Open Responses."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response

from tests.support.response_models import check_response
from tests.unit.adapter.encoding.response_bodies import response_body

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
FUNCTION = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True, "description": "F."}
SERVER = {
    "type": "mcp",
    "server_label": "wiki",
    "server_url": "https://wiki.test/mcp",
    "headers": {"x-key": "secret-one"},
    "authorization": "secret-two",
    "require_approval": "never",
}


def test_a_bare_request_has_every_field_with_its_default() -> None:
    body = response_body()
    check_response(body)
    assert body == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": "m",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "conversation": None,
        "prompt": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 0.7,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "safety_identifier": None,
        "prompt_cache_key": None,
        "metadata": {},
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"instructions": "Be brief.", "metadata": {"a": "b"}, "user": "u", "safety_identifier": "s"},
        {"temperature": 0.0, "top_p": 0.5, "presence_penalty": 1.0, "frequency_penalty": -1.5, "top_logprobs": 3},
        {"store": False, "parallel_tool_calls": False, "truncation": "auto", "prompt_cache_key": "k"},
        {"max_output_tokens": 16, "max_tool_calls": 3, "previous_response_id": "resp_0", "background": True},
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [FUNCTION], "tool_choice": "required"},
        {"prompt": {"id": "greeting", "version": "2", "variables": {"name": "Ada"}}},
        {
            "tools": [FUNCTION],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        },
    ],
)
def test_what_was_asked_for_is_echoed(fields: dict[str, Any]) -> None:
    body = response_body(**fields)
    check_response(body)
    for name, value in fields.items():
        assert body[name] == value, name


def test_null_means_the_default() -> None:
    nulls: dict[str, Any] = {
        name: None
        for name in ("temperature", "top_p", "text", "reasoning", "tools", "tool_choice", "store", "truncation")
    }
    assert response_body(**nulls) == response_body()
    inner = {"text": {"format": None, "verbosity": None}, "reasoning": {"effort": None, "summary": None}}
    assert response_body(**inner) == response_body()


def test_a_schema_is_echoed_whole() -> None:
    format_ = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    body = response_body(text={"format": format_})
    check_response(body)
    assert body["text"]["format"] == {**format_, "description": None, "strict": False}
    free = response_body(text={"format": {"type": "json_schema", "name": "n", "strict": True}})
    check_response(free)
    assert free["text"]["format"]["schema"] == {"type": "object", "additionalProperties": True}


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([{"type": "function", "name": "f"}], "auto"),
        ([{"type": "custom", "name": "c", "description": "C."}], {"type": "custom", "name": "c"}),
        ([{"type": "custom", "name": "c", "format": {"type": "text"}}], "none"),
        ([SERVER], {"type": "mcp", "server_label": "wiki"}),
        ([{"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3}], {"type": "file_search"}),
        ([{"type": "web_search", "search_context_size": "low"}], "auto"),
        ([{"type": "web_search_preview"}], {"type": "web_search_preview"}),
        ([FUNCTION], {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}),
    ],
)
def test_tools_and_choices_of_every_kind_are_what_the_sdk_knows(tools: list[Any], choice: Any) -> None:
    response = check_response(response_body(tools=tools, tool_choice=choice))
    assert [tool.type for tool in response.tools] == [tool["type"] for tool in tools]


def test_a_function_has_all_of_its_keys() -> None:
    (tool,) = response_body(tools=[{"type": "function", "name": "f"}])["tools"]
    assert tool == {"type": "function", "name": "f", "description": None, "parameters": None, "strict": False}


def test_secrets_of_a_server_are_not_shown() -> None:
    assert "secret" not in str(response_body(tools=[SERVER]))


def test_the_conversation_is_an_object() -> None:
    response: Response = check_response(response_body(conversation_id="conv_1", conversation="conv_1"))
    assert response.conversation is not None and response.conversation.id == "conv_1"
