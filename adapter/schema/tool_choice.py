"""`tool_choice` in one form, and what it comes to for the tools of a request."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapter.errors import invalid_request
from adapter.generation.tool_use import ToolUse
from adapter.parsing.guides import Choice
from adapter.parsing.tool_format import Tool
from adapter.schema.violations import shortened


@dataclass(frozen=True)
class HostedTool:
    """A tool that this server runs, by what clients know of it.

    kind: `mcp`, `file_search` or `web_search`.
    server_label, name: of an MCP tool: its server, and its name there.
    """

    kind: str
    server_label: str = ""
    name: str = ""


@dataclass(frozen=True)
class Selector:
    """Names one tool, or those of an MCP server.

    kind: `function`, `custom`, `mcp`, `file_search` or `web_search`.
    name: of a function, a custom tool or an MCP tool; "": every tool of that server.
    """

    kind: str
    name: str = ""
    server_label: str = ""

    def matches(self, name: str, *, custom: bool, hosted: HostedTool | None) -> bool:
        """Whether it is the tool that the model knows by `name`."""
        if hosted is None:
            return self.kind == ("custom" if custom else "function") and self.name == name
        if self.kind != hosted.kind:
            return False
        return self.kind != "mcp" or (self.server_label == hosted.server_label and self.name in ("", hosted.name))

    def __str__(self) -> str:
        if self.kind != "mcp":
            return shortened(self.name or self.kind)
        return shortened(f"{self.server_label}.{self.name}" if self.name else self.server_label)


@dataclass(frozen=True)
class Selection:
    """What a `tool_choice` says.

    calls: whether the model may call anything.
    demanded: it has to call something.
    only: the tools that it may call; None: all.
    hides: it is not even told of the others: what the model does not know, it does not call.
    """

    calls: bool = True
    demanded: bool = False
    only: tuple[Selector, ...] | None = None
    hides: bool = False

    def met(self) -> Selection:
        """For the turns after the one that has met the demand: held to it in every turn, the model could never answer.

        A tool that was named is then one among others.
        """
        return replace(self, demanded=False, only=self.only if self.hides else None)


ANY_TOOL = Selection()
NO_TOOL = Selection(calls=False)


def choose_tools(
    named: Mapping[str, tuple[Tool, str]],
    custom: AbstractSet[str],
    selection: Selection,
    parallel: bool | None,
    param: str,
    *,
    hosted: Mapping[str, HostedTool] = MappingProxyType({}),
    where: str = "tools",
    legacy: bool = False,
) -> ToolUse | None:
    """The tools that the model is told of and those that it may call; None: it is to call nothing.

    Args:
        named: by the name that the model calls it by: the tool, and where in the body it stands.
        custom: names of custom tools.
        parallel: whether it may make several calls at once; None: it may.
        param: the request's field that the selection is from, for errors.
        hosted: which of the tools this server runs, by name.
        where: the request's field that has the tools.

    Raises:
        APIError: 400, a tool is selected that there is not.
    """
    if not selection.calls or not named:
        return None
    allowed = set(named)
    if selection.only is not None:
        allowed = set()
        for selector in selection.only:
            found = {name for name in named if selector.matches(name, custom=name in custom, hosted=hosted.get(name))}
            if not found:
                message = f"Invalid '{param}': there is no tool '{selector}' in '{where}'."
                raise invalid_request(message, param, "invalid_value")
            allowed |= found
    demand = Choice.AUTO
    if selection.demanded:
        one = selection.only is not None and not selection.hides and len(allowed) == 1
        demand = Choice.NAMED if one else Choice.REQUIRED
    told = allowed if selection.hides else set(named)
    return ToolUse(
        definitions=[_definition(tool) for name, (tool, _) in named.items() if name in told],
        callable=[tool for name, (tool, _) in named.items() if name in allowed],
        places=[place for name, (_, place) in named.items() if name in allowed],
        choice=demand,
        parallel=parallel is not False and not legacy,
        custom=frozenset(custom),
        legacy=legacy,
    )


def _definition(tool: Tool) -> dict[str, Any]:
    """As chat templates expect it: templates may look for every one of these keys."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters) or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}
