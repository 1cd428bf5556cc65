"""Tools of an MCP server as a response lists them: {name, description, input_schema, annotations}."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from mcp_types import ListToolsResult, Tool

from adapter.schema.mcp_tools import McpServer
from adapter.schema.tool_definitions import MOST_TOOLS
from adapter.tools.mcp_session import McpFailed

Item = dict[str, Any]

_MOST_BYTES = 1 << 20  # of the list: it is kept, and becomes part of each prompt
_LONGEST_NAME = 256


async def list_tools(server: McpServer, pages: AsyncIterator[ListToolsResult]) -> list[Item]:
    """Those that the request allows.

    Raises:
        McpFailed: the server has no list, or one that is too long.
    """
    listed: dict[str, Item] = {}
    size = 0
    async for page in pages:
        for tool in page.tools:
            item = _listed(tool)
            if not server.allows(tool.name, read_only=read_only(item)):
                continue
            if tool.name in listed:
                raise McpFailed(f"lists two tools of the name '{tool.name[:_LONGEST_NAME]}'")
            if not tool.name or len(tool.name) > _LONGEST_NAME:
                raise McpFailed(f"lists a tool whose name has not 1 to {_LONGEST_NAME} characters")
            listed[tool.name] = item
            size += len(orjson.dumps(item))
            if len(listed) > MOST_TOOLS:
                raise McpFailed(f"lists more than {MOST_TOOLS} tools: choose some with 'allowed_tools'")
            if size > _MOST_BYTES:
                raise McpFailed(f"describes its tools in more than {_MOST_BYTES:,} bytes: choose with 'allowed_tools'")
    return list(listed.values())


def known_tools(server: McpServer, known: Sequence[Item]) -> list[Item] | None:
    """Those that the newest listing among `known` items has and the request allows.

    None: there is none, or the request names a tool that it has not.
    """
    for item in reversed(known):
        if item["type"] == "mcp_list_tools" and item["server_label"] == server.label:
            break
    else:
        return None
    tools = item.get("tools") or []
    if item.get("error") or not tools or len(tools) > MOST_TOOLS or not all(map(_usable, tools)):
        return None
    names = {tool["name"] for tool in tools}
    if len(names) < len(tools):
        return None
    wanted = server.allowed.tool_names if server.allowed is not None else None
    if wanted is not None and not names.issuperset(wanted):
        return None
    return [tool for tool in tools if server.allows(tool["name"], read_only=read_only(tool))]


def read_only(tool: Item) -> bool:
    """Whether the server says that the tool changes nothing."""
    annotations = tool.get("annotations")
    return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True


def _listed(tool: Tool) -> Item:
    annotations = tool.annotations
    return {
        "name": tool.name,
        "description": tool.description or tool.title,
        "input_schema": tool.input_schema,
        "annotations": None if annotations is None else annotations.model_dump(by_alias=True, exclude_none=True),
    }


def _usable(tool: Any) -> bool:
    return (
        isinstance(tool, dict)
        and isinstance(tool.get("name"), str)
        and 0 < len(tool["name"]) <= _LONGEST_NAME
        and isinstance(tool.get("input_schema"), dict)
        and isinstance(tool.get("description"), str | None)
    )
