"""Tools of the Responses API, and the choice among them."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Tool as ResponseTool
from pydantic import TypeAdapter

from adapter.errors import APIError
from adapter.parsing.guides import Choice
from adapter.parsing.tool_format import Tool
from adapter.schema.tool_choice import HostedTool, Selector, choose_tools
from tests.unit.adapter.schema.response_bodies import parsed

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
