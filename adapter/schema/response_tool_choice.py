"""`tool_choice` of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel
from adapter.schema.response_tools import REFUSED_TOOLS, WEB_SEARCHES, RequestedTools
from adapter.schema.tool_choice import ANY_TOOL, NO_TOOL, Selection, Selector
from adapter.schema.tool_definitions import MOST_TOOLS
from adapter.schema.typed_objects import check_typed
from adapter.schema.violations import not_supported, wrong_type

_PARAM = "tool_choice"


class FunctionChoice(RequestModel):
    type: Literal["function"]
    name: str


class CustomChoice(RequestModel):
    type: Literal["custom"]
    name: str


class McpChoice(RequestModel):
    type: Literal["mcp"]
    server_label: str
    name: str | None = None


class HostedChoice(RequestModel):
    type: Literal[
        "file_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    ]


class AllowedToolsChoice(RequestModel):
    type: Literal["allowed_tools"]
    mode: Literal["none", "auto", "required"] | None = None
    tools: Annotated[list[Any], Field(min_length=1, max_length=MOST_TOOLS)]


_SELECTORS: Mapping[str, type[RequestModel]] = {
    "function": FunctionChoice,
    "custom": CustomChoice,
    "mcp": McpChoice,
    "file_search": HostedChoice,
    **dict.fromkeys(WEB_SEARCHES, HostedChoice),
}
CHOICE_KINDS: Mapping[str, type[RequestModel]] = {**_SELECTORS, "allowed_tools": AllowedToolsChoice}
REFUSED_CHOICES: Mapping[str, str] = {**REFUSED_TOOLS, "computer_use": REFUSED_TOOLS["computer"]}


def selection_of(choice: Any, tools: RequestedTools) -> Selection:
    """`tool_choice` in one form.

    Raises:
        APIError: 400, naming the field; a tool is chosen that is not in `tools`. Names of MCP tools are not known yet.
    """
    if choice in (None, "auto"):
        return ANY_TOOL
    if choice == "none":
        return NO_TOOL
    if choice == "required":
        selection = Selection(demanded=True)
    elif isinstance(choice, str):
        raise not_supported(_PARAM, choice, ["none", "auto", "required"])
    elif not isinstance(choice, dict):
        raise wrong_type(_PARAM, "one of a string or object", choice)
    else:
        item = check_typed(choice, _PARAM, CHOICE_KINDS, REFUSED_CHOICES)
        if isinstance(item, AllowedToolsChoice):
            selectors = tuple(_allowed(given, f"{_PARAM}.tools[{at}]") for at, given in enumerate(item.tools))
            selection = Selection(item.mode != "none", item.mode == "required", selectors, hides=True)
        else:
            selection = Selection(demanded=True, only=(_selector(item),))
    if not tools.echoed:
        raise invalid_request("'tool_choice' is only allowed when 'tools' are specified.", _PARAM)
    for selector in selection.only or ():
        if not _offers(tools, selector):
            message = f"Invalid '{_PARAM}': there is no tool '{selector}' in 'tools'."
            raise invalid_request(message, _PARAM, "invalid_value")
    return selection


def _allowed(given: Any, place: str) -> Selector:
    """Clients may send whole definitions: what names the tool is looked at."""
    keys = ("type", "name", "server_label")
    if isinstance(given, dict):
        given = {key: given[key] for key in keys if given.get(key) is not None}
    return _selector(check_typed(given, place, _SELECTORS, REFUSED_CHOICES))


def _selector(item: RequestModel) -> Selector:
    if isinstance(item, FunctionChoice | CustomChoice):
        return Selector(item.type, item.name)
    if isinstance(item, McpChoice):
        return Selector("mcp", item.name or "", item.server_label)
    assert isinstance(item, HostedChoice)
    return Selector("file_search" if item.type == "file_search" else "web_search")


def _offers(tools: RequestedTools, selector: Selector) -> bool:
    if selector.kind == "mcp":
        return any(server.label == selector.server_label for server in tools.mcp)
    if selector.kind == "file_search":
        return tools.file_search is not None
    if selector.kind == "web_search":
        return tools.web_search is not None
    return any(
        item.tool.name == selector.name and item.custom == (selector.kind == "custom") for item in tools.functions
    )
