"""Items of the Responses API: how they are kept and listed."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseInputMessageItem, ResponseOutputItem
from pydantic import TypeAdapter

from adapter.schema.response_items import check_item, input_items


def wire(item: dict[str, Any]) -> dict[str, Any]:
    check_item(item, "input[0]")
    [made] = input_items([item])
    return made


def without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def test_a_string_is_a_message_of_the_user() -> None:
    [item] = input_items("Hi")
    assert item.pop("id").startswith("msg_")
    part = {"type": "input_text", "text": "Hi"}
    assert item == {"type": "message", "role": "user", "status": "completed", "content": [part]}


@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
@pytest.mark.parametrize("content", ["Hi", [{"type": "input_text", "text": "Hi"}]])
def test_easy_messages_in_wire_form(role: str, content: Any) -> None:
    item = wire({"role": role, "content": content})
    assert (item["type"], item["status"], item["role"]) == ("message", "completed", role)
    if role == "assistant":
        assert item["content"] == [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}]
        TypeAdapter(ResponseOutputItem).validate_python(item, strict=True)
    else:
        assert item["content"] == [{"type": "input_text", "text": "Hi"}]
        ResponseInputMessageItem.model_validate(item, strict=True)


def test_parts_of_a_message_in_wire_form() -> None:
    parts = [
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "file_id": "file-1", "detail": "low", "image_url": None},
        {"type": "input_file", "file_data": "aGk=", "filename": "a.txt"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]
    made = wire({"role": "user", "content": parts})["content"]
    assert [part.get("detail") for part in made] == ["auto", "low", None, None]
    assert made[1]["image_url"] is None and made[1]["file_id"] == "file-1"
    assert made[2:] == parts[2:]


# As this API returns them, whole.
OUTPUT = [
    {
        "type": "message",
        "id": "msg_1",
        "status": "incomplete",
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": "Hi",
                "annotations": [{"type": "file_citation", "file_id": "f", "filename": "a", "index": 1}],
                "logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}],
            },
            {"type": "refusal", "refusal": "No."},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "status": "completed",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
        "encrypted_content": None,
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    },
    {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_2",
        "name": "g",
        "input": "x",
        "status": "completed",
    },
    {
        "type": "mcp_list_tools",
        "id": "mcpl_1",
        "server_label": "s",
        "tools": [{"name": "t", "input_schema": {"type": "object"}, "description": None, "annotations": None}],
        "error": None,
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "server_label": "s",
        "name": "t",
        "arguments": "{}",
        "output": "42",
        "error": None,
        "approval_request_id": None,
        "status": "completed",
    },
    {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "t", "arguments": "{}"},
    {
        "type": "file_search_call",
        "id": "fs_1",
        "status": "completed",
        "queries": ["q"],
        "results": [{"file_id": "f", "filename": "a", "score": 0.5, "text": "x", "attributes": {}}],
    },
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q", "queries": ["q"], "sources": [{"type": "url", "url": "https://e"}]},
    },
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "sealed"},
]


@pytest.mark.parametrize("item", OUTPUT, ids=lambda item: item["type"])
def test_output_is_taken_back_unchanged(item: dict[str, Any]) -> None:
    assert wire(item) == item


@pytest.mark.parametrize("item", OUTPUT, ids=lambda item: item["type"])
@pytest.mark.parametrize("options", [{}, {"exclude_none": True}, {"exclude_unset": True}])
def test_output_of_the_sdk_is_taken_back(item: dict[str, Any], options: dict[str, Any]) -> None:
    """As it came from here, dumped in each of the SDK's ways: with nulls, and without."""
    dumped = TypeAdapter(ResponseOutputItem).validate_python(item).model_dump(by_alias=True, **options)
    assert without_nulls(wire(dumped)) == without_nulls(item)


@pytest.mark.parametrize(
    ("item", "prefix"),
    [
        ({"type": "function_call_output", "call_id": "c", "output": "42"}, "fco_"),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]}, "ctco_"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "id": None, "status": None}, "fc_"),
        ({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""}, "ctc_"),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "content": None}, "rs_"),
    ],
)
def test_ids_and_statuses_are_filled_in(item: dict[str, Any], prefix: str) -> None:
    made = wire(item)
    assert made["id"].startswith(prefix) and len(made["id"]) == len(prefix) + 32
    assert made["status"] == "completed"
    assert wire(item)["id"] != made["id"]


def test_what_has_no_status_gets_none() -> None:
    response = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    assert set(wire(response)) == {*response, "id"}


@pytest.mark.parametrize(
    "item", [{"id": "msg_1"}, {"id": "msg_1", "type": None}, {"id": "x", "type": "item_reference"}]
)
def test_references_in_each_form(item: dict[str, Any]) -> None:
    assert wire(item) == {"type": "item_reference", "id": item["id"]}


def test_a_message_whose_type_is_null_is_a_message() -> None:
    assert wire({"type": None, "id": "msg_1", "role": "user", "content": "x"})["type"] == "message"
