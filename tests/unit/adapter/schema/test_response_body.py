"""Bodies of the Responses API: what is made of them."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseInputMessageItem, ResponseOutputItem
from openai.types.responses import Tool as ResponseTool
from pydantic import TypeAdapter

from adapter.errors import APIError
from adapter.parsing.guides import Choice
from adapter.parsing.tool_format import Tool
from adapter.schema.conversations import (
    parse_conversation_create,
    parse_conversation_items_create,
    parse_conversation_update,
)
from adapter.schema.response_items import check_item, input_items
from adapter.schema.responses import (
    ResponseRequest,
    parse_compact_request,
    parse_input_tokens_request,
    parse_response_request,
    response_sampling,
)
from adapter.schema.tool_choice import HostedTool, Selector, choose_tools

BODY = {"model": "m", "input": "Hi"}


def parsed(**changes: Any) -> ResponseRequest:
    return parse_response_request({**BODY, **changes})


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


def test_bodies_beside() -> None:
    item = {"role": "user", "content": "x"}
    assert parse_conversation_create({}).items is None
    assert parse_conversation_create({"items": [item], "metadata": {"a": "b"}}).metadata == {"a": "b"}
    assert parse_conversation_update({"metadata": None}).metadata is None
    assert parse_conversation_items_create({"items": [item]}).items == [item]
    assert parse_input_tokens_request({"model": "m", "previous_response_id": "resp_1"}).input is None
    assert parse_compact_request({"model": "m", "input": [item]}).input == [item]


FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
CUSTOM = {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "regex", "definition": "[a-z]+"}}
MCP = {
    "type": "mcp",
    "server_label": "s",
    "server_url": "https://example.com/mcp",
    "authorization": "secret-1",
    "headers": {"X-Key": "secret-2"},
    "allowed_tools": ["t", "u"],
    "require_approval": {"never": {"tool_names": ["t"]}},
}
FILES = {
    "type": "file_search",
    "vector_store_ids": ["vs_1", "vs_1"],
    "max_num_results": 5,
    "ranking_options": {"score_threshold": 0.5, "ranker": "auto"},
    "filters": {"type": "and", "filters": [{"type": "eq", "key": "a", "value": True}]},
}
WEB = {
    "type": "web_search",
    "search_context_size": "low",
    "filters": {"allowed_domains": ["example.com"]},
    "user_location": {"type": "approximate", "city": "Bern", "country": None},
}


def test_tools_of_every_kind() -> None:
    tools = parsed(tools=[FUNCTION, CUSTOM, MCP, FILES, WEB]).requested_tools
    function, custom = tools.functions
    assert (function.tool.name, function.tool.strict, function.place, function.custom) == ("f", True, "tools[0]", False)
    assert custom.tool.parameters["properties"]["input"] == {"type": "string", "pattern": "^(?:[a-z]+)$"}
    assert (tools.custom, set(tools.named)) == ({"c"}, {"f", "c"})
    [server] = tools.mcp
    assert (server.label, server.url, server.authorization) == ("s", "https://example.com/mcp", "secret-1")
    assert server.headers == {"X-Key": "secret-2"}
    assert tools.file_search is not None and tools.web_search is not None
    assert tools.file_search.vector_store_ids == ("vs_1",)
    assert (tools.file_search.max_num_results, tools.file_search.score_threshold) == (5, 0.5)
    assert (tools.web_search.context_size, tools.web_search.allowed_domains) == ("low", ("example.com",))
    assert tools.web_search.user_location == {"city": "Bern"}
    assert tools.web_search.place == "tools[4]"


def test_the_response_shows_tools_without_secrets() -> None:
    tools = parsed(tools=[FUNCTION, {"type": "function", "name": "g"}, CUSTOM, MCP, FILES, WEB]).requested_tools
    for shown in tools.echoed:
        TypeAdapter(ResponseTool).validate_python(shown, strict=True)
    assert tools.echoed[1] == {
        "type": "function",
        "name": "g",
        "description": None,
        "parameters": None,
        "strict": False,
    }
    assert "secret" not in repr(tools)
    assert tools.echoed[3]["headers"] == {"X-Key": "<redacted>"}


@pytest.mark.parametrize(
    ("approval", "needed"),
    [
        (None, {("t", True), ("t", False), ("u", True), ("u", False)}),
        ("always", {("t", True), ("t", False), ("u", True), ("u", False)}),
        ("never", set()),
        ({"never": {"tool_names": ["t"]}}, {("u", True), ("u", False)}),
        ({"never": {"read_only": True}}, {("t", False), ("u", False)}),
        ({"never": {"read_only": True, "tool_names": ["t"]}}, {("t", False), ("u", True), ("u", False)}),
        ({"always": {"tool_names": ["t"]}, "never": {}}, {("t", True), ("t", False)}),
        ({}, {("t", True), ("t", False), ("u", True), ("u", False)}),
    ],
)
def test_which_calls_need_approval(approval: Any, needed: set[tuple[str, bool]]) -> None:
    [server] = parsed(tools=[{**MCP, "require_approval": approval}]).requested_tools.mcp
    calls = [(name, read_only) for name in ("t", "u") for read_only in (True, False)]
    assert {call for call in calls if server.needs_approval(call[0], read_only=call[1])} == needed


@pytest.mark.parametrize(
    ("allowed", "offered"),
    [
        (None, {("t", True), ("v", False)}),
        (["t"], {("t", True)}),
        ({"read_only": False}, {("v", False)}),
        ({"tool_names": ["v"], "read_only": True}, set()),
        ([], set()),
    ],
)
def test_which_tools_are_allowed(allowed: Any, offered: set[tuple[str, bool]]) -> None:
    [server] = parsed(tools=[{**MCP, "allowed_tools": allowed}]).requested_tools.mcp
    tools = [("t", True), ("v", False)]
    assert {tool for tool in tools if server.allows(tool[0], read_only=tool[1])} == offered


def chosen(choice: Any, parallel: bool | None = None) -> tuple[set[str], set[str], Choice] | None:
    """Names that the model is told of, names that it may call, and whether it has to."""
    request = parsed(tools=[FUNCTION, CUSTOM, MCP, FILES, WEB], tool_choice=choice, parallel_tool_calls=parallel)
    tools = request.requested_tools
    hosted = {
        "s_t": HostedTool("mcp", "s", "t"),
        "s_u": HostedTool("mcp", "s", "u"),
        "file_search": HostedTool("file_search"),
        "web_search": HostedTool("web_search"),
    }
    named = {**tools.named, **{name: (Tool(name), "tools[2]") for name in hosted}}
    use = choose_tools(
        named, tools.custom, request.selection, request.parallel_tool_calls, "tool_choice", hosted=hosted
    )
    if use is None:
        return None
    assert use.parallel == (parallel is not False) and use.custom == {"c"} and len(use.places) == len(use.callable)
    return {tool["function"]["name"] for tool in use.definitions}, {tool.name for tool in use.callable}, use.choice


ALL = {"f", "c", "s_t", "s_u", "file_search", "web_search"}


@pytest.mark.parametrize(
    ("choice", "result"),
    [
        (None, (ALL, ALL, Choice.AUTO)),
        ("auto", (ALL, ALL, Choice.AUTO)),
        ("none", None),
        ("required", (ALL, ALL, Choice.REQUIRED)),
        ({"type": "function", "name": "f"}, (ALL, {"f"}, Choice.NAMED)),
        ({"type": "custom", "name": "c"}, (ALL, {"c"}, Choice.NAMED)),
        ({"type": "mcp", "server_label": "s"}, (ALL, {"s_t", "s_u"}, Choice.REQUIRED)),
        ({"type": "mcp", "server_label": "s", "name": "u"}, (ALL, {"s_u"}, Choice.NAMED)),
        ({"type": "file_search"}, (ALL, {"file_search"}, Choice.NAMED)),
        ({"type": "web_search_preview"}, (ALL, {"web_search"}, Choice.NAMED)),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ({"f"}, {"f"}, Choice.AUTO),
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "mcp", "server_label": "s"}, {**CUSTOM}, {"type": "file_search"}],
            },
            ({"s_t", "s_u", "c", "file_search"}, {"s_t", "s_u", "c", "file_search"}, Choice.REQUIRED),
        ),
        ({"type": "allowed_tools", "mode": "none", "tools": [{"type": "web_search"}]}, None),
        ({"type": "allowed_tools", "tools": [{"type": "web_search"}]}, ({"web_search"}, {"web_search"}, Choice.AUTO)),
    ],
)
def test_tool_choice_in_every_form(choice: Any, result: Any) -> None:
    assert chosen(choice) == result
    assert chosen(choice, parallel=False) == result


def test_a_tool_that_its_server_turns_out_not_to_have() -> None:
    request = parsed(tools=[MCP], tool_choice={"type": "mcp", "server_label": "s", "name": "v" * 1000})
    hosted = {"s_t": HostedTool("mcp", "s", "t")}
    named = {"s_t": (Tool("s_t"), "tools[0]")}
    with pytest.raises(APIError) as caught:
        choose_tools(named, frozenset(), request.selection, None, "tool_choice", hosted=hosted)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "tool_choice", "invalid_value")
    assert "there is no tool 's.vvv" in caught.value.message and len(caught.value.message) < 200


def test_a_demand_is_met_once_and_a_limit_stays() -> None:
    named = parsed(tools=[FUNCTION], tool_choice={"type": "function", "name": "f"}).selection.met()
    assert (named.demanded, named.only) == (False, None)
    limit = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    limited = parsed(tools=[FUNCTION], tool_choice=limit).selection.met()
    assert (limited.demanded, limited.hides, limited.only) == (False, True, (Selector("function", "f"),))
